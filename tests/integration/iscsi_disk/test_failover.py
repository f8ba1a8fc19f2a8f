"""A module whose disk is the iSCSI export, in two real nodes: what was written survives the loss of the primary."""

from __future__ import annotations

import shutil
import signal
import stat

import pytest
from tests.lab.waiting import wait_until

from .pair import MODULE, OFFER, PATIENCE_S, Pair, command
from .writer import acknowledged

pytestmark = pytest.mark.lab

ENOUGH = 50


class Scene:
    """A mirrored pair whose application writes, and what that told."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.lab = pair.lab

    def told(self, kind: str) -> list[list[str]]:
        """The application's lines of one kind."""
        lines = self.pair.reports.read_text().splitlines()
        return [line.split() for line in lines if line.startswith(kind + " ")]

    def count(self) -> int:
        return len(acknowledged(self.pair.reports.read_text()))

    def wait_writing(self) -> None:
        """Wait until more was written."""
        begun = self.count()
        wait_until("more records", lambda: self.count() >= begun + ENOUGH, PATIENCE_S)

    def check(self) -> None:
        """Nothing that was acknowledged is lost."""
        assert self.told("lost") == []


@pytest.fixture
def scene(pair: Pair) -> Scene:
    """A mirrored pair whose application writes."""
    if shutil.which("qemu-io") is None:
        pytest.skip("qemu-io with its iSCSI driver is missing here (qemu-utils, qemu-block-extra)")
    start = command("tests.integration.iscsi_disk.writer", str(pair.reports), "writer")
    pair.install({"start": start})
    scene = Scene(pair)
    scene.wait_writing()
    return scene


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
    scene.pair.return_node("a")
    scene.pair.mirrored("b", "a")


def test_a_killed_worker_takes_its_disk_along_and_the_module_runs_on(scene: Scene) -> None:
    before = scene.pair.offer("a")
    scene.lab["a"].send_signal("twinhull.worker.main", signal.SIGKILL)
    wait_until("the application to start again", lambda: len(scene.told("start")) == 2, PATIENCE_S)
    scene.wait_writing()
    scene.check()
    assert before != scene.pair.offer("a")


def test_a_swap_moves_the_disk_and_leaves_nothing_offered_behind(scene: Scene) -> None:
    scene.lab["a"].twinhull("swap", MODULE)
    scene.pair.mirrored("b", "a")
    wait_until("the application to start again", lambda: len(scene.told("start")) == 2, PATIENCE_S)
    scene.wait_writing()
    scene.check()
    assert scene.told("error") == []
    assert scene.pair.offer("a") == {}
    assert scene.pair.offer("b")["target"].startswith("iqn.2026-11.io.twinhull:")
