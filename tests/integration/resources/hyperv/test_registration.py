"""Hand-over, take-over and return of a VM of Hyper-V between two stand-in hosts whose drive D is the mirrored volume."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.standin.windows_host import needs_engine

from twinhull.errors import ResourceError
from twinhull.resources.base import ResourceState

from .hyperv_node import COPIES, FOLDER, HOME, LONG_S, QUICK, HyperVNode

pytestmark = needs_engine
Pair = tuple[HyperVNode, HyperVNode]
STORE = r"Cert:\LocalMachine\Shielded VM Local Certificates"


def hand_over(giver: HyperVNode) -> None:
    """What the worker does between the stop and the unmount: the volume is frozen, what `leave` writes is thrown away."""
    giver.mount_discarding()
    giver.resource().leave()
    giver.unmount()


def files(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, with its content."""
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def lose_power(node: HyperVNode) -> None:
    """The host dies and comes back; its volume is not mounted, and Hyper-V knows the VM still."""
    node.unmount()
    node.windows.edit(lambda state: state.update(vmmsRestart="keeps"))
    node.boot("crash")


@pytest.mark.parametrize("mode", ["stop", "save"])
def test_a_vm_is_handed_over_and_comes_back(pair: Pair, mode: str) -> None:
    one, two = pair
    one.mount()
    identifier = one.make_vm(generation=2)
    one.type("Checkpoint-VM", Name="web", SnapshotName="before")
    resource = one.resource()
    resource.start(resume=False)
    for giver, taker in ((one, two), (two, one)):
        saved = giver.resource().stop(mode=mode, timeout_s=LONG_S)
        assert saved is (mode == "save")
        hand_over(giver)
        assert giver.vm_state() == ""
        taker.mount()
        other = taker.resource()
        other.start(resume=saved)
        assert other.state() is ResourceState.RUNNING
        vm = taker.windows.vm("web")
        assert vm["Id"] == identifier
        assert [point["Name"] for point in vm["Checkpoints"]] == ["before"], (
            "a removal merged the checkpoints"
        )
        assert not taker.windows.calls("Remove-VMSavedState")


def test_what_a_removal_deletes_is_copied_before(node: HyperVNode) -> None:
    identifier = node.make_vm()
    node.type("Checkpoint-VM", Name="web", SnapshotName="before")
    resource = node.resource(stamp=lambda: "0001")
    resource.leave()
    copied = {path.name.lower() for path in node.windows.path(rf"{COPIES}\0001").rglob("*") if path.is_file()}
    assert {f"{identifier}.vmcx", f"{identifier}.vmrs", f"{identifier}.vmgs"} <= copied
    assert len([name for name in copied if name.endswith(".vmcx")]) == 2
    assert not [name for name in copied if name.endswith((".vhdx", ".avhdx"))]
    resource.leave()


def test_only_the_newest_copies_are_kept(node: HyperVNode) -> None:
    for number in range(7):
        node.make_vm()
        node.resource(stamp=lambda number=number: f"{number:04}").leave()
        shutil.rmtree(node.volume / "vm")
    kept = sorted(path.name for path in node.windows.path(COPIES).iterdir())
    assert kept == ["0002", "0003", "0004", "0005", "0006"]


def test_a_vm_that_runs_stays_registered(node: HyperVNode) -> None:
    node.make_vm()
    resource = node.resource()
    resource.start(resume=False)
    with pytest.raises(ResourceError, match="is not off"):
        resource.leave()
    assert node.vm_state() == "Running"


def test_a_registration_that_stays_holds_up_no_hand_over_and_is_cleared_at_the_return(pair: Pair) -> None:
    one, two = pair
    one.mount()
    one.make_vm()
    one.windows.fault("Remove-VM", error={"message": "It failed."})
    hand_over(one)
    assert one.vm_state() == "Off"
    assert one.said("has not let go of the VM web yet")
    two.mount()
    two.resource().start(resume=False)
    one.windows.heal()
    assert one.resource().clear() is True
    assert one.vm_state() == ""
    assert two.resource().state() is ResourceState.RUNNING


