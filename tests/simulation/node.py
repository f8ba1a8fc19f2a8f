"""A server: its disk, its clock, its agent, and the modules on it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twinhull.core.record import Record, WitnessKind
from twinhull.core.settings import ModuleSettings
from twinhull.errors import StorageError
from twinhull.worker.link import session_at_death

from .clock import Schedule, jitter_s
from .disk import SimDisk
from .etcd import SimMemory, Way
from .host import Guest, SimExport
from .process import Process
from .rescued import Held
from .rng import Rng

if TYPE_CHECKING:
    from .world import World


class SimWitness:
    """The third party as one node reaches it (implements `worker.worker.Witness`)."""

    def __init__(self, schedule: Schedule) -> None:
        self.reachable = True
        self.granted_s = 0.0
        self._schedule = schedule

    def ask(self) -> tuple[bool, str]:
        """Whether it answers."""
        if not self.reachable:
            return False, "no address answers"
        self.granted_s = self._schedule.now_s
        return True, ""


class Unit:
    """One module on one node: what survives its processes, and what its agent knows.

    Args:
        number: of the module in the cluster.
    """

    def __init__(self, node: Node, module: str, number: int, settings: ModuleSettings, rng: Rng) -> None:
        self.node = node
        self.world = node.world
        self.module = module
        self.number = number
        self.settings = settings
        self.rng = rng
        self.witness = SimWitness(self.world.schedule)
        self.memory = SimMemory(self) if settings.witness is WitnessKind.ETCD else None
        self.guest = Guest(self, rng.fork(7))
        self.process: Process | None = None
        self.export: SimExport | None = None
        self.folder: Process | None = None
        self.attach_fails = self.start_fails = self.stubborn = self.folder_busy = False
        self.audit: list[str] = []
        self.kept: list[tuple[int, bytes]] = []
        self.held: list[Held] = []
        self.ran_s = 0.0  # how long the VM ran here alone in its present history
        self.runs_from_s: float | None = None
        self.ran_sure = True  # no process died since, whose last minute counts only as far as it was recorded
        self.suspended_s = -1.0  # when its VM was last made to hold still
        self.alone = False
        self.wanted = False  # a person wants the module started here
        self.death: tuple[str, str | None] | None = None
        self.last_beat: Mapping[str, Any] | None = None
        self.heard_s = self.relayed_s = 0.0
        self.relay_s = self.world.settings.shortest_s * self.world.settings.relay_share
        self.overrides: dict[int, Record | None] = {}  # the record at each order to start by name
        self.without_witness = False  # a person said that it may go on without the witness
        self.ordered_s = -1.0  # when a person last took or reset the witness's record here
        self.touched_s = -1.0
        self.doubt_s = 0.0  # when it began to doubt that the peer lives
        self.record: Record | None = None  # durable, as far as it was seen
        self.record_sequence = 0
        self.record_version = self.judged_version = -1

    @property
    def disk(self) -> SimDisk:
        """Where its volume lies."""
        return self.node.disk

    @functools.cached_property
    def peer(self) -> Unit:
        """The same module on the other node."""
        return self.node.peer.units[self.module]

    @property
    def lives(self) -> bool:
        """Whether its process runs (not frozen, not dead)."""
        return self.process is not None and not self.process.dead and not self.process.frozen

    def settled_off(self) -> None:
        """Nothing of it runs on this host any more."""
        self.guest.stop()
        self.export = None
        self.folder = None

    # ---- running alone ------------------------------------------------------------------------------

    @property
    def ran_alone_s(self) -> float:
        """How long its VM ran on this node alone in its present history, by the world's clock."""
        now_s = self.world.schedule.now_s
        return self.ran_s + (now_s - self.runs_from_s if self.runs_from_s is not None else 0.0)

    def ran_alone(self, alone: bool, *, anew: bool) -> None:
        """It went on alone, or is not alone any more. `anew`: a new history begins with it."""
        if anew:
            self.ran_s, self.runs_from_s, self.ran_sure = 0.0, None, True
        self.alone = alone
        self.count_running()

    def count_running(self) -> None:
        """Its VM started or stopped, or its node is alone or not."""
        now_s = self.world.schedule.now_s
        runs = self.alone and self.guest.running and not self.guest.suspended
        if runs and self.runs_from_s is None:
            self.runs_from_s = now_s
        elif not runs and self.runs_from_s is not None:
            self.ran_s, self.runs_from_s = self.ran_s + now_s - self.runs_from_s, None

    def resumed(self) -> None:
        """Its VM goes on. A worker that slept since it held still does not know for how long it did."""
        process = self.process
        if process is not None and process.thawed_s >= self.suspended_s:
            self.ran_sure = False
        self.count_running()

    # ---- the worker ---------------------------------------------------------------------------------

    def spawn(self) -> None:
        """The agent starts a worker."""
        if self.process is not None or not self.node.powered or not self.node.agent_up:
            return
        try:
            process = self.process = Process(self)
        except StorageError as error:
            self.world.cover("volume-not-opened")
            self.world.judge.volume_not_opened(self, error)
            self._later(self.settings.timeout_s / 2, self.spawn)
            return
        process.start()
        self.world.cover("spawned")
        self.heard_s = self.world.schedule.now_s
        self._later(jitter_s(self.rng, 0.01 * self.settings.timeout_s), lambda: self._adopt(process))

    def _adopt(self, process: Process) -> None:
        if process.dead or not self.node.agent_up or process.link is None:
            return
        self.heard_s = self.world.schedule.now_s
        link = process.link
        self.world.schedule.after(0.0, lambda: link.connect(True), process, 0)
        if self.wanted:
            self.command("start", {}, told=False)

    def died(self, process: Process, how: str) -> None:
        """The process is gone; its agent notices, cleans up, tells, and starts another one."""
        if process.dead:
            return
        beat = self.last_beat
        process.dead = True
        self.process = None
        self.ran_sure = False
        self.ran_alone(False, anew=False)
        self.world.network.vanish(process, silent=how == "power")
        self.node.disk.locks.pop(self.module, None)
        if self.export is not None:
            self.export.open = False
            self.guest.export_gone(self.export)
        self.world.judge.process_died(self)
        if how == "power":
            return
        told = beat is not None and bytes.fromhex(beat["process"]) == process.id
        about = (process.id.hex(), session_at_death(beat) if told and beat is not None else None)
        self._later(jitter_s(self.rng, 0.02 * self.settings.timeout_s), lambda: self._clean_up(about))

    def _clean_up(self, about: tuple[str, str | None]) -> None:
        if not self.node.powered or self.process is not None:
            return
        if not self.node.agent_up:
            self._later(0.2 * self.settings.timeout_s, lambda: self._clean_up(about))
            return
        self.settled_off()
        self.death = about
        self.world.cover("cleaned-up")
        self._later(jitter_s(self.rng, 0.1 * self.settings.timeout_s), self.spawn)

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        """The agent does something, if this is still the same boot."""
        boot = self.node.boots
        self.world.schedule.after(delay_s, lambda: call() if self.node.boots == boot else None)

    # ---- the agent ----------------------------------------------------------------------------------

    def agent_hears(self, process: Process, message: Mapping[str, Any]) -> None:
        """The worker said something to its agent."""
        if not self.node.agent_up or process is not self.process:
            return
        self.heard_s = self.world.schedule.now_s
        op = message["op"]
        if op == "beat":
            news = self.last_beat is None or self.last_beat["state"] != message["state"]
            self.last_beat = message
            if (
                news or self.heard_s - self.relayed_s > 0.9 * self.relay_s
            ):  # beats are not exact to the microsecond
                self.relayed_s = self.heard_s
                self.node.tell_peer(self, [{"op": "peer_agent", "worker": True}, message])
        elif op == "tell_peer":
            self.node.tell_peer(self, [{"op": "told", "message": message["message"]}], reliable=True)
        elif op == "answer":
            if message["id"] in self.overrides and message["ok"]:
                self.world.judge.overridden(self, self.overrides[message["id"]])
            self.world.story.add(self.node.name, f"answers: {message['sentence']}")

    def agent_looks(self) -> None:
        """Now and then: tell of a worker that is missing, kill one that is silent for T."""
        if not self.node.agent_up:
            return
        process = self.process
        if process is None or process.dead:
            messages: list[Mapping[str, Any]] = [{"op": "peer_agent", "worker": False}]
            if self.death is not None:
                messages.append(
                    {"op": "peer_worker_dead", "process": self.death[0], "session": self.death[1]}
                )
            self.node.tell_peer(self, messages)
        elif self.world.schedule.now_s - self.heard_s > self.settings.timeout_s:
            self.world.story.add(self.node.name, f"its agent kills the worker of {self.module}, silent for T")
            self.world.cover("killed-silent")
            self.died(process, "kill")

    def hear_peer(self, messages: list[Mapping[str, Any]]) -> None:
        """The peer's agent said something for this module's worker."""
        process = self.process
        if self.node.agent_up and process is not None and process.link is not None and process.link.connected:
            for message in messages:
                process.link.arrive(message)

    def command(self, command: str, arguments: Mapping[str, Any], *, told: bool = True) -> None:
        """A person's command by way of the agent."""
        if command == "start":
            self.wanted = True
        elif command == "stop":
            self.wanted = False
        process = self.process
        if not self.node.agent_up or process is None or process.link is None or not process.link.connected:
            if process is not None and process.link is not None and not told and self.node.agent_up:
                link = process.link
                message = {"op": "command", "id": 0, "command": command, "arguments": dict(arguments)}
                self.world.schedule.after(0.001, lambda: link.arrive(message))
            return
        number = self.world.next_number()
        if arguments.get("as_primary"):
            self.overrides[number] = self.world.judge.durable_record(self)
            self.without_witness = self.without_witness or bool(arguments.get("without_witness"))
        if arguments.get("as_primary") or command == "witness-reset":
            self.ordered_s = self.world.schedule.now_s
        process.link.arrive({"op": "command", "id": number, "command": command, "arguments": dict(arguments)})


