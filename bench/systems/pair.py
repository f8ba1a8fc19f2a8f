"""Twinhull on two nodes of a lab: modules that mirror a folder, and what is done to them."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.integration.failover.watching import WORKER, client_of, in_network_of
from tests.lab.commands import LabError
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.protected import Protected
from tests.lab.waiting import wait_until

from bench import fio

PATIENCE_S = 180.0
MORE_PATIENCE_S = 20.0  # for each module: their workers start all at once
CLOSE_POLL_S = 0.002
TAKEN_OVER = b"is taken over by"
MIB = 1 << 20


class Pair:
    """Two nodes, some modules, each mirrored from node a to node b.

    Args:
        directory: for the nodes' disks.
        name: of the lab.
        size: of each volume, as in cluster.yml.
        timeout_s: T of the modules.
        count: of modules.
        words: more of cluster.yml for each module.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        *,
        size: str = "4 GiB",
        timeout_s: float = 10.0,
        count: int = 1,
        words: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        names = [f"M{number}" for number in range(1, count + 1)]
        self.lab = Lab(directory, name)
        self.modules = [Protected(self.lab, module, f"/srv/twinhull/{module}") for module in names]
        self.folder = self.modules[0].folder
        self.primary_name = "a"
        self.lab.up()
        try:
            modules = {
                module: {**_words(number, module, size, timeout_s), **words}
                for number, module in enumerate(names, 1)
            }
            self.lab.install_twinhull(modules)
            self.lab.wait_agents(PATIENCE_S + MORE_PATIENCE_S * count)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                list(pool.map(self._protect, names))
            self.wait_green()
        except BaseException:
            self.lab.down()
            raise

    def _protect(self, module: str) -> None:
        self.lab["a"].twinhull("protect", module, "--yes", module, timeout_s=PATIENCE_S)

    # -- as a system (base.System) ---------------------------------------------------------------------

    @property
    def target(self) -> list[str]:
        """A file in the folder."""
        return fio.of_file(f"{self.folder}/bench.dat")

    def run(self, argv: Sequence[str], timeout_s: float) -> str:
        """Run a command on the primary."""
        return self.primary.run(list(argv), timeout_s=timeout_s).stdout

    def close(self) -> None:
        """Take the nodes away."""
        self.lab.down()

    # -- who is who --------------------------------------------------------------------------------------

    @property
    def primary(self) -> Node:
        """Where the modules run."""
        return self.lab[self.primary_name]

    @property
    def secondary(self) -> Node:
        """The other node."""
        return self.lab["b" if self.primary_name == "a" else "a"]

    def wait_green(self) -> None:
        """Wait until all are PRIM and SECOND, both green. Raises LabError."""
        for module in self.modules:
            module.wait_mirrored(self.primary.name, self.secondary.name, PATIENCE_S)

    # -- what is done to the first module ----------------------------------------------------------------

    def call(self, node: Node, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a node's agent."""

        def work() -> dict[str, Any]:
            with client_of(node) as client:
                return client.call(method, arguments)

        return in_network_of(node, work)

    def command(self, node: Node, command: str) -> None:
        """Give the module a command and wait for its end. Raises LabError when it is refused."""
        answer = self.call(node, "command", {"module": self.modules[0].name, "command": command})
        self.job_done(node, str(answer["job"]), command)

    def job_done(self, node: Node, job: str, what: str) -> dict[str, Any]:
        """Wait for a job; its final words. Raises LabError when it failed."""
        words: dict[str, Any] = {}

        def done() -> bool:
            words.update(self.call(node, "job", {"id": job}))
            return bool(words["done"])

        wait_until(f"{what} on node {node.name}", done, PATIENCE_S)
        if not words.get("ok", True):
            raise LabError(f"{what} on node {node.name}: {words.get('sentence')}")
        return words

    def status(self, node: Node) -> dict[str, Any]:
        """What the node's agent says of the first module."""
        words: dict[str, Any] = self.call(node, "status_local", {})["modules"][self.modules[0].name]
        return words

    def wait_copied(self) -> None:
        """Wait until both are green and the status tells of the copy that made them so."""
        self.wait_green()
        wait_until("the end of the copy", lambda: self.status(self.primary)["sync"] is None, PATIENCE_S)

    def is_copying(self) -> bool:
        """Whether the primary copies now."""
        return self.status(self.primary)["sync"] is not None

    def wait_copying(self) -> None:
        """Wait until the primary copies."""
        wait_until("a resync", self.is_copying, PATIENCE_S)

    def last_sync(self) -> dict[str, Any]:
        """How much the last copy moved."""
        words: dict[str, Any] = self.status(self.primary)["last_sync"]
        return words

    def log(self, node: Node) -> Path:
        """The first module's log on a node."""
        return node.path(f"/var/log/twinhull/module-{self.modules[0].name}.log")

    def forget_replica(self, node: Node) -> None:
        """The node's disk is replaced: off, the replica gone, on again."""
        node.kill()
        found = self.modules[0].data_file(node.name).parent
        for file in sorted(found.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        node.boot()

    # -- loss of the primary -----------------------------------------------------------------------------

    def crash_worker(self) -> float:
        """SIGKILL to the worker of the primary: seconds until the other node has decided."""
        return self._decided(self._kill_worker)

    def _kill_worker(self) -> None:
        for pid in self.primary.processes(WORKER):
            os.kill(pid, signal.SIGKILL)

    def lose_power(self) -> float:
        """Everything on the primary is silent at once: seconds until the other node has decided."""
        lost = self.primary
        killer = threading.Thread(target=lost.kill)
        took_s = self._decided(killer.start)
        killer.join()
        lost.boot()
        return took_s

    def _decided(self, strike: Callable[[], object]) -> float:
        log = self.log(self.secondary)
        told = log.stat().st_size
        begun_s = time.monotonic()
        strike()
        wait_until(
            f"node {self.secondary.name} to decide",
            lambda: TAKEN_OVER in _tail(log, told),
            PATIENCE_S,
            CLOSE_POLL_S,
        )
        decided_s = time.monotonic() - begun_s
        self.primary_name = self.secondary.name
        return decided_s

    # -- memory ------------------------------------------------------------------------------------------

    def memory_mib(self) -> dict[str, float]:
        """Resident memory of the larger agent and of the largest worker of both nodes, MiB (proc(5))."""
        agents, workers = [], []
        for node in self.lab.nodes.values():
            agent = node.service_pid("agent")
            agents += [_resident(agent)] if agent is not None else []
            workers += [_resident(pid) for pid in node.processes(WORKER)]
        return {"agent": max(agents) / MIB, "worker": max(workers) / MIB}


def _tail(file: Path, from_bytes: int) -> bytes:
    with file.open("rb") as handle:
        handle.seek(from_bytes)
        return handle.read()


def _resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Rss:"):
            return float(line.split()[1]) * 1024
    raise LabError(f"process {pid} has no resident memory")


def _words(number: int, module: str, size: str, timeout_s: float) -> dict[str, Any]:
    """A module in cluster.yml; its resource is a program that does nothing."""
    return {
        "number": number,
        "folder": f"/srv/twinhull/{module}",
        "size": size,
        "file_system": "ext4",
        "return": "manual",
        "timings": {"timeout": timeout_s, "write_timeout": timeout_s},
        "resource": {"kind": "scripts", "start": ["/bin/sleep", "infinity"], "process": True},
    }
