from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.resources.fake_virsh import UUID, FakeVirsh

CAPTURED = Path(__file__).parent / "captured"


def definition(folder: Path, *, name: str = "web", uuid: str = UUID, devices: str = "", os: str = "") -> str:
    """A definition whose disk lies in the folder; `devices` and `os` add elements."""
    return (
        f"<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory>"
        f"<vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type>{os}</os>"
        "<on_poweroff>restart</on_poweroff><devices>"
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        f"<source file='{folder}/disk.img'/><target dev='vda' bus='virtio'/></disk>"
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        f"{devices}</devices></domain>"
    )


@pytest.fixture
def virsh() -> Iterator[FakeVirsh]:
    fake = FakeVirsh(capabilities=(CAPTURED / "domcapabilities.xml").read_text())
    yield fake
    fake.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a VM in it."""
    path = tmp_path / "VM1"
    (path / "vm").mkdir(parents=True)
    (path / "disk.img").write_bytes(b"\0" * 4096)
    (path / "vm" / "domain.xml").write_text(definition(path))
    return path
