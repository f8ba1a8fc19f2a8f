"""A worker process: the real worker on a simulated loop, which can be killed, frozen, or stopped dead in any of its acts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import twinhull.core.mirror_copy
import twinhull.storage.metadata
import twinhull.storage.rescue
import twinhull.storage.rescue_format
import twinhull.worker.disk
import twinhull.worker.host
import twinhull.worker.peer
import twinhull.worker.verify
import twinhull.worker.worker
from twinhull.core import mirror_digests
from twinhull.core.effects import VerifyEnded
from twinhull.core.identity import Id
from twinhull.core.machine import Machine
from twinhull.core.marks import BLOCK_BYTES
from twinhull.core.mirror import Mirror, ResyncSettings
from twinhull.core.mirror_verify import VerifyReport
from twinhull.storage.rescue import Store
from twinhull.storage.volume import Volume
from twinhull.transport.frames import MAX_VERSION, MIN_VERSION
from twinhull.transport.protocol import StreamProtocol
from twinhull.worker.host import HostParts
from twinhull.worker.peer import Path as NetworkPath
from twinhull.worker.peer import StreamSettings
from twinhull.worker.verify import Verification, VerifyParts
from twinhull.worker.worker import Parts, Worker

from .clock import DeposedError, SimLane, SimLoop
from .host import SimAttacher, SimExport, SimResource
from .judge import ViolationError
from .network import SimListener, SimStream
from .rescued import RescueJudge

if TYPE_CHECKING:
    from .node import Node, Unit

Call = Callable[[], Any]

ZERO_BLOCK = bytes(BLOCK_BYTES)
MODULE_PORT = 7000


class DeathError(BaseException):
    """The process is stopped dead in the middle of what it does."""


class Building:
    """The process that is being made: whom its loop and its link to the agent belong to."""

    process: Process | None = None
    old_node = ""
    """Which node of the present life speaks the version of the protocol before this one."""


class SimLink:
    """Stands for `worker.link.AgentLink`: what is said arrives a moment later."""

    def __init__(
        self,
        loop: SimLoop,
        path: Path,
        on_message: Callable[[dict[str, Any]], None],
        on_change: Callable[[bool], None],
    ) -> None:
        self.process: Process = loop.process
        self.on_message = on_message
        self.on_change = on_change
        self.connected = False
        self.waiting: list[Mapping[str, Any]] = []
        self.process.link = self

    def send(self, message: Mapping[str, Any]) -> None:
        """To the agent, if there is one."""
        if self.connected:
            self.process.hook("agent")
            self.process.unit.agent_hears(self.process, message)

    def connect(self, up: bool) -> None:
        """The agent came or went."""
        if up != self.connected:
            self.connected = up
            self.waiting.clear()
            self.on_change(up)

    def arrive(self, message: Mapping[str, Any]) -> None:
        """The agent said something; it waits in the socket until it is read."""
        self.waiting.append(message)
        if len(self.waiting) == 1:
            process = self.process
            process.world.schedule.after(0.0, self.read_all, process, 0)

    def read_all(self) -> None:
        """Hand over everything that has arrived."""
        waiting, self.waiting = self.waiting, []
        for message in waiting:
            self.on_message(dict(message))

    def close(self) -> None:
        """Nothing to close."""


class SimCheckers:
    """Stands for the checkers' runner; the faults tell their failures."""

    def __init__(self) -> None:
        self.armed = False

    def arm(self, armed: bool) -> None:
        """See `worker.worker.Checkers`."""
        self.armed = armed

    def suspend(self, suspended: bool) -> None:
        """See `worker.worker.Checkers`."""

    def snapshot(self) -> dict[str, Any]:
        """See `worker.worker.Checkers`."""
        return {}

    def close(self) -> None:
        """See `worker.worker.Checkers`."""


class SimKeeper:
    """Where a repair keeps what it overwrites."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def keep(self, offset_bytes: int, data: bytes) -> None:
        """See `worker.disk.Keeper`."""
        self._unit.kept.append((offset_bytes, data))


class SimLog:
    """Takes what is logged, for the story."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def log(self, _level: int, text: str, *arguments: object) -> None:
        """A sentence of the machine."""
        self._unit.world.story.add(self._unit.node.name, text % arguments if arguments else text)

    def info(self, text: str, *arguments: object) -> None:
        """See `logging.Logger`."""
        self._unit.world.story.add(self._unit.node.name, text % arguments if arguments else text)

    warning = error = info

    def debug(self, text: str, *arguments: object) -> None:
        """Not told."""


