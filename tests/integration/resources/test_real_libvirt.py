"""A real libvirt and a real QEMU: the VM runs, stops, is saved and restored, and is off when we say so."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.integration.resources.conftest import Vm
from tests.integration.resources.libvirt_node import LibvirtNode

from twinhull.checkers.guest import Guest, GuestAgentChecker
from twinhull.errors import ResourceError
from twinhull.resources.base import ResourceState
from twinhull.resources.libvirt_cmd import Off
from twinhull.resources.processes import ProcessTable

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]


def test_a_vm_starts_from_its_folder_is_turned_off_and_forgotten(vm: Vm) -> None:
    resource = vm.resource()
    assert resource.state() is ResourceState.ABSENT
    resource.start(resume=False)
    assert resource.state() is ResourceState.RUNNING
    assert vm.emulator_lives
    assert resource.stop(mode="off", timeout_s=20.0) is False
    assert not vm.emulator_lives
    assert resource.describe().off is Off.DESTROYED
    resource.forget()
    resource.forget()
    assert resource.state() is ResourceState.ABSENT
    assert (vm.folder / "disk.qcow2").exists()


def test_libvirts_own_form_of_the_definition_is_kept_in_the_folder(vm: Vm) -> None:
    resource = vm.resource()
    resource.start(resume=False)
    text = resource.definition_path.read_text()
    assert "machine='pc-i440fx-" in text
    assert "<address type='pci'" in text
    assert not resource.keep_definition()


def test_a_saved_vm_goes_on_where_it_was(vm: Vm) -> None:
    resource = vm.resource()
    resource.start(resume=False)
    assert resource.stop(mode="save", timeout_s=60.0) is True
    assert not vm.emulator_lives
    assert resource.state() is ResourceState.SAVED
    resource.forget()
    resource.start(resume=True)
    assert resource.describe().reason == "restored"
    assert not resource.saved_path.exists()
    assert "boots cold" not in "".join(vm.lines)


def test_a_saved_state_that_is_damaged_leads_to_a_cold_boot(vm: Vm) -> None:
    resource = vm.resource()
    resource.start(resume=False)
    resource.stop(mode="save", timeout_s=60.0)
    with resource.saved_path.open("r+b") as file:
        file.truncate(20_000)
    resource.start(resume=True)
    assert resource.describe().reason == "booted"
    assert "boots cold" in "".join(vm.lines)


def test_a_managed_save_of_another_time_is_never_resumed(vm: Vm) -> None:
    resource = vm.resource()
    resource.start(resume=False)
    vm.node.ask("managedsave", vm.name)
    resource.start(resume=False)
    assert resource.describe().reason == "booted"


def test_a_guest_that_does_not_listen_runs_on_after_a_stop(vm: Vm) -> None:
    resource = vm.resource()
    resource.start(resume=False)
    with pytest.raises(ResourceError, match="did not shut down"):
        resource.stop(mode="stop", timeout_s=0.5)
    assert resource.state() is ResourceState.RUNNING
    assert vm.emulator_lives


def test_a_crash_of_the_emulator_is_seen(vm: Vm) -> None:
    resource = vm.resource()
    resource.start(resume=False)
    for process in ProcessTable().with_arguments(lambda argv: vm.uuid in argv):
        ProcessTable().kill(process, timeout_s=20.0)
    assert resource.state() is ResourceState.OFF
    assert resource.describe().off is Off.CRASHED


def test_suspend_and_resume(vm: Vm) -> None:
    resource = vm.resource()
    resource.start(resume=False)
    resource.suspend()
    assert resource.state() is ResourceState.PAUSED
    resource.resume()
    assert resource.state() is ResourceState.RUNNING


def test_a_disk_layer_made_by_a_snapshot_is_part_of_the_definition_in_the_folder(vm: Vm) -> None:
    resource = vm.resource()
    resource.start(resume=False)
    vm.node.ask("snapshot-create-as", vm.name, "--disk-only", "--no-metadata", "--name", "layer")
    assert resource.keep_definition()
    assert str(vm.folder / "disk.layer") in resource.definition_path.read_text()
    resource.stop(mode="off", timeout_s=20.0)
    resource.forget()
    resource.start(resume=False)
    assert resource.state() is ResourceState.RUNNING


def test_an_emulator_that_hangs_is_turned_off_by_force(vm: Vm) -> None:
    resource = vm.resource()
    resource.start(resume=False)
    for process in ProcessTable().with_arguments(lambda argv: vm.uuid in argv):
        ProcessTable().kill(process, timeout_s=0.0, number=signal.SIGSTOP)
    resource.force_off()
    assert not vm.emulator_lives
    assert resource.state() is ResourceState.OFF


def test_this_host_can_run_the_vm_and_what_it_lacks_is_said(vm: Vm) -> None:
    resource = vm.resource()
    assert [finding.sentence for finding in resource.check_host() if finding.fatal] == []
    extra = (
        "<interface type='network'><source network='nonesuch'/></interface>"
        "<interface type='bridge'><source bridge='br-nonesuch'/></interface>"
    )
    text = vm.definition(vm.folder / "disk.qcow2", extra=extra).replace(
        "machine='pc'", "machine='pc-q35-99.0'"
    )
    said = " ".join(finding.sentence for finding in resource.check_definition(text) if finding.fatal)
    for words in ("no network nonesuch", "no bridge br-nonesuch", "pc-q35-99.0", "Node a: "):
        assert words in said


def test_the_guest_checker_tells_silence_pause_and_end_apart(vm: Vm) -> None:
    resource = vm.resource()
    checker = GuestAgentChecker(vm.name, virsh=vm.node.program)
    resource.start(resume=False)
    assert checker.look(30.0).guest is Guest.SILENT
    resource.suspend()
    assert checker.look(30.0).guest is Guest.PAUSED
    resource.force_off()
    assert checker.look(30.0).guest is Guest.NOT_RUNNING


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_force_off_works_while_libvirtd_hangs_or_is_dead(
    own_node: LibvirtNode, tmp_path: Path, number: signal.Signals
) -> None:
    vm = Vm(own_node, tmp_path / "folder")
    vm.make_in_folder()
    vm.resource().start(resume=False)
    own_node.signal_libvirtd(number)
    heir = vm.resource()
    heir.force_off()
    assert not vm.emulator_lives
    assert "libvirt does not answer" in "".join(vm.lines) or number is signal.SIGKILL
