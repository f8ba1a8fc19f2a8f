"""A worker on its own: commands, I/O, failing disks and an agent that says what makes no sense."""

from __future__ import annotations

import errno
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.fakes.disk import FakeDisk
from tests.lab.waiting import wait_until
from tests.unit.worker.worker_scene import PATIENCE_S, Scene

from twinhull.core.identity import Id
from twinhull.core.messages import OutdateAnswer, encode
from twinhull.errors import PkiError, ResourceError
from twinhull.exports.base import Op
from twinhull.storage.volume import DATA_FILE, METADATA_FILE
from twinhull.worker.moves import Moves, Plan

GOOD_BEAT: dict[str, Any] = {
    "op": "beat",
    "process": "ab" * 16,
    "counter": 1,
    "echo_process": None,
    "echo": 0,
    "session": None,
    "state": "SECOND",
}
BAD_BEATS: list[dict[str, Any]] = [
    {"op": "beat"},
    {**GOOD_BEAT, "process": "ab"},
    {**GOOD_BEAT, "process": 7},
    {**GOOD_BEAT, "process": "not hexadecimal"},
    {**GOOD_BEAT, "counter": -1},
    {**GOOD_BEAT, "counter": 1 << 64},
    {**GOOD_BEAT, "counter": True},
    {**GOOD_BEAT, "session": "00"},
    {"op": "peer_agent", "worker": "yes"},
    {"op": "peer_worker_dead", "process": "zz", "session": None},
    {"op": "peer_worker_dead"},
    {"op": "window", "open": 1},
    {"op": "told"},
    {"op": "told", "message": "no JSON"},
    {"op": "command", "command": "start"},
    {"op": "command", "id": "1", "command": "start"},
    {"op": "command", "id": 1, "command": "start", "arguments": ["as_primary"]},
    {"op": "what nobody knows"},
    {"op": ["beat"]},
    {},
]


def test_the_first_start_as_primary_makes_mounts_and_runs(scene: Scene) -> None:
    agent = scene.running_alone()
    assert scene.attacher.calls == ["attach make"]
    assert scene.resource.calls == ["start"]
    assert agent.view(lambda view: view["colour"] == "green")["state"] == "ALONE"
    agent.until(lambda _: bool(scene.audited))
    assert "as-primary" in scene.audited[0]


class OnceFailingMoves(Moves[Plan]):
    """A move into the folder that fails the first time."""

    def __init__(self) -> None:
        self.failure = ""
        self.tried = 0

    def progress(self) -> None:
        return None

    def adopt(self, *, stop_vm: bool) -> None:
        self.tried += 1
        if self.tried == 1:
            raise ResourceError("the folder is too small")


def test_a_first_start_that_cannot_be_prepared_stops_the_module_and_may_be_repeated(
    make_scene: Callable[..., Scene],
) -> None:
    scene = make_scene(moves=OnceFailingMoves())
    agent = scene.begin()
    assert agent.ask("start", as_primary=True, adopt=True)["ok"]
    stopped = agent.view(lambda view: view["state"] == "STOP" and view["volume"])
    assert "too small" in stopped["sentence"]
    assert "start" not in scene.resource.calls
    assert agent.ask("start", adopt=True)["ok"]
    agent.view(lambda view: view["resource_state"] == "running")


def test_what_is_written_is_read_back_and_flushed(scene: Scene) -> None:
    scene.running_alone()
    assert scene.export.write(4096, b"x" * 4096).error == 0
    assert scene.export.flush().error == 0
    assert scene.export.read(4096, 4096).data == b"x" * 4096
    assert scene.volume.read(4096, 4096) == b"x" * 4096


def test_a_read_that_is_not_in_the_cache_is_answered_too(scene: Scene) -> None:
    scene.running_alone()
    scene.export.write(0, b"y" * 512)
    scene.disk.cold = True
    assert scene.export.read(0, 512).data == b"y" * 512


def test_a_stop_turns_off_unmounts_and_answers_last(scene: Scene) -> None:
    agent = scene.running_alone()
    answer = agent.ask("stop")
    assert answer["ok"]
    assert "stopped" in answer["sentence"]
    assert scene.resource.calls == ["start", "stop stop"]
    assert scene.attacher.calls[-1] == "detach"
    assert scene.export.closed


def test_a_worker_that_begins_anew_finds_what_was_written(make_scene: Callable[..., Scene]) -> None:
    disk = FakeDisk()
    first = make_scene(disk)
    agent = first.running_alone()
    first.export.write(0, b"z" * 512)
    assert agent.ask("stop")["ok"]
    first.close()
    first.volume.close()
    second = make_scene(disk)
    second.running_alone()
    assert second.export.read(0, 512).data == b"z" * 512


