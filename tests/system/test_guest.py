"""The guest alone, without Twinhull: what it tells is on its disk, and it goes on after a power loss."""

from __future__ import annotations

import pytest
from tests.lab import existing_vm, records
from tests.lab.fixtures import MakeLab
from tests.lab.guest import Guest
from tests.lab.waiting import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.guest]

BOOT_TIMEOUT_S = 90.0
ENOUGH_RECORDS = 100


def test_every_record_told_before_a_power_loss_is_on_the_disk_and_the_guest_goes_on(
    make_lab: MakeLab, guest_built: Guest
) -> None:
    lab = make_lab(libvirt=True, nodes=("a",))
    node, reports = lab["a"], records.ReportFile(lab.reports / "VM1")
    existing_vm.define(node, "VM1", guest_built, reports)
    node.run(["virsh", "start", "VM1"])
    reports.wait("records", lambda told: told.last >= ENOUGH_RECORDS, BOOT_TIMEOUT_S)
    node.kill()
    told = reports.read()
    image = node.disk(f"{existing_vm.IMAGES}/VM1/disk.img")
    assert records.missing(records.extract(image), told.acknowledged) == []

    node.boot()
    node.run(["virsh", "start", "VM1"])
    again = reports.wait("more records", lambda now: now.last > told.last, BOOT_TIMEOUT_S)
    assert again.boots[-1].last >= told.last
    assert again.boots[-1].damaged == 0
    assert again.failures == ()


@pytest.mark.parametrize("way", ["agent", "acpi"])
def test_the_guest_shuts_down_when_asked(make_lab: MakeLab, guest_built: Guest, way: str) -> None:
    lab = make_lab(libvirt=True, nodes=("a",))
    node, reports = lab["a"], records.ReportFile(lab.reports / "VM1")
    existing_vm.define(node, "VM1", guest_built, reports)
    node.run(["virsh", "start", "VM1"])
    reports.wait("a record", lambda told: told.last > 0, BOOT_TIMEOUT_S)
    node.run(["virsh", "shutdown", "VM1", "--mode", way])
    wait_until("the end", lambda: "shut off" in node.run(["virsh", "domstate", "VM1"]).stdout, BOOT_TIMEOUT_S)
    image = node.disk(f"{existing_vm.IMAGES}/VM1/disk.img")
    assert records.missing(records.extract(image), reports.read().acknowledged) == []
