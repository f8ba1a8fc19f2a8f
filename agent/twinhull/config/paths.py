"""Absolute paths of the two platforms: a configuration says which one it is for by how its folders are written."""

from __future__ import annotations

import enum
import re
import sys
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

if sys.platform == "win32":
    from twinhull.windows.folders import program_data


class Platform(enum.Enum):
    """What the hosts of a cluster are; both are the same."""

    LINUX = "Linux"
    WINDOWS = "Windows"


HERE = Platform.WINDOWS if sys.platform == "win32" else Platform.LINUX
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_FORBIDDEN = re.compile(r'[<>:"|?*]')
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def platform_of(path: PurePath) -> Platform:
    """Whose path this is."""
    return Platform.WINDOWS if isinstance(path, PureWindowsPath) else Platform.LINUX


def read_absolute_path(text: str) -> PurePath:
    """An absolute path without `.` and `..` and without a separator at its end, or ValueError.

    Args:
        text: `/srv/VM1`, or `D:\\VM1` (slashes are taken too, and become backslashes).
    """
    if any(ord(letter) < 32 for letter in text):
        raise ValueError("it holds a control character")
    if _DRIVE.match(text):
        return _read_windows_path(text)
    if not text.startswith("/"):
        begin = "a drive, as in 'D:\\Twinhull'" if HERE is Platform.WINDOWS else "'/'"
        raise ValueError(f"'{text}' is no absolute path: begin with {begin}")
    if "//" in text or any(part in (".", "..") for part in text.split("/")):
        raise ValueError(f"'{text}' must be written without '//', '.' and '..'")
    return PurePosixPath(text.rstrip("/") or "/")


def _read_windows_path(text: str) -> PureWindowsPath:
    """Source: Naming Files, Paths, and Namespaces (learn.microsoft.com, fileio/naming-a-file)."""
    parts = text[3:].replace("/", "\\").rstrip("\\").split("\\")
    if parts == [""]:
        return PureWindowsPath(text[0].upper() + ":\\")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"'{text}' must be written without '\\\\', '.' and '..' after the drive")
    for part in parts:
        if _FORBIDDEN.search(part) or _DEVICE.fullmatch(part) or part[-1] in " .":
            raise ValueError(f"'{part}' in '{text}' is no name of a file on Windows")
    return PureWindowsPath(text[0].upper() + ":\\", *parts)


def usual(linux: str, windows: str) -> Path:
    """Where something of ours is on this host when nobody said otherwise.

    Args:
        linux: an absolute path.
        windows: below `Twinhull` in ProgramData.
    """
    if sys.platform == "win32":
        return program_data() / "Twinhull" / windows
    return Path(linux)
