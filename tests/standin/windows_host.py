"""A Windows host with Hyper-V for our own PowerShell: the real engine, the stand-in cmdlets, files as drives.

The shipped module is copied and gets one more part, which loads the stand-ins; everything else is what a customer's
host runs.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import twinhull.powershell
from twinhull.powershell import Engine

from . import engine

MODULE = Path(twinhull.powershell.__file__).parent
SCENARIO = engine.HERE / "hyperv_scenario.ps1"
PLAIN_PART = engine.HERE / "plain_part.ps1"
STANDIN_PART = engine.HERE / "standin_part.ps1"

needs_engine = pytest.mark.skipif(
    engine.kit() is None, reason=f"the PowerShell engine is not here, so this did not run: {engine.WHERE}"
)


class WindowsHost:
    """One host; its state lives in files of `directory`, its drives C and D are folders there.

    Args:
        directory: empty or not there.
        initial: replaces members of the scenario's initial state.
        standins: whether there are cmdlets of Windows; without them a PowerShell host starts in a tenth of the time.
    """

    def __init__(
        self,
        directory: Path,
        initial: Mapping[str, Any] | None = None,
        *,
        standins: bool = True,
    ) -> None:
        self.directory = directory
        self.state_path = directory / "state.json"
        self.log_path = directory / "calls.log"
        self.drives = directory / "drives"
        for letter in "CD":
            (self.drives / letter).mkdir(parents=True)
        (directory / "initial.json").write_text(json.dumps(dict(initial or {})), encoding="utf-8")
        self._module = directory / "module"
        shutil.copytree(MODULE, self._module, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        shutil.copy(PLAIN_PART, self._module / "zz-plain.ps1")
        if standins:
            shutil.copy(STANDIN_PART, self._module / "zz-standins.ps1")

    def engine(self, **settings: Any) -> Engine:
        """How a PowerShell host of this machine is started; a busy machine takes its time for that."""
        settings = {"start_timeout_s": 1200.0, **settings}
        source, program = engine.kit(), engine.present()
        assert source is not None and program is not None
        environment = {
            "PSModulePath": str(engine.UNPACKED / "modules"),
            "STANDIN_BASE": str(source / "standins" / "hyperv-host.ps1"),
            "STANDIN_SCENARIO": str(SCENARIO),
            "STANDIN_STATE": str(self.state_path),
            "STANDIN_LOG": str(self.log_path),
            "STANDIN_INITIAL": str(self.directory / "initial.json"),
            "STANDIN_DRIVES": str(self.drives),
        }
        return Engine((str(program),), self._module / "host.ps1", environment, **settings)

    def reset(self) -> None:
        """As it was made: no state, no files. Its PowerShell hosts may live on."""
        self.state_path.unlink(missing_ok=True)
        self.log_path.unlink(missing_ok=True)
        for drive in self.drives.iterdir():
            shutil.rmtree(drive)
            drive.mkdir()

    def path(self, windows_path: str) -> Path:
        """Where a file of a drive really is."""
        return self.drives.joinpath(windows_path[0], *(part for part in windows_path[3:].split("\\") if part))

    def exists(self, windows_path: str) -> bool:
        """Whether there is such a file or folder."""
        return self.path(windows_path).exists()

    # ---- the model's state ---------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """All of it, as it is now."""
        text = self.state_path.read_text(encoding="utf-8") if self.state_path.exists() else ""
        return dict(json.loads(text)) if text else {}

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the state under the lock that the stand-ins take."""
        with self.state_path.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            state = json.load(file)
            change(state)
            file.seek(0)
            file.truncate()
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())

    def fault(self, cmdlet: str, **members: Any) -> None:
        """Let calls of a cmdlet fail, hang or stop half-way; see the kit's README for the members."""
        self.edit(lambda state: state["faults"].append({"cmdlet": cmdlet, **members}))

    def heal(self) -> None:
        """No faults any more."""
        self.edit(lambda state: state.update(faults=[]))

    def vm(self, name: str) -> dict[str, Any]:
        """The model's record of a VM by its name."""
        found = [vm for vm in self.state["vms"].values() if vm["Name"] == name]
        assert len(found) == 1, f"{len(found)} VMs are called {name}"
        return dict(found[0])

    def calls(self, cmdlet: str = "") -> list[dict[str, Any]]:
        """What was called, in order."""
        if not self.log_path.exists():
            return []
        lines = [json.loads(line) for line in self.log_path.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if not cmdlet or line["cmdlet"] == cmdlet]
