"""The receiving side: applies what the PRIM sends, in its order, and confirms it.

Writes, discards and flushes are applied in order of their number. An extent is in this node's own activity log before a
write to it is applied. Copies of the resync need no entry of their own: their blocks are marked on the PRIM, this node is
recorded as not uptodate, and it keeps its own marks until the copy is complete. Whatever would overwrite old content that
is to be rescued waits until that is durable: copies each on its own, writes in their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from .activity import Extent
from .effects import DigestLocal, KeepOld, LocalDiscard, LocalFlush, LocalWrite, ReadLocal
from .frames import (
    MAX_DATA_BYTES,
    Ack,
    Buffer,
    Clear,
    CompareZero,
    Copy,
    CopyAck,
    CopyFlush,
    CopyFlushed,
    CopyZero,
    Differ,
    Digests,
    Discard,
    Fetch,
    Fetched,
    Flush,
    Flushed,
    Keep,
    Kept,
    Marks,
    MarksEnd,
    Write,
)
from .marks import BLOCK_BYTES, FULL_PAGE, PAGE_COVER_BYTES
from .mirror_copy import MAX_COPY_BLOCKS
from .mirror_digests import DIGEST_BYTES, zero_digest
from .mirror_log import LogLane, Range
from .mirror_rescue import Rescuer
from .mirror_types import SECTOR_BYTES, Desk, MirrorProtocolError

COPY_FLUSH_BYTES = 32 * 1024 * 1024
"""After so much was copied the disk is flushed, and no more than as much again is confirmed before that is done: no flush
takes long, and disk and network work at the same time."""

Ordered = Write | Discard | Flush | CopyFlush
Copied = Copy | CopyZero
_CHANGES = (Write, Discard)
_WITH_DATA = (Write, Copy)


class Applied:
    """A write handed to this node's disk."""

    __slots__ = ("done", "extents", "issued_s", "seq")

    def __init__(self, seq: int, extents: tuple[Extent, ...], issued_s: float) -> None:
        self.seq = seq
        self.extents = extents
        self.issued_s = issued_s
        self.done = False


class CopyIn(NamedTuple):
    """A copy handed to this node's disk."""

    op: int
    length_bytes: int
    issued_s: float


class FlushIn(NamedTuple):
    """A flush handed to this node's disk; `answer` None: our own."""

    stamp: int
    issued_s: float
    answer: Flushed | CopyFlushed | None


class Comparison(NamedTuple):
    """A comparison that waits for this node's content; no digests: with zeros."""

    op: int
    digests: bytes


