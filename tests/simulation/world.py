"""A cluster and everything around it, made from one seed."""

from __future__ import annotations

import dataclasses
import functools
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twinhull.core.identity import Generation, Id
from twinhull.core.memory import NOTHING_SEEN, WitnessMemory, WitnessRecord
from twinhull.core.record import Record, Role, WitnessKind
from twinhull.core.rescue import WhenFull
from twinhull.core.settings import Keep, ModuleSettings, Return, StopMode
from twinhull.storage.volume import Volume

from .clock import Schedule
from .disk import SimDisk
from .etcd import Key, SimEtcd
from .judge import Judge
from .network import Network
from .node import Node, Unit
from .rng import Rng
from .story import Story

if TYPE_CHECKING:
    from .process import Process
    from .tales import Fault

VOLUME_BYTES = 32 << 20
HARMLESS = ("cut", "calm", "swap", "guest", "restart")
"""Kinds of faults that make no second history together with a network that is cut in one direction."""
LOSES_A_NODE = ("power", "kill", "freeze")
NAMES = ("a", "b")
ROOM_BYTES = 1 << 41
KEEPS = (
    (Keep.ASK, Keep.ASK), (Keep.LONGEST_RUNNING, Keep.LONGEST_RUNNING), (Keep.LONGEST_RUNNING, Keep.LONGEST_RUNNING),
    (Keep.PREFERRED_NODE, Keep.PREFERRED_NODE), (Keep.PREFERRED_NODE, Keep.PREFERRED_NODE),
    (Keep.LONGEST_RUNNING, Keep.ASK),
)  # fmt: skip
REPLICAS = {"a": Id(b"replica-of-a-one"), "b": Id(b"replica-of-b-one")}
FIRST = Generation(Id(b"first-generation"))
VOLUME_ID = Id(b"volume-of-module")
FIRST_REVISION = 5
ETCD = Id(b"an-etcd-cluster!")


@dataclass
class LifeSettings:
    """How a life is made; all of it follows from the seed.

    Args:
        timeout_s: T.
        grain: how often in T a process looks at its timers.
        calm_share: how long after the last fault all of them end, in T.
        relay_share: how often an agent passes on a worker's sign of life, in T.
        think_s: pause of the VM between bursts.
        watch_s: pause between looks at a witness with a memory.
        keep: of each node.
        when_full: what is done when the rescue of a split brain, of a resync, cannot be kept.
        room_bytes: how large the disk is, of which the rescue may take a share.
        old_node: which node has a version before this one; empty: none.
        own_t, longest_t: T as configured on each node, and the longest that its host stands, in T.
        lane_s: how long calls on a lane take, typically.
    """

    timeout_s: float
    grain: int
    relay_share: float
    calm_share: float
    think_s: float
    log_capacity: int
    hot_blocks: tuple[int, ...]
    networks: tuple[str, ...]
    delay_s: float
    blank: bool
    modules: int
    witness: WitnessKind
    watch_s: float
    keep: tuple[Keep, Keep]
    when_full: tuple[WhenFull, WhenFull]
    room_bytes: int
    preferred: str | None
    give_back: Return
    stop_mode: StopMode
    resync_bytes_s: int | None
    old_node: str
    own_t: tuple[float, float]
    longest_t: tuple[float, float]
    lane_s: dict[str, float] = field(default_factory=dict)

    def own_s(self, node: str) -> float:
        """T as it is configured on a node, or as long as its host stands."""
        number = "ab".index(node)
        return self.timeout_s * min(self.own_t[number], self.longest_t[number])

    @property
    def shortest_s(self) -> float:
        """The shorter T of both nodes."""
        return min(map(self.own_s, "ab"))


