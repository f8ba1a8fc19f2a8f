"""The requests of the VM: admitted in order, issued to both nodes, answered when all that they need is confirmed."""

from __future__ import annotations

import enum
import errno
from collections import deque
from collections.abc import Callable, Iterator

from .effects import Complete, LocalDiscard, LocalWrite, ReadLocal, SendFrame
from .frames import MAX_DATA_BYTES, Buffer, Discard, Write
from .marks import EXTENT_BYTES
from .mirror_answers import Answers
from .mirror_flush import FlushRounds
from .mirror_log import LogLane, Range
from .mirror_types import (
    ALWAYS_S,
    NEED_FLUSH,
    NEED_LOCAL,
    NEED_PEER,
    NEVER_S,
    PRIMARY,
    SECTOR_BYTES,
    Desk,
    Locks,
    MirrorProtocolError,
    Part,
    Pending,
    Split,
    errno_of,
)
from .requests import Op

DISCARD_EXTENTS = 64
READ, WRITE, FLUSH, DISCARD = Op.READ, Op.WRITE, Op.FLUSH, Op.DISCARD
_PEER_AND_LOCAL = NEED_LOCAL | NEED_PEER


class Io(enum.Enum):
    """What happens to requests: failed; accepted but not issued; issued."""

    CLOSED = 0
    HELD = 1
    OPEN = 2


# Members of an enum are looked up slowly by their class (Python 3.11): these are asked for with every request.
_CLOSED, _OPEN = Io.CLOSED, Io.OPEN


