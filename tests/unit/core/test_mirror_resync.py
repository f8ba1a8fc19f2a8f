"""The resync: what is marked on either node is copied under locks, compared first where much may be equal."""

from __future__ import annotations

import hashlib
import tracemalloc

import pytest
from tests.unit.core.mirror_kit import BLOCKS, DATA, KIB, SIZE, Bench

from twinhull.core import effects as fx
from twinhull.core.events import (
    CopyDone,
    CopyFlushedBoth,
    DiskFailed,
    PeerMarksComplete,
    PeerWriteTimeout,
)
from twinhull.core.frames import (
    Ack,
    Copy,
    CopyAck,
    CopyFlush,
    CopyFlushed,
    CopyZero,
    Differ,
    Digests,
    Flush,
    Flushed,
    Marks,
    MarksEnd,
    PeerDiskFailed,
    Write,
)
from twinhull.core.marks import (
    BLOCK_BYTES,
    EXTENT_BLOCKS,
    EXTENT_BYTES,
    PAGE_BLOCKS,
    PAGE_BYTES,
    PagedBitmap,
)
from twinhull.core.mirror import Mirror, MirrorProtocolError, Progress, ResyncSettings
from twinhull.core.mirror_digests import digests_of
from twinhull.core.mirror_rate import Pace, Rate

MIB = 1024 * KIB


def page(*blocks: int) -> bytes:
    return sum(1 << block for block in blocks).to_bytes(PAGE_BYTES, "little")


def block(fill: int) -> bytes:
    return bytes([fill]) * BLOCK_BYTES


def copying(bench: Bench, *peer: int) -> Bench:
    """PRIM whose SECOND has marked these blocks, copying."""
    bench.primary()
    if peer:
        bench.frame(Marks(0, page(*peer)))
    bench.frame(MarksEnd())
    bench.mirror.start_copy(bench.now_s)
    return bench


def give(bench: Bench, data: bytes | None, which: int = 0) -> fx.ReadLocal:
    """Answer a read of the resync."""
    read = bench.asked(fx.ReadLocal)[which]
    assert read.hole_ok
    bench.open.remove(read)
    bench.mirror.read_done(read.ticket, data, None, bench.now_s)
    return read


# ---- what is copied ----------------------------------------


