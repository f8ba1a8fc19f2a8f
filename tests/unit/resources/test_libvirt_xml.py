"""What is read out of a definition, and how its paths are rewritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.resources.conftest import CAPTURED, definition

from twinhull.errors import ResourceError
from twinhull.resources.libvirt_xml import agent_connected, is_inside, outside, parse_definition, rewrite

FOLDER = Path("/srv/twinhull/VM1")


def test_a_definition_captured_from_libvirt_is_read() -> None:
    read = parse_definition((CAPTURED / "live.xml").read_text())
    assert (read.name, read.virtualization, read.arch, read.machine) == (
        "web",
        "qemu",
        "x86_64",
        "pc-i440fx-7.2",
    )
    assert read.memory_kib == 65536
    assert read.emulator == "/usr/bin/qemu-system-x86_64"
    assert (read.cpu_mode, read.cpu_model) == ("custom", "qemu64")
    [disk] = read.disks
    assert (disk.target, disk.source, disk.format) == ("vda", f"{FOLDER}/disk.qcow2", "qcow2")
    assert read.has_agent
    assert read.listen_addresses == ("127.0.0.1",)
    assert outside(read, FOLDER) == []


def test_the_agents_connection_is_read_of_a_live_definition() -> None:
    text = (CAPTURED / "live.xml").read_text()
    assert not agent_connected(text)
    assert agent_connected(text.replace("state='disconnected'", "state='connected'"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not xml",
        "<domain><name>a</name>",
        "<network><name>a</name></network>",
        "<domain><name>a</name></domain>",
        "<domain><name>a</name><uuid>b</uuid><memory unit='parsec'>1</memory></domain>",
        '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><domain><name>&x;</name></domain>',
        '<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><domain><name>&b;</name></domain>',
        "<domain>" + " " * (5 * 1024 * 1024) + "</domain>",
    ],
)
def test_what_is_no_definition_is_refused(text: str) -> None:
    with pytest.raises(ResourceError):
        parse_definition(text)


@pytest.mark.parametrize(
    ("unit", "number", "kib"),
    [("KiB", 1024, 1024), ("MiB", 2, 2048), ("GiB", 1, 1048576), ("b", 1048576, 1024)],
)
def test_memory_is_read_in_every_unit(unit: str, number: int, kib: int) -> None:
    text = definition(FOLDER).replace("<memory unit='MiB'>64", f"<memory unit='{unit}'>{number}")
    assert parse_definition(text).memory_kib == kib


def test_everything_outside_of_the_folder_is_named() -> None:
    devices = (
        "<disk type='block' device='disk'><source dev='/dev/sdz'/><target dev='vdb'/></disk>"
        "<disk type='network' device='disk'><source protocol='nbd' name='x'/><target dev='vdc'/></disk>"
        "<disk type='file' device='disk'><source file='/srv/twinhull/VM10/x'/><target dev='vdd'/></disk>"
        "<disk type='file' device='disk'><source file='/srv/twinhull/VM1/../x'/><target dev='vde'/></disk>"
        "<disk type='file' device='cdrom'><source file='/iso/a.iso'/><target dev='sda'/></disk>"
    )
    text = definition(FOLDER, devices=devices, os="<nvram>/var/lib/libvirt/qemu/nvram/web_VARS.fd</nvram>")
    clauses = outside(parse_definition(text), FOLDER)
    named = [
        next(word for word in ("vda", "vdb", "vdc", "vdd", "vde", "sda", "nvram") if word in c)
        for c in clauses
    ]
    assert named == ["vdb", "vdc", "vdd", "vde", "nvram"]


def test_a_relative_path_lies_nowhere() -> None:
    assert not is_inside("disk.img", Path("/"))
    assert is_inside("/srv/twinhull/VM1/a/b", FOLDER)
    assert not is_inside("/srv/twinhull/VM1", Path("/srv/twinhull/VM10"))


def test_rewriting_moves_files_and_leaves_the_rest() -> None:
    devices = (
        "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg/lv' index='2'/>"
        "<backingStore/><target dev='vdb'/></disk>"
        "<disk type='file' device='cdrom'><source file='/iso/a.iso'/><target dev='sda'/></disk>"
        "<serial type='pty'/>"
    )
    text = definition(
        Path("/old"), devices=devices, os="<nvram template='/t'>/old/v.fd</nvram><kernel>/old/k</kernel>"
    )
    text = text.replace(
        "<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' "
    ).replace("</domain>", "<qemu:commandline><qemu:arg value='-S'/></qemu:commandline></domain>")
    paths = {
        "/old/disk.img": "/new/disk.img",
        "/dev/vg/lv": "/new/lv",
        "/old/v.fd": "/new/vm/v.fd",
        "/old/k": "/new/k",
    }
    read = parse_definition(rewrite(text, paths))
    assert [(disk.type, disk.source, disk.optional) for disk in read.disks] == [
        ("file", "/new/disk.img", False),
        ("file", "/new/lv", False),
        ("file", "/iso/a.iso", True),
    ]
    assert read.nvram == "/new/vm/v.fd"
    assert read.boot_files == ("/new/k",)
    assert read.on_poweroff == "destroy"
    assert read.has_arguments
    assert read.uuid == parse_definition(text).uuid


def test_rewriting_back_gives_the_paths_of_before() -> None:
    text = definition(Path("/old"))
    there = rewrite(text, {"/old/disk.img": "/new/disk.img"})
    back = rewrite(there, {"/new/disk.img": "/old/disk.img"})
    assert parse_definition(back).disks == parse_definition(text).disks
