"""The control messages between two machines, and their text form on the wire (JSON).

What one node sends is what the other reads: `decode(encode(m)) == m`. Unknown members are ignored, so that
a newer version may add some, with a default for who does not say them; unknown
kinds, missing members, wrong types and values out of bounds are
refused with `MessageError`.
"""

from __future__ import annotations

import functools
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .identity import ID_BYTES, MAX_PARENTS, Generation, Id

MAX_MESSAGE_BYTES = 65_536
MAX_TEXT_CHARS = 2_000
MAX_INTEGER = 2**63 - 1
MAX_SECONDS = 1e9


class MessageError(Exception):
    """The peer sent a message that cannot be read."""


class Hello(NamedTuple):
    """First on every connection, from both sides: everything the start rules look at.

    Sent again, with the next `number`, when any of it changed before a session began.

    Args:
        number: counts the hellos of this process.
        replica, peer_replica: this replica, and the one it was mirrored with last.
        running: this node runs the resource, or holds its I/O.
        survivor: it was green SECOND in a session that was lost, and its process has run on.
        session: the session that this process was in last, if it can be taken up again (it was green).
        marks: something is marked on this node as "may differ".
        witness: the kind of witness that is configured; `runs_under`: that is recorded (an older version tells none).
        heals: this node can heal a split brain by itself (not said by versions that cannot).
        rescues: a rescue could be begun on this node now.
        longest_s: the longest T that this node's host stands (an older version tells none).
    """

    process: Id
    number: int
    replica: Id
    peer_replica: Id | None
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
    marks: bool
    preferred: str | None
    timeout_s: float
    write_timeout_s: float
    witness: str
    keep: str
    running_ms: int
    runs_under: str | None = None
    heals: bool = False
    rescues: bool = False
    longest_s: float | None = None


class Begin(NamedTuple):
    """From the node that becomes (stays) PRIM: the session begins, on the facts of these two hellos.

    `mine` and `yours` are the numbers of the sender's and of the receiver's hello; the receiver drops a
    Begin that is not about the newest of both.
    """

    session: Id
    resend: bool
    mine: int
    yours: int


class Accept(NamedTuple):
    """From the node that becomes SECOND."""

    session: Id


class Ready(NamedTuple):
    """SECOND: it has recorded what it had to; `outdated`: that it is not uptodate."""

    session: Id
    outdated: bool


class Done(NamedTuple):
    """PRIM: the copy is complete, this is the generation to record."""

    session: Id
    generation: Generation


class Listed(NamedTuple):
    """PRIM: the witness with a memory lists both since this session; what was seen of it, to be recorded.

    Sent only by a PRIM that runs under such a witness, so that its peer knows this kind.
    """

    session: Id
    cluster: Id | None
    revision: int
    key_revision: int


class DoneConfirmed(NamedTuple):
    """SECOND: recorded."""

    session: Id


class HandOver(NamedTuple):
    """Giver: take the resource. The new session's id; the saved state if there is one."""

    session: Id
    saved: bool
    reason: str


class HandOverAccepted(NamedTuple):
    """Taker: recorded PRIM."""

    session: Id


class HandOverRefused(NamedTuple):
    """Taker: will not; the giver takes back."""

    session: Id
    reason: str


class SwapRequest(NamedTuple):
    """SECOND asks the PRIM to hand over (the operator's swap came in on the SECOND)."""

    mode: str


class SwapAnswer(NamedTuple):
    """PRIM: whether it hands over, or why the swap ended without one."""

    ok: bool
    reason: str


class Leave(NamedTuple):
    """SECOND leaves; its record (outdated) was confirmed durable before this was sent."""

    session: Id
    reason: str


class Gone(NamedTuple):
    """PRIM: its disk failed, it acknowledges nothing more in this session and its resource is off."""

    session: Id
    reason: str


class Heal(NamedTuple):
    """From the node that goes on after a split brain, on the facts of these two hellos: give way.

    `mine` and `yours` as in `Begin`. Sent only to a node that said `heals`.
    """

    mine: int
    yours: int
    reason: str


