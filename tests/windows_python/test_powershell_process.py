"""The process around PowerShell under Windows: its two pipes, its job, its end. Who answers is Python in its place."""

from __future__ import annotations

import msvcrt
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows Python", allow_module_level=True)
assert sys.platform == "win32"

from twinhull.agent.process import WorkerProcess
from twinhull.errors import PowerShellGoneError, PowerShellTimeoutError
from twinhull.powershell.process import Engine, HostProcess

PATIENCE_S = 60.0
HOST = Path(__file__).with_name("pipe_host.py")


@pytest.fixture
def host() -> Iterator[HostProcess]:
    made = HostProcess(Engine((sys.executable, str(HOST))), "query")
    yield made
    made.close()


def test_it_greets_and_answers_whatever_the_characters(host: HostProcess) -> None:
    assert host.version == "9.9"
    asked = {"Name": "扉 'n' \"Tür\"", "Sizes": [1, 2.5, None, True]}
    assert host.ask("Echo", asked, PATIENCE_S) == {"Name": "=扉 'n' \"Tür\"", "Sizes": [1, 2.5, None, True]}
    large = "x" * 3_000_000
    assert host.ask("Echo", {"Name": large}, PATIENCE_S) == {"Name": "=" + large}


def test_one_that_hangs_is_killed_with_what_it_started(host: HostProcess, tmp_path: Path) -> None:
    told = tmp_path / "processes"
    with pytest.raises(PowerShellTimeoutError, match=r"Hang was not answered within .* which was killed"):
        host.ask("Hang", {"File": str(told)}, 5.0)
    assert not host.alive()
    for number in map(int, told.read_text().split()):
        try:
            process = WorkerProcess(number)
        except OSError:
            continue  # gone already
        assert process.ended(PATIENCE_S)
        process.close()


def test_one_that_leaves_is_told_with_its_last_words(host: HostProcess) -> None:
    with pytest.raises(PowerShellGoneError, match=r"ended during Leave \(exit status 7\): the last words"):
        host.ask("Leave", {}, PATIENCE_S)


def test_it_ends_with_its_pipe(host: HostProcess) -> None:
    number = host.process_id
    held = WorkerProcess(number)
    host.close(PATIENCE_S)
    assert held.ended(0.0)
    held.close()


def test_it_inherits_its_two_pipes_and_nothing_else(tmp_path: Path) -> None:
    with (tmp_path / "open").open("wb") as file:
        handle = msvcrt.get_osfhandle(file.fileno())
        os.set_handle_inheritable(handle, True)
        made = HostProcess(Engine((sys.executable, str(HOST))), "query")
        try:
            made.ask("Write", {"Handle": handle}, PATIENCE_S)
        finally:
            made.close()
    assert (tmp_path / "open").read_bytes() == b""
