"""Control messages: what one node sends is what the other reads, and nothing else is."""

from __future__ import annotations

import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.core import messages
from twinhull.core.identity import MAX_PARENTS, Generation, Id
from twinhull.core.messages import (
    KINDS,
    MAX_INTEGER,
    MAX_MESSAGE_BYTES,
    Message,
    MessageError,
    decode,
    encode,
)

IDS = st.binary(min_size=16, max_size=16).map(Id)
GENERATIONS = st.builds(Generation, IDS, st.lists(IDS, max_size=MAX_PARENTS).map(tuple))
MEMBERS = {
    Id: IDS,
    Generation: GENERATIONS,
    bool: st.booleans(),
    int: st.integers(0, MAX_INTEGER),
    float: st.floats(0.001, 1e6),
    str: st.text(max_size=200),
}


def of_hint(hint: typing.Any) -> st.SearchStrategy[typing.Any]:
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    return st.none() | MEMBERS[parts[0]] if parts else MEMBERS[hint]


def of_kind(kind: type[Message]) -> st.SearchStrategy[Message]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: of_hint(hint) for name, hint in hints.items()})


@given(st.one_of([of_kind(kind) for kind in KINDS.values()]))
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        decode(data)
    except MessageError as error:
        assert str(error)


@pytest.mark.parametrize(
    "change",
    [
        {"session": "00"},
        {"session": 7},
        {"session": "zz" * 16},
        {"resend": 1},
        {"mine": -1},
        {"mine": True},
        {"mine": 2**63},
        {"mine": "1"},
        {"kind": "Nonsense"},
        {"kind": None},
        {"yours": None},
    ],
)
def test_wrong_types_and_bounds_are_refused(change: dict[str, object]) -> None:
    good = json.loads(encode(messages.Begin(Id(bytes(16)), False, 1, 2)))
    with pytest.raises(MessageError):
        decode(json.dumps({**good, **change}).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"timeout_s": 0},
        {"timeout_s": "1"},
        {"timeout_s": True},
        {"timeout_s": 1e300},
        {"state": "x" * 3000},
        {"state": 4},
        {"generation": {"id": "00" * 16, "parents": ["00" * 16] * 33}},
        {"generation": {"id": "00" * 16}},
        {"generation": "00" * 16},
        {"generation": {"id": 3, "parents": []}},
    ],
)
def test_wrong_members_of_a_hello_are_refused(change: dict[str, object]) -> None:
    from .machine_bench import hello

    good = json.loads(encode(hello()))
    with pytest.raises(MessageError):
        decode(json.dumps({**good, **change}).encode())


def test_a_missing_member_is_named() -> None:
    with pytest.raises(MessageError, match="lacks 'outdated'"):
        decode(b'{"kind":"Ready","session":"' + b"00" * 16 + b'"}')


def test_members_of_a_newer_version_are_ignored() -> None:
    message = messages.Accept(Id(bytes(16)))
    more = {**json.loads(encode(message)), "colour": "blue"}
    assert decode(json.dumps(more).encode()) == message


@pytest.mark.parametrize("data", [b"[]", b"nonsense", b"\xff", b"[" * 20000, b" " * (MAX_MESSAGE_BYTES + 1)])
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode(data)
