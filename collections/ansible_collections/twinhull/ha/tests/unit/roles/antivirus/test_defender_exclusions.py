# Copyright: Contributors to the Twinhull project
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Defender's exclusions, in the real PowerShell engine: only ours come and go, and check mode only looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COLLECTION = HERE.parents[3]
SCRIPT = COLLECTION / "roles" / "antivirus" / "files" / "defender_exclusions.ps1"
sys.path.insert(0, str(HERE.parents[1] / "plugins" / "modules"))

import preflight_engine as engine  # noqa: E402

FOLDER = "D:\\Twinhull\\VM1"
PROCESS = "C:\\Program Files\\Twinhull\\current\\python\\python.exe"
FOREIGN = "C:\\Backup"


def step(directory: Path, state: str = "present", check: bool = False, **differs: Any) -> dict[str, Any]:
    wanted = {"Path": [FOLDER], "Process": [PROCESS], **differs} if state == "present" else {}
    parameters = {**wanted, "Record": str(directory / "record.json"), "State": state}
    return {"parameters": parameters, "check": check, "setup": []}


def run(directory: Path, *steps: dict[str, Any]) -> list[dict[str, Any]]:
    program, kit = engine.program(), engine.kit()
    assert kit is not None
    request, answer = directory / "request.json", directory / "answer.json"
    request.write_text(json.dumps({"steps": steps}))
    environment = {
        **os.environ,
        "PSModulePath": str(engine.UNPACKED / "modules"),
        "STANDIN_SCENARIO": str(kit / "standins" / "hyperv-host.ps1"),
        "STANDIN_STATE": str(directory / "state.json"),
    }
    arguments = ["-Script", SCRIPT, "-Request", request, "-Answer", answer]
    command = [program, "-NoProfile", "-NonInteractive", "-File", HERE / "run.ps1", *arguments]
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=engine.TIMEOUT_S, check=False
    )
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}"
    told: list[dict[str, Any]] = json.loads(answer.read_text(encoding="utf-8-sig"))
    return told


def test_what_is_missing_is_added_once(tmp_path: Path) -> None:
    first, again = run(tmp_path, step(tmp_path), step(tmp_path))
    assert first["changed"]
    assert (first["paths"], first["processes"]) == ([FOLDER], [PROCESS])
    assert not again["changed"]
    assert (again["paths"], again["processes"]) == ([FOLDER], [PROCESS])


def test_check_mode_tells_what_it_would_add_and_adds_nothing(tmp_path: Path) -> None:
    (told,) = run(tmp_path, step(tmp_path, check=True))
    assert told["changed"]
    assert told["result"]["added"] == [FOLDER, PROCESS]
    assert f"ExclusionPath: {FOLDER}" in told["diff"]["after"]
    assert FOLDER not in told["diff"]["before"]
    assert (told["paths"], told["processes"]) == ([], [])
    assert not (tmp_path / "record.json").exists()


def test_what_somebody_else_excluded_survives_an_uninstall(tmp_path: Path) -> None:
    before = step(tmp_path)
    before["setup"] = [f"Add-MpPreference -ExclusionPath '{FOREIGN}', '{FOLDER}'"]
    there, gone = run(tmp_path, before, step(tmp_path, "absent"))
    assert sorted(there["paths"]) == sorted([FOREIGN, FOLDER])
    assert there["result"]["added"] == [PROCESS]
    assert gone["changed"]
    assert sorted(gone["paths"]) == sorted([FOREIGN, FOLDER])
    assert gone["processes"] == []
    assert not (tmp_path / "record.json").exists()


def test_a_folder_that_is_not_ours_any_more_is_scanned_again(tmp_path: Path) -> None:
    other = "D:\\Twinhull\\VM2"
    _, moved = run(tmp_path, step(tmp_path), step(tmp_path, Path=[other]))
    assert moved["changed"]
    assert moved["paths"] == [other]


def test_an_uninstall_that_finds_nothing_of_ours_changes_nothing(tmp_path: Path) -> None:
    (told,) = run(tmp_path, step(tmp_path, "absent"))
    assert not told["changed"]


def test_a_host_without_defender_is_told_and_not_touched(tmp_path: Path) -> None:
    without = step(tmp_path)
    error = "@{ id = 'x'; category = 'NotSpecified'; message = 'off'; terminating = $true }"
    fault = f"@{{ cmdlet = 'Get-MpPreference'; error = {error} }}"
    without["setup"] = [f"Edit-StandInState {{ param($State) $State.faults = @({fault}) }}"]
    (told,) = run(tmp_path, without)
    assert not told["changed"]
    assert told["result"]["defender"] is False


def test_the_script_keeps_to_windows_powershell(tmp_path: Path) -> None:
    checked = engine.check(SCRIPT)
    assert checked.returncode == 0, checked.stdout
