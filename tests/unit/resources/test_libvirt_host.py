"""What a host lacks is said in words that name the node."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.resources.conftest import definition
from tests.unit.resources.fake_virsh import Domain, FakeVirsh

from twinhull.resources.base import Finding
from twinhull.resources.libvirt import LibvirtResource
from twinhull.resources.libvirt_cmd import Virsh
from twinhull.resources.libvirt_host import HostCheck, highest_cpu
from twinhull.resources.libvirt_xml import parse_definition

FOLDER = Path("/srv/twinhull/VM1")
NET = "Name: default\nActive:         {active}\nPersistent:     yes\nAutostart:      {autostart}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's file system: 1 GiB of memory, a bridge br0, an emulator."""
    root = tmp_path / "root"
    for name in ("proc", "sys/class/net/br0/bridge", "sys/class/net/eth0", "usr/bin", "dev", "iso"):
        (root / name).mkdir(parents=True)
    (root / "proc/meminfo").write_text(
        "MemTotal:        1048576 kB\nMemAvailable:     524288 kB\nHugePages_Total:       0\n"
    )
    (root / "usr/bin/qemu-system-x86_64").touch(0o755)
    return root


class Host:
    def __init__(self, virsh: FakeVirsh, root: Path) -> None:
        self.virsh, self.root = virsh, root

    def fatal(self, text: str) -> list[str]:
        return [finding.sentence for finding in self.findings(text) if finding.fatal]

    def warnings(self, text: str) -> list[str]:
        return [finding.sentence for finding in self.findings(text) if not finding.fatal]

    def findings(self, text: str) -> list[Finding]:
        check = HostCheck("b", FOLDER, Virsh(), self.virsh, 5.0, self.root)
        return check.findings(parse_definition(text))


@pytest.fixture
def host(virsh: FakeVirsh, root: Path) -> Host:
    return Host(virsh, root)


def test_a_host_that_has_everything_is_not_blamed(host: Host) -> None:
    assert host.findings(definition(FOLDER)) == []


@pytest.mark.parametrize(
    ("devices", "sentence"),
    [
        ("<emulator>/usr/bin/qemu-kvm</emulator>", "the emulator /usr/bin/qemu-kvm does not exist on it"),
        ("<interface type='network'><source network='lan'/></interface>", "libvirt has no network lan"),
        ("<interface type='bridge'><source bridge='br1'/></interface>", "there is no bridge br1"),
        ("<interface type='bridge'><source bridge='eth0'/></interface>", "there is no bridge eth0"),
        ("<interface type='direct'><source dev='eth9'/></interface>", "there is no network device eth9"),
        ("<interface type='hostdev'><source/></interface>", "this host's own network card (passthrough)"),
        ("<hostdev mode='subsystem' type='pci'/>", "this host's own pci device (passthrough)"),
        ("<tpm model='tpm-crb'><backend type='emulator'/></tpm>", "has a TPM (emulator)"),
        (
            "<rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>",
            "random source /dev/hwrng",
        ),
        (
            "<filesystem><source dir='/shared'/></filesystem>",
            "directory /shared is not mirrored and does not exist",
        ),
        (
            "<disk type='file' device='cdrom'><source file='/iso/no.iso'/><target dev='sda'/></disk>",
            "/iso/no.iso",
        ),
        (
            "<disk type='file' device='disk'><source file='/srv/twinhull/VM1/b'/><target dev='vdb'/><shareable/></disk>",
            "disk vdb is shared with other VMs",
        ),
        (
            "<disk type='file' device='disk'><source file='/srv/twinhull/VM1/b'><encryption format='luks'>"
            "<secret type='passphrase' uuid='9707af4b-8d25-4ba3-b3ce-8c71efd0e0c5'/></encryption></source>"
            "<target dev='vdb'/></disk>",
            "no secret 9707af4b-8d25-4ba3-b3ce-8c71efd0e0c5",
        ),
        (
            "<disk type='block' device='disk'><source dev='/dev/sdb'/><target dev='vdb'/></disk>",
            "its disk vdb",
        ),
    ],
)
def test_what_is_missing_refuses_the_protection_and_names_the_node(
    host: Host, devices: str, sentence: str
) -> None:
    [found] = host.fatal(definition(FOLDER, devices=devices))
    assert found.startswith("Node b: ")
    assert sentence in found


def test_a_bridge_that_exists_is_enough(host: Host) -> None:
    assert (
        host.findings(
            definition(FOLDER, devices="<interface type='bridge'><source bridge='br0'/></interface>")
        )
        == []
    )


@pytest.mark.parametrize(
    ("active", "autostart", "fatal", "warnings"),
    [("yes", "yes", 0, 0), ("yes", "no", 0, 1), ("no", "yes", 1, 0)],
)
def test_a_network_must_be_active_and_should_start_with_the_host(
    host: Host, active: str, autostart: str, fatal: int, warnings: int
) -> None:
    host.virsh.networks["lan"] = NET.format(active=active, autostart=autostart)
    text = definition(FOLDER, devices="<interface type='network'><source network='lan'/></interface>")
    assert (len(host.fatal(text)), len(host.warnings(text))) == (fatal, warnings)


