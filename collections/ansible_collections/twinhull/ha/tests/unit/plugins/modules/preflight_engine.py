"""The real PowerShell engine with stand-ins for Windows cmdlets, where it is there.

The environment variable TWINHULL_POWERSHELL names the kit's directory; else `../shared/windows/powershell` beside the
repository is looked at.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
COLLECTION = HERE.parents[3]
REPOSITORY = COLLECTION.parents[3]
UNPACKED = REPOSITORY / "build" / "powershell"
TIMEOUT_S = 180.0


def kit() -> Path | None:
    """The kit's directory, or None."""
    named = os.environ.get("TWINHULL_POWERSHELL")
    directory = Path(named) if named else REPOSITORY.parent / "shared" / "windows" / "powershell"
    return directory if (directory / "pwsh-linux-x64.tar.xz").exists() else None


@cache
def program() -> Path:
    """The engine, unpacked once, with the stand-ins made; the test is skipped by name where there is no kit."""
    source = kit()
    if source is None:
        pytest.skip("not run: the PowerShell engine is not there (name its kit in TWINHULL_POWERSHELL)")
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with (UNPACKED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (UNPACKED / "pwsh" / "pwsh").exists():
            subprocess.run(["tar", "-xf", source / "pwsh-linux-x64.tar.xz", "-C", UNPACKED], check=True)
        if not (UNPACKED / "modules" / "StandIns").exists():
            script, modules = source / "standins" / "make_standins.py", UNPACKED / "modules"
            maker = [sys.executable, str(script), "--out", str(modules)]
            subprocess.run(maker, check=True, capture_output=True)
    return UNPACKED / "pwsh" / "pwsh"


def check(*files: Path) -> subprocess.CompletedProcess[str]:
    """The kit's checker: Windows PowerShell 5.1, and cmdlets and parameters that exist."""
    engine, source = program(), kit()
    assert source is not None
    allowed = ["-Allow", "ConvertTo-HgsKeyProtector"]
    command = [str(engine), "-NoProfile", "-File", str(source / "check.ps1"), *map(str, files), *allowed]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def answer(script: str, module: str, request: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """What a script of powershell/ answers.

    Args:
        script: its name, such as `facts.ps1`.
        module: file of plugins/module_utils that it imports.
        request: what it is asked.
        directory: for its files and drives.
    """
    engine, source = program(), kit()
    assert source is not None
    (directory / "request.json").write_text(json.dumps(request))
    environment = {
        **os.environ,
        "PSModulePath": str(UNPACKED / "modules"),
        "STANDIN_BASE": str(source / "standins" / "hyperv-host.ps1"),
        "STANDIN_SCENARIO": str(HERE / "powershell" / "scenario.ps1"),
        "STANDIN_STATE": str(directory / "state.json"),
        "STANDIN_DRIVES": str(directory / "drives"),
        "PREFLIGHT_POWERSHELL": str(engine),
    }
    files = {
        "-File": HERE / "powershell" / script,
        "-Module": COLLECTION / "plugins" / "module_utils" / module,
        "-Request": directory / "request.json",
        "-Answer": directory / "answer.json",
    }
    named = [word for name, path in files.items() for word in (name, str(path))]
    command = [str(engine), "-NoProfile", "-NonInteractive", *named]
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}"
    told: dict[str, Any] = json.loads((directory / "answer.json").read_text(encoding="utf-8-sig"))
    return told
