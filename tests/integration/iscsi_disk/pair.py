"""Two real nodes with one module whose disk is the iSCSI export; an application of the test logs in to it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.lab import Lab
from tests.lab.console import say
from tests.lab.fixtures import REPOSITORY
from tests.lab.protected import Protected

MODULE = "DISK"
MODULE_LOG = f"/var/log/twinhull/module-{MODULE}.log"
FOLDER = f"/srv/twinhull/{MODULE}"
OFFER = f"/run/twinhull/targets/{MODULE}.json"
TIMEOUT_S = float(os.environ.get("TWINHULL_TEST_TIMEOUT_S", "2"))
PATIENCE_S = 90.0
_numbers = itertools.count(1)


class Pair:
    """The nodes a and b, the module, and a file outside of both for what its application tells.

    Args:
        lab: up, without Twinhull.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.reports = lab.reports / "records"
        self.module = Protected(lab, MODULE, FOLDER)
        self.reports.parent.mkdir(parents=True, exist_ok=True)
        self.reports.touch()

    def install(self, resource: dict[str, Any]) -> None:
        """Install Twinhull, protect the module on node a and wait for the mirror.

        Args:
            resource: the application, as in cluster.yml.
        """
        words = {
            "number": 3,
            "folder": FOLDER,
            "size": "1 GiB",
            "timings": {"timeout": TIMEOUT_S, "write_timeout": TIMEOUT_S},
            "resource": {"kind": "scripts", "process": True, **resource},
            "export": {"kind": "iscsi", "attach": "none"},
        }
        self.lab.install_twinhull({MODULE: words}, witness=_ping(self.lab))
        self.lab.wait_agents()
        self.lab["a"].twinhull("protect", MODULE, "--yes", MODULE)
        self.mirrored("a", "b")

    def mirrored(self, primary: str, secondary: str) -> None:
        """Wait until both are green."""
        self.module.wait_mirrored(primary, secondary, PATIENCE_S)

    def return_node(self, name: str) -> None:
        """A node that lost its power gets it back; its agent starts, as at every boot."""
        self.lab[name].boot()
        self.lab[name].start_service("agent")

    def offer(self, node: str) -> dict[str, Any]:
        """What an initiator on the node needs; empty when nothing is offered there."""
        told = self.lab[node].run(["cat", OFFER], check=False).stdout
        words: dict[str, Any] = json.loads(told) if told else {}
        return words


@contextlib.contextmanager
def standing(directory: Path, failed: Callable[[], bool]) -> Iterator[Pair]:
    """A pair of bare nodes; it is gone afterwards, and when `failed` says so, the logs of its module were shown."""
    name = f"i{os.getpid()}-{next(_numbers)}"
    lab = Lab(directory / name, name)
    lab.up()
    try:
        yield Pair(lab)
    finally:
        for node in lab.nodes.values() if failed() else ():
            log = node.disk(MODULE_LOG)
            say(f"log of node {node.name}:\n{log.read_text() if log.exists() else 'there is none'}")
        lab.down()


def command(module: str, *arguments: str) -> list[str]:
    """The command line, for the module's resource, of a Python module of these tests."""
    return ["/usr/bin/env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", module, *arguments]


def _ping(lab: Lab) -> dict[str, Any]:
    """The observer is asked."""
    return {
        "kind": "ping",
        "addresses": [lab.witness_address(network) for network in lab.fabric.subnets],
        "timeout": 1,
    }
