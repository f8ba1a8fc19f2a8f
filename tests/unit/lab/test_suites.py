"""A run of the whole suite is green only when every step was, and when its tests really ran."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests import suites
from tests.suites import Step

GREEN = "print('===== 3 passed, 1 skipped in 0.10s =====')"
RED = "import sys; print('===== 1 failed, 2 passed in 0.10s ====='); sys.exit(1)"
EMPTY = "print('===== no tests ran in 0.01s =====')"


@pytest.fixture(autouse=True)
def _own_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "ROOT", tmp_path)
    monkeypatch.setattr(suites, "LOGS", tmp_path / "build" / "test")


def step(name: str, program: str, *, tests: bool = True) -> Step:
    return Step(name, (sys.executable, "-c", program), tests)


def test_two_green_lanes_are_counted_together(capfd: pytest.CaptureFixture[str]) -> None:
    assert suites.Run(whole=False).all([[step("one", GREEN)], [step("two", GREEN)]]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "6 passed, 0 failed, 2 skipped"


def test_a_failed_step_fails_the_run_shows_its_output_and_the_lane_goes_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert suites.Run(whole=False).all([[step("one", RED), step("two", GREEN)]]) == 1
    out = capfd.readouterr().out
    assert "===== 1 failed, 2 passed in 0.10s =====" in out
    assert out.splitlines()[-1] == "5 passed, 1 failed, 1 skipped"


def test_a_step_that_ran_no_test_is_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    assert suites.Run(whole=False).all([[step("one", EMPTY)]]) == 1
    assert "FAILED with exit status 5" in capfd.readouterr().out


def test_a_command_that_fails_is_counted_as_one_failure(capfd: pytest.CaptureFixture[str]) -> None:
    lint = step("lint", "import sys; sys.exit('wrong')", tests=False)
    assert suites.Run(whole=False).all([[lint]]) == 1
    assert capfd.readouterr().out.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


def test_what_was_not_run_is_told_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    program = f"print('SKIPPED tests/x.py::test_y - needs a kernel module'); {GREEN}"
    assert suites.Run(whole=False).all([[step("one", program)]]) == 0
    assert "SKIPPED tests/x.py::test_y - needs a kernel module" in capfd.readouterr().out


def test_the_last_lines_name_the_tests_that_failed_and_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    test = tmp_path / "test_doors.py"
    test.write_text("def test_doors_stay_shut():\n    assert 'open' == 'shut'\n")
    red = Step("doors", (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(test)))
    assert suites.Run(whole=False).all([[red]]) == 1
    told = capfd.readouterr().out.splitlines()
    assert told.index("FAILED: doors") > told.index("== doors: pytest -p no:cacheprovider " + str(test))
    after = told[told.index("FAILED: doors") :]
    assert after[1] == "   test_doors_stay_shut"
    assert "assert 'open' == 'shut'" in after[2]
    assert after[-1] == "0 passed, 1 failed, 0 skipped"
