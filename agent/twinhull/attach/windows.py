"""An iSCSI disk as a mounted folder on Windows: the built-in initiator, NTFS, a mount at the folder without a drive letter.

What is done on the host is done by `disk.ps1` (functions `*-TwinhullDisk`); here is the order, and what is never done.
Sources: iSCSI and Storage modules of Windows PowerShell; SAN policy and mount points of the Windows documentation.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import AttachError, FolderBusyError, FolderNotOursError, PowerShellError, TwinhullError

QUERY_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 120.0
MOUNT_TIMEOUT_S = 300.0
MAKE_TIMEOUT_S = 900.0
DETACH_TIMEOUT_S = 180.0
ANSWER_TIMEOUT_S = 2.0
CLUSTER_BYTES = {"ntfs": 65536, "ntfs-4k": 4096}
"""By the name of the file system in the configuration."""


class Login(Protocol):
    """What an initiator needs: `worker.offer.Offer` is one."""

    @property
    def target(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def user(self) -> str: ...
    @property
    def secret(self) -> str: ...


class Asks(Protocol):
    """Calls functions of the PowerShell module: `powershell.PowerShell` is one."""

    def query(self, function: str, arguments: Mapping[str, Any], *, timeout_s: float) -> Any: ...
    def change(self, function: str, arguments: Mapping[str, Any], *, timeout_s: float) -> Any: ...


@dataclass(frozen=True)
class OurDisk:
    """By what the module's disk is known.

    Args:
        prefix: what the names of all targets of the module begin with, without the part that changes.
        serial: the serial number that its export shows.
        size_bytes: its size.
    """

    prefix: str
    serial: str
    size_bytes: int

    def words(self) -> dict[str, Any]:
        """As arguments of the functions that look for the disk."""
        return {"Serial": self.serial, "SizeBytes": self.size_bytes}


@dataclass(frozen=True)
class BareFolder:
    """The folder of the host's own disk on which the volume is mounted.

    Args:
        allow: lets a mount be made on it; raises FolderNotOursError for what is no empty folder.
        deny: keeps writes out of it while nothing is mounted.
    """

    allow: Callable[[], None]
    deny: Callable[[], None]


class WindowsAttacher:
    """See `attach.base.Attacher`. Methods block; meanwhile the export's loop must run in another thread.

    Args:
        module: its name, for messages.
        folder: where it is mounted, as Windows writes it.
        disk: by what the disk is known, asked at every use; None while the volume has no identity yet.
        offer: what the export offers now; None: nothing.
        powershell: does it.
        first_data: offset in bytes of something that the volume holds, or None when it is blank.
        bare: the folder underneath.
        cluster_bytes: of the file system that is made.
    """

    def __init__(
        self,
        module: str,
        folder: str,
        *,
        disk: Callable[[], OurDisk | None],
        offer: Callable[[], Login | None],
        powershell: Asks,
        first_data: Callable[[], int | None],
        bare: BareFolder,
        cluster_bytes: int = CLUSTER_BYTES["ntfs"],
    ) -> None:
        self._module = module
        self._folder = folder
        self._disk = disk
        self._offer = offer
        self._powershell = powershell
        self._first_data = first_data
        self._bare = bare
        self._cluster_bytes = cluster_bytes

    def attach(self, *, make: bool) -> None:
        """Log in, on-line, file system (made only if `make` and the volume is blank), mount. Idempotent.

        On an error nothing stays attached. Raises AttachError, FolderNotOursError.
        """
        offer, disk = self._offer(), self._disk()
        if offer is None or disk is None:
            raise AttachError(f"The disk of module {self._module} is not offered.")
        seen = self._look(disk)
        if self._is_attached(seen, offer):
            return
        if seen["other"]:
            raise FolderNotOursError(
                f"Another disk is mounted at the folder {self._folder} of module {self._module}.",
                "Take its access path away (Disk Management, or Remove-PartitionAccessPath).",
            )
        if seen["sessions"]:  # of an earlier life: its target is gone, it can only hang
            self._disconnect(disk, forced=True)
        try:
            self._connect(offer, disk)
            self._ready_file_system(disk, make=make)
            self._mount(disk)
            if not self._is_attached(self._look(disk), offer):
                raise AttachError(
                    f"What is mounted at {self._folder} is not the disk of module {self._module}.",
                    "Look at Get-Disk and Get-Partition.",
                )
        except TwinhullError:
            self._give_back(disk)
            raise

    def flush(self) -> None:
        """What Windows holds back goes to the disk (Write-VolumeCache). Raises AttachError."""
        disk = self._disk()
        if disk is not None:
            self._change("Write-TwinhullDisk", disk.words(), MOUNT_TIMEOUT_S, "cannot be written back")

    def detach(self, *, forced: bool) -> None:
        """Flush, unmount, off-line, log out. Idempotent.

        Args:
            forced: the disk answers nothing any more: nothing is flushed, its session is ended first.

        Raises FolderBusyError, AttachError.
        """
        disk = self._disk()
        if disk is None:
            return
        seen = self._look(disk)
        if not forced and seen["mounted"]:
            self.flush()
        if seen["sessions"] or seen["mounted"] or (seen["found"] and not seen["offline"]):
            self._disconnect(disk, forced=forced)
        if not forced:
            self._bare.deny()

    def attached(self) -> bool:
        """Whether our disk, by the session of now, is on-line, writable and mounted at the folder."""
        offer, disk = self._offer(), self._disk()
        if offer is None or disk is None:
            return False
        return self._is_attached(self._look(disk), offer)

    def clean_up(self) -> list[str]:
        """End what a dead worker of this module left; say what was freed. Raises AttachError."""
        disk = self._disk()
        if disk is None or not (seen := self._look(disk))["sessions"]:
            return []
        offer = self._offer()
        if offer is not None and self._is_attached(seen, offer) and _answers(offer):
            return []
        return [f"{sentence} (module {self._module})" for sentence in self._disconnect(disk, forced=True)]

    # ---- steps ---------------------------------------------------------------------------------------

    @staticmethod
    def _is_attached(seen: Mapping[str, Any], offer: Login) -> bool:
        live = any(
            session["connected"] and session["target"].lower() == offer.target.lower()
            for session in seen["sessions"]
        )
        return bool(live and seen["mounted"] and not seen["readonly"] and not seen["other"])

    def _look(self, disk: OurDisk) -> Mapping[str, Any]:
        words = {"Prefix": disk.prefix, "Folder": self._folder, **disk.words()}
        try:
            seen: Mapping[str, Any] = self._powershell.query(
                "Get-TwinhullDisk", words, timeout_s=QUERY_TIMEOUT_S
            )
        except PowerShellError as error:
            raise self._told("cannot be looked at", error) from error
        return seen

    def _connect(self, offer: Login, disk: OurDisk) -> None:
        words = {
            "Target": offer.target,
            "Address": offer.address,
            "Port": offer.port,
            "User": offer.user,
            "Secret": offer.secret,
            **disk.words(),
        }
        self._change("Connect-TwinhullDisk", words, CONNECT_TIMEOUT_S, "cannot be connected")

    def _ready_file_system(self, disk: OurDisk, *, make: bool) -> None:
        found = self._change(
            "Enable-TwinhullDisk", disk.words(), MOUNT_TIMEOUT_S, "cannot be brought on-line"
        )
        if found["style"] != "RAW":
            return
        # A disk that Windows finds raw may still hold something: a lost first sector, another system's file system.
        offset = self._first_data()
        if offset is not None:
            raise FolderNotOursError(
                f"The volume of module {self._module} holds data (at byte {offset}) but no partition table; "
                "it was not formatted.",
                "If a first start was cut off and nothing in it is needed, unprotect and protect it anew.",
            )
        if not make:
            raise AttachError(
                f"The volume of module {self._module} is blank: there is no file system on it.",
                "Only the first start of a module makes one.",
            )
        words = {"Label": self._module[:32], "ClusterBytes": self._cluster_bytes, **disk.words()}
        self._change("Initialize-TwinhullDisk", words, MAKE_TIMEOUT_S, "cannot be formatted")

    def _mount(self, disk: OurDisk) -> None:
        if not self._look(disk)["mounted"]:  # Windows may have mounted it again where it was
            self._bare.allow()
        words = {"Folder": self._folder, **disk.words()}
        self._change("Mount-TwinhullDisk", words, MOUNT_TIMEOUT_S, f"cannot be mounted at {self._folder}")

    def _disconnect(self, disk: OurDisk, *, forced: bool) -> list[str]:
        words = {"Prefix": disk.prefix, "Folder": self._folder, "Forced": forced, **disk.words()}
        answer = self._change(
            "Disconnect-TwinhullDisk", words, DETACH_TIMEOUT_S, "cannot be taken off this host"
        )
        return [str(sentence) for sentence in answer["freed"]]

    def _give_back(self, disk: OurDisk) -> None:
        """After a failed attach, as far as that goes: the failure is what is reported."""
        try:
            self._disconnect(disk, forced=False)
            self._bare.deny()
        except TwinhullError:
            return

    def _change(self, function: str, words: Mapping[str, Any], timeout_s: float, what: str) -> Any:
        try:
            return self._powershell.change(function, words, timeout_s=timeout_s)
        except PowerShellError as error:
            raise self._told(what, error) from error

    def _told(self, what: str, error: PowerShellError) -> AttachError:
        kind = FolderBusyError if getattr(error, "category", "") == "busy" else AttachError
        return kind(
            f"The disk of module {self._module} {what}: {error.what.rstrip('.')}.",
            error.remedy or "Look at the system's event log and at Get-Disk.",
        )


def _answers(offer: Login) -> bool:
    """Whether somebody still listens there: Windows shows a session for a while after its target died."""
    try:
        socket.create_connection((offer.address, offer.port), ANSWER_TIMEOUT_S).close()
    except OSError:
        return False
    return True
