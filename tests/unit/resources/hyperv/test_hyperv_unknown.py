"""A change of Hyper-V that was not answered may have been done: what counts is the state that is read afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from twinhull.errors import PowerShellError, PowerShellTimeoutError, ResourceError
from twinhull.resources.base import ResourceState
from twinhull.resources.hyperv import HyperVPlaces, HyperVResource, HyperVTimings

FOLDER = r"D:\Repli\web"
HOME = rf"{FOLDER}\vm"
ID = "0a1b2c3d-0000-4000-8000-000000000001"
TIMINGS = HyperVTimings(ended_s=0.0, recover_s=0.0, gone_s=0.0, poll_s=0.0)


class Shell:
    """A Hyper-V with one VM in the folder, whose changes can be cut off before or after they were done.

    Args:
        state: the VM's; empty while it is not registered.

    Attributes:
        unanswered: the function that is cut off, and whether it was done nevertheless.
        then: what the VM becomes at later looks, one by one.
        changes: the functions that changed something, in order.
    """

    def __init__(self, state: str) -> None:
        self.state = state
        self.unanswered: tuple[str, bool] = ("", False)
        self.then: list[str] = []
        self.changes: list[str] = []

    def warm(self) -> None:
        """Nothing to do."""

    def query(self, function: str, arguments: Mapping[str, Any], *, timeout_s: float) -> Any:
        if function == "Get-TwinhullVmState" and self.then:
            self.state = self.then.pop(0)
        now = self._now()
        answers = {
            "Get-TwinhullVmState": now,
            "Get-TwinhullVmList": {"machines": [now] if now["found"] else []},
            "Get-TwinhullVm": {**now, "snapshots": HOME, "paging": HOME},
            "Get-TwinhullConfigurationFile": {"files": [{"path": rf"{HOME}\{ID}.vmcx", "id": ID}]},
            "Get-TwinhullVmProcess": {"processes": []},
        }
        return answers[function]

    def change(
        self, function: str, arguments: Mapping[str, Any], *, timeout_s: float, urgent: bool = False
    ) -> Any:
        self.changes.append(function)
        name, done = self.unanswered
        if function != name or done:
            self._do(function)
        if function == name:
            raise PowerShellTimeoutError(f"{function} was not answered within {timeout_s:g} s.")
        return {**self._now(), "registered": True}

    def _do(self, function: str) -> None:
        self.state = {
            "Register-TwinhullVm": "Off",
            "Start-TwinhullVm": "Running",
            "Stop-TwinhullVm": "Off",
            "Save-TwinhullVm": "Saved",
            "Remove-TwinhullVm": "",
        }.get(function, self.state)

    def _now(self) -> dict[str, Any]:
        found = {"found": True, "name": "web", "state": self.state, "configuration": HOME}
        return {"id": ID, **(found if self.state else {"found": False})}


def resource(shell: Shell, directory: Path, lines: list[str] | None = None) -> HyperVResource:
    return HyperVResource(
        module="web",
        node="one",
        vm="web",
        places=HyperVPlaces(FOLDER, r"C:\copies", directory / "vm.json"),
        shell=shell,
        log=(lines if lines is not None else []).append,
        folder_ready=lambda: True,
        timings=TIMINGS,
    )


def test_an_import_that_was_done_without_an_answer_is_gone_on_with(tmp_path: Path) -> None:
    shell = Shell("")
    shell.unanswered = ("Register-TwinhullVm", True)
    resource(shell, tmp_path).start(resume=False)
    assert shell.state == "Running"
    assert shell.changes.count("Register-TwinhullVm") == 1


def test_an_import_that_was_not_done_is_told(tmp_path: Path) -> None:
    shell = Shell("")
    shell.unanswered = ("Register-TwinhullVm", False)
    with pytest.raises(ResourceError, match="cannot be registered: Register-TwinhullVm was not answered"):
        resource(shell, tmp_path).start(resume=False)
    assert "Start-TwinhullVm" not in shell.changes


def test_a_start_that_was_done_without_an_answer_is_a_start(tmp_path: Path) -> None:
    shell = Shell("Off")
    lines: list[str] = []
    shell.unanswered = ("Start-TwinhullVm", True)
    resource(shell, tmp_path, lines).start(resume=False)
    assert shell.state == "Running"
    assert "was not answered, but it runs" in " ".join(lines)


def test_a_start_without_an_answer_that_is_not_to_be_seen_is_made_sure_of(tmp_path: Path) -> None:
    shell = Shell("Off")
    shell.unanswered = ("Start-TwinhullVm", False)
    with pytest.raises(ResourceError, match="does not start"):
        resource(shell, tmp_path).start(resume=False)
    assert shell.state == "Off"


@pytest.mark.parametrize(
    ("done", "then", "saved"),
    [
        (True, [], True),
        (False, ["Saving", "Saving", "Saved", "Saved"], True),
        (False, ["Running"] * 9, False),
    ],
)
def test_a_save_without_an_answer_is_judged_by_the_state(
    tmp_path: Path, done: bool, then: list[str], saved: bool
) -> None:
    shell = Shell("Running")
    shell.unanswered = ("Save-TwinhullVm", done)
    shell.then = then
    own = resource(shell, tmp_path)
    if saved:
        assert own.stop(mode="save", timeout_s=60.0) is True
        assert own.state() is ResourceState.SAVED
    else:
        with pytest.raises(ResourceError, match="was not saved"):
            own.stop(mode="save", timeout_s=60.0)


def test_a_removal_without_an_answer_is_believed_when_the_vm_is_gone(tmp_path: Path) -> None:
    shell = Shell("Off")
    lines: list[str] = []
    shell.unanswered = ("Remove-TwinhullVm", True)
    resource(shell, tmp_path, lines).leave()
    assert "did not say that the VM web is removed" in " ".join(lines)
    # what it deletes was copied before
    assert shell.changes.index("Copy-TwinhullConfiguration") < shell.changes.index("Remove-TwinhullVm")


def test_without_copies_nothing_is_removed(tmp_path: Path) -> None:
    shell = Shell("Off")
    shell.unanswered = ("Copy-TwinhullConfiguration", False)
    with pytest.raises(ResourceError, match="Copy-TwinhullConfiguration was not answered"):
        resource(shell, tmp_path).leave()
    assert "Remove-TwinhullVm" not in shell.changes


@pytest.mark.parametrize("answer", [None, [], "text", {"found": True, "uptime_s": "x"}])
def test_an_answer_that_is_none_is_an_error_and_no_absent_vm(tmp_path: Path, answer: object) -> None:
    class Odd(Shell):
        def query(self, function: str, arguments: Mapping[str, Any], *, timeout_s: float) -> Any:
            return answer

    (tmp_path / "vm.json").write_text(f'{{"id": "{ID}"}}')
    with pytest.raises(ResourceError, match="cannot be read"):
        resource(Odd("Off"), tmp_path).state()


def test_hyperv_that_refuses_is_no_absent_vm(tmp_path: Path) -> None:
    class Refusing(Shell):
        def query(self, function: str, arguments: Mapping[str, Any], *, timeout_s: float) -> Any:
            raise PowerShellError("Access is denied.", category="denied")

    (tmp_path / "vm.json").write_text(f'{{"id": "{ID}"}}')
    with pytest.raises(ResourceError, match="denied"):
        resource(Refusing("Off"), tmp_path).state()
