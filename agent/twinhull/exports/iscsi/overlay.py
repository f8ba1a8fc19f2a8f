"""Writes that are kept in memory and thrown away: what a frozen volume's export shows its host (discard mode)."""

from __future__ import annotations

import errno
from bisect import bisect_left, bisect_right
from typing import Final

from .steps import Data

SECTOR_BYTES: Final = 512
MAX_ZERO_RANGES: Final = 65536
DEFAULT_LIMIT_BYTES: Final = 64 << 20


class Overlay:
    """Sectors that differ from the volume below, up to a limit.

    Args:
        limit_bytes: the most content that is kept.
    """

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._limit = limit_bytes // SECTOR_BYTES
        self._sectors: dict[int, bytes] = {}
        self._starts: list[
            int
        ] = []  # of ranges of sectors that read as zeros, in order, apart from each other
        self._ends: list[int] = []

    @property
    def held_bytes(self) -> int:
        """How much content is kept."""
        return len(self._sectors) * SECTOR_BYTES

    def write(self, offset_bytes: int, data: Data) -> int:
        """Keep whole sectors. An errno: ENOSPC when the limit does not allow it (nothing was kept), else 0."""
        first = offset_bytes // SECTOR_BYTES
        count = len(data) // SECTOR_BYTES
        sectors = self._sectors
        if len(sectors) + count > self._limit:
            new = sum(1 for sector in range(first, first + count) if sector not in sectors)
            if len(sectors) + new > self._limit:
                return errno.ENOSPC
        view = memoryview(data)
        for index in range(count):
            sectors[first + index] = bytes(view[index * SECTOR_BYTES : (index + 1) * SECTOR_BYTES])
        return 0

    def discard(self, offset_bytes: int, length_bytes: int) -> int:
        """Have whole sectors read as zeros. An errno: ENOSPC when there are too many ranges, else 0."""
        start, end = offset_bytes // SECTOR_BYTES, (offset_bytes + length_bytes) // SECTOR_BYTES
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)  # those that it touches
        if first == last and len(self._starts) >= MAX_ZERO_RANGES:
            return errno.ENOSPC
        self._forget(start, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        return 0

    def read(self, offset_bytes: int, below: Data) -> bytes:
        """What the host sees, where the volume holds `below`."""
        first, count = offset_bytes // SECTOR_BYTES, len(below) // SECTOR_BYTES
        if not self._sectors and not self._starts:
            return bytes(below)
        seen = bytearray(below)
        for start, end in self._zeros(first, first + count):
            seen[(start - first) * SECTOR_BYTES : (end - first) * SECTOR_BYTES] = bytes(
                (end - start) * SECTOR_BYTES
            )
        for index in range(count):
            own = self._sectors.get(first + index)
            if own is not None:
                seen[index * SECTOR_BYTES : (index + 1) * SECTOR_BYTES] = own
        return bytes(seen)

    def _zeros(self, first: int, end: int) -> list[tuple[int, int]]:
        found = []
        at = bisect_right(self._ends, first)
        while at < len(self._starts) and self._starts[at] < end:
            found.append((max(first, self._starts[at]), min(end, self._ends[at])))
            at += 1
        return found

    def _forget(self, first: int, end: int) -> None:
        """Drop the content of sectors that were discarded."""
        if end - first < len(self._sectors):
            for sector in range(first, end):
                self._sectors.pop(sector, None)
        else:
            self._sectors = {n: data for n, data in self._sectors.items() if not first <= n < end}
