"""The resync, on the node that has the right content: copies what is marked on either node, block ranges at a time.

A range is locked (writes of the client to it wait), read, sent, and confirmed under that lock. Where much may be equal
(after a crash, or when nothing is known), digests are compared first and only what differs travels; holes travel as
ranges of zeros. The client goes first: while it is busy, one copy at most is under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .effects import ReadLocal
from .events import CopyDone, PeerMarksComplete
from .frames import MAX_DATA_BYTES, Buffer, Copy, CopyZero, Digests
from .marks import BLOCK_BYTES, PAGE_BLOCKS, page_runs
from .mirror_client import Client, Io
from .mirror_digests import digests_of
from .mirror_rate import Pace, Rate
from .mirror_types import Desk, Locks, MirrorProtocolError, Pending, Progress, ResyncSettings

MAX_COPY_BLOCKS = MAX_DATA_BYTES // BLOCK_BYTES
MAX_HOLE_BLOCKS = 64 * 1024 * 1024 // BLOCK_BYTES
"""The other node may have content there, which it keeps before it confirms: that must not take long."""
HOLE_GROWTH = 8


class CopyOp:
    """One locked range on its way. `acks`: confirmations of the SECOND that it waits for."""

    __slots__ = (
        "aborted", "acks", "blocks", "comparing", "data", "digest", "first", "number", "since_s", "waits_for",
    )  # fmt: skip

    def __init__(self, number: int, first: int, blocks: int, *, digest: bool) -> None:
        self.number = number
        self.first = first
        self.blocks = blocks
        self.digest = digest
        self.data: Buffer | None = None
        self.acks = 0
        self.comparing = False
        self.aborted = False
        self.waits_for: set[Pending] = set()
        self.since_s: float | None = None

    @property
    def offset_bytes(self) -> int:
        """Where the range begins."""
        return self.first * BLOCK_BYTES

    @property
    def length_bytes(self) -> int:
        """How long it is."""
        return self.blocks * BLOCK_BYTES

    @property
    def range(self) -> tuple[int, int]:
        """Its first byte and the one after its last."""
        return self.offset_bytes, self.offset_bytes + self.length_bytes


class Copier:
    """What is left to copy, and the copies under way.

    Args:
        desk, locks: what the parts share.
        settings: limits.
        client: whose requests come first.
    """

    def __init__(
        self, desk: Desk, locks: Locks, settings: ResyncSettings, client: Callable[[], Client]
    ) -> None:
        self._desk = desk
        self._locks = locks
        self._settings = settings
        self._client = client
        self._ops: dict[int, CopyOp] = {}
        self._reads: dict[int, CopyOp] = {}
        self._waiting = 0
        self._number = 0
        self._bytes_in_flight = 0
        self._span = MAX_COPY_BLOCKS
        self._acked_s = 0.0
        self._started = False
        self._pace = Pace(settings.rate_limit_bytes_s)
        self.everything = False
        self.marks_complete = False
        self.reset()

    def reset(self) -> None:
        """Forget what was to be copied: the marks of both nodes are put together anew."""
        self._counts: dict[int, int] = {}
        self._pages: deque[int] = deque()
        self._runs: deque[tuple[int, int, bool]] = deque()
        self._left_blocks = 0
        self._copied_blocks = 0
        self._sent_bytes = 0
        self._different_bytes = 0
        self._blind_bytes = 0
        self._rate = Rate()
        self.marks_complete = False
        self.everything = False

    # ---- what is to be copied ------------------------------------------------------------------------

    def peer_page(self, page: int, bits: bytes) -> None:
        """The SECOND's marks of one page. Raises MirrorProtocolError."""
        if self.marks_complete:
            return
        try:
            self._desk.activity.merge_page(page, bits)
        except ValueError as error:
            raise MirrorProtocolError(f"the peer sent marks that do not fit the volume: {error}") from error

    def peer_marks_end(self) -> None:
        """All marks of the SECOND are known: plan the copy, unless the plan of the lost session still holds."""
        desk = self._desk
        if not self.marks_complete:
            self.marks_complete = True
            if self.everything:
                desk.activity.mark_everything()
            for number, page in desk.activity.pages():
                self._counts[number] = int.from_bytes(page, "little").bit_count()
                self._pages.append(number)
            self._left_blocks = sum(self._counts.values())
        if not self._left_blocks and desk.plan_holds:
            desk.in_step = True
        desk.tell(PeerMarksComplete(self.left_bytes))

    @property
    def left_bytes(self) -> int:
        """What is not copied yet."""
        return self._left_blocks * BLOCK_BYTES

    def _next_run(self, largest: int) -> tuple[int, int, bool] | None:
        """The next blocks to copy (first, number, digests first?), at most `largest` of them."""
        while not self._runs:
            if not self._pages:
                return None
            page = self._pages.popleft()
            content = self._desk.activity.page(page)
            runs = page_runs(content)
            self._left_blocks += sum(count for _, count in runs) - self._counts.pop(page)
            unsure = self._desk.activity.unsure(page)
            self._desk.activity.doubt(page)  # a copy after this one, if it is interrupted, finds much equal
            self._runs.extend((page * PAGE_BLOCKS + first, count, unsure) for first, count in runs)
        first, count, unsure = self._runs.popleft()
        taken = min(count, largest)
        if taken < count:
            self._runs.appendleft((first + taken, count - taken, unsure))
        return first, taken, unsure

    # ---- copies ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Copy."""
        self._started = True
        self._rate.restart(self._desk.now_s, self._copied_blocks * BLOCK_BYTES)
        self.pump()

    def end(self) -> None:
        """The session is over: copies under way are undone, their blocks are left to be copied."""
        self._started = False
        for op in self._ops.values():
            op.aborted = True
            self._runs.appendleft((op.first, op.blocks, op.digest))
        self._ops.clear()
        self._waiting = 0
        self._bytes_in_flight = 0
        self._locks.ranges.clear()
        self._client().unblock()

    def pump(self) -> None:
        """Start as many copies as the limits allow; tell when nothing is left.

        After a failure of this node's disk nothing is copied before marks were put together anew.
        """
        if not self._desk.plan_holds or self._client().io is Io.HELD:
            return
        while self._started and self._may_start():
            run = self._next_run(self._largest_blocks)
            if run is None:
                break
            self._begin(*run)
        if self._started and not self._ops and not self._runs and not self._pages:
            self._started = False
            self._desk.tell(CopyDone())

    @property
    def _yields(self) -> bool:
        """Whether the client has requests, or had some a moment ago."""
        return self._desk.now_s - self._client().asked_s < self._settings.yield_s

    @property
    def _largest_blocks(self) -> int:
        """How many blocks may be copied in one piece; where there are holes, which cost nothing, more than else."""
        if self._span > MAX_COPY_BLOCKS or not self._yields:
            return self._span
        return max(1, min(self._span, self._settings.yield_bytes_in_flight // BLOCK_BYTES))

    def _may_start(self) -> bool:
        settings = self._settings
        if not self._ops:
            return self._pace.allows(self._desk.now_s)
        if len(self._ops) >= settings.max_ops or self._client().in_flight > settings.busy_requests:
            return False
        most_bytes, piece_bytes = settings.max_bytes_in_flight, MAX_DATA_BYTES
        if self._yields:
            most_bytes = piece_bytes = settings.yield_bytes_in_flight
        if self._bytes_in_flight + piece_bytes > most_bytes:
            return False
        return self._pace.allows(self._desk.now_s)

    def _begin(self, first: int, blocks: int, unsure: bool) -> None:
        self._number += 1
        op = CopyOp(self._number, first, blocks, digest=unsure and not self._blind_bytes)
        self._ops[op.number] = op
        self._locks.ranges.add(op.range)
        if blocks <= MAX_COPY_BLOCKS:
            self._bytes_in_flight += op.length_bytes
        op.waits_for = self._client().unsettled(*op.range)
        if op.waits_for:
            self._waiting += 1
        else:
            self._read(op)

    def write_settled(self, item: Pending) -> None:
        """A write of the client is over: a copy may have waited for it, or the client is less busy."""
        if self._waiting:
            for op in [op for op in self._ops.values() if item in op.waits_for]:
                op.waits_for.discard(item)
                if not op.waits_for:
                    self._waiting -= 1
                    self._read(op)
        if self._started:
            self.pump()

    def _read(self, op: CopyOp) -> None:
        ticket = self._desk.ticket()
        self._reads[ticket] = op
        self._desk.effects.append(ReadLocal(ticket, op.offset_bytes, op.length_bytes, hole_ok=True))

    def read(self, ticket: int, data: Buffer | None, error: str | None) -> bool:
        """This node's disk answered a read of the resync. False: it is not one of ours."""
        op = self._reads.pop(ticket, None)
        if op is None:
            return False
        if op.aborted:
            return True
        if error is not None:
            self._started = False
            self._put_back(op)
            self._desk.disk_failed(error, full=False)
        elif data is None:
            self._span = min(self._span * HOLE_GROWTH, MAX_HOLE_BLOCKS)
            self._await(op, 1)
            self._desk.send(CopyZero(op.number, op.offset_bytes, op.length_bytes))
        elif op.blocks > MAX_COPY_BLOCKS:
            self._span = MAX_COPY_BLOCKS
            self._put_back(op)
        else:
            self._span = MAX_COPY_BLOCKS
            self._send(op, data)
        self.pump()
        return True

    def _send(self, op: CopyOp, data: Buffer) -> None:
        self._pace.took(op.length_bytes)
        if op.digest:
            op.data = data
            op.comparing = True
            self._await(op, 0)
            self._desk.send(Digests(op.number, op.offset_bytes, digests_of(data, self._desk.digest_key)))
        else:
            self._await(op, 1)
            self._sent_bytes += op.length_bytes
            self._blind_bytes = max(0, self._blind_bytes - op.length_bytes)
            self._desk.send(Copy(op.number, op.offset_bytes, data))

    def _await(self, op: CopyOp, acks: int) -> None:
        op.acks = acks
        op.since_s = self._desk.now_s

    def differ(self, number: int, flags: bytes) -> None:
        """The SECOND compared: send what differs. Raises MirrorProtocolError."""
        op = self._ops.get(number)
        if (
            op is None
            or not op.comparing
            or op.data is None
            or len(flags) != op.blocks
            or set(flags) - {0, 1}
        ):
            raise MirrorProtocolError(f"the peer answers a comparison {number} that it was not asked for")
        op.comparing = False
        self._compared(op, equal=flags.count(0))
        view, op.data = memoryview(op.data), None
        start = flags.find(1)
        acks = 0
        while start >= 0:
            end = flags.find(0, start)
            end = end if end >= 0 else len(flags)
            piece = view[start * BLOCK_BYTES : end * BLOCK_BYTES]
            self._desk.send(Copy(number, op.offset_bytes + start * BLOCK_BYTES, piece))
            self._sent_bytes += len(piece)
            acks += 1
            start = flags.find(1, end)
        self._await(op, acks)
        if not acks:
            self._finish(op)

    def _compared(self, op: CopyOp, *, equal: int) -> None:
        """Comparing costs both processors more than it saves the network where nothing is equal."""
        if equal:
            self._different_bytes = self._blind_bytes = 0
            return
        self._different_bytes += op.length_bytes
        if self._different_bytes >= self._settings.different_bytes:
            self._blind_bytes = self._settings.blind_bytes

    def acked(self, number: int) -> None:
        """The SECOND holds a copy. Raises MirrorProtocolError."""
        op = self._ops.get(number)
        if op is None or op.comparing or op.acks < 1:
            raise MirrorProtocolError(f"the peer confirms a copy {number} that was not sent")
        self._acked_s = self._desk.now_s
        op.acks -= 1
        if not op.acks:
            self._finish(op)

    def _finish(self, op: CopyOp) -> None:
        self._left_blocks -= op.blocks
        self._copied_blocks += op.blocks
        self._release(op)

    def _put_back(self, op: CopyOp) -> None:
        self._runs.appendleft((op.first, op.blocks, op.digest))
        self._release(op)

    def _release(self, op: CopyOp) -> None:
        del self._ops[op.number]
        self._locks.ranges.discard(op.range)
        if op.blocks <= MAX_COPY_BLOCKS:
            self._bytes_in_flight -= op.length_bytes
        self._client().unblock()
        self.pump()

    # ---- looking -----------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a copy is under way."""
        return bool(self._ops)

    @property
    def complete(self) -> bool:
        """Whether the marks of both nodes are known and nothing of them is left to be copied."""
        return self.marks_complete and not (self._ops or self._runs or self._pages)

    @property
    def peer_since_s(self) -> float | None:
        """Since when the peer confirmed none of the copies that were sent: those behind wait for those before."""
        oldest_s = min((op.since_s for op in self._ops.values() if op.since_s is not None), default=None)
        return None if oldest_s is None else max(oldest_s, self._acked_s)

    def progress(self, now_s: float) -> Progress:
        """How far it is."""
        copied = self._copied_blocks * BLOCK_BYTES
        rate, stuck = self._rate.look(now_s, copied) if self._started else (0.0, False)
        left = self.left_bytes
        return Progress(
            left_bytes=left,
            total_bytes=copied + left,
            copied_bytes=copied,
            sent_bytes=self._sent_bytes,
            rate_bytes_s=rate,
            eta_s=left / rate if rate > 0 else None,
            losing_ground=stuck,
        )
