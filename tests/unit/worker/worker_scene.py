"""A real worker (machine, mirror, volume) on a fake disk, a fake host and a fake agent's end of its socket."""

from __future__ import annotations

import json
import logging
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.fakes.attacher import FakeAttacher
from tests.fakes.disk import FakeDisk
from tests.fakes.export import FakeExport
from tests.fakes.resource import FakeResource
from tests.integration.transport.support import Cluster

from twinhull.clock import boot_clock_s
from twinhull.core.identity import Id
from twinhull.core.machine import Machine
from twinhull.core.mirror import Mirror, ResyncSettings
from twinhull.core.settings import ModuleSettings
from twinhull.storage.kept import Keeper
from twinhull.storage.rescue import Store
from twinhull.storage.volume import METADATA_FILE, Volume
from twinhull.worker.host import HostParts
from twinhull.worker.link import LineBuffer
from twinhull.worker.moves import Moves
from twinhull.worker.peer import Path as NetworkPath
from twinhull.worker.peer import StreamSettings
from twinhull.worker.verify import VerifyParts
from twinhull.worker.worker import Parts, Worker

MIB = 1 << 20
PATIENCE_S = 30.0
LOG = logging.LoggerAdapter(logging.getLogger("twinhull.test"), {})


class FakeCheckers:
    """Checkers that a test sets off."""

    def __init__(self, failed: Callable[[str, str, str], None]) -> None:
        self.failed = failed
        self.calls: list[str] = []

    def arm(self, armed: bool) -> None:
        self.calls.append("arm" if armed else "rest")

    def suspend(self, suspended: bool) -> None:
        self.calls.append("suspend" if suspended else "go on")

    def snapshot(self) -> dict[str, Any]:
        return {"guest": {"ok": True}}

    def close(self) -> None:
        self.calls.append("close")


class FakeWitness:
    """Answers what it is told to answer."""

    def __init__(self) -> None:
        self.verdict: tuple[bool, str] | Exception = (False, "the fake witness refuses")
        self.asked = threading.Event()

    def ask(self) -> tuple[bool, str]:
        self.asked.set()
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