class HealAnswer(NamedTuple):
    """Whether it does; sent before anything is stopped. `reason`: why not."""

    ok: bool
    reason: str


class OutdateRequest(NamedTuple):
    """A node that runs (holding), or waits for a stopped peer, asks the peer to record itself outdated.

    Args:
        request: random, so that a late answer to another request changes nothing.
        process: the process that is asked; another one ignores it.
        session: the session that the sender lost, or None when the peer is stopped.
        generation: the sender's; the peer's must be the same or an ancestor.
    """

    request: Id
    process: Id
    session: Id | None
    generation: Generation


class OutdateAnswer(NamedTuple):
    """Whether it did: `done` is sent only after the record was confirmed durable."""

    request: Id
    done: bool
    reason: str


Message = (
    Hello | Begin | Accept | Ready | Done | Listed | DoneConfirmed | HandOver | HandOverAccepted | HandOverRefused
    | SwapRequest | SwapAnswer | Leave | Gone | OutdateRequest | OutdateAnswer | Heal | HealAnswer
)  # fmt: skip

KINDS: Mapping[str, type[Message]] = {kind.__name__: kind for kind in typing.get_args(Message)}


def encode(message: Message) -> bytes:
    """The message as one JSON object with its `kind`, UTF-8."""
    members = {name: _plain(value) for name, value in message._asdict().items()}
    return json.dumps({"kind": type(message).__name__, **members}, separators=(",", ":")).encode()


def decode(data: bytes) -> Message:
    """The message that `encode` wrote. Raises MessageError."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError(f"The message has {len(data)} bytes; at most {MAX_MESSAGE_BYTES} are read.")
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"The message is not JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise MessageError("The message is not a JSON object.")
    kind = parsed.get("kind")
    shape = KINDS.get(kind) if isinstance(kind, str) else None
    if shape is None:
        raise MessageError(f"The message is of an unknown kind {str(kind)[:40]!r}.")
    optional = shape._field_defaults
    return shape(
        **{
            name: _member(kind, name, hint, parsed)
            for name, hint in _members_of(str(kind)).items()
            if name in parsed or name not in optional
        }
    )


@functools.cache
def _members_of(kind: str) -> Mapping[str, Any]:
    """Names and types of what a message of this kind carries."""
    return typing.get_type_hints(KINDS[kind])


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Generation):
        return {"id": value.id.hex(), "parents": [parent.hex() for parent in value.parents]}
    return value


def _member(kind: object, name: str, hint: Any, parsed: Mapping[str, Any]) -> Any:
    if name not in parsed:
        raise MessageError(f"The message {kind} lacks {name!r}.")
    value = parsed[name]
    parts = typing.get_args(hint)
    if types.NoneType in parts:  # a union with None: of a class (types.UnionType) or of Id (typing.Optional)
        if value is None:
            return None
        hint = next(part for part in parts if part is not types.NoneType)
    try:
        return _READERS[hint](value)
    except (TypeError, ValueError) as error:
        raise MessageError(f"The message {kind} has a wrong {name!r}: {error}.") from error


def _identity(value: Any) -> Id:
    if not isinstance(value, str) or len(value) != 2 * ID_BYTES:
        raise TypeError("not an id")
    return Id(bytes.fromhex(value))


def _generation(value: Any) -> Generation:
    if not isinstance(value, dict) or not isinstance(parents := value.get("parents"), list):
        raise TypeError("not a generation")
    if len(parents) > MAX_PARENTS:
        raise ValueError(f"more than {MAX_PARENTS} parents")
    return Generation(_identity(value.get("id")), tuple(_identity(parent) for parent in parents))


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not true or false")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER:
        raise TypeError("not a whole number within bounds")
    return value


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError("not a number")
    if not math.isfinite(value) or not 0 < value <= MAX_SECONDS:
        raise ValueError("not a time within bounds")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS:
        raise TypeError(f"not a text of at most {MAX_TEXT_CHARS} characters")
    return value


_READERS: Mapping[Any, Callable[[Any], Any]] = {
    Id: _identity,
    Generation: _generation,
    bool: _boolean,
    int: _integer,
    float: _seconds,
    str: _text,
}
