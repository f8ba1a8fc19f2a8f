"""Large buffers that are used again as soon as nobody looks at them any more."""

from __future__ import annotations

import contextlib


class SpareBuffers:
    """Buffers of one size. For one thread at a time.

    Args:
        size_bytes: of each.
        kept: how many are remembered at most; more may be in use.
    """

    def __init__(self, size_bytes: int, kept: int) -> None:
        self._size_bytes, self._kept = size_bytes, kept
        self._buffers: list[bytearray] = []

    def take(self) -> bytearray:
        """A buffer of which nobody holds a view; its content is whatever it was used for before."""
        for buffer in self._buffers:
            with contextlib.suppress(BufferError):  # changing the size is refused while a view exists
                buffer.pop()
                buffer.append(0)
                return buffer
        fresh = bytearray(self._size_bytes)
        if len(self._buffers) == self._kept:
            self._buffers.pop(0)
        self._buffers.append(fresh)
        return fresh
