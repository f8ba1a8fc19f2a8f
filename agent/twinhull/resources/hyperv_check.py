"""What speaks against a machine of Hyper-V, in words: before it is protected, on a host, at its import. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PureWindowsPath

from .base import Finding
from .hyperv_parse import HostFacts, Incompatibility, Machine

SUBFOLDER = "vm"
"""Files in the root of a volume are unsupported (KB 2928127): all of a machine lies in this folder of it."""

_SHARED_SUFFIXES = (".vhds",)


def is_inside(path: str, folder: str) -> bool:
    """Whether a Windows path is the folder or lies below it; letters of either case are the same."""
    return (
        PureWindowsPath(path).is_relative_to(PureWindowsPath(folder))
        and ".." not in PureWindowsPath(path).parts
    )


def home_of(folder: str) -> str:
    """Where all files of a module's machine lie."""
    return str(PureWindowsPath(folder) / SUBFOLDER)


def outside(machine: Machine, folder: str) -> list[str]:
    """What of the machine does not lie in its place in the folder, one clause each."""
    home = home_of(folder)
    places = [
        ("its configuration", machine.now.configuration),
        ("the folder of its checkpoints", machine.snapshots),
        ("the folder of its smart paging file", machine.paging),
    ]
    places += [("the disk file", layer.path) for layer in machine.layers]
    return [f"{what} {path} lies outside of {home}" for what, path in places if not is_inside(path, home)]


def removable_media(machine: Machine, folder: str) -> list[str]:
    """ISO images and floppies of this host, which are ejected before the machine is protected."""
    return [path for path in (*machine.dvds, *machine.floppies) if path and not is_inside(path, folder)]


def refusals(machine: Machine) -> list[str]:
    """Why the machine cannot be mirrored with all that it uses, one clause each."""
    clauses = []
    for disk in machine.disks:
        if disk.number is not None:
            clauses.append(
                f"the disk at {disk.place} is the physical disk {disk.number} of this host; copy it into a VHDX"
            )
        elif not disk.path:
            clauses.append(f"the disk at {disk.place} has no file")
        elif disk.shared or disk.path.lower().endswith(_SHARED_SUFFIXES):
            clauses.append(f"the disk {disk.path} is shared with other VMs")
    clauses += [
        f"the disk file {layer.path} cannot be used: {layer.problem}"
        for layer in machine.layers
        if layer.problem
    ]
    clauses += [
        f"the VM uses {device} of this very host; remove it from the VM" for device in machine.devices
    ]
    if machine.replication not in ("", "Disabled"):
        clauses.append(f"Hyper-V Replica is on ({machine.replication}); end it for this VM")
    if machine.clustered:
        clauses.append("the VM belongs to a failover cluster; remove it there")
    if machine.shielded:
        clauses.append("the VM is shielded, so its guardians decide where it runs; that is not supported")
    clauses += [
        f"two disk files are called {name}, and both would go into one folder; rename one"
        for name in _doubles(PureWindowsPath(layer.path).name.lower() for layer in machine.layers)
    ]
    return clauses


def _doubles(names: Iterable[str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    return (name for name, count in seen.items() if count > 1)


def host_findings(machine: Machine, host: HostFacts, node: str) -> list[Finding]:
    """What a host lacks to run the machine.

    Args:
        machine: the machine, wherever it is registered.
        host: what the host offers.
        node: the host's node, for the sentences.
    """

    def finding(clause: str, *, fatal: bool = True) -> Finding:
        return Finding(fatal, f"Node {node}: {clause}.")

    found = []
    if machine.version not in host.versions:
        versions = ", ".join(host.versions) or "none"
        found.append(
            finding(
                f"its Hyper-V does not know the VM's configuration version {machine.version} (it knows {versions})"
            )
        )
    for adapter in machine.adapters:
        if adapter.switch and adapter.switch not in host.switches:
            found.append(
                finding(
                    f"there is no virtual switch {adapter.switch}, which the adapter {adapter.name} needs"
                )
            )
        elif not adapter.switch:
            found.append(finding(f"the adapter {adapter.name} is connected to no switch", fatal=False))
    if machine.processors > host.processors:
        found.append(finding(f"the VM wants {machine.processors} processors, there are {host.processors}"))
    if machine.memory_bytes > host.memory_bytes:
        wanted, there = machine.memory_bytes >> 20, host.memory_bytes >> 20
        found.append(finding(f"the VM wants {wanted} MiB of memory, the node has {there} MiB in all"))
    if machine.tpm and not set(machine.protectors) & set(host.guardians):
        found.append(
            finding(
                "none of its guardians can unlock the VM's virtual TPM; export the guardian's signing and encryption "
                "certificates with their private keys from the host where the VM was made, and import them here "
                "(certificate store 'Shielded VM Local Certificates')"
            )
        )
    return found


def name_findings(name: str, taken: Sequence[tuple[str, str]], identifier: str, node: str) -> list[Finding]:
    """Whether another machine of a host has the name or the identifier already.

    Args:
        taken: name and identifier of each machine of the host.
    """
    found = []
    for other_name, other in taken:
        if other.lower() == identifier.lower():
            found.append(
                Finding(
                    True, f"Node {node}: a VM with the identifier {identifier} is registered there already."
                )
            )
        elif other_name == name:
            found.append(Finding(False, f"Node {node}: another VM is called {name} there too."))
    return found


def room_findings(machine: Machine, volume_bytes: int) -> list[Finding]:
    """Whether the machine's files fit into a volume, now and when its thin disks have grown.

    Args:
        volume_bytes: the volume's size.
    """
    name, volume = machine.now.name, _gib(volume_bytes)
    now_bytes = sum(layer.file_bytes for layer in machine.layers)
    if now_bytes > volume_bytes:
        sentence = f"VM {name}: its files take {_gib(now_bytes)}, and the volume has {volume} in all."
        return [Finding(True, sentence)]
    grown_bytes = sum(disk.chain[0].size_bytes for disk in machine.disks if disk.chain)
    if grown_bytes > volume_bytes:
        sentence = (
            f"VM {name}: its disks may grow to {_gib(grown_bytes)}, and the volume has {volume} in all; a full volume "
            "pauses the VM."
        )
        return [Finding(False, sentence)]
    return []


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB"


def incompatibility_words(found: Sequence[Incompatibility]) -> str:
    """All that keeps a machine from being registered, as one text: what it is about, then Hyper-V's own words."""
    return "; ".join(_words(one) for one in found)


def _words(one: Incompatibility) -> str:
    said = one.message.rstrip(". ")
    subject = {
        "adapter": f"there is no virtual switch {one.what}: create it, named exactly so"
        if one.what
        else "a network adapter does not fit",
        "disk": f"the disk {one.what} cannot be opened",
        "dvd": f"the image {one.what} in a DVD drive is not there",
        "floppy": f"the floppy {one.what} is not there",
        "checkpoint": f"the checkpoint {one.what} has lost its configuration",
        "vm": f"the VM does not fit to this host (configuration version {one.version})"
        if one.version
        else "the VM does not fit to this host",
    }.get(one.kind, "something does not fit")
    return f"{subject} (Hyper-V {one.number}: {said})"


def is_access_denied(found: Sequence[Incompatibility]) -> bool:
    """Whether access was denied to a file: the number is in the message in every language."""
    return any("0x80070005" in one.message for one in found)


def own_address(identifier: str) -> str:
    """A MAC address for an adapter that never had one: of Microsoft's range 00-15-5D, the same on both nodes.

    Args:
        identifier: the adapter's own.
    """
    return "00155D" + hashlib.sha256(identifier.lower().encode()).hexdigest()[:6].upper()
