"""What each checker makes of what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.lab.waiting import wait_until

from twinhull.checkers.base import CheckResult
from twinhull.checkers.command import Answer, run_command
from twinhull.checkers.guest import Guest, GuestAgentChecker, Look
from twinhull.checkers.script import ScriptChecker

PONG = Answer(0, '{"return":{}}')
NOT_CONNECTED = Answer(1, "error: Guest agent is not responding: QEMU guest agent is not connected")
NO_LIBVIRT = Answer(1, "error: failed to connect to the hypervisor\nerror: Failed to connect socket")
HANGS = Answer(None, "")


class Virsh:
    def __init__(self, state: Answer, ping: Answer = PONG) -> None:
        self.state, self.ping = state, ping
        self.calls: list[tuple[list[str], float]] = []

    def __call__(
        self, argv: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None
    ) -> Answer:
        assert list(argv[:4]) == ["virsh", "-q", "-c", "qemu:///system"]
        assert environment == {"LC_ALL": "C"}
        self.calls.append((list(argv[4:]), timeout_s))
        return self.state if argv[4] == "domstate" else self.ping


@pytest.mark.parametrize(
    ("state", "ping", "guest", "ok", "conclusive"),
    [
        (Answer(0, "running"), PONG, Guest.ANSWERS, True, True),
        (Answer(0, "running"), NOT_CONNECTED, Guest.SILENT, False, True),
        (Answer(0, "running"), HANGS, Guest.SILENT, False, True),
        (Answer(0, "running"), Answer(0, "nonsense"), Guest.SILENT, False, True),
        (Answer(0, "shut off"), PONG, Guest.NOT_RUNNING, False, True),
        (Answer(0, "crashed"), PONG, Guest.NOT_RUNNING, False, True),
        (Answer(0, "paused"), PONG, Guest.PAUSED, False, False),
        (NO_LIBVIRT, PONG, Guest.HOST_SILENT, False, False),
        (HANGS, PONG, Guest.HOST_SILENT, False, False),
    ],
)
def test_a_guest_is_well_when_its_agent_answers_and_ill_only_by_its_own_fault(
    state: Answer, ping: Answer, guest: Guest, ok: bool, conclusive: bool
) -> None:
    checker = GuestAgentChecker("web", run=Virsh(state, ping))
    assert checker.look(6.0).guest is guest
    result = checker.check(6.0)
    assert (result.ok, result.conclusive) == (ok, conclusive)
    assert result.detail.startswith(guest.value)


def test_both_questions_fit_into_the_time_of_one_look() -> None:
    virsh = Virsh(Answer(0, "running"))
    GuestAgentChecker("web", run=virsh).check(6.0)
    assert sum(timeout_s for _, timeout_s in virsh.calls) <= 6.0
    assert virsh.calls[1][0] == ["qemu-agent-command", "web", '{"execute": "guest-ping"}', "--timeout", "4"]


def test_a_missing_virsh_is_no_failure_of_the_guest() -> None:
    look = GuestAgentChecker("web", virsh=("/nonexistent",)).look(5.0)
    assert look.guest is Guest.HOST_SILENT
    assert Look(Guest.ANSWERS).detail == ""


def test_a_script_says_well_by_its_exit_status() -> None:
    assert ScriptChecker(("/bin/true",)).check(20.0) == CheckResult(True, "exit status 0")
    found = ScriptChecker(("/bin/sh", "-c", "echo one; echo the last line; exit 3")).check(20.0)
    assert found == CheckResult(False, "exit status 3: the last line")


def test_a_script_gets_its_environment_and_no_shell(tmp_path: Path) -> None:
    script = tmp_path / "check"
    script.write_text(
        '#!/bin/sh\ntest "$TWINHULL_MODULE" = VM1 && test "$1" = "a b; exit 9" && test "$(pwd)" = /\n'
    )
    script.chmod(0o755)
    checker = ScriptChecker((str(script), "a b; exit 9"), environment={"TWINHULL_MODULE": "VM1"})
    assert checker.check(20.0).ok


def test_a_script_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    found = ScriptChecker(("/bin/sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; wait")).check(0.5)
    assert found == CheckResult(False, "did not end within 0.5 s")
    pid = (tmp_path / "pid").read_text().strip()
    wait_until("the end of the script's child", lambda: _is_dead(pid), 20.0)


def _is_dead(pid: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def test_a_script_that_cannot_be_run_says_nothing_about_the_resource() -> None:
    found = ScriptChecker(("/nonexistent/check",)).check(5.0)
    assert (found.ok, found.conclusive) == (False, False)
    assert "/nonexistent/check cannot be run" in found.detail


def test_long_output_holds_up_nothing() -> None:
    answer = run_command(["head", "-c", "1000000", "/dev/zero"], timeout_s=20.0)
    assert answer.code == 0
    assert len(answer.out) <= 64 * 1024
