"""Two real machines in a fake world: disks, network, hosts, clock, agents, and a judge that never looks away.

Everything a node does is cut into the smallest steps (a record made durable, a message sent, an action
performed, an event handled); after each the judge checks the promises. A node can be stopped dead before
any of these steps.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.etcd import FakeEtcd

from twinhull.core import actions, events, messages
from twinhull.core.actions import Batch
from twinhull.core.identity import Id
from twinhull.core.machine import Machine
from twinhull.core.record import Record
from twinhull.core.settings import ModuleSettings
from twinhull.core.status import ModuleView

from .judge import Judge
from .storage import BLOCK_BYTES, BLOCKS, Disk, FakeMirror, Frame, Request

T_S = 10.0
TICK_S = T_S / 20
BEAT_EVERY = 2
HARMLESS = (
    actions.Say, actions.Reply, actions.CloseStream, actions.CloseIO, actions.HoldIO, actions.EndSession,
)  # fmt: skip

Step = tuple[str, Callable[[], None]]


class CrashedError(Exception):
    """The node was stopped dead at a step."""


@dataclass
class HostFacts:
    """How the host of a node behaves."""

    attached: bool = False
    running: bool = False
    guest_stops: bool = True
    folder_busy: bool = False
    attach_fails: bool = False
    start_fails: bool = False
    off_fails: bool = False
    suspended: bool = False
    made: bool = False


@dataclass
class Conn:
    """One TCP connection between two processes."""

    ends: dict[str, int]
    queues: dict[str, deque[tuple[str, Any]]]
    open_at: dict[str, bool]


class Process:
    """One worker process: a real machine, a fake mirror, and what waits to be done."""

    def __init__(self, node: Node, number: int) -> None:
        world = node.world
        self.node = node
        self.id = world.new_id()
        self.machine = Machine(
            node.settings,
            node.record,
            size_bytes=BLOCKS * BLOCK_BYTES,
            process=self.id,
            new_id=world.new_id,
            now_s=world.now_s,
            marks=bool(node.disk.marks),
        )
        self.mirror = FakeMirror(
            node.disk,
            send=self._send_frame,
            tell=self._tell,
            done=lambda request, ok, alone: world.judge.completed(node.name, request, ok, alone),
            now=lambda: world.now_s,
            write_timeout_s=node.settings.write_timeout_s,
        )
        self.inbox: deque[events.Event] = deque()
        self.steps: deque[tuple[int, Step]] = deque()
        self.batches = 0
        self.conn: Conn | None = None
        self.connections = 0
        self.stuck_since_s: float | None = None
        self.question: int | None = None
        self.requests: list[actions.ReadWitness | actions.WriteWitness] = []
        self.paused = False
        self.heard = False

    def _tell(self, event: events.Event) -> None:
        self.inbox.append(event)

    def _send_frame(self, frame: Frame) -> None:
        if self.conn is not None and self.mirror.session is not None:
            self.conn.queues[self.node.name].append(("frame", (self.mirror.session, frame)))

    # ---- steps ------------------------------------------------------------------------------------

    def handle(self, event: events.Event) -> None:
        """One event for the machine; its batches are queued as steps."""
        for batch in self.machine.handle(event, self.node.world.now_s):
            self._queue(batch)

    def _queue(self, batch: Batch) -> None:
        self.batches += 1
        if batch.persist is not None:
            record = batch.persist
            self.steps.append((self.batches, ("record", lambda: self._persist(record))))
        for connection, message in batch.send:
            name = f"send {type(message).__name__}"
            self.steps.append((self.batches, (name, lambda c=connection, m=message: self._send(c, m))))  # type: ignore[misc]
        for action in batch.apply:
            name = type(action).__name__
            self.steps.append((self.batches, (name, lambda a=action: self._perform(a))))  # type: ignore[misc]

    def _persist(self, record: Record) -> None:
        disk = self.node.disk
        if disk.record_fails or disk.record_fails_once:
            disk.record_fails_once = False
            self._drop_steps()
            self.inbox.appendleft(self._record_failed("the record could not be written"))
            return
        self.node.record = record

    def _record_failed(self, reason: str) -> events.DiskFailed:
        return events.DiskFailed(reason, record=True, durable=self.node.record)

    def _drop_steps(self) -> None:
        keep = {action.__name__ for action in HARMLESS}
        self.steps = deque((batch, step) for batch, step in self.steps if step[0] in keep)

    def runnable(self) -> bool:
        """Whether a step can be taken now; a record that hangs holds back everything."""
        if not self.steps:
            return False
        if self.steps[0][1][0] == "record" and (self.node.disk.record_hangs or self.node.disk.hung):
            now_s = self.node.world.now_s
            if self.stuck_since_s is None:
                self.stuck_since_s = now_s
            if now_s - self.stuck_since_s < self.node.settings.write_timeout_s:
                return False
            self.stuck_since_s = None
            self._drop_steps()
            self.inbox.appendleft(self._record_failed("the record was not written in time"))
            return bool(self.steps)
        self.stuck_since_s = None
        return True

    def _send(self, connection: int, message: messages.Message) -> None:
        data = messages.encode(message)
        conn = self.conn
        if conn is not None and conn.ends[self.node.name] == connection:
            conn.queues[self.node.name].append(("message", data))

    def _perform(self, action: actions.Action) -> None:
        perform = getattr(self, f"_do_{type(action).__name__}", None)
        if perform is not None:
            perform(action)
        else:
            self._on_mirror(action)

    def _on_mirror(self, action: actions.Action) -> None:
        mirror = self.mirror
        simple: dict[type, Callable[[], None]] = {
            actions.OpenAlone: mirror.open_alone,
            actions.HoldIO: mirror.hold,
            actions.CloseIO: mirror.close_io,
            actions.FailUp: mirror.fail_up,
            actions.ServeIO: mirror.serve,
            actions.StartCopy: mirror.start_copy,
            actions.FinishCopy: mirror.finish_copy,
            actions.EndSession: mirror.end_session,
            actions.Quiesce: mirror.quiesce,
        }
        simple[type(action)]()

    def _do_BeginSession(self, action: actions.BeginSession) -> None:  # noqa: N802
        self.mirror.begin_session(
            action.session, primary=action.primary, resend=action.resend, everything=action.everything
        )
        if action.primary and action.serve:
            self.mirror.serve()

    def _do_EndRescue(self, _: actions.EndRescue) -> None:  # noqa: N802
        """The rescue has its own tests."""

    def _do_GiveUpRescue(self, _: actions.GiveUpRescue) -> None:  # noqa: N802
        """The rescue has its own tests."""

    def _do_EndCopyFlush(self, action: actions.EndCopyFlush) -> None:  # noqa: N802
        self.mirror.end_copy_flush(action.epoch)

    def _do_SetLease(self, action: actions.SetLease) -> None:  # noqa: N802
        self.mirror.set_lease(action.until_s)

    def _do_CloseStream(self, action: actions.CloseStream) -> None:  # noqa: N802
        if self.conn is not None and self.conn.ends[self.node.name] == action.connection:
            self.conn.open_at[self.node.name] = False
            self.conn = None

    def _do_TellPeer(self, action: actions.TellPeer) -> None:  # noqa: N802
        data = messages.encode(action.message)
        self.node.world.through_agents(self.node, lambda: events.Told(messages.decode(data)))

    def _do_DrainInput(self, action: actions.DrainInput) -> None:  # noqa: N802
        self.node.world.drain(self.node)
        self.inbox.append(events.InputDrained(action.token))

    def _do_AskWitness(self, action: actions.AskWitness) -> None:  # noqa: N802
        self.question = action.question

    def _do_ReadWitness(self, action: actions.ReadWitness) -> None:  # noqa: N802
        self.requests.append(action)

    def _do_WriteWitness(self, action: actions.WriteWitness) -> None:  # noqa: N802
        self.requests.append(action)

    def ask_etcd(self) -> None:
        """What waits for the witness is asked, as well as this node reaches it."""
        waiting, self.requests = self.requests, []
        for request in waiting:
            self._ask_etcd(request)

    def _ask_etcd(self, request: actions.ReadWitness | actions.WriteWitness) -> None:
        node, etcd = self.node, self.node.world.etcd
        if isinstance(request, actions.ReadWitness):
            seen = etcd.read() if node.witness in ("grants", "answers late") else None
            self.inbox.append(events.WitnessRead(request.request, seen, "" if seen else "no route to host"))
            return
        if node.witness == "answers late":
            node.late.append(lambda: etcd.write(request.key_revision, request.record))
        done, found = False, None
        if node.witness in ("grants", "loses answers"):
            done, found = etcd.write(request.key_revision, request.record)
        if node.witness != "grants":
            done, found = False, None
        self.inbox.append(events.WitnessWritten(request.request, done, found, "" if found else "timed out"))

    def _do_ArmCheckers(self, action: actions.ArmCheckers) -> None:  # noqa: N802
        self.node.armed = action.armed

    def _do_Say(self, action: actions.Say) -> None:  # noqa: N802
        self.node.world.said.append((self.node.name, action.sentence))
        if action.audit:
            self.node.audit.append(action.sentence)

    def _do_Reply(self, action: actions.Reply) -> None:  # noqa: N802
        self.node.replies.append((action.command, action.ok, action.sentence))

    # ---- the host ---------------------------------------------------------------------------------

    def _answer(self, event: events.Event) -> None:
        self.node.host_answers.append((self, event))

    def _do_Attach(self, action: actions.Attach) -> None:  # noqa: N802
        host = self.node.host
        if host.attach_fails:
            self._answer(events.AttachFailed("mount: wrong fs type"))
            return
        host.attached, host.made = True, host.made or action.make
        self._answer(events.Attached())

    def _do_Detach(self, action: actions.Detach) -> None:  # noqa: N802
        host = self.node.host
        if host.folder_busy and not action.forced:
            self._answer(events.DetachFailed("bash (pid 42) holds the folder"))
            return
        host.attached = False
        self._answer(events.Detached())

    def _do_StartResource(self, action: actions.StartResource) -> None:  # noqa: N802
        host = self.node.host
        if host.start_fails:
            self._answer(events.ResourceStartFailed("no such network"))
            return
        self.node.world.judge.starting(self.node.name, resume=action.resume)
        host.running, host.suspended = True, False
        self._answer(events.ResourceStarted())

    def _do_StopResource(self, action: actions.StopResource) -> None:  # noqa: N802
        host = self.node.host
        gently = action.mode.value != "off"
        if (gently and not host.guest_stops) or (not gently and host.off_fails):
            self._answer(events.ResourceStopFailed("the guest did not react"))
            return
        saved = host.running and action.mode.value == "save"
        host.running = False
        self.node.world.judge.state_saved |= saved
        self._answer(events.ResourceStopped(saved=saved))

    def _do_SuspendResource(self, _: actions.SuspendResource) -> None:  # noqa: N802
        self.node.host.suspended = True

    def _do_ResumeResource(self, _: actions.ResumeResource) -> None:  # noqa: N802
        self.node.host.suspended = False


@dataclass
class Node:
    """One server: what survives its processes, and the process that lives now."""

    world: World
    name: str
    settings: ModuleSettings
    record: Record
    disk: Disk = field(default_factory=Disk)
    host: HostFacts = field(default_factory=HostFacts)
    process: Process | None = None
    powered: bool = True
    agent_up: bool = True
    agent_stays_down: bool = False
    armed: bool = False
    witness: str = "grants"
    late: list[Callable[[], object]] = field(default_factory=list)
    rescue_trouble: str = ""
    replies: list[tuple[str, bool, str]] = field(default_factory=list)
    audit: list[str] = field(default_factory=list)
    host_answers: deque[tuple[Process, events.Event]] = field(default_factory=deque)
    agent_queue: deque[Callable[[], events.Event]] = field(default_factory=deque)

    @property
    def acts(self) -> bool:
        """Whether its process runs (not frozen, not dead)."""
        return self.powered and self.process is not None and not self.process.paused

    def view(self) -> ModuleView:
        """What its status shows."""
        if self.process is None:
            raise AssertionError(f"{self.name} has no worker")
        return self.process.machine.view(self.world.now_s)


class World:
    """Two nodes, a clock, a network and a judge.

    Args:
        settings: what differs from the defaults, for both nodes.
        seed: of the order in which things happen; None: a plain, fair order.
    """

    def __init__(self, seed: int | None = None, **settings: Any) -> None:
        self.now_s = 1000.0
        self.random = random.Random(0 if seed is None else seed)
        self.shuffled = seed is not None
        self.said: list[tuple[str, str]] = []
        self.cut: set[tuple[str, str, str]] = set()
        self.ids = 0
        self.ticks = 0
        self.log: list[str] = []
        self.crash_at: tuple[str, int, str] | None = None
        self.counted = 0
        self.settings = {"timeout_s": T_S, "write_timeout_s": T_S, "preferred": "a", **settings}
        self.nodes = {name: self._node(name) for name in ("a", "b")}
        self.etcd = FakeEtcd()
        self.judge = Judge(self)
        for node in self.nodes.values():
            self.spawn(node.name)

    def new_id(self) -> Id:
        """A fresh id: unique, and the same in every run of the same seed."""
        self.ids += 1
        return Id(self.ids.to_bytes(4, "big") + bytes(12))

    def _node(self, name: str) -> Node:
        peer = "b" if name == "a" else "a"
        settings = ModuleSettings(module="VM1", node=name, peer=peer, **self.settings)
        return Node(self, name, settings, Record(volume_id=None, replica_id=self.new_id()))

    def peer(self, name: str) -> Node:
        """The other node."""
        return self.nodes["b" if name == "a" else "a"]

    # ---- the operator and the faults --------------------------------------------------------------

    def spawn(self, name: str) -> None:
        """The agent starts a worker (in STOP); a dead one's resource was turned off before."""
        node = self.nodes[name]
        if node.process is not None or not node.powered:
            return
        node.host.running = node.host.attached = False
        node.host_answers.clear()
        node.process = Process(node, self.ids)
        self.tell(name, events.AgentLink(node.agent_up))
        self.tell(name, events.RescueRoom(node.rescue_trouble))

    def tell(self, name: str, event: events.Event) -> None:
        """An event for the machine of a node."""
        process = self.nodes[name].process
        if process is not None:
            process.inbox.append(event)

    def kill(self, name: str, *, told: bool = True) -> None:
        """SIGKILL to the worker. The kernel closes its connection; the agent turns its resource off, then tells."""
        node = self.nodes[name]
        process = node.process
        if process is None:
            return
        session = process.machine.heartbeat(self.now_s).session
        self._drop_process(node)
        node.host.running = node.host.attached = False
        if told and node.agent_up:
            dead = events.PeerWorkerDead(process.id, session)
            self.through_agents(node, lambda: dead)

    def _drop_process(self, node: Node) -> None:
        process = node.process
        if process is not None and process.conn is not None:
            process.conn.open_at[node.name] = False
        node.process = None
        node.host_answers.clear()

    def power_off(self, name: str, keeps: Callable[[int], bool] = lambda _: False) -> None:
        """Power loss: what was not flushed is lost (or kept, block by block)."""
        node = self.nodes[name]
        if not node.powered:
            return
        process = node.process
        node.powered = False
        self.judge.power_lost(name)
        node.disk.lose_power(keeps)
        if process is not None and process.conn is not None:
            process.conn.queues[name].clear()
            process.conn.open_at[name] = False
        node.process = None
        node.host.running = node.host.attached = False
        node.host_answers.clear()
        node.agent_queue.clear()

    def power_on(self, name: str) -> None:
        """It boots; its agent starts a worker."""
        self.nodes[name].powered = True
        self.nodes[name].disk.hung = self.nodes[name].disk.record_hangs = False
        self.spawn(name)

    def replace_disk(self, name: str) -> None:
        """The disk was destroyed; a blank one is in its place."""
        node = self.nodes[name]
        self._drop_process(node)
        self.judge.disk_destroyed(name)
        node.disk = Disk()
        node.record = Record(volume_id=None, replica_id=self.new_id())
        node.host = HostFacts()

    def write(self, name: str, block: int) -> None:
        """The client writes the next number to a block."""
        self._request(name, flush=False, block=block)

    def flush(self, name: str) -> None:
        """The client flushes."""
        self._request(name, flush=True, block=-1)

    def _request(self, name: str, *, flush: bool, block: int) -> None:
        node = self.nodes[name]
        if node.process is None or not node.host.running or node.host.suspended:
            return
        value = self.judge.next_value()
        self.judge.submitted(name, value, flush, block)
        node.process.mirror.submit(Request(flush, block, value, self.now_s))

    # ---- the network ------------------------------------------------------------------------------

    def blocked(self, kind: str, source: str) -> bool:
        """Whether nothing of this kind gets from the source to the other node."""
        return (kind, source, self.peer(source).name) in self.cut

    def through_agents(self, node: Node, event: Callable[[], events.Event]) -> None:
        """Something for the peer's machine by way of both agents; lost when any part of the way is."""
        peer = self.peer(node.name)
        agents_up = node.powered and node.agent_up and peer.powered and peer.agent_up
        if agents_up and not self.blocked("agents", node.name):
            peer.agent_queue.append(event)

    def _connect(self) -> None:
        a, b = self.nodes["a"], self.nodes["b"]
        if not (a.acts and b.acts and a.process and b.process) or self._any_cut("stream"):
            return
        if a.process.conn is not None and a.process.conn is b.process.conn:
            return
        ends = {}
        for node in (a, b):
            node.process.connections += 1  # type: ignore[union-attr]
            ends[node.name] = node.process.connections  # type: ignore[union-attr]
        conn = Conn(ends, {"a": deque(), "b": deque()}, {"a": True, "b": True})
        for node in (a, b):
            process = node.process
            if process is None:
                continue
            if process.conn is not None:
                process.inbox.append(events.StreamDown(process.conn.ends[node.name], "reset by the peer"))
            process.conn = conn
            process.inbox.append(events.StreamUp(ends[node.name]))

    def _any_cut(self, kind: str) -> bool:
        return any(entry[0] == kind for entry in self.cut)

    def _deliver_stream(self, node: Node) -> bool:
        """The next message or frame for this node; True if there was one."""
        process = node.process
        if process is None or process.conn is None:
            return False
        peer = self.peer(node.name)
        conn = process.conn
        queue = conn.queues[peer.name]
        if self.blocked("stream", peer.name) or not self.nodes[node.name].powered:
            return False
        if queue:
            kind, content = queue.popleft()
            if kind == "frame":
                process.heard = True
                process.mirror.frame(*content)
            elif kind == "beat":
                process.inbox.append(content)
            else:
                message = messages.decode(content)
                process.inbox.append(events.Received(conn.ends[node.name], message))
            return True
        if not conn.open_at[peer.name] and (peer.powered or self.ticks % 400 == 399):
            process.conn = None
            process.inbox.append(events.StreamDown(conn.ends[node.name], "closed by the peer"))
            return True
        return False

    def drain(self, node: Node) -> None:
        """Everything that has arrived is handed over."""
        while self._deliver_stream(node):
            pass
        while node.agent_queue and node.process is not None:
            node.process.inbox.append(node.agent_queue.popleft()())

    # ---- time -------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Time passes; everything that can happen meanwhile happens."""
        for _ in range(max(1, round(seconds / TICK_S))):
            self.now_s += TICK_S
            self.ticks += 1
            self._connect()
            for node in self.nodes.values():
                self._tick(node)
            self.settle()

    def _tick(self, node: Node) -> None:
        process = node.process
        if process is None or not node.acts:
            return
        if process.heard:
            process.heard = False
            process.inbox.append(events.Heard())
        process.inbox.append(events.Tick())
        process.mirror.tick()
        if self.ticks % BEAT_EVERY == 0:
            self._beat(node, process)
        if process.requests and node.witness != "is silent":
            process.ask_etcd()
        if process.question is not None and node.witness != "is silent":
            number, process.question = process.question, None
            granted = node.witness == "grants"
            process.inbox.append(
                events.WitnessAnswer(number, granted, "" if granted else "no address answers")
            )

    def _beat(self, node: Node, process: Process) -> None:
        out = process.machine.heartbeat(self.now_s)
        event = events.Heartbeat(*out)
        if process.conn is not None:
            process.conn.queues[node.name].append(("beat", event))
        self.through_agents(node, lambda: event)

    def settle(self) -> None:
        """Do whatever can be done without time passing."""
        for _ in range(5000):
            ready = [step for node in self.nodes.values() for step in self._ready(node)]
            if not ready:
                return
            (self.random.choice(ready) if self.shuffled else ready[0])()
            self.judge.look()
        raise AssertionError("the world does not come to rest")

    def _ready(self, node: Node) -> list[Callable[[], None]]:
        process = node.process
        if process is None or not node.acts:
            return []
        found: list[Callable[[], None]] = []
        if process.runnable():
            found.append(lambda: self._step(node, process))
        if process.inbox:
            found.append(lambda: process.handle(process.inbox.popleft()))
        if not self.shuffled and found:
            return found
        if node.host_answers:
            found.append(lambda: self._host_answers(node))
        if self._stream_waits(node):
            found.append(lambda: self._deliver(node))
        if node.agent_queue:
            found.append(lambda: process.inbox.append(node.agent_queue.popleft()()))
        return found

    def _host_answers(self, node: Node) -> None:
        process, event = node.host_answers.popleft()
        if process is node.process:
            process.inbox.append(event)

    def _stream_waits(self, node: Node) -> bool:
        process, peer = node.process, self.peer(node.name)
        if process is None or process.conn is None or self.blocked("stream", peer.name):
            return False
        return bool(process.conn.queues[peer.name]) or (not process.conn.open_at[peer.name] and peer.powered)

    def _deliver(self, node: Node) -> None:
        self._deliver_stream(node)

    def _step(self, node: Node, process: Process) -> None:
        if self.crash_at is not None and self.crash_at[0] == node.name:
            self.counted += 1
            if self.counted == self.crash_at[1]:
                how, self.crash_at = self.crash_at[2], None
                self.log.append(f"{node.name} is stopped before {process.steps[0][1][0]}")
                if how == "kill":
                    self.kill(node.name)
                else:
                    self.power_off(node.name)
                return
        _, (_, perform) = process.steps.popleft()
        perform()