class Process:
    """One worker process of one module on one node.

    Raises StorageError when its volume cannot be opened.
    """

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.node: Node = unit.node
        self.world = unit.world
        self.id: Id = self.world.new_id()
        self.born_s = self.world.schedule.now_s
        self.dead = False
        self.frozen = False
        self.thawed_s = -1.0  # when it last went on after a sleep
        self.turning = False
        self.waiting: list[tuple[int, Call]] = []
        self.link: SimLink | None = None
        self.countdown: int | None = None
        self.ends = True  # at zero the process is dead; otherwise something else happens
        self.seen: tuple[object, object] = (None, None)
        self.at_zero: Callable[[], None] = _nothing
        self.acts = 0
        Building.old_node = self.world.settings.old_node
        self.node.disk.reopened(unit.module, self.node.rng)
        self.volume = Volume.open(unit.disk.directory(unit.module))
        self.rescue_judge = RescueJudge(unit, self.volume)
        self.world.judge.opened(unit, self.volume)
        self.checkers = SimCheckers()
        self.worker: Worker = self._build()
        self.loop: SimLoop = self.worker.loop  # type: ignore[assignment]

    def _build(self) -> Worker:
        unit, volume, node = self.unit, self.volume, self.node
        settings = unit.settings
        mirror = Mirror(
            volume.size_bytes,
            volume.bits(),
            volume.log_extents(),
            self.world.settings.log_capacity,
            settings.write_timeout_s,
            ResyncSettings(
                rate_limit_bytes_s=self.world.settings.resync_bytes_s,
                different_bytes=4 * BLOCK_BYTES,
                blind_bytes=4 * BLOCK_BYTES,
            ),
        )
        machine = Machine(
            settings,
            volume.record,
            size_bytes=volume.size_bytes,
            process=self.id,
            new_id=self.world.new_id,
            now_s=node.clock(),
            marks=mirror.has_marks,
        )
        self.machine, self.mirror = machine, mirror
        parts = Parts(
            settings=settings,
            machine=machine,
            mirror=mirror,
            volume=volume,
            space=dict,
            stream=self._stream(),
            host=HostParts(
                make_export=lambda _loop, _serve: self._make_export(),
                attacher=SimAttacher(unit, self),
                resource=SimResource(unit),
            ),
            make_checkers=lambda _failed: self.checkers,
            witness=unit.witness,
            memory=unit.memory,
            link_path=Path("/nowhere"),
            renew=_nothing,
            log=SimLog(unit),  # type: ignore[arg-type]
            audit=unit.audit.append,
            keeper=SimKeeper(unit),
            rescue=Store(
                unit.disk.directory(f"rescue-{unit.module}"),
                unit.module,
                node.name,
                volume.size_bytes,
                replica=volume.record.replica_id.hex(),
                now=lambda: 1_790_000_000.0,
                new_key=self.world.new_id,
            ),
            verify=VerifyParts(Path("/nowhere/verify.json"), lambda _ranges: ([], "")),
        )
        Building.process = self
        try:
            return Worker(parts, node.clock)
        finally:
            Building.process = None

    def _make_export(self) -> SimExport:
        export = SimExport(self.unit, self)
        self.unit.export = export
        return export

    def _stream(self) -> StreamSettings:
        node, peer = self.node.name, self.unit.settings.peer
        return StreamSettings(
            cluster="c",
            module=self.unit.module,
            node=node,
            peer=peer,
            connects=node == "a",
            paths=tuple(
                NetworkPath(name, f"{node}.{name}", f"{peer}.{name}") for name in self.world.network.names
            ),
            port=MODULE_PORT + self.unit.number,
            server_context=self,  # type: ignore[arg-type]
            client_context=self,  # type: ignore[arg-type]
        )

    # ---- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """What `Worker.run` does before its loop begins."""
        worker, room_s = self.worker, 6 * self.unit.settings.timeout_s
        worker._keep_pace()
        worker._rescues.look_at_room()
        worker._every(lambda: room_s, worker._rescues.look)
        worker._stream.start()

    def turn(self, call: Call) -> None:
        """One turn of the loop: what happened, messages of the lanes, then the pump."""
        self.turning = True
        loop = self.loop
        messages = loop.messages
        try:
            self._guarded(call)
            while messages:
                self._guarded(messages.popleft())
            while True:
                try:
                    loop.pump()
                    break
                except DeposedError:
                    continue
        except DeathError:
            self.at_zero()
        except ViolationError:
            raise
        except Exception as error:  # noqa: BLE001 - a worker that breaks down is what we look for
            self.world.defect(self.unit, error)
        finally:
            self.turning = False
        if messages and not self.dead:
            self.world.schedule.after(0.0, _nothing, self)
        self.world.judge.look(self.unit)

    @staticmethod
    def _guarded(call: Call) -> None:
        """Make the call."""
        try:
            call()
        except DeposedError:
            return  # it is stuck in a disk call, and the standby goes on

    def hook(self, _what: str) -> None:
        """Before each act that somebody else can see."""
        self.acts += 1
        if self.countdown is not None:
            self.countdown -= 1
            if self.countdown < 0:
                self.countdown = None
                if self.ends:
                    raise DeathError
                self.at_zero()

    def interrupt(self, acts: int, at_zero: Callable[[], None], *, ends: bool) -> None:
        """Have something happen before one of the next acts, those on the disk included."""
        self.countdown, self.at_zero, self.ends = acts, at_zero, ends
        self.node.disk.hook = self._disk_act

    def _disk_act(self, op: str, _file: str) -> None:
        if self.turning and op in ("write", "sync", "punch"):
            self.hook(op)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT: files are looked at first, then messages, then timers, then the pump."""
        if not self.frozen or self.dead:
            return
        self.frozen, self.thawed_s = False, self.world.schedule.now_s
        waiting, self.waiting = sorted(self.waiting, key=lambda each: each[0]), []
        if not waiting:
            return

        def everything() -> None:
            for _, call in waiting:
                if not self.dead:
                    call()

        self.world.schedule.after(0.0, everything, self)

    @property
    def state(self) -> str:
        """Of the machine: as it is shown."""
        return self.machine.view(self.node.clock()).state


def _nothing() -> None:
    """Nothing."""


def fast_digests(data: Any, key: bytes = b"") -> bytes:
    """What `mirror_digests.digests_of` gives, faster for blocks of zeros."""
    if len(data) % BLOCK_BYTES:
        return mirror_digests.digests_of(data, key)
    whole, zero = bytes(data), mirror_digests.zero_digest(key)
    return b"".join(
        zero
        if whole.startswith(ZERO_BLOCK, at)
        else mirror_digests.digests_of(whole[at : at + BLOCK_BYTES], key)
        for at in range(0, len(whole), BLOCK_BYTES)
    )


_remembered = functools.lru_cache(maxsize=256)
_decode_record = _remembered(twinhull.storage.metadata._decode_slot)
_decode_rescue = _remembered(twinhull.storage.rescue_format.decode_slot)
"""The judge reads each record and rescue anew; nearly always one of its two slots is as before."""


def _protocol(*, cluster: str, module: str, node: str, peer: str) -> StreamProtocol:
    """What the worker makes of a connection, of an older version where the life wants it."""
    behind = 0 if node != Building.old_node else 1 if node == "a" else 2
    newest = MAX_VERSION - behind
    return StreamProtocol(
        cluster=cluster, module=module, node=node, peer=peer, versions=(MIN_VERSION, newest)
    )


def _ended(self: Any, effect: VerifyEnded) -> None:
    """A comparison is over: the judge hears of it."""
    _verify_ended(self, effect)
    unit = self._log._unit
    report = effect.report
    if isinstance(report, VerifyReport):
        unit.world.judge.compared(unit, report.differing_bytes)


_verify_ended = Verification.ended


def _not_written(_self: Any, _result: Any) -> None:
    """Results of comparisons are not kept."""


def _not_read(_self: Any) -> None:
    """So there are none of before."""


def _loop_of_building(pump: Call, *, stall_s: float, clock: Any) -> SimLoop:
    return SimLoop(Building.process, pump)


@contextlib.contextmanager
def simulated_edges() -> Iterator[None]:
    """The worker's edges to the operating system are simulated ones while this lasts."""
    worker: Any = twinhull.worker.worker
    places: tuple[tuple[Any, str, Any], ...] = (
        (worker, "Loop", _loop_of_building),
        (worker, "AgentLink", SimLink),
        (twinhull.worker.disk, "Lane", SimLane),
        (twinhull.worker.host, "Lane", SimLane),
        (twinhull.worker.peer, "TlsStream", SimStream),
        (twinhull.worker.peer, "Listener", SimListener),
        (twinhull.worker.disk, "digests_of", fast_digests),
        (twinhull.core.mirror_copy, "digests_of", fast_digests),
        (twinhull.worker.peer, "StreamProtocol", _protocol),
        (Verification, "_write", _not_written),
        (Verification, "_read_last", _not_read),
        (Verification, "ended", _ended),
        (twinhull.worker.verify, "_now", lambda: "now"),
        (twinhull.storage.metadata, "_decode_slot", _decode_record),
        (twinhull.storage.rescue, "decode_slot", _decode_rescue),
    )
    before = [(place, name, getattr(place, name)) for place, name, _ in places]
    for place, name, new in places:
        setattr(place, name, new)
    try:
        yield
    finally:
        for place, name, old in before:
            setattr(place, name, old)