class Client:
    """The path of a request, on the node that runs the resource.

    Args:
        desk, log, flusher, locks, answers: the other parts.
        settled: a write can change no node any more (the resync may wait for that).
    """

    def __init__(
        self,
        desk: Desk,
        log: LogLane,
        flusher: FlushRounds,
        locks: Locks,
        answers: Answers,
        settled: Callable[[Pending], None],
    ) -> None:
        self._desk = desk
        self._log = log
        self._flusher = flusher
        self._locks = locks
        self._answers = answers
        self._settled = settled
        self.io = Io.CLOSED
        self.serving = False
        self.lease_s = NEVER_S
        self.asked_s = NEVER_S
        self.fails_up = False
        self._queue: deque[Pending] = deque()
        self._blocked: list[Pending] = []
        self._writes: dict[int, Pending] = {}
        self._reads: dict[int, Pending] = {}
        self._unacked: deque[Pending] = deque()
        self._failed: list[tuple[Pending, int]] = []
        self._forsaken: list[Pending] = []
        self._last_ack = 0
        self._discard_bytes = EXTENT_BYTES * max(1, min(DISCARD_EXTENTS, desk.activity.capacity // 4))

    # ---- admission ---------------------------------------------------------------------------------

    def submit(
        self, tag: int, op: Op, offset_bytes: int, length_bytes: int, data: Buffer | None, fua: bool
    ) -> None:
        """Take a request of the export. See `Mirror.submit`."""
        if self.io is _CLOSED:
            self._desk.effects.append(Complete(tag, errno.EIO))
            return
        if op == FLUSH:
            self._enqueue(Pending(tag, op, 0, 0, None, False))
            return
        if (
            (offset_bytes | length_bytes) % SECTOR_BYTES
            or offset_bytes < 0
            or length_bytes <= 0
            or offset_bytes + length_bytes > self._desk.size_bytes
            or (op == WRITE and (data is None or len(data) != length_bytes))
        ):
            self._answers.give(tag, errno.EINVAL, None)
            return
        if op == WRITE and length_bytes > MAX_DATA_BYTES:
            self._split(tag, op, offset_bytes, length_bytes, data, fua, MAX_DATA_BYTES)
        elif op == DISCARD and offset_bytes % EXTENT_BYTES + length_bytes > EXTENT_BYTES:
            self._split(tag, op, offset_bytes, length_bytes, None, fua, self._discard_bytes)
        else:
            self._enqueue(Pending(tag, op, offset_bytes, length_bytes, data, fua))

    def _split(
        self,
        tag: int,
        op: Op,
        offset_bytes: int,
        length_bytes: int,
        data: Buffer | None,
        fua: bool,
        step: int,
    ) -> None:
        """Pieces end at multiples of `step`, so that none touches more extents than the log can take at once."""
        view = memoryview(data) if data is not None else None
        pieces = []
        at = offset_bytes
        while at < offset_bytes + length_bytes:
            end = min((at // step + 1) * step, offset_bytes + length_bytes)
            part = view[at - offset_bytes : end - offset_bytes] if view is not None else None
            pieces.append(Pending(tag, op, at, end - at, part, fua))
            at = end
        split = Split(tag, len(pieces)) if len(pieces) > 1 else None
        for piece in pieces:
            piece.split = split
            self._enqueue(piece)

    def _enqueue(self, item: Pending) -> None:
        self.asked_s = self._desk.now_s
        if self.io is _OPEN and not self._queue and self._start(item):
            return
        self._queue.append(item)
        if self.io is Io.OPEN:
            self._log.kick()

    def _start(self, item: Pending) -> bool:
        """Issue a request, or leave it to the lock or flush that it waits for. False: the log comes first."""
        op = item.op
        if op == READ:
            self._read(item)
            return True
        if op == FLUSH:
            if self._flusher.failed and self.fails_up:
                self._finish(item, errno.EIO)
            else:
                self._flusher.want(item)
            return True
        if self.fails_up and (self._flusher.failed or self._log.failed):
            self._finish(item, errno.EIO)
            return True
        if (self._locks.ranges or self._blocked) and item.repaired is None and self._must_wait(item):
            self._blocked.append(item)
            return True
        if self._desk.activity.missing(item.offset_bytes, item.length_bytes):
            return False
        self._issue(item)
        return True

    def _must_wait(self, item: Pending) -> bool:
        start, end = item.offset_bytes, item.offset_bytes + item.length_bytes
        return self._locks.hit(start, end) or any(other.overlaps(start, end) for other in self._blocked)

    def _read(self, item: Pending) -> None:
        ticket = self._desk.ticket()
        item.issued_s = self._desk.now_s
        self._reads[ticket] = item
        self._desk.effects.append(ReadLocal(ticket, item.offset_bytes, item.length_bytes))

    def _issue(self, item: Pending) -> None:
        desk = self._desk
        item.extents = desk.activity.begin(item.offset_bytes, item.length_bytes)
        item.issued_s = desk.now_s
        item.need = NEED_LOCAL
        if desk.part is PRIMARY:
            item.need = _PEER_AND_LOCAL
            self._unacked.append(item)
            self._send(item)
        ticket = desk.ticket()
        self._writes[ticket] = item
        if item.op == WRITE and item.data is not None:
            desk.effects.append(LocalWrite(ticket, item.offset_bytes, item.data))
        else:
            desk.effects.append(LocalDiscard(ticket, item.offset_bytes, item.length_bytes))
        if item.fua:
            self._flusher.want(item)

    def _send(self, item: Pending) -> None:
        desk = self._desk
        desk.seq = item.seq = desk.seq + 1
        item.sent_s = desk.now_s
        if item.op == WRITE and item.data is not None:
            desk.effects.append(SendFrame(Write(item.seq, item.offset_bytes, item.data)))
        else:
            desk.effects.append(SendFrame(Discard(item.seq, item.offset_bytes, item.length_bytes)))

    def drain(self) -> None:
        """Issue what waits in the queue, as far as the log allows."""
        queue = self._queue
        while queue and self.io is Io.OPEN:
            if not self._start(queue[0]):
                self._log.kick()
                return
            queue.popleft()

    def unblock(self) -> None:
        """A lock was released: whatever waited for one comes first again."""
        if self._blocked:
            self._queue.extendleft(reversed(self._blocked))
            self._blocked = []
            self.drain()

    def log_demand(self) -> Iterator[Range]:
        """Ranges of the queue that will be written, in order."""
        if self.io is Io.OPEN:
            for item in self._queue:
                if item.op == WRITE or item.op == DISCARD:
                    yield item.offset_bytes, item.length_bytes

    # ---- repairs -------------------------------------------------------------------------------------

    def repair(
        self, offset_bytes: int, length_bytes: int, data: Buffer | None, repaired: Callable[[int], None]
    ) -> None:
        """Write content that makes both nodes equal, as a write of the client would be, and flush it.

        Args:
            data: None: zeros. Whoever asks holds the lock of the range.
            repaired: told an errno or 0.
        """
        item = Pending(0, WRITE if data is not None else DISCARD, offset_bytes, length_bytes, data, True)
        item.repaired = repaired
        self._enqueue(item)

    def drop_repairs(self) -> None:
        """The locks of the repairs go: what was not issued would overwrite what comes after."""
        self._drop_unissued(repairs=True)

    def _drop_unissued(self, *, repairs: bool) -> None:
        """Forget the repairs, or everything else, of what waits to be issued."""
        if self._queue:
            self._queue = deque(item for item in self._queue if (item.repaired is not None) is not repairs)
        self._blocked = [item for item in self._blocked if (item.repaired is not None) is not repairs]

    # ---- confirmations -----------------------------------------------------------------------------

    def wrote(self, ticket: int, error: str | None, full: bool) -> bool:
        """This node's disk answered a write. False: it is not one of ours."""
        item = self._writes.pop(ticket, None)
        if item is None:
            return False
        if error is not None:
            self._fail(item, error, full)
            return True
        self._desk.failure_told = False
        need = item.need = item.need & ~NEED_LOCAL
        if not need & NEED_PEER:
            self._settle(item)
        if not need:
            self._finish(item, 0)
        return True

    def read(self, ticket: int, data: Buffer | None, error: str | None) -> bool:
        """This node's disk answered a read. False: it is not one of ours."""
        item = self._reads.pop(ticket, None)
        if item is None:
            return False
        if error is not None:
            self._fail(item, error, False)
        elif not item.answered:
            item.answered = True
            self._answers.give(item.tag, 0, data if data is not None else bytes(item.length_bytes))
        return True

    def acked(self, seq: int) -> None:
        """The SECOND holds everything up to `seq`. Raises MirrorProtocolError when that cannot be."""
        if not self._last_ack <= seq <= self._desk.seq:
            raise MirrorProtocolError(f"the peer confirms write {seq}; the last one was {self._desk.seq}")
        self._last_ack = seq
        unacked = self._unacked
        while unacked and unacked[0].seq <= seq:
            item = unacked.popleft()
            self._peer_done(item)

    def _peer_done(self, item: Pending) -> None:
        need = item.need = item.need & ~NEED_PEER
        if not need & NEED_LOCAL:
            self._settle(item)
        if not need:
            self._finish(item, 0)

    def flush_confirmed(self, item: Pending, error: int) -> None:
        """A flush that covers this request is complete, or failed."""
        item.need &= ~NEED_FLUSH
        if error or not item.need:
            self._finish(item, error)

    def _settle(self, item: Pending) -> None:
        item.settled = True
        self._desk.activity.end(item.extents)
        if self._log.starved:
            self._log.kick()
        self._settled(item)

    def _fail(self, item: Pending, error: str, full: bool) -> None:
        """The request stays pending until somebody decides, unless errors already go up to the VM."""
        self._desk.disk_failed(error, full=full)
        if self.fails_up:
            self._give_up(item, errno_of(full=full))
        else:
            self._failed.append((item, errno_of(full=full)))

    def _give_up(self, item: Pending, error: int) -> None:
        item.need &= ~NEED_LOCAL
        if item.op != READ and not item.need & NEED_PEER:
            self._settle(item)
        self._finish(item, error)

    def _finish(self, item: Pending, error: int) -> None:
        if item.answered:
            return
        item.answered = True
        if item.repaired is not None:
            item.repaired(error)
            return
        split = item.split
        if split is None:
            self._answers.give(item.tag, error, None)
            return
        split.error = split.error or error
        split.left -= 1
        if not split.left:
            self._answers.give(split.tag, split.error, None)

    # ---- what the machine decides --------------------------------------------------------------------

    def set_gate(self, *, release: bool = True) -> None:
        """Until when requests may be answered; `release` those that wait for that, if the time is known to be now."""
        if self.io is not Io.OPEN:
            self._answers.allow(NEVER_S)
        elif self._desk.part is Part.NONE:
            self._answers.allow(ALWAYS_S)
        else:
            leased = self.serving and self._desk.part is Part.PRIMARY
            self._answers.allow(self.lease_s if leased else NEVER_S)
        if release:
            self._answers.release()

    def open(self, *, release: bool = True) -> None:
        """Issue requests from now on. `release`: see `set_gate`."""
        self.io = Io.OPEN
        self.set_gate(release=release)
        self.drain()

    def hold(self) -> None:
        """Accept requests, answer none."""
        if self.io is Io.OPEN:
            self.io = Io.HELD
        self.set_gate()

    def close(self) -> None:
        """Fail everything, now and later.

        What was sent and not confirmed still has to reach the peer, if the session is lost and comes back: both nodes
        made the write or both will. Its buffer is the export's again, so it is copied.
        """
        for item in self._unacked:
            if not item.answered and item.data is not None:
                item.data = bytes(item.data)
        self.io = Io.CLOSED
        self.serving = self.fails_up = False
        self._answers.fail()
        self._answers.allow(ALWAYS_S)
        for item in self._unanswered():
            self._finish(item, errno.EIO)
        self._flusher.fail_waiters(errno.EIO)
        self._queue.clear()
        self._blocked.clear()
        failed, self._failed = self._failed, []
        for item, error in failed:
            self._give_up(item, error)
        self.set_gate()

    def forsake(self) -> None:
        """Nobody waits for an answer any more: the export that asked is gone. What was not issued never will be."""
        self._drop_unissued(repairs=False)
        issued = [*self._writes.values(), *self._unacked, *(item for item, _ in self._failed)]
        self._forsaken += [item for item in issued if item.repaired is None and item not in self._forsaken]

    @property
    def owes(self) -> bool:
        """Whether a write that was forsaken can still change a node."""
        self._forsaken = [item for item in self._forsaken if not item.settled]
        return bool(self._forsaken)

    def _unanswered(self) -> list[Pending]:
        groups = (self._queue, self._blocked, self._writes.values(), self._reads.values(), self._unacked)
        waiting = [item for group in groups for item in group]
        return waiting + [item for item, _ in self._failed]

    def fail_up(self) -> None:
        """Errors of the disk go up to the VM from now on, those that wait too."""
        self.fails_up = True
        failed, self._failed = self._failed, []
        for item, error in failed:
            self._give_up(item, error)
        if self._flusher.failed:
            self._flusher.fail_waiters(errno.EIO)
        self.drain()

    def peer_lost(self) -> None:
        """The peer is out: what it did not confirm is this node's alone (and marked)."""
        unacked, self._unacked = self._unacked, deque()
        for item in unacked:
            self._peer_done(item)

    def resend(self) -> None:
        """In a new session: everything that the peer did not confirm goes out again, in order."""
        self._last_ack = 0
        current = self._flusher.unconfirmed()
        for item in self._unacked:
            if current is not None and item.seq > current.seq:
                self._flusher.resend(current)
                current = None
            self._send(item)
        if current is not None:
            self._flusher.resend(current)

    # ---- looking -------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Requests that were issued and not confirmed by all."""
        return len(self._reads) + max(len(self._writes), len(self._unacked))

    @property
    def unfinished(self) -> bool:
        """Whether a write was issued that one of the nodes did not confirm."""
        return bool(self._writes or self._unacked or self._failed)

    @property
    def waiting(self) -> bool:
        """Whether requests wait to be issued."""
        return bool(self._queue or self._blocked)

    def write_tickets(self) -> set[int]:
        """Writes that this node's disk did not answer yet."""
        return set(self._writes)

    def unsettled(self, offset_bytes: int, end_bytes: int) -> set[Pending]:
        """Issued writes to the range that may still change a node."""
        found = {item for item in self._unacked if item.overlaps(offset_bytes, end_bytes)}
        found.update(item for item in self._writes.values() if item.overlaps(offset_bytes, end_bytes))
        return {item for item in found if not item.settled}

    @property
    def local_since_s(self) -> float | None:
        """When the oldest request was issued that this node's disk did not answer."""
        oldest = [next(iter(group.values())).issued_s for group in (self._writes, self._reads) if group]
        return min(oldest) if oldest else None

    @property
    def peer_since_s(self) -> float | None:
        """When the oldest write was sent that the peer did not confirm."""
        return self._unacked[0].sent_s if self._unacked else None
