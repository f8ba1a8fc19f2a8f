"""The real PowerShell engine with stand-ins for Windows cmdlets, over the model's state; used where it is present.

`TWINHULL_POWERSHELL` names the kit's directory; else `../shared/windows/powershell` beside the repository is looked at.
Each run gets the model's files below `C:\\ProgramData\\Twinhull` as real ones, and what changed goes back into the model.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from .model import HostState
from .seam import Machine, Ran, UnknownWorkError

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent / "powershell"
UNPACKED = REPOSITORY / "build" / "powershell"
WHERE = "name the directory of the PowerShell kit in TWINHULL_POWERSHELL"
SHARED = (r"C:\ProgramData\Twinhull", r"C:\ProgramData")
TIMEOUT_S = 120.0
_STATUS = {"started": "Running", "stopped": "Stopped"}
_START = {"auto": "Automatic", "delayed": "Automatic", "manual": "Manual", "disabled": "Disabled"}


def kit() -> Path | None:
    """The kit's directory, or None."""
    named = os.environ.get("TWINHULL_POWERSHELL")
    directory = Path(named) if named else REPOSITORY.parent / "shared" / "windows" / "powershell"
    return directory if (directory / "pwsh-linux-x64.tar.xz").exists() else None


@cache
def present() -> Path | None:
    """The engine's program, unpacked and with the stand-ins made; None when there is no kit."""
    source = kit()
    if source is None:
        return None
    UNPACKED.mkdir(parents=True, exist_ok=True)
    program = UNPACKED / "pwsh" / "pwsh"
    with (UNPACKED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            subprocess.run(["tar", "-xf", source / "pwsh-linux-x64.tar.xz", "-C", UNPACKED], check=True)
        if not (UNPACKED / "modules" / "StandIns").exists():
            maker = source / "standins" / "make_standins.py"
            subprocess.run(
                [sys.executable, maker, "--out", UNPACKED / "modules"], check=True, capture_output=True
            )
    return program


def run(_machine: Machine, host: HostState, script: str, stdin: bytes) -> Ran:
    """Run a plain script: standard output, standard error and exit code as they are."""
    with tempfile.TemporaryDirectory(prefix="standin-") as name:
        session = _Session(Path(name), host)
        file = session.directory / "script.ps1"
        file.write_text("Import-Module StandIns\n" + script, encoding="utf-8")
        ran = session.run(file, stdin=stdin)
        session.take_back(host)
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


def run_ansible_script(
    host: HostState, script: str, parameters: Mapping[str, Any], *, check_mode: bool, error_action: str
) -> dict[str, Any]:
    """Run a script as win_powershell does. Returns its result; `failed` and `msg` when it failed.

    Raises UnknownWorkError when the engine is not there, or broke.
    """
    if present() is None:
        raise UnknownWorkError(f"a script that only a PowerShell engine can run ({WHERE}): {script[:200]}")
    with tempfile.TemporaryDirectory(prefix="standin-") as name:
        session = _Session(Path(name), host)
        request, answer = session.directory / "request.json", session.directory / "answer.json"
        given = {
            "script": script,
            "parameters": dict(parameters),
            "check_mode": check_mode,
            "should_process": "SupportsShouldProcess" in script,
            "error_action": {"stop": "Stop", "silently_continue": "SilentlyContinue"}.get(
                error_action, "Continue"
            ),
            "answer": str(answer),
        }
        request.write_text(json.dumps(given))
        ran = session.run(HERE / "ansible_script.ps1", "-Request", str(request))
        if not answer.exists():
            raise UnknownWorkError(
                f"the PowerShell engine gave no answer: {ran.stdout.decode()} {ran.stderr.decode()}"
            )
        told = json.loads(answer.read_text())
        session.take_back(host)
    return _result(told)


def _result(told: dict[str, Any]) -> dict[str, Any]:
    result = {
        "changed": told["changed"],
        "result": told["result"],
        "output": told["output"],
        "error": [{"output": text} for text in told["errors"]],
        "host_out": "",
        "host_err": "",
    }
    if told["diff"]:
        result["diff"] = told["diff"]
    if told["failed"]:
        failure = told["failure"] or "the script said so"
        result |= {
            "failed": True,
            "msg": "Unhandled exception while executing script: " + failure if told["failure"] else failure,
        }
        result["error"].append({"output": failure})
    return result


class _Session:
    """Files and state of one run in a directory of its own."""

    def __init__(self, directory: Path, host: HostState) -> None:
        self.directory = directory
        self._drives = directory / "drives"
        self._state = directory / "state.json"
        self._initial = directory / "initial.json"
        self._initial.write_text(json.dumps(_initial(host)))
        self._sent: dict[Path, bytes] = {}
        for letter in host.files.volumes:
            (self._drives / letter).mkdir(parents=True)
        for entry in host.files.known():
            self._send(entry.path, entry.content, link=entry.target is not None)

    def _path(self, path: str) -> Path:
        return self._drives.joinpath(path[0], *path[3:].split("\\"))

    def _send(self, path: str, content: bytes | None, *, link: bool) -> None:
        target = self._path(path)
        if content is None and not link and "\\versions\\" not in path:
            target.mkdir(parents=True, exist_ok=True)
        elif content is not None and path.startswith(SHARED[0]):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            self._sent[target] = content

    def run(self, script: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a script file with the stand-ins."""
        source, program = kit(), present()
        assert source is not None and program is not None
        environment = {
            **os.environ,
            "PSModulePath": str(UNPACKED / "modules"),
            "STANDIN_BASE": str(source / "standins" / "hyperv-host.ps1"),
            "STANDIN_SCENARIO": str(HERE / "scenario.ps1"),
            "STANDIN_STATE": str(self._state),
            "STANDIN_INITIAL": str(self._initial),
            "STANDIN_DRIVES": str(self._drives),
        }
        command: list[str | Path] = [program, "-NoProfile", "-NonInteractive", "-File", script, *arguments]
        return subprocess.run(
            command, env=environment, input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False
        )

    def take_back(self, host: HostState) -> None:
        """What the script changed: files below the shared directories, Defender, services."""
        base = self._path(SHARED[0])
        now = {path: path.read_bytes() for path in base.rglob("*") if path.is_file()} if base.exists() else {}
        for path, content in now.items():
            if self._sent.get(path) != content:
                name = rf"C:\{path.relative_to(self._drives / 'C')}".replace("/", "\\")
                host.files.make_directory(name.rpartition("\\")[0])
                host.files.write(name, content)
        for path in self._sent.keys() - now.keys():
            host.files.remove(rf"C:\{path.relative_to(self._drives / 'C')}".replace("/", "\\"))
        if self._state.exists():
            _take_state(host, json.loads(self._state.read_text()))


def _initial(host: HostState) -> dict[str, Any]:
    return {
        "computerName": host.hostname,
        "edition": "Server" if host.is_server else "Client",
        "defenderEnabled": host.defender.enabled,
        "antivirus": list(host.antivirus),
        "exclusions": {
            "ExclusionPath": list(host.defender.exclusion_path),
            "ExclusionProcess": list(host.defender.exclusion_process),
            "ExclusionExtension": list(host.defender.exclusion_extension),
            "ExclusionIpAddress": [],
        },
        "features": {name: "Installed" if on else "Available" for name, on in host.features.items()},
        "services": {
            service.name: {
                "Name": service.name,
                "DisplayName": service.display_name,
                "Status": _STATUS.get(service.state, "Stopped"),
                "StartType": _START[service.start_mode],
                "BinaryPathName": service.path,
            }
            for service in host.services.values()
        },
        "switches": {
            name: {
                "Name": name,
                "Id": f"00000000-0000-0000-0000-{number:012d}",
                "SwitchType": kind,
                "AllowManagementOS": True,
            }
            for number, (name, kind) in enumerate(host.switches.items())
        },
    }


def _take_state(host: HostState, state: dict[str, Any]) -> None:
    exclusions = state.get("exclusions", {})
    host.defender.exclusion_path = list(exclusions.get("ExclusionPath") or [])
    host.defender.exclusion_process = list(exclusions.get("ExclusionProcess") or [])
    host.defender.exclusion_extension = list(exclusions.get("ExclusionExtension") or [])
    for name, told in (state.get("services") or {}).items():
        service = host.services.get(name.casefold())
        running = "started" if str(told.get("Status")) in ("Running", "4") else "stopped"
        if service is not None and service.state != running:
            host.services[name.casefold()] = replace(service, state=running)
