"""Requests of the VM: in order, on both nodes, answered when all that they promise is true."""

from __future__ import annotations

import errno

import pytest
from tests.unit.core.mirror_kit import DATA, KIB, SIZE, Bench

from twinhull.core import effects as fx
from twinhull.core.events import DiskFailed, PeerDisk, Quiesced, SessionEnded
from twinhull.core.frames import (
    MAX_DATA_BYTES,
    Ack,
    Clear,
    CopyAck,
    Discard,
    Flush,
    Flushed,
    MarksEnd,
    PeerDiskFailed,
    Write,
)
from twinhull.core.marks import BLOCK_BYTES, EXTENT_BYTES, PagedBitmap
from twinhull.core.mirror import Mirror, MirrorProtocolError, ResyncSettings
from twinhull.core.requests import Op


def kinds(effects: list[fx.Effect]) -> list[str]:
    return [type(e.frame if isinstance(e, fx.SendFrame) else e).__name__ for e in effects]


# ---- intent before data ----------------------------------------


def test_the_log_is_durable_before_a_write_goes_anywhere_and_the_frame_goes_before_the_disk() -> None:
    bench = Bench().in_step()
    bench.pull()
    bench.write(0)
    assert kinds(bench.pull()) == ["SyncLog"]
    log = bench.asked(fx.SyncLog)[0]
    assert (log.add, log.remove, log.bits) == ((0,), (), ())
    bench.answer(log)
    assert kinds(bench.pull()) == ["Write", "LocalWrite"]


def test_a_write_within_the_log_goes_out_at_once_with_the_same_bytes() -> None:
    bench = Bench(log=(0,)).alone()
    data = memoryview(DATA)
    bench.mirror.submit(1, Op.WRITE, 512, len(data), data, False, bench.now_s)
    (write,) = bench.asked(fx.LocalWrite)
    assert write.data is data


def test_requests_that_wait_for_the_log_share_one_transaction_and_keep_their_order() -> None:
    bench = Bench(log=(1,)).alone()
    tags = [bench.write(0), bench.write(EXTENT_BYTES), bench.write(2 * EXTENT_BYTES), bench.flush()]
    (log,) = bench.asked(fx.SyncLog)
    assert log.add == (0,)
    assert bench.asked(fx.LocalWrite) == []
    bench.answer(log)
    assert [w.offset_bytes for w in bench.asked(fx.LocalWrite)] == [0, EXTENT_BYTES]
    (log,) = bench.asked(fx.SyncLog)
    assert log.add == (2,)
    bench.write(3 * EXTENT_BYTES)
    bench.write(4 * EXTENT_BYTES)
    bench.answer(log)
    (log,) = bench.asked(fx.SyncLog)
    assert log.add == (3, 4)
    bench.run()
    assert set(bench.answers()) >= set(tags)


def test_a_log_that_is_full_makes_room_by_a_flush_and_never_stops() -> None:
    bench = Bench(capacity=4).alone()
    for extent in (0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3):
        bench.write(extent * EXTENT_BYTES)
    bench.run()
    assert len(bench.answers()) == 12
    assert bench.mirror.marked_bytes() == 8 * BLOCK_BYTES


def test_extents_that_leave_the_log_alone_are_in_the_bitmap_first() -> None:
    bench = Bench(capacity=4).alone()
    for extent in range(4):
        bench.write(extent * EXTENT_BYTES)
    bench.run(fx.SyncLog, fx.LocalWrite)
    bench.write(4 * EXTENT_BYTES)
    assert bench.asked(fx.SyncLog) == []
    bench.answer(bench.asked(fx.LocalFlush)[0])
    (log,) = bench.asked(fx.SyncLog)
    assert log.add == (4,)
    assert log.remove == (0,)
    assert log.bits[0][1][:1] == b"\x01"


