"""Our own PowerShell, modelled: for hosts in numbers, where an engine for each call would take minutes.

Each is found by what is in the script's text; a test runs the same through the engine and compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .files import FileSystemError
from .model import HostState

Told = dict[str, Any]
ScriptModel = Callable[[HostState, Mapping[str, Any], bool], Told]


def defender_exclusions(host: HostState, parameters: Mapping[str, Any], check_mode: bool) -> Told:
    """roles/antivirus: exclusions added and removed, with a record of what is ours."""
    others = [name for name in host.antivirus if "Defender" not in name] if not host.is_server else []
    if not host.defender.enabled:
        return told(False, {"defender": False, "others": others, "added": [], "removed": []})
    lists = {
        "ExclusionPath": host.defender.exclusion_path,
        "ExclusionProcess": host.defender.exclusion_process,
    }
    wanted = {
        "ExclusionPath": parameters.get("Path") or [],
        "ExclusionProcess": parameters.get("Process") or [],
    }
    record = str(parameters["Record"])
    try:
        ours: dict[str, Any] = json.loads(host.files.text(record))
    except FileSystemError:
        ours = {}
    absent = parameters.get("State", "present") == "absent"
    before = [f"{kind}: {item}" for kind, present in lists.items() for item in present]
    added: list[str] = []
    removed: list[str] = []
    keep: dict[str, list[str]] = {}
    after: list[str] = []
    for kind, present in lists.items():
        target = [] if absent else list(wanted[kind])
        kind_added = [item for item in target if item not in present]
        kind_removed = [item for item in ours.get(kind) or [] if item not in target and item in present]
        keep[kind] = [item for item in ours.get(kind) or [] if item in target] + kind_added
        present[:] = [item for item in present if item not in kind_removed] + kind_added
        after += [f"{kind}: {item}" for item in present]
        added += kind_added
        removed += kind_removed
    changed = bool(added or removed)
    if not check_mode and changed and not absent:
        host.files.make_directory(record.rpartition("\\")[0])
        host.files.write(record, json.dumps(keep).encode())
    if not check_mode and absent and host.files.remove(record):
        changed = True
    diff = {"before": "\n".join(before) + "\n", "after": "\n".join(after) + "\n"}
    return told(changed, {"defender": True, "others": others, "added": added, "removed": removed}, diff)


def switches(host: HostState, _parameters: Mapping[str, Any], _check_mode: bool) -> Told:
    """roles/hypervisor: names of the virtual switches."""
    return told(False, list(host.switches))


def told(changed: bool, result: Any, diff: Any = None) -> Told:
    """What win_powershell tells of a script."""
    made = {"changed": changed, "result": result, "output": [], "error": [], "host_out": "", "host_err": ""}
    return made if diff is None else {**made, "diff": diff}


MODELS: tuple[tuple[tuple[str, ...], ScriptModel], ...] = (
    (("Add-MpPreference", "ExclusionProcess", "$Record"), defender_exclusions),
    (("Get-VMSwitch | ForEach-Object { $_.Name }",), switches),
)


def find(script: str) -> ScriptModel | None:
    """The model of a script, or None."""
    return next((model for marks, model in MODELS if all(mark in script for mark in marks)), None)
