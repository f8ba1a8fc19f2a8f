from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.resources.libvirt_node import LibvirtNode

from twinhull.resources.libvirt import LibvirtResource, LibvirtTimings
from twinhull.resources.run import run_command


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtNode]:
    made = LibvirtNode(tmp_path_factory.mktemp("libvirt"))
    yield made
    made.close()


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[LibvirtNode]:
    """A libvirt that the test may kill."""
    made = LibvirtNode(tmp_path / "libvirt")
    yield made
    made.close()


class Vm:
    """A tiny VM without an operating system: it runs its firmware and finds nothing to boot."""

    def __init__(self, node: LibvirtNode, folder: Path) -> None:
        self.node = node
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self.uuid = str(uuid.uuid4())
        self.folder = folder
        self.lines: list[str] = []
        (folder / "vm").mkdir(parents=True)

    def definition(self, disk: Path, format_name: str = "qcow2", extra: str = "") -> str:
        return (
            f"<domain type='qemu'><name>{self.name}</name><uuid>{self.uuid}</uuid><memory unit='MiB'>48</memory>"
            "<vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>"
            "<emulator>/usr/bin/qemu-system-x86_64</emulator>"
            f"<disk type='file' device='disk'><driver name='qemu' type='{format_name}'/><source file='{disk}'/>"
            "<target dev='vda' bus='virtio'/></disk>"
            "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
            f"{extra}</devices></domain>"
        )

    def make_in_folder(self) -> None:
        disk = self.folder / "disk.qcow2"
        qemu_img("create", "-f", "qcow2", str(disk), "64M")
        (self.folder / "vm" / "domain.xml").write_text(self.definition(disk))

    def resource(self) -> LibvirtResource:
        return LibvirtResource(
            module="VM1", node="a", folder=self.folder, domain=self.name, log=self.lines.append,
            virsh=self.node.program, folder_ready=lambda: True,
            timings=LibvirtTimings(destroy_s=2.0, command_s=30.0, look_s=0.0),
        )  # fmt: skip

    @property
    def emulator_lives(self) -> bool:
        return any(self.name in line for line in self.command_lines())

    def remove(self) -> None:
        """Off, wherever its disks lie, and unknown to libvirt."""
        run_command(self.node.virsh.destroy(self.name), timeout_s=30.0)
        self.resource().forget()

    def command_lines(self) -> list[str]:
        lines = []
        for process in self.node.processes("qemu"):
            path = Path(f"/proc/{process.pid}/cmdline")
            lines.append(path.read_text() if path.exists() else "")
        return lines


def qemu_img(*words: str) -> None:
    subprocess.run(["qemu-img", *words], check=True, stdout=subprocess.DEVNULL, timeout=60)


@pytest.fixture
def vm(node: LibvirtNode, tmp_path: Path) -> Iterator[Vm]:
    made = Vm(node, tmp_path / "folder")
    made.make_in_folder()
    yield made
    made.remove()
