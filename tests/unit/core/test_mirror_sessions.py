"""Sessions begin, break and end; roles change; stalls are noticed."""

from __future__ import annotations

import errno

import pytest
from tests.unit.core.mirror_kit import DATA, KIB, Bench

from twinhull.core import effects as fx
from twinhull.core.events import (
    LocalWriteTimeout,
    PeerMarksComplete,
    PeerWriteTimeout,
    Quiesced,
    SessionEnded,
)
from twinhull.core.frames import (
    Ack,
    Clear,
    CopyFlush,
    CopyFlushed,
    Discard,
    Flush,
    Flushed,
    Marks,
    MarksEnd,
    Write,
)
from twinhull.core.marks import BLOCK_BYTES, EXTENT_BYTES
from twinhull.core.mirror import MirrorProtocolError

# ---- a session that comes back ----------------------------------------


def test_what_the_peer_did_not_confirm_goes_out_again_in_order_and_numbered_anew() -> None:
    bench = Bench(warm=(0,)).in_step()
    tags = [bench.write(0), bench.write(4 * KIB), bench.flush(), bench.discard(8 * KIB, 512)]
    bench.run()
    bench.frame(Ack(1))
    bench.mirror.hold(bench.now_s)
    bench.mirror.end_session(bench.now_s)
    held = bench.write(12 * KIB)
    bench.primary(resend=True)
    sent = [f for f in bench.frames(tuple) if isinstance(f, Write | Discard | Flush)]
    assert [type(f) for f in sent] == [Write, Flush, Discard, Write]
    assert [f.seq for f in sent] == [1, 2, 3, 4]
    bench.frame(MarksEnd())
    assert bench.events(PeerMarksComplete)[-1] == PeerMarksComplete(0)
    assert bench.mirror.in_step
    bench.run()
    bench.frame(Ack(4), Flushed(2))
    assert bench.answers() == dict.fromkeys([*tags, held], 0)
    assert bench.frames(Clear) == []


def test_a_flush_goes_out_again_after_the_writes_before_it() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.write(0)
    bench.flush()
    bench.mirror.end_session(bench.now_s)
    bench.primary(resend=True)
    assert [type(f) for f in bench.frames(tuple)] == [Write, Flush]


def test_without_resend_pending_writes_are_sent_and_all_marks_are_copied() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.write(0)
    bench.run()
    bench.mirror.end_session(bench.now_s)
    bench.primary(resend=False)
    bench.frame(MarksEnd())
    assert len(bench.frames(Write)) == 1
    assert bench.events(PeerMarksComplete)[-1] == PeerMarksComplete(BLOCK_BYTES)
    assert not bench.mirror.in_step


def test_after_going_alone_nothing_is_taken_for_granted() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.write(0)
    bench.alone()
    bench.run()
    bench.primary(resend=True)
    assert bench.frames(Write) == []
    bench.frame(MarksEnd())
    assert bench.events(PeerMarksComplete)[-1] == PeerMarksComplete(BLOCK_BYTES)


def test_writes_under_way_alone_stay_this_nodes_when_a_session_begins() -> None:
    bench = Bench(log=(0,)).alone()
    tag = bench.write(0)
    bench.primary()
    bench.run()
    assert bench.answers() == {tag: 0}
    assert bench.frames(Write) == []


def test_a_flush_under_way_alone_is_this_nodes_when_a_session_begins() -> None:
    bench = Bench(log=(0,)).alone()
    tag = bench.flush()
    bench.primary()
    bench.run()
    assert bench.answers() == {tag: 0}


def test_a_flush_that_lost_its_peer_is_done_when_this_disk_has_done_it() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.write(0)
    tag = bench.flush()
    bench.mirror.hold(bench.now_s)
    bench.run()
    bench.alone()
    assert bench.answers()[tag] == 0
    assert bench.mirror.has_marks


def test_the_session_is_over_when_the_disk_has_done_what_it_was_given() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.write(0)
    bench.mirror.hold(bench.now_s)
    bench.mirror.end_session(bench.now_s)
    assert bench.events(SessionEnded) == []
    bench.run()
    assert bench.events(SessionEnded) == [SessionEnded(True)]
    assert bench.answers() == {}