def test_an_extent_with_a_write_in_flight_stays_in_the_log() -> None:
    bench = Bench(capacity=4).alone()
    bench.write(0)
    bench.answer(bench.asked(fx.SyncLog)[0])
    for extent in (1, 2, 3):
        bench.write(extent * EXTENT_BYTES)
    while logs := bench.asked(fx.SyncLog):
        bench.answer(logs[0])
    held, *rest = bench.asked(fx.LocalWrite)
    for write in rest:
        bench.answer(write)
    bench.write(4 * EXTENT_BYTES)
    bench.run(fx.LocalFlush)
    (log,) = bench.asked(fx.SyncLog)
    assert log.remove == (1,)
    bench.answer(held)


def test_a_full_log_of_writes_in_flight_goes_on_when_one_of_them_is_done() -> None:
    bench = Bench(capacity=4).alone()
    for extent in range(4):
        bench.write(extent * EXTENT_BYTES)
    while logs := bench.asked(fx.SyncLog):
        bench.answer(logs[0])
    bench.write(4 * EXTENT_BYTES)
    bench.run()
    assert len(bench.answers()) == 5


def test_members_of_the_log_that_a_waiting_request_needs_are_not_pushed_out() -> None:
    bench = Bench(capacity=4, log=(0, 1, 2, 3)).alone()
    data = bytes(8 * KIB)
    tag = bench.write(4 * EXTENT_BYTES - 4 * KIB, data)
    (log,) = bench.asked(fx.SyncLog)
    assert log.add == (4,)
    assert 3 not in log.remove
    bench.run()
    assert bench.answers() == {tag: 0}


# ---- promise 1 ----------------------------------------


@pytest.mark.parametrize("peer_first", [True, False])
def test_a_write_is_answered_when_both_nodes_hold_it(peer_first: bool) -> None:
    bench = Bench(warm=(0,)).in_step()
    tag = bench.write(0)
    (write,) = bench.asked(fx.LocalWrite)
    (frame,) = bench.frames(Write)
    if peer_first:
        bench.frame(Ack(frame.seq))
    else:
        bench.answer(write)
    assert bench.answers() == {}
    if peer_first:
        bench.answer(write)
    else:
        bench.frame(Ack(frame.seq))
    assert bench.answers() == {tag: 0}


def test_one_acknowledgement_covers_all_before_it() -> None:
    bench = Bench(warm=(0,)).in_step()
    tags = [bench.write(n * 4 * KIB) for n in range(5)]
    bench.run()
    bench.frame(Ack(4))
    assert list(bench.answers()) == tags[:4]
    bench.frame(Ack(4), Ack(5))
    assert list(bench.answers()) == tags


def test_alone_a_write_is_answered_when_this_node_holds_it() -> None:
    bench = Bench(log=(0,)).alone()
    tag = bench.write(0)
    assert bench.frames(Write) == []
    bench.run()
    assert bench.answers() == {tag: 0}


