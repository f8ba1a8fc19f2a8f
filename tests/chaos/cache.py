"""A disk's volatile cache over a file: what was not flushed may be lost with the power, in any subset.

Imports nothing of ours and starts nothing: it is a file, and what a power loss leaves of it.
"""

from __future__ import annotations

import os
import random
from collections import deque
from typing import NamedTuple

ATOMIC_BYTES = 4096
"""What such a disk never tears: its physical sector."""
CACHE_BYTES = 32 << 20


class _Write(NamedTuple):
    offset_bytes: int
    old: bytes
    new: bytes


class VolatileFile:
    """A file whose writes become durable with `flush`, or when the cache is full, oldest first.

    Args:
        descriptor: open for reading and writing; stays the caller's.
        cache_bytes: how much may be volatile.
    """

    def __init__(self, descriptor: int, cache_bytes: int = CACHE_BYTES) -> None:
        self._descriptor = descriptor
        self._cache_bytes = cache_bytes
        self._volatile: deque[_Write] = deque()
        self._volatile_bytes = 0

    @property
    def volatile_writes(self) -> int:
        """Writes that a power loss may take."""
        return len(self._volatile)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """What was written last; zeros beyond the file's end."""
        data = os.pread(self._descriptor, length_bytes, offset_bytes)
        return data + bytes(length_bytes - len(data))

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Readable at once, volatile until flushed."""
        self._volatile.append(_Write(offset_bytes, self.read(offset_bytes, len(data)), data))
        self._volatile_bytes += len(data)
        self._put(offset_bytes, data)
        while self._volatile_bytes > self._cache_bytes:
            self._volatile_bytes -= len(self._volatile.popleft().new)

    def flush(self) -> None:
        """All that was written is durable."""
        self._volatile.clear()
        self._volatile_bytes = 0

    def lose_power(self, chance: random.Random) -> int:
        """Some volatile writes, whole or in parts, never happened; the number of those touched.

        Args:
            chance: decides which.
        """
        writes = list(self._volatile)
        for write in reversed(writes):
            self._put(write.offset_bytes, write.old)
        share = chance.choice((0.0, 0.5, 0.9))
        lost = 0
        for write in writes:
            if chance.random() < share:
                self._put(write.offset_bytes, write.new)
            else:
                lost += 1
                kept_bytes = chance.randrange(len(write.new) // ATOMIC_BYTES + 1) * ATOMIC_BYTES
                self._put(write.offset_bytes, write.new[:kept_bytes])
        self.flush()
        return lost

    def _put(self, offset_bytes: int, data: bytes) -> None:
        if os.pwrite(self._descriptor, data, offset_bytes) != len(data):
            raise OSError(f"the disk's image took only a part of {len(data)} bytes")
