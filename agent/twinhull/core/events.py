"""What a module's state machine is told. The worker makes these; every one is handled with `now_s`,
a monotonic time in seconds that counts suspend.
"""

from __future__ import annotations

from typing import NamedTuple

from .identity import Id
from .memory import Seen
from .messages import Message
from .record import Record
from .rescue import RescueKind
from .settings import StopMode

# ---- the operator and the agent --------------------------------------------------------------------


class Start(NamedTuple):
    """Start the module. `as_primary` is the override that a person asked for by name.

    `without_witness`, beside it: also if a witness with a memory cannot be asked to take its record.
    """

    as_primary: bool = False
    without_witness: bool = False


class Stop(NamedTuple):
    """Stop the module on this node; on the PRIM this fails over to the SECOND at once. `reason` is told to people."""

    forced: bool = False
    reason: str = "a person stopped it"


class Restart(NamedTuple):
    """Restart the resource in place."""


class StopStart(NamedTuple):
    """Stop the module here (failing over), then start it again as SECOND."""


class Swap(NamedTuple):
    """Exchange the roles without losing the pair; valid on either node."""

    mode: StopMode = StopMode.STOP


class Abandon(NamedTuple):
    """Give up a swap that is still waiting for the guest."""


class WitnessReset(NamedTuple):
    """A person says that the witness with a memory, as it is now, is the right one. Only where the module runs."""


class WindowOpen(NamedTuple):
    """The maintenance window for going home opened or closed."""

    open: bool


class CheckersSuspended(NamedTuple):
    """A person suspended or resumed the checkers."""

    suspended: bool


class AgentLink(NamedTuple):
    """The connection to this node's own agent came up or went down (down: this worker is deaf)."""

    up: bool


# ---- the peer --------------------------------------------------------------------------------------


class StreamUp(NamedTuple):
    """A data stream to the authenticated peer stands; nothing was exchanged on it yet.

    `connection` numbers the connections of this process; messages and `StreamDown` repeat it.
    """

    connection: int


class StreamDown(NamedTuple):
    """That connection is gone, and everything that had arrived on it was handed over before."""

    connection: int
    reason: str


class Received(NamedTuple):
    """A control message of the peer's machine."""

    connection: int
    message: Message


class Heartbeat(NamedTuple):
    """A sign of life of the peer's worker, authenticated and not replayed, over the stream or an agent.

    Args:
        process: the peer's worker process.
        counter: the peer's moving sign of life.
        echo: the newest counter of ours that the peer had seen, and `echo_process` whose it was.
        session: the session that the peer is in, or None.
    """

    process: Id
    counter: int
    echo_process: Id | None
    echo: int
    session: Id | None
    state: str


class Heard(NamedTuple):
    """A tick, and a data frame of the present session arrived since the one before.

    It ends silence; it never renews a lease, because it may answer something sent long ago.
    """


class Told(NamedTuple):
    """A message of the peer's machine that came through the agents (`actions.TellPeer`), without a stream."""

    message: Message


class PeerWorkerDead(NamedTuple):
    """The peer's agent says: this worker process is dead and its resource confirmed off."""

    process: Id
    session: Id | None


class PeerAgentHeard(NamedTuple):
    """The peer's agent is heard, whatever its worker does (`worker` False: no worker process runs)."""

    worker: bool


# ---- the clock -------------------------------------------------------------------------------------


class Tick(NamedTuple):
    """Time passed. Comes every T/20 (`Heard` may take its place), never later than T/5 after the last event.

    The shell has read everything that had arrived before it, unless it has only just woken (the machine
    notices the gap itself).
    """


class InputDrained(NamedTuple):
    """Answer to `actions.DrainInput`: everything that had arrived by now was handed over."""

    token: int


# ---- answers to actions ----------------------------------------------------------------------------


class WitnessAnswer(NamedTuple):
    """The witness answered question `question`."""

    question: int
    granted: bool
    detail: str = ""


class WitnessRead(NamedTuple):
    """Answer to `actions.ReadWitness`. `seen` None: it could not be read; `detail` says why, for people."""

    request: int
    seen: Seen | None
    detail: str = ""


