"""A cluster that is a file, and real playbooks that run against it over Ansible's local connection."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

PARTS = Path(__file__).parent / "parts"
COLLECTIONS = Path(__file__).resolve().parents[3] / "collections"
PLAYBOOK_TIMEOUT_S = 120
TASK_TIMEOUT_S = 20
CONFIG = {
    "cluster": "lyon",
    "nodes": {"a": {"addresses": {"lan": "10.1.0.11"}}, "b": {"addresses": {"lan": "10.1.0.12"}}},
    "keep": "ask",
    "modules": {"VM1": {"number": 1, "folder": "/srv/twinhull/VM1", "size": "64 GiB"}},
}


def side(state: str, colour: str = "green", **differs: Any) -> dict[str, Any]:
    """One module on one node, as the status tells it."""
    return {
        "state": state,
        "colour": colour,
        "uptodate": True,
        "sentence": f"It is {state}.",
        "resource_state": "running" if state in ("PRIM", "ALONE") else "off",
        "generation": "1234",
        "checkers": {"suspended": False, "items": {}},
        "worker": {"alive": True},
        **differs,
    }


class Lab:
    """One fake host, and playbooks against it.

    Args:
        directory: of its own.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "state.json"
        self.losses = directory / "losses"
        self.command = [sys.executable, str(PARTS / "fake_twinhull.py"), str(self.path)]
        self.output = ""
        self.exit_code = 0
        state = {
            "node": "a",
            "peer": "b",
            "config": CONFIG,
            "modules": {"VM1": {"a": side("PRIM"), "b": side("SECOND")}},
            "jobs": {},
            "calls": [],
            "faults": {},
            "certificates": [],
        }
        self.path.write_text(json.dumps(state))

    @property
    def state(self) -> dict[str, Any]:
        """The cluster as it is now."""
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found

    @contextmanager
    def edited(self) -> Iterator[dict[str, Any]]:
        """The cluster, to be changed by hand."""
        state = self.state
        yield state
        self.path.write_text(json.dumps(state))

    @property
    def commands(self) -> list[str]:
        """What was asked of the host since the lab was made or `forget` was called."""
        return [" ".join(words) for words in self.state["calls"]]

    def changing_commands(self) -> list[str]:
        """Those that are no questions."""
        asked = ("status", "config show", "job ", "pki show")
        return [line for line in self.commands if not line.startswith(asked) and "--dry-run" not in line]

    def forget(self) -> None:
        """Begin the list of commands anew."""
        with self.edited() as state:
            state["calls"] = []

    def task(self, module: str, /, check: Any = False, **options: Any) -> dict[str, Any]:
        """One task of our collection."""
        name = f"twinhull.ha.{module}"
        arguments = {"command": self.command, "poll_s": 0.01, "timeout_s": TASK_TIMEOUT_S, **options}
        return {"name": f"Use {module}", name: arguments, "check_mode": check, "ignore_errors": True}

    def play(self, *tasks: dict[str, Any], **host_vars: Any) -> list[dict[str, Any]]:
        """Run the tasks in one playbook; the results of all that were reached, in their order."""
        record = self.directory / "record.jsonl"
        record.unlink(missing_ok=True)
        names = {"twinhull_site": "lyon", "twinhull_node": "a", "ansible_connection": "flaky", **host_vars}
        variables = {**names, "ansible_python_interpreter": sys.executable}
        inventory = {"all": {"hosts": {"lyon-a": variables}}}
        play = {"name": "Test", "hosts": "all", "gather_facts": False, "tasks": list(tasks)}
        (self.directory / "inventory.yml").write_text(yaml.safe_dump(inventory))
        (self.directory / "playbook.yml").write_text(yaml.safe_dump([play]))
        self._run(["-i", "inventory.yml", "playbook.yml", "--diff"], record)
        lines = record.read_text().splitlines() if record.exists() else []
        assert len(lines) <= len(tasks), self.output
        return [json.loads(line) for line in lines]

    def _run(self, arguments: list[str], record: Path) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "ansible", "playbook", *arguments],
            cwd=self.directory,
            env=self._environment(record),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            self.output = process.communicate(timeout=PLAYBOOK_TIMEOUT_S)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the forks too: they would go on waiting
            process.communicate()
            raise
        self.exit_code = process.returncode

    def _environment(self, record: Path) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        return {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_CALLBACK_PLUGINS": str(PARTS / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "ANSIBLE_CONNECTION_PLUGINS": str(PARTS / "connection"),
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.directory / "remote"),
            "ANSIBLE_NOCOLOR": "1",
            "FLAKY_LOSSES": str(self.losses),
            "RECORD_FILE": str(record),
        }


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A green pair of which node a runs VM1, asked on node a."""
    return Lab(tmp_path)
