"""The bare folder: an empty directory of this host's own disk that takes no writes while bare."""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from ..errors import FolderNotOursError

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IMMUTABLE_FL = 0x10

DENIED_MODE = 0o000
OPEN_MODE = 0o755


class FolderFacts(NamedTuple):
    """What was found at a folder's path, without following a link at its end.

    Args:
        kind: "missing", "directory", "link" or "other".
        entries: names in it, at most a few.
        resolved: the path with every link on the way to it replaced.
    """

    kind: str
    entries: tuple[str, ...]
    resolved: Path


def look(folder: Path) -> FolderFacts:
    """What is at the path now. Raises OSError when it cannot be looked at."""
    resolved = folder.parent.resolve() / folder.name
    try:
        mode = folder.lstat().st_mode
    except FileNotFoundError:
        return FolderFacts("missing", (), resolved)
    if stat.S_ISLNK(mode):
        return FolderFacts("link", (), resolved)
    if not stat.S_ISDIR(mode):
        return FolderFacts("other", (), resolved)
    with os.scandir(folder) as entries:
        names = sorted(entry.name for _, entry in zip(range(5), entries, strict=False))
    return FolderFacts("directory", tuple(names), resolved)


def objection(module: str, folder: Path, facts: FolderFacts) -> tuple[str, str] | None:
    """Why a path cannot be a module's bare folder, as (what, remedy); None when it can. Pure."""
    if not folder.is_absolute() or ".." in folder.parts or folder == Path("/"):
        return (
            f"The folder {folder} of module {module} is no absolute path of a directory.",
            "Name it in full, for example /srv/twinhull/VM1.",
        )
    if facts.kind == "link":
        return (
            f"The folder {folder} of module {module} is a symbolic link.",
            f"Name its target: {facts.resolved}.",
        )
    if facts.kind == "other":
        return (
            f"The folder {folder} of module {module} is no directory.",
            "Move it away or choose another path.",
        )
    if facts.resolved != folder:
        return (
            f"The way to the folder {folder} of module {module} leads over a symbolic link.",
            f"Name the real path: {facts.resolved}.",
        )
    if facts.entries:
        shown = ", ".join(facts.entries[:3]) + (", ..." if len(facts.entries) > 3 else "")
        return (
            f"The folder {folder} of module {module} is not empty (it holds {shown}).",
            "Move what is in it away, or move it into the module with `twinhull protect`.",
        )
    return None


def overlap(folders: dict[str, Path]) -> list[str]:
    """A sentence for each two modules of which one's folder is, or lies in, the other's. Pure."""
    found = []
    ordered = sorted(folders.items())
    for index, (first, path) in enumerate(ordered):
        for second, other in ordered[index + 1 :]:
            if path == other or path in other.parents or other in path.parents:
                found.append(f"The folders of modules {first} ({path}) and {second} ({other}) overlap.")
    return found


def check_folder(module: str, folder: Path) -> None:
    """Whether the path can be the module's folder (missing, or an empty real directory). Changes nothing.

    Raises FolderNotOursError.
    """
    try:
        facts = look(folder)
    except OSError as error:
        raise FolderNotOursError(
            f"The folder {folder} of module {module} cannot be looked at: {error.strerror}.",
            "If something dead is mounted there, `umount -l` it.",
        ) from error
    found = objection(module, folder, facts)
    if found is not None:
        raise FolderNotOursError(*found)


def prepare_folder(module: str, folder: Path) -> list[str]:
    """Make the bare folder if it is missing and let it deny writes (mode 000, immutable). Idempotent.

    Returns a sentence for each protection that its file system lacks. Raises FolderNotOursError.
    """
    check_folder(module, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _immutable(folder):
            folder.chmod(DENIED_MODE)
            _set_immutable(folder, wanted=True)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL):
            return [
                f"The bare folder {folder} of module {module} cannot be made immutable ({error.strerror}): "
                "root could write into it while nothing is mounted there."
            ]
        raise FolderNotOursError(
            f"The folder {folder} of module {module} cannot be prepared: {error.strerror}.",
            "Make its parent directory writable for root.",
        ) from error
    return []


def release_folder(folder: Path) -> None:
    """Let the bare folder take writes again (the module is no longer protected). Idempotent.

    Raises OSError.
    """
    if look(folder).kind != "directory":
        return
    if _immutable(folder):
        _set_immutable(folder, wanted=False)
    folder.chmod(OPEN_MODE)


if sys.platform == "win32":
    from ..windows import acl

    def _immutable(folder: Path) -> bool:
        return acl.denies_writing(folder)

    def _set_immutable(folder: Path, *, wanted: bool) -> None:
        acl.set_dacl(folder, acl.DENIED if wanted else acl.PRIVATE)

else:
    import fcntl

    def _flags(descriptor: int) -> int:
        answer = fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, bytes(8))
        return int(struct.unpack("=I", answer[:4])[0])

    def _immutable(folder: Path) -> bool:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            return bool(_flags(descriptor) & FS_IMMUTABLE_FL)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
                return False
            raise
        finally:
            os.close(descriptor)

    def _set_immutable(folder: Path, *, wanted: bool) -> None:
        """chattr +i or -i (ioctl_iflags(2))."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            flags = _flags(descriptor)
            flags = flags | FS_IMMUTABLE_FL if wanted else flags & ~FS_IMMUTABLE_FL
            fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("=Q", flags))
        finally:
            os.close(descriptor)
