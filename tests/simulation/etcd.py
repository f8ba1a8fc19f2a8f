"""A witness with a memory as both nodes reach it: etcd's store, the ways to it, and what somebody does to it by hand.

Requests take their time to get there, and may land long after nobody waits for them any more; answers may be late or lost;
a backup may be restored, under another identity (as etcd's manual says) or under the old one; a key may be deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twinhull.core import memory
from twinhull.core.identity import Id
from twinhull.core.memory import Seen, WitnessRecord
from twinhull.errors import WitnessError
from twinhull.worker.lanes import Outcome

from . import witnessed
from .clock import jitter_s

if TYPE_CHECKING:
    from .node import Node, Unit
    from .world import World

KEPT_BACKUPS = 40

REFUSED = "refused"
"""Nobody listens: that is known at once."""
SILENT = "silent"
"""What is sent is lost."""
HELD = "held"
"""What is sent waits in the network, and lands when the way is open again."""
DEAF = "deaf"
"""What is sent arrives; the answers are lost."""
TROUBLES = (REFUSED, SILENT, HELD, DEAF)


class Asked:
    """A question under way: what was heard of it, once something was, or its time was over."""

    def __init__(self) -> None:
        self._outcome: Outcome[Any] | None = None
        self._then: Callable[[Outcome[Any]], None] | None = None

    def end(self, value: Any, error: Exception | None = None) -> None:
        """The first word counts."""
        if self._outcome is None:
            self._outcome = Outcome(value, error)
            if self._then is not None:
                self._then(self._outcome)

    def heard(self, then: Callable[[Outcome[Any]], None]) -> None:
        """Call when something was heard."""
        self._then = then
        if self._outcome is not None:
            then(self._outcome)


@dataclass
class Way:
    """How one node reaches the witness.

    Args:
        trouble: empty, or one of `TROUBLES`.
        request_s, answer_s: how long each takes, typically.
    """

    trouble: str = ""
    request_s: float = 0.0005
    answer_s: float = 0.0005
    held: list[Callable[[], None]] = field(default_factory=list)


@dataclass(frozen=True)
class Key:
    """A module's key: revision of its last write, its value, and when that was."""

    revision: int
    record: WitnessRecord
    written_s: float = 0.0


@dataclass(frozen=True)
class Backup:
    """The store as it was once."""

    revision: int
    keys: dict[str, Key]


class SimEtcd:
    """The store.

    Args:
        world: of the life.
        cluster: its identity.
    """

    def __init__(self, world: World, cluster: Id) -> None:
        self.world = world
        self.cluster = cluster
        self.revision = 1
        self.keys: dict[str, Key] = {}
        self.backups: list[Backup] = []
        self.down = ""
        self.granted: set[tuple[str, Id, Id]] = set()
        """Module, history and replica of everything that was ever granted to one node alone."""
        self.touched_s = -1.0  # when somebody's hand was last in it
        self.restored = False
        self.forgot = False
        """It was set back under its old identity: what was granted since is forgotten, and nobody can know."""

    def read(self, module: str) -> Seen:
        """A linearizable look."""
        key = self.keys.get(module)
        if key is None:
            return Seen(self.cluster, self.revision, 0, None)
        return Seen(self.cluster, self.revision, key.revision, key.record)

    def write(self, unit: Unit, key_revision: int, record: WitnessRecord) -> tuple[bool, Seen]:
        """One transaction: whether the revision was still the expected one, and what stands there now."""
        before = self.keys.get(unit.module)
        if key_revision != (before.revision if before is not None else 0):
            self.world.cover("witness: a write came too late")
            return False, self.read(unit.module)
        self.backups.append(Backup(self.revision, dict(self.keys)))
        del self.backups[:-KEPT_BACKUPS]
        self.revision += 1
        self.keys[unit.module] = Key(self.revision, record, self.world.schedule.now_s)
        if len(record.may_start) == 1:
            self.granted.add((unit.module, record.generation, record.may_start[0]))
        listed = ", ".join(self.world.replica_name(replica) for replica in record.may_start)
        self.world.story.add("WITNESS", f"{unit.node.name} writes that {listed} may start {unit.module}")
        witnessed.written(unit, before.record if before is not None else None, record)
        return True, self.read(unit.module)

    def delete(self, module: str) -> None:
        """Somebody deletes the key by hand."""
        self.touched_s = self.world.schedule.now_s
        if self.keys.pop(module, None) is not None:
            self.revision += 1

    def restore(self, draw: int) -> None:
        """An older backup is restored, by the book as a new cluster, or carelessly under the old identity."""
        if not self.backups:
            return
        backup = self.backups[draw % len(self.backups)]
        self.touched_s = self.world.schedule.now_s
        self.restored = True
        if draw >> 16 & 3:
            self.cluster = self.world.new_id()
        else:
            self.forgot = True
        self.revision, self.keys = backup.revision, dict(backup.keys)

    def reached(self, node: Node) -> bool:
        """Whether this node gets prompt answers now."""
        return not (self.down or node.way.trouble)

    def heal(self, node: Node) -> None:
        """The way of this node is open again: what was held back lands."""
        way = node.way
        way.trouble, way.request_s, way.answer_s = "", 0.0005, 0.0005
        held, way.held = way.held, []
        for land in held:
            self.world.schedule.after(jitter_s(node.rng, 0.01), land)


class SimMemory:
    """A module's key as one node's worker asks for it (stands for `worker.worker.Memory`; its lane knows `Asked`)."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def read(self, timeout_s: float) -> Any:
        """See `worker.worker.Memory`."""
        unit = self._unit
        return self._ask(lambda: unit.world.etcd.read(unit.module), timeout_s)

    def write(self, key_revision: int, record: WitnessRecord, timeout_s: float) -> Any:
        """See `worker.worker.Memory`."""
        unit, sent = self._unit, memory.decode(memory.encode(record))
        unit.process.hook("witness")  # type: ignore[union-attr]
        return self._ask(lambda: unit.world.etcd.write(unit, key_revision, sent), timeout_s)

    def _ask(self, apply: Callable[[], Any], timeout_s: float) -> Asked:
        unit, asked = self._unit, Asked()
        world, node = unit.world, unit.node
        etcd, way, schedule = world.etcd, node.way, world.schedule
        schedule.after(timeout_s, lambda: asked.end(None, WitnessError("the request timed out")))
        trouble = etcd.down or way.trouble
        if trouble == REFUSED:
            schedule.after(0.0005, lambda: asked.end(None, WitnessError("connection refused")))
            return asked

        def land() -> None:
            if etcd.down:
                return
            found = apply()
            if not way.trouble:
                schedule.after(jitter_s(node.rng, way.answer_s), lambda: asked.end(found))

        if trouble == HELD:
            way.held.append(land)
        elif trouble != SILENT:
            schedule.after(jitter_s(node.rng, way.request_s), land)
        return asked
