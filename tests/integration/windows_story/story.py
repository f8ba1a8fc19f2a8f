"""A site of two Windows hosts as the tests of its life see it: its agents, its disk, its copies."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.console import say
from tests.lab.waiting import wait_until
from tests.standin.fleet import Run
from tests.standin.seam import Command
from tests.standin.wine.machine import WineMachine
from tests.standin.wine.site import WineSite
from tests.wine.initiator import read_offer, use_disk

MODULE = "M1"
HOME = r"C:\ProgramData\Twinhull"
PROGRAM = r"C:\Program Files\Twinhull\current\python\python.exe"
APPLICATION = "import time; time.sleep(10 ** 6)  # the application"
PATIENCE_S = 180.0
NODES = ("a", "b")
MODULES: dict[str, Any] = {
    MODULE: {
        "number": 1,
        "size": "1 GiB",
        "folder": rf"D:\Twinhull\{MODULE}",
        "preferred": "a",
        "timings": {"timeout": 4},
        "export": {"kind": "iscsi", "attach": "none"},
        "resource": {"kind": "scripts", "start": [PROGRAM, "-c", APPLICATION], "process": True},
    }
}


def other(node: str) -> str:
    """The one of the two that is not this."""
    return "b" if node == "a" else "a"


class Story:
    """What the tests do with the site.

    Args:
        site: two hosts that run.
        bundle: of the version that is installed.
    """

    def __init__(self, site: WineSite, bundle: Path) -> None:
        self.site = site
        self.bundle = bundle
        self.unfinished = ""

    def play(self, name: str, **extra: Any) -> Run:
        """Run one of our playbooks against both hosts; it must succeed."""
        settings = {**self.site.settings(self.bundle), "twinhull_console_password": "Quiet words 7", **extra}
        run = self.site.fleet.play(f"playbooks/{name}", extra=settings)
        assert run.exit_code == 0, run.text
        assert self.site.fleet.problems() == []
        return run

    def machine(self, node: str) -> WineMachine:
        """A host."""
        return self.site.machines[node]

    def file(self, node: str, inside: str) -> Path:
        """A file of our directory in ProgramData, as this machine sees it."""
        return self.machine(node).prefix.path(rf"{HOME}\{inside}")

    def twinhull(self, node: str, *words: str) -> tuple[int, str]:
        """The command as installed on a host: exit status and output."""
        machine = self.machine(node)
        argv = (PROGRAM, "-X", "utf8", "-m", "twinhull.cli", *words)
        ran = machine.run_command(machine.state, Command(argv))
        return ran.exit_code, ran.stdout + ran.stderr

    def status(self, node: str) -> dict[str, Any]:
        """What an agent says of the nodes, by their names; empty while it says nothing."""
        _, said = self.twinhull(node, "status", "--json")
        try:
            return dict(json.loads(said)["nodes"])
        except (ValueError, KeyError):
            return {}

    def module(self, node: str, asked: str | None = None) -> dict[str, Any]:
        """What an agent (the node's own, or another) says of the module on a node; empty while it says nothing."""
        found: dict[str, Any] = self.status(asked or node).get(node, {}).get("modules", {}).get(MODULE, {})
        return found

    def worker(self, node: str) -> int:
        """The worker's process id as Windows counts; 0 while none answers."""
        return int(self.module(node).get("worker", {}).get("pid") or 0)

    def applications(self, node: str) -> list[int]:
        """The protected application's processes on a host, by their numbers on this machine."""
        found = []
        for pid in self.machine(node).prefix.session.running():
            line = Path(f"/proc/{pid}/cmdline")
            if line.exists() and b"# the application" in line.read_bytes():
                found.append(pid)
        return found

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait; a failure tells what both hosts logged."""
        try:
            wait_until(what, condition, PATIENCE_S, 0.3)
        except Exception:
            say(self.logs())
            raise

    def primary(self) -> str:
        """The node that runs the module, once one runs it alone and the other is green; waits for that."""
        labels: dict[str, str] = {}

        def settled() -> bool:
            for node, side in self.status("a").items():
                own = side.get("modules", {}).get(MODULE, {})
                labels[node] = f"{own.get('state')} {own.get('colour')}"
            return sorted(labels.values()) == ["PRIM green", "SECOND green"]

        self.wait("one node to run the module and the other to be green", settled)
        primary = next(node for node, label in labels.items() if label == "PRIM green")
        assert [len(self.applications(node)) for node in (primary, other(primary))] == [1, 0]
        return primary

    def offer(self, node: str) -> dict[str, Any] | None:
        """The disk that a node offers now."""
        return read_offer(self.file(node, rf"run\targets\{MODULE}.json"))

    def disk(self, node: str, *commands: str) -> None:
        """Have QEMU's initiator use the disk that this node offers."""
        self.wait("the disk to be offered", lambda: self.offer(node) is not None)
        offer = self.offer(node)
        assert offer is not None
        secret = self.site.directory / f"secret-{node}"
        use_disk(self.machine(node).prefix.session.enter, offer, secret, *commands)

    def data(self, node: str) -> Path:
        """The volume's file."""
        return self.file(node, rf"data\volumes\{MODULE}\data.img")

    def copies_are_equal(self) -> bool:
        """Whether both volumes hold the same, byte for byte."""
        return subprocess.run(["cmp", "-s", self.data("a"), self.data("b")]).returncode == 0

    def logs(self) -> str:
        """What the agents and workers logged last."""
        found = []
        for node in NODES:
            directory = self.file(node, "log")
            for file in sorted(directory.glob("*")) if directory.is_dir() else []:
                found += [f"--- {node} {file.name}", file.read_text(errors="replace")[-4000:]]
        return "\n".join(found)
