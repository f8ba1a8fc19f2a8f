"""What a module's state machine asks for, in batches whose order is part of the type.

A `Batch` is performed in this order and no other: first `persist` is made durable (both the write and
its sync), then the messages of `send` are handed to the stream in order, then `apply` is performed in
order. Batches are performed one after the other; a later batch never overtakes an earlier one that waits
for its disk. If the record cannot be made durable (an error, or no answer within `write_timeout_s`), the
rest of its batch and every batch made before the machine heard of it are dropped (only what merely stops
something, such as `CloseIO`, may still be performed), and `events.DiskFailed(record=True)` is told; the
machine then asks anew for everything that must stop.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from .identity import Generation, Id
from .memory import WitnessRecord
from .messages import Message
from .record import Record
from .rescue import RescuePlan
from .settings import StopMode

# ---- the mirror (data path): performed by calling the method of the same meaning ---------------------


class OpenAlone(NamedTuple):
    """From here on the resource's I/O is served by this node alone."""


class HoldIO(NamedTuple):
    """Accept requests, answer none (reads too), until told otherwise."""


class CloseIO(NamedTuple):
    """Fail every held and every further request: the resource is (being) turned off."""


class FailUp(NamedTuple):
    """ALONE with a failed disk: errors of the disk go up to the VM instead of being held."""


class BeginSession(NamedTuple):
    """A session began. As PRIM (`primary`): serve I/O on both nodes; wait for the SECOND's marks.

    Args:
        session, generation: what every frame of the session carries.
        resend: the peer is the same process and kept what it had: send unacknowledged writes again.
        everything: the SECOND is blank or no bitmap reaches back: compare/copy the whole volume.
        serve: PRIM only: whether requests may be answered now (False until `ServeIO`).
        rescue: SECOND only: what is overwritten is kept first, in this rescue (or the one that is open already).
    """

    connection: int
    session: Id
    generation: Generation
    primary: bool
    resend: bool = False
    everything: bool = False
    serve: bool = True
    rescue: RescuePlan | None = None


class ServeIO(NamedTuple):
    """PRIM: requests may be completed from now on (the SECOND recorded itself, the lease permitting)."""


class StartCopy(NamedTuple):
    """PRIM: copy what is marked on either side."""


class EndCopyFlush(NamedTuple):
    """PRIM: nothing left to copy: flush both, remembering the marks as of now under `epoch`."""

    epoch: int


class FinishCopy(NamedTuple):
    """Both sides: clear the marks of what was not written since the flush of `EndCopyFlush` began."""


class EndRescue(NamedTuple):
    """SECOND: the copy is complete and recorded. A rescue of a plain resync is removed, others stay."""


class GiveUpRescue(NamedTuple):
    """SECOND: drop the present rescue durably; what waited for it goes on."""

    reason: str


class EndSession(NamedTuple):
    """The session is over: every write of it is applied or dropped, then `events.SessionEnded` is told.

    On the PRIM unanswered requests stay as they are (held), to be sent again or completed later.
    """


class Quiesce(NamedTuple):
    """Tell `events.Quiesced` once nothing is in flight and both disks flushed."""


class SetLease(NamedTuple):
    """Requests may be completed as PRIM until this time (seconds of the machine's clock)."""

    until_s: float


# ---- the stream --------------------------------------------------------------------------------------


class CloseStream(NamedTuple):
    """Close this connection; a new one is attempted by the shell."""

    connection: int
    reason: str


class TellPeer(NamedTuple):
    """Hand this message to the peer's machine through both agents (best effort) -> its `events.Told`."""

    message: Message


class DrainInput(NamedTuple):
    """Read everything that has arrived, hand it over, then tell `events.InputDrained` with this token."""

    token: int


# ---- the host ----------------------------------------------------------------------------------------


class Attach(NamedTuple):
    """Export the volume and mount the folder. `make`: a file system may be made, the volume is new."""

    make: bool = False


class Detach(NamedTuple):
    """Unmount and free the device; `forced`: whoever holds it loses it."""

    forced: bool = False


class StartResource(NamedTuple):
    """Start it; `resume`: from the saved state in the folder."""

    resume: bool = False


class StopResource(NamedTuple):
    """Stop it. `timeout_s` 0 means at once: this overtakes whatever the host is still doing for us.

    Answered also when it did not run.
    """

    mode: StopMode
    timeout_s: float


class SuspendResource(NamedTuple):
    """Pause the VM while I/O is held past T (best effort)."""


class ResumeResource(NamedTuple):
    """Let a suspended VM go on."""


class ArmCheckers(NamedTuple):
    """Checkers run (`armed`) or rest."""

    armed: bool


class AskWitness(NamedTuple):
    """Ask a witness without a memory; the answer names `question`. Answers to older questions are ignored."""

    question: int


class ReadWitness(NamedTuple):
    """Read this module's record from the witness with a memory, linearizably -> `events.WitnessRead`.

    Args:
        request: repeated in the answer; answers to older requests are ignored by the machine.
        timeout_s: answered after this time at the latest (as "no answer"), whatever the witness does.
        urgent: the VM waits for it: it must not wait behind one that is not.
    """

    request: int
    timeout_s: float
    urgent: bool


class WriteWitness(NamedTuple):
    """One transaction: if the key's mod revision is `key_revision` (0: no such key), write `record`.

    -> `events.WitnessWritten`. A request whose answer was given up may still be applied later.
    """

    request: int
    key_revision: int
    record: WitnessRecord
    timeout_s: float
    urgent: bool


# ---- people ------------------------------------------------------------------------------------------


class Level(enum.Enum):
    """How loud a sentence is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Say(NamedTuple):
    """One plain sentence with its reason, for log, status and console. `audit`: also to the audit log."""

    sentence: str
    level: Level = Level.INFO
    audit: bool = False


class Reply(NamedTuple):
    """Answer to the operator's command: `ok`, and a sentence."""

    command: str
    ok: bool
    sentence: str


Action = (
    OpenAlone | HoldIO | CloseIO | FailUp | BeginSession | ServeIO | StartCopy | EndCopyFlush | FinishCopy
    | EndRescue | GiveUpRescue | EndSession | Quiesce | SetLease | CloseStream | TellPeer | DrainInput
    | Attach | Detach | StartResource | StopResource | SuspendResource | ResumeResource | ArmCheckers
    | AskWitness | ReadWitness | WriteWitness | Say | Reply
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """Work in the order that must be kept: persist, then send, then apply."""

    persist: Record | None = None
    send: tuple[tuple[int, Message], ...] = ()
    apply: tuple[Action, ...] = ()
