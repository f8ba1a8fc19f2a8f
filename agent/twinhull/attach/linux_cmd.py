"""Commands for devices, file systems and mounts on Linux, and what their output means. Pure: runs nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal, NamedTuple

FileSystem = Literal["ext4", "xfs"]
Device = tuple[int, int]
"""(major, minor)"""

LABEL = "twinhull"
EXPORT_FILE_SYSTEM = "fuse.twinhull"
UNMOUNT_FAILED = 32

_MOUNT_OPTIONS: dict[FileSystem, str] = {
    "ext4": "rw,nodev,nosuid,noatime,discard,errors=remount-ro",
    # nouuid: a leftover of this very file system, dead but still held by somebody, must not block a failover.
    "xfs": "rw,nodev,nosuid,noatime,discard,nouuid",
}

PACKAGES = {
    "losetup": "mount",
    "mount": "mount",
    "umount": "mount",
    "wipefs": "util-linux",
    "mkfs.ext4": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "sync": "coreutils",
    "dd": "coreutils",
}
"""Debian's package of each program that is run."""

_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of /proc/PID/mountinfo (proc(5)). `groups`: its optional fields (shared:N, master:N)."""

    id: int
    device: Device
    root: str
    mount_point: Path
    groups: frozenset[str]
    kind: str
    source: str


class LoopStatus(NamedTuple):
    """What backs a loop device: device and inode of the file (struct loop_info64)."""

    backing_device: Device
    backing_inode: int


class Signature(NamedTuple):
    """Something recognisable on a device."""

    kind: str
    offset_bytes: int


def connect(file: Path) -> list[str]:
    """Put a loop device on the file and say its name: direct I/O, so that nothing is cached twice."""
    return ["losetup", "--find", "--show", "--direct-io=on", "--sector-size", "512", "--", str(file)]


def disconnect(device: str) -> list[str]:
    """Free a loop device; one in use is freed by the kernel when its last user goes (autoclear)."""
    return ["losetup", "--detach", device]


def list_signatures(device: str) -> list[str]:
    """Show every signature; erases nothing."""
    return ["wipefs", "--no-act", "--json", device]


def parse_signatures(output: str) -> list[Signature]:
    """Output of `list_signatures`. Raises ValueError when it cannot be understood."""
    if not output.strip():
        return []
    found = json.loads(output)["signatures"]
    return [Signature(str(entry["type"]), int(str(entry["offset"]), 0)) for entry in found]


def make_file_system(file_system: FileSystem, device: str) -> list[str]:
    """Make a file system on a volume that reads as zeros: quick and thin.

    ext4 is told that the storage is zeroed, so that it writes no inode tables, now or later (1.6 % of the
    volume). xfs zeroes its log, which is therefore kept small. Nothing needs to be discarded.
    """
    if file_system == "ext4":
        options = ["-E", "nodiscard,assume_storage_prezeroed=1,root_owner=0:0"]
        return ["mkfs.ext4", "-q", "-b", "4096", "-m", "0", "-L", LABEL, *options, device]
    return ["mkfs.xfs", "-q", "-K", "-L", LABEL, "-l", "size=64m", device]


def check_file_system(file_system: FileSystem, device: str) -> list[str] | None:
    """Repair what can be repaired safely, before mounting. None for xfs: its mount replays the log."""
    return ["e2fsck", "-p", device] if file_system == "ext4" else None


def check_succeeded(exit_code: int) -> bool:
    """Whether e2fsck left a sound file system (0: clean, 1 and 2: corrected; e2fsck(8))."""
    return exit_code in (0, 1, 2)


def mount(file_system: FileSystem, device: str, folder: Path) -> list[str]:
    """Mount the device at the folder."""
    return ["mount", "-i", "-t", file_system, "-o", _MOUNT_OPTIONS[file_system], device, str(folder)]


def unmount(folder: Path, *, lazy: bool) -> list[str]:
    """Take the mount away; lazily: from the tree at once, from the rest when its last user goes."""
    return ["umount", "-i", *(["-l"] if lazy else []), str(folder)]


def sync_folder(folder: Path) -> list[str]:
    """Write back what the folder's file system holds in memory."""
    return ["sync", "-f", str(folder)]


