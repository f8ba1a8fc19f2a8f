"""A registration that an earlier life left goes before the folder is mounted, and nothing of it reaches the volume."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.fakes.export import FakeExport, FakeNetworkDisk
from tests.fakes.resource import LeavingResource, ReturningResource
from tests.unit.worker.test_leaving import LeavingScene, detach

from twinhull.core import events
from twinhull.worker import returning


class ReturningScene(LeavingScene):
    """A host whose resource may be registered of an earlier life."""

    network_disk = True

    def _resource(self) -> LeavingResource:
        return ReturningResource()

    def _export(self) -> FakeNetworkDisk:
        if self.export_fails or self.network_disk:
            return super()._export()
        self.exports.append(FakeExport())
        return self.exports[-1]  # type: ignore[return-value]

    @property
    def returning(self) -> ReturningResource:
        """The resource."""
        assert isinstance(self.resource, ReturningResource)
        return self.resource

    def attach(self) -> None:
        """Ask for the folder."""
        self.do(lambda: self.host.attach(make=False))

    def discarding(self) -> list[bool]:
        """Of each export there was, whether it threw writes away."""
        return [isinstance(one, FakeNetworkDisk) and one.discards for one in self.exports]


@pytest.fixture
def scene() -> Iterator[ReturningScene]:
    made = ReturningScene()
    yield made
    made.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service of the host is looked at often."""
    monkeypatch.setattr(returning, "HOST_READY_POLL_S", 0.001)


@pytest.mark.usefixtures("quick")
def test_a_host_that_boots_is_waited_for_before_anything_is_tried(scene: ReturningScene) -> None:
    scene.returning.starts_after = 5
    scene.attach()
    scene.until(events.Attached)
    assert scene.returning.looks == 6
    assert scene.resource.calls == ["clear"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("blind", [False, True])
def test_a_service_that_never_starts_or_cannot_be_seen_is_left_to_what_is_tried_then(
    scene: ReturningScene, blind: bool
) -> None:
    scene.returning.starts_after, scene.returning.blind = 10**6, blind
    scene.attach()
    scene.until(events.Attached)
    assert scene.returning.looks == (1 if blind else returning.HOST_READY_LOOKS + 1)
    assert scene.resource.calls == ["clear"]


@pytest.mark.usefixtures("quick")
def test_a_detach_does_not_wait_for_a_host_that_boots(scene: ReturningScene) -> None:
    scene.returning.starts_after = 10**6
    scene.attach()
    assert scene.returning.wait_for_looks(2)
    scene.do(lambda: scene.host.detach(forced=True))
    scene.until(events.Detached)
    assert scene.resource.calls == [] and scene.exports == []


@pytest.mark.parametrize("left", ["", "clear"])
def test_the_registration_goes_while_nothing_is_offered(scene: ReturningScene, left: str) -> None:
    scene.returning.left = left
    scene.resource.hang("clear")
    scene.attach()
    assert scene.resource.wait_for_call("clear")
    assert scene.exports == []
    scene.resource.release("clear")
    scene.until(events.Attached)
    assert scene.resource.calls == ["clear"]
    assert scene.attacher.calls == ["attach"]
    assert scene.discarding() == [False]


def test_what_stays_is_removed_on_a_mount_whose_writes_are_thrown_away(scene: ReturningScene) -> None:
    scene.returning.left = "leave"
    scene.attach()
    scene.until(events.Attached)
    assert scene.resource.calls == ["clear", "leave", "clear at last"]
    assert scene.attacher.calls == ["attach", "detach", "attach"]
    assert scene.discarding() == [True, False]
    assert [export.closed for export in scene.exports] == [True, False]


@pytest.mark.parametrize("left", ["last resort", "nothing"])
def test_what_stays_for_good_keeps_nobody_from_mounting(scene: ReturningScene, left: str) -> None:
    scene.returning.left = left
    scene.attach()
    scene.until(events.Attached)
    assert scene.resource.calls[-1] == "clear at last"
    assert scene.discarding() == [True, False]


@pytest.mark.parametrize("failing", ["attach", "leave", "detach"])
def test_a_discarded_mount_that_fails_leaves_the_last_resort(scene: ReturningScene, failing: str) -> None:
    scene.returning.left = "last resort"
    (scene.resource if failing == "leave" else scene.attacher).fail.add(failing)
    scene.resource.hang("clear at last")
    scene.attach()
    assert scene.resource.wait_for_call("clear at last")
    assert scene.exports[0].closed
    scene.attacher.fail.clear()
    scene.resource.release("clear at last")
    scene.until(events.Attached)
    assert "clear at last" in scene.resource.calls


def test_an_export_that_cannot_throw_writes_away_is_never_mounted_for_that(scene: ReturningScene) -> None:
    scene.network_disk = False
    scene.returning.left = "last resort"
    scene.attach()
    scene.until(events.Attached)
    assert scene.resource.calls == ["clear", "clear at last"]
    assert scene.attacher.calls == ["attach"]


def test_a_registration_that_must_not_be_removed_refuses_the_mount(scene: ReturningScene) -> None:
    scene.resource.fail.add("clear")
    scene.attach()
    failed = scene.until(events.AttachFailed)
    assert "told to fail in clear" in failed.reason
    assert scene.exports == []
    assert scene.attacher.calls == []


@pytest.mark.parametrize("where", ["clear", "leave"])
def test_a_detach_overtakes_the_clearing_and_nothing_is_mounted_after_it(
    scene: ReturningScene, where: str
) -> None:
    scene.returning.left = "leave"
    scene.resource.hang(where)
    scene.attach()
    assert scene.resource.wait_for_call(where)
    scene.do(lambda: scene.host.detach(forced=True))
    scene.resource.release(where)
    scene.until(events.Detached)
    scene.do(lambda: None)
    assert [type(told) for told in scene.told] == [events.Detached], (
        "an attach that was overtaken is not answered"
    )
    assert not scene.attacher.attached()
    assert all(export.closed for export in scene.exports)


def test_a_second_attach_after_a_failed_one_offers_a_new_disk(scene: ReturningScene) -> None:
    scene.attacher.fail.add("attach")
    scene.attach()
    scene.until(events.AttachFailed)
    scene.attacher.fail.clear()
    scene.attach()
    scene.until(events.Attached)
    assert [export.closed for export in scene.exports] == [True, False]


def test_a_resource_is_kept_ready_while_nothing_is_offered(scene: ReturningScene) -> None:
    scene.do(scene.host.keep_ready)
    assert scene.resource.wait_for_call("clear")
    assert scene.resource.calls == ["warm", "clear"]
    scene.run_resource()
    before = len(scene.resource.calls)
    scene.do(scene.host.keep_ready)
    detach(scene)
    scene.until(events.Detached)
    assert "clear" not in scene.resource.calls[before:]
