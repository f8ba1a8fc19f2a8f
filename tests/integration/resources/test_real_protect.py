"""An existing VM of a real libvirt comes into its folder, runs there, and goes out again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.resources.conftest import Vm, qemu_img
from tests.integration.resources.libvirt_node import LibvirtNode

from twinhull.errors import ResourceError
from twinhull.resources.base import Progress, ResourceState
from twinhull.resources.libvirt_protect import VmMover

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]


def pattern(path: Path, byte: int, offset: str) -> None:
    subprocess.run(
        ["qemu-io", "-c", f"write -P {byte} {offset} 64k", str(path)], check=True, stdout=subprocess.DEVNULL
    )


def holds(path: Path, byte: int, offset: str) -> bool:
    done = subprocess.run(
        ["qemu-io", "-r", "-c", f"read -P {byte} {offset} 64k", str(path)], capture_output=True
    )
    return done.returncode == 0 and b"Pattern verification failed" not in done.stdout


class Existing:
    """A VM on a template image, with a raw second disk, registered with autostart."""

    def __init__(self, node: LibvirtNode, tmp_path: Path) -> None:
        self.vm = Vm(node, tmp_path / "folder")
        self.old = tmp_path / "images"
        self.old.mkdir()
        self.template, self.top, self.data = (
            self.old / name for name in ("t.qcow2", "top.qcow2", "data.img")
        )
        qemu_img("create", "-f", "qcow2", str(self.template), "64M")
        pattern(self.template, 7, "0")
        qemu_img("create", "-f", "qcow2", "-b", str(self.template), "-F", "qcow2", str(self.top))
        pattern(self.top, 9, "1M")
        with self.data.open("wb") as file:
            file.truncate(16 << 20)
            file.seek(5 << 20)
            file.write(b"data of the VM")
        second = (
            f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{self.data}'/>"
            "<target dev='vdb' bus='virtio'/></disk>"
        )
        path = tmp_path / "existing.xml"
        path.write_text(self.vm.definition(self.top, extra=second))
        node.ask("define", str(path))
        node.ask("autostart", self.vm.name)
        self.progress: list[Progress] = []
        self.mover = VmMover(
            module="VM1", node="a", state_directory=tmp_path / "state", log=self.vm.lines.append,
            progress=self.progress.append, virsh=node.virsh,
        )  # fmt: skip

    def info(self) -> str:
        return self.vm.node.ask("dominfo", self.vm.name)


@pytest.fixture
def existing(node: LibvirtNode, tmp_path: Path) -> Iterator[Existing]:
    made = Existing(node, tmp_path)
    yield made
    made.vm.remove()


def test_an_existing_vm_runs_from_its_folder_and_its_originals_are_as_they_were(existing: Existing) -> None:
    vm = existing.vm
    before = {path: path.read_bytes() for path in existing.old.iterdir()}
    plan = existing.mover.plan_protect(vm.name, vm.folder)
    assert not plan.refused, plan.findings
    existing.mover.carry_out(plan)
    assert holds(vm.folder / "top.qcow2", 7, "0")
    assert holds(vm.folder / "top.qcow2", 9, "1M")
    assert (vm.folder / "data.img").read_bytes() == before[existing.data]
    assert (vm.folder / "data.img").stat().st_blocks * 512 <= 2 << 20
    assert existing.progress[-1].bytes_done == existing.progress[-1].bytes_total
    assert "Autostart:      disable" in existing.info()

    existing.template.rename(existing.old / "away")
    vm.resource().start(resume=False)
    assert vm.resource().state() is ResourceState.RUNNING
    vm.resource().stop(mode="off", timeout_s=20.0)
    (existing.old / "away").rename(existing.template)
    assert {path: path.read_bytes() for path in existing.old.iterdir()} == before


def test_a_vm_that_runs_is_not_moved(existing: Existing) -> None:
    plan = existing.mover.plan_protect(existing.vm.name, existing.vm.folder)
    existing.vm.node.ask("start", existing.vm.name)
    with pytest.raises(ResourceError, match="is not off"):
        existing.mover.carry_out(plan)


def test_a_move_is_rolled_back_to_the_original_registration(existing: Existing) -> None:
    existing.mover.carry_out(existing.mover.plan_protect(existing.vm.name, existing.vm.folder))
    existing.mover.roll_back()
    assert str(existing.top) in existing.vm.node.ask("dumpxml", existing.vm.name)
    assert "Autostart:      enable" in existing.info()
    assert [path for path in existing.vm.folder.rglob("*") if path.is_file()] == []
    existing.vm.node.ask("start", existing.vm.name)


def test_a_vm_goes_out_of_its_folder_with_what_it_wrote_there(existing: Existing, tmp_path: Path) -> None:
    vm = existing.vm
    existing.mover.carry_out(existing.mover.plan_protect(vm.name, vm.folder))
    pattern(vm.folder / "top.qcow2", 11, "2M")
    place = tmp_path / "out"
    existing.mover.carry_out(existing.mover.plan_unprotect(vm.folder, place))
    assert holds(place / "top.qcow2", 11, "2M")
    assert "Autostart:      enable" in existing.info()
    vm.node.ask("start", vm.name)
    assert str(place / "top.qcow2") in vm.node.ask("dumpxml", vm.name)
