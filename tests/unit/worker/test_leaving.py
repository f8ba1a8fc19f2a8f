"""A resource that can only leave its host while no write reaches the volume, and an initiator that is told of room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.fakes.export import FakeNetworkDisk
from tests.fakes.resource import LeavingResource
from tests.unit.worker.test_host import Scene

from twinhull.core import events
from twinhull.core.settings import StopMode
from twinhull.exports.base import Op


class LeavingScene(Scene):
    """A host whose export is a network disk and whose resource leaves."""

    def _resource(self) -> LeavingResource:
        return LeavingResource()

    def _export(self) -> FakeNetworkDisk:
        self.exports.append(FakeNetworkDisk())
        return self.disk

    @property
    def disk(self) -> FakeNetworkDisk:
        """The export of now."""
        found = self.exports[-1]
        assert isinstance(found, FakeNetworkDisk)
        return found


@pytest.fixture
def scene() -> Iterator[LeavingScene]:
    made = LeavingScene()
    made.run_resource()
    yield made
    made.close()


def detach(scene: LeavingScene, *, forced: bool = False) -> None:
    """What the machine does: stop, then detach."""
    scene.do(lambda: scene.host.stop(StopMode.STOP, 1.0))
    scene.until(events.ResourceStopped)
    scene.do(lambda: scene.host.detach(forced=forced))


def test_a_leaving_resource_leaves_after_the_flush_and_before_the_detach(scene: LeavingScene) -> None:
    scene.resource.hang("leave")
    disk = scene.disk
    detach(scene)
    assert scene.resource.wait_for_call("leave")
    assert disk.discards
    assert scene.attacher.calls == ["attach", "flush"]
    scene.resource.release("leave")
    scene.until(events.Detached)
    assert scene.attacher.calls == ["attach", "flush", "detach"]
    assert disk.closed


def test_nothing_leaves_while_a_write_of_before_is_under_way(scene: LeavingScene) -> None:
    disk = scene.disk
    tag = disk.ask(Op.WRITE, 0, 512, bytes(512))
    scene.asked(1)
    detach(scene)
    disk.wait_for_discards()
    scene.do(lambda: None)
    assert "leave" not in scene.resource.calls
    scene.do(lambda: scene.host.reply(scene.requests[0][0] + tag, 0, None))
    scene.until(events.Detached)
    assert "leave" in scene.resource.calls


def test_a_folder_that_cannot_be_written_back_keeps_its_writes(scene: LeavingScene) -> None:
    scene.attacher.fail.add("flush")
    detach(scene)
    scene.until(events.DetachFailed)
    assert not scene.disk.discards
    assert "leave" not in scene.resource.calls


@pytest.mark.parametrize("failing", ["leave", "detach"])
def test_a_resource_that_runs_on_after_a_failed_leave_gets_a_new_disk(
    scene: LeavingScene, failing: str
) -> None:
    lost = scene.disk
    (scene.resource if failing == "leave" else scene.attacher).fail.add(failing)
    detach(scene)
    scene.until(events.DetachFailed)
    assert lost.closed, "what is written to it is thrown away: nobody may run on it"
    scene.resource.fail.clear()
    scene.attacher.fail.clear()
    scene.do(lambda: scene.host.start(resume=False))
    scene.until(events.ResourceStarted, 2)
    assert scene.disk is not lost
    assert not scene.disk.discards


def test_a_forced_detach_waits_for_no_leaving(scene: LeavingScene) -> None:
    detach(scene, forced=True)
    scene.until(events.Detached)
    assert scene.attacher.calls == ["attach", "detach forced"]
    assert "leave" not in scene.resource.calls


def test_a_forced_detach_overtakes_one_that_waits_for_the_volume(scene: LeavingScene) -> None:
    disk = scene.disk
    disk.ask(Op.WRITE, 0, 512, bytes(512))
    scene.asked(1)
    detach(scene)
    disk.wait_for_discards()
    detach(scene, forced=True)
    scene.until(events.Detached, 2)
    assert disk.closed


def test_an_initiator_is_warned_of_room_once_until_there_is_room_again(scene: LeavingScene) -> None:
    full = {"allocated_bytes": 5, "disk_free_bytes": 6, "space_warnings": ["85 % full"]}
    room = {**full, "space_warnings": []}
    for seen in (room, full, full, room, full):
        scene.do(lambda seen=seen: scene.host.tell_space(seen))  # type: ignore[misc]
    assert [warn for *_, warn in scene.disk.space] == [False, True, False, False, True]
    assert scene.disk.space[0][:2] == (5, 6)
