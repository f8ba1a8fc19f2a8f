"""Who goes on after a split brain: both sides compute the same, and nobody guesses."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from twinhull.core.heal import Choice, choose
from twinhull.core.identity import Generation, Id
from twinhull.core.messages import Heal, HealAnswer, Hello, decode, encode

A, B = Id(b"a" * 16), Id(b"b" * 16)


def hello(replica: Id, **facts: Any) -> Hello:
    plain: dict[str, Any] = {
        "process": replica, "number": 1, "replica": replica, "peer_replica": None, "volume": None, "size_bytes": 1,
        "generation": Generation(replica), "uptodate": True, "peer_may_be_uptodate": False, "role": "primary",
        "state": "ALONE", "running": True, "survivor": False, "session": None, "marks": True, "preferred": None,
        "timeout_s": 1.0, "write_timeout_s": 1.0, "witness": "none", "keep": "longest-running", "running_ms": 0,
        "heals": True, "rescues": True,
    }  # fmt: skip
    return Hello(**(plain | facts))


def both(first: dict[str, Any], second: dict[str, Any]) -> tuple[Choice | str, Choice | str]:
    a, b = hello(A, **first), hello(B, **second)
    return choose(a, b, "a", "b"), choose(b, a, "b", "a")


def winner(first: dict[str, Any], second: dict[str, Any]) -> str:
    of_a, of_b = both(first, second)
    assert isinstance(of_a, Choice) and isinstance(of_b, Choice)
    assert of_a.mine is not of_b.mine
    assert of_a.reason == of_b.reason
    return "a" if of_a.mine else "b"


def test_who_ran_longer_alone_goes_on() -> None:
    assert winner({"running_ms": 90_000}, {"running_ms": 40_000}) == "a"
    assert winner({"running_ms": 90_000, "preferred": "a"}, {"running_ms": 400_000, "preferred": "a"}) == "b"


def test_a_tie_goes_to_the_preferred_node() -> None:
    for ahead in (-900, 0, 900):
        facts = {"preferred": "b"}
        assert winner({"running_ms": 10_000 + ahead, **facts}, {"running_ms": 10_000, **facts}) == "b"


def test_without_a_preferred_node_even_a_tie_has_a_winner() -> None:
    assert winner({"running_ms": 10_001}, {"running_ms": 10_000}) == "a"
    assert winner({"running_ms": 10_000}, {"running_ms": 10_000}) == "a"


def test_the_preferred_node_goes_on_however_long_the_other_ran() -> None:
    facts = {"keep": "preferred-node", "preferred": "b"}
    assert winner({"running_ms": 10**9, **facts}, facts) == "b"


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({"keep": "ask"}, {"keep": "ask"}, ""),
        ({"keep": "ask"}, {}, "keep is"),
        ({"keep": "preferred-node"}, {"keep": "preferred-node"}, "no preferred node"),
        ({"preferred": "a"}, {"preferred": "b"}, "the preferred node is configured differently"),
        ({"witness": "ping"}, {}, "the witness is"),
        ({"heals": False}, {}, "a is of a version that cannot"),
        ({"running_ms": 9000}, {"rescues": False}, "the rescue store of b"),
    ],
)
def test_where_it_is_not_clear_a_person_decides(
    first: dict[str, Any], second: dict[str, Any], why: str
) -> None:
    of_a, of_b = both(first, second)
    assert isinstance(of_a, str) and isinstance(of_b, str)
    assert why in of_a and why in of_b
    assert bool(of_a) is bool(why)


def test_the_winner_needs_no_room_for_a_rescue() -> None:
    assert winner({"running_ms": 9000, "rescues": False}, {}) == "a"


def test_both_sides_always_agree() -> None:
    rng = random.Random(1)
    choices = {
        "keep": ("ask", "longest-running", "preferred-node"), "preferred": (None, "a", "b"), "running_ms": (0, 500, 9000),
        "witness": ("none", "ping"), "heals": (True, True, False), "rescues": (True, True, False),
    }  # fmt: skip
    for _ in itertools.repeat(None, 5000):
        first, second = ({key: rng.choice(values) for key, values in choices.items()} for _ in range(2))
        of_a, of_b = both(first, second)
        assert isinstance(of_a, Choice) is isinstance(of_b, Choice)
        if isinstance(of_a, Choice) and isinstance(of_b, Choice):
            assert of_a.mine is not of_b.mine


@pytest.mark.parametrize("message", [Heal(3, 4, "why"), HealAnswer(False, "no"), hello(A)])
def test_messages_survive_the_wire(message: Any) -> None:
    assert decode(encode(message)) == message


def test_a_hello_of_a_version_without_healing_is_read_as_one_that_cannot() -> None:
    old = encode(hello(A)).replace(b',"heals":true,"rescues":true', b"")
    read = decode(old)
    assert isinstance(read, Hello)
    assert (read.heals, read.rescues) == (False, False)
