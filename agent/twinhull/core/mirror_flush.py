"""Flush rounds of the node that serves requests: one at a time, shared by all who wait, on both nodes."""

from __future__ import annotations

from collections.abc import Callable

from .effects import LocalFlush
from .events import CopyFlushedBoth
from .frames import Clear, CopyFlush, Flush
from .mirror_types import NEED_FLUSH, Desk, MirrorProtocolError, Part, Pending

IDLE_FLUSH_S = 2.0
"""After this long without a flush the node in step has one made, so that its marks go."""


class Round:
    """One flush on its way.

    `local` and `peer`: confirmed (or not asked for); `clears`: both nodes were in step all the time, so that marks go
    when it is complete; `stamp`: the last write that it covers; `epoch`: it is the final flush of a resync.
    """

    __slots__ = ("clears", "epoch", "local", "peer", "seq", "stamp", "started_s", "waiters")

    def __init__(self, waiters: list[Pending], epoch: int | None, started_s: float, stamp: int) -> None:
        self.waiters = waiters
        self.epoch = epoch
        self.started_s = started_s
        self.stamp = stamp
        self.seq = 0
        self.local = False
        self.peer = True
        self.clears = False


class FlushRounds:
    """Makes the flushes of the client, of FUA writes, of the resync, and those that the marks and the log need.

    Args:
        desk: what the parts share.
        may_flush: whether a flush can be made now.
        confirmed: a request got its flush.
        rested: a round is over.
    """

    def __init__(
        self,
        desk: Desk,
        may_flush: Callable[[], bool],
        confirmed: Callable[[Pending, int], None],
        rested: Callable[[], None],
    ) -> None:
        self._desk = desk
        self._may_flush = may_flush
        self._confirmed = confirmed
        self._rested = rested
        self._round: Round | None = None
        self._tickets: dict[int, tuple[Round, float]] = {}
        self._waiters: list[Pending] = []
        self._internal = False
        self._epoch: int | None = None
        self._last_s = 0.0
        self.complete_stamp = -1
        self.failed = False

    # ---- asking ------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether no round is under way or wanted."""
        return self._round is None and not (self._waiters or self._internal or self._epoch is not None)

    def want(self, waiter: Pending) -> None:
        """Have everything that was issued before made durable, then confirm `waiter`."""
        waiter.need |= NEED_FLUSH
        self._waiters.append(waiter)
        self.start()

    def want_internal(self) -> None:
        """Have a flush made that nobody waits for."""
        self._internal = True
        self.start()

    def want_copy(self, epoch: int) -> None:
        """Have the final flush of a resync made."""
        self._epoch = epoch
        self.start()

    def idle_tick(self) -> None:
        """Have the marks go when nobody has asked for a flush for a while."""
        desk = self._desk
        if not (desk.in_step and desk.part is Part.PRIMARY and self.idle):
            return
        if desk.now_s - self._last_s >= IDLE_FLUSH_S and desk.activity.has_marks:
            self.want_internal()

    def start(self) -> None:
        """Begin a round, if one is wanted and none is under way."""
        if self._round is not None or self.failed or self.idle or not self._may_flush():
            return
        desk = self._desk
        if self._epoch is not None:
            desk.activity.set_stale()
            current = Round([], self._epoch, desk.now_s, desk.activity.stamp)
            self._epoch = None
        else:
            desk.activity.rotate()
            current = Round(self._waiters, None, desk.now_s, desk.activity.stamp)
            self._waiters = []
            self._internal = False
        self._round = current
        if desk.part is Part.PRIMARY:
            current.peer = False
            current.clears = desk.in_step and current.epoch is None
            self._send(current)
        ticket = desk.ticket()
        self._tickets[ticket] = (current, desk.now_s)
        desk.effects.append(LocalFlush(ticket))

    def _send(self, current: Round) -> None:
        if current.epoch is not None:
            self._desk.send(CopyFlush(current.epoch))
            return
        self._desk.seq += 1
        current.seq = self._desk.seq
        self._desk.send(Flush(current.seq))

    # ---- answers -----------------------------------------------------------------------------------

    def owns(self, ticket: int) -> bool:
        """Whether this local flush is of a round."""
        return ticket in self._tickets

    def local_done(self, ticket: int, error: str | None, full: bool) -> None:
        """This node's disk flushed, or failed for good."""
        current, _ = self._tickets.pop(ticket)
        if error is not None:
            self.failed = True
            current.clears = False
            self._desk.disk_failed(error, full=full)
            return
        self._desk.activity.flushed(current.stamp)
        current.local = True
        self._check()

    def flushed(self, seq: int) -> None:
        """The SECOND flushed. Raises MirrorProtocolError when nobody had asked."""
        current = self._round
        if current is None or current.epoch is not None or current.seq != seq or current.peer:
            raise MirrorProtocolError(f"the peer confirms a flush {seq} that it was not asked for")
        current.peer = True
        self._check()

    def copy_flushed(self, epoch: int) -> None:
        """The SECOND flushed at the end of a resync. Raises MirrorProtocolError when nobody had asked."""
        current = self._round
        if current is None or current.epoch != epoch or current.peer:
            raise MirrorProtocolError(
                f"the peer confirms the end {epoch} of a resync that it was not asked for"
            )
        current.peer = True
        self._check()

    def _check(self) -> None:
        current, desk = self._round, self._desk
        if current is None or not (current.local and current.peer):
            self._rested()
            return
        self._round = None
        self._last_s = desk.now_s
        self.complete_stamp = current.stamp
        if current.epoch is not None:
            desk.tell(CopyFlushedBoth(current.epoch))
        elif current.clears and desk.in_step:
            desk.activity.drop_old()
            desk.send(Clear(current.seq))
        else:
            desk.activity.keep_old()
        for waiter in current.waiters:
            self._confirmed(waiter, 0)
        self.start()
        self._rested()

    # ---- changes of the session --------------------------------------------------------------------

    def peer_lost(self) -> None:
        """After the session: what is under way is this node's affair alone from here on."""
        if self._round is not None:
            self._round.peer = True
            self._check()

    def leave_session(self) -> None:
        """The session is over; a flush that the peer did not confirm waits for what comes."""
        self._epoch = None
        if self._round is not None:
            self._round.clears = False
            if self._round.epoch is not None:
                self._round = None

    def unconfirmed(self) -> Round | None:
        """The round that the peer did not confirm."""
        current = self._round
        return current if current is not None and not current.peer else None

    def resend(self, current: Round) -> None:
        """Ask the peer again, in a new session."""
        current.started_s = self._desk.now_s
        self._send(current)

    def abandon(self) -> None:
        """Nobody is served any more: rounds that need the peer are given up."""
        self._internal = False
        self._waiters = []
        self._epoch = None
        self._round = None

    def fail_waiters(self, error: int) -> None:
        """Answer all who wait for a flush with an error."""
        waiting = self._waiters + (self._round.waiters if self._round else [])
        self._waiters = []
        if self._round is not None:
            self._round.waiters = []
        for waiter in waiting:
            self._confirmed(waiter, error)

    # ---- stalls ------------------------------------------------------------------------------------

    @property
    def local_since_s(self) -> float | None:
        """When the oldest flush was asked for that this node's disk did not confirm."""
        return next((issued_s for _, issued_s in self._tickets.values()), None)

    @property
    def peer_since_s(self) -> float | None:
        """When the flush was asked for that the peer did not confirm."""
        current = self.unconfirmed()
        return current.started_s if current is not None else None
