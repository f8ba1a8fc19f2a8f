"""Applications run by commands; the commands and their processes are real."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.waiting import wait_until

from twinhull.errors import ResourceError
from twinhull.resources.base import ResourceState
from twinhull.resources.processes import Process, ProcessTable
from twinhull.resources.scripts import ScriptSettings, ScriptsResource

WAIT_S = 20.0


class App:
    """An application whose scripts lie in a directory of the test."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp = tmp_path
        self.folder = tmp_path / "folder"
        self.folder.mkdir()
        self.lines: list[str] = []
        self._said = threading.Condition()
        self.made: list[ScriptsResource] = []
        self.ready = True

    def log(self, line: str) -> None:
        with self._said:
            self.lines.append(line)
            self._said.notify_all()

    def wait_for_line(self, text: str) -> None:
        with self._said:
            assert self._said.wait_for(lambda: any(text in line for line in self.lines), WAIT_S), self.lines

    def script(self, name: str, text: str) -> tuple[str, ...]:
        path = self.tmp / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return (str(path),)

    def resource(self, settings: ScriptSettings) -> ScriptsResource:
        made = ScriptsResource(
            module="VM1", node="a", folder=self.folder, settings=settings, runtime_directory=self.tmp / "run",
            log=self.log, folder_ready=lambda: self.ready,
        )  # fmt: skip
        self.made.append(made)
        return made


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    made = App(tmp_path)
    yield made
    for resource in made.made:
        resource.force_off()


DAEMON = "setsid sleep 600 </dev/null >/dev/null 2>&1 &\nexec echo started"


def test_a_start_script_gets_module_node_and_folder_and_the_root_as_its_directory(app: App) -> None:
    start = app.script(
        "start", 'echo "$TWINHULL_MODULE $TWINHULL_NODE $TWINHULL_FOLDER in $(pwd)"; echo oops >&2'
    )
    app.resource(ScriptSettings(start)).start(resume=False)
    app.wait_for_line(f"VM1 a {app.folder} in /")
    app.wait_for_line("oops")


def test_nothing_is_started_while_the_folder_is_not_the_mounted_volume(app: App) -> None:
    app.ready = False
    with pytest.raises(ResourceError, match="is not the mounted volume"):
        app.resource(ScriptSettings(app.script("start", f"touch {app.tmp}/ran"))).start(resume=False)
    assert not (app.tmp / "ran").exists()


def test_a_start_script_that_fails_leaves_nothing_running(app: App) -> None:
    start = app.script("start", DAEMON.replace("exec echo started", "exit 7"))
    resource = app.resource(ScriptSettings(start))
    with pytest.raises(ResourceError, match=r"start command .* failed \(exit status 7\)"):
        resource.start(resume=False)
    assert resource.state() is ResourceState.OFF


def test_a_start_script_that_does_not_end_is_killed_with_its_group(app: App) -> None:
    resource = app.resource(ScriptSettings(app.script("start", "sleep 600"), start_timeout_s=0.3))
    with pytest.raises(ResourceError, match=r"did not end within 0\.3 s and was killed"):
        resource.start(resume=False)
    assert resource.state() is ResourceState.OFF


def test_what_a_script_left_in_the_background_is_running_and_force_off_finds_it(app: App) -> None:
    resource = app.resource(ScriptSettings(app.script("start", DAEMON)))
    resource.start(resume=False)
    app.wait_for_line("started")
    assert resource.state() is ResourceState.RUNNING
    resource.force_off()
    resource.force_off()
    assert resource.state() is ResourceState.OFF


def test_force_off_by_another_process_finds_what_a_dead_worker_had_started(app: App) -> None:
    settings = ScriptSettings(app.script("start", DAEMON))
    app.resource(settings).start(resume=False)
    heir = app.resource(settings)
    assert heir.state() is ResourceState.RUNNING
    heir.force_off()
    assert heir.state() is ResourceState.OFF


def test_force_off_tells_the_stop_script_and_does_not_wait_for_it_for_ever(app: App) -> None:
    stop = app.script("stop", f'echo "$TWINHULL_FORCED" > {app.tmp}/forced; sleep 600')
    resource = app.resource(ScriptSettings(app.script("start", DAEMON), stop, forced_timeout_s=0.5))
    resource.start(resume=False)
    resource.force_off()
    assert (app.tmp / "forced").read_text() == "1\n"
    assert resource.state() is ResourceState.OFF


def test_stop_runs_the_stop_script_and_waits_for_the_processes(app: App) -> None:
    start = app.script("start", f"sleep 600 </dev/null >/dev/null 2>&1 & echo $! > {app.tmp}/pid")
    stop = app.script("stop", f"kill $(cat {app.tmp}/pid)")
    resource = app.resource(ScriptSettings(start, stop))
    resource.start(resume=False)
    assert resource.stop(mode="stop", timeout_s=WAIT_S) is False
    assert resource.state() is ResourceState.OFF


def test_processes_that_stay_after_the_stop_script_are_named(app: App) -> None:
    resource = app.resource(ScriptSettings(app.script("start", DAEMON), app.script("stop", "true")))
    resource.start(resume=False)
    with pytest.raises(ResourceError, match=r"still there: sleep \(pid \d+\)"):
        resource.stop(mode="stop", timeout_s=0.3)
    assert resource.state() is ResourceState.RUNNING


