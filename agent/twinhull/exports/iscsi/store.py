"""What becomes of a command's reads and writes: requests to the volume, under range locks where that is needed.

A write that is not made of whole units of the backing disk is read, changed and written back while no other write touches
those units; so is whatever compares before it writes. In discard mode nothing but reads reaches the volume.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from ..base import Op, Request
from .overlay import DEFAULT_LIMIT_BYTES, Overlay
from .sense import WRITE_ERROR, ScsiError, sense_of_error
from .steps import Data, Done, Runner, Step, Steps, checked

SECTOR_BYTES: Final = 512
WRITE, READ, FLUSH, DISCARD = Op.WRITE, Op.READ, Op.FLUSH, Op.DISCARD
Change = Callable[[Data], Data]
"""Makes the new content of a range out of the old; raises ScsiError to leave it as it is."""


class _Waiter(NamedTuple):
    """Something that waits for a range: a write that passes, or a lock that is then held."""

    start: int
    end: int
    locks: bool
    go: Callable[[], None]


class Store:
    """Reads and writes of one volume; `requests` gathers what the volume must do, `reply` takes its answers.

    Args:
        size_bytes: size of the volume, a multiple of 512.
        unit_bytes: what the backing disk writes at once: 512, or 4096 for unbuffered files on a 4Kn disk.
    """

    def __init__(self, size_bytes: int, unit_bytes: int = SECTOR_BYTES) -> None:
        if size_bytes <= 0 or size_bytes % unit_bytes or unit_bytes % SECTOR_BYTES:
            raise ValueError(f"a volume of {size_bytes} bytes in units of {unit_bytes}")
        self.size_bytes = size_bytes
        self.unit_bytes = unit_bytes
        self.write_through = False
        """Every write counts as one with FUA (the write cache is off)."""
        self.requests: list[Request] = []
        self._mask = unit_bytes - 1
        self._tag = 0
        self.pending: dict[int, tuple[Done, int, int]] = {}  # the range: of writes; empty for the others
        self._held: list[tuple[int, int]] = []
        self._waiters: list[_Waiter] = []
        self._overlay: Overlay | None = None

    @property
    def discards_writes(self) -> bool:
        """Whether writes are thrown away."""
        return self._overlay is not None

    @property
    def overlay_bytes(self) -> int:
        """How much is held that will be thrown away."""
        return self._overlay.held_bytes if self._overlay is not None else 0

    def discard_writes(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        """From here on no write, discard or flush reaches the volume; those under way do. There is no way back."""
        if self._overlay is None:
            self._overlay = Overlay(limit_bytes)

    # ---- what commands ask for -------------------------------------------------------------------------

    def read(self, offset_bytes: int, length_bytes: int, done: Done) -> None:
        """Read a range of whole sectors within the volume."""
        if self._overlay is not None or (offset_bytes | length_bytes) & self._mask:
            self._read_around(offset_bytes, length_bytes, done)
            return
        self._tag = tag = self._tag + 1
        self.pending[tag] = (done, 0, 0)
        self.requests.append(Request(tag, READ, offset_bytes, length_bytes))

    def write(self, offset_bytes: int, length_bytes: int, data: Data, fua: bool, done: Done) -> None:
        """Write a range of whole sectors within the volume."""
        if self._overlay is not None:
            done(self._overlay.write(offset_bytes, data), None)
        elif (offset_bytes | length_bytes) & self._mask:
            self.update(offset_bytes, length_bytes, lambda _: data, fua, _as_errno(done))
        elif self._held or self._waiters:
            self._when_free(
                offset_bytes,
                offset_bytes + length_bytes,
                partial(self._issue, WRITE, offset_bytes, length_bytes, data, fua, done),
            )
        else:
            self._tag = tag = self._tag + 1
            self.pending[tag] = (done, offset_bytes, offset_bytes + length_bytes)
            self.requests.append(
                Request(tag, WRITE, offset_bytes, length_bytes, data, fua or self.write_through)
            )

    def discard(self, offset_bytes: int, length_bytes: int, fua: bool, done: Done) -> None:
        """Have a range of whole sectors read as zeros."""
        if self._overlay is not None:
            done(self._overlay.discard(offset_bytes, length_bytes), None)
            return
        if (offset_bytes | length_bytes) & self._mask:
            Runner(self._discard_around(offset_bytes, length_bytes, fua), _as_errno(done)).start()
            return
        self._when_free(
            offset_bytes,
            offset_bytes + length_bytes,
            partial(self._issue, DISCARD, offset_bytes, length_bytes, None, fua, done),
        )

    def flush(self, done: Done) -> None:
        """Make durable what was written; in discard mode there is nothing."""
        if self._overlay is not None:
            done(0, None)
            return
        self._tag = tag = self._tag + 1
        self.pending[tag] = (done, 0, 0)
        self.requests.append(Request(tag, FLUSH, 0, 0))

    def update(
        self,
        offset_bytes: int,
        length_bytes: int,
        change: Change,
        fua: bool,
        finished: Callable[[None, ScsiError | None], None],
    ) -> None:
        """Replace a range by what `change` makes of it, while no other write touches it."""
        Runner(self._update(offset_bytes, length_bytes, change, fua), finished).start()

    # ---- what the volume answers -----------------------------------------------------------------------

    def reply(self, tag: int, error: int, data: Data | None) -> None:
        """The volume's answer to a request. Raises ValueError for one that is not under way."""
        pending = self.pending.pop(tag, None)
        if pending is None:
            raise ValueError(f"request {tag} is not under way")
        pending[0](error, data)
        if self._waiters:
            self._let_go()

    # ---- locks -----------------------------------------------------------------------------------------

    def _issue(
        self, op: Op, offset_bytes: int, length_bytes: int, data: Data | None, fua: bool, done: Done
    ) -> None:
        self._tag = tag = self._tag + 1
        self.pending[tag] = (done, offset_bytes, offset_bytes + length_bytes)
        self.requests.append(Request(tag, op, offset_bytes, length_bytes, data, fua or self.write_through))

    def _when_free(self, start: int, end: int, go: Callable[[], None]) -> None:
        """A write: at once, unless a lock holds the range or waits for it."""
        if any(a < end and start < b for a, b in self._held) or any(
            other.start < end and start < other.end for other in self._waiters
        ):
            self._waiters.append(_Waiter(start, end, False, go))
        else:
            go()

    def _lock(self, start: int, end: int, done: Done) -> None:
        waiter = _Waiter(start, end, True, lambda: done(0, None))
        if self._is_free(waiter, len(self._waiters)):
            self._held.append((start, end))
            done(0, None)
        else:
            self._waiters.append(waiter)

    def _unlock(self, start: int, end: int) -> None:
        self._held.remove((start, end))
        self._let_go()

    def _is_free(self, waiter: _Waiter, position: int) -> bool:
        """Whether nothing before it in the queue, no lock, and for a lock no write under way stands against it."""
        start, end = waiter.start, waiter.end
        if any(a < end and start < b for a, b in self._held):
            return False
        if any(other.start < end and start < other.end for other in self._waiters[:position]):
            return False
        return not waiter.locks or not any(
            a < end and start < b for _, a, b in self.pending.values() if a != b
        )

    def _let_go(self) -> None:
        position = 0
        while position < len(self._waiters):
            waiter = self._waiters[position]
            if self._is_free(waiter, position):
                del self._waiters[position]
                if waiter.locks:
                    self._held.append((waiter.start, waiter.end))
                waiter.go()
                position = 0
            else:
                position += 1

    # ---- units of the backing disk ---------------------------------------------------------------------

    def _around(self, offset_bytes: int, length_bytes: int) -> tuple[int, int]:
        return offset_bytes & ~self._mask, offset_bytes + length_bytes + self._mask & ~self._mask

    def _read_around(self, offset_bytes: int, length_bytes: int, done: Done) -> None:
        start, end = self._around(offset_bytes, length_bytes)
        overlay = self._overlay

        def cut(error: int, data: Data | None) -> None:
            if error or data is None:
                done(error or errno.EIO, None)
                return
            own = memoryview(data)[offset_bytes - start : offset_bytes - start + length_bytes]
            # What was written since the read began belongs to it all the same: nothing orders the two.
            done(0, overlay.read(offset_bytes, own) if overlay is not None else own)

        self._tag = tag = self._tag + 1
        self.pending[tag] = (cut, 0, 0)
        self.requests.append(Request(tag, READ, start, end - start))

    def _update(self, offset_bytes: int, length_bytes: int, change: Change, fua: bool) -> Steps[None]:
        start, end = self._around(offset_bytes, length_bytes)
        yield partial(self._lock, start, end)
        try:
            outcome = yield partial(self.read, start, end - start)
            old = memoryview(checked(outcome, lambda error: sense_of_error(error, WRITE_ERROR)))
            inner = slice(offset_bytes - start, offset_bytes - start + length_bytes)
            new = change(old[inner])
            if end - start != length_bytes:
                whole = bytearray(old)
                whole[inner] = new
                new = bytes(whole)
            outcome = yield self._write_under_lock(start, end - start, new, fua)
            checked(outcome, lambda error: sense_of_error(error, WRITE_ERROR))
        finally:
            self._unlock(start, end)

    def _write_under_lock(self, start: int, length_bytes: int, data: Data, fua: bool) -> Step:
        if self._overlay is not None:
            overlay = self._overlay
            return lambda done: done(overlay.write(start, data), None)
        return partial(self._issue, WRITE, start, length_bytes, data, fua)

    def _discard_around(self, offset_bytes: int, length_bytes: int, fua: bool) -> Steps[None]:
        """The whole units are discarded, zeros are written beside them."""
        end = offset_bytes + length_bytes
        first = min(offset_bytes + self._mask & ~self._mask, end)
        last = max(end & ~self._mask, first)
        for start, length in ((offset_bytes, first - offset_bytes), (last, end - last)):
            if length:
                outcome = yield partial(self.write, start, length, bytes(length), fua)
                checked(outcome, lambda error: sense_of_error(error, WRITE_ERROR))
        if first < last:
            outcome = yield partial(self.discard, first, last - first, fua)
            checked(outcome, lambda error: sense_of_error(error, WRITE_ERROR))


def _as_errno(done: Done) -> Callable[[None, ScsiError | None], None]:
    return lambda _, error: done(errno.EIO if error is not None else 0, None)
