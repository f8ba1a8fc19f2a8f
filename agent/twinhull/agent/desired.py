"""What people want of a module on this node until the node boots: started or stopped.

The files lie in the runtime directory, so that a restart of agent or worker keeps what was asked for, while after a boot the
module's `boot` setting decides.
"""

from __future__ import annotations

import enum
from pathlib import Path


def unfinished_protection(data_dir: Path, module: str) -> Path:
    """The file that stands from the begin of a protection until its resource runs in the folder.

    While it stands, nothing of the module is started unasked, and `protect` may be repeated.
    """
    return data_dir / "moves" / module / "unfinished"


class Wish(enum.Enum):
    """What was asked for last; BOOT when nothing was since the node booted."""

    STARTED = "started"
    STOPPED = "stopped"
    BOOT = "boot"


class Wishes:
    """The wishes of this node, one small file a module."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def get(self, module: str) -> Wish:
        """What was asked for; BOOT for a missing or unreadable file."""
        try:
            return Wish((self._directory / module).read_text().strip())
        except (OSError, ValueError):
            return Wish.BOOT

    def set(self, module: str, wish: Wish) -> None:
        """Remember it."""
        path = self._directory / module
        part = self._directory / f".{module}.part"
        part.write_text(wish.value)
        part.replace(path)
