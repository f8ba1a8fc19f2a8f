"""What a module's machine knows: the durable record, and the volatile facts beside it.

Only facts and the way batches are put together live here; what follows from the facts is decided in
the other files of the machine, one concern each.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import actions
from .actions import Action, Batch, Level
from .identity import Generation, Id
from .memory import Seen
from .messages import Begin, Hello, Message, OutdateRequest
from .record import Record, WitnessKind
from .rescue import RescueKind
from .settings import ModuleSettings, StopMode


class Mode(enum.Enum):
    """The state of DESIGN.md section 3, finer where a state is in the middle of something."""

    STOP = "STOP"
    WAIT = "WAIT"
    ALONE = "ALONE"
    PRIM = "PRIM"
    HOLD = "HOLD"  # PRIM that lost its SECOND: holds I/O until it is settled who goes on
    SECOND = "SECOND"  # with or without a session
    ASKING = "ASKING"  # SECOND that lost its PRIM and is about to take over
    GIVING = "GIVING"  # handed over, the taker has not answered


SHOWN: dict[Mode, str] = {
    Mode.STOP: "STOP",
    Mode.WAIT: "WAIT",
    Mode.ALONE: "ALONE",
    Mode.PRIM: "PRIM",
    Mode.HOLD: "PRIM",
    Mode.SECOND: "SECOND",
    Mode.ASKING: "SECOND",
    Mode.GIVING: "SECOND",
}


class Phase(enum.Enum):
    """How far a session is; the SECOND knows only COPYING and GREEN."""

    BEGUN = "begun"  # PRIM: the SECOND has not said yet that it is ready
    COPYING = "copying"
    REVISION = "revision"  # PRIM: nothing is left to copy; the witness's revision is read first
    FLUSHING = "flushing"
    RECORDING = "recording"  # PRIM: the witness is to list both before "done" is sent
    CONFIRMING = "confirming"  # PRIM: "done" was sent
    TAKEN = "taken"  # taker of a hand-over: waits for its first echo
    LISTING = "listing"  # PRIM: in step, but the witness does not list both yet in this session
    GREEN = "green"


@dataclass(slots=True)
class Session:
    """The present session; it stands and falls with its connection.

    Args:
        left_bytes: PRIM: what both have marked, once all marks of the SECOND are here.
        echo: our newest sign of life that the peer echoed within this session.
        witness: the kind of witness that both run under from when the SECOND is recorded outdated.
    """

    id: Id
    connection: int
    primary: bool
    peer_process: Id
    peer_replica: Id
    began_s: float
    heard_s: float
    first_counter: int
    phase: Phase
    resend: bool = False
    handed_over: bool = False
    left_bytes: int | None = None
    echoed: bool = False
    echo: int = -1
    witness: WitnessKind | None = None

    @property
    def second_lacks(self) -> bool:
        """PRIM: the SECOND is recorded not uptodate, and was not told otherwise."""
        return self.phase in (Phase.COPYING, Phase.REVISION, Phase.FLUSHING, Phase.RECORDING)

    @property
    def second_whole(self) -> bool:
        """PRIM: the SECOND has said that it is uptodate."""
        return self.in_step or self.phase is Phase.TAKEN

    @property
    def in_step(self) -> bool:
        """Both hold the same and are recorded so, whether or not the witness knows it in this session."""
        return self.phase in (Phase.GREEN, Phase.LISTING)

    @property
    def green(self) -> bool:
        """Both sides are uptodate and in step."""
        return self.phase is Phase.GREEN


@dataclass(slots=True)
class Lost:
    """A session that was lost and is not settled yet.

    Args:
        until_s: until then the peer may come back without anything being decided (PRIM).
        resumable: it was green here, so unanswered writes may be sent again to the same process.
        dead: the peer's process is known to be dead, or to have stopped for good.
        pressed: the SECOND must be outdated now, although it is heard (it does not answer writes).
        why: what happened, in words.
    """

    session: Id
    peer_process: Id
    green: bool
    at_s: float
    until_s: float
    why: str
    resumable: bool = True
    dead: bool = False
    pressed: bool = False
    expired_s: float | None = None


@dataclass(slots=True)
class Peer:
    """What was heard of the peer's worker.

    Args:
        process, counter: the process that lives, and its newest sign of life.
        heard_s: when anything of it was heard; `beat_s`: when the newest sign of life was.
        echo, echo_sent_s: our newest sign of life that it has echoed, and when we had sent that.
        retired: earlier processes, whose late signs of life mean nothing.
    """

    process: Id | None = None
    counter: int = -1
    state: str = ""
    session: Id | None = None
    heard_s: float | None = None
    beat_s: float | None = None
    echo: int = -1
    echo_sent_s: float | None = None
    retired: list[Id] = field(default_factory=list)
    agent_heard_s: float | None = None
    worker_runs: bool = True
    timeout_s: float = 0.0
    longest_s: float | None = None


@dataclass(slots=True)
class Link:
    """The connection without a session: what was said on it.

    Args:
        sent, theirs: the newest hello of each side; `since_s`: when the newest of both was said.
        begin: the session that this node has proposed.
        offer: a Begin of the peer that waits until the facts are settled here.
        verdict: what was said to people about it.
        healing: this node has proposed that the peer gives way.
        heal_s: it does not do so again before this time, seconds.
        running_ms: the running time alone that the newest hello here tells.
        news: the peer has said something new, which that running time does not account for yet.
    """

    connection: int
    since_s: float
    sent: Hello | None = None
    theirs: Hello | None = None
    begin: Id | None = None
    offer: Begin | None = None
    verdict: str = ""
    healing: bool = False
    heal_s: float = 0.0
    running_ms: int = 0
    news: bool = False


@dataclass(slots=True)
class Clock:
    """Time and what it is evidence of.

    Args:
        silence_from_s: silence is counted from here at the earliest (start, waking, being deaf).
        slept: this node slept, or was deaf, for so long that it may have been replaced.
        wake_counter: an echo of this counter of ours, or a later one, was sent after waking.
    """

    now_s: float
    last_s: float
    silence_from_s: float
    apart_from_s: float
    draining: bool = False
    token: int = 0
    slept: bool = False
    wake_counter: int = 0
    lease_until_s: float = 0.0


class HostState(enum.Enum):
    """Where the folder and the resource are on this host."""

    OFF = "off"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DETACHING = "detaching"


@dataclass(slots=True)
class Host:
    """The host side, steered by a goal.

    Args:
        up: the goal: the resource runs, or all is off.
        urgent: going down at any price.
        cycle: running, but to be stopped and started once.
        retry_s: nothing is tried before this time.
        off_sent, force_sent: what an urgent stop has asked for already.
        detaches: detach requests that were not answered yet.
    """

    state: HostState = HostState.OFF
    up: bool = False
    urgent: bool = False
    cycle: bool = False
    mode: StopMode = StopMode.OFF
    timeout_s: float = 0.0
    retry_s: float = 0.0
    off_sent: bool = False
    force_sent: bool = False
    detaches: int = 0
    stop_error: str = ""
    detach_error: str = ""
    resume: bool = False
    suspended: bool = False
    armed: bool = False
    died: bool = False
    last_error: str = ""
    restarts_s: list[float] = field(default_factory=list)


class Work(enum.Enum):
    """What the operator, a checker or a rule has set going."""

    SWAP = "swap"  # also the return to the preferred node
    ASK_SWAP = "ask-swap"  # on the SECOND: the PRIM was asked to swap
    LEAVE = "stop"
    STOPSTART = "stopstart"
    FAILOVER = "failover"
    RESTART = "restart"
    EVACUATE = "evacuate"  # the disk failed under a PRIM
    YIELD = "give way"  # to the other side of a split brain


class Stage(enum.Enum):
    """How far a hand-over is."""

    RESOURCE = "resource"  # stopping and detaching
    QUIESCE = "quiesce"
    GIVEN = "given"
    SWITCH = "switch"  # answered: the old session ends


@dataclass(slots=True)
class Operation:
    """One at a time.

    `command`: whose reply is owed; `gentle`: given up rather than forced; `alone`: it was as ALONE that it had the
    disks quiesced.
    """

    work: Work
    reason: str
    command: str = ""
    stage: Stage = Stage.RESOURCE
    gentle: bool = False
    forced: bool = False
    mode: StopMode = StopMode.STOP
    for_peer: bool = False
    then_stop: bool = False
    alone: bool = False
    began_s: float = 0.0
    taken: Id | None = None


@dataclass(slots=True)
class Question:
    """One question to the witness."""

    number: int
    asked_s: float
    generation: Generation


class Purpose(enum.Enum):
    """Why a witness with a memory is talked with, the most urgent first."""

    ALONE = "alone"  # may this node go on alone?
    TAKE = "take"  # a person says so by name: the record is taken
    RESET = "reset"  # a person says that this is the right witness
    LIST = "list"  # PRIM: both may start
    UPDATE = "update"  # ALONE without having asked
    WATCH = "watch"  # is it there, and does it say what it should?


class TalkStep(enum.Enum):
    """How far a talk with the witness is."""

    READING = "reading"
    ROUND_TRIP = "round trip"  # the SECOND is to be heard in this session after the revision was read
    WRITING = "writing"
    PAUSED = "paused"  # read again from `retry_s` on


@dataclass(slots=True)
class Talk:
    """One talk with a witness that has a memory.

    Args:
        number: of the request under way; answers to others mean nothing.
        question, session: what it is about.
        seen: what was read; a write is conditional on its revision.
        counter: our newest sign of life when it was read.
        writes: the history that the write under way names.
    """

    purpose: Purpose
    began_s: float
    question: int
    session: Id | None
    step: TalkStep = TalkStep.PAUSED
    number: int = 0
    sent_s: float = 0.0
    timeout_s: float = 0.0
    retry_s: float = 0.0
    seen: Seen | None = None
    counter: int = 0
    writes: Generation | None = None


@dataclass(slots=True)
class Override:
    """`start --as-primary`, while the witness's record is being taken.

    Args:
        base: the history it was decided on.
        without_witness: it goes on also if the witness cannot be asked in its time.
    """

    generation: Generation
    base: Generation | None
    without_witness: bool = False


@dataclass(slots=True)
class Outdating:
    """One request to the peer to record itself outdated."""

    request: OutdateRequest
    sent_s: float


@dataclass(slots=True)
class Module:
    """One module on this node: everything the machine's functions look at and change."""

    settings: ModuleSettings
    record: Record
    size_bytes: int
    process: Id
    new_id: Callable[[], Id]
    clock: Clock
    marks: bool
    mode: Mode = Mode.STOP
    agent_up: bool = False
    peer: Peer = field(default_factory=Peer)
    link: Link | None = None
    session: Session | None = None
    lost: Lost | None = None
    ending: bool = False
    taking: Any = None
    survivor: bool = False
    host: Host = field(default_factory=Host)
    work: Operation | None = None
    question: Question | None = None
    questions: int = 0
    outdating: Outdating | None = None
    ask_after_s: float = 0.0
    talk: Talk | None = None
    requests: int = 0
    override: Override | None = None
    reset: bool = False
    owes_update: bool = False
    by_person: bool = False  # ALONE by `start --as-primary`
    watch_s: float = 0.0
    witness_trouble: str = ""
    epoch: int = 0
    hellos: int = 0
    counter: int = 0
    sent_s: dict[int, float] = field(default_factory=dict)
    fault: str = ""
    io_open: bool = False
    alone_since_s: float | None = None
    return_due: bool = False
    window_open: bool = False
    checkers_suspended: bool = False
    ran_since_s: float | None = None
    rescue_trouble: str | None = None
    rescue: RescueKind | None = None
    sentence: str = ""
    out: list[Batch] = field(default_factory=list)
    timeout_s: float = field(init=False)
    pace_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.agree_on_times()

    # ---- names and times -------------------------------------------------------------------------

    def agree_on_times(self) -> None:
        """Settle T and the pace; again whenever the peer has said what its own are.

        `timeout_s` is T: the larger one of both nodes rules, as far as both hosts stand it (and both say so). `pace_s` is
        the shorter T of both: what is done many times in T keeps this pace, so that it suffices whichever rules.
        """
        mine, theirs = self.settings, self.peer
        larger_s = max(mine.timeout_s, theirs.timeout_s)
        bounds = [longest_s for longest_s in (mine.longest_s, theirs.longest_s) if longest_s is not None]
        self.timeout_s = min(larger_s, *bounds) if len(bounds) == 2 else larger_s
        self.pace_s = min(mine.timeout_s, theirs.timeout_s or mine.timeout_s)

    @property
    def me(self) -> str:
        """This node's name."""
        return self.settings.node

    @property
    def other(self) -> str:
        """The peer's name."""
        return self.settings.peer

    @property
    def name(self) -> str:
        """The module's name."""
        return self.settings.module

    @property
    def now_s(self) -> float:
        """The time of the event under way."""
        return self.clock.now_s

    @property
    def second_timeout_s(self) -> float:
        """How long a SECOND, or a starting node, counts silence: longer, so that the PRIM acts first."""
        return self.timeout_s + max(self.timeout_s / 10, 0.1)

    @property
    def witness(self) -> WitnessKind:
        """The kind of witness this history runs under."""
        return self.record.witness

    @property
    def witness_remembers(self) -> bool:
        """Whether the witness has a memory. Only one that has can tell a sleeper that it was not replaced."""
        return self.record.witness is WitnessKind.ETCD

    @property
    def deaf(self) -> bool:
        """Own agent down: what the peer says through the agents cannot arrive, so silence means nothing."""
        return not self.agent_up

    @property
    def silent_s(self) -> float:
        """How long nothing of the peer's worker was heard, as far as that is evidence."""
        return self.now_s - max(self.clock.silence_from_s, self.peer.heard_s or self.clock.silence_from_s)

    @property
    def leased(self) -> bool:
        """Whether this PRIM may acknowledge now."""
        return self.now_s < self.clock.lease_until_s

    @property
    def green_primary(self) -> bool:
        """Whether this node could hand over now."""
        session = self.session
        return self.mode is Mode.PRIM and session is not None and session.green and session.echoed

    @property
    def leaving(self) -> bool:
        """Whether the module is being stopped on this node, so that nothing is started any more."""
        return self.work is not None and self.work.work in (Work.LEAVE, Work.EVACUATE)

    # ---- batches ---------------------------------------------------------------------------------

    def emit(
        self, *apply: Action, persist: Record | None = None, send: tuple[tuple[int, Message], ...] = ()
    ) -> None:
        """One batch: persist, then send, then apply."""
        if persist is not None:
            self.record = persist
        if persist is not None or send or apply:
            self.out.append(Batch(persist, send, apply))

    def changed(self, **facts: Any) -> Record | None:
        """The record with these facts, or None when it says so already."""
        record = dataclasses.replace(self.record, **facts)
        return None if record == self.record else record

    def say(self, sentence: str, level: Level = Level.INFO, *, audit: bool = False) -> None:
        """One plain sentence with its reason."""
        self.sentence = sentence
        self.emit(actions.Say(sentence, level, audit))

    def say_once(self, sentence: str, level: Level = Level.INFO) -> None:
        """The same, unless it is what was said last: what is seen again and again is told once."""
        if sentence != self.sentence:
            self.say(sentence, level)

    def reply(self, command: str, ok: bool, sentence: str) -> None:
        """Answer to the operator's command, if one waits for it."""
        if command:
            self.emit(actions.Reply(command, ok, sentence))
