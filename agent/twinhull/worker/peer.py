"""The worker's stream to the peer's worker: one live connection at a time, over whichever network carries it.

The first node of the cluster connects, the other listens; the connecting side walks through the networks in their order of
preference and moves on when one is silent. A newer connection replaces an older one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from twinhull.core import events
from twinhull.core.frames import DataFrame
from twinhull.transport.protocol import (
    StreamProtocol,
)
from twinhull.transport.stream import TlsStream

from .loop import Timer

Log = logging.LoggerAdapter[logging.Logger]


@dataclass(frozen=True, slots=True)
class Path:
    """One way to the peer: a network with both ends' addresses."""

    network: str
    local_address: str
    peer_address: str


class Receiver(Protocol):
    """Who is told what arrives."""

    def event(self, event: events.Event) -> None:
        """Something for the machine."""

    def frame(self, frame: DataFrame) -> None:
        """A data frame of the present session, for the mirror. Raises when the peer must not have sent it."""


@dataclass
class _Connection:
    number: int
    path: Path | None
    stream: TlsStream
    protocol: StreamProtocol
    opened: bool = False
    heard_s: float = 0.0
    deadline: Timer | None = None
    watching_writes: bool = False
