"""What the mirror (the data path of one module) asks its shell to do. Performed strictly in order.

Only frames may overtake: those of one `take` may all be sent, in their order, before its other effects are performed.

Effects that reach a disk name a `lane` in their meaning: `LocalWrite`/`LocalDiscard` run in order on the data file;
`SyncLog` runs in order on the log lane; `LocalFlush` on the flush lane; `ReadLocal`, `DigestLocal`, `KeepOld` and
`RescueOld` anywhere. Each is answered by the mirror method named in its docstring.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .frames import Buffer, DataFrame


class SendFrame(NamedTuple):
    """Hand this frame to the stream. Its buffers stay unchanged until the frame's write is completed."""

    frame: DataFrame


class LocalWrite(NamedTuple):
    """Write to the data file. -> `local_done(ticket, error, full)`"""

    ticket: int
    offset_bytes: int
    data: Buffer


class LocalDiscard(NamedTuple):
    """Make a range of the data file read as zeros, freeing space where possible. -> `local_done`"""

    ticket: int
    offset_bytes: int
    length_bytes: int


class LocalFlush(NamedTuple):
    """fdatasync of the data file, after every LocalWrite handed out before. -> `flush_done(ticket, error, full)`"""

    ticket: int


class ReadLocal(NamedTuple):
    """Read the data file. -> `read_done(ticket, data | None, error)`; data None: the whole range is a hole.

    `hole_ok`: None may be answered (resync); otherwise zeros are. With `hole_ok`, a range longer than
    `frames.MAX_DATA_BYTES` is only asked whether it is a hole: answer None if it is, else b"" without reading.
    """

    ticket: int
    offset_bytes: int
    length_bytes: int
    hole_ok: bool = False


class DigestLocal(NamedTuple):
    """Digest the blocks of a range of the data file. -> `digest_done(ticket, digests | None, error)`

    `digests` as `mirror_digests.digests_of` makes them; None: the whole range is a hole. A range longer than
    `frames.MAX_DATA_BYTES` is only asked whether it is a hole: answer None if it is, else b"" without reading.
    """

    ticket: int
    offset_bytes: int
    length_bytes: int
    key: bytes = b""


class KeepOld(NamedTuple):
    """Copy a range of the data file durably to where overwritten content is kept. -> `keep_done(ticket, error)`"""

    ticket: int
    offset_bytes: int
    length_bytes: int


class RescueOld(NamedTuple):
    """Copy a range of the data file durably into the present rescue, holes as holes. -> `rescue_done(ticket, error)`

    Many may be handed out before the first is answered: those that wait become durable together.
    """

    ticket: int
    offset_bytes: int
    length_bytes: int


class VerifyEnded(NamedTuple):
    """Tell whoever wanted the comparison: it is over. `reason`: why before its end, empty when all was compared."""

    reason: str
    report: Any


class SyncLog(NamedTuple):
    """Durably add and remove extents (numbers of 4 MiB extents). -> `log_done(ticket, error, full)`

    `add` and `remove` are one transaction; they never have a member in common.
    `bits`: pages (page number, content) of the bitmap that must be durable BEFORE the extents are removed.
    """

    ticket: int
    add: tuple[int, ...]
    remove: tuple[int, ...]
    bits: tuple[tuple[int, bytes], ...] = ()


class Complete(NamedTuple):
    """Answer a request of the export: `error` is an errno or 0, `data` the content for reads.

    A write that fails may be answered while a LocalWrite or a frame with its buffer is still under way: after
    an error the shell lets that buffer go, but never uses it for anything else.
    """

    tag: int
    error: int = 0
    data: Buffer | None = None


class Tell(NamedTuple):
    """Tell the machine this event (one of the mirror's part of `events`)."""

    event: Any


Effect = (
    SendFrame | LocalWrite | LocalDiscard | LocalFlush | ReadLocal | DigestLocal | KeepOld | SyncLog | Complete | Tell
    | RescueOld | VerifyEnded
)  # fmt: skip
