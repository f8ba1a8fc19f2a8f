"""One real machine and a peer that says exactly what a test wants."""

from __future__ import annotations

from typing import Any, TypeVar

from twinhull.core import actions, events, messages
from twinhull.core.identity import Generation, Id
from twinhull.core.machine import Machine
from twinhull.core.record import Record, Role
from twinhull.core.settings import ModuleSettings

SIZE_BYTES = 1 << 20
T_S = 10.0
STEP_S = 0.5

A = TypeVar("A")


def identity(number: int) -> Id:
    """An id whose first digits show the number."""
    return Id(number.to_bytes(4, "big") + bytes(12))


PEER = identity(0xB0)
PEER_REPLICA = identity(0xB1)
MINE = identity(0xA0)
MY_REPLICA = identity(0xA1)
VOLUME = identity(0xC0)
FIRST = Generation(identity(0xD0))


def whole(**facts: Any) -> Record:
    """The record of a replica that is part of a volume and uptodate."""
    defaults: dict[str, Any] = {
        "volume_id": VOLUME,
        "replica_id": MY_REPLICA,
        "generation": FIRST,
        "uptodate": True,
        "outdated_reason": "",
        "peer_replica_id": PEER_REPLICA,
    }
    return Record(**{**defaults, **facts})


def hello(**facts: Any) -> messages.Hello:
    """What a peer says that holds the same as `whole()` and waits."""
    defaults: dict[str, Any] = {
        "process": PEER,
        "number": 1,
        "replica": PEER_REPLICA,
        "peer_replica": MY_REPLICA,
        "volume": VOLUME,
        "size_bytes": SIZE_BYTES,
        "generation": FIRST,
        "uptodate": True,
        "peer_may_be_uptodate": True,
        "role": "none",
        "state": "WAIT",
        "running": False,
        "survivor": False,
        "session": None,
        "marks": False,
        "preferred": None,
        "timeout_s": T_S,
        "write_timeout_s": T_S,
        "witness": "none",
        "keep": "ask",
        "running_ms": 0,
    }
    return messages.Hello(**{**defaults, **facts})


class Bench:
    """Drives the machine of node a; keeps what it asked for."""

    def __init__(self, record: Record | None = None, *, marks: bool = False, **settings: Any) -> None:
        self.now_s = 100.0
        self._ids = 0
        self.connection = 1
        self.peer_counter = 0
        self.settings = ModuleSettings(module="VM1", node="a", peer="b", **settings)
        self.machine = Machine(
            self.settings,
            record or whole(),
            size_bytes=SIZE_BYTES,
            process=MINE,
            new_id=self._new_id,
            now_s=self.now_s,
            marks=marks,
        )
        self.batches: list[actions.Batch] = []
        self.tell(events.AgentLink(True))

    def _new_id(self) -> Id:
        self._ids += 1
        return identity(self._ids)

    # ---- in ---------------------------------------------------------------------------------------

    def tell(self, *told: events.Event) -> None:
        """Events, in order."""
        for event in told:
            self.batches += self.machine.handle(event, self.now_s)

    def receive(self, *received: messages.Message) -> None:
        """Messages of the peer, in order."""
        for message in received:
            self.tell(events.Received(self.connection, message))

    def connect(self, theirs: messages.Hello | None = None) -> None:
        """A (new) connection, on which the peer says hello."""
        self.connection += 1
        self.tell(events.StreamUp(self.connection))
        if theirs is not None:
            self.receive(theirs)

    def beat(self, state: str, *, session: Id | None = None, echo: bool = True, process: Id = PEER) -> None:
        """A sign of life of the peer that echoes our newest one."""
        counter = self.machine.heartbeat(self.now_s).counter
        self.peer_counter += 1
        self.tell(
            events.Heartbeat(
                process, self.peer_counter, MINE if echo else None, counter if echo else 0, session, state
            )
        )

    def wait(self, seconds: float, state: str = "", *, echo: bool = True, session: Id | None = None) -> None:
        """Time passes; the peer lives meanwhile if `state` says in which state."""
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            self.tell(events.Tick())
            if state:
                self.beat(state, echo=echo, session=session)

    def sleep(self, seconds: float) -> None:
        """This process stands still."""
        self.now_s += seconds
        self.tell(events.Tick())

    # ---- out --------------------------------------------------------------------------------------

    def asked(self, kind: type[A]) -> list[A]:
        """Every action of a kind, in order."""
        return [action for batch in self.batches for action in batch.apply if isinstance(action, kind)]

    def batch_with(self, kind: type[Any]) -> actions.Batch:
        """The first batch that asks for an action of a kind."""
        return next(
            batch for batch in self.batches if any(isinstance(action, kind) for action in batch.apply)
        )

    def sent(self, kind: type[A]) -> list[A]:
        """Every message of a kind, in order."""
        return [message for batch in self.batches for _, message in batch.send if isinstance(message, kind)]

    def told_peer(self, kind: type[A]) -> list[A]:
        """Every message of a kind that went through the agents."""
        return [told.message for told in self.asked(actions.TellPeer) if isinstance(told.message, kind)]

    def said(self) -> list[str]:
        """Every sentence."""
        return [say.sentence for say in self.asked(actions.Say)]

    def clear(self) -> None:
        """Forget what was asked so far."""
        self.batches = []

    @property
    def record(self) -> Record:
        """The record as it is now."""
        return self.machine.record

    @property
    def state(self) -> str:
        """What the status shows."""
        return self.machine.view(self.now_s).state

    def view(self) -> Any:
        """The status."""
        return self.machine.view(self.now_s)


def waiting(record: Record | None = None, **settings: Any) -> Bench:
    """A machine that was started and looks for its peer."""
    bench = Bench(record, **settings)
    bench.tell(events.Start())
    return bench


def primary(*, green: bool = True, **settings: Any) -> tuple[Bench, Id]:
    """A machine that is PRIM with its resource running; in step with its SECOND, or copying to it."""
    bench = waiting(whole(role=Role.PRIMARY), preferred="a", **settings)
    bench.connect(hello(preferred="a", marks=not green, witness=bench.settings.witness.name.lower()))
    session = bench.sent(messages.Begin)[-1].session
    bench.receive(messages.Accept(session), messages.Ready(session, not green))
    bench.beat("SECOND", session=session)
    bench.tell(events.Attached(), events.ResourceStarted())
    if not green:
        bench.tell(events.PeerMarksComplete(32768))
    bench.clear()
    return bench, session


def second(*, green: bool = True, **settings: Any) -> tuple[Bench, Id]:
    """A machine that is SECOND in a session with a PRIM b."""
    bench = waiting(whole(), preferred="b", **settings)
    bench.connect(hello(preferred="b", marks=not green, witness=bench.settings.witness.name.lower()))
    session = identity(0xE0)
    number = bench.sent(messages.Hello)[-1].number
    bench.receive(messages.Begin(session, False, 1, number))
    bench.beat("PRIM", session=session)
    bench.clear()
    return bench, session


def alone(**settings: Any) -> Bench:
    """A machine that runs alone."""
    bench = waiting(whole(peer_may_be_uptodate=False), **settings)
    bench.wait(12)
    bench.tell(events.Attached(), events.ResourceStarted())
    bench.clear()
    return bench