def settings_of(rng: Rng) -> LifeSettings:
    """A cluster like those that people have, and like those that they should not."""
    timeout_s = rng.pick((1.0, 2.0, 4.0, 10.0))
    slow = rng.pick((0.002, 0.01, 0.05)) * timeout_s
    life = LifeSettings(
        timeout_s=timeout_s,
        grain=rng.pick((5, 5, 6, 6, 7, 8, 16)),
        calm_share=rng.pick((0.2, 0.6, 1.0, 1.3)),
        relay_share=rng.pick((0.11, 0.2, 0.2, 0.2)),
        think_s=rng.pick((0.1, 0.3, 0.45)) * timeout_s,
        log_capacity=rng.pick((4, 4, 5, 8)),
        hot_blocks=rng.pick(
            (
                (0, 1, 33, 128, 129, 300, 512, 640, 641, 900),
                (0, 1, 2, 128),
                (5, 200, 390, 520, 650, 780, 1000),
            )
        ),
        networks=rng.pick((("x",), ("x",), ("x", "y"))),
        delay_s=rng.pick((0.0002, 0.002, 0.02)) * timeout_s,
        blank=rng.chance(10),
        modules=rng.pick((1, 1, 1, 1, 1, 1, 1, 2)),
        witness=rng.pick(
            (WitnessKind.NONE, WitnessKind.NONE, WitnessKind.PING, WitnessKind.ETCD, WitnessKind.ETCD)
        ),
        watch_s=rng.pick((0.7, 1.5, 3.0)) * timeout_s,
        keep=rng.pick(KEEPS),
        when_full=(rng.pick((WhenFull.ASK, WhenFull.GIVE_UP)), rng.pick((WhenFull.ASK, WhenFull.GIVE_UP))),
        room_bytes=rng.pick((ROOM_BYTES, ROOM_BYTES, ROOM_BYTES, ROOM_BYTES, 1 << 20, 3 << 20)),
        preferred=rng.pick((None, "a", "b")),
        give_back=rng.pick((Return.MANUAL, Return.MANUAL, Return.AT_ONCE)),
        stop_mode=rng.pick((StopMode.STOP, StopMode.STOP, StopMode.SAVE)),
        resync_bytes_s=rng.pick((None, None, int(20 * 32768 / timeout_s), int(100 * 32768 / timeout_s))),
        old_node=rng.pick(("", "", "", "a", "b")),
        lane_s={
            "log": slow,
            "flush": slow,
            "keep": slow,
            "read": slow / 4,
            "digest": slow / 2,
            "host": timeout_s * 0.02,
        },
        own_t=rng.pick(((1.0, 1.0),) * 6 + ((1.0, 0.5), (0.6, 1.0))),
        longest_t=rng.pick(((1.0, 1.0),) * 6 + ((1.0, 0.3), (0.7, 1.0))),
    )
    # Nobody sets a T that the own network and disks do not bear.
    share = life.shortest_s / timeout_s
    return dataclasses.replace(
        life,
        delay_s=life.delay_s * share,
        lane_s={name: typical_s * share for name, typical_s in life.lane_s.items()},
    )


@functools.lru_cache(maxsize=64)
def template(name: str, modules: tuple[str, ...], blank: bool, witness: WitnessKind) -> SimDisk:
    """A node's disk before the life begins: blank replicas, or a pair that stopped green."""
    disk = SimDisk(name)
    for module in modules:
        volume = Volume.create(
            disk.directory(module),
            size_bytes=VOLUME_BYTES,
            replica_id=REPLICAS[name],
            minimum_bytes=1 << 20,
        )
        if not blank:
            other = "b" if name == "a" else "a"
            volume.write_record(
                Record(
                    volume_id=VOLUME_ID,
                    replica_id=REPLICAS[name],
                    generation=FIRST,
                    uptodate=True,
                    peer_may_be_uptodate=True,
                    role=Role.PRIMARY if name == "a" else Role.SECONDARY,
                    outdated_reason="",
                    witness=witness,
                    peer_replica_id=REPLICAS[other],
                    witness_memory=WitnessMemory(ETCD, FIRST_REVISION, FIRST_REVISION)
                    if witness is WitnessKind.ETCD
                    else NOTHING_SEEN,
                )
            )
        volume.close()
    return disk