def test_an_image_in_a_drive_that_is_optional_is_only_a_warning(host: Host) -> None:
    drive = (
        "<disk type='file' device='cdrom'><source file='/iso/no.iso' startupPolicy='optional'/>"
        "<target dev='sda'/></disk>"
    )
    text = definition(FOLDER, devices=drive)
    assert host.fatal(text) == []
    assert "starts with an empty drive" in host.warnings(text)[0]


def test_a_machine_that_is_not_supported_is_named_with_libvirts_reason(host: Host) -> None:
    host.virsh.fail.add("domcapabilities")
    [sentence] = host.fatal(definition(FOLDER))
    assert "qemu machine pc (x86_64) is not supported" in sentence


def with_cpu(cpu: str) -> str:
    return definition(FOLDER).replace("<vcpu>", f"{cpu}<vcpu>")


@pytest.mark.parametrize(
    ("cpu", "sentence"),
    [
        ("<cpu mode='host-passthrough'/>", "CPU mode host-passthrough is not supported"),
        ("<cpu mode='custom'><model>Nonesuch</model></cpu>", "CPU model Nonesuch cannot run"),
    ],
)
def test_a_cpu_that_the_host_cannot_run_refuses(host: Host, cpu: str, sentence: str) -> None:
    [found] = host.fatal(with_cpu(cpu))
    assert sentence in found


def test_a_cpu_taken_from_the_host_is_a_warning_about_saved_states(host: Host) -> None:
    text = with_cpu("<cpu mode='host-model'/>")
    assert host.fatal(text) == []
    assert "same CPU" in host.warnings(text)[0]


def test_a_cpu_model_that_is_usable_is_not_blamed(host: Host) -> None:
    assert host.findings(with_cpu("<cpu mode='custom'><model>qemu64</model></cpu>")) == []


@pytest.mark.parametrize(("mib", "fatal", "warnings"), [(64, 0, 0), (700, 0, 1), (2048, 1, 0)])
def test_memory_that_is_missing_refuses_and_memory_in_use_warns(
    host: Host, mib: int, fatal: int, warnings: int
) -> None:
    text = definition(FOLDER).replace("'MiB'>64", f"'MiB'>{mib}")
    assert (len(host.fatal(text)), len(host.warnings(text))) == (fatal, warnings)


def test_huge_pages_must_be_set_aside(host: Host) -> None:
    text = definition(FOLDER).replace("<vcpu>", "<memoryBacking><hugepages/></memoryBacking><vcpu>")
    assert "huge pages" in host.fatal(text)[0]


def test_files_that_the_vm_boots_from_must_exist(host: Host) -> None:
    text = definition(
        FOLDER, os="<loader readonly='yes'>/usr/share/OVMF/OVMF.fd</loader><kernel>/boot/k</kernel>"
    )
    assert ["OVMF.fd" in host.fatal(text)[0], "/boot/k" in host.fatal(text)[1]] == [True, True]


def test_a_firmware_chosen_by_libvirt_must_be_installed(host: Host) -> None:
    text = definition(FOLDER).replace("<os>", "<os firmware='efi'>")
    assert "firmware efi is not installed" in host.fatal(text)[0]


def test_without_hardware_virtualization_a_kvm_machine_is_refused(host: Host) -> None:
    text = definition(FOLDER).replace("type='qemu'", "type='kvm'", 1)
    assert "no hardware virtualization" in host.fatal(text)[0]
    (host.root / "dev/kvm").touch()
    assert host.fatal(text) == []


def test_cpus_that_the_host_does_not_have_are_named(host: Host) -> None:
    text = definition(FOLDER).replace("<vcpu>", "<vcpu cpuset='0-3'>")
    assert "bound to CPUs 0-3, but there are only 2" in host.fatal(text)[0]
    assert highest_cpu("0-3,^2,8") == 8
    assert highest_cpu("") == -1


def test_another_vm_of_the_same_name_is_refused(host: Host) -> None:
    host.virsh.domains["web"] = Domain(definition(FOLDER, uuid="00000000-0000-4000-8000-000000000001"))
    assert "another VM is called web" in host.fatal(definition(FOLDER))[0]


def test_a_host_without_libvirt_is_said_once(host: Host) -> None:
    host.virsh.silent = True
    [finding] = host.findings(definition(FOLDER))
    assert finding.fatal
    assert "libvirt does not answer on it" in finding.sentence


def test_a_vm_without_agent_or_with_a_fixed_display_address_gets_a_warning(host: Host) -> None:
    text = definition(FOLDER, devices="<graphics type='vnc' listen='10.0.0.5'/>").replace(
        "guest_agent", "spice"
    )
    assert [("10.0.0.5" in s, "no guest agent" in s) for s in host.warnings(text)] == [
        (True, False),
        (False, True),
    ]


def test_the_resource_checks_the_definition_in_its_folder_or_one_given(
    virsh: FakeVirsh, folder: Path
) -> None:
    resource = LibvirtResource(
        module="VM1", node="b", folder=folder, domain="web", log=lambda _line: None, run=virsh
    )
    assert [finding for finding in resource.check_host() if finding.fatal] == []
    (folder / "vm/domain.xml").unlink()
    assert resource.check_host()[0].fatal
    assert resource.check_definition("nonsense")[0].fatal