def test_a_disk_that_fails_alone_sends_its_error_up_and_says_what_to_do(scene: Scene) -> None:
    agent = scene.running_alone()
    scene.disk.fail_next("write", file=DATA_FILE)
    answers = [scene.export.write(0, b"x" * 512)]
    view = agent.view(lambda view: bool(view["fault"]))
    assert view["colour"] == "red"
    assert "repair or replace" in view["fault"]
    assert answers[0].error == errno.EIO


def test_a_full_disk_is_a_failed_disk(scene: Scene) -> None:
    agent = scene.running_alone()
    scene.disk.fill_up()
    assert scene.export.write(512 << 10, b"x" * 8192).error in (errno.EIO, errno.ENOSPC)
    assert "full" in agent.view(lambda view: bool(view["fault"]))["fault"]


def test_a_start_whose_record_cannot_be_made_is_answered_as_not_carried_out(scene: Scene) -> None:
    agent = scene.begin()
    scene.disk.fail_next("sync", file=METADATA_FILE)
    answer = agent.ask("start", as_primary=True)
    assert not answer["ok"]
    assert "no record of it could be made" in answer["sentence"]
    assert "failed" in agent.view(lambda view: bool(view["fault"]))["fault"]
    assert "start" not in scene.resource.calls
    assert scene.exports == []


def test_a_record_that_is_not_durable_in_time_counts_as_failed(scene: Scene) -> None:
    agent = scene.begin()
    hang = scene.disk.hang("sync", file=METADATA_FILE)
    answer = agent.ask("start", as_primary=True)
    hang.release()
    assert not answer["ok"]
    assert "not durable within 1 s" in answer["sentence"]
    assert scene.exports == []


def test_a_write_that_hangs_holds_up_neither_decisions_nor_the_agent(scene: Scene) -> None:
    agent = scene.running_alone()
    hang = scene.disk.hang("write", file=DATA_FILE)
    tag = scene.export.ask(Op.WRITE, 0, 512, b"x" * 512)
    assert hang.reached.wait(20)
    agent.until(lambda message: message["op"] == "beat")
    assert agent.ask("checker-suspend")["ok"]
    hang.release()
    scene.export.wait(tag)


@pytest.mark.parametrize("message", BAD_BEATS, ids=str)
def test_what_cannot_be_read_changes_nothing(scene: Scene, message: dict[str, Any]) -> None:
    agent = scene.begin()
    agent.send(message)
    assert agent.ask("checker-suspend")["ok"]
    assert agent.view(lambda view: view["checkers_suspended"])["state"] == "STOP"
    assert scene.failure is None


def test_what_makes_sense_reaches_the_machine(scene: Scene) -> None:
    agent = scene.begin()
    answer = encode(OutdateAnswer(Id(bytes(16)), True, "")).decode()
    for message in (
        GOOD_BEAT,
        {"op": "peer_agent", "worker": True},
        {"op": "peer_worker_dead", "process": "ab" * 16, "session": "cd" * 16},
        {"op": "told", "message": answer},
        {"op": "window", "open": True},
    ):
        agent.send(message)
    assert agent.view(lambda view: view["peer_state"] == "SECOND")


@pytest.mark.parametrize("data", [b"{]\n", b"[1]\n", b"[" * 200_000 + b"\n", b"x" * (5 << 20)])
def test_an_agent_that_sends_nonsense_is_dropped_and_the_next_one_is_served(
    scene: Scene, data: bytes
) -> None:
    agent = scene.begin()
    try:
        agent.send_bytes(data)
        agent.at_end()
    except OSError:
        pass  # it was dropped while it still sent
    assert scene.agent().ask("checker-suspend")["ok"]


def test_a_newer_agent_replaces_the_older_one(scene: Scene) -> None:
    first = scene.begin()
    second = scene.agent()
    assert first.at_end()
    assert second.ask("checker-suspend")["ok"]


def test_an_answer_never_reaches_a_later_agent_that_counts_alike(scene: Scene) -> None:
    first = scene.running_alone()
    scene.resource.hang("stop")
    number = first.give("stop")
    assert scene.resource.wait_for_call("stop stop")
    second = scene.agent()
    second._number = number - 1
    refused = second.ask("stop")
    assert not refused["ok"]
    assert "already" in refused["sentence"]
    scene.resource.release("stop")
    second.view(lambda view: view["state"] == "STOP")
    assert [m for m in second.seen if m["op"] == "answer"] == [refused]


