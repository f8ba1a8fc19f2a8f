"""Commands end in their time, and processes are found and ended for sure."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from twinhull.resources.processes import Process, ProcessTable, parse_stat
from twinhull.resources.run import CommandMissingError, CommandTimeoutError, run_command


def test_a_command_gives_status_and_both_outputs() -> None:
    done = run_command(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_s=20.0)
    assert done == (3, "out\n", "err\n")


def test_output_larger_than_a_pipe_holds_up_nothing() -> None:
    done = run_command(["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"], timeout_s=20.0)
    assert len(done.out) == 1_000_000


def test_commands_run_in_the_c_locale() -> None:
    assert run_command(["sh", "-c", "echo $LC_ALL"], timeout_s=20.0).out == "C\n"


def test_a_command_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(CommandTimeoutError, match=r"did not end within 0\.5 s"):
        run_command(["sh", "-c", f"sleep 600 & echo $! > {pid_file}; wait"], timeout_s=0.5)
    left = ProcessTable().get(int(pid_file.read_text()))
    assert left is None or ProcessTable().kill(left, timeout_s=10.0, number=0)


def test_a_missing_command_is_named() -> None:
    with pytest.raises(CommandMissingError, match="/nonexistent cannot be run"):
        run_command(["/nonexistent"], timeout_s=1.0)


def test_a_stat_line_is_read_whatever_the_name_holds() -> None:
    line = "42 (a) b (c) S 1 40 41 0 -1 4194304 " + " ".join("0" for _ in range(12)) + " 987 1 2 3"
    assert parse_stat(line) == Process(42, 987, 40, 41, "S", "a) b (c")


def test_a_process_is_found_by_arguments_and_environment_and_its_end_is_awaited() -> None:
    table = ProcessTable()
    child = subprocess.Popen(["sleep", "617.25"], env={"PATH": "/usr/bin:/bin", "TWINHULL_TEST": "f81d"})
    try:
        [found] = table.with_arguments(lambda argv: argv == ["sleep", "617.25"])
        assert found.pid == child.pid
        assert table.with_environment("TWINHULL_TEST", "f81d") == [found]
        assert table.alive(found) is not None
        assert table.kill(found, timeout_s=10.0)
        assert table.alive(found) is None, "a zombie is dead"
        assert table.kill(found, timeout_s=0.0)
    finally:
        child.kill()
        assert child.wait(10) == -signal.SIGKILL


def test_a_reused_number_is_not_the_process_it_was() -> None:
    child = subprocess.Popen(["sleep", "600"])
    try:
        table = ProcessTable()
        now = table.get(child.pid)
        assert now is not None
        before = now._replace(start_ticks=now.start_ticks - 1)
        assert table.alive(before) is None
        assert table.kill(before, timeout_s=0.0)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_process_that_ignores_a_signal_is_reported_alive() -> None:
    child = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo up; read line"], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        process = ProcessTable().get(child.pid)
        assert process is not None
        assert not ProcessTable().kill(process, timeout_s=0.05, number=signal.SIGTERM)
        assert "pid" in str(process)
    finally:
        child.kill()
        child.communicate()