def test_a_node_that_lost_power_forgets_the_vm_before_its_folder_is_mounted_again(pair: Pair) -> None:
    one, two = pair
    one.mount()
    one.make_vm()
    one.resource().start(resume=False)
    lose_power(one)
    two.mount()
    two.resource().start(resume=False)
    assert two.vm_state() == "Running"

    assert one.vm_state() == "Off"
    assert one.resource().clear() is True
    assert one.vm_state() == ""
    assert (one.volume / "vm" / "Virtual Machines").exists(), "the other node's files were touched"
    assert two.resource().state() is ResourceState.RUNNING


@pytest.mark.parametrize(
    ("how", "way"), [("fails", "the discarded mount"), ("reportsSuccessAndStays", "the last resort")]
)
def test_an_entry_that_stays_needs_the_discarded_mount_or_the_last_resort(
    pair: Pair, how: str, way: str
) -> None:
    one, _ = pair
    one.mount()
    one.make_vm()
    one.resource().start(resume=False)
    lose_power(one)
    one.windows.edit(lambda state: state.update(removeAbsent=how))
    assert one.resource().clear() is False
    assert one.vm_state() == "Off"
    if way == "the discarded mount":
        before = files(one.volume)
        one.mount_discarding()
        one.resource().leave()
        one.unmount()
        assert files(one.volume) == before
        assert one.resource().clear() is True
    else:
        one.windows.edit(lambda state: state.update(vmmsRestart="forgets"))
        assert one.resource().clear(last_resort=True) is True
    assert one.vm_state() == ""


def test_an_entry_that_nothing_removes_is_said_to_stay(pair: Pair) -> None:
    one, _ = pair
    one.mount()
    one.make_vm()
    one.unmount()
    one.windows.edit(lambda state: state.update(removeAbsent="reportsSuccessAndStays", vmmsRestart="keeps"))
    assert one.resource().clear(last_resort=True) is False


def test_nothing_is_cleared_while_files_could_be_deleted(node: HyperVNode) -> None:
    node.make_vm()
    with pytest.raises(ResourceError, match="is mounted"):
        node.resource().clear()
    shutil.copytree(node.volume, node.windows.directory / "beneath")
    node.unmount()
    shutil.move(node.windows.directory / "beneath" / "vm", node.windows.path(FOLDER))
    with pytest.raises(ResourceError, match="beneath the folder's mount"):
        node.resource().clear()
    assert node.vm_state() == "Off"


def test_a_volume_that_comes_back_is_waited_for(node: HyperVNode) -> None:
    node.make_vm()
    node.unmount()
    node.type("Get-VM")
    node.mount()
    node.windows.edit(lambda state: state.update(recoverPolls=3))
    node.resource().start(resume=False)
    assert node.vm_state() == "Running"
    assert node.said("has not seen yet that the files")


def _forgotten(node: HyperVNode) -> str:
    """A VM whose files lie in the folder and that nobody has registered; its identifier."""
    identifier = node.make_vm()
    node.windows.edit(lambda state: state["vms"].clear())
    return identifier


def test_a_missing_switch_is_told_in_words_and_nothing_is_registered(node: HyperVNode) -> None:
    _forgotten(node)
    node.windows.edit(lambda state: state.update(switches={}))
    with pytest.raises(
        ResourceError, match="there is no virtual switch External: create it, named exactly so"
    ):
        node.resource().start(resume=False)
    assert node.vm_state() == ""


def test_a_configuration_version_that_the_host_does_not_know_is_told(node: HyperVNode) -> None:
    _forgotten(node)
    node.windows.edit(lambda state: state.update(supportedVersions=["8.0"]))
    with pytest.raises(ResourceError, match=r"does not fit to this host \(configuration version 10.0\)"):
        node.resource().start(resume=False)


def test_a_disk_that_is_not_there_is_told(node: HyperVNode) -> None:
    _forgotten(node)
    node.windows.path(rf"{HOME}\Virtual Hard Disks\web.vhdx").unlink()
    with pytest.raises(ResourceError, match=r"the disk .*web.vhdx cannot be opened"):
        node.resource().start(resume=False)