class Second:
    """What the SECOND does in a session.

    Args:
        desk: what the parts share.
        log: brings extents into the activity log.
    """

    def __init__(self, desk: Desk, log: LogLane) -> None:
        self._desk = desk
        self._log = log
        self._writes: dict[int, Applied] = {}
        self._copies: dict[int, CopyIn] = {}
        self._flushes: dict[int, FlushIn] = {}
        self._comparisons: dict[int, Comparison] = {}
        self._keeps: dict[int, int] = {}
        self._fetches: dict[int, Fetch] = {}
        self.rescuer = Rescuer(desk, self._rescued)
        self.begin()

    def begin(self) -> None:
        """A new session: numbers begin anew."""
        self._session_tickets: set[int] = set()
        self._queue: deque[Ordered] = deque()
        self._applied: deque[Applied] = deque()
        self._seq = 0
        self._held_seq = 0
        self._told_seq = 0
        self._flushed_seq = 0
        self._copied_bytes = 0
        self._held_acks: list[CopyAck] = []
        self._held_copies: list[Copied] = []
        self._failed = False

    def send_marks(self) -> None:
        """Tell the PRIM everything that is marked here."""
        for number, page in self._desk.activity.pages():
            self._desk.send(Marks(number, b"" if page is FULL_PAGE else page))
        self._desk.send(MarksEnd())

    def end(self) -> set[int]:
        """The session is over: what is not in the disk's hands is dropped. The tickets that are."""
        self.begin()
        return set(self._writes) | set(self._copies)

    # ---- frames, in order ----------------------------------------------------------------------------

    def ordered(self, frame: Ordered) -> None:
        """A frame that is applied in its turn. Raises MirrorProtocolError."""
        if not isinstance(frame, CopyFlush):
            if frame.seq != self._seq + 1:
                raise MirrorProtocolError(f"the peer sent frame {frame.seq} after {self._seq}")
            if isinstance(frame, Write):
                self._check(frame.offset_bytes, len(frame.data), MAX_DATA_BYTES, SECTOR_BYTES)
            elif isinstance(frame, Discard):
                self._check(frame.offset_bytes, frame.length_bytes, self._desk.size_bytes, SECTOR_BYTES)
            self._seq = frame.seq
        if self._failed:
            return
        if self.rescuer.on and isinstance(frame, _CHANGES):
            self.rescuer.want(*_range(frame))
        if self._queue or not self._apply(frame):
            if isinstance(frame, Write):
                frame = frame._replace(data=bytes(frame.data))
            self._queue.append(frame)
            self._log.kick()

    def _check(self, offset_bytes: int, length_bytes: int, limit_bytes: int, unit_bytes: int) -> None:
        if (
            (offset_bytes | length_bytes) % unit_bytes
            or offset_bytes < 0
            or not 0 < length_bytes <= limit_bytes
            or offset_bytes + length_bytes > self._desk.size_bytes
        ):
            raise MirrorProtocolError(
                f"the peer sent a range of {length_bytes} bytes at {offset_bytes}, which this volume does not have"
            )

    def _apply(self, frame: Ordered) -> bool:
        """Hand the frame to the disk. False: the log comes first."""
        desk = self._desk
        if isinstance(frame, _CHANGES):
            length = _range(frame)[1]
            if desk.activity.missing(frame.offset_bytes, length):
                return False
            if not self.rescuer.ready(frame.offset_bytes, length):
                return False  # promise 7
            applied = Applied(frame.seq, desk.activity.begin(frame.offset_bytes, length), desk.now_s)
            self._applied.append(applied)
            ticket = self._session_ticket()
            self._writes[ticket] = applied
            if isinstance(frame, Write):
                desk.effects.append(LocalWrite(ticket, frame.offset_bytes, frame.data))
            else:
                desk.effects.append(LocalDiscard(ticket, frame.offset_bytes, length))
        elif isinstance(frame, Flush):
            desk.activity.rotate()
            self._flush(Flushed(frame.seq))
        else:
            desk.activity.set_stale()
            self._flush(CopyFlushed(frame.epoch))
        return True

    def _session_ticket(self) -> int:
        ticket = self._desk.ticket()
        self._session_tickets.add(ticket)
        return ticket

    def _flush(self, answer: Flushed | CopyFlushed | None) -> None:
        ticket = self._session_ticket()
        self._flushes[ticket] = FlushIn(self._desk.activity.stamp, self._desk.now_s, answer)
        self._desk.effects.append(LocalFlush(ticket))

    def drain(self) -> None:
        """Apply what waited for the log, as far as it allows."""
        while self._queue and self._apply(self._queue[0]):
            self._queue.popleft()

    def log_demand(self) -> Iterator[Range]:
        """Ranges of the queue that will be written, in order."""
        for frame in self._queue:
            if isinstance(frame, _CHANGES):
                yield _range(frame)

    def settle(self) -> None:
        """Have this node's disk flushed, so that extents can leave the log."""
        if not self._flushes_for_itself:
            self._flush(None)

    @property
    def _flushes_for_itself(self) -> bool:
        return any(flush.answer is None for flush in self._flushes.values())

    def clear(self, frame: Clear) -> None:
        """Both nodes flushed. Raises MirrorProtocolError."""
        if frame.seq != self._flushed_seq or not frame.seq:
            raise MirrorProtocolError(
                f"the peer clears after flush {frame.seq}; the last was {self._flushed_seq}"
            )
        self._flushed_seq = 0
        self._desk.activity.drop_old()

    # ---- frames of the resync --------------------------------------------------------------------------

    def copy(self, frame: Copy) -> None:
        """Content of blocks. Raises MirrorProtocolError."""
        length = len(frame.data)
        self._check(frame.offset_bytes, length, MAX_DATA_BYTES, BLOCK_BYTES)
        if not self._failed:
            self._copy_when_rescued(frame)

    def copy_zero(self, frame: CopyZero) -> None:
        """Blocks of zeros. Raises MirrorProtocolError."""
        self._check(frame.offset_bytes, frame.length_bytes, PAGE_COVER_BYTES, BLOCK_BYTES)
        if not self._failed:
            self._copy_when_rescued(frame)

    def _copy_when_rescued(self, frame: Copied) -> None:
        if not self.rescuer.ready(*_range(frame)):
            self.rescuer.want(*_range(frame))
            if isinstance(frame, Copy):
                frame = frame._replace(data=bytes(frame.data))
            self._held_copies.append(frame)
        elif isinstance(frame, Copy):
            ticket = self._copy_ticket(frame.op, len(frame.data))
            self._desk.effects.append(LocalWrite(ticket, frame.offset_bytes, frame.data))
        else:
            ticket = self._copy_ticket(frame.op, 0)
            self._desk.effects.append(LocalDiscard(ticket, frame.offset_bytes, frame.length_bytes))

    def _rescued(self) -> None:
        """More is kept, or nothing has to be any more: what waited for that goes on."""
        held, self._held_copies = self._held_copies, []
        for copy in held:
            self._copy_when_rescued(copy)
        if self._queue:
            for frame in self._queue:
                if isinstance(frame, _CHANGES):
                    self.rescuer.want(*_range(frame))
            self.drain()
            self._log.kick()

    def _copy_ticket(self, op: int, length_bytes: int) -> int:
        ticket = self._session_ticket()
        self._copies[ticket] = CopyIn(op, length_bytes, self._desk.now_s)
        return ticket

    def compare(self, frame: Digests) -> None:
        """Which of these blocks differ here? Raises MirrorProtocolError."""
        blocks, rest = divmod(len(frame.digests), DIGEST_BYTES)
        length = blocks * BLOCK_BYTES
        if rest:
            raise MirrorProtocolError("the peer sent digests that are cut off")
        self._check(frame.offset_bytes, length, MAX_COPY_BLOCKS * BLOCK_BYTES, BLOCK_BYTES)
        if not self._failed:
            ticket = self._session_ticket()
            self._comparisons[ticket] = Comparison(frame.op, bytes(frame.digests))
            self._desk.effects.append(DigestLocal(ticket, frame.offset_bytes, length, self._desk.digest_key))

    # ---- frames of a comparison while in step ------------------------------------------------------------

    def compare_zero(self, frame: CompareZero) -> None:
        """Is there nothing but zeros here, too? Raises MirrorProtocolError."""
        self._check(frame.offset_bytes, frame.length_bytes, PAGE_COVER_BYTES, BLOCK_BYTES)
        if not self._failed:
            ticket = self._session_ticket()
            self._comparisons[ticket] = Comparison(frame.op, b"")
            key = self._desk.digest_key
            self._desk.effects.append(DigestLocal(ticket, frame.offset_bytes, frame.length_bytes, key))

    def keep(self, frame: Keep) -> None:
        """Keep what is here: it is about to be overwritten. Raises MirrorProtocolError."""
        self._check(frame.offset_bytes, frame.length_bytes, MAX_DATA_BYTES, BLOCK_BYTES)
        if not self._failed:
            ticket = self._session_ticket()
            self._keeps[ticket] = frame.op
            self._desk.effects.append(KeepOld(ticket, frame.offset_bytes, frame.length_bytes))

    def fetch(self, frame: Fetch) -> None:
        """Send what is here. Raises MirrorProtocolError."""
        self._check(frame.offset_bytes, frame.length_bytes, MAX_DATA_BYTES, BLOCK_BYTES)
        if not self._failed:
            ticket = self._session_ticket()
            self._fetches[ticket] = frame
            self._desk.effects.append(ReadLocal(ticket, frame.offset_bytes, frame.length_bytes))

    # ---- answers of the disk -----------------------------------------------------------------------------

    def _ours(self, ticket: int) -> bool:
        """Whether an answer belongs to this session; after a failure nothing is confirmed any more."""
        ours = ticket in self._session_tickets
        self._session_tickets.discard(ticket)
        return ours and not self._failed

    def stop(self) -> None:
        """This node's disk failed: nothing is applied or confirmed any more in this session."""
        self._failed = True
        self._queue.clear()
        self._held_copies.clear()

    def _fail(self, error: str, *, full: bool) -> None:
        self.stop()
        self._desk.disk_failed(error, full=full)

    def wrote(self, ticket: int, error: str | None, full: bool) -> bool:
        """This node's disk answered a write. False: it is not one of ours."""
        applied = self._writes.pop(ticket, None)
        if applied is None:
            return self._copied(ticket, error, full)
        self._desk.activity.end(applied.extents)
        if error is not None:
            self._fail(error, full=full)
        elif self._ours(ticket):
            self._desk.failure_told = False
            applied.done = True
            queue = self._applied
            while queue and queue[0].done:
                self._held_seq = queue.popleft().seq
        if self._log.starved:
            self._log.kick()
        return True

    def _copied(self, ticket: int, error: str | None, full: bool) -> bool:
        copy = self._copies.pop(ticket, None)
        if copy is None:
            return False
        if error is not None:
            self._fail(error, full=full)
        elif self._ours(ticket):
            self._copied_bytes += copy.length_bytes
            self._flush_copies()
            if self._copied_bytes >= COPY_FLUSH_BYTES:
                self._held_acks.append(CopyAck(copy.op))
            else:
                self._desk.send(CopyAck(copy.op))
        return True

    def _flush_copies(self) -> None:
        if self._copied_bytes >= COPY_FLUSH_BYTES and not self._flushes_for_itself:
            self._copied_bytes = 0
            self._flush(None)

    def flushed(self, ticket: int, error: str | None, full: bool) -> None:
        """This node's disk flushed, or failed for good. KeyError: it is not one of ours."""
        flush = self._flushes.pop(ticket)
        if error is not None:
            self._fail(error, full=full)
            return
        self._desk.activity.flushed(flush.stamp)
        if self._ours(ticket):
            self.acknowledge()
            if isinstance(flush.answer, Flushed):
                self._flushed_seq = flush.answer.seq
            if flush.answer is not None:
                self._desk.send(flush.answer)
            else:
                self._flush_copies()
                for ack in self._held_acks:
                    self._desk.send(ack)
                self._held_acks = []
        if self._log.starved:
            self._log.kick()

    def read(self, ticket: int, data: Buffer | None, error: str | None) -> None:
        """This node's disk answered a read. KeyError: it is not one of ours."""
        fetch = self._fetches.pop(ticket)
        if error is not None:
            self._fail(error, full=False)
        elif self._ours(ticket):
            content = data if data is not None else bytes(fetch.length_bytes)
            self._desk.send(Fetched(fetch.op, fetch.offset_bytes, content))

    def kept(self, ticket: int, error: str | None) -> None:
        """The old content is kept, or cannot be: no failure of the replica. KeyError: it is not one of ours."""
        op = self._keeps.pop(ticket)
        if self._ours(ticket):
            self._desk.send(Kept(op, error or ""))

    def digested(self, ticket: int, digests: bytes | None, error: str | None) -> None:
        """This node's disk answered a DigestLocal. KeyError: it is not one of ours."""
        comparison = self._comparisons.pop(ticket)
        theirs = comparison.digests
        if error is not None:
            self._fail(error, full=False)
            return
        if not self._ours(ticket):
            return
        zero = zero_digest(self._desk.digest_key)
        if not theirs:
            zeros = digests is None or (digests != b"" and digests == zero * (len(digests) // DIGEST_BYTES))
            self._desk.send(Differ(comparison.op, bytes([not zeros])))
        else:
            ours = digests if digests is not None else zero * (len(theirs) // DIGEST_BYTES)
            flags = bytes(
                theirs[at : at + DIGEST_BYTES] != ours[at : at + DIGEST_BYTES]
                for at in range(0, len(theirs), DIGEST_BYTES)
            )
            self._desk.send(Differ(comparison.op, flags))

    @property
    def busy(self) -> bool:
        """Whether something waits for this node's disk, or for the log; flushes apart."""
        return bool(self._applied or self._queue or self._copies or self._held_copies or self._fetches)

    def acknowledge(self) -> None:
        """Confirm all that is held, once for all of it."""
        if self._held_seq > self._told_seq:
            self._told_seq = self._held_seq
            self._desk.send(Ack(self._held_seq))

    # ---- looking -----------------------------------------------------------------------------------------

    @property
    def local_since_s(self) -> float | None:
        """When the oldest thing was handed to this node's disk that it did not answer."""
        oldest: list[float] = []
        if self._writes:
            oldest.append(next(iter(self._writes.values())).issued_s)
        if self._copies:
            oldest.append(next(iter(self._copies.values())).issued_s)
        if self._flushes:
            oldest.append(next(iter(self._flushes.values())).issued_s)
        rescue_s = self.rescuer.since_s
        if rescue_s is not None:
            oldest.append(rescue_s)
        return min(oldest, default=None)


def _range(frame: Write | Discard | Copied) -> Range:
    """First byte and length of what a frame overwrites."""
    length = len(frame.data) if isinstance(frame, _WITH_DATA) else frame.length_bytes
    return frame.offset_bytes, length
