"""The agent starts, adopts, and replaces workers; a dead one is cleaned up before its successor runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agent.agent_scene import view

from twinhull.agent.process import WorkerProcess
from twinhull.agent.status import module_status
from twinhull.agent.supervisor import Launch, Supervisor
from twinhull.agent.view import UNTOLD, whole_view
from twinhull.core.status import ModuleView
from twinhull.errors import AgentDownError, TwinhullError
from twinhull.worker import channel

PATIENCE_S = 30.0

WORKER = """
import json, os, select, socket, sys, time
path = sys.argv[1]
try:
    os.unlink(path)
except FileNotFoundError:
    pass
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(4)
process = "%032x" % os.getpid()
while True:
    peer, _ = listener.accept()
    rest = b""
    try:
        while True:
            peer.sendall(json.dumps({"op": "beat", "process": process, "session": None}).encode() + b"\\n")
            if select.select([peer], [], [], 0.05)[0]:
                data = peer.recv(65536)
                if not data:
                    break
                rest += data
                while b"\\n" in rest:
                    line, rest = rest.split(b"\\n", 1)
                    message = json.loads(line)
                    if message["op"] == "end":
                        sys.exit(0)
                    if message["op"] == "ignore":
                        peer.sendall(json.dumps({"op": "heard"}).encode() + b"\\n")
                    elif "id" in message:
                        answer = {"op": "answer", "id": message["id"], "ok": True, "sentence": "done"}
                        peer.sendall(json.dumps(answer).encode() + b"\\n")
    except OSError:
        pass