def test_alone_the_end_of_a_session_waits_for_its_own_writes_only() -> None:
    bench = Bench(log=(0,)).alone()
    bench.write(0)
    bench.mirror.end_session(bench.now_s)
    (first,) = bench.asked(fx.LocalWrite)
    bench.write(4 * KIB)
    bench.answer(first)
    assert len(bench.events(SessionEnded)) == 1
    bench.run()
    assert len(bench.answers()) == 2


def test_a_primary_that_becomes_second_answers_nothing_any_more() -> None:
    bench = Bench(warm=(0,)).in_step()
    tags = [bench.write(0), bench.write(4 * KIB, fua=True), bench.flush(), bench.read(0, 512)]
    bench.mirror.hold(bench.now_s)
    tags.append(bench.write(8 * KIB))
    bench.second()
    bench.run()
    assert bench.answers() == dict.fromkeys(tags, errno.EIO)
    assert len(bench.frames(Marks)) == 1
    bench.write(0)
    assert set(bench.answers().values()) == {errno.EIO}
    bench.alone()
    bench.confirm()
    assert set(bench.answers().values()) == {errno.EIO}


# ---- quiesce ----------------------------------------


def test_quiescing_ends_with_nothing_in_flight_all_flushed_and_no_mark_left() -> None:
    bench = Bench().in_step()
    bench.write(0)
    bench.mirror.quiesce(bench.now_s)
    bench.run()
    assert bench.events(Quiesced) == []
    bench.confirm()
    assert bench.events(Quiesced) == [Quiesced()]
    assert not bench.mirror.has_marks
    assert bench.frames(Clear) == [Clear(2)]


def test_quiescing_takes_the_log_with_it() -> None:
    bench = Bench(warm=(0, 1)).in_step()
    bench.mirror.quiesce(bench.now_s)
    bench.run(fx.LocalFlush)
    bench.frame(Flushed(1))
    (log,) = bench.asked(fx.SyncLog)
    assert (log.add, set(log.remove)) == ((), {0, 1})
    assert bench.events(Quiesced) == []
    bench.answer(log)
    assert len(bench.events(Quiesced)) == 1


def test_quiescing_alone_flushes_and_keeps_the_marks() -> None:
    bench = Bench(log=(0,)).alone()
    bench.write(0)
    bench.mirror.quiesce(bench.now_s)
    bench.run(fx.LocalWrite)
    assert bench.events(Quiesced) == []
    bench.run()
    assert len(bench.events(Quiesced)) == 1
    assert bench.mirror.has_marks


def test_quiescing_waits_for_requests_that_come_meanwhile() -> None:
    bench = Bench(log=(0, 1)).alone()
    bench.mirror.quiesce(bench.now_s)
    (flush,) = bench.asked(fx.LocalFlush)
    bench.write(0)
    bench.answer(flush)
    assert bench.events(Quiesced) == []
    bench.run()
    assert len(bench.events(Quiesced)) == 1


def test_quiescing_with_closed_io_and_no_session_works() -> None:
    bench = Bench(log=(0,)).alone()
    bench.write(0)
    bench.run()
    bench.mirror.close_io(bench.now_s)
    bench.mirror.quiesce(bench.now_s)
    bench.run()
    assert len(bench.events(Quiesced)) == 1


def test_quiescing_while_held_without_a_session_waits_for_what_comes() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.mirror.end_session(bench.now_s)
    bench.mirror.quiesce(bench.now_s)
    bench.tick()
    assert bench.asked(fx.LocalFlush) == []
    bench.mirror.open_alone(bench.now_s)
    bench.run()
    assert bench.events(Quiesced) == []


def test_quiescing_with_a_log_that_failed_ends_all_the_same() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.write(EXTENT_BYTES)
    bench.answer(bench.asked(fx.SyncLog)[0], "bad sector")
    bench.mirror.close_io(bench.now_s)
    bench.mirror.quiesce(bench.now_s)
    bench.confirm()
    assert len(bench.events(Quiesced)) == 1


# ---- stalls ----------------------------------------


def test_a_peer_that_does_not_answer_a_write_is_told_of_once_a_stall() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.tick(times=2)
    bench.write(0)
    bench.run()
    bench.tick(times=19)
    bench.run()
    assert bench.events(PeerWriteTimeout) == []
    bench.tick(times=9)
    assert len(bench.events(PeerWriteTimeout)) == 1
    assert bench.events(LocalWriteTimeout) == []
    bench.frame(Ack(1), Flushed(2))
    bench.tick()
    bench.write(0)
    bench.run()
    bench.tick(times=25)
    assert len(bench.events(PeerWriteTimeout)) == 2


