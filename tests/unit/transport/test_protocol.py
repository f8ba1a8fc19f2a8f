"""The stream's protocol core: what one side queues the other reads, and nothing else gets through."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinhull.core import frames as core
from twinhull.core.frames import DataFrame
from twinhull.core.identity import Id
from twinhull.errors import ProtocolError
from twinhull.transport import frames
from twinhull.transport.protocol import (
    Closed,
    Event,
    FrameReceived,
    KeepaliveReceived,
    MessageReceived,
    Opened,
    StreamProtocol,
    copy_of,
)

SESSION = Id(b"S" * 16)
NEXT_SESSION = Id(b"N" * 16)
GENERATION = Id(b"G" * 16)
OTHER_GENERATION = Id(b"H" * 16)


def protocol(node: str = "a", peer: str = "b", **changes: object) -> StreamProtocol:
    members = {"cluster": "c1", "module": "vm1", "node": node, "peer": peer, **changes}
    return StreamProtocol(**members)  # type: ignore[arg-type]


def carry(source: StreamProtocol, target: StreamProtocol) -> list[Event]:
    return list(target.receive_data(wire(source)))


def wire(source: StreamProtocol) -> bytes:
    return b"".join(source.data_to_send())


def open_pair() -> tuple[StreamProtocol, StreamProtocol]:
    a, b = protocol("a", "b"), protocol("b", "a")
    assert carry(a, b) == [Opened(frames.MAX_VERSION, "a")]
    assert carry(b, a) == [Opened(frames.MAX_VERSION, "b")]
    return a, b


def session_pair() -> tuple[StreamProtocol, StreamProtocol]:
    a, b = open_pair()
    a.set_session(SESSION, GENERATION)
    b.set_session(SESSION, GENERATION)
    return a, b


def data_of(events: Iterable[Event]) -> list[DataFrame]:
    return [copy_of(event.frame) for event in events if isinstance(event, FrameReceived)]


numbers = st.integers(0, 2**64 - 1)
offsets = st.integers(0, 2**62)
lengths = st.integers(1, 2**62)
bulk = st.binary(min_size=1, max_size=9000)
data_frames = st.one_of(
    st.builds(core.Write, numbers, offsets, bulk),
    st.builds(core.Copy, numbers, offsets, bulk),
    st.builds(core.Discard, numbers, offsets, lengths),
    st.builds(core.CopyZero, numbers, offsets, lengths),
    *(
        st.builds(kind, numbers)
        for kind in (
            core.Flush,
            core.Ack,
            core.Flushed,
            core.Clear,
            core.CopyAck,
            core.CopyFlush,
            core.CopyFlushed,
        )
    ),
    st.builds(core.Marks, numbers, st.binary(max_size=4096)),
    st.just(core.MarksEnd()),
    st.builds(core.Digests, numbers, offsets, st.integers(1, 40).map(lambda count: b"d" * 16 * count)),
    st.builds(core.Differ, numbers, st.lists(st.sampled_from([0, 1]), min_size=1).map(bytes)),
    st.builds(core.PeerDiskFailed, st.text(max_size=300)),
    *(st.builds(kind, numbers, offsets, lengths) for kind in (core.CompareZero, core.Keep, core.Fetch)),
    st.builds(core.Kept, numbers, st.text(max_size=300)),
    st.builds(core.Fetched, numbers, offsets, bulk),
)
keepalives = st.builds(
    frames.Keepalive,
    st.binary(min_size=16, max_size=16).map(Id),
    numbers,
    st.just(Id(b"E" * 16)),
    numbers,
    st.none() | st.binary(min_size=16, max_size=16).map(Id),
    st.sampled_from(["PRIM", "SECOND", ""]),
)


class TestTravel:
    @given(st.lists(data_frames, max_size=12), st.lists(st.integers(1, 5000), max_size=40))
    @settings(max_examples=200, deadline=None)
    def test_every_frame_arrives_as_it_was_sent_however_the_bytes_are_cut(
        self, sent: list[DataFrame], cuts: list[int]
    ) -> None:
        a, b = session_pair()
        for frame in sent:
            a.send_frame(frame)
        stream = wire(a)
        received: list[DataFrame] = []
        for cut in cuts:
            received += data_of(b.receive_data(stream[:cut]))
            stream = stream[cut:]
        received += data_of(b.receive_data(stream))
        assert received == sent

    @given(keepalives)
    @settings(deadline=None)
    def test_a_keepalive_arrives_as_it_was_sent(self, keepalive: frames.Keepalive) -> None:
        a, b = open_pair()
        a.send_keepalive(keepalive)
        assert carry(a, b) == [KeepaliveReceived(keepalive)]

    def test_a_keepalive_without_echo_and_session_says_so(self) -> None:
        a, b = open_pair()
        keepalive = frames.Keepalive(SESSION, 7, None, 0, None, "WAIT")
        a.send_keepalive(keepalive)
        assert carry(a, b) == [KeepaliveReceived(keepalive)]

    def test_a_message_arrives_outside_of_any_session(self) -> None:
        a, b = open_pair()
        a.send_message(b'{"kind":"hello"}')
        assert carry(a, b) == [MessageReceived(b'{"kind":"hello"}')]

    def test_the_largest_write_travels_and_a_larger_one_is_our_own_mistake(self) -> None:
        a, b = session_pair()
        a.send_frame(core.Write(1, 0, b"x" * frames.MAX_DATA_BYTES))
        assert data_of(carry(a, b)) == [core.Write(1, 0, b"x" * frames.MAX_DATA_BYTES)]
        with pytest.raises(ValueError, match="do not fit"):
            a.send_frame(core.Write(2, 0, b"x" * (frames.MAX_DATA_BYTES + 1)))

    def test_data_is_sent_and_received_without_being_copied(self) -> None:
        a, b = session_pair()
        data = bytearray(b"before" * 100)
        a.send_frame(core.Write(1, 0, data))
        assert any(buffer is data for buffer in a.data_to_send())
        a.send_frame(core.Write(2, 0, bytes(data)))
        arrived = bytearray(wire(a))
        (event,) = b.receive_data(arrived)
        assert isinstance(event, FrameReceived)
        assert isinstance(event.frame, core.Write)
        arrived[-5:] = b"after"
        assert bytes(event.frame.data)[-5:] == b"after"

    @pytest.mark.parametrize(
        "frame",
        [
            core.Write(1, 0, b""),
            core.Write(1, -1, b"x"),
            core.Write(2**64, 0, b"x"),
            core.Discard(1, 0, 0),
            core.Discard(1, 2**63, 1),
            core.Ack(-1),
            core.Digests(1, 0, b"short"),
            core.Marks(1, b"x" * (frames.MAX_DATA_BYTES + 1)),
        ],
    )
    def test_a_frame_that_does_not_fit_is_refused_where_it_is_sent(self, frame: DataFrame) -> None:
        a, _ = session_pair()
        with pytest.raises(ValueError):
            a.send_frame(frame)


class TestOpening:
    def test_the_highest_common_version_is_agreed_on(self) -> None:
        a, b = protocol("a", "b", versions=(1, 3)), protocol("b", "a", versions=(2, 5))
        assert carry(a, b) == [Opened(3, "a")]
        assert carry(b, a) == [Opened(3, "b")]
        a.send_message(b"x")
        assert carry(a, b) == [MessageReceived(b"x")]

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"versions": (8, 9)}, "protocol versions 8 to 9"),
            ({"cluster": "c2"}, "cluster 'c2'"),
            ({"module": "vm2"}, "module 'vm2'"),
            ({"node": "x"}, "calls itself 'x'"),
        ],
    )
    def test_an_opening_that_does_not_fit_is_refused_and_the_peer_is_told_why(
        self, changes: dict[str, object], reason: str
    ) -> None:
        stranger = protocol(**{"node": "a", "peer": "b", **changes})  # type: ignore[arg-type]
        b = protocol("b", "a")
        with pytest.raises(ProtocolError, match=reason):
            carry(stranger, b)
        assert b.closing_reason is not None
        *_, last = frames_of(wire(b))
        assert last.type is frames.FrameType.CLOSE

    def test_a_node_that_is_upgraded_and_one_that_is_not_yet_speak_the_older_version(self) -> None:
        old, new = protocol("a", "b", versions=(1, 1)), protocol("b", "a", versions=(1, 2))
        assert carry(old, new) == [Opened(1, "a")]
        assert carry(new, old) == [Opened(1, "b")]
        for side in (old, new):
            side.set_session(SESSION, GENERATION)
        new.send_frame(core.Write(1, 0, b"x"))
        assert data_of(carry(new, old)) == [core.Write(1, 0, b"x")]

    def test_two_nodes_too_far_apart_refuse_each_other_and_say_what_they_speak(self) -> None:
        old, new = protocol("a", "b", versions=(1, 1)), protocol("b", "a", versions=(2, 3))
        with pytest.raises(ProtocolError, match="speaks protocol versions 1 to 1, node b speaks 2 to 3"):
            carry(old, new)
        with pytest.raises(
            ProtocolError, match="speaks protocol versions 2 to 3, node a speaks 1 to 1"
        ) as told:
            carry(new, old)
        assert "compatible versions" in told.value.remedy

    def test_what_a_later_version_says_of_itself_besides_is_left_aside(self) -> None:
        b = protocol("b", "a")
        members = b'{"versions":[1,9],"cluster":"c1","module":"vm1","node":"a","colour":"blue"}'
        envelope = frames.Envelope(frames.BASE_VERSION, b"\0" * 4, frames.NO_TAG, frames.NO_TAG)
        assert list(b.receive_data(frames.pack(envelope, frames.FrameType.OPEN, members))) == [
            Opened(frames.MAX_VERSION, "a")
        ]

    @pytest.mark.parametrize(
        "frame",
        [
            core.CompareZero(1, 0, 32768),
            core.Keep(1, 0, 32768),
            core.Kept(1, ""),
            core.Fetch(1, 0, 32768),
            core.Fetched(1, 0, b"x"),
        ],
    )
    def test_frames_of_a_later_version_than_the_agreed_one_end_the_connection(self, frame: DataFrame) -> None:
        a, b = protocol("a", "b", versions=(1, 1)), protocol("b", "a")
        carry(a, b)
        carry(b, a)
        for side in (a, b):
            side.set_session(SESSION, GENERATION)
        a.send_frame(frame)
        with pytest.raises(ProtocolError, match="which version 1 does not have"):
            carry(a, b)

    def test_a_refused_side_reads_the_reason(self) -> None:
        a, b = protocol("a", "b", versions=(1, 1)), protocol("b", "a", versions=(1, 1))
        b_out = wire(b)
        list(a.receive_data(b_out))
        refusal = protocol("b", "a", cluster="elsewhere")
        with pytest.raises(ProtocolError):
            carry(a, refusal)
        refusal_out = b"".join(refusal.data_to_send())
        opening_bytes = frames.HEADER_BYTES + frames.decode_header(refusal_out).length_bytes
        (closed,) = a.receive_data(refusal_out[opening_bytes:])
        assert isinstance(closed, Closed)
        assert closed.refused
        assert "elsewhere" in closed.reason
        assert a.closing_reason == closed.reason

    def test_nothing_is_taken_before_the_opening(self) -> None:
        a, _ = session_pair()
        a.send_message(b"too early")
        with pytest.raises(ProtocolError, match="before its opening"):
            carry(a, protocol("b", "a"))

    def test_nothing_can_be_sent_before_the_opening(self) -> None:
        with pytest.raises(ValueError, match="not open"):
            protocol().send_message(b"x")
        with pytest.raises(ValueError, match="outside of a session"):
            protocol().send_frame(core.Ack(1))

    def test_a_second_opening_is_nonsense(self) -> None:
        _, b = open_pair()
        with pytest.raises(ProtocolError, match="second opening"):
            carry(protocol("a", "b"), b)

    def test_a_node_does_not_talk_to_itself(self) -> None:
        with pytest.raises(ProtocolError):
            carry(protocol("a", "a"), protocol("a", "a"))

    @pytest.mark.parametrize(
        "payload",
        [
            b"{}",
            b"[]",
            b"\xff\xff",
            b"[" * 4000,
            b'{"versions":[2,1],"cluster":"c1","module":"vm1","node":"a"}',
        ],
    )
    def test_an_opening_that_cannot_be_read_is_refused(self, payload: bytes) -> None:
        envelope = frames.Envelope(1, bytes(4), frames.NO_TAG, frames.NO_TAG)
        with pytest.raises(ProtocolError, match="opening"):
            list(protocol("b", "a").receive_data(frames.pack(envelope, frames.FrameType.OPEN, payload)))


class TestSessions:
    def test_frames_of_an_ended_session_are_dropped_and_counted(self) -> None:
        a, b = session_pair()
        a.send_frame(core.Write(1, 0, b"late"))
        b.set_session(None, None)
        assert carry(a, b) == []
        assert b.dropped_frames == 1
        b.set_session(NEXT_SESSION, GENERATION)
        a.send_frame(core.Write(2, 0, b"later"))
        assert carry(a, b) == []
        assert b.dropped_frames == 2

    def test_what_ends_the_session_ends_it_for_the_next_frame_of_the_same_bytes(self) -> None:
        a, b = session_pair()
        a.send_message(b"hand over")
        a.send_frame(core.Write(1, 0, b"x"))
        taken: list[Event] = []
        for event in b.receive_data(wire(a)):
            taken.append(event)
            b.set_session(None, None)
        assert taken == [MessageReceived(b"hand over")]
        assert b.dropped_frames == 1

    def test_frames_that_arrive_before_their_session_began_here_are_handed_over_when_it_does(self) -> None:
        a, b = open_pair()
        a.set_session(SESSION, GENERATION)
        a.send_frame(core.Write(1, 0, b"one"))
        a.send_message(b"not held")
        a.send_frame(core.Ack(2))
        assert carry(a, b) == [MessageReceived(b"not held")]
        released = b.set_session(SESSION, GENERATION)
        assert data_of(released) == [core.Write(1, 0, b"one"), core.Ack(2)]
        a.send_frame(core.Ack(3))
        assert carry(a, b) == [FrameReceived(core.Ack(3))]

    def test_what_is_held_back_does_not_change_with_the_buffer_it_came_in(self) -> None:
        a, b = open_pair()
        a.set_session(SESSION, GENERATION)
        a.send_frame(core.Write(1, 0, b"one"))
        buffer = bytearray(wire(a))
        assert list(b.receive_data(buffer)) == []
        buffer[:] = bytes(len(buffer))
        assert data_of(b.set_session(SESSION, GENERATION)) == [core.Write(1, 0, b"one")]

    def test_frames_of_the_next_session_wait_while_the_old_one_still_runs_here(self) -> None:
        a, b = session_pair()
        a.set_session(NEXT_SESSION, GENERATION)
        a.send_frame(core.Ack(1))
        assert carry(a, b) == []
        assert data_of(b.set_session(NEXT_SESSION, GENERATION)) == [core.Ack(1)]

    def test_too_much_for_a_session_that_never_begins_ends_the_connection(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("twinhull.transport.protocol.MAX_HELD_BYTES", 1000)
        a, b = open_pair()
        a.set_session(SESSION, GENERATION)
        a.send_frame(core.Write(1, 0, b"x" * 2000))
        with pytest.raises(ProtocolError, match="did not begin here"):
            carry(a, b)

    def test_another_generation_within_the_session_is_refused(self) -> None:
        a, b = open_pair()
        a.set_session(SESSION, OTHER_GENERATION)
        b.set_session(SESSION, GENERATION)
        a.send_frame(core.Write(1, 0, b"x"))
        with pytest.raises(ProtocolError, match="another generation"):
            carry(a, b)

    def test_another_generation_is_refused_for_what_was_held_back_too(self) -> None:
        a, b = open_pair()
        a.set_session(SESSION, OTHER_GENERATION)
        a.send_frame(core.Write(1, 0, b"x"))
        assert carry(a, b) == []
        with pytest.raises(ProtocolError, match="another generation"):
            b.set_session(SESSION, GENERATION)

    def test_a_session_that_was_ended_does_not_begin_again(self) -> None:
        a, _ = session_pair()
        a.set_session(None, None)
        with pytest.raises(ValueError, match="is over"):
            a.set_session(SESSION, GENERATION)

    def test_setting_the_same_session_again_changes_nothing(self) -> None:
        a, b = session_pair()
        a.set_session(SESSION, GENERATION)
        a.send_frame(core.Ack(1))
        assert carry(a, b) == [FrameReceived(core.Ack(1))]


def frames_of(stream: bytes) -> list[frames.Header]:
    headers = []
    while stream:
        header = frames.decode_header(stream)
        headers.append(header)
        stream = stream[frames.HEADER_BYTES + header.length_bytes :]
    return headers


def patched(stream: bytes, offset: int, value: bytes) -> bytes:
    return stream[:offset] + value + stream[offset + len(value) :]


class TestNonsense:
    @pytest.mark.parametrize(
        ("offset", "value", "reason"),
        [
            (0, b"GE", "no frame"),
            (2, b"\x09", "version 9"),
            (3, b"\xee", "unknown type 238"),
            (4, b"\x00\x04", "unknown flags"),
            (6, b"\x00\x01", "unknown flags"),
            (8, struct.pack("!I", frames.MAX_PAYLOAD_BYTES + 1), "too long"),
            (8, struct.pack("!I", 3), "too short"),
            (12, b"\x00\x00\x00\x01", "another module"),
            (16, frames.NO_TAG, "outside of a session"),
            (24, frames.NO_TAG, "outside of a session"),
            (24, b"otherone", "another generation"),
            (40, b"\xff", "impossible offset"),
        ],
    )
    def test_a_write_with_one_wrong_member_ends_the_connection_and_says_why(
        self, offset: int, value: bytes, reason: str
    ) -> None:
        a, b = session_pair()
        a.send_frame(core.Write(1, 0, b"payload"))
        with pytest.raises(ProtocolError, match=reason) as caught:
            list(b.receive_data(patched(wire(a), offset, value)))
        assert "vm1" in str(caught.value)
        assert "node a" in str(caught.value)
        (closed,) = carry(b, a)
        assert isinstance(closed, Closed)
        assert reason in closed.reason

    def test_an_oversized_frame_is_refused_before_its_bytes_arrive(self) -> None:
        a, b = session_pair()
        a.send_frame(core.Write(1, 0, b"payload"))
        header = patched(wire(a), 8, struct.pack("!I", 2**31))[: frames.HEADER_BYTES]
        with pytest.raises(ProtocolError, match="too long"):
            for octet in header:
                list(b.receive_data(bytes([octet])))

    def test_nothing_is_handed_over_after_the_connection_failed(self) -> None:
        a, b = session_pair()
        with pytest.raises(ProtocolError):
            list(b.receive_data(b"GET / HTTP/1.1\r\nHost: somewhere.example\r\n\r\n"))
        a.send_frame(core.Ack(1))
        assert carry(a, b) == []

    def test_a_message_inside_of_a_session_is_nonsense(self) -> None:
        a, b = session_pair()
        a.send_message(b"x")
        with pytest.raises(ProtocolError, match="inside of a session"):
            list(b.receive_data(patched(wire(a), 16, b"12345678")))

    def test_a_message_with_a_number_is_nonsense(self) -> None:
        a, b = session_pair()
        a.send_message(b"x")
        with pytest.raises(ProtocolError, match="with a number"):
            list(b.receive_data(patched(wire(a), 32, b"12345678")))

    @pytest.mark.parametrize(
        ("kind", "payload"),
        [
            (frames.FrameType.DISCARD, bytes(16)),
            (frames.FrameType.DISCARD, b"\xff" * 16),
            (frames.FrameType.DIFFER, b"\x02"),
            (frames.FrameType.DIGESTS, bytes(8 + 17)),
            (frames.FrameType.PEER_DISK_FAILED, b"\xff"),
        ],
    )
    def test_payloads_that_do_not_fit_their_type_are_refused(
        self, kind: frames.FrameType, payload: bytes
    ) -> None:
        _, b = session_pair()
        envelope = frames.Envelope(
            1, frames.tag_of_module("vm1"), frames.tag_of_id(SESSION), frames.tag_of_id(GENERATION)
        )
        with pytest.raises(ProtocolError):
            list(b.receive_data(frames.pack(envelope, kind, payload)))

    @given(st.binary(max_size=400), st.booleans())
    @settings(max_examples=300, deadline=None)
    def test_any_bytes_end_in_an_error_or_in_waiting_for_more(self, noise: bytes, in_session: bool) -> None:
        _, b = session_pair() if in_session else (None, protocol("b", "a"))
        try:
            events = list(b.receive_data(noise))
        except ProtocolError:
            assert b.closing_reason is not None
        else:
            assert events == []

    @given(st.lists(data_frames, min_size=1, max_size=5), st.data())
    @settings(max_examples=300, deadline=None)
    def test_one_changed_header_octet_never_makes_another_error_than_ours(
        self, sent: list[DataFrame], data: st.DataObject
    ) -> None:
        a, b = session_pair()
        for frame in sent:
            a.send_frame(frame)
        stream = bytearray(wire(a))
        position = data.draw(st.integers(0, frames.HEADER_BYTES - 1))
        stream[position] ^= data.draw(st.integers(1, 255))
        try:
            list(b.receive_data(stream))
        except ProtocolError:
            assert b.closing_reason is not None

    def test_bytes_whose_events_were_not_taken_are_not_lost_in_silence(self) -> None:
        a, b = session_pair()
        a.send_frame(core.Ack(1))
        a.send_frame(core.Ack(2))
        events = b.receive_data(wire(a))
        next(events)
        with pytest.raises(ValueError, match="not taken"):
            list(b.receive_data(b""))


class TestClosing:
    def test_the_peer_reads_why_the_stream_was_closed(self) -> None:
        a, b = session_pair()
        a.close("the volume's disk failed")
        assert carry(a, b) == [Closed("the volume's disk failed", False)]
        with pytest.raises(ValueError, match="not open"):
            b.send_message(b"x")

    def test_a_reason_that_is_too_long_is_cut(self) -> None:
        a, b = session_pair()
        a.close("ü" * 5000)
        (closed,) = carry(a, b)
        assert isinstance(closed, Closed)
        assert len(closed.reason.encode()) <= frames.MAX_REASON_BYTES
