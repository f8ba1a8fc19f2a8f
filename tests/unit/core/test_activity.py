"""Marks age by flushes, and every mark stays durably covered while extents come and go."""

from __future__ import annotations

import pytest

from twinhull.core.activity import Activity, extent_mask
from twinhull.core.marks import (
    BLOCK_BYTES,
    EXTENT_BLOCKS,
    EXTENT_BYTES,
    FULL_PAGE,
    PAGE_BLOCKS,
    PAGE_BYTES,
    PAGE_COVER_BYTES,
    PagedBitmap,
)

SIZE = 2 * PAGE_COVER_BYTES + 6 * EXTENT_BYTES + 3 * BLOCK_BYTES
BLOCKS = SIZE // BLOCK_BYTES


def make(*, log: tuple[int, ...] = (), bits: tuple[int, ...] = (), capacity: int = 8) -> Activity:
    bitmap = PagedBitmap(BLOCKS)
    for block in bits:
        bitmap.set_range(block, 1)
    return Activity(SIZE, bitmap, log, capacity)


def marked(activity: Activity) -> set[int]:
    found = PagedBitmap(BLOCKS)
    for number, page in activity.pages():
        found.set_page(number, page)
        assert activity.page(number) == page
    blocks = {block for first, count in found.runs() for block in range(first, first + count)}
    assert activity.marked_blocks() == len(blocks)
    assert activity.has_marks == bool(blocks)
    return blocks


def written(activity: Activity, *blocks: int) -> None:
    for block in blocks:
        for extent in activity.missing(block * BLOCK_BYTES, 512):
            activity.added([extent])
        activity.end(activity.begin(block * BLOCK_BYTES, 512))


