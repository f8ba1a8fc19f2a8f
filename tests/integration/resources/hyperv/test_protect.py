"""Moving a VM of Hyper-V into its folder and out of it, with the real engine and a stand-in host."""

from __future__ import annotations

from typing import Any

import pytest
from tests.standin.windows_host import needs_engine

from twinhull.errors import ResourceError
from twinhull.resources.base import Progress
from twinhull.resources.hyperv_protect import HyperVMover

from .hyperv_node import COPIES, FOLDER, HOME, HyperVNode

pytestmark = needs_engine
OLD = r"C:\VMs\web"


def mover(node: HyperVNode, progress: list[Progress] | None = None) -> HyperVMover:
    seen: list[Progress] = [] if progress is None else progress
    return HyperVMover(
        module="web", node=node.name, directory=node.windows.directory / "moves", copies=COPIES,
        record=node.record, volume_bytes=4 << 30,
        shell=node.shells, log=node.lines.append, progress=seen.append, poll_s=0.05,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_journal(node: HyperVNode) -> None:
    (node.windows.directory / "moves" / "protect.json").unlink(missing_ok=True)


def _chain(node: HyperVNode) -> None:
    node.type("New-VHD", Path=rf"{OLD}\base.vhdx", SizeBytes=1 << 30, Dynamic=True)
    node.type("New-VHD", Path=rf"{OLD}\data.vhdx", ParentPath=rf"{OLD}\base.vhdx", Differencing=True)
    node.type("Add-VMHardDiskDrive", VMName="web", Path=rf"{OLD}\data.vhdx")


@pytest.mark.parametrize("generation", [1, 2])
def test_a_vm_with_checkpoints_and_chains_is_moved_and_runs(node: HyperVNode, generation: int) -> None:
    identifier = node.make_vm(place=OLD, generation=generation)
    _chain(node)
    node.type("Checkpoint-VM", Name="web", SnapshotName="before")
    seen: list[Progress] = []
    moving = mover(node, seen)
    plan = moving.plan_protect("web", FOLDER)
    assert plan.findings == ()
    moving.carry_out(plan)
    assert node.windows.vm("web")["Id"] == identifier
    assert [point["Name"] for point in node.windows.vm("web")["Checkpoints"]] == ["before"]
    assert seen[-1].bytes_done == seen[-1].bytes_total == plan.total_bytes
    with pytest.raises(ResourceError, match="has not run from its folder yet"):
        moving.remove_originals()
    node.resource().start(resume=False)
    assert node.vm_state() == "Running"
    assert rf"{OLD}\base.vhdx" in moving.remove_originals()
    assert not node.windows.exists(rf"{OLD}\base.vhdx")
    # what is done is done: a second protection changes nothing
    node.resource().force_off()
    calls = len(node.windows.calls("Move-VMStorage"))
    moving.carry_out(moving.plan_protect("web", FOLDER))
    assert len(node.windows.calls("Move-VMStorage")) == calls


def test_images_are_ejected_and_named(node: HyperVNode) -> None:
    node.make_vm(place=OLD)
    image = node.windows.path(r"C:\iso\a.iso")
    image.parent.mkdir()
    image.write_bytes(b"image")
    node.type("Add-VMDvdDrive", VMName="web", Path=r"C:\iso\a.iso")
    moving = mover(node)
    plan = moving.plan_protect("web", FOLDER)
    assert [(one.fatal, "is ejected" in one.sentence) for one in plan.findings] == [(False, True)]
    moving.carry_out(plan)
    assert node.windows.vm("web")["DvdDrives"][0]["Path"] is None


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"Devices": [{"Kind": "VMGpuPartitionAdapter", "Path": "x"}]}, "a partition of a graphics card"),
        ({"Devices": [{"Kind": "VMAssignedDevice", "Path": "PCIROOT(0)"}]}, r"the device PCIROOT\(0\)"),
        ({"Devices": [{"Kind": "VMFibreChannelHba", "Path": "x"}]}, "a Fibre Channel adapter"),
        (
            {
                "HardDrives": [
                    {
                        "DiskNumber": 3,
                        "ControllerType": "SCSI",
                        "ControllerNumber": 0,
                        "ControllerLocation": 0,
                    }
                ]
            },
            "is the physical disk 3",
        ),
    ],
)
def test_what_cannot_be_mirrored_is_refused_by_name(
    node: HyperVNode, members: dict[str, Any], words: str
) -> None:
    node.make_vm(place=OLD)
    node.change_vm(**members)
    moving = mover(node)
    plan = moving.plan_protect("web", FOLDER)
    assert plan.refused
    with pytest.raises(ResourceError, match=words):
        moving.carry_out(plan)
    assert node.windows.vm("web")["ConfigurationLocation"] == OLD


def test_a_vm_that_hyperv_does_not_know_or_knows_twice_is_told(node: HyperVNode) -> None:
    with pytest.raises(ResourceError, match="Hyper-V knows no VM that is called web"):
        mover(node).plan_protect("web", FOLDER)
    node.make_vm(place=OLD)
    node.make_vm("other", place=r"C:\VMs\other")
    node.change_vm("other", Name="web")
    with pytest.raises(ResourceError, match="2 VMs are called web"):
        mover(node).plan_protect("web", FOLDER)


