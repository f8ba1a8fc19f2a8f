"""What speaks against a VM of Hyper-V, in words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from twinhull.resources import hyperv_check as check
from twinhull.resources.hyperv_parse import (
    Disk,
    HostFacts,
    Incompatibility,
    Layer,
    Machine,
    parse_host,
    parse_machine,
)

CAPTURED = Path(__file__).parent / "captured"
FOLDER = r"D:\Repli\web"


@pytest.fixture
def machine() -> Machine:
    """All of it lies in the folder."""
    return parse_machine(json.loads((CAPTURED / "machine.json").read_text(encoding="utf-8")))


@pytest.fixture
def host() -> HostFacts:
    """The host that the machine was made on."""
    return parse_host(json.loads((CAPTURED / "host.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        (r"D:\Repli\web", True),
        (r"d:\repli\WEB\vm\a.vhdx", True),
        ("D:/Repli/web/vm", True),
        (r"D:\Repli\web2\a.vhdx", False),
        (r"D:\Repli\web\..\other\a.vhdx", False),
        (r"E:\Repli\web\a.vhdx", False),
        (r"\\server\share\a.vhdx", False),
        ("", False),
    ],
)
def test_what_lies_below_a_folder(path: str, inside: bool) -> None:
    assert check.is_inside(path, FOLDER) is inside


def test_a_vm_that_lies_wholly_in_its_folder(machine: Machine) -> None:
    assert check.outside(machine, FOLDER) == []
    assert check.refusals(machine) == []


def test_everything_outside_is_named(machine: Machine) -> None:
    wrong = check.outside(replace(machine, paging=r"C:\paging", snapshots=FOLDER), FOLDER)
    assert wrong == [
        r"the folder of its checkpoints D:\Repli\web lies outside of D:\Repli\web\vm",
        r"the folder of its smart paging file C:\paging lies outside of D:\Repli\web\vm",
    ]


def test_what_cannot_be_mirrored_is_refused_by_name(machine: Machine) -> None:
    disks = (
        Disk("", 4, False, "SCSI 0:2", ()),
        Disk(r"E:\s.vhds", None, False, "SCSI 0:3", (Layer(r"E:\s.vhds", "Fixed", 1, 1),)),
        Disk(r"E:\b.vhdx", None, False, "SCSI 0:4", (Layer(r"E:\b.vhdx", "", 0, 0, "it is corrupt"),)),
        Disk(r"F:\b.vhdx", None, False, "SCSI 0:5", (Layer(r"F:\B.VHDX", "Fixed", 1, 1),)),
        Disk("", None, False, "SCSI 0:6", ()),
    )
    bad = replace(
        machine, disks=disks, checkpoints=(), devices=("a partition of a graphics card",), replication="Replicating",
        clustered=True, shielded=True,
    )  # fmt: skip
    said = check.refusals(bad)
    for words in (
        "SCSI 0:2 is the physical disk 4", "s.vhds is shared", "b.vhdx cannot be used: it is corrupt", "a graphics card",
        "Hyper-V Replica is on (Replicating)", "failover cluster", "shielded", "two disk files are called b.vhdx",
        "SCSI 0:6 has no file",
    ):  # fmt: skip
        assert [one for one in said if words in one], words
    assert len(said) == 9


def test_images_of_this_host_are_ejected_and_those_of_the_folder_stay(machine: Machine) -> None:
    some = replace(machine, dvds=(r"C:\iso\a.iso", r"D:\Repli\web\vm\b.iso", ""), floppies=(r"C:\f.vfd",))
    assert check.removable_media(some, FOLDER) == [r"C:\iso\a.iso", r"C:\f.vfd"]


def test_the_host_that_the_vm_was_made_on_lacks_nothing(machine: Machine, host: HostFacts) -> None:
    assert check.host_findings(machine, host, "one") == []


def test_everything_that_a_host_lacks_is_named(machine: Machine, host: HostFacts) -> None:
    poor = replace(
        host, processors=0, memory_bytes=1, versions=("8.0",), switches=("Internal",), guardians=("AA",)
    )
    found = check.host_findings(machine, poor, "two")
    assert all(one.fatal and one.sentence.startswith("Node two: ") for one in found)
    text = " ".join(one.sentence for one in found)
    for words in (
        "version 10.0 (it knows 8.0)",
        "no virtual switch External",
        "processors",
        "MiB of memory",
        "virtual TPM",
    ):
        assert words in text


def test_incompatibilities_are_told_in_words_with_what_hyperv_said() -> None:
    words = check.incompatibility_words(
        [
            Incompatibility("adapter", "External", 33012, "Could not find Ethernet switch 'External'."),
            Incompatibility("vm", "web", 24000, "Version not supported.", "12.0"),
            Incompatibility("other", "", 1, "Etwas passt nicht."),
        ]
    )
    assert "no virtual switch External: create it" in words
    assert "configuration version 12.0" in words
    assert "something does not fit (Hyper-V 1: Etwas passt nicht)" in words


def test_a_name_that_is_taken_is_a_note_and_an_identifier_a_refusal() -> None:
    found = check.name_findings("web", [("web", "1"), ("other", "ABC")], "abc", "two")
    assert [(one.fatal, "identifier" in one.sentence) for one in found] == [(False, False), (True, True)]


def test_an_address_is_the_same_on_both_nodes_and_another_for_another_adapter() -> None:
    one, other = check.own_address(r"Microsoft:A\B"), check.own_address(r"Microsoft:A\C")
    assert one == check.own_address(r"microsoft:a\b")
    assert one != other
    assert re.fullmatch("00155D[0-9A-F]{6}", one)


def test_a_vm_that_does_not_fit_into_the_volume_is_refused_and_one_that_may_outgrow_it_is_a_note(
    machine: Machine,
) -> None:
    def disk(size_gib: int, file_gib: int) -> Disk:
        layer = Layer(rf"C:\VMs\{size_gib}.vhdx", "Dynamic", size_gib << 30, file_gib << 30)
        return Disk(layer.path, None, False, "SCSI 0:0", (layer,))

    some = replace(machine, disks=(disk(40, 10), disk(50, 20)), checkpoints=())
    assert check.room_findings(some, 100 << 30) == []
    [note] = check.room_findings(some, 80 << 30)
    assert not note.fatal
    assert "may grow to 90.0 GiB, and the volume has 80.0 GiB" in note.sentence
    [refusal] = check.room_findings(some, 29 << 30)
    assert refusal.fatal
    assert "take 30.0 GiB, and the volume has 29.0 GiB" in refusal.sentence
