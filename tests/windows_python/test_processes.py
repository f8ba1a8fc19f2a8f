"""Processes, jobs and the local channel under Windows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows Python", allow_module_level=True)
assert sys.platform == "win32"

from twinhull.agent.process import WorkerProcess, start_apart
from twinhull.clock import boot_clock_s
from twinhull.errors import ResourceError
from twinhull.resources.base import ResourceState
from twinhull.resources.scripts import ScriptSettings, ScriptsResource
from twinhull.worker import channel
from twinhull.worker.link import AgentLink
from twinhull.worker.loop import Loop

PATIENCE_S = 30.0
SLEEP = "import time; print('sleeps', flush=True); time.sleep(1000)"


def resource(tmp_path: Path, *start: str, **more: object) -> tuple[ScriptsResource, list[str]]:
    said: list[str] = []
    settings = ScriptSettings(start=start, **more)  # type: ignore[arg-type]
    made = ScriptsResource(
        module="VM1", node="a", folder=tmp_path, settings=settings, runtime_directory=tmp_path / "run",
        log=said.append, folder_ready=lambda: True,
    )  # fmt: skip
    return made, said


def test_a_process_is_held_by_its_handle(tmp_path: Path) -> None:
    child, _ = start_apart([sys.executable, "-c", SLEEP], tmp_path / "out")
    held = WorkerProcess(child.pid)
    assert held.alive()
    held.kill()
    assert held.ended(PATIENCE_S)
    held.close()
    with pytest.raises(OSError):
        WorkerProcess(0x7FFFFFF0)


def test_an_application_runs_is_suspended_and_is_turned_off(tmp_path: Path) -> None:
    made, _ = resource(tmp_path, sys.executable, "-c", SLEEP, process=True)
    made.start(resume=False)
    assert made.state() is ResourceState.RUNNING
    made.suspend()
    assert made.state() is ResourceState.PAUSED
    made.resume()
    assert made.state() is ResourceState.RUNNING
    made.force_off()
    assert made.state() is ResourceState.OFF


def test_what_an_application_started_goes_with_it(tmp_path: Path) -> None:
    told = tmp_path / "child"
    script = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
open(r"{told}", "w").write(str(child.pid))
print("ready", flush=True)
time.sleep(1000)
"""
    made, said = resource(tmp_path, sys.executable, "-c", script, process=True)
    made.start(resume=False)
    while not told.exists() or not told.read_text():
        assert made.state() is ResourceState.RUNNING
    grandchild = WorkerProcess(int(told.read_text()))
    made.stop(mode="stop", timeout_s=PATIENCE_S)
    assert grandchild.ended(PATIENCE_S)
    grandchild.close()
    assert said


def test_a_start_command_that_fails_says_so(tmp_path: Path) -> None:
    made, _ = resource(tmp_path, sys.executable, "-c", "print('no disk'); raise SystemExit(3)")
    with pytest.raises(ResourceError, match="exit status 3"):
        made.start(resume=False)
    made, _ = resource(tmp_path, r"C:\missing\program.exe")
    with pytest.raises(ResourceError, match="cannot be run"):
        made.start(resume=False)


class Link:
    """A worker's end on its own loop."""

    def __init__(self, path: Path) -> None:
        self.said: list[dict[str, object]] = []
        self.changes: list[bool] = []
        self.changed = threading.Condition()
        self.loop = Loop(lambda: None, stall_s=5.0)
        self.link = AgentLink(self.loop, path, self.said.append, self.change)
        self.thread = threading.Thread(target=self.loop.run, daemon=True)
        self.thread.start()

    def change(self, up: bool) -> None:
        with self.changed:
            self.changes.append(up)
            self.changed.notify_all()

    def wait(self, *changes: bool) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.changes == list(changes), PATIENCE_S), self.changes

    def close(self) -> None:
        self.loop.stop()
        self.thread.join(PATIENCE_S)
        self.link.close()


def test_the_agent_reaches_the_worker_and_nobody_else_does(tmp_path: Path) -> None:
    path = tmp_path / "workers" / "VM1.sock"
    worker = Link(path)
    port = json.loads(path.read_text())["port"]
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(bytes(channel.TOKEN_BYTES))
        assert stranger.recv(1) == b""
    connection, pid = channel.connect(path, PATIENCE_S)
    assert pid == os.getpid()
    worker.wait(True)
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"half a token")
        again, _ = channel.connect(path, PATIENCE_S)
        worker.wait(True, False, True)
    assert connection.recv(1) == b""
    assert channel.writable(again)
    again.close()
    worker.close()
    assert not path.exists()
    with pytest.raises(OSError):
        channel.connect(path, 1.0)


def test_whoever_took_a_dead_workers_port_is_not_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "VM1.sock"
    with socket.create_server(("127.0.0.1", 0)) as thief:
        words = {"port": thief.getsockname()[1], "pid": 1, "asks": "aa" * 32, "answers": "bb" * 32}
        path.write_text(json.dumps(words))
        answer = threading.Thread(target=lambda: thief.accept()[0].sendall(b"\xaa" * 32))
        answer.start()
        with pytest.raises(OSError, match="somebody else"):
            channel.connect(path, PATIENCE_S)
        answer.join()


def test_the_clock_goes_on() -> None:
    first = boot_clock_s()
    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.1)"], check=True)
    assert boot_clock_s() > first


def test_every_part_of_the_agent_and_the_worker_can_be_imported() -> None:
    import twinhull.agent.main
    import twinhull.worker.main

    assert twinhull.agent.main.run
    assert twinhull.worker.main.main
    assert twinhull.worker.main.sit_under_page_cache() is not None