def test_long_writes_travel_in_pieces_and_are_answered_once() -> None:
    bench = Bench().in_step()
    data = bytes(range(256)) * (3 * MAX_DATA_BYTES // 256)
    tag = bench.write(512 * KIB, data)
    bench.run(fx.SyncLog)
    frames = bench.frames(Write)
    assert b"".join(f.data for f in frames) == data
    assert [len(f.data) for f in frames] == [512 * KIB, 1024 * KIB, 1024 * KIB, 512 * KIB]
    for frame in frames:
        assert bench.answers() == {}
        bench.run()
        bench.frame(Ack(frame.seq))
    assert bench.answers() == {tag: 0}


def test_a_discard_of_the_whole_volume_passes_through_a_small_log() -> None:
    bench = Bench(capacity=4).in_step()
    tag = bench.discard(512, SIZE - 512)
    bench.confirm()
    assert bench.answers() == {tag: 0}
    discards = bench.frames(Discard)
    assert [(d.offset_bytes, d.length_bytes) for d in discards][:2] == [
        (512, EXTENT_BYTES - 512),
        (EXTENT_BYTES, EXTENT_BYTES),
    ]
    assert sum(d.length_bytes for d in discards) == SIZE - 512
    assert len(bench.frames(Flush)) >= 2


def test_a_short_discard_is_one_piece() -> None:
    bench = Bench(log=(0,)).alone()
    tag = bench.discard(1024, 512)
    assert bench.asked(fx.LocalDiscard) == [fx.LocalDiscard(1, 1024, 512)]
    bench.run()
    assert bench.answers() == {tag: 0}


@pytest.mark.parametrize(
    ("op", "offset", "length", "data"),
    [
        (Op.WRITE, 1, 512, bytes(512)),
        (Op.WRITE, 0, 511, bytes(511)),
        (Op.WRITE, 0, 512, bytes(1024)),
        (Op.WRITE, 0, 512, None),
        (Op.WRITE, SIZE, 512, bytes(512)),
        (Op.READ, -512, 512, None),
        (Op.READ, SIZE - 512, 1024, None),
        (Op.DISCARD, 0, 0, None),
    ],
)
def test_what_is_not_whole_sectors_of_the_volume_is_refused(
    op: Op, offset: int, length: int, data: bytes | None
) -> None:
    bench = Bench().alone()
    bench.mirror.submit(7, op, offset, length, data, False, bench.now_s)
    assert bench.answers() == {7: errno.EINVAL}
    assert bench.open == []


def test_reads_are_local_and_pass_what_waits_for_the_log() -> None:
    bench = Bench().in_step()
    tag = bench.read(0, 512)
    (read,) = bench.asked(fx.ReadLocal)
    assert not read.hole_ok
    bench.mirror.read_done(read.ticket, b"x" * 512, None, bench.now_s)
    bench.pull()
    assert bench.done == [fx.Complete(tag, 0, b"x" * 512)]
    bench.read(0, 512)
    bench.mirror.read_done(bench.asked(fx.ReadLocal)[1].ticket, None, None, bench.now_s)
    bench.pull()
    assert bench.done[-1].data == bytes(512)


# ---- the lease, holding, closing ----------------------------------------


def test_nothing_is_answered_past_the_lease_and_all_of_it_when_it_is_renewed() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.mirror.set_lease(bench.now_s + 1, bench.now_s)
    tags = [bench.write(0), bench.read(0, 512)]
    bench.now_s += 1
    bench.run()
    bench.frame(Ack(1))
    bench.mirror.read_done(bench.asked(fx.ReadLocal)[0].ticket, bytes(512), None, bench.now_s)
    assert bench.answers() == {}
    bench.mirror.set_lease(bench.now_s + 1)
    assert bench.answers() == {}
    bench.tick(0.1)
    assert list(bench.answers()) == tags


def test_a_lease_renewed_too_late_answers_nothing() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.mirror.set_lease(bench.now_s + 1, bench.now_s)
    bench.write(0)
    bench.now_s += 5
    bench.run()
    bench.frame(Ack(1))
    bench.mirror.set_lease(bench.now_s - 1, bench.now_s)
    assert bench.answers() == {}


def test_a_new_session_has_no_lease_yet() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.mirror.begin_session(primary=True, resend=True, now_s=bench.now_s)
    bench.write(0)
    bench.run()
    bench.frame(Ack(1))
    assert bench.answers() == {}
    bench.mirror.set_lease(bench.now_s + 5, bench.now_s)
    assert len(bench.answers()) == 1


def test_before_it_may_serve_a_primary_mirrors_and_answers_nothing() -> None:
    bench = Bench().primary(serve=False)
    bench.frame(MarksEnd())
    tag = bench.write(0)
    bench.run()
    bench.frame(Ack(1))
    assert bench.answers() == {}
    bench.mirror.serve(bench.now_s)
    assert bench.answers() == {tag: 0}


def test_serving_without_a_time_waits_for_the_next_call_that_brings_it() -> None:
    bench = Bench().primary(serve=False)
    bench.write(0)
    bench.run()
    bench.frame(Ack(1))
    bench.mirror.serve()
    assert bench.answers() == {}
    bench.tick()
    assert len(bench.answers()) == 1


def test_serving_means_nothing_without_a_session() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.mirror.end_session(bench.now_s)
    bench.mirror.serve(bench.now_s)
    bench.write(0)
    assert bench.asked(fx.LocalWrite) == []


def test_held_requests_are_accepted_and_answered_by_none_until_opened_again() -> None:
    bench = Bench(warm=(0,)).in_step()
    before = bench.write(0)
    bench.mirror.hold(bench.now_s)
    tags = [bench.write(4 * KIB), bench.flush(), bench.read(0, 512)]
    bench.run()
    bench.frame(Ack(1))
    assert bench.answers() == {}
    assert len(bench.frames(Write)) == 1
    bench.mirror.serve(bench.now_s)
    assert bench.answers() == {before: 0}
    assert len(bench.frames(Write)) == 2
    assert len(bench.frames(Flush)) == 1
    assert len(bench.asked(fx.ReadLocal)) == 1
    assert tags[0] not in bench.answers()


def test_going_alone_completes_what_is_done_here_and_serves_the_rest_here() -> None:
    bench = Bench(warm=(0,)).in_step()
    first, second = bench.write(0), bench.write(4 * KIB)
    bench.answer(bench.asked(fx.LocalWrite)[0])
    bench.mirror.hold(bench.now_s)
    third = bench.write(8 * KIB)
    bench.mirror.open_alone(bench.now_s)
    assert bench.answers() == {first: 0}
    bench.run()
    assert bench.answers() == {first: 0, second: 0, third: 0}
    assert bench.mirror.marked_bytes() == BLOCK_BYTES


def test_closed_everything_fails_and_goes_on_failing_until_it_is_opened() -> None:
    bench = Bench(warm=(0,)).in_step()
    tags = [bench.write(0), bench.read(0, 512), bench.flush(), bench.write(4 * KIB, fua=True)]
    bench.mirror.set_lease(0.0, bench.now_s)
    done = bench.write(8 * KIB)
    bench.run()
    bench.frame(Ack(4))
    bench.mirror.hold(bench.now_s)
    tags += [bench.write(12 * KIB), bench.flush(), bench.read(0, 512), done]
    bench.mirror.close_io(bench.now_s)
    tags.append(bench.write(0))
    assert bench.answers() == dict.fromkeys(tags, errno.EIO)
    bench.mirror.read_done(bench.asked(fx.ReadLocal)[0].ticket, bytes(512), None, bench.now_s)
    bench.mirror.hold(bench.now_s)
    bench.write(0)
    assert set(bench.answers().values()) == {errno.EIO}
    bench.mirror.open_alone(bench.now_s)
    again = bench.write(0)
    bench.run()
    assert bench.answers()[again] == 0


def test_writes_that_were_failed_on_closing_still_reach_the_peer_when_it_comes_back() -> None:
    bench = Bench(warm=(0,)).in_step()
    buffer = bytearray(DATA)
    bench.mirror.submit(99, Op.WRITE, 0, len(buffer), buffer, False, bench.now_s)
    bench.discard(8 * KIB, 512)
    bench.mirror.close_io(bench.now_s)
    buffer[:] = bytes(len(buffer))
    bench.mirror.end_session(bench.now_s)
    bench.primary(resend=True)
    (frame,) = bench.frames(Write)
    assert frame.data == DATA
    assert len(bench.frames(Discard)) == 1
    bench.run()
    bench.frame(Ack(2), MarksEnd())
    assert bench.mirror.in_step
    assert set(bench.answers().values()) == {errno.EIO}


# ---- promise 2 ----------------------------------------


def test_a_flush_is_answered_when_both_disks_confirm_it() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.pull()
    bench.write(0)
    tag = bench.flush()
    effects = bench.pull()
    assert kinds(effects) == ["Write", "LocalWrite", "Flush", "LocalFlush"]
    bench.run()
    assert bench.answers() == {}
    bench.frame(Ack(1), Flushed(2))
    assert bench.answers()[tag] == 0


def test_flushes_that_come_together_share_one_and_none_joins_one_that_has_begun() -> None:
    bench = Bench(warm=(0,)).in_step()
    first = bench.flush()
    later = [bench.flush(), bench.flush()]
    bench.run(fx.LocalFlush)
    assert [f.seq for f in bench.frames(Flush)] == [1]
    bench.frame(Flushed(1))
    assert list(bench.answers()) == [first]
    assert [f.seq for f in bench.frames(Flush)] == [1, 2]
    bench.frame(Flushed(2))
    bench.run()
    assert list(bench.answers()) == [first, *later]


def test_a_forced_write_is_answered_when_it_is_durable_on_both() -> None:
    bench = Bench(warm=(0,)).in_step()
    tag = bench.write(0, fua=True)
    bench.run(fx.LocalWrite)
    bench.frame(Ack(1))
    assert bench.answers() == {}
    bench.run()
    assert bench.answers() == {}
    bench.frame(Flushed(2))
    assert bench.answers() == {tag: 0}


def test_a_forced_write_whose_flush_overtakes_its_acknowledgement_waits_for_it() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.write(0, fua=True)
    bench.run()
    bench.frame(Flushed(2))
    assert bench.answers() == {}
    bench.frame(Ack(1))
    assert len(bench.answers()) == 1


def test_alone_a_flush_needs_this_disk_only_and_clears_no_mark() -> None:
    bench = Bench(log=(0,)).alone()
    bench.write(0)
    tag = bench.flush()
    bench.run()
    assert bench.answers()[tag] == 0
    assert bench.mirror.has_marks


def test_in_step_a_flush_of_both_clears_marks_here_and_there() -> None:
    bench = Bench().in_step()
    bench.write(0)
    bench.run(fx.SyncLog, fx.LocalWrite)
    bench.frame(Ack(1))
    bench.flush()
    later = bench.write(BLOCK_BYTES)
    bench.run()
    assert bench.mirror.marked_bytes() == 2 * BLOCK_BYTES
    assert bench.frames(Clear) == []
    bench.frame(Flushed(2), Ack(3))
    assert bench.frames(Clear) == [Clear(2)]
    assert bench.mirror.marked_bytes() == BLOCK_BYTES
    assert bench.answers()[later] == 0


def test_out_of_step_a_flush_of_both_clears_nothing() -> None:
    bench = Bench().primary()
    bench.write(0)
    bench.flush()
    bench.run()
    bench.frame(Ack(1), Flushed(2))
    assert len(bench.answers()) == 2
    assert bench.frames(Clear) == []
    assert bench.mirror.has_marks


def test_marks_go_by_themselves_when_nobody_flushes_for_a_while() -> None:
    bench = Bench().in_step()
    bench.write(0)
    bench.run()
    bench.frame(Ack(1))
    bench.tick(0.5, times=3)
    bench.flushes_confirmed = set()
    bench.tick(1.0, times=2)
    bench.confirm()
    assert len(bench.frames(Flush)) == 1
    assert not bench.mirror.has_marks
    bench.tick(1.0, times=10)
    assert len(bench.frames(Flush)) == 1


def test_extents_that_become_cold_leave_the_log() -> None:
    bench = Bench().in_step()
    bench.write(0)
    bench.confirm()
    bench.tick(1.0, times=30)
    bench.confirm()
    bench.tick(1.0, times=30)
    removed = [extent for log in bench.asked(fx.SyncLog) for extent in log.remove]
    assert removed == [0]


def test_marks_that_went_are_taken_out_of_the_durable_bitmap() -> None:
    bench = Bench(bits=(3,)).primary()
    bench.frame(MarksEnd())
    bench.mirror.start_copy(bench.now_s)
    (read,) = bench.asked(fx.ReadLocal)
    bench.mirror.read_done(read.ticket, None, None, bench.now_s)
    bench.frame(CopyAck(1))
    bench.mirror.end_copy_flush(1, bench.now_s)
    bench.mirror.finish_copy(bench.now_s)
    bench.tick()
    (log,) = bench.asked(fx.SyncLog)
    assert [page for page, _ in log.bits] == [0]
    assert not any(log.bits[0][1])


# ---- disks that fail ----------------------------------------


def test_a_failed_write_waits_for_the_decision_and_is_told_once() -> None:
    bench = Bench(log=(0,)).alone()
    bench.write(0)
    bench.write(4 * KIB)
    for write in bench.asked(fx.LocalWrite):
        bench.answer(write, "no space left", full=True)
    assert bench.events(DiskFailed) == [DiskFailed("no space left", True)]
    assert bench.answers() == {}
    bench.mirror.fail_up(bench.now_s)
    assert set(bench.answers().values()) == {errno.ENOSPC}
    third = bench.write(8 * KIB)
    bench.answer(bench.asked(fx.LocalWrite)[0], "input/output error")
    assert bench.answers()[third] == errno.EIO
    bench.write(12 * KIB)
    bench.run()
    bench.write(12 * KIB)
    bench.answer(bench.asked(fx.LocalWrite)[0], "again")
    assert len(bench.events(DiskFailed)) == 2


def test_a_failed_read_waits_for_the_decision() -> None:
    bench = Bench().alone()
    tag = bench.read(0, 512)
    bench.mirror.read_done(bench.asked(fx.ReadLocal)[0].ticket, None, "bad sector", bench.now_s)
    assert bench.events(DiskFailed) == [DiskFailed("bad sector", False)]
    assert bench.answers() == {}
    bench.mirror.close_io(bench.now_s)
    assert bench.answers() == {tag: errno.EIO}


def test_a_write_that_failed_here_is_never_cleared_by_a_flush() -> None:
    bench = Bench(log=()).in_step()
    bench.write(0)
    bench.run(fx.SyncLog)
    bench.answer(bench.asked(fx.LocalWrite)[0], "bad sector")
    bench.frame(Ack(1))
    bench.flush()
    bench.run()
    bench.frame(Flushed(2))
    assert bench.frames(Clear) == []
    assert bench.mirror.has_marks
    assert not bench.mirror.in_step
    bench.mirror.close_io(bench.now_s)
    bench.mirror.end_session(bench.now_s)
    bench.primary(resend=True)
    bench.frame(MarksEnd())
    assert not bench.mirror.in_step


def test_a_failed_flush_is_final() -> None:
    bench = Bench(log=(0,)).alone()
    first = bench.flush()
    waiting = bench.flush()
    bench.answer(bench.asked(fx.LocalFlush)[0], "input/output error")
    assert bench.events(DiskFailed) == [DiskFailed("input/output error", False)]
    bench.tick(1.0, times=5)
    assert bench.answers() == {}
    bench.mirror.fail_up(bench.now_s)
    later = [bench.flush(), bench.write(0), bench.write(0, fua=True)]
    assert bench.answers() == dict.fromkeys([first, waiting, *later], errno.EIO)
    assert bench.asked(fx.LocalFlush) == []


@pytest.mark.parametrize("told_first", [True, False])
def test_a_module_whose_disk_flushes_no_more_can_be_stopped(told_first: bool) -> None:
    bench = Bench(log=(0,)).alone()
    bench.flush()
    bench.answer(bench.asked(fx.LocalFlush)[0], "input/output error")
    if told_first:
        bench.mirror.fail_up(bench.now_s)
    bench.mirror.quiesce(bench.now_s)
    if not told_first:
        bench.tick(1.0)
        assert bench.events(Quiesced) == []
        bench.mirror.fail_up(bench.now_s)
        bench.tick(1.0)
    assert bench.events(Quiesced) == [Quiesced()]
    bench.tick(1.0, times=3)
    assert bench.events(Quiesced) == [Quiesced()]


def test_a_log_that_fails_stops_new_extents_and_nothing_else() -> None:
    bench = Bench(log=(0,)).alone()
    stuck = bench.write(EXTENT_BYTES)
    bench.answer(bench.asked(fx.SyncLog)[0], "no space left", full=True)
    assert bench.events(DiskFailed) == [DiskFailed("no space left", True)]
    bench.tick(1.0, times=20)
    assert bench.asked(fx.SyncLog) == []
    assert bench.answers() == {}
    bench.mirror.fail_up(bench.now_s)
    assert bench.answers() == {stuck: errno.EIO}


def test_a_failed_write_of_several_pieces_is_answered_with_its_error() -> None:
    bench = Bench(log=(0, 1)).alone()
    bench.mirror.fail_up(bench.now_s)
    tag = bench.write(0, bytes(2 * MAX_DATA_BYTES))
    first, second = bench.asked(fx.LocalWrite)
    bench.answer(first, "no space left", full=True)
    assert bench.answers() == {}
    bench.answer(second)
    assert bench.answers() == {tag: errno.ENOSPC}


def test_the_peer_is_told_of_a_failed_disk_and_its_word_is_passed_on() -> None:
    bench = Bench().in_step()
    bench.mirror.send_disk_failed("sda is gone")
    assert bench.frames(PeerDiskFailed) == [PeerDiskFailed("sda is gone")]
    bench.frame(PeerDiskFailed("sdb is gone"))
    assert bench.events(PeerDisk) == [PeerDisk("sdb is gone")]
    bench.mirror.end_session(bench.now_s)
    bench.mirror.send_disk_failed("again")
    assert len(bench.frames(PeerDiskFailed)) == 1


# ---- the peer's misbehaviour, and misuse ----------------------------------------


@pytest.mark.parametrize("frame", [Ack(2), Flushed(1), CopyAck(1), Write(1, 0, DATA), Clear(1)])
def test_frames_that_cannot_be_are_refused_by_the_primary(frame: object) -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.write(0)
    with pytest.raises(MirrorProtocolError, match="peer"):
        bench.frame(frame)  # type: ignore[arg-type]


def test_acknowledgements_do_not_go_back() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.write(0)
    bench.write(0)
    bench.frame(Ack(2))
    with pytest.raises(MirrorProtocolError, match="confirms write 1"):
        bench.frame(Ack(1))


def test_frames_outside_a_session_are_ignored() -> None:
    bench = Bench(warm=(0,)).in_step()
    bench.mirror.end_session(bench.now_s)
    bench.frame(Ack(99), Write(1, 0, DATA))
    assert bench.events(SessionEnded) == [SessionEnded(False)]
    assert bench.asked(fx.LocalWrite) == []


def test_answers_to_what_was_not_asked_are_a_defect() -> None:
    bench = Bench().alone()
    with pytest.raises(KeyError):
        bench.mirror.local_done(77, None, False, 0.0)
    with pytest.raises(KeyError):
        bench.mirror.flush_done(77, None, False, 0.0)
    with pytest.raises(KeyError):
        bench.mirror.log_done(77, None, False, 0.0)
    with pytest.raises(KeyError):
        bench.mirror.read_done(77, None, None, 0.0)


def test_a_bitmap_of_another_volume_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Mirror(SIZE, PagedBitmap(7), (), 8, 10.0, ResyncSettings())


def test_what_an_export_that_is_gone_had_not_got_issued_is_never_written() -> None:
    bench = Bench(warm=[0]).in_step()
    bench.mirror.hold(bench.now_s)
    bench.write(0)
    bench.mirror.forsake()
    assert not bench.mirror.owes
    bench.mirror.open_alone(bench.now_s)
    bench.run()
    assert not bench.asked(fx.LocalWrite)
    assert not bench.mirror.owes


def test_an_export_that_is_gone_is_owed_for_until_its_last_write_can_change_no_node() -> None:
    bench = Bench(warm=[0]).in_step()
    bench.write(0)
    (write,) = bench.asked(fx.LocalWrite)
    bench.mirror.forsake()
    assert bench.mirror.owes
    bench.mirror.frame(Ack(bench.frames(Write)[-1].seq), bench.now_s)
    assert bench.mirror.owes, "this node's disk may still make it"
    bench.answer(write)
    assert not bench.mirror.owes


def test_a_write_that_the_lost_peer_may_hold_is_owed_for_until_the_node_is_alone() -> None:
    bench = Bench(warm=[0]).in_step()
    bench.write(0)
    bench.answer(bench.asked(fx.LocalWrite)[0])
    bench.mirror.forsake()
    bench.mirror.end_session(bench.now_s)
    assert bench.mirror.owes
    bench.mirror.open_alone(bench.now_s)
    assert not bench.mirror.owes