def test_an_image_that_is_not_there_is_ejected(node: HyperVNode) -> None:
    identifier = node.make_vm()
    image = node.windows.path(r"C:\iso\a.iso")
    image.parent.mkdir()
    image.write_bytes(b"image")
    node.type("Add-VMDvdDrive", VMName="web", Path=r"C:\iso\a.iso")
    image.unlink()
    node.windows.edit(lambda state: state["vms"].clear())
    node.resource().start(resume=False)
    assert node.windows.vm("web")["Id"] == identifier
    assert node.said(r"ejected C:\iso\a.iso")


def test_access_that_is_denied_at_the_import_is_cured(node: HyperVNode) -> None:
    identifier = _forgotten(node)
    path = rf"{HOME}\Virtual Machines\{identifier.upper()}.vmcx"
    node.windows.edit(lambda state: state.update(deniedFiles=[path]))
    node.resource().start(resume=False)
    assert node.vm_state() == "Running"
    assert node.said("is given access")


def test_an_import_that_hangs_is_killed_and_may_be_repeated(node: HyperVNode) -> None:
    identifier = _forgotten(node)
    node.windows.fault("Import-VM", hangSeconds=600)
    with pytest.raises(ResourceError, match=r"cannot be registered: .* was killed"):
        node.resource(timings=replace(QUICK, change_s=2.0)).start(resume=False)
    assert node.vm_state() == ""
    node.windows.heal()
    node.resource().start(resume=False)
    assert node.windows.vm("web")["Id"] == identifier


def test_a_removal_that_hangs_ends_and_is_no_removal(pair: Pair) -> None:
    one, _ = pair
    one.mount()
    one.make_vm()
    one.unmount()
    one.windows.fault("Remove-VM", hangSeconds=600)
    assert one.resource(timings=replace(QUICK, change_s=1.0)).clear() is False
    assert one.vm_state() == "Off"


def test_two_vms_in_one_folder_are_refused(node: HyperVNode) -> None:
    node.make_vm()
    node.make_vm("other", place=rf"{HOME}\other")
    with pytest.raises(ResourceError, match="there are 2 VMs below"):
        node.resource().start(resume=False)


def test_the_same_vm_registered_elsewhere_is_not_taken_for_ours(node: HyperVNode) -> None:
    identifier = node.make_vm()

    def elsewhere(state: dict[str, Any]) -> None:
        state["vms"][identifier].update(ConfigurationLocation=r"C:\old", Path=r"C:\old")

    file = node.windows.path(r"C:\old\Virtual Machines") / f"{identifier.upper()}.vmcx"
    file.parent.mkdir(parents=True)
    shutil.copy(node.windows.path(rf"{HOME}\Virtual Machines") / file.name, file)
    node.windows.edit(elsewhere)
    with pytest.raises(ResourceError, match=r"is registered at C:\\old instead of"):
        node.resource().start(resume=False)


def test_a_tpm_that_no_guardian_can_unlock_is_refused_before_protection(pair: Pair) -> None:
    one, two = pair
    one.mount()
    one.make_vm()
    one.type("Set-VMKeyProtector", VMName="web", NewLocalKeyProtector=True)
    one.type("Enable-VMTPM", VMName="web")
    described = one.shells.query("Get-TwinhullVm", {"Name": "web"}, timeout_s=LONG_S)
    definition = json.dumps(described)
    assert one.resource().check_definition(definition) == []
    found = two.resource().check_definition(definition)
    assert [item.fatal for item in found] == [True]
    assert "can unlock the VM's virtual TPM" in found[0].sentence
    guardians = one.windows.state["guardians"]
    two.windows.edit(lambda state: state["guardians"].extend(guardians))
    assert two.resource().check_definition(definition) == []
    # The guardian is known there, and signs there, but the key that unlocks was not brought along.
    two.windows.edit(lambda state: state.update(certificates={STORE: [f"public {one}" for one in guardians]}))
    assert "can unlock the VM's virtual TPM" in two.resource().check_definition(definition)[0].sentence
    two.windows.edit(lambda state: state.update(certificates={"Cert:\\LocalMachine\\My": guardians}))
    assert two.resource().check_definition(definition) == []
