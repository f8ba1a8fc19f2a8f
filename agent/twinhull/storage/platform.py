"""Picks the primitives of this operating system."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import StorageError
from .base import Directory


def platform_directory(path: Path) -> Directory:
    """The directory at `path`, on the primitives of this operating system.

    Args:
        path: an existing directory on a local disk.

    Raises:
        StorageError: it cannot be opened, or this operating system is not supported.
    """
    if sys.platform == "linux":
        from .linux import LinuxDirectory

        return LinuxDirectory(path)
    if sys.platform == "win32":
        from .windows import WindowsDirectory

        return WindowsDirectory(path)
    raise StorageError(f"Volumes are not supported on {sys.platform}.", "Use a Linux or Windows host.")
