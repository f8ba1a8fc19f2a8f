"""PowerShell on a stand-in host: known forms are read here, the rest is run by a real engine or refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import commands, engine
from .files import FileSystemError
from .model import HostState
from .seam import Command, Ran, UnknownWorkError

if TYPE_CHECKING:
    from .machine import ModelMachine

_LITERAL_PART = re.compile(r"\s*(?:'((?:[^']|'')*)'|\[char\](\d+))\s*(\+?)")
_START = re.compile(r"^\$s\.(FileName|Arguments)=(.+)$", re.MULTILINE)
_MARKS = re.compile(r"'(#[^']*stderr[^']*)'|\"(#[^\"$]*exit=)")
_CALL = re.compile(r"^&\s+(.*?)(?:;\s*exit \$LASTEXITCODE)?$", re.DOTALL)
_WORD = re.compile(r"\s*(?:'((?:[^']|'')*)'|\"([^\"`$]*)\"|([^\s'\"]+))")


def literal(text: str) -> str:
    """The value of a PowerShell expression of quoted strings and characters joined by `+`.

    Raises ValueError for anything else.
    """
    body = text.strip()
    if body.startswith("(") and body.endswith(")"):
        body = body[1:-1]
    units, position = b"", 0
    while position < len(body):
        match = _LITERAL_PART.match(body, position)
        if match is None:
            raise ValueError(f"no string literal: {text!r}")
        if match[2]:
            units += int(match[2]).to_bytes(2, "little")
        else:
            units += match[1].replace("''", "'").encode("utf-16-le", "surrogatepass")
        position = match.end()
    return units.decode("utf-16-le", "surrogatepass")


def run(machine: ModelMachine, host: HostState, script: str, stdin: bytes) -> Ran:
    """Run a script. Raises UnknownWorkError when nothing here can."""
    for form in _FORMS:
        ran = form(machine, host, script, stdin)
        if ran is not None:
            return ran
    if engine.present() is not None:
        return engine.run(machine, host, script, stdin)
    raise UnknownWorkError(f"a script that only a PowerShell engine can run ({engine.WHERE}): {script[:300]}")


def _started_process(machine: ModelMachine, host: HostState, script: str, stdin: bytes) -> Ran | None:
    """A program started by System.Diagnostics.Process, its output and exit code told by marks in the script."""
    if "Diagnostics.ProcessStartInfo" not in script:
        return None
    settings = {match[1]: literal(match[2]) for match in _START.finditer(script)}
    marks = [match[1] or match[2] for match in _MARKS.finditer(script)]
    errors, code = marks[0], next(mark for mark in marks if "exit=" in mark)
    argv = (settings["FileName"], *commands.split(settings["Arguments"]))
    data = b"\n".join(stdin.splitlines()) if "$input" in script else b""
    ran = machine.run_command(host, Command(argv, data))
    if not ran.found:
        return Ran(127, f"{errors}\r\n{ran.stderr}\r\n{code}127\r\n")
    return Ran(ran.exit_code, f"{ran.stdout}\r\n{errors}\r\n{ran.stderr}\r\n{code}{ran.exit_code}\r\n")


def _call_operator(machine: ModelMachine, host: HostState, script: str, stdin: bytes) -> Ran | None:
    """`& 'program' 'argument' ...`, alone."""
    match = _CALL.match(script.strip())
    if match is None or "\n" in match[1]:
        return None
    words, position = [], 0
    while position < len(match[1]):
        word = _WORD.match(match[1], position)
        if word is None or (word[3] and re.search(r"[$`|;(){}<>]", word[3])):
            return None
        words.append(
            word[1].replace("''", "'") if word[1] is not None else word[2] if word[2] is not None else word[3]
        )
        position = word.end()
    return machine.run_command(host, Command(tuple(words), stdin))


def _bare_program(machine: ModelMachine, host: HostState, script: str, stdin: bytes) -> Ran | None:
    """A program of the table with plain words, without the call operator."""
    words = script.split()
    if not words or not commands.known(words[0]) or re.search(r"[$`|;(){}<>'\"\n]", script):
        return None
    return machine.run_command(host, Command(tuple(words), stdin))


_RAW: tuple[tuple[re.Pattern[str], Callable[[HostState, re.Match[str]], Ran]], ...] = (
    (
        re.compile(r"ToUnixTimeMilliseconds\(\)\s*$"),
        lambda host, _match: Ran(0, f"{round((host.files.now_s + host.clock_offset_s) * 1000)}\r\n"),
    ),
    (
        re.compile(r"Win32_OperatingSystem.*LastBootUpTime", re.DOTALL),
        lambda host, _match: Ran(0, f"{host.boot.number}-{host.boot.time_s:.0f}\r\n"),
    ),
    (
        re.compile(r"Get-Item -LiteralPath 'HKLM:.*' -ErrorAction Stop; '(success-[0-9a-f-]+)'", re.DOTALL),
        lambda _host, match: Ran(0, f"{match[1]}\r\n"),
    ),
    (
        re.compile(r"^\(?Get-WmiObject -ClassName Win32_OperatingSystem\)?\.LastBootUpTime"),
        lambda host, _match: Ran(0, f"{host.boot.number}\r\n"),
    ),
)


def _known(_machine: ModelMachine, host: HostState, script: str, _stdin: bytes) -> Ran | None:
    for pattern, tell in _RAW:
        match = pattern.search(script)
        if match:
            return tell(host, match)
    return None


def _remove(_machine: ModelMachine, host: HostState, script: str, _stdin: bytes) -> Ran | None:
    """The shell plugin's removal of a path."""
    match = re.match(r"^Remove-Item '((?:[^']|'')*)' -Force( -Recurse)?;?$", script.strip())
    if match is None:
        return None
    try:
        host.files.remove(match[1].replace("''", "'"))
    except FileSystemError as error:
        return Ran(1, stderr=str(error))
    return Ran(0)


def _reboot(machine: ModelMachine, host: HostState, script: str, _stdin: bytes) -> Ran | None:
    """win_reboot's call of shutdown.exe, answered in its JSON."""
    match = re.search(r"shutdown\.exe (/[ar].*?)(?:\}|$)", script, re.MULTILINE)
    if match is None:
        return None
    ran = machine.run_command(host, Command(("shutdown.exe", *match[1].split("|")[0].split())))
    if "ConvertTo-Json" not in script:
        return ran
    return Ran(0, json.dumps({"stdout": ran.stdout, "stderr": ran.stderr, "rc": ran.exit_code}) + "\r\n")


_FORMS = (_started_process, _known, _remove, _reboot, _call_operator, _bare_program)
