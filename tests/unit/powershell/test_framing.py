"""Frames between us and a PowerShell host."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.errors import PowerShellError
from twinhull.powershell import framing

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def _unmark(value: object) -> object:
    if isinstance(value, str):
        assert value.startswith("=")
        return value[1:]
    if isinstance(value, list):
        return [_unmark(item) for item in value]
    if isinstance(value, dict):
        return {key: _unmark(item) for key, item in value.items()}
    return value


@given(PLAIN)
def test_a_request_carries_its_arguments_as_ascii_json(value: object) -> None:
    frame = framing.encode_request(7, "Get-TwinhullPing", {"Value": value})
    (length,) = framing.HEAD.unpack(frame[: framing.HEAD.size])
    body = frame[framing.HEAD.size :]
    assert length == len(body)
    message = json.loads(body.decode("ascii"))
    assert message["id"] == 7
    assert message["function"] == "=Get-TwinhullPing"
    assert _unmark(message["arguments"]) == {"Value": value}


def test_what_is_no_plain_value_is_not_sent() -> None:
    with pytest.raises(TypeError, match="set cannot be told"):
        framing.encode_request(1, "Get-TwinhullPing", {"Value": {1, 2}})


def test_a_request_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(PowerShellError, match="too long"):
        framing.encode_request(1, "Get-TwinhullPing", {"Value": "x" * framing.LIMIT_BYTES})


def test_an_error_of_the_host_keeps_its_category_number_and_remedy() -> None:
    told = {
        "category": "denied", "message": "Access is denied. (0x80070005)", "remedy": "Grant it.",
        "id": "AccessDenied,Some.Command", "number": "80070005", "place": "at A\nat B",
    }  # fmt: skip
    reply = framing.parse_reply({"id": 3, "error": told})
    assert reply.error is not None
    assert str(reply.error) == "Access is denied. (0x80070005). Grant it."
    assert (reply.error.category, reply.error.number) == ("denied", "80070005")
    assert reply.error.place == "at A / at B"


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff\xfe"])
def test_a_body_that_is_no_message_is_told(body: bytes) -> None:
    with pytest.raises(PowerShellError):
        framing.decode(body)


def test_an_answer_without_a_number_is_refused() -> None:
    with pytest.raises(PowerShellError, match="without its number"):
        framing.parse_reply({"value": 1})