class AgentEnd:
    """The agent's end of a worker's socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(path))
        self._lines = LineBuffer()
        self._unread: list[dict[str, Any]] = []
        self._number = 100
        self.seen: list[dict[str, Any]] = []

    def send(self, message: Mapping[str, Any]) -> None:
        self.send_bytes(json.dumps(message).encode() + b"\n")

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def next(self) -> dict[str, Any] | None:
        """The next message; None at the end of the connection."""
        while not self._unread:
            data = self._socket.recv(1 << 16)
            if not data:
                return None
            self._unread += self._lines.feed(data)
        message = self._unread.pop(0)
        self.seen.append(message)
        return message

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read until such a message comes."""
        while True:
            message = self.next()
            assert message is not None, "the worker closed the connection"
            if wanted(message):
                return message

    def view(self, wanted: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        """Read until the view is so."""
        message = self.until(lambda m: m["op"] == "view" and wanted(m["view"]))
        view: dict[str, Any] = message["view"]
        return view

    def give(self, command: str, **arguments: Any) -> int:
        """Give a command; its number."""
        self._number += 1
        self.send({"op": "command", "id": self._number, "command": command, "arguments": arguments})
        return self._number

    def answer(self, number: int) -> dict[str, Any]:
        return self.until(lambda m: m["op"] == "answer" and m["id"] == number)

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        return self.answer(self.give(command, **arguments))

    def at_end(self) -> bool:
        """Read until the connection ends."""
        while self.next() is not None:
            pass
        return True

    def close(self) -> None:
        self._socket.close()


class Scene:
    """One node's worker with everything around it."""

    def __init__(
        self, cluster: Cluster, directory: Path, disk: FakeDisk, *, moves: Moves[Any] | None = None
    ) -> None:
        self.disk = disk
        self.resource = FakeResource()
        self.attacher = FakeAttacher()
        self.exports: list[FakeExport] = []
        self.exported = threading.Condition()
        self.witness = FakeWitness()
        self.audited: list[str] = []
        self.renewed: list[str] = []
        self.renewal_fails: Exception | None = None
        self.link_path = directory / "VM1.sock"
        self.rescue = Store(disk.directory("rescue"), "VM1", "a", MIB)
        self.failure: Exception | None = None
        self.worker = Worker(self._parts(cluster, moves))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._agents: list[AgentEnd] = []

    def _parts(self, cluster: Cluster, moves: Moves[Any] | None) -> Parts:
        settings = ModuleSettings("VM1", "a", "b", timeout_s=1.0, write_timeout_s=1.0, witness_timeout_s=1.0)
        directory = self.disk.directory()
        directory_of_files = self.link_path.parent
        known = self.disk.directory().exists(METADATA_FILE)
        volume = (
            Volume.open(directory)
            if known
            else Volume.create(directory, size_bytes=MIB, replica_id=Id(os.urandom(16)), minimum_bytes=MIB)
        )
        self.volume = volume
        mirror = Mirror(
            volume.size_bytes, volume.bits(), volume.log_extents(), volume.log_capacity, 1.0, ResyncSettings()
        )
        machine = Machine(
            settings,
            volume.record,
            size_bytes=volume.size_bytes,
            process=Id(os.urandom(16)),
            new_id=lambda: Id(os.urandom(16)),
            now_s=boot_clock_s(),
            marks=mirror.has_marks,
        )
        stream = StreamSettings(
            cluster=cluster.name,
            module="VM1",
            node="a",
            peer="b",
            connects=True,
            paths=(NetworkPath("replication", "127.0.0.1", "127.0.0.1"),),
            port=_free_port(),
            server_context=cluster.server("a"),
            client_context=cluster.client("a"),
        )
        return Parts(
            settings=settings,
            machine=machine,
            mirror=mirror,
            volume=volume,
            space=lambda: {"allocated_bytes": 1, "space_warnings": ["85 % full"]},
            stream=stream,
            host=HostParts(lambda _loop, _serve: self._make_export(), self.attacher, self.resource, moves),
            make_checkers=self._make_checkers,
            witness=self.witness,
            link_path=self.link_path,
            renew=self._renew,
            log=LOG,
            audit=self.audited.append,
            keeper=Keeper(self.rescue),
            rescue=self.rescue,
            verify=VerifyParts(directory_of_files / "verify" / "VM1.json", lambda ranges: ([], "")),
        )

    def _make_export(self) -> FakeExport:
        with self.exported:
            self.exports.append(FakeExport())
            self.exported.notify_all()
            return self.exports[-1]

    def _make_checkers(self, failed: Callable[[str, str, str], None]) -> FakeCheckers:
        self.checkers = FakeCheckers(failed)
        return self.checkers

    def _renew(self) -> None:
        if self.renewal_fails is not None:
            raise self.renewal_fails
        self.renewed.append("renewed")

    @property
    def export(self) -> FakeExport:
        return self.exports[-1]

    def begin(self) -> AgentEnd:
        """Run the worker; an agent's end of its socket."""
        self._thread.start()
        return self.agent()

    def agent(self) -> AgentEnd:
        self._agents.append(AgentEnd(self.link_path))
        return self._agents[-1]

    def running_alone(self) -> AgentEnd:
        """Begin, start as primary, and wait until the resource runs."""
        agent = self.begin()
        answer = agent.ask("start", as_primary=True)
        assert answer["ok"], answer
        agent.view(lambda view: view["resource_state"] == "running")
        return agent

    def _run(self) -> None:
        try:
            self.worker.run()
        except Exception as error:  # noqa: BLE001 - the tests look at it
            self.failure = error

    def ended(self) -> bool:
        """Wait until the worker has ended."""
        self._thread.join(PATIENCE_S)
        return not self._thread.is_alive()

    def close(self) -> None:
        self.worker.end()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE_S)
        for agent in self._agents:
            agent.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def short_directory() -> Path:
    """A directory whose name is short enough for a socket."""
    return Path(tempfile.mkdtemp(prefix="th-worker-"))
