"""Whether a directory is fit to hold volumes: judged before anything is made in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import StorageError

_GOOD = frozenset({"ext4", "ntfs", "xfs"})
_COPY_ON_WRITE = frozenset({"bcachefs", "btrfs", "refs", "zfs"})
_SHARED = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2",
     "orangefs", "smb3", "smbfs", "virtiofs", "vboxsf"}
)  # fmt: skip
_MEMORY = frozenset({"ramfs", "tmpfs"})
_NO_HOLES = frozenset({"exfat", "fat", "fat32", "hfsplus", "iso9660", "msdos", "squashfs", "udf", "vfat"})
_UNSAFE_OPTIONS = frozenset({"barrier=0", "nobarrier"})


_WINDOWS_READ_ONLY = 0x80000  # FILE_READ_ONLY_VOLUME
_WINDOWS_CLUSTER_BYTES = 64 << 10


class Ground(NamedTuple):
    """What a directory stands on.

    Args:
        kind: type of the file system.
        options: of the mount and of the file system.
        backing: the file behind the device, when it is a loop device.
    """

    kind: str
    options: frozenset[str]
    backing: Path | None


Probe = Callable[[Path], Ground]


class Objection(NamedTuple):
    """One thing that speaks against a directory. `fatal`: it is refused."""

    fatal: bool
    sentence: str


def platform_probe(path: Path) -> Ground:
    """Ask this operating system. Raises StorageError."""
    if sys.platform == "linux":
        from .linux import loop_backing, mount_of

        mount = mount_of(path)
        return Ground(mount.kind, mount.options, loop_backing(mount.source))
    if sys.platform == "win32":
        from ..windows.files import cluster_and_sector_bytes, file_system

        there = next(place for place in (path, *path.parents) if place.exists())
        try:
            name, local, flags = file_system(there)
            cluster_bytes, _ = cluster_and_sector_bytes(there)
        except OSError as error:
            raise StorageError(f"The disk of {path} cannot be looked at: {error}.") from error
        options = {"ro"} if flags & _WINDOWS_READ_ONLY else set()
        options |= {"small clusters"} if cluster_bytes < _WINDOWS_CLUSTER_BYTES else set()
        return Ground(name.lower() if local else "smbfs", frozenset(options), None)
    raise StorageError(f"Volumes are not supported on {sys.platform}.", "Use a Linux or Windows host.")


def objections(
    path: Path,
    *,
    folders: Iterable[Path] = (),
    allow_memory: bool = False,
    probe: Probe = platform_probe,
) -> list[Objection]:
    """What speaks against holding volumes in a directory.

    Args:
        path: the directory; it need not exist yet.
        folders: the folders of all modules of this node: a volume must not lie on a volume.
        allow_memory: accept a file system in memory (tests).
        probe: asks the operating system.

    Raises:
        StorageError: the operating system could not be asked.
    """
    found = []
    real = path.resolve()
    for folder in folders:
        if real.is_relative_to(folder.resolve()):
            found.append(
                Objection(True, f"{path} lies in the protected folder {folder}: a volume cannot hold itself.")
            )
    ground = probe(path)
    found += _of_kind(path, ground.kind, allow_memory=allow_memory)
    if "ro" in ground.options:
        found.append(Objection(True, f"{path} is on a file system that is mounted read-only."))
    if "small clusters" in ground.options:
        found.append(
            Objection(
                False,
                f"{path} is on a disk with clusters of less than 64 KiB: a volume in many pieces may meet a limit of "
                "NTFS (error 665). Format the data disk with 64 KiB clusters and large file records (/A:64K /L).",
            )
        )
    for option in sorted(ground.options & _UNSAFE_OPTIONS):
        found.append(
            Objection(
                True, f"{path} is mounted with {option}: what is flushed would not survive a power loss."
            )
        )
    if ground.backing is not None:
        found += _of_backing(path, ground.backing, probe(ground.backing).kind)
    return found


def _of_kind(path: Path, kind: str, *, allow_memory: bool) -> list[Objection]:
    """What speaks against this type of file system."""
    if kind in _GOOD or (kind in _MEMORY and allow_memory):
        return []
    if kind in _MEMORY:
        return [Objection(True, f"{path} is in memory ({kind}): it would be lost with the power.")]
    if kind in _SHARED or (kind.startswith("fuse") and kind != "fuseblk"):
        return [Objection(True, f"{path} is on {kind}: a volume needs a disk of this node's own.")]
    if kind in _NO_HOLES:
        return [Objection(True, f"{path} is on {kind}, which cannot hold large sparse files.")]
    if kind in _COPY_ON_WRITE:
        return [
            Objection(
                False,
                f"{path} is on {kind}, which writes to a new place each time: a full disk could keep this "
                "node from recording its state. Use ext4 or xfs.",
            )
        ]
    return [Objection(False, f"{path} is on {kind}, which was never tested. Use ext4 or xfs.")]


def _of_backing(path: Path, backing: Path, kind: str) -> list[Objection]:
    """What speaks against a loop device over this file."""
    if kind.startswith("fuse"):
        return [
            Objection(
                True,
                f"{path} is on a loop device over {backing}, a file of a FUSE server ({kind}): a volume "
                "there could wait for itself.",
            )
        ]
    return [Objection(False, f"{path} is on a loop device over the file {backing}: use a disk of its own.")]


def require_fit(
    path: Path,
    *,
    folders: Iterable[Path] = (),
    allow_memory: bool = False,
    probe: Probe = platform_probe,
) -> list[str]:
    """Refuse a directory that is not fit, else return the warnings. Arguments as for `objections`.

    Raises:
        StorageError: it is not fit; the message says why.
    """
    found = objections(path, folders=folders, allow_memory=allow_memory, probe=probe)
    fatal = [objection.sentence for objection in found if objection.fatal]
    if fatal:
        raise StorageError(
            " ".join(fatal), "Choose a directory on a local ext4, xfs or NTFS disk of this node."
        )
    return [objection.sentence for objection in found]
