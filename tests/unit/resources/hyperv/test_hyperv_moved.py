"""A protection that is repeated finds the VM that an earlier run has moved, also when Hyper-V does not know it any more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from twinhull.errors import ResourceError
from twinhull.resources.hyperv_protect import HyperVMover, MovedPlan

HOME = r"D:\Repli\web\vm"
ID = "0a1b2c3d-0000-4000-8000-000000000001"
OTHER = "0a1b2c3d-0000-4000-8000-000000000002"


class Shell:
    """A Hyper-V that knows these machines, and a volume that holds these configurations."""

    def __init__(self, machines: list[dict[str, Any]], configurations: list[str]) -> None:
        self._answers = {
            "Get-TwinhullVmList": {"machines": [{"found": True, **one} for one in machines]},
            "Get-TwinhullConfigurationFile": {
                "files": [{"path": rf"{HOME}\{one}.vmcx", "id": one} for one in configurations]
            },
        }

    def warm(self) -> None:
        """Nothing to do."""

    def query(self, function: str, arguments: Mapping[str, Any], *, timeout_s: float) -> Any:
        return self._answers[function]

    def change(
        self, function: str, arguments: Mapping[str, Any], *, timeout_s: float, urgent: bool = False
    ) -> Any:
        raise AssertionError(f"nothing is to be changed, and {function} was called")


def mover(
    directory: Path, *machines: dict[str, Any], holds: tuple[str, ...] = (), journal: bool = True
) -> HyperVMover:
    if journal:
        words = {"version": 1, "id": ID, "target": HOME, "definition": "{}", "disks": []}
        (directory / "protect.json").write_text(json.dumps(words))
    return HyperVMover(
        module="web",
        node="one",
        directory=directory,
        copies=r"C:\copies",
        record=directory / "vm.json",
        volume_bytes=1 << 30,
        shell=Shell(list(machines), list(holds)),
        log=lambda _: None,
        progress=lambda _: None,
    )


def test_a_vm_that_nobody_knows_any_more_lies_where_it_was_moved(tmp_path: Path) -> None:
    moving = mover(tmp_path, holds=(ID,))
    plan = moving.plan_moved("web")
    assert plan == MovedPlan(ID, HOME, "{}")
    assert plan.inside
    moving.take_up(plan)


def test_a_critical_entry_of_it_is_no_reason_to_move_it_again(tmp_path: Path) -> None:
    left = {"id": ID, "name": "web", "state": "OffCritical", "configuration": HOME}
    assert mover(tmp_path, left).plan_moved("web") is not None


@pytest.mark.parametrize(
    "known",
    [
        {"id": ID, "name": "web", "state": "Off", "configuration": HOME},
        {"id": ID, "name": "renamed", "state": "Off", "configuration": r"C:\VMs\web"},
        {"id": ID, "name": "web", "state": "OffCritical", "configuration": r"C:\VMs\web"},
        {"id": OTHER, "name": "web", "state": "Off", "configuration": r"C:\VMs\web"},
    ],
)
def test_a_vm_that_hyperv_knows_is_looked_at_there(tmp_path: Path, known: dict[str, Any]) -> None:
    assert mover(tmp_path, known).plan_moved("web") is None


def test_without_an_earlier_run_nothing_was_moved(tmp_path: Path) -> None:
    assert mover(tmp_path, journal=False).plan_moved("web") is None


@pytest.mark.parametrize("holds", [(), (OTHER,), (ID, OTHER)])
def test_a_folder_that_does_not_hold_that_vm_alone_is_told(tmp_path: Path, holds: tuple[str, ...]) -> None:
    moving = mover(tmp_path, holds=holds)
    plan = moving.plan_moved("web")
    assert plan is not None
    with pytest.raises(ResourceError, match="neither known to Hyper-V nor the only one"):
        moving.take_up(plan)