def test_a_second_stop_is_refused_and_the_first_is_answered_when_it_is_done(scene: Scene) -> None:
    agent = scene.running_alone()
    scene.resource.hang("stop")
    first = agent.give("stop")
    assert scene.resource.wait_for_call("stop stop")
    second = agent.ask("stop")
    assert not second["ok"]
    scene.resource.release("stop")
    assert agent.answer(first)["ok"]


def test_unknown_commands_and_ways_are_refused(scene: Scene) -> None:
    agent = scene.begin()
    assert "does not know" in agent.ask("explode")["sentence"]
    assert "cannot take that" in agent.ask("swap", mode="gently")["sentence"]
    assert not agent.ask("swap", mode="stop")["ok"]
    assert not agent.ask("abandon")["ok"]
    assert not agent.ask("restart")["ok"]


def test_a_restart_stops_and_starts_in_place(scene: Scene) -> None:
    agent = scene.running_alone()
    assert agent.ask("restart")["ok"]
    assert scene.resource.calls == ["start", "stop stop", "start"]
    assert scene.attacher.calls == ["attach make"]


def test_a_resource_that_dies_is_started_again(scene: Scene) -> None:
    agent = scene.running_alone()
    scene.resource.die()
    agent.view(lambda view: view["restarts"] == 1 and view["resource_state"] == "running")
    assert scene.resource.calls == ["start", "start"]


def test_a_checker_that_failed_restarts_the_resource(scene: Scene) -> None:
    agent = scene.running_alone()
    scene.checkers.failed("guest", "restart", "it does not answer")
    expected = ["start", "force_off", "force_off", "start"]
    wait_until("the resource to be started again", lambda: scene.resource.calls == expected, PATIENCE_S)
    agent.view(lambda view: view["restarts"] == 1 and view["resource_state"] == "running")


def test_checkers_are_suspended_and_resumed(scene: Scene) -> None:
    agent = scene.begin()
    assert agent.ask("checker-suspend")["ok"]
    assert agent.ask("checker-resume")["ok"]
    assert scene.checkers.calls == ["suspend", "go on"]


def _runs_again(restarts: int, view: Mapping[str, Any]) -> bool:
    return bool(view["restarts"] == restarts and view["resource_state"] == "running")


def test_after_three_restarts_the_module_stops(scene: Scene) -> None:
    agent = scene.running_alone()
    for number in (1, 2, 3):
        scene.resource.die()
        again = functools.partial(_runs_again, number)
        agent.view(again)
    scene.resource.die()
    view = agent.view(lambda view: view["state"] == "STOP")
    assert view["restarts"] >= view["restart_limit"]


def test_a_renewed_certificate_is_taken_and_a_bad_one_is_not(scene: Scene) -> None:
    agent = scene.begin()
    agent.send({"op": "reload_certificate"})
    assert agent.ask("checker-suspend")["ok"]
    scene.renewal_fails = PkiError("it expired")
    agent.send({"op": "reload_certificate"})
    assert agent.ask("checker-resume")["ok"]
    assert scene.renewed == ["renewed"]


def test_a_worker_ends_only_while_its_module_is_stopped(scene: Scene) -> None:
    agent = scene.running_alone()
    agent.send({"op": "end"})
    assert agent.ask("stop")["ok"]
    agent.send({"op": "end"})
    assert scene.ended()
    assert scene.failure is None
    assert not scene.link_path.exists()
    assert scene.checkers.calls[-1] == "close"


def test_the_socket_is_for_root_alone(scene: Scene) -> None:
    scene.begin()
    assert scene.link_path.stat().st_mode & 0o777 == 0o600


def test_the_view_shows_the_room_on_the_disk(scene: Scene) -> None:
    view = scene.begin().view(lambda view: "allocated_bytes" in view)
    assert view["space_warnings"] == ["85 % full"]
    json.dumps(view)


def test_an_export_that_the_kernel_took_away_is_made_anew(scene: Scene) -> None:
    agent = scene.running_alone()
    first = scene.export
    first.lose()
    agent.view(lambda view: view["restarts"] == 1 and view["resource_state"] == "running")
    assert first.closed
    assert len(scene.exports) == 2
    assert "detach forced" in scene.attacher.calls
    assert scene.resource.calls[:2] == ["start", "force_off"]
    assert scene.export.write(0, b"x" * 512).error == 0
    assert scene.failure is None


def test_a_defect_ends_the_worker_so_that_its_agent_cleans_up(scene: Scene) -> None:
    scene.begin()

    def broken() -> None:
        raise KeyError("a defect")

    scene.worker.loop.post(broken)
    assert scene.ended()
    assert isinstance(scene.failure, KeyError)