def test_a_vm_that_runs_is_not_moved(node: HyperVNode) -> None:
    node.make_vm(place=OLD)
    node.type("Start-VM", Name="web")
    moving = mover(node)
    with pytest.raises(ResourceError, match=r"is not off \(Running\)"):
        moving.carry_out(moving.plan_protect("web", FOLDER))


def test_no_room_leaves_the_vm_where_it_was(node: HyperVNode) -> None:
    node.make_vm(place=OLD)
    node.windows.edit(lambda state: state.update(freeBytes={FOLDER: 1024}))
    moving = mover(node)
    with pytest.raises(ResourceError, match=r"was not moved: .*0x80070070"):
        moving.carry_out(moving.plan_protect("web", FOLDER))
    assert node.windows.vm("web")["ConfigurationLocation"] == OLD
    assert not node.windows.calls("Export-VM"), "an export needs the same room"


def test_a_move_that_is_cut_off_can_be_run_again(node: HyperVNode) -> None:
    node.make_vm(place=OLD)
    _chain(node)
    node.windows.fault("Move-VMStorage", call=1, halfway="exit")
    moving = mover(node)
    with pytest.raises(ResourceError, match="the move of the VM web was not answered"):
        moving.carry_out(moving.plan_protect("web", FOLDER))
    assert node.windows.vm("web")["ConfigurationLocation"] == OLD
    assert node.windows.exists(HOME)
    moving.carry_out(moving.plan_protect("web", FOLDER))
    assert node.said("What an interrupted move left")
    node.resource().start(resume=False)
    assert node.vm_state() == "Running"


def test_where_the_storage_cannot_be_moved_the_vm_is_exported_and_registered_anew(node: HyperVNode) -> None:
    identifier = node.make_vm(place=OLD)
    node.windows.fault("Move-VMStorage", error={"message": "Storage migration is not enabled."})
    moving = mover(node)
    moving.carry_out(moving.plan_protect("web", FOLDER))
    vm = node.windows.vm("web")
    assert vm["Id"] == identifier
    assert vm["ConfigurationLocation"] == rf"{HOME}\web"
    assert node.windows.exists(rf"{OLD}\Virtual Hard Disks\web.vhdx"), "the original disk is kept"
    node.resource().start(resume=False)


def test_an_export_that_is_cut_off_leaves_the_vm_where_it_was(node: HyperVNode) -> None:
    node.make_vm(place=OLD)
    _chain(node)
    node.windows.fault("Move-VMStorage", error={"message": "Storage migration is not enabled."})
    node.windows.fault("Export-VM", call=1, halfway="error")
    moving = mover(node)
    with pytest.raises(ResourceError):
        moving.carry_out(moving.plan_protect("web", FOLDER))
    assert node.windows.vm("web")["ConfigurationLocation"] == OLD
    moving.carry_out(moving.plan_protect("web", FOLDER))
    node.resource().start(resume=False)


def test_an_export_that_cannot_be_registered_gives_the_vm_back_its_old_place(node: HyperVNode) -> None:
    identifier = node.make_vm(place=OLD)
    node.windows.fault("Move-VMStorage", error={"message": "Storage migration is not enabled."})
    node.windows.fault("Compare-VM", call=1, error={"message": "It cannot be read."})
    moving = mover(node)
    with pytest.raises(ResourceError, match="The VM is registered at its old place"):
        moving.carry_out(moving.plan_protect("web", FOLDER))
    vm = node.windows.vm("web")
    assert (vm["Id"], vm["ConfigurationLocation"]) == (identifier, OLD)


def test_checkpoints_are_never_merged_for_an_export(node: HyperVNode) -> None:
    node.make_vm(place=OLD)
    node.type("Checkpoint-VM", Name="web", SnapshotName="before")
    node.windows.fault("Move-VMStorage", error={"message": "Storage migration is not enabled."})
    moving = mover(node)
    with pytest.raises(ResourceError, match="Delete its checkpoints"):
        moving.carry_out(moving.plan_protect("web", FOLDER))
    assert not node.windows.calls("Remove-VM")


def test_a_vm_leaves_its_folder_as_it_came(node: HyperVNode) -> None:
    identifier = node.make_vm(place=OLD, AutomaticStartAction="Start", AutomaticStopAction="Save")
    moving = mover(node)
    moving.carry_out(moving.plan_protect("web", FOLDER))
    node.resource().start(resume=False)
    node.resource().force_off()
    place = r"C:\VMs\back"
    moving.carry_out(moving.plan_unprotect("web", FOLDER, place))
    vm = node.windows.vm("web")
    assert (vm["Id"], vm["ConfigurationLocation"]) == (identifier, place)
    assert (vm["AutomaticStartAction"], vm["AutomaticStopAction"]) == ("Start", "Save")
    assert not node.record.exists()
    node.type("Start-VM", Name="web")
    node.resource().force_off()
    assert node.vm_state() == "Running", "it is not ours to turn off any more"


def test_a_place_within_the_folder_is_refused(node: HyperVNode) -> None:
    node.make_vm()
    plan = mover(node).plan_unprotect("web", FOLDER, rf"{FOLDER}\elsewhere")
    assert plan.refused
