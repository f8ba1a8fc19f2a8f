"""The one interface of every export: how the primary's host sees the volume as a disk.

An export is driven by the worker's loop: it has file descriptors to wait on, hands over requests without
waiting for their completion, and takes the answers in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twinhull.core.requests import Op, Request

__all__ = ["Export", "Op", "Request"]


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