def test_a_peer_that_does_not_answer_a_flush_is_told_of() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.tick(times=2)
    bench.flush()
    bench.run()
    bench.tick(times=21)
    assert len(bench.events(PeerWriteTimeout)) == 1


@pytest.mark.parametrize("what", ["write", "flush", "read", "log", "second", "second flush"])
def test_a_disk_that_does_not_answer_is_told_of_once(what: str) -> None:
    bench = Bench(log=(0,))
    bench.second() if what.startswith("second") else bench.alone()
    bench.tick(times=2)
    match what:
        case "write":
            bench.write(0)
        case "flush":
            bench.flush()
        case "read":
            bench.read(0, 512)
        case "log":
            bench.write(EXTENT_BYTES)
        case "second":
            bench.frame(Write(1, 0, DATA))
        case _:
            bench.frame(Flush(1))
    bench.tick(times=19)
    assert bench.events(LocalWriteTimeout) == []
    bench.tick(times=9)
    assert len(bench.events(LocalWriteTimeout)) == 1
    assert bench.events(PeerWriteTimeout) == []


def test_silence_while_this_process_slept_proves_nothing() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.tick(times=3)
    bench.write(0)
    bench.run()
    bench.tick(60.0)
    assert bench.events(PeerWriteTimeout) == []
    bench.tick(times=19)
    assert bench.events(PeerWriteTimeout) == []
    bench.tick(times=2)
    assert len(bench.events(PeerWriteTimeout)) == 1


def test_long_intervals_of_the_clock_are_no_sleep() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.tick(4.0, times=3)
    bench.write(0)
    bench.run()
    bench.tick(4.0, times=3)
    assert len(bench.events(PeerWriteTimeout)) == 1


# ---- the receiving side ----------------------------------------


def test_the_second_tells_its_marks_when_the_session_begins() -> None:
    bench = Bench(log=(2,), bits=(5,)).second()
    (marks,) = bench.frames(Marks)
    assert marks.page == 0
    assert int.from_bytes(marks.bits, "little") == (1 << 5) | (((1 << 128) - 1) << 256)
    assert len(bench.frames(MarksEnd)) == 1


def test_a_full_page_of_marks_travels_as_nothing() -> None:
    bench = Bench(bits=range(32768), size=32768 * BLOCK_BYTES)
    bench.second()
    assert bench.frames(Marks) == [Marks(0, b"")]


def test_the_second_logs_before_it_writes_applies_in_order_and_confirms_once_a_batch() -> None:
    bench = Bench().second()
    buffer = bytearray(DATA)
    bench.frame(Write(1, 0, memoryview(buffer)), Discard(2, 8 * KIB, 4 * KIB), Write(3, 0, DATA))
    (log,) = bench.asked(fx.SyncLog)
    assert log.add == (0,)
    buffer[:] = bytes(len(buffer))
    bench.answer(log)
    bench.pull()
    writes = bench.asked(fx.LocalWrite)
    assert [(w.offset_bytes, bytes(w.data)) for w in writes] == [(0, DATA), (0, DATA)]
    effects: list[fx.Effect] = [*writes, *bench.asked(fx.LocalDiscard)]
    assert len(effects) == 3
    for effect in effects:
        bench.answer(effect)
    assert bench.frames(Ack) == [Ack(3)]
    bench.pull()
    assert bench.frames(Ack) == [Ack(3)]


def test_what_is_not_written_yet_is_not_confirmed_though_later_writes_are() -> None:
    bench = Bench(log=(0,)).second()
    bench.frame(Write(1, 0, DATA), Write(2, 4 * KIB, DATA), Write(3, 8 * KIB, DATA))
    first, second, third = bench.asked(fx.LocalWrite)
    bench.answer(third)
    bench.answer(second)
    assert bench.frames(Ack) == []
    bench.answer(first)
    assert bench.frames(Ack) == [Ack(3)]


def test_the_second_confirms_a_flush_after_its_disk_did_and_keeps_its_marks() -> None:
    bench = Bench().second()
    bench.frame(Write(1, 0, DATA), Flush(2))
    bench.run(fx.SyncLog, fx.LocalWrite)
    assert bench.frames(Flushed) == []
    bench.run()
    assert bench.frames(Flushed) == [Flushed(2)]
    assert bench.mirror.has_marks


