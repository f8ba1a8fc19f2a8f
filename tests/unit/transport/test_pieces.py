"""The small parts of the shells that need no socket."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.errors import ProtocolError
from twinhull.transport.heartbeats import BeatCodec
from twinhull.transport.listener import Refusals
from twinhull.transport.stream import RECORD_BYTES, coalesce


@given(st.lists(st.integers(0, 3 * RECORD_BYTES), max_size=6))
def test_pieces_are_the_same_bytes_in_whole_records(sizes: list[int]) -> None:
    buffers = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    pieces = [bytes(piece) for piece in coalesce(buffers)]
    assert b"".join(pieces) == b"".join(buffers)
    assert all(pieces)
    assert all(len(piece) % RECORD_BYTES == 0 for piece in pieces[:-1])


def test_a_large_buffer_is_not_copied() -> None:
    data = bytearray(4 * RECORD_BYTES)
    (piece,) = coalesce([data])
    assert piece.obj is data


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(1, 60))
def test_beats_arrive_in_order_however_the_bytes_are_cut(payloads: list[bytes], step: int) -> None:
    sender, receiver = BeatCodec(), BeatCodec()
    stream = b"".join(sender.encode(payload, 0, 0) for payload in payloads)
    beats = [
        beat
        for start in range(0, len(stream), step)
        for beat in receiver.decode(stream[start : start + step])
    ]
    assert [beat.payload for beat in beats] == payloads
    assert [beat.counter for beat in beats] == list(range(1, len(payloads) + 1))


def test_a_beat_that_was_seen_before_is_refused() -> None:
    sender, receiver = BeatCodec(), BeatCodec()
    beat = sender.encode(b"x", 0, 0)
    receiver.decode(beat)
    with pytest.raises(ProtocolError, match="out of order"):
        receiver.decode(beat)


def test_a_beat_that_echoes_what_was_never_sent_is_refused() -> None:
    with pytest.raises(ProtocolError, match="out of order"):
        BeatCodec().decode(BeatCodec().encode(b"x", 1, 0))


@given(st.binary(min_size=32, max_size=100))
def test_bytes_that_are_no_beat_are_refused(noise: bytes) -> None:
    with pytest.raises(ProtocolError):
        BeatCodec().decode(b"GE" + noise)


def test_one_address_is_logged_once_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    refusals = Refusals(logging.getLogger("twinhull.test"), lambda: now_s, quiet_s=60, max_addresses=2)
    for _ in range(100):
        refusals.note("192.0.2.1", "refused 192.0.2.1")
    refusals.note("192.0.2.2", "refused 192.0.2.2")
    assert caplog.messages == ["refused 192.0.2.1", "refused 192.0.2.2"]
    now_s = 61.0
    refusals.note("192.0.2.1", "refused 192.0.2.1")
    assert caplog.messages[-1] == "refused 192.0.2.1 (99 more from there were not logged)"
    assert refusals.count == 102


def test_many_addresses_take_no_more_memory_than_allowed(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(logging.getLogger("twinhull.test"), lambda: 0.0, max_addresses=10)
    for number in range(1000):
        refusals.note(f"192.0.2.{number}", "refused")
    assert len(refusals._seen) <= 10
