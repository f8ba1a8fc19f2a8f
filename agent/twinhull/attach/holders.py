"""Who holds a mount: found in /proc without ever touching the file system in question."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .linux_cmd import (
    Device,
    Mount,
    copies_elsewhere,
    parse_bound_sockets,
    parse_mapped_devices,
    parse_mount_id,
    parse_mountinfo,
)

PROC = Path("/proc")
SYS_BLOCK = Path("/sys/block")


class Holder(NamedTuple):
    """One reason why a mount is busy; `pid` is 0 for the kernel itself."""

    pid: int
    name: str
    how: str

    def __str__(self) -> str:
        who = f"{self.name} (process {self.pid})" if self.pid else self.name
        return f"{who}: {self.how}"


def _read(path: Path) -> str:
    """A file of /proc or /sys; empty when its process has gone or it may not be seen."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def own_mounts() -> list[Mount]:
    """The mounts that this process sees."""
    return parse_mountinfo((PROC / "self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))


def processes() -> list[int]:
    """Every process that this one can see."""
    return sorted(int(entry.name) for entry in os.scandir(PROC) if entry.name.isdigit())


def find_holders(device: Device, folder: Path, block_device: str = "") -> list[Holder]:
    """Everybody who keeps the file system on `device`, mounted at `folder`, from being unmounted.

    Args:
        block_device: path of the block device, to find who has it open itself.
    """
    sockets = parse_bound_sockets(_read(PROC / "net/unix"), folder)
    ours = own_mounts()
    found = list(_held_by_kernel(device, folder, ours))
    for pid in processes():
        mounts = parse_mountinfo(_read(PROC / str(pid) / "mountinfo"))
        how = next(_uses(pid, device, mounts, sockets, block_device), "")
        if how:
            found.append(Holder(pid, _name(pid), how))
    return found + find_copies(device, ours, {holder.pid for holder in found})


def find_copies(device: Device, ours: list[Mount], known: set[int] | None = None) -> list[Holder]:
    """Processes whose mount namespace holds a copy of the mount that would survive an unmount of ours."""
    own_namespace = _link(PROC / "self/ns/mnt")
    seen = {own_namespace, ""}
    found = []
    for pid in processes():
        namespace = _link(PROC / str(pid) / "ns/mnt")
        if namespace in seen or pid in (known or ()):
            continue
        seen.add(namespace)
        others = parse_mountinfo(_read(PROC / str(pid) / "mountinfo"))
        if copies_elsewhere(ours, others, device):
            found.append(Holder(pid, _name(pid), "keeps a copy of the mount in its own mount namespace"))
    return found


def _name(pid: int) -> str:
    return _read(PROC / str(pid) / "comm").strip() or "?"


def _uses(
    pid: int, device: Device, mounts: list[Mount], sockets: dict[str, str], block_device: str
) -> Iterator[str]:
    """How a process uses the device, most telling first."""
    process = PROC / str(pid)
    ids = {m.id for m in mounts if m.device == device}
    points = [str(m.mount_point) for m in mounts if m.device == device]
    try:
        descriptors = [entry.name for entry in os.scandir(process / "fd")]
    except OSError:
        descriptors = []
    for descriptor in descriptors:
        target = _link(process / "fd" / descriptor)
        if ids and parse_mount_id(_read(process / "fdinfo" / descriptor)) in ids:
            yield f"has {target} open"
        if block_device and target == block_device:
            yield f"has the device {target} open"
        if target.startswith("socket:[") and target[8:-1] in sockets:
            yield f"listens on {sockets[target[8:-1]]}"
    for link, words in (("cwd", "works in"), ("root", "has its root at"), ("exe", "runs")):
        target = _link(process / link)
        if any(target == point or target.startswith(f"{point}/") for point in points):
            yield f"{words} {target}"
    mapped = parse_mapped_devices(_read(process / "maps")).get(device) if ids else None
    if mapped:
        yield f"has {mapped} mapped"


def _held_by_kernel(device: Device, folder: Path, ours: list[Mount]) -> Iterator[Holder]:
    inside = f"{folder}/"
    for mount in ours:
        if str(mount.mount_point).startswith(inside):
            yield Holder(0, "another mount", f"{mount.source} is mounted at {mount.mount_point}")
        elif mount.device == device and mount.mount_point != folder:
            yield Holder(0, "another mount", f"the same device is mounted at {mount.mount_point} too")
    for backing in sorted(SYS_BLOCK.glob("loop*/loop/backing_file")):
        file = _read(backing).strip()
        if file.startswith(inside):
            yield Holder(0, f"/dev/{backing.parts[-3]}", f"is a loop device on {file}")
    for line in _read(PROC / "swaps").splitlines()[1:]:
        if line.startswith(inside):
            yield Holder(0, "the kernel", f"swaps to {line.split()[0]}")
