"""The heartbeat of a guest of Hyper-V."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from twinhull.checkers.heartbeat import Armed, HeartbeatChecker, judge
from twinhull.errors import PowerShellTimeoutError
from twinhull.powershell import Value

BOOT_S = 300.0
ARMED = Armed(True, 100.0)


def test_it_is_armed_by_the_first_ok_and_by_nothing_else() -> None:
    for silent in ("NoContact", "LostCommunication", "Error", "Disabled", ""):
        result, after = judge("Running", silent, 200.0, Armed(), 0.0, BOOT_S)
        assert (result.conclusive, after.armed) == (False, False), silent
    for well in ("OkApplicationsHealthy", "OkApplicationsUnknown", "OkApplicationsCritical"):
        result, after = judge("Running", well, 200.0, Armed(), 0.0, BOOT_S)
        assert (result.ok, after.armed) == (True, True), well


@pytest.mark.parametrize("heartbeat", ["LostCommunication", "Error"])
def test_a_guest_that_is_locked_up_fails_at_once(heartbeat: str) -> None:
    result, _ = judge("Running", heartbeat, 200.0, ARMED, 0.0, BOOT_S)
    assert (result.ok, result.conclusive) == (False, True)
    assert "locked up" in result.detail


def test_a_guest_that_restarts_by_itself_is_forgiven_for_its_boot_time() -> None:
    result, after = judge("Running", "NoContact", 200.0, ARMED, 1000.0, BOOT_S)
    assert not result.conclusive
    result, after = judge("Running", "NoContact", 499.0, after, 1299.0, BOOT_S)
    assert not result.conclusive
    result, after = judge("Running", "NoContact", 501.0, after, 1301.0, BOOT_S)
    assert (result.ok, result.conclusive) == (False, True)
    result, after = judge("Running", "OkApplicationsHealthy", 502.0, after, 1302.0, BOOT_S)
    assert result.ok
    assert after.silent_since_s is None


def test_another_life_of_the_vm_is_armed_anew() -> None:
    result, after = judge("Running", "LostCommunication", 5.0, ARMED, 0.0, BOOT_S)
    assert (result.conclusive, after.armed) == (False, False)


@pytest.mark.parametrize("state", ["Paused", "PausedCritical", "Saving"])
def test_a_vm_that_is_paused_is_no_failure(state: str) -> None:
    result, after = judge(state, "Paused", 200.0, ARMED, 0.0, BOOT_S)
    assert (result.conclusive, after.armed) == (False, True)


@pytest.mark.parametrize("state", ["Off", "OffCritical", ""])
def test_a_vm_that_is_off_has_failed(state: str) -> None:
    result, after = judge(state, "", 0.0, ARMED, 0.0, BOOT_S)
    assert (result.ok, result.conclusive, after.armed) == (False, True, False)


class Shell:
    """Answers what it was given, or fails."""

    def __init__(self, answer: Value) -> None:
        self.answer = answer

    def warm(self) -> None:
        raise AssertionError("a checker makes nothing ready")

    def query(self, function: str, arguments: Mapping[str, Value], *, timeout_s: float) -> Value:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def change(
        self, function: str, arguments: Mapping[str, Value], *, timeout_s: float, urgent: bool = False
    ) -> Value:
        raise AssertionError("a checker changes nothing")


def test_hyperv_that_does_not_answer_is_no_failure_of_the_guest() -> None:
    checker = HeartbeatChecker(lambda: "1", Shell(PowerShellTimeoutError("no answer")), BOOT_S)
    assert not checker.check(1.0).conclusive


@pytest.mark.parametrize("answer", [None, [], "text", {"state": "Running", "uptime_s": "long"}])
def test_an_answer_that_cannot_be_read_is_no_failure_of_the_guest(answer: Value) -> None:
    assert not HeartbeatChecker(lambda: "1", Shell(answer), BOOT_S).check(1.0).conclusive


def test_a_vm_that_is_not_known_yet_is_no_failure() -> None:
    assert not HeartbeatChecker(lambda: "", Shell({}), BOOT_S).check(1.0).conclusive


def test_the_checker_remembers_between_two_looks() -> None:
    shell = Shell({"found": True, "state": "Running", "heartbeat": "OkApplicationsUnknown", "uptime_s": 10.0})
    checker = HeartbeatChecker(lambda: "1", shell, BOOT_S)
    assert checker.check(1.0).ok
    shell.answer = {"found": True, "state": "Running", "heartbeat": "LostCommunication", "uptime_s": 20.0}
    result = checker.check(1.0)
    assert (result.ok, result.conclusive) == (False, True)