def probe(device: str) -> list[str]:
    """Read one sector past the page cache: does anybody still answer behind this device?"""
    return ["dd", f"if={device}", "of=/dev/null", "bs=512", "count=1", "iflag=direct"]


def is_busy(exit_code: int, errors: str) -> bool:
    """Whether umount failed because somebody uses the mount."""
    return exit_code == UNMOUNT_FAILED and "busy" in errors


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts of a process, in order of mounting. Lines that are none are left out."""
    mounts = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 2:
            continue
        major, _, minor = fields[2].partition(":")
        point = Path(_unescape(fields[4]))
        groups = frozenset(fields[6:])
        device = (int(major), int(minor))
        mounts.append(
            Mount(int(fields[0]), device, _unescape(fields[3]), point, groups, rest[0], _unescape(rest[1]))
        )
    return mounts


def _unescape(field: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 8)), field)


def top_mount(mounts: list[Mount], folder: Path) -> Mount | None:
    """What is seen at the folder: the last that was mounted exactly there."""
    at_folder = [m for m in mounts if m.mount_point == folder]
    return at_folder[-1] if at_folder else None


def mount_below(mounts: list[Mount], folder: Path) -> Mount | None:
    """The mount on which the bare folder itself lies (the nearest above it)."""
    above = [m for m in mounts if m.mount_point in folder.parents]
    if not above:
        return None
    nearest = max(len(m.mount_point.parts) for m in above)
    return [m for m in above if len(m.mount_point.parts) == nearest][-1]


def copies_elsewhere(ours: list[Mount], others: list[Mount], device: Device) -> bool:
    """Whether another namespace has a mount of the device that would outlive an unmount of ours."""
    groups = {group.partition(":")[2] for m in ours if m.device == device for group in m.groups}
    return any(
        m.device == device and not groups & {group.partition(":")[2] for group in m.groups} for m in others
    )


def parse_loop_status(raw: bytes) -> LoopStatus:
    """The beginning of struct loop_info64 (linux/loop.h) as LOOP_GET_STATUS64 fills it."""
    device = int.from_bytes(raw[0:8], "little")
    inode = int.from_bytes(raw[8:16], "little")
    major = (device >> 8) & 0xFFF
    minor = (device & 0xFF) | ((device >> 12) & 0xFFF00)
    return LoopStatus((major, minor), inode)


def backing_matches(backing: str, file: Path) -> bool:
    """Whether a loop device's backing file, as sysfs shows it, is (or was) the export's file.

    When the export's mount was taken away, the kernel shows the path from the mount's own root.
    """
    shown = backing.strip().removesuffix(" (deleted)")
    return shown in (str(file), f"/{file.name}")


def parse_mount_id(fdinfo: str) -> int | None:
    """The mount that an open file lies on, from /proc/PID/fdinfo/FD (proc(5))."""
    for line in fdinfo.splitlines():
        name, _, value = line.partition(":")
        if name == "mnt_id":
            return int(value)
    return None


def parse_mapped_devices(maps: str) -> dict[Device, str]:
    """The devices of which files are mapped, with one path each, from /proc/PID/maps (proc(5))."""
    found: dict[Device, str] = {}
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[4] != "0":
            major, _, minor = fields[3].partition(":")
            found.setdefault((int(major, 16), int(minor, 16)), fields[5])
    return found


def parse_bound_sockets(unix: str, folder: Path) -> dict[str, str]:
    """Unix sockets bound inside the folder: inode -> path, from /proc/net/unix."""
    inside = f"{folder}/"
    found = {}
    for line in unix.splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7].startswith(inside):
            found[fields[6]] = fields[7]
    return found
