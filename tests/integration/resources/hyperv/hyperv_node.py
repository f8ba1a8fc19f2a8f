"""A node with a stand-in Hyper-V host: its PowerShell, and the resource of a module whose volume a test mounts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.standin.windows_host import WindowsHost

from twinhull.powershell import PowerShellHosts
from twinhull.resources.hyperv import HyperVPlaces, HyperVResource, HyperVTimings

FOLDER = r"D:\Repli\web"
HOME = rf"{FOLDER}\vm"
COPIES = r"C:\ProgramData\Twinhull\copies\web"
LONG_S = 900.0
HANGING_S = 10.0
"""A deadline below this one is for what hangs; any other is longer here, since a busy machine is no failure."""
QUICK = HyperVTimings(
    destroy_s=20.0, ended_s=LONG_S, ask_again_s=0.2, recover_s=LONG_S, gone_s=0.5, poll_s=0.05
)


class PatientHosts(PowerShellHosts):
    """PowerShell on a machine that does much else."""

    def query(self, function: str, arguments: Mapping[str, Any], *, timeout_s: float) -> Any:
        return super().query(function, arguments, timeout_s=LONG_S)

    def change(
        self, function: str, arguments: Mapping[str, Any], *, timeout_s: float, urgent: bool = False
    ) -> Any:
        limit_s = timeout_s if timeout_s < HANGING_S else LONG_S
        return super().change(function, arguments, timeout_s=limit_s, urgent=urgent)


class HyperVNode:
    """One node; `mount` and `unmount` say whether its Hyper-V reaches the volume.

    Args:
        name: the node's.
        windows: its host.
        volume: the directory that holds what the mirrored volume holds; a mount is a link to it.
    """

    def __init__(self, name: str, windows: WindowsHost, volume: Path) -> None:
        self.name = name
        self.windows = windows
        self.volume = volume
        self.shells = PatientHosts(windows.engine())
        self.lines: list[str] = []
        self.mounted = False

    def reset(self) -> None:
        """A fresh host with an empty volume that is not mounted."""
        self.windows.reset()
        self.lines = []
        self.record.unlink(missing_ok=True)
        shutil.rmtree(self.volume, ignore_errors=True)
        self.volume.mkdir()
        self.shells.query("Get-TwinhullVmList", {}, timeout_s=LONG_S)  # fills the state
        self.mounted = False

    def mount(self) -> None:
        """The volume is mounted at the folder."""
        self._link(self.volume)

    def mount_discarding(self) -> None:
        """The same, and what is written is thrown away."""
        shutil.rmtree(self._overlay, ignore_errors=True)
        shutil.copytree(self.volume, self._overlay)
        self._link(self._overlay)

    def unmount(self) -> None:
        """The bare folder is left."""
        folder = self.windows.path(FOLDER)
        if folder.is_symlink():
            folder.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._overlay, ignore_errors=True)
        self.mounted = False

    def _link(self, target: Path) -> None:
        folder = self.windows.path(FOLDER)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            folder.rmdir()
        folder.symlink_to(target)
        self.mounted = True

    @property
    def _overlay(self) -> Path:
        return self.windows.directory / "overlay"

    def resource(self, name: str = "web", **settings: Any) -> HyperVResource:
        """The module's resource, as a worker that has just started has it."""
        return HyperVResource(
            module="web",
            node=self.name,
            vm=name,
            places=HyperVPlaces(FOLDER, COPIES, self.record),
            shell=self.shells,
            log=self.lines.append,
            folder_ready=lambda: self.mounted,
            timings=settings.pop("timings", QUICK),
            **settings,
        )

    @property
    def record(self) -> Path:
        """Where the VM's identifier is noted."""
        return self.windows.directory / "web.json"

    def type(self, command: str, **parameters: Any) -> str:
        """Run a cmdlet as a person at the host would; the identifier of what it answers."""
        arguments = {"Command": command, "Parameters": parameters}
        return str(self.shells.change("Get-TwinhullTestCall", arguments, timeout_s=LONG_S)["id"])

    def boot(self, how: str) -> None:
        """The host starts anew, after a `crash` or a `restart`."""
        self.shells.change("Invoke-TwinhullTestHook", {"Name": "*boot*", "Argument": how}, timeout_s=LONG_S)

    def make_vm(
        self,
        name: str = "web",
        *,
        generation: int = 2,
        place: str = HOME,
        switch: str = "External",
        **members: Any,
    ) -> str:
        """A VM with one disk whose files all lie at `place`; its identifier."""
        disk = rf"{place}\Virtual Hard Disks\{name}.vhdx"
        parent, _, leaf = place.rpartition("\\")
        identifier = self.type(
            "New-VM", Name=leaf, Path=parent, Generation=generation, NewVHDPath=disk, NewVHDSizeBytes=1 << 30,
            MemoryStartupBytes=1 << 29, SwitchName=switch,
        )  # fmt: skip
        self.type("Rename-VM", Name=leaf, NewName=name)
        if members:
            self.change_vm(name, **members)
            self.type("Set-VM", Name=name, Notes="as the test wants it")
        return identifier

    def change_vm(self, name: str = "web", **members: Any) -> None:
        """Set members of the model's record of a VM."""

        def change(state: dict[str, Any]) -> None:
            for vm in state["vms"].values():
                if vm["Name"] == name:
                    vm.update(members)

        self.windows.edit(change)

    def vm_state(self, name: str = "web") -> str:
        """The model's state of a VM, empty when it is not registered."""
        found = [vm["State"] for vm in self.windows.state["vms"].values() if vm["Name"] == name]
        return str(found[0]) if found else ""

    def said(self, text: str) -> bool:
        """Whether a line of the module's log has it."""
        return any(text in line for line in self.lines)
