"""An export's file as a mounted folder on Linux: loop device, file system, mount."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..errors import AttachError, FolderBusyError, FolderNotOursError, TwinhullError
from . import blank, holders, linux_cmd, loop
from . import folder as bare
from .commands import run, run_well
from .linux_cmd import FileSystem, Mount

COMMAND_TIMEOUT_S = 30.0
MOUNT_TIMEOUT_S = 300.0
MAKE_TIMEOUT_S = 900.0
REPAIR_TIMEOUT_S = 3600.0
FREE_TIMEOUT_S = 15.0
_POLL_S = 0.02
PASSING_S, PASSING_POLL_S = 2.0, 0.1
"""How long somebody may hold the folder who only passes by: a `df`, or a command in a mount namespace of its own."""


class LinuxAttacher:
    """See `attach.base.Attacher`. Methods block; meanwhile the export's loop must run in another thread.

    Args:
        module: name of the module, for messages.
        folder: where the file system is mounted: an absolute path without symbolic links.
        export_file: gives the export's file at the time of the call.
        file_system: what is made on a blank volume and expected on any other.
        free_timeout_s: how long the kernel may take to give the loop device back.
    """

    def __init__(
        self,
        module: str,
        folder: Path,
        export_file: Callable[[], Path],
        file_system: FileSystem,
        *,
        free_timeout_s: float = FREE_TIMEOUT_S,
    ) -> None:
        self._module = module
        self._folder = folder
        self._export_file = export_file
        self._file_system = file_system
        self._free_timeout_s = free_timeout_s
        self._device: str | None = None

    def attach(self, *, make: bool) -> None:
        """Device, file system (made only if `make` and the volume is blank), mount. Idempotent.

        The journal of a file system that was not unmounted is replayed. On an error nothing stays attached.
        Raises AttachError, FolderNotOursError.
        """
        if self.attached():
            return
        self.clean_up()
        self._look_at_folder()
        bare.prepare_folder(self._module, self._folder)
        device = self._live_device() or self._connect()
        try:
            self._ready_file_system(device, make=make)
            self._mount(device)
        except TwinhullError:
            self._give_back(device)
            raise
        self._device = device

    def detach(self, *, forced: bool) -> None:
        """Unmount and free the device; returns when the kernel has given it back. Idempotent.

        Args:
            forced: does not wait for anybody: the mount is taken out of the tree; what still holds it gets
                errors once the export is closed (close it first), and frees the device by going away.

        Raises FolderBusyError naming the processes: the folder is still attached, or, where only the device is
        held, detached; calling again goes on from there. Raises AttachError.
        """
        mount = self._our_mount()
        if mount is not None:
            if forced:
                self._unmount_lazily()
            else:
                self._unmount(mount)
        device = self._device or (mount.source if mount else None) or self._live_device()
        if device is not None and self._ours(device):
            self._free(device, mount, forced=forced)
        self._device = None

    def flush(self) -> None:
        """Write the folder back to the export (sync -f). Raises AttachError."""
        run_well(
            linux_cmd.sync_folder(self._folder),
            MOUNT_TIMEOUT_S,
            f"The folder {self._folder} of module {self._module} cannot be written back",
            "Look at the kernel's log (dmesg).",
        )

    def attached(self) -> bool:
        """Whether our file system is seen at the folder, on a loop device on the export that lives now."""
        mount = self._top_mount()
        if mount is None or mount.kind != self._file_system or not mount.source.startswith("/dev/loop"):
            return False
        return mount.root == "/" and mount.source == self._live_device()

    def clean_up(self) -> list[str]:
        """Free what a dead worker of this module left (mount, loop device); say what was freed.

        Whoever calls it holds the volume's lock and has aborted a hung export (`exports.fuse.abort_stale`): a
        loop device that still answers is not dead, and is left alone. Raises AttachError.
        """
        freed = []
        while (mount := self._our_mount()) is not None and not self._serves(mount.source):
            self._unmount_lazily()
            freed.append(f"{self._folder} unmounted (it was mounted from {mount.source})")
        for found in loop.all_loops():
            ours = (
                linux_cmd.backing_matches(found.backing, self._export_file()) and found.device != self._device
            )
            if ours and not loop.answers(found.device):
                self._detach_loop(found.device)
                if not self._wait_until_free(found.device):
                    self._raise_busy(found.device)
                freed.append(f"{found.device} freed")
        return freed

    def _look_at_folder(self) -> None:
        mounts = holders.own_mounts()
        other = linux_cmd.top_mount(mounts, self._folder)
        if other is not None:
            raise FolderNotOursError(
                f"Something else is mounted at the folder {self._folder} of module {self._module}: "
                f"{other.source} ({other.kind}).",
                f"Unmount it: umount {self._folder}.",
            )
        below = linux_cmd.mount_below(mounts, self._folder)
        backing = loop.look(below.source) if below is not None else None
        if backing is None:
            return
        carrier = linux_cmd.mount_below(mounts, Path(backing.backing))
        if carrier is not None and carrier.kind == linux_cmd.EXPORT_FILE_SYSTEM:
            raise FolderNotOursError(
                f"The folder {self._folder} of module {self._module} lies inside another module's folder.",
                "Choose a folder on the node's own disk.",
            )

    def _connect(self) -> str:
        file = self._export_file()
        output = run_well(
            linux_cmd.connect(file),
            COMMAND_TIMEOUT_S,
            f"No loop device can be put on the export of module {self._module}",
            "Load the loop module (modprobe loop) and look at `losetup -l`.",
        )
        return output.strip()

    def _ready_file_system(self, device: str, *, make: bool) -> None:
        """A sound file system on the device, or an error; never formats what holds anything."""
        found = self._signatures(device)
        if found == {self._file_system}:
            self._repair(device)
            return
        if found:
            raise FolderNotOursError(
                f"The volume of module {self._module} holds {', '.join(sorted(found))}, "
                f"not {self._file_system}; nothing was changed.",
                "Set the file system in the configuration to what it holds, or protect the module anew.",
            )
        offset = blank.first_data(device)
        if offset is not None:
            raise FolderNotOursError(
                f"The volume of module {self._module} holds data (at byte {offset}) but no file system; "
                "it was not formatted.",
                "If a first start was cut off and nothing in it is needed, unprotect and protect it anew.",
            )
        if not make:
            raise AttachError(
                f"The volume of module {self._module} is blank: there is no file system on it.",
                "Only the first start of a module makes one.",
            )
        run_well(
            linux_cmd.make_file_system(self._file_system, device),
            MAKE_TIMEOUT_S,
            f"No {self._file_system} can be made on the volume of module {self._module}",
            "Look at the kernel's log (dmesg).",
        )

    def _signatures(self, device: str) -> set[str]:
        what = f"The volume of module {self._module} cannot be examined"
        output = run_well(
            linux_cmd.list_signatures(device), COMMAND_TIMEOUT_S, what, "Look at the kernel's log."
        )
        try:
            return {signature.kind for signature in linux_cmd.parse_signatures(output)}
        except (ValueError, KeyError, TypeError) as error:
            raise AttachError(f"{what}: wipefs said {output[:200]!r}.", "Update util-linux.") from error

    def _repair(self, device: str) -> None:
        command = linux_cmd.check_file_system(self._file_system, device)
        if command is None:
            return
        outcome = run(command, REPAIR_TIMEOUT_S)
        if not linux_cmd.check_succeeded(outcome.exit_code):
            words = " ".join((outcome.output + outcome.errors).split())
            raise AttachError(
                f"The file system of module {self._module} is damaged and was not repaired: {words}",
                "Repair it by hand with e2fsck on the module's device.",
            )

    def _mount(self, device: str) -> None:
        tool = "xfs_repair" if self._file_system == "xfs" else "e2fsck"
        run_well(
            linux_cmd.mount(self._file_system, device, self._folder),
            MOUNT_TIMEOUT_S,
            f"The folder {self._folder} of module {self._module} cannot be mounted",
            f"Look at the kernel's log (dmesg); a damaged file system is repaired with {tool}.",
        )
        # From here on the device lives as long as the mount: nothing stays behind when this node dies.
        self._detach_loop(device)
        if not self.attached():
            self._unmount_lazily()
            raise AttachError(
                f"What was mounted at {self._folder} is not the volume of module {self._module}.",
                "Somebody else mounts there: look at `findmnt`.",
            )

    def _unmount(self, mount: Mount) -> None:
        self.flush()
        held = self._unmounted_unless_held(mount)
        give_up_s = time.monotonic() + PASSING_S
        while held is not None and time.monotonic() < give_up_s:
            time.sleep(PASSING_POLL_S)
            now = self._unmounted_unless_held(mount)
            stayed = [holder for holder in now or () if holder in held]
            held = None if now is None else stayed or now
        if held is not None:
            raise self._busy(held)

    def _unmounted_unless_held(self, mount: Mount) -> list[holders.Holder] | None:
        """Who holds the folder, as far as can be seen; None: it is unmounted. Raises AttachError."""
        copies = holders.find_copies(mount.device, holders.own_mounts())
        if copies:
            return copies
        outcome = run(linux_cmd.unmount(self._folder, lazy=False), MOUNT_TIMEOUT_S)
        if outcome.exit_code == 0 or self._our_mount() is None:
            return None
        if linux_cmd.is_busy(outcome.exit_code, outcome.errors):
            return holders.find_holders(mount.device, self._folder, mount.source)
        words = " ".join(outcome.errors.split())
        raise AttachError(
            f"The folder {self._folder} of module {self._module} cannot be unmounted: {words}",
            "Look at the kernel's log (dmesg).",
        )

    def _unmount_lazily(self) -> None:
        run_well(
            linux_cmd.unmount(self._folder, lazy=True),
            COMMAND_TIMEOUT_S,
            f"The folder {self._folder} of module {self._module} cannot be taken away",
            f"Run `umount -l {self._folder}` as root.",
        )

    def _free(self, device: str, mount: Mount | None, *, forced: bool) -> None:
        self._detach_loop(device)
        if not forced and not self._wait_until_free(device):
            self._raise_busy(device, mount)

    def _give_back(self, device: str) -> None:
        """Free a device after a failed attach, as far as that goes: the failure is what is reported."""
        self._detach_loop(device)
        self._wait_until_free(device)

    def _detach_loop(self, device: str) -> None:
        """Ask for the device to be freed, unless the kernel does so by itself at the end of its last use.

        One that is about to free itself is left alone: its number could be somebody else's by now.
        """
        found = loop.look(device)
        if (
            found is None
            or found.autoclear
            or not linux_cmd.backing_matches(found.backing, self._export_file())
        ):
            return
        run_well(
            linux_cmd.disconnect(device),
            COMMAND_TIMEOUT_S,
            f"The device {device} of module {self._module} cannot be freed",
            f"Run `losetup -d {device}` as root.",
        )

    def _wait_until_free(self, device: str) -> bool:
        deadline_s = time.monotonic() + self._free_timeout_s
        while self._ours(device):
            if time.monotonic() > deadline_s:
                return False
            time.sleep(_POLL_S)
        return True

    def _raise_busy(self, device: str, mount: Mount | None = None) -> None:
        number = mount.device if mount is not None else (0, 0)
        found = holders.find_holders(number, self._folder, device)
        raise self._busy(found, f"the device {device} of module {self._module}")

    def _busy(self, found: list[holders.Holder], what: str = "") -> FolderBusyError:
        named = "; ".join(map(str, found[:8])) or "nobody that can be seen from here"
        more = f"; and {len(found) - 8} more" if len(found) > 8 else ""
        held = what or f"the folder {self._folder} of module {self._module}"
        return FolderBusyError(
            f"{held[0].upper()}{held[1:]} is held by {named}{more}.", "End them and try again."
        )

    def _top_mount(self) -> Mount | None:
        return linux_cmd.top_mount(holders.own_mounts(), self._folder)

    def _our_mount(self) -> Mount | None:
        """The mount at the folder if its device is, or was, on our export."""
        mount = self._top_mount()
        if mount is None or not (mount.source == self._device or self._ours(mount.source)):
            return None
        return mount

    def _ours(self, device: str) -> bool:
        found = loop.look(device)
        return found is not None and linux_cmd.backing_matches(found.backing, self._export_file())

    def _serves(self, device: str) -> bool:
        """Whether this device is the one in use, or somebody still answers behind it."""
        return device in (self._device, self._live_device()) or loop.answers(device)

    def _live_device(self) -> str | None:
        """The loop device on the export that is mounted now, told apart from one on an earlier life of it."""
        file = self._export_file()
        export = linux_cmd.top_mount(holders.own_mounts(), file.parent)
        if export is None or export.kind != linux_cmd.EXPORT_FILE_SYSTEM:
            return None
        for found in loop.all_loops():
            if found.backing == str(file):
                status = loop.backing_status(found.device)
                if status is not None and status.backing_device == export.device:
                    return found.device
        return None
