"""What would be overwritten on a SECOND waits until the old content is durable in the rescue (promise 7)."""

from __future__ import annotations

import pytest

from twinhull.core import effects as fx
from twinhull.core.events import LocalWriteTimeout, RescueFailed
from twinhull.core.frames import Ack, Copy, CopyAck, CopyZero, Discard, Flush, Flushed, Write
from twinhull.core.marks import BLOCK_BYTES, EXTENT_BYTES, PagedBitmap

from .mirror_kit import BLOCKS, DATA, Bench

BLOCK = bytes(BLOCK_BYTES)


def second(kept: int = 0, *, opened: bool = True) -> Bench:
    """A SECOND that keeps what it overwrites; the first `kept` blocks are kept already."""
    bench = Bench()
    bench.mirror.begin_session(primary=False, rescue=True, now_s=bench.now_s)
    if opened:
        bits = PagedBitmap(BLOCKS)
        bits.set_range(0, kept)
        bench.mirror.rescue_opened(bits, None, bench.now_s)
    return bench


def rescued(bench: Bench, error: str | None = None) -> fx.RescueOld:
    """The oldest RescueOld is durable, or failed."""
    effect = bench.asked(fx.RescueOld)[0]
    bench.open.remove(effect)
    bench.mirror.rescue_done(effect.ticket, error, bench.now_s)
    return effect


def test_a_copy_waits_for_its_block_only() -> None:
    bench = second()
    bench.frame(Copy(1, 0, BLOCK), Copy(2, 5 * BLOCK_BYTES, BLOCK))
    assert not bench.asked(fx.LocalWrite)
    effect = rescued(bench)
    assert (effect.offset_bytes, effect.length_bytes) == (0, BLOCK_BYTES)
    (write,) = bench.asked(fx.LocalWrite)
    assert write.offset_bytes == 0
    bench.run()
    assert bench.frames(CopyAck) == [CopyAck(1)]


def test_a_write_and_all_that_follow_it_wait_in_their_order() -> None:
    bench = second(kept=1)
    bench.frame(Write(1, 3 * BLOCK_BYTES, DATA), Write(2, 0, DATA), Flush(3))
    bench.run(fx.SyncLog)
    assert not bench.asked(fx.LocalWrite) and not bench.asked(fx.LocalFlush)
    rescued(bench)
    bench.run(fx.SyncLog)
    assert [write.offset_bytes for write in bench.asked(fx.LocalWrite)] == [3 * BLOCK_BYTES, 0]
    bench.run()
    assert bench.frames(Ack)[-1] == Ack(2)
    assert bench.frames(Flushed) == [Flushed(3)]


def test_discards_and_zeros_are_kept_like_writes() -> None:
    bench = second()
    bench.frame(CopyZero(1, 0, 2 * EXTENT_BYTES), Discard(1, 3 * EXTENT_BYTES, BLOCK_BYTES))
    bench.run(fx.SyncLog)
    assert not bench.asked(fx.LocalDiscard)
    assert sum(effect.length_bytes for effect in bench.asked(fx.RescueOld)) == 2 * EXTENT_BYTES + BLOCK_BYTES
    while bench.asked(fx.RescueOld):
        rescued(bench)
    bench.run(fx.SyncLog)
    assert len(bench.asked(fx.LocalDiscard)) == 2


def test_a_block_is_asked_for_once_and_a_part_of_it_keeps_the_whole() -> None:
    bench = second()
    bench.frame(Write(1, 512, b"x" * 512), Write(2, 1024, b"y" * 512))
    (effect,) = bench.asked(fx.RescueOld)
    assert (effect.offset_bytes, effect.length_bytes) == (0, BLOCK_BYTES)
    rescued(bench)
    bench.run()
    bench.frame(Write(3, 0, b"z" * 512))
    bench.run()
    assert not bench.asked(fx.RescueOld)
    assert bench.frames(Ack)[-1] == Ack(3)


def test_nothing_is_overwritten_before_the_rescue_is_there() -> None:
    bench = second(opened=False)
    bench.frame(Copy(1, 0, BLOCK), Write(1, BLOCK_BYTES, DATA))
    bench.run(fx.SyncLog)
    assert not bench.asked(fx.LocalWrite) and not bench.asked(fx.RescueOld)
    bench.mirror.rescue_opened(PagedBitmap(BLOCKS), None, bench.now_s)
    assert len(bench.asked(fx.RescueOld)) == 2


def test_with_a_rescue_that_was_given_up_nothing_waits() -> None:
    bench = second(opened=False)
    bench.frame(Copy(1, 0, BLOCK))
    bench.mirror.rescue_opened(None, None, bench.now_s)
    assert len(bench.asked(fx.LocalWrite)) == 1


@pytest.mark.parametrize("while_opening", [False, True])
def test_what_cannot_be_kept_is_told_and_not_overwritten_until_it_is_given_up(while_opening: bool) -> None:
    bench = second(opened=not while_opening)
    bench.frame(Copy(1, 0, BLOCK), Write(1, BLOCK_BYTES, DATA))
    if while_opening:
        bench.mirror.rescue_opened(None, "no room", bench.now_s)
    else:
        rescued(bench, "no room")
        rescued(bench)
    bench.run(fx.SyncLog)
    assert bench.events(RescueFailed) == [RescueFailed("no room")]
    assert not bench.asked(fx.LocalWrite)
    bench.mirror.rescue_over(bench.now_s)
    bench.run(fx.SyncLog)
    assert len(bench.asked(fx.LocalWrite)) == 2


def test_the_end_of_the_session_drops_what_waits() -> None:
    bench = second()
    bench.frame(Copy(1, 0, BLOCK), Write(1, BLOCK_BYTES, DATA))
    bench.mirror.end_session(bench.now_s)
    rescued(bench)
    rescued(bench)
    bench.run(fx.SyncLog)
    assert not bench.asked(fx.LocalWrite)


def test_what_an_earlier_session_kept_counts_only_when_the_store_says_so() -> None:
    bench = second()
    bench.frame(Copy(1, 0, BLOCK))
    bench.mirror.end_session(bench.now_s)
    bench.mirror.begin_session(primary=False, rescue=True, now_s=bench.now_s)
    bench.mirror.rescue_opened(PagedBitmap(BLOCKS), None, bench.now_s)
    rescued(bench)
    bench.frame(Copy(1, 0, BLOCK))
    assert not bench.asked(fx.LocalWrite)
    rescued(bench)
    assert len(bench.asked(fx.LocalWrite)) == 1


def test_a_disk_that_keeps_nothing_is_a_disk_that_hangs() -> None:
    bench = second()
    bench.frame(Copy(1, 0, BLOCK))
    bench.asked(fx.RescueOld)
    for _ in range(30):
        bench.tick(0.5)
    assert bench.events(LocalWriteTimeout) == [LocalWriteTimeout()]
