"""The control messages between two machines, and their text form on the wire (JSON).

What one node sends is what the other reads: `decode(encode(m)) == m`. Unknown members are ignored, so that
a newer version may add some; unknown kinds and wrong types are refused with `MessageError`.
"""

from __future__ import annotations

from typing import NamedTuple

from .identity import Generation, Id


class MessageError(Exception):
    """The peer sent a message that cannot be read."""


class Hello(NamedTuple):
    """First on every connection, from both sides: everything the start rules look at."""

    process: Id
    replica: Id
    volume: Id | None
    size_bytes: int
    generation: Generation | None
    uptodate: bool
    peer_may_be_uptodate: bool
    role: str
    state: str
    running: bool
    survivor: bool
    session: Id | None
    preferred: str | None
    timeout_s: float
    write_timeout_s: float
    witness: str
    keep: str
    running_ms: int


class Begin(NamedTuple):
    """From the node that becomes (stays) PRIM: the session begins, on the facts of the two hellos."""

    session: Id
    resend: bool


class Accept(NamedTuple):
    """From the node that becomes SECOND."""

    session: Id


class Ready(NamedTuple):
    """SECOND: it has recorded what it had to; `outdated`: that it is not uptodate."""

    outdated: bool


class Done(NamedTuple):
    """PRIM: the copy is complete, this is the generation to record."""

    generation: Generation


class DoneConfirmed(NamedTuple):
    """SECOND: recorded."""


class HandOver(NamedTuple):
    """Giver: take the resource. The new session's id; the saved state if there is one."""

    session: Id
    saved: bool


class HandOverAccepted(NamedTuple):
    """Taker: recorded PRIM."""

    session: Id


class HandOverRefused(NamedTuple):
    """Taker: will not; the giver takes back."""

    reason: str


class SwapRequest(NamedTuple):
    """SECOND asks the PRIM to hand over (the operator's swap came in on the SECOND)."""

    mode: str


class Leave(NamedTuple):
    """SECOND leaves; its record (outdated) was confirmed durable before this was sent."""

    reason: str


class OutdateRequest(NamedTuple):
    """A running or waiting node asks a stopped module to record itself outdated."""

    generation: Generation


class OutdateAnswer(NamedTuple):
    """Whether it did."""

    done: bool
    reason: str


Message = (
    Hello | Begin | Accept | Ready | Done | DoneConfirmed | HandOver | HandOverAccepted | HandOverRefused
    | SwapRequest | Leave | OutdateRequest | OutdateAnswer
)  # fmt: skip


def encode(message: Message) -> bytes:
    """The message as one JSON object with its `kind`, UTF-8."""
    raise NotImplementedError


def decode(data: bytes) -> Message:
    """The message that `encode` wrote. Raises MessageError."""
    raise NotImplementedError
