"""Holds back what would overwrite old content before that is durably in the rescue (promise 7), on the receiving side."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator

from .effects import RescueOld
from .events import RescueFailed
from .marks import BLOCK_BYTES, EXTENT_BLOCKS, FULL_EXTENT, PagedBitmap
from .mirror_types import Desk


class Keeping(enum.Enum):
    """Whether old content is kept."""

    OFF = enum.auto()  # nothing is held back
    OPENING = enum.auto()  # nothing is overwritten before the rescue is there
    ON = enum.auto()
    FAILED = enum.auto()  # nothing is overwritten before it is decided what to do


class Rescuer:
    """Which blocks are kept, and which are on their way.

    Args:
        desk: what the parts share.
        resumed: called when something that waited may go on.
    """

    def __init__(self, desk: Desk, resumed: Callable[[], None]) -> None:
        self._desk = desk
        self._resumed = resumed
        self._state = Keeping.OFF
        self._kept = PagedBitmap(desk.size_bytes // BLOCK_BYTES)
        self._asked = self._kept.copy()
        self._tickets: dict[int, tuple[int, int, int, float]] = {}
        self._life = 0
        self._moved_s = 0.0

    @property
    def on(self) -> bool:
        """Whether anything may have to be held back."""
        return self._state is not Keeping.OFF

    @property
    def since_s(self) -> float | None:
        """Since when nothing came of what was asked for; None: nothing is asked for."""
        if not self._tickets:
            return None
        return max(next(iter(self._tickets.values()))[3], self._moved_s)

    # ---- what the shell and the machine say ----------------------------------------------------------------

    def open(self) -> None:
        """A rescue is being opened: nothing may be overwritten before it is there."""
        self._begin(Keeping.OPENING)

    def opened(self, kept: PagedBitmap | None) -> None:
        """It is there, with these blocks in it (taken over); None: there is none, and nothing is kept."""
        if self._state is not Keeping.OPENING:
            return
        self._begin(Keeping.OFF if kept is None else Keeping.ON)
        if kept is not None:
            self._kept = kept
        self._resumed()

    def off(self) -> None:
        """Nothing is kept any more: what waits goes on."""
        if self._state is not Keeping.OFF:
            self._begin(Keeping.OFF)
            self._resumed()

    def fail(self, reason: str) -> None:
        """It cannot be kept: everything waits until it is decided what to do."""
        if self._state in (Keeping.OPENING, Keeping.ON):
            self._state = Keeping.FAILED
            self._desk.tell(RescueFailed(reason))

    def _begin(self, state: Keeping) -> None:
        self._state = state
        self._life += 1
        self._kept = PagedBitmap(self._kept.blocks)
        self._asked = PagedBitmap(self._kept.blocks)

    # ---- blocks -----------------------------------------------------------------------------------------------

    def ready(self, offset_bytes: int, length_bytes: int) -> bool:
        """Whether the range may be overwritten now."""
        if self._state is Keeping.OFF:
            return True
        if self._state is not Keeping.ON:
            return False
        return not any(
            mask & ~self._kept.extent_mask(extent) for extent, mask in _extents(offset_bytes, length_bytes)
        )

    def want(self, offset_bytes: int, length_bytes: int) -> None:
        """Have what is not kept of the range kept; `ready` says when it is."""
        if self._state is not Keeping.ON:
            return
        for extent, mask in _extents(offset_bytes, length_bytes):
            missing = mask & ~(self._kept.extent_mask(extent) | self._asked.extent_mask(extent))
            while missing:
                low = (missing & -missing).bit_length() - 1
                run = missing >> low
                count = (~run & (run + 1)).bit_length() - 1
                self._ask(extent * EXTENT_BLOCKS + low, count)
                missing &= ~(((1 << count) - 1) << low)

    def _ask(self, first: int, count: int) -> None:
        self._asked.set_range(first, count)
        ticket = self._desk.ticket()
        self._tickets[ticket] = (first, count, self._life, self._desk.now_s)
        self._desk.effects.append(RescueOld(ticket, first * BLOCK_BYTES, count * BLOCK_BYTES))

    def done(self, ticket: int, error: str | None) -> None:
        """A RescueOld is durable, or could not be done. KeyError: it is not one of ours."""
        first, count, life, _ = self._tickets.pop(ticket)
        self._moved_s = self._desk.now_s
        if life != self._life:
            return
        self._asked.clear_range(first, count)
        if error is not None:
            self.fail(error)
        else:
            self._kept.set_range(first, count)
            self._resumed()


def _extents(offset_bytes: int, length_bytes: int) -> Iterator[tuple[int, int]]:
    """The extents of a range, each with the mask of its blocks that the range touches."""
    first = offset_bytes // BLOCK_BYTES
    end = -(-(offset_bytes + length_bytes) // BLOCK_BYTES)
    while first < end:
        extent, low = divmod(first, EXTENT_BLOCKS)
        high = min(EXTENT_BLOCKS, low + end - first)
        mask = FULL_EXTENT if high - low == EXTENT_BLOCKS else ((1 << (high - low)) - 1) << low
        yield extent, mask
        first += high - low
