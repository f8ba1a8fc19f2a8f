"""A module whose disk is the iSCSI export, in two real nodes: what was written survives the loss of the primary."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab import Lab, Node
from tests.lab.console import say
from tests.lab.fixtures import REPOSITORY
from tests.lab.protected import Protected
from tests.lab.waiting import wait_until

from .writer import acknowledged

pytestmark = pytest.mark.lab

MODULE = "DISK"
MODULE_LOG = f"/var/log/twinhull/module-{MODULE}.log"
FOLDER = f"/srv/twinhull/{MODULE}"
OFFER = f"/run/twinhull/targets/{MODULE}.json"
TIMEOUT_S = float(os.environ.get("TWINHULL_TEST_TIMEOUT_S", "2"))
PATIENCE_S = 90.0
ENOUGH = 50
_numbers = itertools.count(1)


class Scene:
    """Two nodes with one module, and what its application told."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.reports = lab.reports / "records"
        self.module = Protected(lab, MODULE, FOLDER)

    def words(self) -> dict[str, Any]:
        """The module in cluster.yml."""
        start = ["/usr/bin/env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m"]
        start += ["tests.integration.iscsi_disk.writer", str(self.reports), "writer"]
        return {
            "number": 3,
            "folder": FOLDER,
            "size": "1 GiB",
            "timings": {"timeout": TIMEOUT_S, "write_timeout": TIMEOUT_S},
            "resource": {"kind": "scripts", "start": start, "process": True},
            "export": {"kind": "iscsi", "attach": "none"},
        }

    def told(self, kind: str) -> list[list[str]]:
        """The application's lines of one kind."""
        return [line.split() for line in self.reports.read_text().splitlines() if line.startswith(kind + " ")]

    def count(self) -> int:
        return len(acknowledged(self.reports.read_text()))

    def wait_writing(self) -> None:
        """Wait until more was written."""
        begun = self.count()
        wait_until("more records", lambda: self.count() >= begun + ENOUGH, PATIENCE_S)

    def mirrored(self, primary: str, secondary: str) -> None:
        self.module.wait_mirrored(primary, secondary, PATIENCE_S)

    def check(self) -> None:
        """Nothing that was acknowledged is lost."""
        assert self.told("lost") == []


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A mirrored pair whose application writes."""
    if shutil.which("qemu-io") is None:
        pytest.skip("qemu-io with its iSCSI driver is missing here (qemu-utils, qemu-block-extra)")
    name = f"i{os.getpid()}-{next(_numbers)}"
    lab = Lab(tmp_path / name, name)
    lab.up()
    failed = request.session.testsfailed
    try:
        lab.reports.mkdir(parents=True, exist_ok=True)
        scene = Scene(lab)
        scene.reports.touch()
        lab.install_twinhull({MODULE: scene.words()}, witness=ping(lab))
        lab.wait_agents()
        lab["a"].twinhull("protect", MODULE, "--yes", MODULE)
        scene.mirrored("a", "b")
        scene.wait_writing()
        yield scene
        if request.session.testsfailed > failed:
            for node in lab.nodes.values():
                log = node.disk(MODULE_LOG)
                say(f"log of node {node.name}:\n{log.read_text() if log.exists() else 'there is none'}")
    finally:
        lab.down()


def ping(lab: Lab) -> dict[str, Any]:
    """The observer is asked."""
    return {
        "kind": "ping",
        "addresses": [lab.witness_address(network) for network in lab.fabric.subnets],
        "timeout": 1,
    }


def target_on(node: Node) -> str:
    """The name of the disk that is offered on the node; empty when none is."""
    told = node.run(["cat", OFFER], check=False)
    return str(told.stdout)


def test_what_an_initiator_wrote_is_on_the_other_node_after_the_loss_of_the_primary(scene: Scene) -> None:
    offered = scene.lab["a"].path(OFFER)
    assert stat.S_IMODE(offered.stat().st_mode) == 0o600
    scene.lab["a"].kill()
    wait_until("the application to start again", lambda: len(scene.told("start")) == 2, PATIENCE_S)
    scene.wait_writing()
    scene.check()
    first, second = scene.told("start")
    assert int(second[3]) >= ENOUGH
    assert first[2] != second[2], "the disk's name is new at every attach"
    scene.lab["a"].boot()
    scene.lab["a"].start_service("agent")
    scene.mirrored("b", "a")


def test_a_killed_worker_takes_its_disk_along_and_the_module_runs_on(scene: Scene) -> None:
    before = target_on(scene.lab["a"])
    scene.lab["a"].send_signal("twinhull.worker.main", 9)  # type: ignore[arg-type]
    wait_until("the application to start again", lambda: len(scene.told("start")) == 2, PATIENCE_S)
    scene.wait_writing()
    scene.check()
    assert before != target_on(scene.lab["a"])


def test_a_swap_moves_the_disk_and_leaves_nothing_offered_behind(scene: Scene) -> None:
    scene.lab["a"].twinhull("swap", MODULE)
    scene.mirrored("b", "a")
    wait_until("the application to start again", lambda: len(scene.told("start")) == 2, PATIENCE_S)
    scene.wait_writing()
    scene.check()
    assert scene.told("error") == []
    assert target_on(scene.lab["a"]) == ""
    assert "iqn.2026-11.io.twinhull:" in target_on(scene.lab["b"])
