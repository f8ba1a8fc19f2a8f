"""Our own PowerShell: the models say what the real engine says; without the engine it is told that it did not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.standin import engine, script_models
from tests.standin.argspec import Documentation
from tests.standin.machine import ModelMachine
from tests.standin.model import HostState, new_host

ROLES = engine.REPOSITORY / "collections/ansible_collections/twinhull/ha/roles"
EXCLUSIONS = ROLES / "antivirus" / "files" / "defender_exclusions.ps1"
RECORD = r"C:\ProgramData\Twinhull\exclusions.json"
needs_engine = pytest.mark.skipif(
    engine.kit() is None, reason=f"the PowerShell engine is not here, so this did not run: {engine.WHERE}"
)


def _both(
    host: HostState, parameters: dict[str, Any], *, check_mode: bool = False
) -> tuple[HostState, HostState]:
    """The script on two copies of a host, by the engine and by the model; their results agree."""
    script = EXCLUSIONS.read_text()
    model = script_models.find(script)
    assert model is not None
    real, modelled = host.copy(), host.copy()
    told = engine.run_ansible_script(real, script, parameters, check_mode=check_mode, error_action="continue")
    expected = model(modelled, parameters, check_mode)
    for name in ("changed", "result"):
        assert told[name] == expected[name], name
    return real, modelled


@needs_engine
@pytest.mark.parametrize("edition", ["2022", "11"])
def test_exclusions_are_added_once_and_removed_again(edition: str) -> None:
    host = new_host("one", edition)
    host.defender.exclusion_path.append(r"C:\Others")
    wanted = {
        "Path": [r"D:\Twinhull\VM1", r"C:\Program Files\Twinhull"],
        "Process": ["python.exe"],
        "Record": RECORD,
    }

    added, modelled = _both(host, wanted)
    assert set(added.defender.exclusion_path) == {r"C:\Others", *wanted["Path"]}
    assert set(modelled.defender.exclusion_path) == set(added.defender.exclusion_path)
    assert json.loads(added.files.text(RECORD)) == json.loads(modelled.files.text(RECORD))

    _both(added, wanted)
    checked, _ = _both(host, wanted, check_mode=True)
    assert checked.defender.exclusion_path == [r"C:\Others"]

    removed, _ = _both(added, {"Path": [], "Process": [], "Record": RECORD, "State": "absent"})
    assert removed.defender.exclusion_path == [r"C:\Others"]
    assert removed.files.find(RECORD) is None


@needs_engine
def test_a_host_without_defender_is_told() -> None:
    host = new_host("one")
    host.defender.enabled = False
    _both(host, {"Path": ["D:\\x"], "Process": [], "Record": RECORD})


@needs_engine
def test_a_plain_script_runs_over_the_models_services(tmp_path: Path) -> None:
    machine = ModelMachine(new_host("one"), Documentation(tmp_path))
    ran = machine.run_script(machine.state, "(Get-Service -Name WinRM).Status -eq 'Running'", b"")
    assert (ran.exit_code, ran.stdout.strip()) == (0, "True")
    assert machine.records.unknown == []


def test_an_unknown_script_without_an_engine_is_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "present", lambda: None)
    machine = ModelMachine(new_host("one"), Documentation(tmp_path))
    ran = machine.run_script(machine.state, "Get-Weather -Tomorrow", b"")
    assert ran.exit_code != 0
    assert "Get-Weather" in machine.records.unknown[0]
