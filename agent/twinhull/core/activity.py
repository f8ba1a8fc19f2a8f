"""Which blocks may differ from the peer's, and what makes that durable.

Every write marks its blocks (32 KiB) before it goes anywhere. A mark is covered durably in one of two ways: its
4 MiB extent is in the activity log (a crash then marks the whole extent), or its bit stands in the durable bitmap.
This class knows the marks, the members of the log, and which of them may leave it; it performs nothing.

Marks age by flushes. A write sets a *new* mark. When a flush begins, new marks become *old*; when it has completed on
both nodes, that are in step, all but the new ones go. What was flushed on this node alone is *kept*. When the final
flush of a resync begins, all there are become *stale*, and go when the resync is confirmed. The bitmap of this class
has the same ages: marks that left the log while new, older ones, and stale ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .marks import (
    BLOCK_BYTES,
    EMPTY_PAGE,
    EXTENT_BLOCKS,
    EXTENT_BYTES,
    EXTENT_MASK_BYTES,
    FULL_EXTENT,
    FULL_PAGE,
    PAGE_BYTES,
    PAGE_EXTENTS,
    PagedBitmap,
    union_pages,
)

EXTENT_SHIFT = EXTENT_BYTES.bit_length() - 1
BLOCK_SHIFT = BLOCK_BYTES.bit_length() - 1
MINIMUM_CAPACITY = 4
PAGES_AT_ONCE = 64


class LogChange(NamedTuple):
    """One durable transaction: pages of the bitmap first, then extents out of and into the log."""

    add: tuple[int, ...]
    remove: tuple[int, ...]
    pages: tuple[tuple[int, bytes], ...]


class Extent:
    """4 MiB of the volume that are in the activity log. Masks have one bit for each block.

    `stamp` is that of the last write to it, `in_flight` counts writes that are not finished; `coarse`: marked as a
    whole because it was in the log after a crash, so most of it may well be equal.
    """

    __slots__ = ("coarse", "in_flight", "kept", "new", "number", "old", "stale", "stamp")

    def __init__(self, number: int, *, coarse: bool) -> None:
        self.number = number
        self.coarse = coarse
        self.new = self.old = self.stale = 0
        self.kept = FULL_EXTENT if coarse else 0
        self.in_flight = 0
        self.stamp = 0

    @property
    def mask(self) -> int:
        """All blocks of it that are marked."""
        return self.new | self.old | self.kept | self.stale


def extent_mask(extent: int, offset_bytes: int, length_bytes: int) -> int:
    """The blocks of `extent` that a range touches."""
    start = max(offset_bytes, extent << EXTENT_SHIFT)
    end = min(offset_bytes + length_bytes, (extent + 1) << EXTENT_SHIFT)
    first = (start >> BLOCK_SHIFT) % EXTENT_BLOCKS
    return ((1 << (((end - 1) >> BLOCK_SHIFT) - (start >> BLOCK_SHIFT) + 1)) - 1) << first


class Activity:
    """The marks of one node and the members of its activity log.

    Args:
        size_bytes: size of the volume, a multiple of `BLOCK_BYTES`.
        bits: the durable bitmap as it was loaded; it is taken over.
        log_extents: extents that were in the log as it was loaded; all of their blocks count as marked.
        capacity: how many extents the log takes, at least `MINIMUM_CAPACITY`.
    """

    def __init__(self, size_bytes: int, bits: PagedBitmap, log_extents: Iterable[int], capacity: int) -> None:
        if size_bytes <= 0 or size_bytes % BLOCK_BYTES or bits.blocks != size_bytes // BLOCK_BYTES:
            raise ValueError(f"a bitmap of {bits.blocks} blocks does not fit a volume of {size_bytes} bytes")
        if capacity < MINIMUM_CAPACITY:
            raise ValueError(f"an activity log takes at least {MINIMUM_CAPACITY} extents, not {capacity}")
        self.size_bytes = size_bytes
        self.capacity = capacity
        self.bits = bits
        self.extents: dict[int, Extent] = {}
        self.stamp = 0
        self.flushed_stamp = 0
        self.dirty_pages: set[int] = set()
        self.unsure_pages: set[int] = set()
        self._new_bits = PagedBitmap(bits.blocks)
        self._stale_bits: PagedBitmap | None = None
        self._touched: list[Extent] = []
        self._aged: set[Extent] = set()
        """Whatever has marks that are not new, and perhaps more: a flush looks at these alone."""
        self._last_mask = (1 << (size_bytes % EXTENT_BYTES // BLOCK_BYTES)) - 1 or FULL_EXTENT
        self._last_extent = (size_bytes - 1) >> EXTENT_SHIFT
        for number in log_extents:
            if not 0 <= number <= self._last_extent:
                raise ValueError(f"extent {number} of the activity log is outside the volume")
            extent = Extent(number, coarse=True)
            extent.kept = self._whole(number)
            self.extents[number] = extent
            self._aged.add(extent)

    def _whole(self, number: int) -> int:
        return self._last_mask if number == self._last_extent else FULL_EXTENT

    # ---- writes ------------------------------------------------------------------------------------

    def missing(self, offset_bytes: int, length_bytes: int) -> list[int]:
        """Extents of the range that are not durably in the log, ascending."""
        first, last = offset_bytes >> EXTENT_SHIFT, (offset_bytes + length_bytes - 1) >> EXTENT_SHIFT
        members = self.extents
        return [number for number in range(first, last + 1) if number not in members]

    def begin(self, offset_bytes: int, length_bytes: int) -> tuple[Extent, ...]:
        """A write is about to go out: mark its blocks; its extents stay in the log until `end`.

        All extents of the range must be in the log (KeyError).
        """
        self.stamp = stamp = self.stamp + 1
        number = offset_bytes >> EXTENT_SHIFT
        last = (offset_bytes + length_bytes - 1) >> EXTENT_SHIFT
        if number == last:
            extent = self.extents[number]
            if not extent.new:
                self._touched.append(extent)
            first = offset_bytes >> BLOCK_SHIFT
            count = ((offset_bytes + length_bytes - 1) >> BLOCK_SHIFT) - first + 1
            extent.new |= ((1 << count) - 1) << (first % EXTENT_BLOCKS)
            extent.stamp = stamp
            extent.in_flight += 1
            return (extent,)
        result = tuple(self.extents[n] for n in range(number, last + 1))
        for extent in result:
            if not extent.new:
                self._touched.append(extent)
            extent.new |= extent_mask(extent.number, offset_bytes, length_bytes)
            extent.stamp = stamp
            extent.in_flight += 1
        return result

    @staticmethod
    def end(extents: tuple[Extent, ...]) -> None:
        """A write that had begun is finished on every node that it went to."""
        for extent in extents:
            extent.in_flight -= 1

    # ---- flushes -----------------------------------------------------------------------------------

    def rotate(self) -> None:
        """A flush begins: what is marked new is covered by it."""
        for extent in self._touched:
            extent.old |= extent.new
            extent.new = 0
        self._aged.update(self._touched)
        self._touched = []
        if self._new_bits:
            self.bits.union(self._new_bits)
            self._new_bits.clear()

    def flushed(self, stamp: int) -> None:
        """This node's disk flushed everything handed to it up to `stamp` (value of `stamp` at its beginning)."""
        self.flushed_stamp = max(self.flushed_stamp, stamp)

    def drop_old(self) -> None:
        """Both nodes, being in step, flushed: only blocks written since the flush began stay marked."""
        for extent in self._aged:
            extent.old = extent.kept = extent.stale = 0
            extent.coarse = False
        self._aged.clear()
        self.dirty_pages.update(self.bits.page_numbers())
        self.bits.clear()
        self._drop_stale_bits()
        self.unsure_pages.clear()

    def keep_old(self) -> None:
        """Only this node flushed, or the nodes are not in step: what the flush covered stays marked."""
        for extent in self._aged:
            extent.kept |= extent.old
            extent.old = 0

    def set_stale(self) -> None:
        """The final flush of a resync begins: all marks there are may go when it is confirmed."""
        self.rotate()
        for extent in self.extents.values():
            extent.stale |= extent.old | extent.kept
            extent.old = extent.kept = 0
        if self._stale_bits is None:
            self._stale_bits = self.bits
        else:
            self._stale_bits.union(self.bits)
        self.bits = PagedBitmap(self._stale_bits.blocks)

    def drop_stale(self) -> None:
        """The resync is confirmed: what was marked when its final flush began is not any more."""
        for extent in self.extents.values():
            if extent.stale:
                extent.stale = 0
                extent.coarse = False
        self._drop_stale_bits()

    def restore_stale(self) -> None:
        """The final flush of a resync was in vain: its marks stay."""
        for extent in self.extents.values():
            extent.kept |= extent.stale
            extent.stale = 0
        if self._stale_bits is not None:
            self.bits.union(self._stale_bits)
            self._stale_bits = None

    def _drop_stale_bits(self) -> None:
        if self._stale_bits is not None:
            self.dirty_pages.update(self._stale_bits.page_numbers())
            self._stale_bits = None

    # ---- what is marked ------------------------------------------------------------------------------

    @property
    def has_marks(self) -> bool:
        """Whether anything is marked."""
        if self.bits or self._new_bits or self._stale_bits:
            return True
        return any(extent.mask for extent in self.extents.values())

    def marked_blocks(self) -> int:
        """How many blocks are marked."""
        bits = self.bits
        if self._stale_bits or self._new_bits:
            bits = bits.copy()
            bits.union(self._new_bits)
            if self._stale_bits is not None:
                bits.union(self._stale_bits)
        extra = sum(
            (extent.mask & ~bits.extent_mask(extent.number)).bit_count() for extent in self.extents.values()
        )
        return len(bits) + extra

    def page(self, number: int) -> bytes:
        """All marks of one page of the volume; `EMPTY_PAGE` for none."""
        return self._with_masks(
            number, [e for e in self.extents.values() if e.number // PAGE_EXTENTS == number]
        )

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """All pages in which something is marked, ascending."""
        members: dict[int, list[Extent]] = {}
        for extent in self.extents.values():
            if extent.mask:
                members.setdefault(extent.number // PAGE_EXTENTS, []).append(extent)
        numbers = {*members, *self.bits.page_numbers(), *self._new_bits.page_numbers()}
        if self._stale_bits is not None:
            numbers.update(self._stale_bits.page_numbers())
        for number in sorted(numbers):
            yield number, self._with_masks(number, members.get(number, []))

    def _with_masks(self, number: int, members: list[Extent]) -> bytes:
        page = self._bits_of(number)
        if page is FULL_PAGE or not members:
            return page
        content = bytearray(page)
        for extent in members:
            at = extent.number % PAGE_EXTENTS * EXTENT_MASK_BYTES
            mask = extent.mask | int.from_bytes(content[at : at + EXTENT_MASK_BYTES], "little")
            content[at : at + EXTENT_MASK_BYTES] = mask.to_bytes(EXTENT_MASK_BYTES, "little")
        return bytes(content)

    def _bits_of(self, number: int) -> bytes:
        page = EMPTY_PAGE
        for bits in (self.bits, self._new_bits, self._stale_bits):
            part = bits.page(number) if bits is not None else None
            if part is not None:
                page = part if page is EMPTY_PAGE else union_pages(part, page)
        return page

    def unsure(self, number: int) -> bool:
        """Whether much of what is marked in this page may be equal (then digests are compared first)."""
        if number in self.unsure_pages:
            return True
        first = number * PAGE_EXTENTS
        return any(e.coarse and first <= e.number < first + PAGE_EXTENTS for e in self.extents.values())

    def doubt(self, number: int) -> None:
        """From now on much of what is marked in this page may be equal."""
        self.unsure_pages.add(number)

    def merge_page(self, number: int, bits: bytes) -> None:
        """Mark what the peer has marked in a page; b"" stands for every block of it.

        ValueError: no such page, wrong length, or bits beyond the end.
        """
        if not 0 <= number < self.bits.page_count:
            raise ValueError(f"page {number} is outside a bitmap of {self.bits.page_count} pages")
        theirs = bits or self.bits.full_page(number)
        if len(theirs) != PAGE_BYTES:
            raise ValueError(f"a page has {PAGE_BYTES} bytes, not {len(theirs)}")
        before = self.page(number)
        if union_pages(before, theirs) is before:
            return
        ours = self.bits.page(number)
        self.bits.set_page(number, theirs if ours is None else union_pages(ours, theirs))
        self.unsure_pages.add(number)
        self.dirty_pages.add(number)

    def mark_everything(self) -> None:
        """Mark every block of the volume, without knowing more about any."""
        self.bits.set_all()
        self.unsure_pages.update(range(self.bits.page_count))
        self.dirty_pages.update(range(self.bits.page_count))

    # ---- the log -----------------------------------------------------------------------------------

    def removable(self) -> list[Extent]:
        """Extents that may leave the log, the longest unused first.

        Nothing in them is in flight, and this node's disk flushed them; what they still mark goes to the bitmap.
        """
        flushed = self.flushed_stamp
        free = [e for e in self.extents.values() if not e.in_flight and e.stamp <= flushed]
        free.sort(key=_last_use)
        return free

    def cold(self, stamp: int) -> list[Extent]:
        """Extents without any mark that were not written since `stamp`."""
        return [e for e in self.removable() if e.stamp <= stamp and not e.mask]

    @property
    def flush_helps(self) -> bool:
        """Whether there are extents that only wait for a flush to leave the log."""
        flushed = self.flushed_stamp
        return any(not e.in_flight and e.stamp > flushed for e in self.extents.values())

    def unflushed(self) -> int:
        """How many extents of the log cannot leave before this node's disk was flushed."""
        flushed = self.flushed_stamp
        return sum(1 for e in self.extents.values() if e.stamp > flushed)

    def change(self, add: tuple[int, ...], remove: Iterable[Extent]) -> LogChange:
        """The transaction that takes extents out of the log and others in, with pages that are due.

        Those removed are no members any more from here on; those added only after `added`.
        """
        removed = []
        pages: set[int] = set()
        for extent in remove:
            del self.extents[extent.number]
            self._aged.discard(extent)
            removed.append(extent.number)
            if extent.mask:
                self._to_bits(extent)
                pages.add(extent.number // PAGE_EXTENTS)
        if removed:
            self._touched = [e for e in self._touched if e.number in self.extents]
        self.dirty_pages -= pages
        for number in sorted(self.dirty_pages)[:PAGES_AT_ONCE]:
            self.dirty_pages.discard(number)
            pages.add(number)
        return LogChange(
            add, tuple(removed), tuple((number, self._bits_of(number)) for number in sorted(pages))
        )

    def added(self, numbers: Iterable[int]) -> None:
        """These extents are durably in the log now."""
        for number in numbers:
            self.extents[number] = extent = Extent(number, coarse=False)
            extent.stamp = self.stamp

    def _to_bits(self, extent: Extent) -> None:
        if extent.new:
            self._new_bits.or_extent(extent.number, extent.new)
        if extent.old | extent.kept:
            self.bits.or_extent(extent.number, extent.old | extent.kept)
        if extent.stale and self._stale_bits is not None:
            self._stale_bits.or_extent(extent.number, extent.stale)
        if extent.coarse:
            self.unsure_pages.add(extent.number // PAGE_EXTENTS)


def _last_use(extent: Extent) -> int:
    return extent.stamp