def test_what_was_in_the_log_after_a_crash_is_marked_as_a_whole() -> None:
    activity = make(log=(1, SIZE // EXTENT_BYTES), bits=(5,))
    last = SIZE // EXTENT_BYTES * EXTENT_BLOCKS
    assert marked(activity) == {5, *range(EXTENT_BLOCKS, 2 * EXTENT_BLOCKS), last, last + 1, last + 2}
    assert activity.unsure(0)
    assert not activity.unsure(1)


def test_a_write_marks_exactly_its_blocks_also_across_extents() -> None:
    activity = make()
    start = EXTENT_BYTES - BLOCK_BYTES - 512
    assert activity.missing(start, 3 * BLOCK_BYTES) == [0, 1]
    activity.added([0, 1])
    assert activity.missing(start, 3 * BLOCK_BYTES) == []
    extents = activity.begin(start, 3 * BLOCK_BYTES)
    assert marked(activity) == {EXTENT_BLOCKS - 2, EXTENT_BLOCKS - 1, EXTENT_BLOCKS, EXTENT_BLOCKS + 1}
    assert [extent.in_flight for extent in extents] == [1, 1]
    activity.end(extents)
    assert [extent.in_flight for extent in extents] == [0, 0]


def test_a_flush_of_both_clears_what_was_written_before_it_began_and_nothing_else() -> None:
    activity = make(log=(3,), bits=(PAGE_BLOCKS,))
    written(activity, 1, 2)
    activity.rotate()
    written(activity, 2, 7)
    activity.drop_old()
    assert marked(activity) == {2, 7}
    assert activity.dirty_pages == {1}
    assert not activity.unsure(0)


def test_a_flush_of_this_node_alone_clears_nothing() -> None:
    activity = make()
    written(activity, 1)
    activity.rotate()
    activity.keep_old()
    activity.rotate()
    assert marked(activity) == {1}


def test_extents_leave_only_when_settled_and_flushed_the_longest_unused_first() -> None:
    activity = make()
    written(activity, 0, EXTENT_BLOCKS, 0)
    activity.added([2])
    held = activity.begin(2 * EXTENT_BYTES, 512)
    assert activity.removable() == []
    assert activity.unflushed() == 3
    activity.flushed(activity.stamp)
    assert [extent.number for extent in activity.removable()] == [1, 0]
    activity.end(held)
    assert [extent.number for extent in activity.removable()] == [1, 0, 2]


def test_marks_of_an_extent_that_leaves_go_to_the_bitmap_first() -> None:
    activity = make(log=(300,))
    written(activity, 3)
    activity.flushed(activity.stamp)
    change = activity.change((9,), activity.removable())
    assert change.add == (9,)
    assert sorted(change.remove) == [0, 300]
    pages = dict(change.pages)
    assert pages[0] == b"\x08" + bytes(PAGE_BYTES - 1)
    assert int.from_bytes(pages[1], "little").bit_count() == EXTENT_BLOCKS
    assert marked(activity) == {3, *range(300 * EXTENT_BLOCKS, 301 * EXTENT_BLOCKS)}
    assert activity.missing(9 * EXTENT_BYTES, 512) == [9]
    activity.added(change.add)
    assert activity.missing(9 * EXTENT_BYTES, 512) == []
    assert activity.unsure(1)
    assert not activity.unsure(0)


def test_clean_extents_leave_without_a_page() -> None:
    activity = make()
    written(activity, 3)
    activity.flushed(activity.stamp)
    activity.rotate()
    activity.drop_old()
    assert [extent.number for extent in activity.cold(activity.stamp)] == [0]
    assert activity.cold(activity.stamp - 1) == []
    assert activity.change((), activity.removable()).pages == ()


def test_a_mark_that_left_the_log_while_new_outlives_the_flush_that_began_before() -> None:
    activity = make()
    written(activity, 1)
    activity.rotate()
    written(activity, 2)
    activity.flushed(activity.stamp)
    activity.change((), activity.removable())
    activity.drop_old()
    assert marked(activity) == {2}
    activity.rotate()
    activity.drop_old()
    assert marked(activity) == set()


def test_pages_that_are_due_are_written_in_portions_with_their_present_content() -> None:
    blocks = 100 * PAGE_BLOCKS
    bits = PagedBitmap(blocks)
    bits.set_all()
    activity = Activity(blocks * BLOCK_BYTES, bits, (), 8)
    activity.drop_old()
    first = activity.change((), ()).pages
    second = activity.change((), ()).pages
    assert [number for number, _ in first + second] == list(range(100))
    assert {bits for _, bits in first + second} == {bytes(PAGE_BYTES)}
    assert activity.change((), ()).pages == ()


def test_a_confirmed_copy_clears_what_was_marked_when_its_last_flush_began() -> None:
    activity = make(log=(3,), bits=(PAGE_BLOCKS,))
    written(activity, 1)
    activity.set_stale()
    written(activity, 1, 2)
    before = marked(activity)
    assert {1, 2, PAGE_BLOCKS} < before
    activity.drop_stale()
    assert marked(activity) == {1, 2}
    assert activity.dirty_pages == {1}


def test_a_copy_that_fails_at_the_end_clears_nothing() -> None:
    activity = make(log=(3,), bits=(PAGE_BLOCKS,))
    written(activity, 1)
    before = marked(activity)
    activity.set_stale()
    activity.set_stale()
    activity.restore_stale()
    assert marked(activity) == before
    activity.drop_stale()
    activity.restore_stale()
    assert marked(activity) == before


def test_an_extent_that_leaves_during_the_last_flush_keeps_its_marks_apart() -> None:
    activity = make()
    written(activity, 1)
    activity.set_stale()
    written(activity, 2)
    activity.flushed(activity.stamp)
    change = activity.change((), activity.removable())
    assert change.pages[0][1] == b"\x06" + bytes(PAGE_BYTES - 1)
    assert marked(activity) == {1, 2}
    activity.set_stale()
    assert marked(activity) == {1, 2}
    activity.drop_stale()
    assert marked(activity) == set()


def test_stale_marks_may_leave_the_log_too() -> None:
    activity = make()
    written(activity, 1)
    activity.flushed(activity.stamp)
    activity.set_stale()
    activity.change((), activity.removable())
    activity.restore_stale()
    assert marked(activity) == {1}


def test_what_the_peer_marks_is_marked_here_and_compared_first() -> None:
    activity = make(bits=(1, PAGE_BLOCKS))
    activity.merge_page(0, b"\x02" + bytes(PAGE_BYTES - 1))
    assert not activity.unsure(0)
    activity.merge_page(0, b"\x04" + bytes(PAGE_BYTES - 1))
    activity.merge_page(1, b"")
    assert marked(activity) == {1, 2, *range(PAGE_BLOCKS, 2 * PAGE_BLOCKS)}
    assert activity.unsure(0)
    assert activity.page(1) is FULL_PAGE
    assert activity.dirty_pages == {0, 1}
    activity.merge_page(2, b"")
    assert max(marked(activity)) == BLOCKS - 1


@pytest.mark.parametrize(("page", "bits"), [(7, b""), (-1, b""), (0, b"\x01"), (2, FULL_PAGE)])
def test_marks_of_the_peer_that_do_not_fit_are_refused(page: int, bits: bytes) -> None:
    with pytest.raises(ValueError, match="page"):
        make().merge_page(page, bits)


def test_everything_can_be_marked() -> None:
    activity = make(log=(0,))
    activity.mark_everything()
    assert len(marked(activity)) == BLOCKS
    assert activity.unsure(2)


def test_masks_are_cut_to_the_extent() -> None:
    assert extent_mask(1, 0, 4 * EXTENT_BYTES) == (1 << EXTENT_BLOCKS) - 1
    assert extent_mask(1, EXTENT_BYTES + BLOCK_BYTES, 1) == 2


@pytest.mark.parametrize(
    ("size", "capacity", "log"),
    [(SIZE + 512, 8, ()), (SIZE - BLOCK_BYTES, 8, ()), (SIZE, 3, ()), (SIZE, 8, (5000,))],
)
def test_what_does_not_fit_together_is_refused(size: int, capacity: int, log: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"volume|extents"):
        Activity(size, PagedBitmap(BLOCKS), log, capacity)
