"""What Hyper-V says, out of answers captured from the module on a stand-in host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from twinhull.errors import ResourceError
from twinhull.resources import hyperv_parse as parse
from twinhull.resources.base import ResourceState

CAPTURED = Path(__file__).parent / "captured"


def captured(name: str) -> Any:
    return json.loads((CAPTURED / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("state", "power"),
    [
        ("Running", ResourceState.RUNNING),
        ("Starting", ResourceState.RUNNING),
        ("Saving", ResourceState.RUNNING),
        ("RunningCritical", ResourceState.RUNNING),
        ("Paused", ResourceState.PAUSED),
        ("PausedCritical", ResourceState.PAUSED_CRITICAL),
        ("Off", ResourceState.OFF),
        ("OffCritical", ResourceState.OFF),
        ("Saved", ResourceState.SAVED),
        ("SavedCritical", ResourceState.SAVED),
        ("FastSaved", ResourceState.SAVED),
        ("SomethingNew", ResourceState.UNKNOWN),
        ("", ResourceState.UNKNOWN),
    ],
)
def test_states_are_known_by_the_names_of_their_enumeration(state: str, power: ResourceState) -> None:
    assert parse.power_of(state) is power


def test_a_state_that_is_not_known_is_not_off() -> None:
    assert not parse.parse_state({"found": True, "id": "A", "state": "SomethingNew"}).off


def test_a_vm_short_of_space_has_its_files() -> None:
    assert not parse.parse_state({"found": True, "id": "a", "state": "PausedCritical"}).critical
    assert parse.parse_state({"found": True, "id": "a", "state": "OffCritical"}).critical


def test_a_vm_that_is_not_there_is_absent() -> None:
    now = parse.parse_state({"found": False, "id": "ABC"})
    assert (now.power, now.off, now.identifier) == (ResourceState.ABSENT, True, "abc")


def test_a_description_is_read_with_chains_and_checkpoints() -> None:
    machine = parse.parse_machine(captured("machine"))
    assert machine.now.name == '仮想 "web" O\'Brien'
    assert [disk.place for disk in machine.disks] == ["SCSI 0:0", "SCSI 0:1"]
    assert [layer.type for layer in machine.disks[1].chain] == ["Differencing", "Differencing", "Dynamic"]
    assert [point.name for point in machine.checkpoints] == ["before"]
    assert machine.tpm
    assert len(machine.protectors) == 1
    # each file once, however many disks and checkpoints build on it
    paths = [layer.path for layer in machine.layers]
    assert len(paths) == len(set(paths)) == 5


def test_a_host_is_read() -> None:
    host = parse.parse_host(captured("host"))
    assert host.switches == ("External",)
    assert "10.0" in host.versions
    assert host.processors == 16


@pytest.mark.parametrize(
    "answer", [None, [], "text", {"found": True, "generation": "x"}, {"found": True, "disks": "none"}]
)
def test_what_is_no_description_is_told(answer: object) -> None:
    with pytest.raises(ResourceError, match="cannot be read"):
        parse.parse_machine(answer)


def test_endings_are_told_in_words() -> None:
    assert parse.ending_of([1, 18508]) == "its guest shut it down from inside"
    assert "does not say why" in parse.ending_of([])


def test_what_speaks_against_an_import_is_read_by_kind_and_number() -> None:
    found = parse.parse_incompatibilities(captured("comparison"))
    assert [(one.kind, one.number) for one in found] == [("adapter", 33012), ("disk", 40010), ("vm", 24000)]
    assert found[0].what == "External"
    assert found[2].version == "10.0"


def test_a_list_of_machines_is_read() -> None:
    [found] = parse.parse_states(captured("list"))
    assert (found.power, found.configuration) == (ResourceState.OFF, r"D:\Repli\web\vm")
    assert found.name == '仮想 "web" O\'Brien'
