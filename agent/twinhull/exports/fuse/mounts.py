"""FUSE mounts of this host that belong to an export: found, aborted and taken away."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from ...errors import AttachError
from . import syscalls

FILE_SYSTEM = "fuse.twinhull"
CONTROL_DIRECTORY = Path("/sys/fs/fuse/connections")

_OCTAL = re.compile(r"\\([0-7]{3})")


class FuseMount(NamedTuple):
    """One FUSE mount; `connection` is the kernel's number of it under /sys/fs/fuse/connections."""

    mount_point: str
    file_system: str
    connection: int


def parse_fuse_mounts(mountinfo: str) -> list[FuseMount]:
    """The FUSE mounts in the text of /proc/PID/mountinfo (proc(5)), in order of mounting."""
    found = []
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kind = left.split(), right.split(" ", 1)[0]
        if separator and len(fields) >= 5 and (kind == "fuse" or kind.startswith("fuse.")):
            mount_point = _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), fields[4])
            found.append(FuseMount(mount_point, kind, int(fields[2].partition(":")[2])))
    return found


def mounted_at(mount_dir: Path) -> list[FuseMount]:
    """Every mount of ours that this process sees at this directory. Never touches the mount itself."""
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    wanted = str(absolute(mount_dir))
    return [m for m in parse_fuse_mounts(text) if m.mount_point == wanted and m.file_system == FILE_SYSTEM]


def absolute(directory: Path) -> Path:
    """The path as the kernel names it. Its last part is not looked at: a dead mount there gives ENOTCONN."""
    return directory.parent.resolve() / directory.name


def abort_stale(mount_dir: Path) -> list[str]:
    """Take away what a dead or hung process left mounted at an export's directory.

    Waits for nobody: the connection is aborted first, so that whatever hangs on it fails, then unmounted.
    Returns a sentence for each mount that was freed. Raises AttachError when one cannot be unmounted.
    """
    freed = []
    for stale in reversed(mounted_at(mount_dir)):
        aborted = abort_connection(stale.connection)
        try:
            syscalls.unmount_lazily(stale.mount_point)
        except OSError as error:
            raise AttachError(
                f"The mount at {mount_dir} that a dead worker left cannot be unmounted: {error.strerror}.",
                f"Run `umount -l {mount_dir}` as root and look for what uses it.",
            ) from error
        how = "aborted and unmounted" if aborted else "unmounted"
        freed.append(f"FUSE connection {stale.connection} at {mount_dir} {how}")
    return freed


def abort_connection(connection: int) -> bool:
    """Make every request of a connection fail, also when its server hangs. False when that cannot be done."""
    if _write_abort(CONTROL_DIRECTORY, connection):
        return True
    directory = tempfile.mkdtemp(prefix="twinhull-fusectl-")
    try:
        syscalls.mount("none", directory, "fusectl", syscalls.MS_NOSUID | syscalls.MS_NODEV, "")
    except OSError:
        return False
    else:
        done = _write_abort(Path(directory), connection)
        syscalls.unmount_lazily(directory)
        return done
    finally:
        Path(directory).rmdir()


def _write_abort(control: Path, connection: int) -> bool:
    try:
        descriptor = os.open(control / str(connection) / "abort", os.O_WRONLY)
    except FileNotFoundError:
        return False
    try:
        os.write(descriptor, b"1")
    finally:
        os.close(descriptor)
    return True
