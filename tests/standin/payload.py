"""What ansible-core sends over WinRM, decoded. Pure.

Source: ansible-core 2.19, executor/powershell/module_manifest.py and plugins/{shell/powershell,connection/winrm}.py. It
is internal to ansible-core: another version may need another decoder, and then says so here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any

SEPARATOR = b"\n\0\0\0\0\n"
_ENCODED = re.compile(r"-EncodedCommand\s+(?P<text>[A-Za-z0-9+/=]+)\s*$", re.IGNORECASE)
_BOOTSTRAP_MARK = "Ansible requires PowerShell v5.1"
_EPILOGUES = (
    re.compile(
        r"\s*If \(-not \$\?\) \{ If \(Get-Variable LASTEXITCODE -ErrorAction SilentlyContinue\) "
        r"\{ exit \$LASTEXITCODE \} Else \{ exit 1 \} \}\s*$"
    ),
    re.compile(r"^\s*Set-StrictMode -Version Latest\s*"),
)


class PayloadError(Exception):
    """Something was sent that this decoder does not know."""


@dataclass(frozen=True, slots=True)
class ModuleRun:
    """A module with its arguments; `background` is the id of an asynchronous job."""

    name: str
    arguments: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    check_mode: bool = False
    diff: bool = False
    background: str | None = None
    background_dir: str = ""
    become_user: str | None = None
    source: bytes = b""


@dataclass(frozen=True, slots=True)
class PutFile:
    """A file with its bytes."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class FetchFile:
    """A part of a file is asked for."""

    path: str
    offset_bytes: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class MakeTemporary:
    """A temporary directory below `directory`, which may hold variables."""

    directory: str
    name: str


@dataclass(frozen=True, slots=True)
class ExpandUser:
    """A path that may begin with `~`."""

    path: str


@dataclass(frozen=True, slots=True)
class Script:
    """A PowerShell script, with what comes on its standard input."""

    text: str
    stdin: bytes = b""


Work = ModuleRun | PutFile | FetchFile | MakeTemporary | ExpandUser | Script


def decode_script(command_line: str) -> str | None:
    """The script of `PowerShell ... -EncodedCommand BASE64`; None for another command line.

    Raises PayloadError when it is not base64 of UTF-16.
    """
    match = _ENCODED.search(command_line)
    if match is None:
        return None
    try:
        return base64.b64decode(match["text"], validate=True).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise PayloadError(f"-EncodedCommand holds no UTF-16 in base64: {error}") from error


def module_name(script: str) -> str:
    """`ansible_collections.NS.NAME.plugins.modules.MODULE.ps1` as NS.NAME.MODULE."""
    parts = script.removesuffix(".ps1").split(".")
    if parts[0] == "ansible_collections" and parts[3:5] == ["plugins", "modules"]:
        parts = [*parts[1:3], *parts[5:]]
    return ".".join(parts)


def plain_script(text: str) -> str:
    """A script without what the shell plugin wraps around it."""
    for pattern in _EPILOGUES:
        text = pattern.sub("", text)
    return text.strip()


def decode(command_line: str, stdin: bytes) -> Work:
    """What is to be done.

    Args:
        command_line: command and arguments of WSMan's CommandLine.
        stdin: all that was sent to it.

    Raises PayloadError.
    """
    script = decode_script(command_line)
    if script is None:
        return Script(command_line, stdin)
    # exec_command wraps a command that is PowerShell itself once more.
    inner = decode_script(script)
    if inner is not None and script.lstrip().lower().startswith("powershell"):
        script = inner
    if _BOOTSTRAP_MARK not in script:
        return Script(plain_script(script), stdin)
    return _bootstrapped(stdin)


def _bootstrapped(stdin: bytes) -> Work:
    parts = stdin.split(SEPARATOR, 2)
    if len(parts) < 2:
        raise PayloadError("the bootstrap wrapper got no manifest on its standard input")
    try:
        wrapper, manifest = json.loads(parts[0]), json.loads(parts[1])
    except ValueError as error:
        raise PayloadError(f"the manifest is no JSON: {error}") from error
    if wrapper.get("name") != "exec_wrapper":
        raise PayloadError(f"unknown wrapper {wrapper.get('name')!r}")
    actions = {action["name"]: action for action in manifest["actions"]}
    last = manifest["actions"][-1]
    if last["name"] == "module_wrapper.ps1":
        return _module(manifest, actions, last)
    plain = _PLAIN.get(last["name"])
    if plain is None:
        raise PayloadError(f"unknown action {last['name']!r}")
    made: Work = plain(last["params"], parts[2] if len(parts) > 2 else b"")
    return made


def _module(manifest: dict[str, Any], actions: dict[str, Any], last: dict[str, Any]) -> Work:
    params = last["params"]
    source = base64.b64decode(manifest["scripts"][params["Script"]]["script"])
    if not params.get("ForModule"):
        return Script(source.decode("utf-8-sig"))
    arguments = next(item["Value"] for item in params["Variables"] if item["Name"] == "complex_args")
    own = {name: value for name, value in arguments.items() if not name.startswith("_ansible_")}
    job = actions.get("async_wrapper.ps1")
    become = actions.get("become_wrapper.ps1")
    return ModuleRun(
        name=module_name(params["Script"]),
        arguments=own,
        environment=dict(params.get("Environment") or {}),
        check_mode=bool(arguments.get("_ansible_check_mode")),
        diff=bool(arguments.get("_ansible_diff")),
        background=job["params"]["AsyncJid"] if job else None,
        background_dir=job["params"]["AsyncDir"] if job else "",
        become_user=become["params"].get("BecomeUser") if become else None,
        source=source,
    )


def _put(params: dict[str, Any], data: bytes) -> PutFile:
    content = b"".join(base64.b64decode(line) for line in data.split())
    return PutFile(params["Path"], content)


_PLAIN: dict[str, Any] = {
    "winrm_put_file.ps1": _put,
    "winrm_fetch_file.ps1": lambda params, _data: FetchFile(
        params["Path"], params["Offset"], params["BufferSize"]
    ),
    "powershell_mkdtemp.ps1": lambda params, _data: MakeTemporary(params["Directory"], params["Name"]),
    "powershell_expand_user.ps1": lambda params, _data: ExpandUser(params["Path"]),
}
