"""Linux mounts the mirrored disk with the kernel's own initiator, in a VM that is the module's application.

The VM runs on the node that runs the module, and logs in to that node's target. Its program writes records with fsync
and tells of each outside; in each of its lives it first checks the file system, fio's file and the records of the former.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.lab import initiator, records
from tests.lab.fixtures import REPOSITORY
from tests.lab.waiting import wait_until

from .pair import MODULE, OFFER, Pair, command

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(bool(initiator.why_not()), reason=initiator.why_not() or "-"),
]

LIFE_TIMEOUT_S = 180.0
ENOUGH = 200
SLOTS = 16_384
"""As many as the guest's story has."""
WORKER = "twinhull.worker.main"
MONITOR = "/run/initiator-guest"
STORY = Path(__file__).with_name("guest_story")


class Scene:
    """A mirrored pair whose VM writes, and what that told."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.lab = pair.lab
        self.reports = records.ReportFile(pair.reports)

    def resource(self) -> dict[str, object]:
        """The VM as the module's application; it is stopped by its power button."""
        built = initiator.build(REPOSITORY / "build" / "guest" / "iscsi", STORY)
        reports = [
            "-chardev",
            f"file,id=reports,path={self.reports.path},append=on",
            "-serial",
            "chardev:reports",
        ]
        start = built.command(OFFER, *reports, "-monitor", f"unix:{MONITOR},server=on,wait=off")
        return {"start": start, "stop": command("tests.integration.iscsi_disk.power_button", MONITOR)}

    def said(self, *kinds: str) -> list[list[str]]:
        """What the VM said, of some kinds, in order."""
        lines = [line.split() for line in self.reports.path.read_text().splitlines()]
        return [words[1:] for words in lines if words[:1] == ["GUEST"] and words[1] in kinds]

    def wait_life(self, number: int) -> list[str]:
        """Wait until the VM lives a number of times, counted from 1, and writes; what it found."""
        wait_until(
            f"life {number} of the VM",
            lambda: len(self.said("MADE", "KEPT")) >= number or bool(self.said("FAILED")),
            LIFE_TIMEOUT_S,
        )
        assert self.said("FAILED") == []
        self.wait_writing()
        lives = self.said("MADE", "KEPT")
        assert len(lives) == number, lives
        boots = self.reports.read().boots
        assert all(boot.whole for boot in boots), boots
        return lives[-1]

    def wait_writing(self) -> None:
        """Wait until more was written."""
        last = self.reports.read().last
        self.reports.wait("more records", lambda told: told.last >= last + ENOUGH, LIFE_TIMEOUT_S)

    def kill_worker(self, node: str) -> None:
        """SIGKILL; returns when a new one runs."""
        [old] = self.lab[node].send_signal(WORKER, signal.SIGKILL)
        wait_until(
            "a new worker", lambda: self.lab[node].processes(WORKER) not in ([], [old]), LIFE_TIMEOUT_S
        )

    def restart_agents(self) -> None:
        """SIGKILL to both nodes' agents; returns when new ones have adopted the workers."""
        workers = [node.processes(WORKER) for node in self.lab.nodes.values()]
        for node in self.lab.nodes.values():
            node.kill_service("agent")
        self.lab.wait_agents()
        assert [node.processes(WORKER) for node in self.lab.nodes.values()] == workers

    def break_connection(self, node: str) -> None:
        """Refuse the VM's connection to the disk until its kernel says that it is broken."""
        port = self.pair.offer(node)["port"]
        rules = f"""
            add table ip broken
            add chain ip broken out {{ type filter hook output priority 0; }}
            add rule ip broken out tcp dport {port} reject with tcp reset
            """
        self.lab[node].run(["nft", "-f", "-"], input_text=rules)
        try:
            wait_until("the broken connection", lambda: bool(self.said("DISTURBED")), LIFE_TIMEOUT_S)
        finally:
            self.lab[node].run(["nft", "delete", "table", "ip", "broken"])

    def compare(self, primary: str) -> None:
        """Both replicas are equal and hold every record; the VM stands still meanwhile."""
        with self.lab[primary].frozen(initiator.EMULATOR):
            told = self.reports.read()
            assert told.failures == ()
            verified = json.loads(self.lab[primary].twinhull("verify", MODULE, "--json").stdout)
            assert verified["state"] == "done", verified
            assert verified["result"]["ranges"] == [], verified
            assert self.pair.module.replicas_equal()
            for node in self.lab.nodes:
                held = records.extract(self.pair.module.data_file(node))
                assert records.missing(held, told.acknowledged, SLOTS) == [], f"node {node}"


@pytest.fixture
def scene(pair: Pair) -> Scene:
    """A mirrored pair whose VM has made its file system on node a, and writes."""
    scene = Scene(pair)
    pair.install(scene.resource())
    return scene


@pytest.mark.timeout(1500)
def test_linux_finds_its_files_again_after_every_loss_of_the_disk_beneath_it(scene: Scene) -> None:
    first = scene.wait_life(1)
    assert first[0] == "MADE"
    offer = scene.pair.offer("a")
    assert scene.lab["a"].processes(initiator.EMULATOR)
    assert scene.lab["a"].processes(offer["secret"]) == []

    # The initiator notices nothing of the agents, of the mirror's other worker, of the hold while the other node is lost.
    scene.restart_agents()
    scene.wait_writing()
    scene.kill_worker("b")
    scene.pair.mirrored("a", "b")
    scene.lab["b"].kill()
    scene.wait_writing()
    scene.pair.return_node("b")
    scene.pair.mirrored("a", "b")
    assert scene.said("DISTURBED") == []

    # A broken connection: it logs in again to the same disk, and goes on with what was under way.
    scene.break_connection("a")
    scene.wait_writing()
    assert scene.pair.offer("a") == offer
    assert len(scene.said("MADE", "KEPT")) == 1

    # The node with the VM loses its power: the other one's target has the disk.
    scene.lab["a"].kill()
    second = scene.wait_life(2)
    assert second[0] == "KEPT"
    assert second[1] != first[1], "the disk's name is new at every attach"
    assert second[2] == "replayed=1"

    # A worker dies where no other node can take over: the disk that its initiator knows does not come back. The agent turns
    # the VM off, the new worker offers the disk under a new name, and the VM is started on that.
    scene.kill_worker("b")
    third = scene.wait_life(3)
    assert third[0] == "KEPT"
    assert third[1] not in (first[1], second[1])
    assert third[2] == "replayed=1"

    # Home again by command: the VM unmounts and logs out, so there is no journal to replay.
    scene.pair.return_node("a")
    scene.pair.mirrored("b", "a")
    scene.lab["b"].twinhull("swap", MODULE)
    assert scene.said("OFF") == [["OFF"]]
    assert scene.wait_life(4)[::2] == ["KEPT", "replayed=0"]
    assert scene.pair.offer("b") == {}
    scene.pair.mirrored("a", "b")

    # A worker dies where the other node can take over: it does, and the VM of the dead worker is off.
    scene.kill_worker("a")
    assert scene.wait_life(5)[::2] == ["KEPT", "replayed=1"]
    assert scene.lab["a"].processes(initiator.EMULATOR) == []
    scene.pair.mirrored("b", "a")
    scene.compare("b")