class World:
    """Everything of one life.

    Args:
        seed: all of it follows from it.
    """

    def __init__(self, seed: int) -> None:
        rng = Rng(seed)
        self.seed = seed
        self.settings = settings_of(rng.fork(1))
        self.schedule = Schedule()
        self.story = Story(self.schedule)
        self.coverage: Counter[str] = Counter()
        self.judge = Judge(self)
        self._ids = rng.fork(2)
        self.rng = rng.fork(3)
        self.separated = self.half_separated = False
        self.unheard: set[str] = set()  # nodes from which nothing got through at some time
        self.answers_late = False  # the network was so slow that an answer may take longer than the time-out
        self.person_split = False
        self.last_fault = "start"
        self.faults: list[Fault] = []
        self.armed: list[Fault] = []
        self.asked_to_stop: set[Process] = set()
        self.happens: Callable[[Fault], None] = lambda _fault: None
        self._primary = ""
        self._value = 0
        self._number = 0
        self.network = Network(
            self.schedule, rng.fork(4), self.settings.networks, NAMES, self.settings.delay_s
        )
        self.etcd = SimEtcd(self, ETCD)
        self.modules = tuple(f"VM{number + 1}" for number in range(self.settings.modules))
        clocks = rng.fork(5)
        self.nodes = {
            name: Node(self, name, self._disk(name), clocks.within(0.997, 1.003), rng.fork(10 + index))
            for index, name in enumerate(NAMES)
        }
        for node in self.nodes.values():
            self._equip(node, rng)
        if not self.settings.blank:
            self._listed_before()

    def _listed_before(self) -> None:
        """The witness lists both, as it did when they were stopped."""
        both = WitnessRecord(FIRST.id, None, tuple(sorted(REPLICAS.values())), VOLUME_ID, "a")
        self.etcd.revision = FIRST_REVISION
        self.etcd.keys = {module: Key(FIRST_REVISION, both) for module in self.modules}

    @property
    def remembers(self) -> bool:
        """Whether the witness has a memory."""
        return self.settings.witness is WitnessKind.ETCD

    def replica_name(self, replica: Id) -> str:
        """The node that has this replica now, for the story."""
        for unit in self.units():
            if unit.record is not None and unit.record.replica_id == replica:
                return unit.node.name
        return "a replica that is gone"

    def _disk(self, name: str) -> SimDisk:
        return template(name, self.modules, self.settings.blank, self.settings.witness).clone(name)

    def blank_disk(self, node: Node) -> SimDisk:
        """A new disk for a node, with blank volumes."""
        disk = SimDisk(node.name)
        for module in self.modules:
            made = Volume.create(
                disk.directory(module),
                size_bytes=VOLUME_BYTES,
                replica_id=self.new_id(),
                minimum_bytes=1 << 20,
            )
            made.close()
        disk.on_fault, disk.total_bytes = node.disk.on_fault, node.disk.total_bytes
        return disk

    def _equip(self, node: Node, rng: Rng) -> None:
        life = self.settings
        timeout_s = life.timeout_s
        own_s, longest_s = life.own_s(node.name), timeout_s * life.longest_t["ab".index(node.name)]
        for number, module in enumerate(self.modules):
            settings = ModuleSettings(
                module=module,
                node=node.name,
                peer="b" if node.name == "a" else "a",
                preferred=life.preferred,
                timeout_s=own_s,
                longest_s=None if node.name == life.old_node else longest_s,
                write_timeout_s=own_s,
                witness=life.witness,
                witness_timeout_s=timeout_s / 2,
                witness_retry_s=timeout_s / 2,
                witness_watch_s=life.watch_s,
                keep=life.keep[node.name == "b"],
                split_brain_full=life.when_full[0],
                resync_full=life.when_full[1],
                give_back=life.give_back,
                stop_mode=life.stop_mode,
                stop_timeout_s=timeout_s,
                restart_limit=3,
                restart_window_s=30 * timeout_s,
            )
            stream = rng.fork(100 + 10 * number + (node.name == "b"))
            node.units[module] = Unit(node, module, number, settings, stream)
        node.disk.on_fault = lambda what: self._disk_fault(node, what)
        node.disk.total_bytes = life.room_bytes

    def _disk_fault(self, node: Node, what: str) -> None:
        self.cover(f"disk: {what}")
        self.story.add(node.name, f"its disk fails a {what}")
        if what == "sync of data.img":
            self.judge.disk_failed(node)

    # ---- small things -----------------------------------------------------------------------------------

    def units(self) -> list[Unit]:
        """Every module on every node."""
        return [unit for node in self.nodes.values() for unit in node.units.values()]

    def new_id(self) -> Id:
        """A random id that follows from the seed."""
        return Id(self._ids.bits().to_bytes(8, "big") + self._ids.bits().to_bytes(8, "big"))

    def next_value(self) -> int:
        """What the next write writes."""
        self._value += 1
        return self._value

    def next_number(self) -> int:
        """Of the next command."""
        self._number += 1
        return self._number

    def cover(self, what: str) -> None:
        """It happened."""
        self.coverage[what] += 1

    def named(self, node: str) -> str:
        """The name of a node of the plan: `P` and `S` are who was PRIM when this was first asked, and the other."""
        if node in self.nodes:
            return node
        if not self._primary:
            runs = [unit.node.name for unit in self.units() if unit.guest.running]
            self._primary = runs[0] if runs else "a"
        return self._primary if node == "P" else self.nodes[self._primary].peer.name

    def moved(self, unit: Unit, before: str, now: str) -> None:
        """A machine went from one state to another: that may be what faults wait for."""
        self.coverage[f"move: {before} -> {now}"] += 1
        self.coverage[f"pair: {self.last_fault} then {before} -> {now}"] += 1
        if self.armed:
            for fault in [fault for fault in self.armed if self._awaits(fault, unit.node.name, now)]:
                self.armed.remove(fault)
                delay_s = (fault.draw >> 50) % 4 * (fault.draw >> 54) / 1024 * 0.03 * self.settings.timeout_s
                self.schedule.after(delay_s, lambda fault=fault: self.happens(fault))  # type: ignore[misc]

    def _awaits(self, fault: Fault, node: str, state: str) -> bool:
        who, _, what = fault.trigger.partition(": ")
        return what == state and self.named(who) == node

    def defect(self, unit: Unit, error: Exception) -> None:
        """The code under test raised what it must not."""
        where = "".join(traceback.format_exception(error)[-4:])
        self.judge.broken(f"the worker of {unit.module} on {unit.node.name} broke down: {error!r}\n{where}")

    def note_cuts(self) -> None:
        """Whether the nodes are cut off from each other, in both directions or in one."""
        heard = self.network.passes("a"), self.network.passes("b")
        self.separated = self.separated or not any(heard)
        self.half_separated = self.half_separated or not all(heard)
        self.unheard |= {node for node, passes in zip("ab", heard, strict=True) if not passes}

    @property
    def may_split(self) -> bool:
        """Whether two histories are possible: the network was cut, or a person made them.

        A cut in one direction alone makes none; together with anything else that goes wrong, also the other direction later,
        it can. So can a network on which anything was under way for twice the time-out; one on which an answer may take
        longer than that, where a node is lost as well; or one that is slow now and then and lets nothing through the other
        way. With a witness that has a memory no cut can, unless that memory was set back and
        does not show it.
        """
        if self.remembers:
            return self.person_split or self.etcd.forgot
        disturbed = any(not fault.kind.startswith(HARMLESS) for fault in self.faults)
        lost = any(fault.kind.startswith(LOSES_A_NODE) for fault in self.faults)
        return (
            self.separated
            or self.person_split
            or len(self.unheard) > 1
            or (self.half_separated and disturbed)
            or (self.answers_late and (lost or self.network.longest_s > 2 * self.settings.timeout_s))
            or (self.network.longest_s > self.settings.shortest_s / 4 and self.half_separated)
        )

    @property
    def heals(self) -> bool:
        """Whether a split brain heals by itself: the policy names one node on both sides, and the disks have room."""
        first, second = self.settings.keep
        return (
            first is second
            and (
                first is Keep.LONGEST_RUNNING
                or (first is Keep.PREFERRED_NODE and self.settings.preferred is not None)
            )
            and not self.rescue_may_fail
        )

    @property
    def rescue_may_fail(self) -> bool:
        """Whether a rescue may be impossible: too little room, or a disk that fails."""
        return self.settings.room_bytes < ROOM_BYTES or any(
            fault.kind.startswith("disk") for fault in self.faults
        )

    @property
    def disks_are_slow(self) -> bool:
        """Whether a record may be late by more than a time-out without any fault: a failed disk, by the rules."""
        return self.settings.lane_s["log"] > 0.03 * self.settings.shortest_s

    # ---- the beginning ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Both nodes boot."""
        timeout_s = self.settings.timeout_s
        for node in self.nodes.values():
            node.look(timeout_s / 8)
            for unit in node.units.values():
                unit.wanted = not self.settings.blank or node.name == "b"
                delay_s = self.rng.within(0.0, 0.3 * timeout_s)
                self.schedule.after(delay_s, unit.spawn)
        if self.settings.blank:
            for unit in self.nodes["a"].units.values():
                self._protect(unit)
        self._compare_often(timeout_s / 2)

    def _protect(self, unit: Unit) -> None:
        """A person makes the first history, and asks again until it is made."""
        process = unit.process
        if any(each.record is not None and each.record.generation is not None for each in (unit, unit.peer)):
            return
        if process is not None and process.volume.record.generation is None:
            unit.command("start", {"as_primary": True})
        if process is None or process.volume.record.generation is None:
            self.schedule.after(0.5 * self.settings.timeout_s, lambda: self._protect(unit))

    def _compare_often(self, interval_s: float) -> None:
        for unit in self.nodes["a"].units.values():
            self.judge.compare(unit)
        self.schedule.after(interval_s, lambda: self._compare_often(interval_s))
