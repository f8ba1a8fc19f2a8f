"""What the parts of the mirror share: values, limits, and the desk from which effects are taken."""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable
from typing import NamedTuple

from .activity import Activity, Extent
from .effects import Effect, SendFrame, Tell
from .events import DiskFailed
from .frames import Buffer, DataFrame, PeerDiskFailed
from .requests import Op

SECTOR_BYTES = 512
NEED_LOCAL = 1
NEED_PEER = 2
NEED_FLUSH = 4
NEVER_S = float("-inf")
ALWAYS_S = float("inf")


class MirrorProtocolError(Exception):
    """The peer's worker sent a frame that the protocol forbids; the connection must be closed."""


class Part(enum.IntEnum):
    """This node's part in the session."""

    NONE = 0
    PRIMARY = 1
    SECONDARY = 2


# Members of an enum are looked up slowly by their class (Python 3.11): these are asked for with every write.
PRIMARY, SECONDARY = Part.PRIMARY, Part.SECONDARY


class ResyncSettings(NamedTuple):
    """How a resync behaves.

    Args:
        max_bytes_in_flight: content read and sent but not confirmed yet.
        rate_limit_bytes_s: most content read a second, or None.
        busy_requests: with more of the client's requests than this under way, one copy is under way at most.
        max_ops: copies under way, holes included.
        yield_bytes_in_flight: most content in flight, and its largest piece, while the client has requests: a write waits
            behind all that was sent before it.
        yield_s: for how long after the client's last request that goes on.
        different_bytes: after so much in a row in which comparing found nothing equal (the other node is blank, or has been
            away for long), comparing is given up
        blind_bytes: for so much, which is sent at once; then it is tried again.
    """

    max_bytes_in_flight: int = 8 * 1024 * 1024
    rate_limit_bytes_s: int | None = None
    busy_requests: int = 4
    max_ops: int = 32
    yield_bytes_in_flight: int = 128 * 1024
    yield_s: float = 0.1
    different_bytes: int = 16 * 1024 * 1024
    blind_bytes: int = 256 * 1024 * 1024


class Progress(NamedTuple):
    """How far a resync is. All zeros when there is none.

    Args:
        left_bytes: still to be copied or compared.
        total_bytes: what there was at its beginning.
        copied_bytes: done, whether it had to be sent or was found equal.
        sent_bytes: content that travelled.
        rate_bytes_s: of `copied_bytes`, over the last seconds.
        eta_s: at that rate, or None.
        losing_ground: it runs, but nothing gets less.
    """

    left_bytes: int
    total_bytes: int
    copied_bytes: int
    sent_bytes: int
    rate_bytes_s: float
    eta_s: float | None
    losing_ground: bool


class Split:
    """A request that is made in several pieces: answered when the last of them is."""

    __slots__ = ("error", "left", "tag")

    def __init__(self, tag: int, left: int) -> None:
        self.tag = tag
        self.left = left
        self.error = 0


class Pending:
    """One request of the client (or one piece of it) on its way.

    `need` are the confirmations that it still waits for (`NEED_...`), `issued_s` and `sent_s` when it went to this
    node's disk and to the peer. `settled`: no node can still be changed by it. `repaired`: it is a repair of ours under
    a lock of ours, and who is told its errno or 0.
    """

    __slots__ = (
        "answered", "data", "extents", "fua", "issued_s", "length_bytes", "need", "offset_bytes", "op", "repaired",
        "sent_s", "seq", "settled", "split", "tag",
    )  # fmt: skip

    def __init__(
        self, tag: int, op: Op, offset_bytes: int, length_bytes: int, data: Buffer | None, fua: bool
    ) -> None:
        self.tag = tag
        self.op = op
        self.offset_bytes = offset_bytes
        self.length_bytes = length_bytes
        self.data = data
        self.fua = fua
        self.need = 0
        self.seq = 0
        self.extents: tuple[Extent, ...] = ()
        self.issued_s = 0.0
        self.sent_s = 0.0
        self.split: Split | None = None
        self.answered = False
        self.settled = False
        self.repaired: Callable[[int], None] | None = None

    def overlaps(self, offset_bytes: int, end_bytes: int) -> bool:
        """Whether it touches the range up to (not including) `end_bytes`."""
        return self.offset_bytes < end_bytes and offset_bytes < self.offset_bytes + self.length_bytes


class Locks:
    """Ranges of the volume that are being copied; writes of the client to them wait."""

    __slots__ = ("ranges",)

    def __init__(self) -> None:
        self.ranges: set[tuple[int, int]] = set()

    def hit(self, offset_bytes: int, end_bytes: int) -> bool:
        """Whether the range touches a locked one."""
        return any(start < end_bytes and offset_bytes < end for start, end in self.ranges)


class Desk:
    """What all parts of one mirror work on. Args: see `Mirror`.

    `in_step`: as PRIM, both nodes hold the same content of every block that is not marked new or old, so that marks may
    go with a flush of both. `plan_holds`: whatever this node and the SECOND do not have in common since the marks of
    both were put together is still to be copied or will be sent again. `digest_key`: of this session's comparisons, see
    `mirror_digests`.
    """

    def __init__(self, activity: Activity, write_timeout_s: float) -> None:
        self.activity = activity
        self.size_bytes = activity.size_bytes
        self.write_timeout_s = write_timeout_s
        self.effects: list[Effect] = []
        self.now_s = 0.0
        self.part = Part.NONE
        self.seq = 0
        self.in_step = False
        self.plan_holds = False
        self.failure_told = False
        self.digest_key = b""
        self._ticket = 0

    def ticket(self) -> int:
        """A new number for an effect that is answered."""
        self._ticket += 1
        return self._ticket

    def send(self, frame: DataFrame) -> None:
        """Send a frame in the present session."""
        self.effects.append(SendFrame(frame))

    def tell(self, event: object) -> None:
        """Tell the machine."""
        self.effects.append(Tell(event))

    def disk_failed(self, reason: str, *, full: bool) -> None:
        """This node's disk failed: the nodes are not in step any more. Told once until the disk works again."""
        self.in_step = self.plan_holds = False
        if self.failure_told:
            return
        self.failure_told = True
        self.tell(DiskFailed(reason, full))
        if self.part is Part.SECONDARY:
            self.send(PeerDiskFailed(reason))


def errno_of(*, full: bool) -> int:
    """What the VM is told of a failed disk."""
    return errno.ENOSPC if full else errno.EIO
