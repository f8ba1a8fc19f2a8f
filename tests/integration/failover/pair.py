"""Two nodes that mirror one module, and everything the tests do to them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.lab import Lab, LabError, Node
from tests.lab.console import say
from tests.lab.fixtures import REPOSITORY
from tests.lab.protected import Protected
from tests.lab.waiting import wait_until

from twinhull.errors import PeerUnreachableError

from .reports import Reports, first_difference, missing, read_fresh
from .watching import WORKER, Watch, client_of, in_network_of

MODULE = "APP"
FOLDER = f"/srv/twinhull/{MODULE}"
TIMEOUT_S = float(os.environ.get("TWINHULL_TEST_TIMEOUT_S", "2"))
OUTLAST_S = 3 * TIMEOUT_S
PATIENCE_S = max(45.0, 22.5 * TIMEOUT_S)
"""A slow machine gives a longer time-out, which everything else follows."""
LOGS = "/var/log/twinhull"
DEFECT, DEFECT_BYTES = b"Traceback (most recent call last)", 3000
CLOSE_POLL_S = 0.005
WRITER = "failover.writer"
ENOUGH_RECORDS = 20
REFUSALS = ("which cannot be reached and may hold newer data", "is not uptodate (")
SLOW_RATE = "60mbit"


class Pair:
    """The module on its two nodes.

    Args:
        lab: up, Twinhull not installed yet.
        cluster: keys of cluster.yml that replace the lab's own.
    """

    def __init__(self, lab: Lab, **cluster: Any) -> None:
        self.lab = lab
        self.cluster = cluster
        lab.reports.mkdir(parents=True, exist_ok=True)
        self.reports = Reports(lab.reports / MODULE)
        self.protected = Protected(lab, MODULE, FOLDER)
        self.watch: Watch = None  # type: ignore[assignment]
        self._read_bytes: dict[Path, int] = {}

    # -- life ----------------------------------------------------------------------------------

    def install(self) -> None:
        """Configuration and agents."""
        self.lab.install_twinhull({MODULE: self.module_words()}, **self.cluster)
        self.watch = Watch(self.lab, MODULE, FOLDER)
        self.wait("both workers", lambda _: all(self.has_worker(node) for node in self.lab.nodes.values()))

    def protect(self) -> None:
        """A new volume on node a, mirrored to b."""
        self.say("protect the module on node a")
        self.lab["a"].twinhull("protect", MODULE, "--yes", MODULE)
        self.wait_green()

    def close(self) -> None:
        """End the watch and remove the lab."""
        if self.watch is not None:
            self.watch.end()
        self.lab.down()

    def module_words(self) -> dict[str, Any]:
        """The module in cluster.yml: the writer is its resource."""
        start = ["/usr/bin/env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m"]
        start += ["tests.integration.failover.writer", str(self.reports.path)]
        return {
            "number": 1,
            "folder": FOLDER,
            "size": "1 GiB",
            "timings": {"timeout": TIMEOUT_S, "write_timeout": TIMEOUT_S},
            "resource": {"kind": "scripts", "start": start, "process": True},
        }

    def say(self, text: str) -> None:
        """Tell what is done, on the output and in the story."""
        say(f"  {text}")
        if self.watch is not None:
            self.watch.note(f"--- {text}")

    # -- who is who ----------------------------------------------------------------------------

    @property
    def primary(self) -> Node:
        """The node that is PRIM or ALONE. Raises LabError when that is not exactly one."""
        found = [name for name in self.lab.nodes if self.watch.now(name).state in ("PRIM", "ALONE")]
        if len(found) != 1:
            raise LabError(f"{len(found)} nodes run the module\n{self.watch.story()}")
        return self.lab[found[0]]

    def other(self, node: Node) -> Node:
        """The node that is not this one."""
        return next(other for other in self.lab.nodes.values() if other is not node)

    @property
    def secondary(self) -> Node:
        """The node that does not run the module."""
        return self.other(self.primary)

    def node_of(self, role: str) -> Node:
        """`primary` or `secondary`."""
        return self.primary if role == "primary" else self.secondary

    def status(self, node: Node) -> dict[str, Any]:
        """The module's newest status on a node. Raises LabError when its agent does not answer."""
        words = self.watch.now(node.name).words
        if words is None:
            raise LabError(f"the agent of node {node.name} does not answer\n{self.watch.story()}")
        return words

    def outlast(self) -> None:
        """Let pass what a take-over would need: nobody can be asked for an event that must not come."""
        self.say(f"nothing is done for {OUTLAST_S:g} s")
        time.sleep(OUTLAST_S)

    def has_worker(self, node: Node) -> bool:
        """Whether a worker is connected to the node's agent, and has told of itself."""
        words = self.watch.now(node.name).words
        return words is not None and bool(words["worker"]["alive"]) and words["colour"] is not None

    # -- waiting -------------------------------------------------------------------------------

    def wait(self, what: str, condition: Callable[[Watch], bool], timeout_s: float = PATIENCE_S) -> None:
        """Wait until `condition(watch)` holds. Raises LabError with the story."""
        self.watch.wait(what, condition, timeout_s)

    def wait_closely(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for a moment that passes quickly."""
        wait_until(what, condition, PATIENCE_S, CLOSE_POLL_S)

    def wait_state(self, node: Node, *states: str, colour: str | None = None) -> None:
        """Wait until the module is in one of these states on the node."""
        what = f"node {node.name} to be {' or '.join(states)}{f' and {colour}' if colour else ''}"
        self.wait(
            what,
            lambda watch: (
                watch.now(node.name).state in states and colour in (None, watch.now(node.name).colour)
            ),
        )

    def is_green(self) -> bool:
        """Whether one node is PRIM, the other SECOND, both green."""
        return sorted(self.watch.now(name).label for name in self.lab.nodes) == ["PRIM green", "SECOND green"]

    def wait_green(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait for the mirrored pair."""
        self.wait("PRIM and SECOND, both green", lambda _: self.is_green(), timeout_s)

    def wait_writing(self, node: Node, count: int = ENOUGH_RECORDS) -> None:
        """Wait until the writer on this node has told of some more records."""
        try:
            self.reports.wait_progress(count, PATIENCE_S, node.name)
        except LabError as error:
            raise LabError(f"{error}\n{self.watch.story()}") from error

    def wait_refusing(self, node: Node) -> None:
        """Wait until the node has concluded that it may not run the module without the other one."""
        self.wait(
            f"node {node.name} to say that it may not run",
            lambda watch: any(words in self.waiting_for(node) for words in REFUSALS),
        )
        assert self.watch.now(node.name).state == "WAIT", self.watch.story()
        assert not self.watch.mounted(node.name), self.watch.story()

    def waiting_for(self, node: Node) -> str:
        """Whom the module waits for on the node; empty while nobody can tell."""
        words = self.watch.now(node.name).words
        return str(words["waiting_for"] or "") if words else ""

    def wait_one_writing(self) -> Node:
        """Wait until the writer writes on some node, whichever that is; that node."""
        try:
            return self.lab[self.reports.wait_progress(ENOUGH_RECORDS, PATIENCE_S)]
        except LabError as error:
            raise LabError(f"{error}\n{self.watch.story()}") from error

    def wait_copying(self, target: Node) -> None:
        """Wait until the node is in the middle of a resync. Raises LabError."""

        def copying(watch: Watch) -> bool:
            look, source = watch.now(target.name), watch.now(self.other(target).name)
            sync = source.words["sync"] if source.words else None
            return look.label == "SECOND orange" and sync is not None and sync["copied_bytes"] > 0

        self.wait(f"node {target.name} to be resynchronised", copying)

    # -- commands ------------------------------------------------------------------------------

    def call(self, node: Node, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call the node's agent."""

        def work() -> dict[str, Any]:
            with client_of(node) as client:
                return client.call(method, arguments)

        return in_network_of(node, work)

    def command(self, node: Node, command: str, **arguments: Any) -> str:
        """Give the module's worker on a node a command; the job's id, at once."""
        self.say(f"{command} on node {node.name}")
        words = {"module": MODULE, "command": command, **arguments}
        return str(self.call(node, "command", words)["job"])

    def swap(self) -> None:
        """Exchange the roles. Raises LabError when that is refused."""
        giver, taker = self.primary, self.secondary
        answer = self.job_done(giver, self.command(giver, "swap"))
        if not answer["ok"]:
            raise LabError(f"swap: {answer['sentence']}\n{self.watch.story()}")
        self.wait_state(taker, "PRIM", colour="green")
        self.wait_state(giver, "SECOND", colour="green")
        self.wait_writing(taker)

    def job_done(self, node: Node, job: str) -> dict[str, Any]:
        """Wait for a job of the node's agent; its final words."""
        words: dict[str, Any] = {}

        def done() -> bool:
            with contextlib.suppress(PeerUnreachableError):  # slow, or its agent starts anew: asked again
                words.update(self.call(node, "job", {"id": job}))
            return bool(words.get("done"))

        wait_until(f"job {job} on node {node.name}", done, PATIENCE_S)
        return words

    # -- trouble -------------------------------------------------------------------------------

    def kill_worker(self, node: Node) -> None:
        """SIGKILL to the module's worker."""
        self.say(f"SIGKILL to the worker on node {node.name}")
        node.send_signal(WORKER, signal.SIGKILL)

    def kill_agent(self, node: Node) -> None:
        """SIGKILL to the agent; the service manager starts it again."""
        self.say(f"SIGKILL to the agent on node {node.name}")
        node.kill_service("agent")

    def power_off(self, *nodes: Node) -> None:
        """Power loss."""
        for node in nodes:
            self.say(f"node {node.name} loses its power")
            node.kill()

    def power_on(self, node: Node) -> None:
        """Boot."""
        self.say(f"node {node.name} gets its power back")
        node.boot()

    @contextlib.contextmanager
    def frozen(self, node: Node, match: str) -> Iterator[None]:
        """SIGSTOP to the node's processes that match, SIGCONT afterwards."""
        self.say(f"SIGSTOP to {match or 'everything'} on node {node.name}")
        with node.frozen(match):
            yield
            self.watch.woke(node.name, TIMEOUT_S)
        self.say(f"SIGCONT on node {node.name}")

    def slow_down(self) -> None:
        """Every node that runs sends slowly from now on, so that a resync takes a while."""
        for node in self.lab.nodes.values():
            for network in self.lab.fabric.subnets if node.alive else ():
                words = ["tc", "qdisc", "replace", "dev", network, "root", "tbf", "rate", SLOW_RATE]
                node.run([*words, "burst", "64kb", "latency", "100ms"])

    def full_speed(self) -> None:
        """Undo `slow_down`."""
        for node in self.lab.nodes.values():
            for network in self.lab.fabric.subnets:
                if node.alive:
                    node.run(["tc", "qdisc", "del", "dev", network, "root"], check=False)

    def write_ballast(self, node: Node, megabytes: int) -> None:
        """Have much to copy: random bytes into a file in the folder."""
        self.say(f"{megabytes} MB of random bytes into the folder on node {node.name}")
        words = ["dd", "if=/dev/urandom", f"of={FOLDER}/ballast", "bs=1M", f"count={megabytes}"]
        node.run([*words, "conv=notrunc,fsync", "status=none"])

    # -- after each ----------------------------------------------------------------------------

    def to_green(self, timeout_s: float = PATIENCE_S) -> None:
        """End all trouble and wait for the mirrored pair."""
        self.lab.heal()
        self.full_speed()
        for node in self.lab.nodes.values():
            if not node.alive:
                self.power_on(node)
            node.start_service("agent")
        self.wait_green(timeout_s)

    def verify(self, *, witnessed: bool = True) -> None:
        """The promises, after all trouble has ended.

        No acknowledged record is missing, both replicas are equal, and there was one history all the time.

        Args:
            witnessed: never may both nodes have had the folder mounted for writing.
        """
        self.to_green()
        primary = self.primary
        self.wait_writing(primary)
        with self._file_system_frozen(primary):
            runs = self.reports.read()
            folder = primary.path(FOLDER)
            lost = missing(runs, read_fresh(folder / "journal"), read_fresh(folder / "table"))
            difference = first_difference(*(self.protected.data_file(name) for name in self.lab.nodes))
        count = sum(len(run.acknowledged) for run in runs)
        self.say(
            f"checked {count} records of {len(runs)} runs; first difference of the replicas: {difference}"
        )
        assert lost == [], self._told("acknowledged writes are missing", lost)
        assert difference is None, self._told(f"the replicas differ at byte {difference}", [])
        broken = self.reports.broken_order()
        assert broken == [], self._told("there was more than one history", broken)
        defects = self._new_defects()
        assert defects == [], self._told("a program of ours tells of a defect", defects)
        if witnessed:
            assert self.watch.doubles() == [], self._told("two writable mounts", self.watch.doubles()[:5])

    def _new_defects(self) -> list[str]:
        """Exceptions that nobody expected, in the logs of both nodes, each told once."""
        found = []
        for node in self.lab.nodes.values():
            for file in sorted(node.disk(LOGS).iterdir()):
                text = file.read_bytes()[self._read_bytes.get(file, 0) :]
                self._read_bytes[file] = self._read_bytes.get(file, 0) + len(text)
                if DEFECT in text:
                    begin = text.index(DEFECT)
                    where = f"node {node.name}, {file.name}"
                    found.append(f"{where}: {text[begin : begin + DEFECT_BYTES].decode('utf-8', 'replace')}")
        return found

    def _told(self, what: str, lines: list[str]) -> str:
        return "\n".join([what, *lines[:10], self.watch.story(200)])

    @contextlib.contextmanager
    def _file_system_frozen(self, node: Node) -> Iterator[None]:
        """Everything is on the volume and nothing is written meanwhile (fsfreeze(8))."""
        node.run(["fsfreeze", "-f", FOLDER])
        try:
            yield
        finally:
            node.run(["fsfreeze", "-u", FOLDER])

    def worker_pid(self, node: Node) -> int:
        """The worker's process number on its node."""
        return int(self.status(node)["worker"]["pid"])

    def run_name(self) -> str:
        """The name of the writer's present run."""
        run = self.reports.newest()
        if run is None:
            raise LabError("the writer has never run")
        return run.name


def log_of(node: Node, lines: int = 40) -> str:
    """The last lines of the module's log on a node, for messages."""
    file = node.disk(LOGS) / f"module-{MODULE}.log"
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else "there is none"
    return "\n".join(text.splitlines()[-lines:])


def pause(seconds: float) -> None:
    """A trouble of a given length: the only thing here that is measured by the clock."""
    time.sleep(seconds)