def test_clear_takes_the_marks_of_what_was_flushed_and_no_more() -> None:
    bench = Bench(log=(3,)).second()
    bench.frame(Write(1, 0, DATA), Flush(2), Write(3, BLOCK_BYTES, DATA))
    bench.run()
    bench.frame(Clear(2))
    assert bench.mirror.marked_bytes() == BLOCK_BYTES


@pytest.mark.parametrize("seq", [0, 1, 3])
def test_clear_of_what_was_not_flushed_is_refused(seq: int) -> None:
    bench = Bench(log=(0,)).second()
    bench.frame(Write(1, 0, DATA), Flush(2))
    with pytest.raises(MirrorProtocolError, match="clears"):
        bench.frame(Clear(seq))


def test_clear_comes_once() -> None:
    bench = Bench(log=(0,)).second()
    bench.frame(Flush(1))
    bench.run()
    bench.frame(Clear(1))
    with pytest.raises(MirrorProtocolError, match="clears"):
        bench.frame(Clear(1))


@pytest.mark.parametrize(
    "frame",
    [
        Write(2, 0, DATA),
        Write(0, 0, DATA),
        Flush(3),
        Write(1, 1, DATA),
        Write(1, 0, b""),
        Write(1, 0, bytes(513)),
        Write(1, 1 << 40, DATA),
        Discard(1, -512, 512),
        Discard(1, 0, 1 << 40),
        Ack(1),
        MarksEnd(),
        CopyFlushed(1),
    ],
)
def test_frames_that_cannot_be_are_refused_by_the_second(frame: object) -> None:
    bench = Bench(log=(0,)).second()
    with pytest.raises(MirrorProtocolError, match="peer"):
        bench.frame(frame)  # type: ignore[arg-type]


def test_a_second_with_a_full_log_flushes_by_itself() -> None:
    bench = Bench(capacity=4).second()
    for seq in range(1, 13):
        bench.frame(Write(seq, seq * EXTENT_BYTES, DATA))
    bench.run()
    assert bench.frames(Ack)[-1] == Ack(12)
    assert bench.frames(Flushed) == []
    assert bench.mirror.marked_bytes() == 12 * BLOCK_BYTES


def test_a_second_whose_log_is_full_of_writes_under_way_goes_on_when_they_are_done() -> None:
    bench = Bench(capacity=4).second()
    for seq in range(1, 7):
        bench.frame(Write(seq, seq * EXTENT_BYTES, DATA))
    bench.run(fx.SyncLog)
    bench.run(fx.LocalFlush, fx.SyncLog)
    assert len(bench.asked(fx.LocalWrite)) == 4
    bench.run()
    assert bench.frames(Ack)[-1] == Ack(6)


def test_the_end_of_its_session_drops_what_the_disk_was_not_given_and_waits_for_the_rest() -> None:
    bench = Bench(log=(0,)).second()
    bench.frame(Write(1, 0, DATA), Write(2, EXTENT_BYTES, DATA), Write(3, 0, DATA))
    bench.mirror.end_session(bench.now_s)
    assert bench.events(SessionEnded) == []
    bench.frame(Write(4, 0, DATA))
    bench.run()
    assert bench.events(SessionEnded) == [SessionEnded(True)]
    assert bench.frames(Ack) == []
    bench.second()
    bench.frame(Write(1, 0, DATA))
    bench.run()
    assert bench.frames(Ack) == [Ack(1)]


def test_a_flush_of_a_lost_session_is_not_confirmed_in_the_next() -> None:
    bench = Bench(log=(0,)).second()
    bench.frame(Flush(1), CopyFlush(4))
    bench.mirror.end_session(bench.now_s)
    bench.second()
    bench.run()
    assert bench.frames(Flushed) == []
    assert bench.frames(CopyFlushed) == []
    assert bench.mirror.has_marks


def test_a_new_session_forgets_the_end_of_the_one_before() -> None:
    bench = Bench(log=(0,)).second()
    bench.frame(Write(1, 0, DATA))
    bench.mirror.end_session(bench.now_s)
    bench.second()
    bench.run()
    assert bench.events(SessionEnded) == []
    assert bench.frames(Ack) == []
