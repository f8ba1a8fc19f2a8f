"""Starting, stopping and looking at a VM of Hyper-V, with the real engine and a stand-in host."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from tests.standin.windows_host import needs_engine

from twinhull.errors import ResourceError
from twinhull.resources.base import ResourceState

from .hyperv_node import FOLDER, HOME, LONG_S, QUICK, HyperVNode

pytestmark = needs_engine


def test_a_vm_is_started_and_its_guest_is_shut_down(node: HyperVNode) -> None:
    identifier = node.make_vm()
    resource = node.resource()
    resource.start(resume=False)
    assert resource.state() is ResourceState.RUNNING
    node.change_vm(WorkerStays=3, ShutdownPolls=3)
    assert resource.stop(mode="stop", timeout_s=LONG_S) is False
    assert resource.state() is ResourceState.OFF
    assert node.windows.vm("web")["WorkerStays"] == 0, "it was not waited for the end of the worker process"
    assert identifier in node.record.read_text()
    assert not node.windows.calls("Stop-VM"), "a shutdown must not turn the guest off"


@pytest.mark.parametrize(
    "name", ["仮想マシン", 'O\'Brien "x"; Remove-Item $HOME `$(1)', "2026-01-02T03:04:05", "[a-z]*"]
)
def test_odd_names_are_only_names(node: HyperVNode, name: str) -> None:
    # the model matches names as patterns, so what was asked for by name must have gone by identifier
    identifier = node.make_vm("plain")
    node.change_vm("plain", Name=name)
    node.type("Set-VM", Name="*", Notes="written")
    resource = node.resource(name)
    resource.start(resume=False)
    assert node.vm_state(name) == "Running"
    assert resource.stop(mode="save", timeout_s=LONG_S) is True
    assert node.windows.vm(name)["Id"] == identifier


def test_a_saved_state_goes_on(node: HyperVNode) -> None:
    node.make_vm()
    resource = node.resource(travels_saved=True)
    resource.start(resume=False)
    assert node.windows.vm("web")["MigrationProcessor"] is True
    assert resource.stop(mode="save", timeout_s=LONG_S) is True
    assert resource.state() is ResourceState.SAVED
    resource.start(resume=True)
    assert resource.state() is ResourceState.RUNNING
    assert not node.windows.calls("Remove-VMSavedState")


def test_a_saved_state_that_is_not_ours_to_resume_is_thrown_away(node: HyperVNode) -> None:
    node.make_vm()
    resource = node.resource()
    resource.start(resume=False)
    resource.stop(mode="save", timeout_s=LONG_S)
    resource.start(resume=False)
    assert len(node.windows.calls("Remove-VMSavedState")) == 1
    assert node.said("not valid any more")


@pytest.mark.parametrize("keep", [False, True])
def test_a_saved_state_that_does_not_restore_is_treated_as_configured(node: HyperVNode, keep: bool) -> None:
    node.make_vm()
    resource = node.resource(keep_unrestorable=keep)
    resource.start(resume=False)
    resource.stop(mode="save", timeout_s=LONG_S)
    node.windows.edit(lambda state: state.update(savedStateFails=True))
    if keep:
        with pytest.raises(ResourceError, match=r"does not restore.*person decides"):
            resource.start(resume=True)
        assert node.vm_state() == "Saved"
    else:
        resource.start(resume=True)
        assert node.vm_state() == "Running"
        assert node.said("boots cold")


def test_what_hyperv_does_by_itself_is_turned_off_at_every_start(node: HyperVNode) -> None:
    node.make_vm(AutomaticStartAction="Start", AutomaticStopAction="Save", AutomaticCheckpointsEnabled=True)
    resource = node.resource()
    for _ in range(2):
        resource.start(resume=False)
        vm = node.windows.vm("web")
        assert (vm["AutomaticStartAction"], vm["AutomaticStopAction"]) == ("Nothing", "ShutDown")
        assert vm["AutomaticCheckpointsEnabled"] is False
        assert vm["Checkpoints"] == []
        adapter = vm["NetworkAdapters"][0]
        assert adapter["Dynamic"] is False
        assert adapter["MacAddress"].startswith("00155D")
        resource.force_off()
        node.type(
            "Set-VM", Name="web", AutomaticStartAction="StartIfRunning", AutomaticCheckpointsEnabled=True
        )
    assert node.said("automatic start action Start")
    assert node.said("automatic start action StartIfRunning")


def test_nothing_is_started_beneath_the_mount(node: HyperVNode) -> None:
    node.make_vm()
    node.mounted = False
    with pytest.raises(ResourceError, match="not the mounted volume"):
        node.resource().start(resume=False)
    assert node.vm_state() == "Off"


def test_a_vm_that_is_not_wholly_in_its_folder_is_not_started(node: HyperVNode) -> None:
    node.make_vm()
    node.type("New-VHD", Path=r"C:\elsewhere\parent.vhdx", SizeBytes=1 << 30, Dynamic=True)
    node.type(
        "New-VHD", Path=rf"{HOME}\child.vhdx", ParentPath=r"C:\elsewhere\parent.vhdx", Differencing=True
    )
    node.type("Add-VMHardDiskDrive", VMName="web", Path=rf"{HOME}\child.vhdx")
    with pytest.raises(ResourceError, match=r"C:\\elsewhere\\parent.vhdx lies outside"):
        node.resource().start(resume=False)
    assert node.vm_state() == "Off"


def test_a_vm_that_runs_already_is_not_taken_for_ours(node: HyperVNode) -> None:
    node.make_vm()
    node.type("Start-VM", Name="web")
    with pytest.raises(ResourceError, match="runs already"):
        node.resource().start(resume=False)


def test_a_start_that_fails_leaves_nothing_running_and_says_why(node: HyperVNode) -> None:
    node.make_vm()
    node.windows.fault("Start-VM", error={"message": "not enough memory (0x8007000E)"})
    with pytest.raises(
        ResourceError, match="Module web on node one: the VM web does not start: not enough memory"
    ):
        node.resource().start(resume=False)
    assert node.vm_state() == "Off"


def test_a_disk_that_another_vm_uses_is_told(node: HyperVNode) -> None:
    node.make_vm()
    node.make_vm("other", place=r"C:\VMs\other")
    node.type("Add-VMHardDiskDrive", VMName="other", Path=rf"{HOME}\Virtual Hard Disks\web.vhdx")
    node.type("Start-VM", Name="other")
    with pytest.raises(
        ResourceError, match=r"the VM web does not start: .*used by another process.*0x80070020"
    ):
        node.resource().start(resume=False)
    assert node.vm_state() == "Off"
    assert node.vm_state("other") == "Running"


def test_access_that_is_denied_is_cured_once_by_the_vms_own_account(node: HyperVNode) -> None:
    identifier = node.make_vm()
    node.windows.edit(lambda state: state.update(deniedFiles=[rf"{HOME}\Virtual Hard Disks\web.vhdx"]))
    node.resource().start(resume=False)
    assert node.vm_state() == "Running"
    program = node.windows.state["programs"][-1]
    assert program["program"].endswith("icacls.exe")
    first = int.from_bytes(bytes.fromhex(identifier.split("-")[0]), "big")
    assert program["arguments"][2].startswith(f"*S-1-5-83-1-{first}-")

    node.resource().force_off()
    node.windows.edit(lambda s: s.update(deniedFiles=[rf"{HOME}\Virtual Hard Disks\web.vhdx"], aclFails=True))
    with pytest.raises(ResourceError, match="0x80070005"):
        node.resource().start(resume=False)


def test_a_start_that_hangs_is_killed_and_the_state_is_read_again(node: HyperVNode) -> None:
    node.make_vm()
    node.windows.fault("Start-VM", hangSeconds=600)
    resource = node.resource(timings=replace(QUICK, start_s=2.0))
    with pytest.raises(ResourceError, match="was killed"):
        resource.start(resume=False)
    assert node.vm_state() == "Off"
    node.windows.heal()
    node.resource().start(resume=False)
    assert node.vm_state() == "Running"


def test_a_guest_that_does_not_listen_runs_on(node: HyperVNode) -> None:
    node.make_vm()
    resource = node.resource()
    resource.start(resume=False)
    node.change_vm(Guest="hung")
    with pytest.raises(
        ResourceError, match=r"did not shut down \(within 1 s; the guest is not ready\); it runs on"
    ):
        resource.stop(mode="stop", timeout_s=1.0)
    assert resource.state() is ResourceState.RUNNING


def test_a_stop_can_be_given_up(node: HyperVNode) -> None:
    node.make_vm()
    resource = node.resource()
    resource.start(resume=False)
    node.change_vm(Guest="hung")
    given_up: list[ResourceError] = []

    def stop() -> None:
        try:
            resource.stop(mode="stop", timeout_s=LONG_S)
        except ResourceError as error:
            given_up.append(error)

    thread = threading.Thread(target=stop)
    thread.start()
    while thread.is_alive() and not node.windows.calls("Invoke-CimMethod"):
        thread.join(0.1)
    resource.interrupt()
    thread.join()
    assert "the stop was given up" in str(given_up[0])
    assert resource.state() is ResourceState.RUNNING


def test_a_guest_that_boots_is_asked_again_until_it_listens(node: HyperVNode) -> None:
    node.make_vm()
    resource = node.resource()
    resource.start(resume=False)
    node.change_vm(BootPolls=5)
    resource.stop(mode="stop", timeout_s=LONG_S)
    assert resource.state() is ResourceState.OFF


def test_a_vm_whose_process_does_not_end_is_not_called_stopped(node: HyperVNode) -> None:
    node.make_vm()
    resource = node.resource(timings=replace(QUICK, ended_s=0.5))
    resource.start(resume=False)
    node.change_vm(WorkerStays=100000)
    with pytest.raises(ResourceError, match=r"worker process .* has not ended"):
        resource.stop(mode="stop", timeout_s=LONG_S)


def test_force_off_kills_what_hyperv_does_not_turn_off(node: HyperVNode) -> None:
    node.make_vm()
    resource = node.resource()
    resource.start(resume=False)
    node.windows.fault("Stop-VM", error={"message": "The operation failed."})
    resource.force_off()
    assert node.vm_state() == "Off"
    assert node.said("did not turn the VM web off")
    resource.force_off()


def test_force_off_works_while_hyperv_answers_nothing_by_a_worker_that_just_started(node: HyperVNode) -> None:
    node.make_vm()
    node.resource().start(resume=False)
    node.windows.fault("Get-VM", error={"message": "vmms does not answer", "terminating": True})
    node.resource().force_off()
    assert node.vm_state() == "Off"


def test_force_off_does_not_claim_what_it_could_not_do(node: HyperVNode) -> None:
    node.make_vm()
    resource = node.resource(timings=replace(QUICK, destroy_s=0.5))
    resource.start(resume=False)
    node.windows.fault("Stop-VM", error={"message": "The operation failed."})
    node.windows.edit(lambda state: state.update(killFails=True))
    with pytest.raises(ResourceError, match="power this node off"):
        resource.force_off()


def test_force_off_leaves_another_vm_of_the_same_name_alone(node: HyperVNode) -> None:
    node.make_vm(place=r"C:\VMs\web")
    node.type("Start-VM", Name="web")
    node.resource().force_off()
    assert node.vm_state() == "Running"


def test_paused_for_lack_of_space_is_a_state_of_its_own(node: HyperVNode) -> None:
    node.make_vm()
    resource = node.resource()
    resource.start(resume=False)
    node.windows.edit(lambda state: state.update(fullPaths=[FOLDER]))
    resource.state()
    assert resource.state() is ResourceState.PAUSED_CRITICAL


@pytest.mark.parametrize(
    ("event", "number", "words"),
    [
        ("guestShutdown", 18508, "its guest shut it down from inside"),
        ("workerCrash", 18590, "crashed"),
        ("guestShutdown", 0, "does not say why"),
    ],
)
def test_how_a_vm_ended_is_told_apart(node: HyperVNode, event: str, number: int, words: str) -> None:
    node.make_vm()
    resource = node.resource()
    resource.start(resume=False)
    node.change_vm(Event=event, Events=[number] if number else [])
    assert resource.state() is ResourceState.OFF
    assert words in resource.ended()


def test_suspend_and_resume(node: HyperVNode) -> None:
    node.make_vm()
    resource = node.resource()
    resource.start(resume=False)
    resource.suspend()
    assert resource.state() is ResourceState.PAUSED
    resource.suspend()
    assert node.said("was not paused")
    resource.resume()
    assert resource.state() is ResourceState.RUNNING


def test_a_vm_nobody_knows_is_absent(node: HyperVNode) -> None:
    assert node.resource().state() is ResourceState.ABSENT
    node.resource().force_off()
    node.resource().leave()
    with pytest.raises(ResourceError, match="no configuration of a VM below"):
        node.resource().start(resume=False)


def test_hyperv_that_does_not_run_is_no_absent_vm(node: HyperVNode) -> None:
    node.make_vm()
    node.windows.edit(lambda state: state["services"]["vmms"].update(Status="Stopped"))
    with pytest.raises(ResourceError, match="Verify that the Virtual Machine Management service"):
        node.resource().state()