def test_a_stop_script_that_fails_is_an_error(app: App) -> None:
    resource = app.resource(ScriptSettings(app.script("start", "true"), app.script("stop", "exit 1")))
    resource.start(resume=False)
    with pytest.raises(ResourceError, match=r"stop command .* failed"):
        resource.stop(mode="stop", timeout_s=5.0)


def test_the_check_script_says_the_state(app: App) -> None:
    check = app.script("check", f"test -e {app.tmp}/up")
    start, stop = app.script("start", f"touch {app.tmp}/up"), app.script("stop", f"rm -f {app.tmp}/up")
    resource = app.resource(ScriptSettings(start, stop, check))
    assert resource.state() is ResourceState.OFF
    resource.start(resume=False)
    assert resource.state() is ResourceState.RUNNING
    resource.stop(mode="stop", timeout_s=5.0)
    assert resource.state() is ResourceState.OFF


def test_a_check_that_does_not_end_means_unknown(app: App) -> None:
    check = app.script("check", "sleep 600")
    resource = app.resource(ScriptSettings(app.script("start", "true"), check=check, check_timeout_s=0.2))
    assert resource.state() is ResourceState.UNKNOWN


def test_an_application_that_its_check_still_sees_is_not_reported_stopped(app: App) -> None:
    settings = ScriptSettings(
        app.script("start", "true"), app.script("stop", "true"), app.script("check", "true")
    )
    resource = app.resource(settings)
    resource.start(resume=False)
    with pytest.raises(ResourceError, match="still runs, says its check command"):
        resource.stop(mode="stop", timeout_s=5.0)


FOREGROUND = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"


def test_a_foreground_program_is_supervised_and_its_output_logged(app: App) -> None:
    resource = app.resource(ScriptSettings(app.script("daemon", FOREGROUND), process=True))
    resource.start(resume=False)
    app.wait_for_line("up")
    assert resource.state() is ResourceState.RUNNING
    assert resource.stop(mode="stop", timeout_s=WAIT_S) is False
    app.wait_for_line("bye")
    assert resource.state() is ResourceState.OFF


def test_a_foreground_program_that_dies_is_seen_and_its_end_logged(app: App) -> None:
    resource = app.resource(ScriptSettings(app.script("daemon", "exit 5"), process=True))
    resource.start(resume=False)
    app.wait_for_line("ended (exit status 5)")
    assert resource.state() is ResourceState.OFF


def test_a_foreground_program_that_does_not_listen_is_turned_off_by_force(app: App) -> None:
    resource = app.resource(
        ScriptSettings(app.script("daemon", "trap '' TERM; echo up; sleep 600"), process=True)
    )
    resource.start(resume=False)
    app.wait_for_line("up")
    resource.stop(mode="off", timeout_s=0.0)
    assert resource.state() is ResourceState.OFF
    app.wait_for_line("killed by SIGKILL")


def test_what_a_dead_foreground_program_left_behind_is_turned_off_before_the_next_start(app: App) -> None:
    daemon = app.script("daemon", f"{DAEMON.replace('exec echo started', '')}\necho $! > {app.tmp}/pid")
    resource = app.resource(ScriptSettings(daemon, process=True))
    resource.start(resume=False)
    app.wait_for_line("ended (exit status 0)")
    orphan = ProcessTable().get(int((app.tmp / "pid").read_text()))
    resource.start(resume=False)
    assert orphan is None or ProcessTable().alive(orphan) is None


def sleeping(mark: str) -> list[Process]:
    """The daemons that sleep for so many seconds; not yet one that is a fork of its shell still."""
    return ProcessTable().with_arguments(lambda argv: argv == ["sleep", mark])


def test_suspend_and_resume_stop_and_continue_the_processes(app: App) -> None:
    mark = f"613.{app.tmp.stat().st_ino}"
    resource = app.resource(ScriptSettings(app.script("start", DAEMON.replace("600", mark))))
    resource.start(resume=False)
    wait_until("the daemon's own program", lambda: len(sleeping(mark)) == 1, 20.0)
    resource.suspend()
    [process] = sleeping(mark)
    assert process.state == "T"
    assert resource.state() is ResourceState.PAUSED
    resource.resume()
    assert resource.state() is ResourceState.RUNNING


def test_commands_that_do_not_exist_are_found_before_protection(app: App) -> None:
    settings = ScriptSettings(("/nonexistent/start",), ("relative",), (str(app.folder / "check"),))
    assert [finding.sentence for finding in app.resource(settings).check_host()] == [
        "Node a: the start command /nonexistent/start does not exist.",
        "Node a: the stop command relative is not an absolute path.",
    ]
    assert app.resource(ScriptSettings(())).check_host()[0].fatal


def test_a_command_that_cannot_be_run_is_named(app: App) -> None:
    with pytest.raises(ResourceError, match="/nonexistent/start cannot be run"):
        app.resource(ScriptSettings(("/nonexistent/start",))).start(resume=False)


def test_forget_removes_only_the_record_of_what_ended(app: App) -> None:
    resource = app.resource(ScriptSettings(app.script("start", DAEMON)))
    resource.start(resume=False)
    resource.forget()
    assert resource.state() is ResourceState.RUNNING
    resource.force_off()
    resource.forget()
    assert list((app.tmp / "run").iterdir()) == []
