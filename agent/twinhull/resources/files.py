"""Small durable files: what is renamed into place is whole, also after a power loss."""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, text: str) -> None:
    """Replace the file's content in one step; mode 0600, since definitions may hold a display's password."""
    part = path.with_name(path.name + ".new")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_path(path.parent)


def remove_durably(path: Path) -> None:
    """Remove the file if it exists, and make that durable."""
    if path.exists():
        path.unlink()
        sync_path(path.parent)


def sync_path(path: Path) -> None:
    """fsync a file or a directory."""
    if os.name == "nt":  # its file systems keep names in a journal; a directory cannot be opened so
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
