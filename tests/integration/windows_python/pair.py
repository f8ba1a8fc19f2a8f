"""Two Windows hosts (Wine prefixes in network namespaces) that run the agent under Windows Python and mirror one module."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import yaml
from tests.lab.console import say
from tests.lab.network import OBSERVER, Fabric
from tests.lab.waiting import wait_until
from tests.wine import template
from tests.wine.prefix import REPOSITORY_PATHS, Prefix

from twinhull.transport import pki
from twinhull.transport.tls import Role

MODULE = "VM1"
FOLDER = r"D:\Repli\VM1"
HOME = r"C:\ProgramData\Twinhull"
PYTHON = rf"{template.PYTHON_DIRECTORY}\python.exe"
APPLICATION = "import sys, time; print('at work', flush=True); time.sleep(100000)"
PATIENCE_S = 180.0
MIRRORED = ["PRIM green", "SECOND green"]


class WindowsNode:
    """One host.

    Args:
        directory: of its prefix.
        source: the template.
        namespace: of its network.
    """

    def __init__(self, name: str, directory: Path, source: Path, namespace: str) -> None:
        self.name = name
        self.enter = ("ip", "netns", "exec", namespace)
        self.prefix = Prefix(directory, source, enter=self.enter)
        self._agent: subprocess.Popen[bytes] | None = None
        self.said: list[str] = []

    def file(self, inside: str) -> Path:
        """A file of `HOME` as this machine sees it."""
        return self.prefix.path(rf"{HOME}\{inside}")

    def start_agent(self) -> None:
        """`twinhull agent run`."""
        more = {"PYTHONPATH": ";".join(REPOSITORY_PATHS), "PYTHONDONTWRITEBYTECODE": "1"}
        self._agent = self.prefix.session.popen(
            "wine", PYTHON, "-m", "twinhull.cli", "agent", "run", environment=more
        )
        for pipe in (self._agent.stdout, self._agent.stderr):
            assert pipe is not None
            threading.Thread(target=self._hear, args=(pipe,), daemon=True).start()

    def _hear(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self.said.append(line.decode("utf-8", "replace").rstrip())

    def twinhull(self, *words: str, check: bool = True) -> str:
        """The command under Windows Python; what it printed."""
        ran = self.prefix.python("-m", "twinhull.cli", *words)
        if check:
            ran.require(f"twinhull {' '.join(words)} on {self.name}")
        return ran.output

    def module(self) -> dict[str, Any]:
        """What this node's agent says of the module here; empty while it says nothing."""
        try:
            told: dict[str, Any] = json.loads(self.twinhull("--json", "status", check=False))
            return dict(told["nodes"][self.name]["modules"][MODULE])
        except (ValueError, KeyError, TypeError):
            return {}

    def label(self) -> str:
        """State and colour."""
        words = self.module()
        return f"{words.get('state')} {words.get('colour')}"

    def pids(self, *words: str) -> list[int]:
        """Windows processes whose command line has these words, by their number on this machine."""
        found = []
        for pid in self.prefix.session.running():
            with contextlib.suppress(OSError):
                line = (
                    Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                )
                if all(word in line for word in words):
                    found.append(pid)
        return found

    def offer(self) -> dict[str, Any] | None:
        """The disk that is offered now."""
        try:
            return dict(json.loads(self.file(rf"run\targets\{MODULE}.json").read_text()))
        except (FileNotFoundError, ValueError):
            return None

    def disk(self, tmp: Path, *commands: str) -> str:
        """Have QEMU's initiator, on Linux, use the disk that Windows Python offers; what it said."""
        offer = self.offer()
        assert offer is not None
        secret = tmp / f"secret-{self.name}"
        secret.write_text(offer["secret"])
        words = {
            "driver": "iscsi",
            "transport": "tcp",
            "portal": f"{offer['address']}:{offer['port']}",
            "target": offer["target"],
            "lun": "0",
            "user": offer["user"],
            "password-secret": "s",
        }
        image = ",".join(f"{key}={value}" for key, value in words.items())
        argv = [*self.enter, "qemu-io", "--object", f"secret,id=s,file={secret}", "--image-opts", image]
        for command in commands:
            argv += ["-c", command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def logs(self) -> str:
        """Everything that was logged, for the one who reads a failure."""
        found = [f"--- {self.name} said", *self.said[-30:]]
        for file in sorted(self.file("log").glob("*")) if self.file("log").is_dir() else []:
            found += [f"--- {self.name} {file.name}", file.read_text(errors="replace")[-6000:]]
        return "\n".join(found)


class WindowsPair:
    """Two of them in one network."""

    def __init__(self, directory: Path, source: Path, name: str) -> None:
        self.directory = directory
        self.fabric = Fabric(name, {"net": "10.81.7"}, {"a": 1, "b": 2})
        self.fabric.up()
        self.nodes: dict[str, WindowsNode] = {}
        try:
            for node in ("a", "b"):
                self.fabric.plug(node)
                self.nodes[node] = WindowsNode(node, directory / node, source, self.fabric.namespace(node))
                self.nodes[node].prefix.start()
            self._install()
        except BaseException:
            self.close()
            raise

    def __getitem__(self, node: str) -> WindowsNode:
        return self.nodes[node]

    def _install(self) -> None:
        authority = self.directory / "authority"
        pki.init_ca(authority, "wintest")
        cluster = {
            "cluster": "wintest",
            "nodes": {node: {"addresses": {"net": self.fabric.address(node, "net")}} for node in self.nodes},
            "networks": {"net": {"roles": ["heartbeat", "replication", "control"]}},
            "witness": {"kind": "none"},
            "keep": "ask",
            "modules": {
                MODULE: {
                    "number": 1,
                    "folder": FOLDER,
                    "size": "1 GiB",
                    "timings": {"timeout": 4},
                    "resource": {"kind": "scripts", "start": [PYTHON, "-c", APPLICATION], "process": True},
                    "export": {"kind": "iscsi", "attach": "none"},
                }
            },
        }
        for name, node in self.nodes.items():
            node.file("pki").mkdir(parents=True, mode=0o700)
            pki.issue(authority, name, Role.NODE, node.file("pki"))
            node.file("cluster.yml").write_text(yaml.safe_dump(cluster, sort_keys=False))
            node.file("node.yml").write_text(f"node: {name}\n")

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait; a failure tells the logs of both."""
        try:
            wait_until(what, condition, PATIENCE_S, 0.3)
        except Exception:
            for node in self.nodes.values():
                say(node.logs())
            raise

    def wait_mirrored(self, primary: str) -> None:
        """Wait until it runs there, and the other is green."""
        other = "b" if primary == "a" else "a"
        self.wait(
            f"{primary} to be PRIM and {other} SECOND, both green",
            lambda: [self[primary].label(), self[other].label()] == MIRRORED,
        )

    def close(self) -> None:
        """Leave nothing behind."""
        for node in self.nodes.values():
            node.prefix.remove()
        self.fabric.down()


__all__ = ["MODULE", "OBSERVER", "WindowsNode", "WindowsPair", "os"]
