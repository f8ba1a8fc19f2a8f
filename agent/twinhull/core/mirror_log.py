"""Intent before data: brings extents into the activity log before they are written, and old ones out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .activity import EXTENT_SHIFT, PAGES_AT_ONCE, Extent
from .effects import SyncLog
from .mirror_types import Desk

COLD_AFTER_S = 5.0
"""Extents that were not written for this long and mark nothing leave the log."""

REMOVE_AT_ONCE = 4 * PAGES_AT_ONCE

Range = tuple[int, int]
"""Offset and length, bytes."""


class LogLane:
    """One transaction of the log at a time; whatever waits meanwhile shares the next.

    Args:
        desk: what the parts share.
        demand: ranges that wait for the log, in the order in which they will be written.
        ready: called when extents were added.
        settle: have this node's disk flushed (and then `kick`): nothing can leave a full log otherwise.
    """

    def __init__(
        self,
        desk: Desk,
        demand: Callable[[], Iterable[Range]],
        ready: Callable[[], None],
        settle: Callable[[], None],
    ) -> None:
        self._desk = desk
        self._demand = demand
        self._ready = ready
        self._settle = settle
        self._ticket: int | None = None
        self._adding: tuple[int, ...] = ()
        self._issued_s = 0.0
        self._cold_stamp = 0
        self._cold_at_s = 0.0
        self.starved = False
        self.failed = False

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way."""
        return self._ticket is not None

    @property
    def issued_s(self) -> float | None:
        """When the transaction under way was asked for."""
        return self._issued_s if self._ticket is not None else None

    def kick(self) -> None:
        """Start a transaction for whatever waits, if none is under way."""
        if self._ticket is not None or self.failed:
            return
        wanted, needed = self._wanted()
        if not wanted:
            self.starved = False
            return
        activity = self._desk.activity
        free = activity.capacity - len(activity.extents)
        victims: list[Extent] = []
        if len(wanted) > free:
            removable = [extent for extent in activity.removable() if extent.number not in needed]
            victims = removable[: max(len(wanted) - free, activity.capacity // 16)]
        room = free + len(victims)
        self.starved = room < self._first_needs()
        if self.starved:
            if activity.flush_helps:
                self._settle()
            return
        self._commit(tuple(wanted[:room]), victims)
        if activity.unflushed() > activity.capacity * 3 // 4:
            self._settle()

    def done(self, ticket: int, error: str | None, full: bool) -> None:
        """The transaction is durable, or failed for good. KeyError: no such transaction."""
        if ticket != self._ticket:
            raise KeyError(ticket)
        self._ticket = None
        if error is not None:
            self.failed = True
            self._desk.disk_failed(error, full=full)
            return
        self._desk.activity.added(self._adding)
        self._adding = ()
        self._ready()
        self.kick()

    def tidy(self) -> None:
        """A little at a time: extents that have become cold leave the log, pages that are due are written."""
        now_s, activity = self._desk.now_s, self._desk.activity
        if self.busy or self.failed:
            return
        cold: list[Extent] = []
        if now_s - self._cold_at_s >= COLD_AFTER_S:
            cold = activity.cold(self._cold_stamp)[:REMOVE_AT_ONCE]
            self._cold_stamp = activity.stamp
            self._cold_at_s = now_s
        if cold or activity.dirty_pages:
            self._commit((), cold)

    def empty(self) -> bool:
        """Take all out of the log that marks nothing. True once there is nothing left to do."""
        if self.failed:
            return True
        if self.busy:
            return False
        clean = self._desk.activity.cold(self._desk.activity.stamp)[:REMOVE_AT_ONCE]
        if clean or self._desk.activity.dirty_pages:
            self._commit((), clean)
            return False
        return True

    def _commit(self, add: tuple[int, ...], remove: Iterable[Extent]) -> None:
        change = self._desk.activity.change(add, remove)
        self._ticket = self._desk.ticket()
        self._adding = add
        self._issued_s = self._desk.now_s
        self._desk.effects.append(SyncLog(self._ticket, change.add, change.remove, change.pages))

    def _wanted(self) -> tuple[list[int], set[int]]:
        """Extents to add, in order, and all that the ranges which want them touch (those must stay)."""
        activity = self._desk.activity
        limit = activity.capacity // 2
        wanted: dict[int, None] = {}
        needed: set[int] = set()
        for offset_bytes, length_bytes in self._demand():
            missing = activity.missing(offset_bytes, length_bytes)
            if wanted and len(wanted) + len(missing) > limit:
                break
            wanted.update(dict.fromkeys(missing))
            first, last = offset_bytes >> EXTENT_SHIFT, (offset_bytes + length_bytes - 1) >> EXTENT_SHIFT
            if len(needed) < limit:
                needed.update(range(first, last + 1))
        return list(wanted), needed

    def _first_needs(self) -> int:
        for offset_bytes, length_bytes in self._demand():
            missing = self._desk.activity.missing(offset_bytes, length_bytes)
            if missing:
                return len(missing)
        return 0
