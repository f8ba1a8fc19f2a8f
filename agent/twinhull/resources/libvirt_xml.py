"""A libvirt domain definition: what we read in it and how its paths are rewritten. Pure functions.

The format: https://libvirt.org/formatdomain.html. A document type is refused: a definition has none, and
entities are how XML is made to read files or to fill the memory.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twinhull.errors import ResourceError

SIZE_LIMIT_CHARS = 4 * 1024 * 1024
REMOVABLE = frozenset({"cdrom", "floppy"})
_UNITS_KIB = {"b": 1 / 1024, "bytes": 1 / 1024, "kb": 1000 / 1024, "k": 1, "kib": 1, "mb": 1000**2 / 1024,
              "m": 1024, "mib": 1024, "gb": 1000**3 / 1024, "g": 1024**2, "gib": 1024**2,
              "tb": 1000**4 / 1024, "t": 1024**3, "tib": 1024**3}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Disk:
    """One `<disk>`.

    Args:
        target: the name that the definition gives it, such as `vda`.
        device: `disk`, `lun`, `cdrom` or `floppy`.
        type: `file`, `block`, `network`, `volume`, `dir`, `nvme`, `vhostuser`, ...
        source: path of its file or block device; None when it has none (an empty drive, a network disk).
        format: of the image: `raw`, `qcow2`, ...
        optional: whether the domain may start without its source.
    """

    target: str
    device: str
    type: str
    source: str | None
    format: str
    shareable: bool = False
    transient: bool = False
    optional: bool = False

    @property
    def removable(self) -> bool:
        """Whether it is a drive for media rather than a disk."""
        return self.device in REMOVABLE


@dataclass(frozen=True, slots=True)
class Interface:
    """One `<interface>`: its type, and the network, bridge or device that it is connected to."""

    type: str
    source: str | None


@dataclass(frozen=True, slots=True)
class Definition:
    """What we must know of a domain."""

    name: str
    uuid: str
    virtualization: str
    arch: str
    machine: str
    emulator: str | None
    memory_kib: int
    hugepages: bool
    cpu_mode: str | None
    cpu_model: str | None
    cpusets: tuple[str, ...]
    disks: tuple[Disk, ...]
    interfaces: tuple[Interface, ...]
    host_devices: tuple[str, ...]
    firmware: str | None
    loader: str | None
    nvram: str | None
    boot_files: tuple[str, ...]
    tpms: tuple[str, ...]
    shares: tuple[str, ...]
    random_devices: tuple[str, ...]
    listen_addresses: tuple[str, ...]
    secrets: tuple[str, ...]
    has_agent: bool
    has_arguments: bool
    on_poweroff: str


class _Builder(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002  (expat's call)
        raise ResourceError("The domain definition has a document type, which no definition of libvirt has.")


def parse_tree(text: str) -> ET.Element:
    """The element tree of XML that libvirt (or a file of ours) gave. Raises ResourceError."""
    if len(text) > SIZE_LIMIT_CHARS:
        raise ResourceError("The domain definition is larger than any definition of libvirt.")
    parser = ET.XMLParser(target=_Builder())  # noqa: S314  (document types are refused by the builder)
    try:
        parser.feed(text)
        root = parser.close()
    except ET.ParseError as error:
        raise ResourceError(
            f"The domain definition is not XML: {error}.", "Restore it from `virsh dumpxml`."
        ) from error
    if not isinstance(root, ET.Element):
        raise ResourceError("The domain definition is empty.", "Restore it from `virsh dumpxml`.")
    return root


def parse_definition(text: str) -> Definition:
    """What we must know of the domain that `text` defines. Raises ResourceError."""
    root = parse_tree(text)
    if root.tag != "domain":
        raise ResourceError(f"The domain definition begins with <{root.tag}> instead of <domain>.")
    kind = root.find("os/type")
    cpu = root.find("cpu")
    name = _text(root, "name")
    uuid = _text(root, "uuid")
    if not name or not uuid:
        raise ResourceError("The domain definition lacks a name or a uuid.", "Take it from `virsh dumpxml`.")
    return Definition(
        name=name,
        uuid=uuid.lower(),
        virtualization=root.get("type", "kvm"),
        arch=_attribute(kind, "arch") or "x86_64",
        machine=_attribute(kind, "machine") or "pc",
        emulator=_text(root, "devices/emulator"),
        memory_kib=_memory_kib(root.find("memory")),
        hugepages=root.find("memoryBacking/hugepages") is not None,
        cpu_mode=None if cpu is None else cpu.get("mode", "custom"),
        cpu_model=_text(root, "cpu/model"),
        cpusets=_cpusets(root),
        disks=tuple(_disk(element) for element in root.iterfind("devices/disk")),
        interfaces=tuple(_interface(element) for element in root.iterfind("devices/interface")),
        host_devices=_host_devices(root),
        firmware=_attribute(root.find("os"), "firmware"),
        loader=_text(root, "os/loader"),
        nvram=_nvram(root),
        boot_files=tuple(path for tag in ("kernel", "initrd", "dtb") if (path := _text(root, f"os/{tag}"))),
        tpms=tuple(element.get("type", "") for element in root.iterfind("devices/tpm/backend")),
        shares=tuple(
            source.get("dir") or source.get("socket") or ""
            for source in root.iterfind("devices/filesystem/source")
        ),
        random_devices=tuple(
            element.text.strip()
            for element in root.iterfind("devices/rng/backend[@model='random']")
            if element.text
        ),
        listen_addresses=_listen_addresses(root),
        secrets=tuple(
            element.get("uuid", "").lower()
            for element in root.iterfind("devices/disk//encryption/secret")
            if element.get("uuid")
        ),
        has_agent=any(
            element.get("name") == "org.qemu.guest_agent.0"
            for element in root.iterfind("devices/channel/target")
        ),
        has_arguments=any(_local(element.tag) == "commandline" for element in root),
        on_poweroff=_text(root, "on_poweroff") or "destroy",
    )


def agent_connected(text: str) -> bool:
    """Whether the guest agent's channel of a live definition is connected."""
    targets = parse_tree(text).iterfind("devices/channel/target[@name='org.qemu.guest_agent.0']")
    return any(target.get("state") == "connected" for target in targets)


