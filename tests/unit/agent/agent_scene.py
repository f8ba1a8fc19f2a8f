"""A real agent's parts without processes: fake workers, a fake peer, a configuration in a directory of the test."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.integration.transport.support import Cluster

import twinhull
from twinhull import config as configuration
from twinhull.agent.agent import Agent
from twinhull.agent.jobs import Job
from twinhull.agent.methods import Methods
from twinhull.agent.supervisor import Death
from twinhull.errors import AgentDownError, PeerUnreachableError, TwinhullError
from twinhull.log import read_audit
from twinhull.transport.control import Caller
from twinhull.transport.tls import Role

PATIENCE_S = 20.0
PERSON = Caller("anna", Role.OPERATOR, "10.0.0.9")
PEER = Caller("b", Role.NODE, "10.77.1.2")
OWN = Caller("a", Role.NODE, "127.0.0.1")

MODULE = """
  {name}:
    number: {number}
    folder: {folder}/{name}
    size: {size}
    timings: {{timeout: 10, write_timeout: 10}}
    {more}
    resource:
      kind: scripts
      start: [/bin/true]
      stop: [/bin/true]
      check: [/bin/true]
"""


def cluster_text(directory: Path, *names: str, size: str = "1 GiB", keep: str = "ask", more: str = "") -> str:
    """A configuration with these modules."""
    modules = "".join(
        MODULE.format(name=name, number=number, folder=directory / "srv", size=size, more=more)
        for number, name in enumerate(names, 1)
    )
    return f"""cluster: c1
nodes:
  a: {{addresses: {{one: 198.51.100.1, two: 203.0.113.1}}}}
  b: {{addresses: {{one: 198.51.100.2, two: 203.0.113.2}}}}
networks:
  one: {{roles: [heartbeat, control]}}
  two: {{roles: [replication, heartbeat]}}
ports: {{control: 27410, heartbeat: 27411, data: 27420}}
keep: {keep}
modules:{modules or " {}"}
"""


def view(**facts: Any) -> dict[str, Any]:
    """What a worker shows, with these facts."""
    shown = {
        "state": "STOP",
        "module": "VM1",
        "node": "a",
        "timeout_s": 1.0,
        "move_failure": "",
        "colour": "red",
        "uptodate": True,
        "holding": False,
        "phase": "",
        "sentence": "VM1 is stopped on a.",
        "waiting_for": "",
        "resource": "is off",
        "resource_state": "off",
        "generation": "-",
        "peer_may_be_uptodate": True,
        "restarts": 0,
        "restart_limit": 3,
        "checkers_suspended": False,
        "checker_items": {},
        "alone_since_s": None,
        "marked_bytes": 0,
        "sync": {"left_bytes": 0, "copied_bytes": 0, "total_bytes": 0},
        "warnings": [],
        "volume": False,
        "network": None,
        "moving": None,
        "fault": "",
        "operation": "",
        "space_warnings": [],
        "allocated_bytes": 0,
        "disk_free_bytes": 0,
        "disk_total_bytes": 0,
        "version": twinhull.__version__,
    }
    return {**shown, **facts}


class FakeSupervisor:
    """A worker that a test speaks for."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.view: dict[str, Any] | None = view()
        self.views: list[dict[str, Any] | None] = []
        self.alive = True
        self.pid: int | None = 4711
        self.trouble = ""
        self.hushed = ""
        self.death: Death | None = None
        self.watching = True
        self.sent: list[dict[str, Any]] = []
        self.arrived = threading.Event()
        self.answer: dict[str, Any] | TwinhullError = {"ok": True, "sentence": "done"}
        self.after: dict[str, Any] | None = None
        self.closed: list[bool] = []

    def send(self, message: Mapping[str, Any], *, wait: bool = True) -> bool:
        self.sent.append(dict(message))
        self.arrived.set()
        return self.alive

    def ask(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        self.sent.append(dict(message))
        if isinstance(self.answer, TwinhullError):
            raise self.answer
        if self.after is not None:
            self.view = self.after
        return self.answer

    def start(self) -> None:
        self.sent.append({"op": "begun"})

    def close(self, *, end_worker: bool = False) -> None:
        self.closed.append(end_worker)


class FakePeer:
    """The other node's agent."""

    name = "b"

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, dict[str, Any] | TwinhullError] = {}
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.closed = False

    def call(
        self,
        method: str,
        arguments: dict[str, Any],
        *,
        patient: bool = False,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        self.calls.append((method, arguments))
        answer = self.answers.get(method, PeerUnreachableError("The agent of b does not answer."))
        if isinstance(answer, TwinhullError):
            raise answer
        return answer

    def post(self, method: str, arguments: dict[str, Any]) -> None:
        self.posted.append((method, arguments))

    def close(self) -> None:
        self.closed = True


class Scene:
    """The agent of node a; its workers and its peer are fakes."""

    def __init__(self, certificates: Cluster, directory: Path, *modules: str, more: str = "") -> None:
        self.directory = directory
        self.cluster_file = directory / "cluster.yml"
        self.cluster_file.write_text(cluster_text(directory, *modules, more=more))
        self.node_file = directory / "node.yml"
        lines = [
            "node: a",
            f"cluster_config: {self.cluster_file}",
            f"pki_dir: {certificates.member('a')}",
            f"data_dir: {directory / 'data'}",
            f"run_dir: {directory / 'run'}",
            f"log_dir: {directory / 'log'}",
        ]
        self.node_file.write_text("\n".join(lines) + "\n")
        node = configuration.load_node(self.node_file)
        (directory / "log").mkdir(exist_ok=True)
        self.agent = Agent(self.node_file, node, configuration.load_cluster(self.cluster_file, node))
        self.agent.peer.close()
        self.peer = FakePeer()
        self.agent.peer = self.peer  # type: ignore[assignment]
        self.workers: dict[str, FakeSupervisor] = {}
        for module in modules:
            self.add_worker(module)
        self.agent.watch_module = self.add_worker  # type: ignore[method-assign]
        self.methods = Methods(self.agent)
        self.table = self.methods.table()

    def add_worker(self, module: str) -> None:
        self.workers[module] = FakeSupervisor(module)
        self.agent.supervisors[module] = self.workers[module]  # type: ignore[assignment]

    def call(self, method: str, caller: Caller = PERSON, **arguments: Any) -> dict[str, Any]:
        return self.table[method](caller, arguments)

    def job(self, method: str, **arguments: Any) -> Job:
        """Call a method that begins a job, and wait until that is over."""
        before = set(threading.enumerate())
        job = self.agent.jobs.get(self.call(method, **arguments)["job"])
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("job-"):
                thread.join(PATIENCE_S)
        assert job.done
        return job

    def audited(self) -> list[tuple[str, str, str]]:
        """Who, what, module of each entry."""
        return [
            (entry.who, entry.what, entry.module)
            for entry in read_audit(self.directory / "log" / "audit.log")
        ]


def gone() -> AgentDownError:
    return AgentDownError("The worker of VM1 was lost before it answered.")
