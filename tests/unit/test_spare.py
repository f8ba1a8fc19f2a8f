"""A buffer is used again only when nobody looks at it any more."""

from __future__ import annotations

from twinhull.spare import SpareBuffers


def test_a_buffer_is_used_again_once_no_view_of_it_is_left() -> None:
    spare = SpareBuffers(100, 2)
    first = spare.take()
    assert len(first) == 100
    assert spare.take() is first


def test_what_somebody_looks_at_is_left_alone() -> None:
    spare = SpareBuffers(100, 2)
    first = spare.take()
    view = memoryview(first)[:10]
    first[:] = b"x" * 100
    second = spare.take()
    assert second is not first
    second[:] = b"y" * 100
    assert bytes(view) == b"x" * 10


def test_more_than_the_kept_ones_may_be_in_use() -> None:
    spare = SpareBuffers(4, 2)
    views = [memoryview(spare.take()) for _ in range(5)]
    for number, view in enumerate(views):
        view[:] = bytes([number]) * 4
    assert [bytes(view) for view in views] == [bytes([number]) * 4 for number in range(5)]
