"""The data frames of the stream between two workers, as values. `transport` gives them their bytes.

Every frame travels inside one session of one module; the session, the generation and the module are in
the header that transport writes, so they are not repeated here. Frames are delivered in order.

`data` is any bytes-like object. Whoever receives a frame may use it until it has performed the effects that the
mirror hands out next; the mirror copies what it keeps longer.
"""

from __future__ import annotations

from typing import NamedTuple

Buffer = bytes | bytearray | memoryview

MAX_DATA_BYTES = 1024 * 1024
"""Most data that one frame carries; the mirror splits longer writes."""


class Write(NamedTuple):
    """PRIM to SECOND: a write of the resource, at most `MAX_DATA_BYTES`. Applied in order of `seq`.

    Writes, discards and flushes of a session are numbered 1, 2, 3, ... without gaps.
    """

    seq: int
    offset_bytes: int
    data: Buffer


class Discard(NamedTuple):
    """PRIM to SECOND: a range that reads as zeros from now on. Applied in order of `seq`."""

    seq: int
    offset_bytes: int
    length_bytes: int


class Flush(NamedTuple):
    """PRIM to SECOND: make everything up to `seq` durable, then answer `Flushed`."""

    seq: int


class Ack(NamedTuple):
    """SECOND to PRIM: every write and discard up to and including `seq` is held. Cumulative."""

    seq: int


class Flushed(NamedTuple):
    """SECOND to PRIM: the flush with this `seq` is durable."""

    seq: int


class Clear(NamedTuple):
    """PRIM to SECOND: the flush `seq` is durable on both sides; marks older than it may go."""

    seq: int


class Marks(NamedTuple):
    """SECOND to PRIM after a session began: one page of blocks that may differ.

    `page` counts pages of `marks.PAGE_BLOCKS` blocks; `bits` is the page's bitmap, or empty when every
    block of the page is marked.
    """

    page: int
    bits: bytes


class MarksEnd(NamedTuple):
    """SECOND to PRIM: all marks were sent."""


class Copy(NamedTuple):
    """PRIM to SECOND: content of a locked range of blocks (resync)."""

    op: int
    offset_bytes: int
    data: Buffer


class CopyZero(NamedTuple):
    """PRIM to SECOND: a locked range that is all zeros on the source (resync)."""

    op: int
    offset_bytes: int
    length_bytes: int


class CopyAck(NamedTuple):
    """SECOND to PRIM: the copy `op` is held."""

    op: int


class Digests(NamedTuple):
    """PRIM to SECOND: digests (16 bytes each, BLAKE2b) of consecutive 32 KiB blocks of a locked range."""

    op: int
    offset_bytes: int
    digests: bytes


class Differ(NamedTuple):
    """SECOND to PRIM: which of the blocks of `Digests` differ, one byte (0 or 1) a block."""

    op: int
    flags: bytes


class CompareZero(NamedTuple):
    """PRIM to SECOND: nothing is here but zeros. Answered by `Differ` with one flag: is it so there? (version 2)"""

    op: int
    offset_bytes: int
    length_bytes: int


class Keep(NamedTuple):
    """PRIM to SECOND: keep your content of these blocks durably; it is about to be overwritten. (version 2)"""

    op: int
    offset_bytes: int
    length_bytes: int


class Kept(NamedTuple):
    """SECOND to PRIM: `Keep` was done, or why not: `reason`, one sentence. (version 2)"""

    op: int
    reason: str


class Fetch(NamedTuple):
    """PRIM to SECOND: send me your content of these blocks. (version 2)"""

    op: int
    offset_bytes: int
    length_bytes: int


class Fetched(NamedTuple):
    """SECOND to PRIM: the content that `Fetch` asked for. (version 2)"""

    op: int
    offset_bytes: int
    data: Buffer


class CopyFlush(NamedTuple):
    """PRIM to SECOND: the copy is complete; make everything durable, remember the marks as they are now."""

    epoch: int


class CopyFlushed(NamedTuple):
    """SECOND to PRIM: `CopyFlush` was done."""

    epoch: int


class PeerDiskFailed(NamedTuple):
    """Either way: the sender's disk failed; `reason` is one sentence."""

    reason: str


DataFrame = (
    Write | Discard | Flush | Ack | Flushed | Clear | Marks | MarksEnd | Copy | CopyZero | CopyAck
    | Digests | Differ | CompareZero | Keep | Kept | Fetch | Fetched | CopyFlush | CopyFlushed | PeerDiskFailed
)  # fmt: skip