def test_the_union_of_both_nodes_marks_is_copied() -> None:
    bench = copying(Bench(bits=(1, 2)), 2, 40)
    assert bench.events(PeerMarksComplete) == [PeerMarksComplete(3 * BLOCK_BYTES)]
    reads = bench.asked(fx.ReadLocal)
    assert [(r.offset_bytes // BLOCK_BYTES, r.length_bytes // BLOCK_BYTES) for r in reads] == [
        (1, 2),
        (40, 1),
    ]


def test_exact_marks_travel_at_once() -> None:
    bench = copying(Bench(bits=(1,)))
    give(bench, block(7))
    assert bench.frames(Copy) == [Copy(1, BLOCK_BYTES, block(7))]
    assert bench.events(CopyDone) == []
    bench.frame(CopyAck(1))
    assert bench.events(CopyDone) == [CopyDone()]


def test_after_a_crash_only_what_differs_travels() -> None:
    bench = copying(Bench(log=(0,), resync=ResyncSettings(max_ops=1)))
    data = b"".join(block(n) for n in range(32))
    give(bench, data)
    (digests,) = bench.frames(Digests)
    assert digests.digests[16:32] == hashlib.blake2b(block(1), digest_size=16).digest()
    assert len(digests.digests) == 32 * 16
    flags = bytearray(32)
    flags[1] = flags[2] = flags[31] = 1
    bench.frame(Differ(digests.op, bytes(flags)))
    copies = bench.frames(Copy)
    assert [(c.offset_bytes // BLOCK_BYTES, bytes(c.data)) for c in copies] == [
        (1, block(1) + block(2)),
        (31, block(31)),
    ]
    bench.frame(CopyAck(digests.op))
    assert len(bench.asked(fx.ReadLocal)) == 0
    bench.frame(CopyAck(digests.op))
    assert len(bench.asked(fx.ReadLocal)) == 1
    assert bench.mirror.progress(bench.now_s)[:4] == (3 * MIB, 4 * MIB, MIB, 3 * BLOCK_BYTES)


def test_what_only_the_peer_marks_is_compared_and_equal_blocks_do_not_travel() -> None:
    bench = copying(Bench(), 3)
    give(bench, block(1))
    bench.frame(Differ(1, b"\x00"))
    assert bench.frames(Copy) == []
    assert bench.events(CopyDone) == [CopyDone()]


def test_what_an_interrupted_copy_had_sent_is_compared_by_the_next_one() -> None:
    bench = Bench().alone()
    bench.write(3 * BLOCK_BYTES)
    bench.run(fx.LocalWrite, fx.SyncLog)
    copying(bench)
    give(bench, block(1))
    assert [c.offset_bytes for c in bench.frames(Copy)] == [3 * BLOCK_BYTES]
    bench.mirror.end_session(bench.now_s)
    bench.sent.clear()
    copying(bench)
    give(bench, block(1))
    assert bench.frames(Copy) == []
    (digests,) = bench.frames(Digests)
    bench.frame(Differ(digests.op, b"\x00"))
    assert bench.events(CopyDone) == [CopyDone()]


def test_everything_is_compared_when_nothing_is_known() -> None:
    bench = Bench()
    bench.primary(everything=True)
    bench.frame(MarksEnd())
    assert bench.events(PeerMarksComplete) == [PeerMarksComplete(SIZE)]
    bench.mirror.start_copy(bench.now_s)
    give(bench, bytes(MIB))
    assert len(bench.frames(Digests)) == 1
    assert bench.mirror.marked_bytes() == SIZE


def test_where_nothing_is_equal_content_is_sent_at_once_and_compared_again_now_and_then() -> None:
    limits = ResyncSettings(max_ops=1, different_bytes=2 * MIB, blind_bytes=3 * MIB)
    bench = Bench(resync=limits).primary(everything=True)
    bench.frame(MarksEnd())
    bench.mirror.start_copy(bench.now_s)
    compared = []
    for at in range(SIZE // MIB):
        give(bench, bytes(MIB))
        bench.pull()
        (frame,) = bench.sent
        bench.sent.clear()
        if isinstance(frame, Digests):
            compared.append(at)
            equal = at == 9
            bench.frame(Differ(frame.op, bytes([not equal]) * 32))
            bench.pull()
            bench.sent.clear()
            if equal:
                continue
        bench.frame(CopyAck(at + 1))
    assert compared == [0, 1, 5, 9, 10, 11, *range(15, 64, 4)]
    assert bench.events(CopyDone) == [CopyDone()]


def test_marks_of_the_peer_become_durable_here_in_time() -> None:
    bench = copying(Bench(), 3)
    bench.tick()
    (log,) = bench.asked(fx.SyncLog)
    assert log.bits == ((0, page(3)),)


def test_holes_travel_as_ranges_that_grow_to_64_mebibytes() -> None:
    size = 2 * PAGE_BLOCKS * BLOCK_BYTES
    bench = Bench(size=size, resync=ResyncSettings(max_ops=1)).primary(everything=True)
    bench.frame(MarksEnd())
    bench.mirror.start_copy(bench.now_s)
    lengths = []
    while reads := bench.asked(fx.ReadLocal):
        lengths.append(reads[0].length_bytes // MIB)
        give(bench, None)
        bench.frame(CopyAck(bench.frames(CopyZero)[-1].op))
    assert lengths == [1, 8, *[64] * 15, 55, *[64] * 16]
    assert sum(z.length_bytes for z in bench.frames(CopyZero)) == size
    assert bench.events(CopyDone) == [CopyDone()]


def test_a_long_range_that_is_no_hole_is_read_in_small_pieces() -> None:
    bench = Bench(resync=ResyncSettings(max_ops=1)).primary(everything=True)
    bench.frame(MarksEnd())
    bench.mirror.start_copy(bench.now_s)
    give(bench, None)
    bench.frame(CopyAck(1))
    assert give(bench, b"").length_bytes == 8 * MIB
    (read,) = bench.asked(fx.ReadLocal)
    assert (read.offset_bytes, read.length_bytes) == (MIB, MIB)


# ---- the client goes first ----------------------------------------


def test_a_write_to_a_range_being_copied_waits_and_later_ones_to_it_wait_behind() -> None:
    bench = copying(Bench(bits=(0,)))
    bench.write(0)
    bench.write(0, bytes(2 * BLOCK_BYTES))
    bench.write(BLOCK_BYTES)
    other = bench.write(2 * BLOCK_BYTES)
    bench.run(fx.SyncLog)
    assert [w.offset_bytes for w in bench.frames(Write)] == [2 * BLOCK_BYTES]
    give(bench, block(1))
    bench.frame(CopyAck(1))
    assert [(w.offset_bytes, len(w.data)) for w in bench.frames(Write)][1:] == [
        (0, 4 * KIB),
        (0, 2 * BLOCK_BYTES),
        (BLOCK_BYTES, 4 * KIB),
    ]
    bench.run()
    bench.frame(Ack(1))
    assert bench.answers() == {other: 0}


def test_a_copy_waits_for_writes_under_way_and_holds_back_new_ones_meanwhile() -> None:
    bench = Bench(log=(), bits=(0,)).primary()
    bench.frame(MarksEnd())
    bench.write(0)
    bench.run()
    bench.mirror.start_copy(bench.now_s)
    bench.write(4 * KIB)
    bench.run()
    assert bench.asked(fx.ReadLocal) == []
    assert len(bench.frames(Write)) == 1
    bench.frame(Ack(1))
    assert len(bench.asked(fx.ReadLocal)) == 1
    assert len(bench.frames(Write)) == 1


def test_a_busy_client_leaves_room_for_one_copy() -> None:
    bench = Bench(
        bits=range(0, 512, 64), log=(15,), resync=ResyncSettings(busy_requests=2, yield_s=0.0)
    ).primary()
    bench.frame(MarksEnd())
    tags = [bench.write(15 * EXTENT_BYTES + n * BLOCK_BYTES) for n in range(3)]
    bench.mirror.start_copy(bench.now_s)
    assert len(bench.asked(fx.ReadLocal)) == 1
    bench.run()
    bench.frame(Ack(3))
    assert len(bench.answers()) == len(tags)
    assert len(bench.asked(fx.ReadLocal)) > 1


def test_content_under_way_is_bounded() -> None:
    bench = copying(Bench(bits=range(BLOCKS), resync=ResyncSettings(max_bytes_in_flight=2 * MIB)))
    assert len(bench.asked(fx.ReadLocal)) == 2
    bench = copying(Bench(bits=range(BLOCKS), resync=ResyncSettings(max_bytes_in_flight=512 * KIB)))
    assert len(bench.asked(fx.ReadLocal)) == 1


def test_while_the_client_asks_copies_are_small_and_one_at_a_time_and_large_again_afterwards() -> None:
    limits = ResyncSettings(yield_bytes_in_flight=2 * BLOCK_BYTES, yield_s=0.1)
    bench = Bench(bits=range(256), log=(15,), resync=limits).primary()
    bench.frame(MarksEnd())
    bench.write(15 * EXTENT_BYTES)
    bench.mirror.start_copy(bench.now_s)
    assert [read.length_bytes for read in bench.asked(fx.ReadLocal)] == [2 * BLOCK_BYTES]
    bench.run()
    bench.frame(Ack(1))
    assert len(bench.asked(fx.ReadLocal)) == 1
    bench.tick(0.2)
    assert {read.length_bytes for read in bench.asked(fx.ReadLocal)} == {2 * BLOCK_BYTES, MIB}
    assert len(bench.asked(fx.ReadLocal)) > 2


def test_reads_of_the_client_make_a_copy_yield_as_well() -> None:
    limits = ResyncSettings(yield_bytes_in_flight=BLOCK_BYTES, yield_s=0.1)
    bench = copying(Bench(bits=range(BLOCKS), resync=limits))
    first = bench.asked(fx.ReadLocal)
    assert all(read.length_bytes == MIB for read in first)
    bench.read(0, 4 * KIB)
    for read in first:
        give(bench, bytes(range(256)) * (read.length_bytes // 256))
        bench.frame(CopyAck(bench.frames(Copy)[-1].op))
    copies = [read for read in bench.asked(fx.ReadLocal) if read.hole_ok]
    assert [read.length_bytes for read in copies] == [BLOCK_BYTES]


def test_a_rate_limit_paces_the_copy() -> None:
    bench = Bench(bits=range(BLOCKS), resync=ResyncSettings(rate_limit_bytes_s=MIB)).primary()
    bench.frame(MarksEnd())
    bench.mirror.start_copy(bench.now_s)
    bench.tick(0.01)
    read = 0
    for _ in range(10):
        while bench.asked(fx.ReadLocal):
            give(bench, bytes(range(256)) * 4096)
            read += 1
            bench.frame(CopyAck(bench.frames(Copy)[-1].op))
        bench.tick(0.5)
    assert 3 <= read <= 16


def test_while_io_is_held_nothing_is_copied() -> None:
    bench = Bench(bits=(1,)).primary()
    bench.frame(MarksEnd())
    bench.mirror.hold(bench.now_s)
    bench.mirror.start_copy(bench.now_s)
    assert bench.asked(fx.ReadLocal) == []
    bench.mirror.serve(bench.now_s)
    bench.tick()
    assert len(bench.asked(fx.ReadLocal)) == 1


# ---- the end ----------------------------------------


def test_at_the_end_both_flush_and_then_marks_from_before_go() -> None:
    bench = copying(Bench(bits=(1,), log=(3,)), 5)
    while bench.asked(fx.ReadLocal):
        give(bench, None)
        bench.frame(CopyAck(bench.frames(CopyZero)[-1].op))
    bench.mirror.end_copy_flush(9, bench.now_s)
    assert bench.frames(CopyFlush) == [CopyFlush(9)]
    late = bench.write(3 * EXTENT_BYTES)
    bench.run()
    bench.frame(Ack(1))
    assert bench.answers() == {late: 0}
    assert bench.events(CopyFlushedBoth) == []
    bench.frame(CopyFlushed(9))
    assert bench.events(CopyFlushedBoth) == [CopyFlushedBoth(9)]
    assert bench.mirror.marked_bytes() == (EXTENT_BLOCKS + 2) * BLOCK_BYTES
    bench.mirror.finish_copy(bench.now_s)
    assert bench.mirror.marked_bytes() == BLOCK_BYTES
    assert bench.mirror.in_step


def test_flushes_of_the_client_before_the_confirmation_clear_nothing() -> None:
    bench = copying(Bench(bits=(1,)))
    give(bench, None)
    bench.frame(CopyAck(1))
    bench.flush()
    bench.run()
    bench.mirror.end_copy_flush(2, bench.now_s)
    assert bench.frames(CopyFlush) == []
    bench.frame(Flushed(1))
    assert bench.frames(CopyFlush) == [CopyFlush(2)]
    bench.run()
    bench.frame(CopyFlushed(2))
    bench.flush()
    bench.mirror.finish_copy(bench.now_s)
    bench.run()
    assert [type(f).__name__ for f in bench.sent[-1:]] == ["Flush"]
    bench.frame(Flushed(2))
    assert not bench.mirror.has_marks
    assert "Clear" not in {type(f).__name__ for f in bench.sent}


def test_an_end_that_fails_may_be_repeated() -> None:
    bench = copying(Bench(bits=(1,)))
    give(bench, None)
    bench.frame(CopyAck(1))
    for epoch in (1, 2):
        bench.mirror.end_copy_flush(epoch, bench.now_s)
        bench.run()
        bench.frame(CopyFlushed(epoch))
    assert bench.events(CopyFlushedBoth) == [CopyFlushedBoth(1), CopyFlushedBoth(2)]
    bench.mirror.finish_copy(bench.now_s)
    assert not bench.mirror.has_marks


def test_finishing_before_all_is_copied_clears_nothing() -> None:
    bench = copying(Bench(bits=(1,)))
    bench.mirror.end_copy_flush(1, bench.now_s)
    bench.run()
    bench.frame(CopyFlushed(1))
    bench.mirror.finish_copy(bench.now_s)
    assert bench.mirror.has_marks
    assert not bench.mirror.in_step


def test_a_session_lost_at_the_end_keeps_every_mark() -> None:
    bench = copying(Bench(bits=(1,)))
    give(bench, None)
    bench.frame(CopyAck(1))
    bench.mirror.end_copy_flush(1, bench.now_s)
    tag = bench.flush()
    bench.alone()
    bench.run()
    assert bench.answers() == {tag: 0}
    assert bench.mirror.marked_bytes() == BLOCK_BYTES
    assert bench.events(CopyFlushedBoth) == []


def test_the_second_keeps_its_marks_until_the_copy_is_confirmed() -> None:
    bench = Bench(bits=(1, 2)).second()
    bench.frame(Copy(1, BLOCK_BYTES, block(1)), Write(1, 0, DATA), CopyFlush(3), Write(2, EXTENT_BYTES, DATA))
    bench.run()
    assert bench.frames(CopyFlushed) == [CopyFlushed(3)]
    assert bench.mirror.marked_bytes() == 4 * BLOCK_BYTES
    bench.mirror.finish_copy(bench.now_s)
    assert bench.mirror.marked_bytes() == BLOCK_BYTES


# ---- sessions that break ----------------------------------------


def test_a_copy_goes_on_where_it_was_with_the_same_peer() -> None:
    bench = copying(Bench(bits=(1, 70, 140), resync=ResyncSettings(yield_s=0.0)))
    give(bench, None)
    bench.frame(CopyAck(1))
    waiting = bench.write(70 * BLOCK_BYTES)
    bench.mirror.end_session(bench.now_s)
    late = bench.asked(fx.ReadLocal)[0]
    bench.primary(resend=True)
    bench.frame(MarksEnd())
    assert bench.events(PeerMarksComplete)[-1] == PeerMarksComplete(2 * BLOCK_BYTES)
    bench.mirror.read_done(late.ticket, block(1), None, bench.now_s)
    assert bench.frames(Copy) == []
    bench.open.remove(late)
    bench.frame(Marks(0, page(9)))
    bench.confirm()
    assert bench.answers() == {waiting: 0}
    bench.mirror.start_copy(bench.now_s)
    assert {r.offset_bytes // BLOCK_BYTES for r in bench.asked(fx.ReadLocal)} == {70, 140}


def test_a_copy_begins_anew_with_another_process() -> None:
    bench = copying(Bench(bits=(1, 70)))
    give(bench, None)
    bench.frame(CopyAck(1))
    bench.mirror.end_session(bench.now_s)
    bench.primary()
    bench.frame(Marks(0, page(200)), MarksEnd())
    assert bench.events(PeerMarksComplete)[-1] == PeerMarksComplete(3 * BLOCK_BYTES)


def test_a_read_error_of_the_source_ends_the_copy_and_is_told() -> None:
    bench = copying(Bench(bits=(1, 70), resync=ResyncSettings(max_ops=1)))
    waiting = bench.write(BLOCK_BYTES)
    bench.run()
    read = bench.asked(fx.ReadLocal)[0]
    bench.mirror.read_done(read.ticket, None, "bad sector", bench.now_s)
    assert bench.events(DiskFailed) == [DiskFailed("bad sector", False)]
    bench.open.remove(read)
    bench.tick(times=4)
    assert bench.asked(fx.ReadLocal) == []
    assert bench.events(CopyDone) == []
    bench.confirm()
    assert bench.answers() == {waiting: 0}


def test_a_copy_that_the_peer_does_not_confirm_is_a_stall() -> None:
    bench = copying(Bench(bits=(1,)))
    bench.tick(times=2)
    give(bench, block(1))
    bench.tick(times=21)
    assert len(bench.events(PeerWriteTimeout)) == 1


@pytest.mark.parametrize(
    "frame",
    [
        CopyAck(1),
        CopyAck(7),
        Differ(7, b"\x01"),
        Differ(1, b"\x01\x00"),
        Differ(1, b"\x02"),
        CopyFlushed(1),
        Marks(5, b""),
    ],
)
def test_answers_that_do_not_fit_a_comparison_are_refused(frame: object) -> None:
    bench = Bench().primary()
    if not isinstance(frame, Marks):
        bench.frame(Marks(0, page(3)), MarksEnd())
        bench.mirror.start_copy(bench.now_s)
        give(bench, block(1))
    with pytest.raises(MirrorProtocolError, match="peer"):
        bench.frame(frame)  # type: ignore[arg-type]


# ---- the receiving side ----------------------------------------


def test_the_second_answers_which_blocks_differ() -> None:
    bench = Bench().second()
    digests = b"".join(hashlib.blake2b(block(n), digest_size=16).digest() for n in (1, 2, 3))
    bench.frame(Digests(4, BLOCK_BYTES, digests))
    (read,) = bench.asked(fx.DigestLocal)
    assert (read.offset_bytes, read.length_bytes) == (BLOCK_BYTES, 3 * BLOCK_BYTES)
    bench.mirror.digest_done(read.ticket, digests_of(block(1) + block(9) + block(3)), None, bench.now_s)
    assert bench.frames(Differ) == [Differ(4, b"\x00\x01\x00")]


def test_a_hole_is_compared_as_zeros() -> None:
    bench = Bench().second()
    digests = b"".join(hashlib.blake2b(block(n), digest_size=16).digest() for n in (0, 1))
    bench.frame(Digests(4, 0, digests))
    bench.mirror.digest_done(bench.asked(fx.DigestLocal)[0].ticket, None, None, bench.now_s)
    assert bench.frames(Differ) == [Differ(4, b"\x00\x01")]


def test_the_second_confirms_copies_when_it_holds_them() -> None:
    bench = Bench().second()
    bench.frame(Copy(1, 0, block(1)), CopyZero(2, EXTENT_BYTES, EXTENT_BYTES))
    assert bench.frames(CopyAck) == []
    assert bench.asked(fx.SyncLog) == []
    bench.run()
    assert bench.frames(CopyAck) == [CopyAck(1), CopyAck(2)]


def test_the_second_flushes_now_and_then_and_confirms_only_so_much_meanwhile() -> None:
    bench = Bench().second()
    for op in range(100):
        bench.frame(Copy(op, op % 64 * MIB, bytes(MIB)))
    bench.run(fx.LocalWrite)
    assert len(bench.frames(CopyAck)) == 63
    (flush,) = bench.asked(fx.LocalFlush)
    bench.answer(flush)
    assert [ack.op for ack in bench.frames(CopyAck)] == list(range(100))
    assert len(bench.asked(fx.LocalFlush)) == 1, "the next one follows at once"


@pytest.mark.parametrize(
    "frame",
    [
        Copy(1, 512, block(1)),
        Copy(1, 0, DATA),
        Copy(1, SIZE, block(1)),
        CopyZero(1, 0, 2 * SIZE),
        CopyZero(1, 0, 0),
        Digests(1, 0, bytes(15)),
        Digests(1, 0, b""),
        Digests(1, 0, bytes(16 * 33)),
        Digests(1, 512, bytes(16)),
    ],
)
def test_copies_that_do_not_fit_are_refused(frame: object) -> None:
    bench = Bench().second()
    with pytest.raises(MirrorProtocolError, match="peer"):
        bench.frame(frame)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["write", "copy", "flush", "compare", "log"])
def test_a_second_whose_disk_fails_tells_both_and_confirms_nothing_more(what: str) -> None:
    bench = Bench(log=(0,)).second()
    match what:
        case "write":
            bench.frame(Write(1, 0, DATA))
            bench.answer(bench.asked(fx.LocalWrite)[0], "bad sector")
        case "copy":
            bench.frame(Copy(1, 0, block(1)))
            bench.answer(bench.asked(fx.LocalWrite)[0], "bad sector")
        case "flush":
            bench.frame(Flush(1))
            bench.answer(bench.asked(fx.LocalFlush)[0], "bad sector")
        case "compare":
            bench.frame(Digests(1, 0, bytes(16)))
            digest = bench.asked(fx.DigestLocal)[0]
            bench.open.remove(digest)
            bench.mirror.digest_done(digest.ticket, None, "bad sector", bench.now_s)
        case _:
            bench.frame(Write(1, EXTENT_BYTES, DATA))
            bench.answer(bench.asked(fx.SyncLog)[0], "bad sector")
    assert bench.events(DiskFailed) == [DiskFailed("bad sector", False)]
    assert bench.frames(PeerDiskFailed) == [PeerDiskFailed("bad sector")]
    seq = 1 if what in ("copy", "compare") else 2
    bench.frame(Write(seq, 0, DATA), Flush(seq + 1), Copy(2, 0, block(1)), CopyZero(3, 0, BLOCK_BYTES))
    bench.frame(Digests(4, 0, bytes(16)), CopyFlush(1))
    bench.run()
    assert bench.frames(Ack) == []
    assert bench.frames(Flushed) == []
    assert bench.frames(CopyAck) == []
    assert bench.frames(CopyFlushed) == []


def test_answers_of_the_disk_from_a_lost_session_confirm_nothing() -> None:
    bench = Bench().second()
    bench.frame(Copy(1, 0, block(1)), Digests(2, 0, bytes(16)))
    digest = bench.asked(fx.DigestLocal)[0]
    bench.mirror.end_session(bench.now_s)
    bench.second()
    bench.run()
    bench.mirror.digest_done(digest.ticket, None, None, bench.now_s)
    assert bench.frames(CopyAck) == []
    assert bench.frames(Differ) == []


# ---- progress ----------------------------------------


def test_progress_says_what_is_left_how_fast_and_until_when() -> None:
    bench = copying(Bench(bits=range(0, 320, 32), resync=ResyncSettings(max_ops=1)))
    assert bench.mirror.progress(bench.now_s) == Progress(
        10 * BLOCK_BYTES, 10 * BLOCK_BYTES, 0, 0, 0.0, None, False
    )
    for _ in range(5):
        bench.now_s += 1
        give(bench, block(1))
        bench.frame(CopyAck(bench.frames(Copy)[-1].op))
    half = 5 * BLOCK_BYTES
    assert bench.mirror.progress(bench.now_s) == Progress(half, 2 * half, half, half, BLOCK_BYTES, 5.0, False)
    bench.now_s += 11
    stuck = bench.mirror.progress(bench.now_s)
    assert stuck.losing_ground
    assert stuck.eta_s is None


def test_tracking_ten_tebibytes_scattered_on_both_nodes_takes_less_than_64_mebibytes() -> None:
    size = 10 * 1024**4
    pages = size // BLOCK_BYTES // PAGE_BLOCKS
    tracemalloc.start()
    try:
        bits = PagedBitmap(size // BLOCK_BYTES)
        for number in range(pages):
            bits.set_page(number, number.to_bytes(4, "little") + b"\x11" * (PAGE_BYTES - 4))
        mirror = Mirror(size, bits, (), 1024, 10.0, ResyncSettings())
        mirror.begin_session(primary=True, now_s=1.0)
        for number in range(pages):
            mirror.frame(Marks(number, b"\x44" * PAGE_BYTES), 1.0)
        mirror.frame(MarksEnd(), 1.0)
        mirror.start_copy(1.0)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert mirror.progress(1.0).left_bytes > size // 2 - BLOCK_BYTES * PAGE_BLOCKS
    assert used < 64 * MIB


def test_without_a_resync_there_is_no_progress() -> None:
    assert Bench().alone().mirror.progress(5.0) == Progress(0, 0, 0, 0, 0.0, None, False)


def test_rates_forget_what_is_long_ago() -> None:
    rate = Rate()
    assert rate.look(0.0, 0) == (0.0, False)
    for second in range(1, 31):
        rate.look(float(second), second * 100 if second < 15 else 1400)
    assert rate.look(30.0, 1400) == (0.0, True)


def test_a_pace_lets_a_seconds_worth_through_at_once_and_no_more() -> None:
    pace = Pace(1000)
    assert pace.allows(0.0)
    pace.took(1500)
    assert not pace.allows(0.4)
    assert pace.allows(0.6)
    pace.took(0)
    assert pace.allows(100.0)
    pace.took(1000)
    assert not pace.allows(100.0)
    assert Pace(None).allows(0.0)
