"""The comparison of both replicas while the VM writes, on the PRIM: finds blocks that differ though they should not.

It looks at ranges without holding anything back: digests of both sides, some moments apart. What was being written
meanwhile may look different, so a block that does is looked at again under a lock: writes of the client to it wait, those
under way are over on both nodes, and then only a real difference is left. No write can hide one either: what a write
touches is equal on both nodes afterwards.

A repair is an ordinary mirrored write, made under that same lock: marked durably before it reaches a disk, held and flushed
by both nodes. So a crash in the middle leaves marks, and a resync heals it. The old content is kept durably before.

The client goes first: while it is busy, one look at most is under way. A connection that breaks and is taken up again by
the same two processes only interrupts it.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .effects import DigestLocal, KeepOld, ReadLocal, VerifyEnded
from .frames import Buffer, CompareZero, Digests, Fetch, Fetched, Keep, Kept
from .marks import BLOCK_BYTES
from .mirror_client import Client, Io
from .mirror_digests import zero_digest
from .mirror_rate import Pace, Rate
from .mirror_types import Desk, Locks, MirrorProtocolError, Part, Pending

MAX_DIFFERENCES = 4096
MAX_SUSPECTS = 256
"""With so many blocks to be looked at again, those come first."""
MAX_HOLE_BLOCKS = 32_768
HOLE_GROWTH = 8
PATIENCE_S = 30.0
"""For so long the nodes may be apart without ending a comparison."""
APART = "the connection to the other node was lost"


class VerifySettings(NamedTuple):
    """How a comparison behaves.

    Args:
        range_blocks: blocks that are looked at together.
        max_ops: looks under way.
        max_rechecks: blocks under a lock at the same time.
        busy_requests: with more of the client's requests than this under way, one look is under way at most.
        rate_limit_bytes_s: most content read a second, or None.
    """

    range_blocks: int = 8
    max_ops: int = 8
    max_rechecks: int = 4
    busy_requests: int = 4
    rate_limit_bytes_s: int | None = None


class Repair(enum.Enum):
    """Whether what differs is made equal, and which side is right."""

    NO = "no"
    FROM_PRIMARY = "from the PRIM"
    FROM_SECONDARY = "from the SECOND"


class VerifyReport(NamedTuple):
    """What a comparison has found so far.

    Args:
        position_bytes: everything from its beginning up to here is decided.
        compared_bytes: what was compared in this run.
        total_bytes: what this run has to compare.
        rechecked_blocks: blocks that were looked at again because they were being written, or differ.
        differing_bytes: what really differed, in whole blocks.
        differences: ranges of it (offset, length), joined where they touch; at most `MAX_DIFFERENCES` of them.
        repaired_bytes: of it, what is equal again.
        not_kept: why blocks were not repaired: their old content could not be kept; empty if that did not happen.
        rate_bytes_s: over the last seconds.
    """

    position_bytes: int
    compared_bytes: int
    total_bytes: int
    rechecked_blocks: int
    differing_bytes: int
    differences: tuple[tuple[int, int], ...]
    repaired_bytes: int
    not_kept: str
    rate_bytes_s: float


class Stage(enum.Enum):
    """What a look waits for."""

    WRITES = enum.auto()  # those under way, to be over on both nodes
    LOCAL = enum.auto()  # the digests of this node
    PEER = enum.auto()  # what the SECOND says of them
    KEEPING = enum.auto()  # the old content, to be kept where it is overwritten
    CONTENT = enum.auto()  # the right content
    REPAIR = enum.auto()  # the write that makes both equal


FIRST_NUMBER = 1 << 48
"""Looks are numbered from here on, copies of a resync below: an answer that comes late is known to be nobody's."""


