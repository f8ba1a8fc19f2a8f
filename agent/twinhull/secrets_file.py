"""Small files that hold secrets: whole or not there, and readable by nobody but their owner (Windows: and the system)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PART = ".new"


def make_private_directory(path: Path) -> None:
    """Make a directory (and those above it) that others cannot enter. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform == "win32":
        from .windows.acl import make_private

        make_private(path)


def write_private(path: Path, content: bytes) -> None:
    """Replace the file in one step; it is private before it holds anything. Raises OSError."""
    part = path.with_name(path.name + _PART)
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if sys.platform == "win32":
            from .windows.acl import make_private

            make_private(part)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
