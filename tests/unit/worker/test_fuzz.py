"""Whatever comes over the socket between agent and worker, or lies in the worker's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.fuzzing import HUGE_NUMBER, TOO_DEEP, json_values, odd_objects
from tests.unit.worker.worker_scene import Scene

from twinhull.errors import AttachError
from twinhull.worker.link import MAX_LINE_BYTES, LineBuffer
from twinhull.worker.offer import OfferFile
from twinhull.worker.worker import FROM_AGENT

FIXTURE = [HealthCheck.function_scoped_fixture]
OPS = (*FROM_AGENT, "command", "told", "what nobody knows")
MEMBERS = ("id", "command", "arguments", "message", "process", "counter", "echo_process", "echo", "session")
COMMANDS = ("start", "swap", "abandon", "verify", "verify-end", "checker-suspend", "restart")


@given(st.lists(odd_objects("op", "id"), max_size=5), st.integers(1, 30))
def test_objects_arrive_in_order_however_the_bytes_are_cut(objects: list[dict[str, Any]], step: int) -> None:
    stream = b"".join(json.dumps(words).encode() + b"\n" for words in objects)
    buffer = LineBuffer()
    found = [
        words for begin in range(0, len(stream), step) for words in buffer.feed(stream[begin : begin + step])
    ]
    assert [json.dumps(words) for words in found] == [json.dumps(words) for words in objects]


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_on_the_socket_are_read_or_refused(pieces: list[bytes]) -> None:
    buffer = LineBuffer()
    try:
        for piece in pieces:
            assert all(isinstance(words, dict) for words in buffer.feed(piece))
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("line", [TOO_DEEP, HUGE_NUMBER, "NaN", '{"a":' * 100_000, ""])
def test_a_line_that_is_no_object_of_sane_depth_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        LineBuffer().feed(line.encode() + b"\n")


def test_a_line_without_an_end_is_given_up_before_it_fills_the_memory() -> None:
    buffer = LineBuffer()
    piece = b"x" * (1 << 16)
    with pytest.raises(ValueError, match="longer"):
        for _ in range(MAX_LINE_BYTES // len(piece) + 2):
            buffer.feed(piece)


messages = st.builds(
    lambda op, more, command: {**more, "op": op, **({"command": command} if command else {})},
    st.sampled_from(OPS) | json_values,
    odd_objects(*MEMBERS),
    st.none() | st.sampled_from(COMMANDS),
)


@settings(max_examples=200, suppress_health_check=FIXTURE)
@given(message=messages)
def test_a_worker_survives_whatever_its_agent_says(scene: Scene, message: dict[str, Any]) -> None:
    scene.worker._agent_said(message)


offers = st.one_of(
    st.binary(max_size=80),
    json_values.map(lambda value: json.dumps(value).encode()),
    odd_objects("target", "address", "port", "user", "secret", "volume").map(
        lambda value: json.dumps(value).encode()
    ),
    st.sampled_from([TOO_DEEP.encode(), b'{"port": Infinity}', b'{"port": ' + HUGE_NUMBER.encode() + b"}"]),
)


@settings(suppress_health_check=FIXTURE)
@given(offers)
def test_any_offer_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "offer.json"
    file.write_bytes(data)
    try:
        OfferFile(file).read()
    except AttachError as error:
        assert "Remove it" in str(error) or error.remedy
