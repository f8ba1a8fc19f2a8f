"""Which blocks of a volume may differ: a sparse bitmap, one bit for 32 KiB.

Bit `i` of byte `j` of a page stands for block `8 * j + i` of that page (little endian throughout), so a page
read as a little-endian integer has bit `n` for its block `n`. Pages are immutable `bytes`: a full page and an
absent one cost nothing, copies share what they have in common, and whoever iterates sees the bitmap as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

BLOCK_BYTES = 32 * 1024
PAGE_BYTES = 4096
PAGE_BLOCKS = PAGE_BYTES * 8
PAGE_COVER_BYTES = PAGE_BLOCKS * BLOCK_BYTES
EXTENT_BYTES = 4 * 1024 * 1024
EXTENT_BLOCKS = EXTENT_BYTES // BLOCK_BYTES
EXTENT_MASK_BYTES = EXTENT_BLOCKS // 8
PAGE_EXTENTS = PAGE_BLOCKS // EXTENT_BLOCKS
FULL_EXTENT = (1 << EXTENT_BLOCKS) - 1

FULL_PAGE = b"\xff" * PAGE_BYTES
EMPTY_PAGE = bytes(PAGE_BYTES)

_ONES = re.compile("1+")


def page_count(blocks: int) -> int:
    """How many pages a bitmap of this many blocks has."""
    return -(-blocks // PAGE_BLOCKS)


def page_runs(page: bytes) -> list[tuple[int, int]]:
    """The runs of set bits of one page, ascending: (first block within the page, number of blocks)."""
    if page == FULL_PAGE:
        return [(0, PAGE_BLOCKS)]
    value = int.from_bytes(page, "little")
    if not value:
        return []
    return [(m.start(), m.end() - m.start()) for m in _ONES.finditer(f"{value:b}"[::-1])]


def union_pages(one: bytes, other: bytes) -> bytes:
    """The bits of both pages; the same object as one of them where that one holds all."""
    merged = int.from_bytes(one, "little") | int.from_bytes(other, "little")
    result = merged.to_bytes(PAGE_BYTES, "little")
    if result == one:
        return one
    if result == other:
        return other
    return result


class PagedBitmap:
    """A sparse set of blocks.

    Args:
        blocks: number of blocks of the volume; bits beyond it cannot be set.
    """

    __slots__ = ("_count", "_pages", "blocks")

    def __init__(self, blocks: int) -> None:
        if blocks < 0:
            raise ValueError(f"a bitmap cannot have {blocks} blocks")
        self.blocks = blocks
        self._pages: dict[int, bytes] = {}
        self._count = 0

    # ---- whole pages -----------------------------------------------------------------------------

    @property
    def page_count(self) -> int:
        """Number of pages, absent ones included."""
        return page_count(self.blocks)

    def page(self, number: int) -> bytes | None:
        """Content of a page, or None when nothing in it is set."""
        return self._pages.get(number)

    def set_page(self, number: int, bits: bytes | bytearray | memoryview) -> None:
        """Replace a page (`PAGE_BYTES` long). ValueError: no such page, wrong length, or bits beyond the end."""
        if not 0 <= number < self.page_count:
            raise ValueError(f"page {number} is outside a bitmap of {self.page_count} pages")
        if len(bits) != PAGE_BYTES:
            raise ValueError(f"a page has {PAGE_BYTES} bytes, not {len(bits)}")
        content = bytes(bits)
        valid = min(PAGE_BLOCKS, self.blocks - number * PAGE_BLOCKS)
        if valid < PAGE_BLOCKS and int.from_bytes(content, "little") >> valid:
            raise ValueError(f"page {number} has bits beyond block {self.blocks}")
        self._put(number, content)

    def full_page(self, number: int) -> bytes:
        """What a page looks like when all its blocks that exist are set."""
        valid = min(PAGE_BLOCKS, self.blocks - number * PAGE_BLOCKS)
        return FULL_PAGE if valid == PAGE_BLOCKS else ((1 << valid) - 1).to_bytes(PAGE_BYTES, "little")

    def page_numbers(self) -> list[int]:
        """Numbers of the pages in which something is set, ascending."""
        return sorted(self._pages)

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """Pages in which something is set, ascending, as they were when the iteration began."""
        yield from sorted(self._pages.items())

    def _put(self, number: int, content: bytes) -> None:
        before = self._pages.get(number)
        if before is not None:
            if before == content:
                return
            self._count -= _ones(before)
        if content == EMPTY_PAGE:
            self._pages.pop(number, None)
            return
        if content == FULL_PAGE:
            content = FULL_PAGE
        self._pages[number] = content
        self._count += _ones(content)

    # ---- ranges ----------------------------------------------------------------------------------

    def set_range(self, first: int, count: int) -> None:
        """Set `count` blocks from `first`. ValueError when they are outside the volume."""
        for number, low, high in self._parts(first, count):
            if high - low == PAGE_BLOCKS:
                self._put(number, FULL_PAGE)
            else:
                page = self._pages.get(number, EMPTY_PAGE)
                if page is not FULL_PAGE:
                    self._put(number, _with(page, low, high, value=True))

    def clear_range(self, first: int, count: int) -> None:
        """Clear `count` blocks from `first`. ValueError when they are outside the volume."""
        for number, low, high in self._parts(first, count):
            page = self._pages.get(number)
            if page is not None:
                self._put(number, _with(page, low, high, value=False))

    def extent_mask(self, extent: int) -> int:
        """The bits of one 4 MiB extent as an integer of `EXTENT_BLOCKS` bits."""
        page = self._pages.get(extent // PAGE_EXTENTS)
        if page is None:
            return 0
        at = extent % PAGE_EXTENTS * EXTENT_MASK_BYTES
        return int.from_bytes(page[at : at + EXTENT_MASK_BYTES], "little")

    def or_extent(self, extent: int, mask: int) -> None:
        """Set the bits of one 4 MiB extent that `mask` has."""
        number, index = divmod(extent, PAGE_EXTENTS)
        page = bytearray(self._pages.get(number, EMPTY_PAGE))
        at = index * EXTENT_MASK_BYTES
        merged = mask | int.from_bytes(page[at : at + EXTENT_MASK_BYTES], "little")
        page[at : at + EXTENT_MASK_BYTES] = merged.to_bytes(EXTENT_MASK_BYTES, "little")
        self.set_page(number, page)

    def _parts(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        if first < 0 or count < 0 or first + count > self.blocks:
            raise ValueError(
                f"blocks {first} to {first + count} are outside a volume of {self.blocks} blocks"
            )
        end = first + count
        while first < end:
            number, low = divmod(first, PAGE_BLOCKS)
            high = min(PAGE_BLOCKS, low + end - first)
            yield number, low, high
            first += high - low

    # ---- everything ------------------------------------------------------------------------------

    def set_all(self) -> None:
        """Set every block."""
        for number in range(self.page_count):
            self._pages[number] = self.full_page(number)
        self._count = self.blocks

    def clear(self) -> None:
        """Clear every block."""
        self._pages = {}
        self._count = 0

    def union(self, other: PagedBitmap) -> None:
        """Set every block that `other` has; pages that end up equal are shared. ValueError: other size."""
        if other.blocks != self.blocks:
            raise ValueError(f"bitmaps of {self.blocks} and of {other.blocks} blocks do not belong together")
        for number, theirs in other._pages.items():
            ours = self._pages.get(number)
            self._put(number, theirs if ours is None else union_pages(theirs, ours))

    def copy(self) -> PagedBitmap:
        """An independent bitmap that shares its pages with this one until either changes."""
        twin = PagedBitmap(self.blocks)
        twin._pages = self._pages.copy()
        twin._count = self._count
        return twin

    def runs(self) -> Iterator[tuple[int, int]]:
        """Runs of set blocks (first block, number of blocks), ascending, joined across pages.

        The bitmap may be changed meanwhile: the runs are those of when the iteration began.
        """
        start = end = 0
        for number, page in self.pages():
            base = number * PAGE_BLOCKS
            for low, count in page_runs(page):
                if base + low == end:
                    end += count
                else:
                    if end > start:
                        yield start, end - start
                    start, end = base + low, base + low + count
        if end > start:
            yield start, end - start

    def memory_bytes(self) -> int:
        """Roughly how much memory the pages take."""
        distinct = {id(page) for page in self._pages.values() if page is not FULL_PAGE}
        return len(distinct) * (PAGE_BYTES + 33) + len(self._pages) * 104

    def __contains__(self, block: int) -> bool:
        page = self._pages.get(block // PAGE_BLOCKS)
        if page is None:
            return False
        bit = block % PAGE_BLOCKS
        return bool(page[bit >> 3] >> (bit & 7) & 1)

    def __len__(self) -> int:
        """How many blocks are set."""
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PagedBitmap):
            return NotImplemented
        return self.blocks == other.blocks and self._pages == other._pages

    __hash__ = None  # type: ignore[assignment]


def _ones(page: bytes) -> int:
    return PAGE_BLOCKS if page is FULL_PAGE else int.from_bytes(page, "little").bit_count()


def _with(page: bytes, low: int, high: int, *, value: bool) -> bytes:
    """The page with the bits from `low` to before `high` set or cleared."""
    mask = ((1 << (high - low)) - 1) << (low & 7)
    first, last = low >> 3, (high + 7) >> 3
    piece = int.from_bytes(page[first:last], "little")
    piece = piece | mask if value else piece & ~mask
    return page[:first] + piece.to_bytes(last - first, "little") + page[last:]
