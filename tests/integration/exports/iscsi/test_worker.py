"""A real worker with its mirror and volume serves the disk: the export fits its seam as it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.disk import FakeDisk
from tests.integration.exports.iscsi.test_export import SocketInitiator
from tests.integration.transport.support import Cluster
from tests.unit.exports.iscsi.initiator import read10, write10
from tests.unit.worker.worker_scene import MIB, Scene

from twinhull.exports.base import Export
from twinhull.exports.iscsi import IscsiExport, TargetSettings, target_name

SETTINGS = TargetSettings(target_name("test", "VM1"), MIB, bytes(16), None)


class IscsiScene(Scene):
    """A worker whose export is ours. Like the rest of a host, it is made when the folder is attached."""

    iscsi: IscsiExport

    def _make_export(self) -> Export:  # type: ignore[override]
        self.iscsi = IscsiExport(SETTINGS, next_data=self.volume.next_data)
        self.port, self.settings = self.iscsi.port, SETTINGS
        return self.iscsi


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[IscsiScene]:
    """A worker that runs its module alone."""
    scene = IscsiScene(Cluster(tmp_path / "pki"), tmp_path, FakeDisk())
    scene.running_alone()
    yield scene
    scene.worker.end()
    assert scene.ended()
    assert scene.failure is None


def test_a_host_writes_through_a_worker_to_its_volume(scene: IscsiScene) -> None:
    initiator = SocketInitiator(scene)  # type: ignore[arg-type]
    assert initiator.login(chap=None) == 0
    initiator.settle()
    data = os.urandom(512 * 1000)
    assert initiator.run(write10(16, 1000, 0x08), out=data).status == 0
    assert initiator.run(read10(16, 1000), room=len(data)).data == data
    assert initiator.run(bytes((0x35,))).status == 0
    assert scene.volume.read(16 * 512, len(data)) == data
    unmap = bytes.fromhex("0016 0010 00000000 0000000000000010 00000008 00000000")
    assert initiator.run(bytes.fromhex("42000000000000001800"), out=unmap).status == 0
    assert scene.volume.read(16 * 512, 8192) == bytes(4096) + data[4096:8192]


def test_the_worker_takes_the_disk_away_when_the_module_stops(scene: IscsiScene) -> None:
    initiator = SocketInitiator(scene)  # type: ignore[arg-type]
    assert initiator.login(chap=None) == 0
    agent = scene.agent()
    agent.give("stop")
    assert initiator.ended()
    agent.view(lambda view: view["state"] == "STOP")
    assert scene.iscsi.fileno() == -1