def outside(definition: Definition, folder: Path) -> list[str]:
    """What the definition needs that does not lie in the folder, one clause each; symlinks are followed."""
    clauses = []
    for disk in definition.disks:
        if disk.removable:
            continue
        if disk.type != "file" or disk.source is None:
            clauses.append(f"its disk {disk.target} is not a file but of type {disk.type}")
        elif not is_inside(disk.source, folder):
            clauses.append(f"its disk {disk.target} ({disk.source}) does not lie in the folder {folder}")
    if definition.nvram is not None and not is_inside(definition.nvram, folder):
        clauses.append(f"its firmware variables ({definition.nvram}) do not lie in the folder {folder}")
    return clauses


def is_inside(path: str, folder: Path) -> bool:
    """Whether an absolute path lies in the folder once symbolic links are followed."""
    return path.startswith("/") and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def rewrite(text: str, paths: Mapping[str, str], *, formats: Mapping[str, str] | None = None) -> str:
    """The definition with its files moved.

    Args:
        text: the definition.
        paths: old path to new path, of disks, NVRAM, kernel, initrd and dtb; block devices become files.
        formats: old path to the format of its new image, where that changed.

    A medium left outside becomes optional, so that a missing CD-ROM image never keeps a VM down; a
    shutdown by the guest ends the domain (`on_poweroff`), as a stop relies on it.
    """
    root = parse_tree(text)
    for disk in root.iterfind("devices/disk"):
        _rewrite_disk(disk, paths, formats or {})
    for tag in ("nvram", "kernel", "initrd", "dtb"):
        element = root.find(f"os/{tag}")
        if element is None:
            continue
        source = element.find("source")
        if element.text and element.text.strip() in paths:
            element.text = paths[element.text.strip()]
        elif source is not None and source.get("file") in paths:
            source.set("file", paths[source.get("file", "")])
    poweroff = root.find("on_poweroff")
    if poweroff is not None:
        poweroff.text = "destroy"
    return ET.tostring(root, encoding="unicode") + "\n"


def _rewrite_disk(disk: ET.Element, paths: Mapping[str, str], formats: Mapping[str, str]) -> None:
    source = disk.find("source")
    if source is None:
        return
    old = source.get("file") or source.get("dev") or ""
    if old in paths:
        disk.set("type", "file")
        source.attrib.pop("dev", None)
        source.set("file", paths[old])
        for chain in disk.findall("backingStore"):
            disk.remove(chain)
        driver = disk.find("driver")
        if driver is not None and old in formats:
            driver.set("type", formats[old])
    elif disk.get("device") in REMOVABLE and source.get("file"):
        source.set("startupPolicy", "optional")


def _disk(element: ET.Element) -> Disk:
    source = element.find("source")
    driver = element.find("driver")
    return Disk(
        target=_attribute(element.find("target"), "dev") or "?",
        device=element.get("device", "disk"),
        type=element.get("type", "file"),
        source=None if source is None else source.get("file") or source.get("dev"),
        format=_attribute(driver, "type") or "raw",
        shareable=element.find("shareable") is not None,
        transient=element.find("transient") is not None,
        optional=_attribute(source, "startupPolicy") in {"optional", "requisite"},
    )


def _interface(element: ET.Element) -> Interface:
    source = element.find("source")
    if source is None:
        return Interface(element.get("type", ""), None)
    return Interface(
        element.get("type", ""), source.get("network") or source.get("bridge") or source.get("dev")
    )


def _host_devices(root: ET.Element) -> tuple[str, ...]:
    found = [f"{element.get('type', 'host')} device" for element in root.iterfind("devices/hostdev")]
    found += ["network card" for _ in root.iterfind("devices/interface[@type='hostdev']")]
    return tuple(found)


def _nvram(root: ET.Element) -> str | None:
    source = root.find("os/nvram/source")
    return _text(root, "os/nvram") or (None if source is None else source.get("file"))


def _listen_addresses(root: ET.Element) -> tuple[str, ...]:
    found = {element.get("listen") for element in root.iterfind("devices/graphics")}
    found |= {element.get("address") for element in root.iterfind("devices/graphics/listen")}
    return tuple(sorted(address for address in found if address))


def _cpusets(root: ET.Element) -> tuple[str, ...]:
    elements = [*root.iterfind("vcpu"), *root.iterfind("cputune/*")]
    return tuple(value for element in elements if (value := element.get("cpuset")))


def _memory_kib(element: ET.Element | None) -> int:
    if element is None or not element.text:
        return 0
    unit = element.get("unit", "KiB").lower()
    if unit not in _UNITS_KIB or not element.text.strip().isdigit():
        raise ResourceError(f"The domain definition gives its memory as {element.text} {unit}.")
    return int(int(element.text) * _UNITS_KIB[unit])


def _text(root: ET.Element, path: str) -> str | None:
    text = root.findtext(path)
    return text.strip() or None if text else None


def _attribute(element: ET.Element | None, name: str) -> str | None:
    return None if element is None else element.get(name)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