class Node:
    """One server.

    Args:
        rate: seconds of its own clock for one of the world's.
    """

    def __init__(self, world: World, name: str, disk: SimDisk, rate: float, rng: Rng) -> None:
        self.world = world
        self.name = name
        self.disk = disk
        self.rate = rate
        self.rng = rng
        self.way = Way()
        self.powered = True
        self.agent_up = True
        self.agent_frozen = False
        self.boots = 0
        self.units: dict[str, Unit] = {}
        self.offset_s = rng.within(0.0, 1e6)
        self.hung = False
        self.slow_s = self.limp_s = self.late_s = 0.0
        self.slow_percent = 0
        self.stuck: list[tuple[Callable[[], None], Process]] = []

    @functools.cached_property
    def peer(self) -> Node:
        """The other one."""
        return self.world.nodes["b" if self.name == "a" else "a"]

    # ---- the clock ----------------------------------------------------------------------------------

    def clock(self) -> float:
        """Seconds of this node's own clock."""
        return self.world.schedule.now_s * self.rate + self.offset_s - self.disk.early_s

    def true_time(self, own_s: float) -> float:
        """The world's time for a time of this clock."""
        return max(self.world.schedule.now_s, (own_s - self.offset_s) / self.rate)

    def true_past(self, own_s: float) -> float:
        """The same for a time that is over."""
        return (own_s - self.offset_s) / self.rate

    # ---- the disk -----------------------------------------------------------------------------------

    def inline_delay_s(self) -> float:
        """How long the disk keeps a write waiting; 0: it does not."""
        if self.hung:
            return 1e-6
        if self.slow_percent and self.rng.chance(self.slow_percent):
            return jitter_s(self.rng, max(self.slow_s, self.limp_s)) + 1e-6
        return 0.0

    def lane_delay_s(self, name: str) -> float:
        """How long a call on this lane takes."""
        if name == "log" and self.late_s:
            late_s, self.late_s = self.late_s, 0.0
            return late_s
        typical_s = self.world.settings.lane_s.get(name, 0.0005)
        if self.slow_s and name in ("log", "flush", "read", "digest"):
            typical_s += self.slow_s
        return jitter_s(self.rng, typical_s)

    def wait_for_disk(self, call: Callable[[], None], process: Process) -> bool:
        """Whether the disk hangs; then the call is made again when it does not any more."""
        if self.hung:
            self.stuck.append((call, process))
        return self.hung

    def disk_answers(self) -> None:
        """The disk does not hang any more."""
        self.hung = False
        stuck, self.stuck = self.stuck, []
        for call, process in stuck:
            self.world.schedule.after(0.0, call, process)

    # ---- power and agent ----------------------------------------------------------------------------

    def power_off(self) -> None:
        """Power is gone: what was not synced may be, too."""
        if not self.powered:
            return
        self.powered = False
        self.boots += 1
        self.stuck.clear()
        for unit in self.units.values():
            if unit.process is not None:
                unit.died(unit.process, "power")
            unit.settled_off()
            unit.death, unit.last_beat = None, None
        self.agent_up = False
        self.disk.power_loss(self.rng)
        self.world.judge.power_lost(self)

    def replace_disk(self) -> None:
        """Everything that was on its disk is gone; the volumes are created anew."""
        for unit in self.units.values():
            self.world.judge.disk_replaced(unit)
        self.disk = self.world.blank_disk(self)

    def power_on(self) -> None:
        """It boots: the agent starts its workers."""
        if self.powered:
            return
        self.powered, self.agent_up, self.agent_frozen = True, True, False
        for unit in self.units.values():
            unit._later(jitter_s(self.rng, 0.2 * unit.settings.timeout_s), unit.spawn)

    def agent_down(self) -> None:
        """The agent's process is dead."""
        self.agent_up = False
        for unit in self.units.values():
            self._link(unit, up=False)

    def agent_back(self) -> None:
        """The next agent adopts what lives and cleans up after what does not."""
        if not self.powered or self.agent_up:
            return
        self.agent_up = True
        for unit in self.units.values():
            if unit.process is not None:
                unit.heard_s = self.world.schedule.now_s
                self._link(unit, up=True)
            else:
                unit.settled_off()
                unit._later(0.05, unit.spawn)

    def _link(self, unit: Unit, *, up: bool) -> None:
        process = unit.process
        if process is not None and process.link is not None:
            link = process.link
            self.world.schedule.after(0.0, lambda: link.connect(up), process, 0)

    def look(self, interval_s: float) -> None:
        """The agent's regular work."""
        if self.powered and not self.agent_frozen:
            for unit in self.units.values():
                unit.agent_looks()
        self.world.schedule.after(interval_s, lambda: self.look(interval_s))

    def tell_peer(self, unit: Unit, messages: list[Mapping[str, Any]], *, reliable: bool = False) -> None:
        """From agent to agent."""
        network, peer = self.world.network, self.peer
        if self.agent_frozen or not network.passes(self.name):
            return
        if reliable and not network.passes(peer.name):
            return
        delay_s = network.datagram_delay_s(self.name)

        def arrive() -> None:
            if peer.powered and peer.agent_up and not peer.agent_frozen:
                peer.units[unit.module].hear_peer(messages)

        self.world.schedule.after(delay_s, arrive)
