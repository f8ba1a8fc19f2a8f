"""The one interface for making an export a mounted folder on this host. Methods block (host lane)."""

from __future__ import annotations

from typing import Protocol


class Attacher(Protocol):
    """Device, file system and mount of one module's folder."""

    def attach(self, *, make: bool) -> None:
        """Device on the export, file system (made only if `make` and the volume is blank), mounted.

        Raises AttachError, FolderNotOursError.
        """

    def flush(self) -> None:
        """What the host still holds back of the folder's writes reaches the export. Raises AttachError."""

    def detach(self, *, forced: bool) -> None:
        """Unmount and free the device. Raises FolderBusyError naming the processes. Idempotent."""

    def attached(self) -> bool:
        """Whether the folder is our mount."""

    def clean_up(self) -> list[str]:
        """Free what a dead worker of this module left (mount, loop device); say what was freed."""
