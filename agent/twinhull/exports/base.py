"""The one interface of every export: how the primary's host sees the volume as a disk.

An export is driven by the worker's loop: it has file descriptors to wait on, hands over requests without
waiting for their completion, and takes the answers in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from twinhull.core.requests import Op, Request

__all__ = ["Export", "NetworkDisk", "Op", "Request"]


class Export(Protocol):
    """A volume seen as a disk by this host."""

    def fileno(self) -> int:
        """What the loop waits on for reading; -1 where the export has the loop watch its sockets itself."""

    def receive(self) -> Sequence[Request]:
        """Every request that can be had without waiting (protocol chores are answered inside)."""

    def reply(self, tag: int, error: int = 0, data: bytes | memoryview | None = None) -> None:
        """Complete a request: `error` is a positive errno or 0; `data` for reads."""

    def close(self) -> None:
        """Take the export away at once; unanswered requests fail at the host."""


@runtime_checkable
class NetworkDisk(Export, Protocol):
    """An export that is a disk of its own to this host, which keeps talking to it through a hand-over."""

    @property
    def in_flight(self) -> int:
        """Requests handed out and not yet answered."""

    def discard_writes(self) -> None:
        """From here on nothing but reads reaches the volume, until `close`. There is no way back."""

    def tell_space(self, used_bytes: int, available_bytes: int, *, warn: bool = False) -> None:
        """Room that the volume takes and has left; `warn`: a threshold was passed."""
