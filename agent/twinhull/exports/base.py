"""The one interface of every export: how the primary's host sees the volume as a disk.

An export is driven by the worker's loop: it has file descriptors to wait on, hands over requests without
waiting for their completion, and takes the answers in any order.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Op(enum.IntEnum):
    """What a request wants. ZERO is a write of zeros that need not free space; DISCARD may."""

    READ = 0
    WRITE = 1
    FLUSH = 2
    DISCARD = 3


class Request(NamedTuple):
    """One request of the host's block layer.

    `data` of a write belongs to the receiver until `reply` was called for `tag`: it never changes under
    it. `fua`: durable before it is answered.
    """

    tag: int
    op: Op
    offset_bytes: int
    length_bytes: int
    data: memoryview | bytes | None = None
    fua: bool = False


class Export(Protocol):
    """A volume seen as a disk by this host."""

    def fileno(self) -> int:
        """What the loop waits on for reading."""

    def receive(self) -> Sequence[Request]:
        """Every request that can be had without waiting (protocol chores are answered inside)."""

    def reply(self, tag: int, error: int = 0, data: bytes | memoryview | None = None) -> None:
        """Complete a request: `error` is a positive errno or 0; `data` for reads."""

    def close(self) -> None:
        """Take the export away at once; unanswered requests fail at the host."""