"""


class Scene:
    """A supervisor over real processes, with everything it tells recorded."""

    def __init__(self, directory: Path) -> None:
        self.script = directory / "worker.py"
        self.script.write_text(WORKER)
        self.told: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.refuse_clean_up = False
        self.launch = Launch(
            module="VM1",
            argv=(sys.executable, str(self.script), str(directory / "VM1.sock")),
            socket=directory / "VM1.sock",
            output=directory / "VM1.out",
            silence_s=1.0,
            clean_up=self.clean_up,
        )
        self.supervisors: list[Supervisor] = []
        self.supervisor = self.supervise()

    def supervise(self) -> Supervisor:
        supervisor = Supervisor(
            self.launch,
            self.message,
            lambda _, adopted: self.told.put("adopted" if adopted else "spawned"),
            lambda: self.told.put("told that it is dead"),
        )
        self.supervisors.append(supervisor)
        return supervisor

    def kill_workers(self) -> None:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.script) in entry.read_text():
                    os.kill(int(entry.parent.name), signal.SIGKILL)

    def clean_up(self) -> list[str]:
        if self.refuse_clean_up:
            self.told.put("cannot clean up")
            raise TwinhullError("the resource cannot be turned off")
        self.told.put("cleaned up")
        return []

    def message(self, module: str, message: dict[str, Any]) -> None:
        assert module == "VM1"
        self.told.put(message["op"])

    def wait_for(self, what: str) -> list[str]:
        seen = []
        while True:
            seen.append(self.told.get(timeout=PATIENCE_S))
            if seen[-1] == what:
                return seen


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    for supervisor in made.supervisors:
        supervisor.close()
    made.kill_workers()


def pid_of(supervisor: Supervisor) -> int:
    pid = supervisor.pid
    assert pid is not None
    return pid


def until(true: Callable[[], bool], scene: Scene) -> None:
    """Wait for something that shows itself at the latest with the next sign of life."""
    while not true():
        scene.wait_for("beat")


def test_nothing_of_the_module_may_run_before_a_worker_is_started(scene: Scene) -> None:
    scene.supervisor.start()
    assert scene.wait_for("spawned") == ["cleaned up", "spawned"]


def test_no_worker_is_started_while_cleaning_up_fails(scene: Scene) -> None:
    scene.refuse_clean_up = True
    scene.supervisor.start()
    assert scene.wait_for("cannot clean up") == ["cannot clean up"]
    assert not scene.supervisor.alive
    assert "cannot be turned off" in scene.supervisor.trouble or scene.told.empty()
    with pytest.raises(AgentDownError, match="worker of VM1 is not running"):
        scene.supervisor.ask({"op": "command"}, 1.0)
    scene.refuse_clean_up = False
    scene.wait_for("spawned")


def test_a_worker_survives_its_agent_and_the_next_agent_adopts_it(scene: Scene) -> None:
    scene.supervisor.start()
    scene.wait_for("beat")
    pid = pid_of(scene.supervisor)
    scene.supervisor.close()
    while not scene.told.empty():
        scene.told.get()
    second = scene.supervise()
    second.start()
    assert "spawned" not in scene.wait_for("beat")
    assert pid_of(second) == pid


def test_a_worker_that_speaks_before_it_reads_ends_when_it_is_told_to(scene: Scene) -> None:
    busy = WORKER.replace(
        '            peer.sendall(json.dumps({"op": "beat"',
        '            peer.sendall(b\'{"op": "hum"}\\n\')\n            time.sleep(0.3)\n'
        '            peer.sendall(json.dumps({"op": "beat"',
    )
    assert busy != WORKER
    scene.script.write_text(busy)
    scene.supervisor.start()
    scene.wait_for("hum")
    worker = WorkerProcess(pid_of(scene.supervisor))
    try:
        scene.supervisor.close(end_worker=True)
        assert worker.ended(PATIENCE_S)
    finally:
        worker.close()


def test_a_worker_that_keeps_dying_is_told_as_dead_at_once_and_begins_in_no_hurry(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinhull.agent.supervisor.RESPAWN_PAUSE_S", 10 * PATIENCE_S)
    scene.supervisor.start()
    scene.wait_for("beat")
    os.kill(pid_of(scene.supervisor), signal.SIGKILL)
    assert "spawned" not in scene.wait_for("told that it is dead")
    scene.supervisor.close()
    assert scene.told.empty()


def test_a_worker_that_lives_and_loses_its_connection_is_not_asked_again_in_a_hurry(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinhull.agent.supervisor.RESPAWN_PAUSE_S", 10 * PATIENCE_S)
    scene.supervisor.start()
    scene.wait_for("beat")
    looks, connections = threading.Semaphore(0), []
    alive, connect = WorkerProcess.alive, channel.connect

    def look(process: WorkerProcess) -> bool:
        looks.release()
        return alive(process)

    def again(*arguments: Any) -> Any:
        connections.append(arguments)
        return connect(*arguments)

    monkeypatch.setattr(WorkerProcess, "alive", look)
    monkeypatch.setattr(channel, "connect", again)
    lost = scene.supervisor._socket
    assert lost is not None
    lost.shutdown(socket.SHUT_RDWR)
    for _ in range(5):
        assert looks.acquire(timeout=PATIENCE_S)
    assert connections == []
    assert scene.supervisor.death is None


def test_a_killed_worker_is_cleaned_up_told_as_dead_and_replaced(scene: Scene) -> None:
    scene.supervisor.start()
    scene.wait_for("beat")
    pid = pid_of(scene.supervisor)
    os.kill(pid, signal.SIGKILL)
    told = scene.wait_for("spawned")
    assert told.index("cleaned up") < told.index("told that it is dead")
    assert scene.supervisor.death is not None
    assert scene.supervisor.death.process == f"{pid:032x}"
    until(lambda: scene.supervisor.alive, scene)
    assert pid_of(scene.supervisor) != pid


def test_a_worker_silent_for_longer_than_the_time_out_is_killed_and_replaced(scene: Scene) -> None:
    scene.supervisor.start()
    scene.wait_for("beat")
    pid = pid_of(scene.supervisor)
    os.kill(pid, signal.SIGSTOP)
    assert "cleaned up" in scene.wait_for("spawned")
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


def test_an_answer_reaches_whoever_asked(scene: Scene) -> None:
    scene.supervisor.start()
    scene.wait_for("beat")
    assert scene.supervisor.ask({"op": "command", "command": "start"}, PATIENCE_S)["sentence"] == "done"


def test_a_worker_that_does_not_answer_in_time_is_an_error_that_says_what_to_do(scene: Scene) -> None:
    scene.supervisor.start()
    scene.wait_for("beat")
    with pytest.raises(AgentDownError, match="look at the status"):
        scene.supervisor.ask({"op": "ignore"}, 0.05)


def test_whoever_waits_for_an_answer_is_told_at_once_when_the_worker_is_lost(scene: Scene) -> None:
    scene.supervisor.start()
    scene.wait_for("beat")
    errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            scene.supervisor.ask({"op": "ignore"}, 1000.0)
        except AgentDownError as error:
            errors.put(error)

    threading.Thread(target=ask, daemon=True).start()
    scene.wait_for("heard")
    os.kill(pid_of(scene.supervisor), signal.SIGKILL)
    assert "lost before it answered" in str(errors.get(timeout=PATIENCE_S))


def test_a_view_of_another_version_is_completed_and_one_without_a_state_ends_the_talk(scene: Scene) -> None:
    supervisor = scene.supervisor
    supervisor._take({"op": "view", "view": {"state": "PRIM", "of_a_later_version": [1, 2]}})
    assert supervisor.view is not None
    assert (supervisor.view["state"], supervisor.view["version"], supervisor.view["fault"]) == (
        "PRIM",
        "",
        "",
    )
    assert module_status(supervisor.view, {}, {})["state"] == "PRIM"
    supervisor._take({"op": "of_a_later_version", "anything": None})
    for nothing in ({}, {"state": None}, list[str]()):
        with pytest.raises(ValueError, match="without a state"):
            supervisor._take({"op": "view", "view": nothing})


def test_what_is_filled_in_for_another_version_is_everything_that_a_worker_tells() -> None:
    assert {field.name for field in dataclasses.fields(ModuleView)} < set(UNTOLD)
    assert set(view()) <= set(UNTOLD)


@pytest.mark.parametrize(
    ("rules", "configured", "shown", "warned"),
    [
        ("etcd", "etcd", "etcd", False),
        ("etcd", "ping", "etcd", True),
        ("none", "etcd", "none", True),
        ("", "ping", "ping", False),
    ],
)
def test_the_status_names_the_witness_that_rules_and_says_where_another_one_is_configured(
    rules: str, configured: str, shown: str, warned: bool
) -> None:
    told = module_status(whole_view(view(witness=rules)), {"witness": configured}, {})
    assert told["witness"] == shown
    said = [words for words in told["warnings"] if words.startswith("the witness is configured as")]
    assert len(said) == warned
    assert all(f"as {configured}, and {rules} rules until" in words for words in said)
    own = f"the witness is configured as {configured}, and {rules} rules until both nodes are connected"
    again = module_status(whole_view(view(witness=rules, warnings=[own])), {"witness": configured}, {})
    assert again["warnings"] == [own]


def test_a_worker_that_is_silent_for_longer_than_the_time_out_is_told_apart(scene: Scene) -> None:
    supervisor = scene.supervisor
    supervisor._heard_s = time.monotonic() - 100.0
    assert supervisor.hushed == ""  # nobody is connected
    with socket.socket() as connected:
        supervisor._socket = connected
        assert supervisor.hushed == "it has been silent for 100 s"
        supervisor._heard_s = time.monotonic()
        assert supervisor.hushed == ""
        supervisor._socket = None


def test_a_worker_that_does_not_read_holds_up_nobody(scene: Scene) -> None:
    scene.supervisor.start()
    scene.wait_for("beat")
    os.kill(pid_of(scene.supervisor), signal.SIGSTOP)
    message = {"op": "beat", "filler": "x" * 10_000}
    while scene.supervisor.send(message, wait=False):
        pass
    assert not scene.supervisor.send(message, wait=False)
    assert "cleaned up" in scene.wait_for("spawned")


def test_a_stopped_worker_is_not_granted_new_time_by_connecting_to_it_again(scene: Scene) -> None:
    scene.supervisor.start()
    scene.wait_for("beat")
    pid = pid_of(scene.supervisor)
    os.kill(pid, signal.SIGSTOP)
    heard_s = scene.supervisor._heard_s
    with scene.supervisor._lock:
        assert scene.supervisor._socket is not None
        scene.supervisor._socket.shutdown(socket.SHUT_RDWR)
    assert "adopted" in scene.wait_for("adopted")
    assert scene.supervisor._heard_s == heard_s or scene.supervisor.pid != pid
    scene.wait_for("spawned")


def test_a_worker_that_cannot_be_started_is_tried_again_and_said(tmp_path: Path) -> None:
    told: queue.SimpleQueue[str] = queue.SimpleQueue()

    def clean_up() -> list[str]:
        told.put("cleaned up")
        return []

    launch = Launch(
        module="VM1",
        argv=("/nonexistent/python",),
        socket=tmp_path / "VM1.sock",
        output=tmp_path / "VM1.out",
        silence_s=1.0,
        clean_up=clean_up,
    )
    supervisor = Supervisor(launch, lambda *_: None, lambda *_: None, lambda: None)
    supervisor.start()
    assert [told.get(timeout=PATIENCE_S) for _ in range(2)] == ["cleaned up"] * 2
    assert "cannot be started" in supervisor.trouble
    assert supervisor.watching
    assert launch.output.stat().st_mode & 0o777 == 0o600
    supervisor.close()


def test_a_defect_in_cleaning_up_does_not_leave_the_module_unwatched(scene: Scene) -> None:
    attempts: queue.SimpleQueue[str] = queue.SimpleQueue()

    def broken() -> list[str]:
        attempts.put("tried")
        raise KeyError("a defect")

    launch = dataclasses.replace(scene.launch, clean_up=broken)
    supervisor = Supervisor(launch, scene.message, lambda *_: None, lambda: None)
    scene.supervisors.append(supervisor)
    supervisor.start()
    assert [attempts.get(timeout=PATIENCE_S) for _ in range(2)] == ["tried"] * 2
    assert supervisor.watching
    assert "a defect" in supervisor.trouble


def test_a_process_is_held_by_more_than_its_number() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = WorkerProcess(child.pid)
    assert process.alive()
    process.kill()
    child.wait()
    assert not process.alive()
    process.kill()  # nobody is hit, whoever has the number now
    process.close()
    assert process.killed
    if child.stdin is not None:
        child.stdin.close()


def test_a_worker_that_speaks_nonsense_is_dropped_and_connected_to_again(tmp_path: Path) -> None:
    path = tmp_path / "VM1.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(PATIENCE_S)
    listener.bind(str(path))
    listener.listen(4)
    launch = Launch("VM1", ("/bin/false",), path, tmp_path / "VM1.out", 30.0, list)
    supervisor = Supervisor(launch, lambda *_: None, lambda *_: None, lambda: None)
    supervisor.start()
    for nonsense in (b"{}]\n", b'{"op": "beat"}\n', b'{"op": "answer"}\n'):
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE_S)
        connection.sendall(nonsense)
        assert connection.recv(10) == b""
        connection.close()
    listener.close()
    supervisor.close()
