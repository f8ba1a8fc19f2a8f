"""Whatever bytes come over a network: frames, beats and answers are read, or refused with our own errors."""

from __future__ import annotations

import json
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fuzzing import HUGE_NUMBER, TOO_DEEP, json_values, odd_objects

from twinhull.errors import ProtocolError, TransportError
from twinhull.transport import frames
from twinhull.transport.control import Caller, ControlClient, ControlServer
from twinhull.transport.heartbeats import MAX_BEAT_BYTES, BeatCodec
from twinhull.transport.tls import Role

ENVELOPE = frames.Envelope(1, frames.tag_of_module("vm1"), bytes(8), bytes(8))
DATA_TYPES = [kind for kind in frames.FrameType if kind not in (
    frames.FrameType.OPEN, frames.FrameType.CLOSE, frames.FrameType.KEEPALIVE
)]  # fmt: skip
KEEPALIVE_BYTES = frames._KEEPALIVE.size
PERSON = Caller("anna", Role.OPERATOR, "127.0.0.1")


@settings(max_examples=500)
@given(st.sampled_from(DATA_TYPES), st.binary(max_size=300), st.integers(0, 2**64 - 1))
def test_any_payload_of_any_data_frame_is_read_or_refused(
    kind: frames.FrameType, payload: bytes, number: int
) -> None:
    try:
        header = frames.decode_header(frames.pack(ENVELOPE, kind, payload, number))
        frames.decode(header, memoryview(payload))
    except (ProtocolError, ValueError) as error:
        # Our own packing refuses what no frame of that type may be; decoding only raises ProtocolError.
        assert isinstance(error, ProtocolError) or not _packs(kind, payload, number)


def _packs(kind: frames.FrameType, payload: bytes, number: int) -> bool:
    try:
        frames.pack(ENVELOPE, kind, payload, number)
    except ValueError:
        return False
    return True


@given(st.binary(min_size=frames.HEADER_BYTES, max_size=frames.HEADER_BYTES))
def test_any_header_is_read_or_refused_and_never_promises_more_than_a_frame(data: bytes) -> None:
    odd = struct.pack_into
    header = bytearray(data)
    magic = frames.MAGIC
    odd(f"{len(magic)}s", header, 0, magic)
    try:
        read = frames.decode_header(bytes(header))
    except ProtocolError:
        return
    assert 0 <= read.length_bytes <= max(frames._MAX_LENGTH.values())


@given(st.integers(0, 255), st.binary(min_size=KEEPALIVE_BYTES, max_size=KEEPALIVE_BYTES + 40))
def test_any_keepalive_is_read_or_refused(flags: int, payload: bytes) -> None:
    header = frames.Header(
        1, frames.FrameType.KEEPALIVE, flags, len(payload), bytes(8), bytes(8), bytes(8), 0
    )
    try:
        frames.decode_keepalive(header, memoryview(payload))
    except ProtocolError as error:
        assert str(error)


openings = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    odd_objects("versions", "cluster", "module", "node").map(lambda value: json.dumps(value).encode()),
    st.sampled_from([TOO_DEEP.encode(), HUGE_NUMBER.encode(), b'{"versions":[1,Infinity]}']),
)


@given(openings)
def test_any_opening_is_read_or_refused(payload: bytes) -> None:
    try:
        opening = frames.decode_open(memoryview(payload))
    except ProtocolError:
        return
    assert all(isinstance(name, str) for name in (opening.cluster, opening.module, opening.node))


@given(st.binary(max_size=80))
def test_any_reason_of_a_close_is_read_or_refused(payload: bytes) -> None:
    header = frames.Header(1, frames.FrameType.CLOSE, 0, len(payload), bytes(8), bytes(8), bytes(8), 0)
    try:
        assert frames.decode_close(header, memoryview(payload)).reason == payload.decode()
    except ProtocolError:
        with pytest.raises(UnicodeDecodeError):
            payload.decode()


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=120), max_size=8), st.integers(0, 10), st.integers(0, 2**31))
def test_beats_with_changed_bytes_are_read_or_refused_and_hold_little(
    payloads: list[bytes], changes: int, seed: int
) -> None:
    sender, receiver = BeatCodec(), BeatCodec()
    stream = bytearray(b"".join(sender.encode(payload, 0, 0) for payload in payloads))
    chance = random.Random(seed)
    for _ in range(changes if stream else 0):
        stream[chance.randrange(len(stream))] = chance.randrange(256)
    try:
        for begin in range(0, len(stream), 7):
            receiver.decode(bytes(stream[begin : begin + 7]))
    except ProtocolError as error:
        assert str(error)
    assert len(receiver._received) <= MAX_BEAT_BYTES + 64


class _Answering:
    """A server without a network, with one method that answers what it got."""

    def __init__(self) -> None:
        self.server = ControlServer([], None, {"say": lambda _, words: words}, cluster="c1")  # type: ignore[arg-type]

    def ask(self, name: str, data: bytes) -> object:
        return json.loads(self.server._answer(PERSON, name, data))


requests = st.one_of(
    st.binary(max_size=100),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([TOO_DEEP.encode(), HUGE_NUMBER.encode(), b"\xff\xfe[", b'{"a":"\\ud800"}']),
)


@given(st.sampled_from(["say", "", "__class__", "say\0"]), requests)
def test_any_request_is_answered(name: str, data: bytes) -> None:
    answer = _Answering().ask(name, data)
    assert isinstance(answer, dict)
    assert set(answer) <= {"result", "error"}


answers = st.one_of(
    json_values,
    st.binary(max_size=80),
    json_values.map(lambda value: json.dumps(value).encode()),
    odd_objects("error", "result").map(lambda value: json.dumps(value).encode()),
    odd_objects("what", "remedy", "exit_code", "kind").map(lambda value: json.dumps({"error": value}).encode()),
    st.sampled_from([
        TOO_DEEP.encode(),
        b'{"error":{"what":"x","remedy":"","exit_code":Infinity,"kind":"x"}}',
        b'{"error":{"what":"x","remedy":"","exit_code":NaN,"kind":"x"}}',
    ]),
)  # fmt: skip


@settings(max_examples=300)
@given(answers)
def test_any_answer_is_read_or_refused(answer: object) -> None:
    client = ControlClient("127.0.0.1", 1, None, cluster="c1", expected_name="a")  # type: ignore[arg-type]
    try:
        assert isinstance(client._result(answer), dict)
    except TransportError as error:
        assert str(error)