class WitnessWritten(NamedTuple):
    """Answer to `actions.WriteWitness`.

    Args:
        done: the transaction succeeded; only then, and then always, `seen` is what was written.
        seen: not done: the record as the transaction found it. None: the outcome is not known.
    """

    request: int
    done: bool
    seen: Seen | None
    detail: str = ""


class Attached(NamedTuple):
    """The folder is mounted here; its file system's journal was replayed."""


class AttachFailed(NamedTuple):
    reason: str


class Detached(NamedTuple):
    """The folder is not mounted here any more and the device is gone."""


class DetachFailed(NamedTuple):
    reason: str


class ResourceStarted(NamedTuple):
    """The resource runs."""


class ResourceStartFailed(NamedTuple):
    reason: str


class ResourceStopped(NamedTuple):
    """The resource is off (or saved); nothing of it writes any more."""

    saved: bool = False


class ResourceStopFailed(NamedTuple):
    """It did not stop in its time; it still runs."""

    reason: str


class ResourceDied(NamedTuple):
    """It stopped by itself (crash, or a shutdown from inside). `move`: to the other node, as its checker is set."""

    reason: str
    clean: bool = False
    move: bool = False


class CheckerFailed(NamedTuple):
    """A checker found the resource ill. `action` is `restart` or `stopstart`."""

    checker: str
    action: str
    reason: str


# ---- the mirror ------------------------------------------------------------------------------------


class PeerMarksComplete(NamedTuple):
    """PRIM: all marks of the SECOND arrived and are part of what is to be copied.

    `left_bytes` is the size of the union.
    """

    left_bytes: int


class CopyDone(NamedTuple):
    """PRIM: nothing is left to copy."""


class CopyFlushedBoth(NamedTuple):
    """PRIM: both disks flushed after the copy of `epoch`."""

    epoch: int


class Quiesced(NamedTuple):
    """Answer to `actions.Quiesce`: nothing in flight, both disks flushed, no marks left (as PRIM green)."""


class SessionEnded(NamedTuple):
    """Answer to `actions.EndSession`: every write of the old session was applied or dropped.

    `marks`: whether anything is marked as "may differ" on this node now (True when in doubt).
    """

    marks: bool = True


class PeerWriteTimeout(NamedTuple):
    """A write or flush stayed unanswered by the SECOND for `write_timeout_s`."""


class LocalWriteTimeout(NamedTuple):
    """A write or flush stayed unanswered by this node's disk for `write_timeout_s`."""


class DiskFailed(NamedTuple):
    """This node's disk failed a data, log, bitmap or metadata operation; `full`: no space left.

    `record`: it was the record of a batch that could not be made durable (an error, or no answer within
    `write_timeout_s`); the rest of that batch and every batch behind it was dropped. `durable` is the record that
    counts then: the last one that was confirmed.
    """

    reason: str
    full: bool = False
    record: bool = False
    durable: Record | None = None


class RescueFailed(NamedTuple):
    """SECOND: what is about to be overwritten cannot be kept; nothing is overwritten before it is decided what to do."""

    reason: str


class RescueOpened(NamedTuple):
    """SECOND: the rescue that this copy goes on with; its kind is that of its begin."""

    kind: RescueKind


class RescueRoom(NamedTuple):
    """Whether a rescue could be begun on this node now; `trouble`: why not, empty when it could."""

    trouble: str


class PeerDisk(NamedTuple):
    """The peer told that its disk failed."""

    reason: str


Event = (
    Start | Stop | Restart | StopStart | Swap | Abandon | WindowOpen | CheckersSuspended | AgentLink
    | StreamUp | StreamDown | Received | Heartbeat | Heard | Told | PeerWorkerDead | PeerAgentHeard
    | Tick | InputDrained | WitnessAnswer | WitnessRead | WitnessWritten | WitnessReset
    | Attached | AttachFailed | Detached | DetachFailed
    | ResourceStarted | ResourceStartFailed | ResourceStopped | ResourceStopFailed | ResourceDied
    | CheckerFailed
    | PeerMarksComplete | CopyDone | CopyFlushedBoth | Quiesced | SessionEnded
    | PeerWriteTimeout | LocalWriteTimeout | DiskFailed | PeerDisk | RescueFailed | RescueOpened
    | RescueRoom
)  # fmt: skip