class Look:
    """Blocks that are being compared: `exact`, block by block, even where there is nothing; `locked`, for certain."""

    __slots__ = (
        "blocks", "exact", "first", "hole", "locked", "number", "on_peer", "since_s", "stage", "waits_for",
    )  # fmt: skip

    def __init__(self, number: int, first: int, blocks: int, *, exact: bool, locked: bool) -> None:
        self.number = number
        self.first = first
        self.blocks = blocks
        self.exact = exact
        self.locked = locked
        self.stage = Stage.WRITES
        self.on_peer = False
        self.since_s = 0.0
        self.hole = False
        self.waits_for: set[Pending] = set()

    @property
    def offset_bytes(self) -> int:
        """Where it begins."""
        return self.first * BLOCK_BYTES

    @property
    def length_bytes(self) -> int:
        """How long it is."""
        return self.blocks * BLOCK_BYTES

    @property
    def range(self) -> tuple[int, int]:
        """Its first byte and the one after its last."""
        return self.offset_bytes, self.offset_bytes + self.length_bytes


class Verifier:
    """The comparison of one module, on the node that runs it.

    Args:
        desk, locks: what the parts share.
        client: whose requests come first, and through whom repairs are made.
    """

    def __init__(self, desk: Desk, locks: Locks, client: Callable[[], Client]) -> None:
        self._desk = desk
        self._locks = locks
        self._client = client
        self._settings = VerifySettings()
        self._blocks = desk.size_bytes // BLOCK_BYTES
        self._number = FIRST_NUMBER
        self._tickets: dict[int, Look] = {}  # of looks that are over, too: their answers come to nothing
        self.running = False
        self._begin(0, Repair.NO, extended=False)

    def _begin(self, first: int, repair: Repair, *, extended: bool) -> None:
        self._repair = repair
        self._extended = extended
        self._first = self._next = first
        self._span = self._settings.range_blocks
        self._again: deque[tuple[int, int]] = deque()
        self._suspects: deque[int] = deque()
        self._looks: dict[int, Look] = {}
        self._rechecking = 0
        self._waiting = 0
        self._compared_blocks = 0
        self._rechecked_blocks = 0
        self._differing: list[int] = []
        self._differing_blocks = 0
        self._repaired_bytes = 0
        self._not_kept = ""
        self._unrepaired: set[int] = set()  # blocks that were found different and are being repaired
        self._paused_s: float | None = None
        self._pace = Pace(self._settings.rate_limit_bytes_s)
        self._rate = Rate()
        self._rate.restart(self._desk.now_s, 0)

    # ---- begin and end ---------------------------------------------------------------------------------

    @property
    def possible(self) -> bool:
        """Whether both nodes ought to be equal now."""
        return self._desk.part is Part.PRIMARY and self._desk.in_step

    def start(self, from_bytes: int, repair: Repair, settings: VerifySettings, *, extended: bool) -> bool:
        """Compare everything from `from_bytes` on. False: it cannot be done now.

        Args:
            from_bytes: rounded down to a block; from the beginning when it is outside the volume.
            repair: whether, and from which side.
            extended: the SECOND knows the frames of a comparison (protocol version 2); without them nothing is
                repaired, and empty space takes longer.
        """
        if self.running or not self.possible or (repair is not Repair.NO and not extended):
            return False
        self._settings = settings
        first = from_bytes // BLOCK_BYTES
        self._begin(first if 0 < first < self._blocks else 0, repair, extended=extended)
        self.running = True
        self.pump()
        return True

    def end(self, reason: str) -> None:
        """End it where it is; nothing waits for it any more. Looks under way come to nothing."""
        if not self.running:
            return
        self._put_back()
        report = self.report(self._desk.now_s)
        self.running = False
        self._desk.effects.append(VerifyEnded(reason, report))
        self._client().unblock()

    def pause(self) -> None:
        """The nodes are apart for a moment: what is under way comes to nothing and is looked at again afterwards."""
        if self.running and self._paused_s is None:
            self._paused_s = self._desk.now_s
            self._put_back()
            self._client().unblock()

    def _put_back(self) -> None:
        """Let go of everything: locks, looks, and repairs that were not issued, which would come too late."""
        self._client().drop_repairs()
        for look in self._looks.values():
            if look.locked:
                self._locks.ranges.discard(look.range)
                self._suspects.append(look.first)
            else:
                self._again.append((look.first, look.blocks))
        self._looks.clear()
        self._rechecking = self._waiting = 0

    def pump(self) -> None:
        """Begin as many looks as the limits allow; tell when all is done."""
        if not self.running or not self._together():
            return
        while self._may_begin():
            if self._suspects and self._rechecking < self._settings.max_rechecks:
                self._recheck(self._suspects.popleft())
            elif (self._again or self._next < self._blocks) and len(self._suspects) < MAX_SUSPECTS:
                self._look()
            else:
                break
        if not self._looks and not self._suspects and not self._again and self._next >= self._blocks:
            self.end("")

    def _together(self) -> bool:
        """Whether both nodes can be compared now; who was apart from the other for too long gives up."""
        if self.possible and self._client().io is Io.OPEN:
            self._paused_s = None
            return True
        self.pause()
        if self._paused_s is not None and self._desk.now_s - self._paused_s >= PATIENCE_S:
            self.end(APART)
        return False

    def _may_begin(self) -> bool:
        settings = self._settings
        if self._looks and (
            len(self._looks) >= settings.max_ops or self._client().in_flight > settings.busy_requests
        ):
            return False
        return self._pace.allows(self._desk.now_s)

    # ---- looks -----------------------------------------------------------------------------------------

    def _look(self) -> None:
        exact = bool(self._again)
        if exact:
            first, blocks = self._again.popleft()
            taken = min(blocks, self._settings.range_blocks)
            if taken < blocks:
                self._again.appendleft((first + taken, blocks - taken))
        else:
            first = self._next
            taken = min(self._span, self._blocks - first)
            self._next += taken
        self._digest(self._new(first, taken, exact=exact, locked=False))

    def _recheck(self, block: int) -> None:
        """Look again at a block with the client's writes to it held back, so that only what is real is left."""
        self._rechecking += 1
        self._rechecked_blocks += 1
        look = self._new(block, 1, exact=True, locked=True)
        self._locks.ranges.add(look.range)
        look.waits_for = self._client().unsettled(*look.range)
        if look.waits_for:
            self._waiting += 1
        else:
            self._digest(look)

    def _new(self, first: int, blocks: int, *, exact: bool, locked: bool) -> Look:
        self._number += 1
        look = self._looks[self._number] = Look(self._number, first, blocks, exact=exact, locked=locked)
        look.since_s = self._desk.now_s
        return look

    def write_settled(self, item: Pending) -> None:
        """A write of the client is over: a look may have waited for it, or the client is less busy."""
        if not self.running:
            return
        if self._waiting:
            for look in [look for look in self._looks.values() if item in look.waits_for]:
                look.waits_for.discard(item)
                if not look.waits_for:
                    self._waiting -= 1
                    self._digest(look)
        self.pump()

    def _ask_disk(self, look: Look, stage: Stage) -> int:
        ticket = self._desk.ticket()
        self._tickets[ticket] = look
        look.stage, look.on_peer, look.since_s = stage, False, self._desk.now_s
        return ticket

    def _answered(self, ticket: int) -> tuple[bool, Look | None]:
        """Whether this node's disk was asked by this part, and for which look; None when that is over."""
        look = self._tickets.pop(ticket, None)
        alive = look is not None and self._looks.get(look.number) is look
        return look is not None, look if alive else None

    def _ask_peer(self, look: Look, stage: Stage, frame: Digests | CompareZero | Keep | Fetch) -> None:
        look.stage, look.on_peer, look.since_s = stage, True, self._desk.now_s
        self._desk.send(frame)

    def _digest(self, look: Look) -> None:
        ticket = self._ask_disk(look, Stage.LOCAL)
        self._desk.effects.append(
            DigestLocal(ticket, look.offset_bytes, look.length_bytes, self._desk.digest_key)
        )

    def digested(self, ticket: int, digests: bytes | None, error: str | None) -> bool:
        """This node's disk answered a DigestLocal. False: it is not one of ours."""
        found, look = self._answered(ticket)
        if look is None:
            return found
        if error is not None:
            self._disk_failed(error)
            return True
        offset, length = look.offset_bytes, look.length_bytes
        look.hole = digests is None
        if digests is None and not look.exact and self._extended:
            self._span = min(self._span * HOLE_GROWTH, MAX_HOLE_BLOCKS)
            self._ask_peer(look, Stage.PEER, CompareZero(look.number, offset, length))
        elif digests == b"":  # a large range that is no hole
            self._look_closely(look)
        else:
            if digests is not None:
                self._span = self._settings.range_blocks
                self._pace.took(length)
            own = digests if digests is not None else zero_digest(self._desk.digest_key) * look.blocks
            self._ask_peer(look, Stage.PEER, Digests(look.number, offset, own))
        return True

    def _look_closely(self, look: Look) -> None:
        self._span = self._settings.range_blocks
        self._again.append((look.first, look.blocks))
        self._release(look)

    def differ(self, number: int, flags: bytes) -> bool:
        """The SECOND compared. False: it was not asked by this part. Raises MirrorProtocolError."""
        if number <= FIRST_NUMBER:
            return False
        look = self._expected(number, Stage.PEER)
        if look is None:
            return True
        as_zeros = look.hole and not look.exact and self._extended
        if len(flags) != (1 if as_zeros else look.blocks) or set(flags) - {0, 1}:
            raise MirrorProtocolError(f"the peer answers the comparison {number} of other blocks")
        if as_zeros and flags[0]:
            self._look_closely(look)
        elif look.locked:
            self._decided(look, differs=bool(flags[0]))
        else:
            suspects = [look.first + at for at, flag in enumerate(flags) if flag]
            self._suspects.extend(suspects)
            self._compared_blocks += look.blocks - len(suspects)
            self._release(look)
        return True

    def _expected(self, number: int, stage: Stage) -> Look | None:
        """The look that an answer of the SECOND is for; None when it is over. Raises MirrorProtocolError."""
        look = self._looks.get(number)
        if number > self._number or (look is not None and (look.stage is not stage or not look.on_peer)):
            raise MirrorProtocolError(f"the peer answers a comparison {number} that it was not asked for")
        return look

    def _release(self, look: Look) -> None:
        del self._looks[look.number]
        if look.locked:
            self._rechecking -= 1
            self._locks.ranges.discard(look.range)
            self._client().unblock()
        self.pump()

    def _disk_failed(self, error: str) -> None:
        self._desk.disk_failed(error, full=False)
        self.end(f"the disk of this node failed: {error}")

    # ---- what really differs -----------------------------------------------------------------------------

    def _decided(self, look: Look, *, differs: bool) -> None:
        again = look.first in self._unrepaired  # it was being repaired when the nodes were apart for a moment
        if not again:
            self._compared_blocks += 1
        if not differs:
            if again:
                self._unrepaired.discard(look.first)
                self._repaired_bytes += look.length_bytes
            self._release(look)
            return
        if not again:
            self._differing_blocks += 1
            if len(self._differing) < MAX_DIFFERENCES:
                self._differing.append(look.first)
        if self._repair is not Repair.NO:
            self._unrepaired.add(look.first)
        if self._repair is Repair.NO or self._not_kept:
            self._release(look)
        elif self._repair is Repair.FROM_PRIMARY:
            self._ask_peer(look, Stage.KEEPING, Keep(look.number, look.offset_bytes, look.length_bytes))
        else:
            ticket = self._ask_disk(look, Stage.KEEPING)
            self._desk.effects.append(KeepOld(ticket, look.offset_bytes, look.length_bytes))

    def kept(self, ticket: int, error: str | None) -> bool:
        """This node kept its old content durably, or could not. False: it was not asked by this part."""
        found, look = self._answered(ticket)
        if look is None:
            return found
        if not self._could_keep(look, error or ""):
            return True
        self._ask_peer(look, Stage.CONTENT, Fetch(look.number, look.offset_bytes, look.length_bytes))
        return True

    def peer_kept(self, frame: Kept) -> None:
        """The SECOND kept its old content durably, or could not. Raises MirrorProtocolError."""
        look = self._expected(frame.op, Stage.KEEPING)
        if look is not None and self._could_keep(look, frame.reason):
            ticket = self._ask_disk(look, Stage.CONTENT)
            self._desk.effects.append(ReadLocal(ticket, look.offset_bytes, look.length_bytes, hole_ok=True))

    def _could_keep(self, look: Look, reason: str) -> bool:
        """Promise 7: what could not be kept is not overwritten, and nothing else is any more."""
        if reason:
            self._not_kept = reason
            self._release(look)
        return not reason

    def read(self, ticket: int, data: Buffer | None, error: str | None) -> bool:
        """This node's disk gave the right content. False: it was not asked by this part."""
        found, look = self._answered(ticket)
        if look is None:
            return found
        if error is not None:
            self._disk_failed(error)
        else:
            self._write(look, data)
        return True

    def fetched(self, frame: Fetched) -> None:
        """The SECOND gave the right content. Raises MirrorProtocolError."""
        look = self._expected(frame.op, Stage.CONTENT)
        if look is None:
            return
        if (frame.offset_bytes, len(frame.data)) != (look.offset_bytes, look.length_bytes):
            raise MirrorProtocolError(f"the peer sends other content than was asked for in {frame.op}")
        self._write(look, bytes(frame.data))

    def _write(self, look: Look, data: Buffer | None) -> None:
        look.stage, look.on_peer, look.since_s = Stage.REPAIR, False, self._desk.now_s
        zeros = data is None or bytes(data).count(0) == look.length_bytes
        self._client().repair(
            look.offset_bytes,
            look.length_bytes,
            None if zeros else data,
            lambda error: self._repaired(look, error),
        )

    def _repaired(self, look: Look, error: int) -> None:
        if self._looks.get(look.number) is not look:
            return
        if not error:
            self._unrepaired.discard(look.first)
            self._repaired_bytes += look.length_bytes
        self._release(look)

    # ---- looking -----------------------------------------------------------------------------------------

    def _since_s(self, *, on_peer: bool) -> float | None:
        """Since when the oldest lock waits for one of the nodes; a repair is watched as the write that it is."""
        if not self._looks:
            return None
        waiting = (Stage.WRITES, Stage.REPAIR)
        return min(
            (
                look.since_s
                for look in self._looks.values()
                if look.locked and look.on_peer is on_peer and look.stage not in waiting
            ),
            default=None,
        )

    @property
    def peer_since_s(self) -> float | None:
        """When the oldest question under a lock was asked that the SECOND did not answer."""
        return self._since_s(on_peer=True)

    @property
    def local_since_s(self) -> float | None:
        """When the oldest question under a lock was asked that this node's disk did not answer."""
        return self._since_s(on_peer=False)

    def report(self, now_s: float) -> VerifyReport:
        """What was found so far."""
        compared = self._compared_blocks * BLOCK_BYTES
        open_blocks = [look.first for look in self._looks.values()]
        open_blocks += [*self._suspects, *(first for first, _ in self._again), self._next]
        return VerifyReport(
            position_bytes=min(open_blocks) * BLOCK_BYTES,
            compared_bytes=compared,
            total_bytes=(self._blocks - self._first) * BLOCK_BYTES,
            rechecked_blocks=self._rechecked_blocks,
            differing_bytes=self._differing_blocks * BLOCK_BYTES,
            differences=joined(self._differing),
            repaired_bytes=self._repaired_bytes,
            not_kept=self._not_kept,
            rate_bytes_s=self._rate.look(now_s, compared)[0] if self.running else 0.0,
        )


def joined(blocks: list[int]) -> tuple[tuple[int, int], ...]:
    """Blocks as ranges of bytes (offset, length), ascending, neighbours in one."""
    ranges: list[tuple[int, int]] = []
    for block in sorted(blocks):
        offset = block * BLOCK_BYTES
        if ranges and sum(ranges[-1]) == offset:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + BLOCK_BYTES)
        else:
            ranges.append((offset, BLOCK_BYTES))
    return tuple(ranges)
