"""The paged bitmap against a plain set of blocks."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinhull.core.marks import (
    EMPTY_PAGE,
    FULL_PAGE,
    PAGE_BLOCKS,
    PAGE_BYTES,
    PagedBitmap,
    page_runs,
    union_pages,
)

BLOCKS = 2 * PAGE_BLOCKS + 1000

ranges = st.tuples(st.integers(0, BLOCKS - 1), st.integers(0, 3 * PAGE_BLOCKS)).map(
    lambda r: (r[0], min(r[1], BLOCKS - r[0]))
)


def as_set(bits: PagedBitmap) -> set[int]:
    return {block for first, count in bits.runs() for block in range(first, first + count)}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), ranges), max_size=8))
def test_ranges_behave_like_a_set(steps: list[tuple[bool, tuple[int, int]]]) -> None:
    bits, model = PagedBitmap(BLOCKS), set[int]()
    for put, (first, count) in steps:
        if put:
            bits.set_range(first, count)
            model.update(range(first, first + count))
        else:
            bits.clear_range(first, count)
            model.difference_update(range(first, first + count))
        assert len(bits) == len(model)
    assert as_set(bits) == model
    assert bool(bits) == bool(model)
    assert all((block in bits) == (block in model) for block in range(0, BLOCKS, 97))


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, BLOCKS - 1), max_size=40), st.sets(st.integers(0, BLOCKS - 1), max_size=40))
def test_union_is_that_of_the_sets_and_leaves_the_other_alone(ours: set[int], theirs: set[int]) -> None:
    one, other = PagedBitmap(BLOCKS), PagedBitmap(BLOCKS)
    for block in ours:
        one.set_range(block, 1)
    for block in theirs:
        other.set_range(block, 1)
    one.union(other)
    assert as_set(one) == ours | theirs
    assert as_set(other) == theirs


def test_runs_are_joined_across_pages() -> None:
    bits = PagedBitmap(BLOCKS)
    bits.set_range(PAGE_BLOCKS - 3, PAGE_BLOCKS + 6)
    bits.set_range(5, 1)
    assert list(bits.runs()) == [(5, 1), (PAGE_BLOCKS - 3, PAGE_BLOCKS + 6)]


def test_iteration_shows_the_bitmap_as_it_was_when_it_began() -> None:
    bits = PagedBitmap(BLOCKS)
    bits.set_range(0, 10)
    bits.set_range(PAGE_BLOCKS, 10)
    pages = bits.pages()
    assert next(pages)[0] == 0
    bits.clear()
    assert [number for number, _ in pages] == [1]
    assert not bits


def test_a_copy_is_independent_and_shares_pages() -> None:
    bits = PagedBitmap(BLOCKS)
    bits.set_range(7, 1)
    twin = bits.copy()
    assert twin == bits
    assert twin.page(0) is bits.page(0)
    bits.set_range(9, 1)
    assert as_set(twin) == {7}
    assert twin != bits
    assert (twin == 7) is False


def test_everything_ends_with_the_last_block() -> None:
    bits = PagedBitmap(BLOCKS)
    bits.set_all()
    assert len(bits) == BLOCKS
    assert as_set(bits) == set(range(BLOCKS))
    assert bits.page_numbers() == [0, 1, 2]
    assert bits.page(0) is FULL_PAGE
    assert bits.page(2) == bits.full_page(2) != FULL_PAGE


def test_extents_are_pieces_of_pages() -> None:
    bits = PagedBitmap(BLOCKS)
    bits.or_extent(257, 0b101)
    bits.or_extent(257, 0b1000)
    assert bits.extent_mask(257) == 0b1101
    assert bits.extent_mask(3) == 0
    assert as_set(bits) == {257 * 128, 257 * 128 + 2, 257 * 128 + 3}


def test_a_page_that_becomes_empty_is_absent() -> None:
    bits = PagedBitmap(BLOCKS)
    bits.set_range(3, 1)
    bits.clear_range(3, 1)
    bits.clear_range(PAGE_BLOCKS + 3, 1)
    assert bits.page(0) is None
    bits.set_page(1, EMPTY_PAGE)
    assert bits.page_numbers() == []


def test_setting_the_same_page_again_changes_nothing() -> None:
    bits = PagedBitmap(BLOCKS)
    bits.set_page(0, b"\x01" + bytes(PAGE_BYTES - 1))
    bits.set_page(0, bytearray(b"\x01" + bytes(PAGE_BYTES - 1)))
    assert len(bits) == 1
    bits.set_range(0, PAGE_BLOCKS)
    bits.set_range(4, 2)
    assert bits.page(0) is FULL_PAGE


@pytest.mark.parametrize(("page", "bits"), [(3, EMPTY_PAGE), (-1, EMPTY_PAGE), (0, b"\x01"), (2, FULL_PAGE)])
def test_a_page_that_does_not_fit_is_refused(page: int, bits: bytes) -> None:
    with pytest.raises(ValueError, match="page"):
        PagedBitmap(BLOCKS).set_page(page, bits)


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, BLOCKS + 1), (BLOCKS, 1), (0, -1)])
def test_a_range_outside_is_refused(first: int, count: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        PagedBitmap(BLOCKS).set_range(first, count)


def test_bitmaps_of_other_volumes_are_refused() -> None:
    with pytest.raises(ValueError, match="belong"):
        PagedBitmap(8).union(PagedBitmap(16))
    with pytest.raises(ValueError, match="cannot have"):
        PagedBitmap(-1)


def test_the_union_of_pages_is_one_of_them_where_that_holds_all() -> None:
    one, other = b"\x03" + bytes(PAGE_BYTES - 1), b"\x01" + bytes(PAGE_BYTES - 1)
    assert union_pages(one, other) is one
    assert union_pages(other, one) is one
    assert union_pages(other, b"\x02" + bytes(PAGE_BYTES - 1)) == one


def test_runs_of_a_page() -> None:
    assert page_runs(FULL_PAGE) == [(0, PAGE_BLOCKS)]
    assert page_runs(EMPTY_PAGE) == []
    assert page_runs(b"\x86" + bytes(PAGE_BYTES - 2) + b"\x80") == [(1, 2), (7, 1), (PAGE_BLOCKS - 1, 1)]


def test_ten_tebibytes_scattered_take_less_than_64_mebibytes() -> None:
    scattered = 10 * 1024**4 // (32 * 1024)
    tracemalloc.start()
    try:
        bits = PagedBitmap(scattered)
        for page in range(bits.page_count):
            bits.set_page(page, (page + 1).to_bytes(4, "little") + b"\x55" * (PAGE_BYTES - 4))
        twin = bits.copy()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(twin) == len(bits) > scattered * 0.49
    assert used < 64 * 1024**2
    assert bits.memory_bytes() < 64 * 1024**2


def test_a_full_volume_takes_next_to_nothing() -> None:
    bits = PagedBitmap(64 * 1024**4 // (32 * 1024))
    bits.set_all()
    assert bits.memory_bytes() < 8 * 1024**2
