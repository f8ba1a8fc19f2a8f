"""Export, folder and resource of one module: what overtakes what, and what comes back as which event."""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.attacher import FakeAttacher
from tests.fakes.export import FakeExport
from tests.fakes.requests import FakeRequests
from tests.fakes.resource import FakeResource
from tests.unit.worker.worker_scene import LOG, PATIENCE_S

from twinhull.core import events
from twinhull.core.settings import StopMode
from twinhull.errors import AttachError, ResourceError
from twinhull.resources.base import ResourceState
from twinhull.worker.host import Host, HostParts
from twinhull.worker.loop import Loop
from twinhull.worker.resource_parts import LAUNCHER


class Scene:
    """A host on its own loop."""

    def __init__(self, *, dead_moves: bool = False) -> None:
        self.told: list[events.Event] = []
        self._changed = threading.Condition()
        self.loop = Loop(lambda: None, stall_s=5.0)
        self.attacher, self.resource = FakeAttacher(), self._resource()
        self.exports: list[FakeExport] = []
        self.export_fails = False
        self.requests: list[tuple[int, int]] = []
        self.failure: Exception | None = None
        parts = HostParts(
            lambda _loop, _serve: self._export(), self.attacher, self.resource, dead_moves=dead_moves
        )
        self.awake = True
        self.mirror = FakeRequests()
        self.host = Host(
            self.loop,
            parts,
            self.mirror,
            tell=self._tell,
            on_requests=self._requested,
            log=LOG,
            awake=lambda: self.awake,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _resource(self) -> FakeResource:
        return FakeResource()

    def _export(self) -> FakeExport:
        if self.export_fails:
            raise AttachError("there is no /dev/fuse")
        self.exports.append(FakeExport())
        return self.exports[-1]

    def _requested(self, requests: Any, base: int) -> None:
        with self._changed:
            self.requests += [(base, request.tag) for request in requests]
            self._changed.notify_all()

    def _tell(self, event: events.Event) -> None:
        with self._changed:
            self.told.append(event)
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self.loop.run()
        except Exception as error:  # noqa: BLE001 - the tests look at it
            self.failure = error

    def do(self, call: Callable[[], None]) -> None:
        """Call on the loop and wait until it was called."""
        done = threading.Event()

        def both() -> None:
            call()
            done.set()

        self.loop.post(both)
        assert done.wait(PATIENCE_S)

    def until(self, kind: type, count: int = 1) -> Any:
        with self._changed:
            assert self._changed.wait_for(
                lambda: sum(isinstance(told, kind) for told in self.told) >= count, PATIENCE_S
            ), self.told
            return next(told for told in reversed(self.told) if isinstance(told, kind))

    def asked(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, PATIENCE_S)

    def run_resource(self) -> None:
        self.do(lambda: self.host.attach(make=False))
        self.until(events.Attached)
        self.do(lambda: self.host.start(resume=False))
        self.until(events.ResourceStarted)

    def ended(self) -> bool:
        self._thread.join(PATIENCE_S)
        return not self._thread.is_alive()

    def close(self) -> None:
        self.loop.stop()
        self._thread.join(PATIENCE_S)


@pytest.fixture
def said() -> Iterator[queue.SimpleQueue[str]]:
    """What the host says."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: lines.put(record.getMessage())  # type: ignore[method-assign]
    LOG.logger.addHandler(handler)
    LOG.logger.setLevel(logging.INFO)
    yield lines
    LOG.logger.setLevel(logging.NOTSET)
    LOG.logger.removeHandler(handler)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


def test_a_forced_stop_wins_over_a_start_that_is_under_way(scene: Scene) -> None:
    scene.do(lambda: scene.host.attach(make=False))
    scene.until(events.Attached)
    scene.resource.hang("start")
    scene.do(lambda: scene.host.start(resume=False))
    assert scene.resource.wait_for_call("start")
    scene.do(lambda: scene.host.stop(StopMode.OFF, 0.0))
    assert scene.resource.wait_for_call("force_off")
    scene.resource.release("start")
    scene.until(events.ResourceStopped)
    assert scene.resource.state() is ResourceState.OFF
    assert not [told for told in scene.told if isinstance(told, events.ResourceStarted)]


class LateResource(FakeResource):
    """What turns it off at once is late."""

    def __init__(self) -> None:
        super().__init__()
        self.may_turn_off = threading.Event()

    def force_off(self) -> None:
        if threading.current_thread().name.startswith("force"):
            assert self.may_turn_off.wait(PATIENCE_S)
        super().force_off()


class LateScene(Scene):
    def _resource(self) -> LateResource:
        return LateResource()


def test_a_resource_is_off_when_nothing_is_left_that_would_turn_it_off_later() -> None:
    scene = LateScene()
    assert isinstance(scene.resource, LateResource)
    scene.run_resource()
    scene.do(lambda: scene.host.stop(StopMode.OFF, 0.0))
    scene.do(lambda: scene.host.detach(forced=False))  # behind it on the same lane
    scene.until(events.Detached)
    assert not [told for told in scene.told if isinstance(told, events.ResourceStopped)]
    scene.resource.may_turn_off.set()
    scene.until(events.ResourceStopped)
    scene.close()


def test_a_node_that_slept_before_a_start_starts_nothing(scene: Scene) -> None:
    scene.do(lambda: scene.host.attach(make=False))
    scene.until(events.Attached)
    scene.awake = False
    scene.do(lambda: scene.host.start(resume=False))
    failed = scene.until(events.ResourceStartFailed)
    assert "slept" in failed.reason
    assert "start" not in scene.resource.calls


def test_a_start_that_was_overtaken_in_its_move_starts_nothing(scene: Scene) -> None:
    scene.do(lambda: scene.host.attach(make=False))
    scene.until(events.Attached)
    moving, go_on = threading.Event(), threading.Event()

    def move() -> None:
        moving.set()
        assert go_on.wait(PATIENCE_S)

    scene.host.before_start = move
    scene.do(lambda: scene.host.start(resume=False))
    assert moving.wait(PATIENCE_S)
    scene.do(lambda: scene.host.stop(StopMode.OFF, 0.0))
    go_on.set()
    scene.until(events.ResourceStopped)
    assert "start" not in scene.resource.calls


def test_turning_off_does_not_wait_behind_a_pause_that_hangs(scene: Scene) -> None:
    scene.run_resource()
    scene.resource.hang("suspend")
    scene.do(scene.host.suspend)
    assert scene.resource.wait_for_call("suspend")
    scene.do(lambda: scene.host.stop(StopMode.OFF, 0.0))
    scene.until(events.ResourceStopped)
    scene.resource.release("suspend")
    scene.do(scene.host.resume)
    scene.do(scene.host.interrupt)
    assert scene.resource.wait_for_call("interrupt")


def test_a_move_that_fails_stops_the_module_and_is_not_tried_again_unasked(scene: Scene) -> None:
    scene.do(lambda: scene.host.attach(make=False))
    scene.until(events.Attached)

    def move() -> None:
        raise ResourceError("the folder is too small")

    scene.host.before_start = move
    scene.do(lambda: scene.host.start(resume=False))
    stop = scene.until(events.Stop)
    assert stop.forced
    assert "too small" in stop.reason
    assert scene.resource.calls == []
    assert scene.host.before_start is None


def test_a_release_that_fails_keeps_the_folder_and_is_not_repeated_by_a_later_stop(scene: Scene) -> None:
    scene.do(lambda: scene.host.attach(make=False))
    scene.until(events.Attached)
    released: list[str] = []

    def release() -> None:
        released.append("tried")
        raise ResourceError("the target is full")

    scene.host.before_detach = release
    scene.do(lambda: scene.host.detach(forced=False))
    assert "target is full" in scene.until(events.DetachFailed).reason
    assert scene.attacher.attached()
    scene.do(lambda: scene.host.detach(forced=False))
    scene.until(events.Detached)
    assert released == ["tried"]


def test_nothing_starts_where_the_folder_is_not_our_mount(scene: Scene) -> None:
    scene.do(lambda: scene.host.start(resume=False))
    assert "not the module's own mount" in scene.until(events.ResourceStartFailed).reason
    assert scene.resource.calls == []


def test_what_cannot_be_exported_mounted_or_unmounted_is_told_with_its_reason(scene: Scene) -> None:
    scene.export_fails = True
    scene.do(lambda: scene.host.attach(make=True))
    assert "no /dev/fuse" in scene.until(events.AttachFailed).reason
    scene.export_fails = False
    scene.attacher.fail = {"attach", "detach"}
    scene.do(lambda: scene.host.attach(make=True))
    assert "refuses" in scene.until(events.AttachFailed, 2).reason
    scene.do(lambda: scene.host.detach(forced=False))
    assert "busy" in scene.until(events.DetachFailed).reason
    assert not scene.exports[0].closed
    scene.do(lambda: scene.host.detach(forced=True))
    scene.until(events.DetachFailed, 2)
    assert scene.exports[0].closed


def test_a_resource_that_will_not_stop_runs_on_and_is_watched(scene: Scene) -> None:
    scene.run_resource()
    scene.resource.guest_refuses = True
    scene.do(lambda: scene.host.stop(StopMode.STOP, 0.1))
    assert "did not shut down" in scene.until(events.ResourceStopFailed).reason
    scene.resource.die()
    assert scene.until(events.ResourceDied).reason == "the fake died"


@pytest.mark.parametrize("moves", [False, True])
def test_what_stopped_by_itself_is_moved_as_it_is_set_but_not_when_its_disk_was_lost(moves: bool) -> None:
    scene = Scene(dead_moves=moves)
    try:
        scene.run_resource()
        scene.resource.die()
        assert scene.until(events.ResourceDied).move is moves
        scene.do(lambda: scene.host.start(resume=False))
        scene.until(events.ResourceStarted, 2)
        scene.exports[0].lose()
        assert not scene.until(events.ResourceDied, 2).move
    finally:
        scene.close()


def test_a_vm_that_its_hypervisor_paused_is_told_once_and_neither_restarted_nor_moved(
    scene: Scene, said: queue.SimpleQueue[str]
) -> None:
    scene.run_resource()
    scene.resource.pause_critical(True)
    while "has paused the VM" not in said.get(timeout=PATIENCE_S):
        pass
    scene.resource.pause_critical(False)
    assert "no longer paused" in said.get(timeout=PATIENCE_S)
    assert [type(told) for told in scene.told] == [events.Attached, events.ResourceStarted]


def test_a_saved_state_is_told(scene: Scene) -> None:
    scene.run_resource()
    scene.do(lambda: scene.host.stop(StopMode.SAVE, 1.0))
    assert scene.until(events.ResourceStopped).saved


def test_answers_to_requests_of_an_earlier_export_go_nowhere(scene: Scene) -> None:
    scene.run_resource()
    scene.exports[0].ask(0, 0, 512)  # type: ignore[arg-type]
    scene.asked(1)
    scene.do(lambda: scene.host.detach(forced=True))
    scene.until(events.Detached)
    scene.do(lambda: scene.host.attach(make=False))
    scene.until(events.Attached, 2)
    tag = scene.exports[1].ask(0, 0, 512)  # type: ignore[arg-type]
    scene.asked(2)
    (old_base, old_tag), (new_base, new_tag) = scene.requests
    assert old_tag == new_tag == tag
    scene.do(lambda: scene.host.reply(old_base + old_tag, 0, b"old" * 100))
    assert not scene.exports[1].answered(tag)
    scene.do(lambda: scene.host.reply(new_base + new_tag, 0, bytearray(b"new")))
    assert scene.exports[1].wait(tag).data == b"new"


def test_a_new_export_waits_for_the_last_write_of_the_one_before(scene: Scene) -> None:
    scene.run_resource()
    scene.mirror.owes = True
    scene.do(lambda: scene.host.detach(forced=True))
    scene.until(events.Detached)
    assert scene.mirror.forsaken == 1
    scene.do(lambda: scene.host.attach(make=False))
    scene.do(lambda: None)
    assert len(scene.exports) == 1
    scene.mirror.owes = False
    scene.until(events.Attached, 2)
    assert len(scene.exports) == 2


def test_an_attach_that_waits_gives_way_to_a_detach(scene: Scene) -> None:
    scene.mirror.owes = True
    scene.do(lambda: scene.host.attach(make=False))
    scene.do(lambda: scene.host.detach(forced=True))
    scene.until(events.Detached)
    scene.mirror.owes = False
    scene.do(lambda: scene.host.attach(make=False))
    scene.until(events.Attached)
    assert len(scene.exports) == 1
    assert not [event for event in scene.told if isinstance(event, events.AttachFailed)]


def test_an_export_that_is_lost_while_nothing_runs_is_made_anew_with_the_next_attach(scene: Scene) -> None:
    scene.do(lambda: scene.host.attach(make=False))
    scene.until(events.Attached)
    scene.exports[0].lose()
    scene.do(lambda: None)
    scene.do(lambda: scene.host.detach(forced=False))
    scene.until(events.Detached)
    assert scene.exports[0].closed
    scene.do(lambda: scene.host.attach(make=False))
    scene.until(events.Attached, 2)
    assert len(scene.exports) == 2
    assert scene.failure is None


def test_a_lost_export_that_cannot_be_freed_fails_the_start(scene: Scene) -> None:
    scene.run_resource()
    scene.exports[0].lose()
    scene.until(events.ResourceDied)
    scene.attacher.fail = {"detach"}
    scene.do(lambda: scene.host.start(resume=False))
    assert "busy" in scene.until(events.ResourceStartFailed).reason


def test_a_defect_of_ours_ends_the_loop_and_is_not_taken_for_a_failure_of_the_host(scene: Scene) -> None:
    def broken() -> None:
        raise KeyError("a defect")

    scene.do(lambda: scene.host.attach(make=False))
    scene.until(events.Attached)
    scene.host.before_start = broken
    scene.do(lambda: scene.host.start(resume=False))
    assert scene.ended()
    assert isinstance(scene.failure, KeyError)


# ---- commands of the operator ------------------------------------------------------------------------


def test_a_launched_command_is_an_ordinary_process_that_keeps_its_arguments(tmp_path: Path) -> None:
    look = "import sys; print(open('/proc/self/oom_score_adj').read().strip(), sys.argv[1:])"
    done = subprocess.run(
        [*LAUNCHER, sys.executable, "-c", look, "a b", "*"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0 ['a b', '*']"


def test_a_launched_command_that_is_not_there_says_so() -> None:
    done = subprocess.run([*LAUNCHER, "/nonexistent/x"], capture_output=True, text=True)
    assert done.returncode == 126
    assert "/nonexistent/x cannot be run: No such file" in done.stderr


def test_a_launched_command_does_not_inherit_the_workers_privileges(tmp_path: Path) -> None:
    flags = "print(open('/proc/self/stat').read().rpartition(')')[2].split()[6])"
    code = f"""
import subprocess, sys
sys.path.insert(0, {str(Path(__file__).parents[3] / "agent")!r})
from twinhull.exports.fuse import hardening
denied = hardening.sit_under_page_cache()
launcher = {LAUNCHER!r}
look = "print(open('/proc/self/oom_score_adj').read().strip(), " + {flags!r}[6:]
for prefix in ((), launcher):
    print(subprocess.run([*prefix, sys.executable, "-c", look], capture_output=True, text=True).stdout.strip())
print(len(denied))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    inherited, launched, denied = done.stdout.splitlines()
    if denied != "0":
        pytest.skip("this host does not let a worker sit under the page cache")
    io_flusher = 0x80000  # PF_MEMALLOC_NOIO of include/linux/sched.h
    assert inherited.split()[0] == "-1000"
    assert int(inherited.split()[1]) & io_flusher
    assert launched.split()[0] == "0"
    assert not int(launched.split()[1]) & io_flusher
