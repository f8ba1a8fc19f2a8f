"""Which command to run on a host, and how to write it down for the host's shell. Pure functions.

Nothing that is secret and nothing that is long travels here: a configuration goes over standard input.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence

LINUX_COMMAND = ("/usr/local/bin/twinhull",)
WINDOWS_COMMAND = (
    r"C:\Program Files\Twinhull\current\python\python.exe",
    "-X",
    "utf8",
    "-m",
    "twinhull.cli",
)
"""`-X utf8` because the embeddable Python ignores the environment's PYTHONUTF8."""
EXIT_MARK = "#twinhull-exit="
ERROR_MARK = "#twinhull-stderr"
NOT_FOUND = 127
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
"""How modules and nodes may be called (docs/configuration.md)."""

_PLAIN = re.compile(r"[ !-&(-~]+")
_HEAD = """\
$ErrorActionPreference='Stop'
try{{[Console]::OutputEncoding=New-Object Text.UTF8Encoding $false}}catch{{}}
$s=New-Object Diagnostics.ProcessStartInfo
$s.FileName={program}
$s.Arguments={arguments}
$s.UseShellExecute=$false
$s.CreateNoWindow=$true
$s.RedirectStandardInput=$true
$s.RedirectStandardOutput=$true
$s.RedirectStandardError=$true
$s.StandardOutputEncoding=[Text.Encoding]::UTF8
$s.StandardErrorEncoding=[Text.Encoding]::UTF8
try{{$p=[Diagnostics.Process]::Start($s)}}catch{{
$x=$_.Exception
while($x.InnerException){{$x=$x.InnerException}}
$c=126
if($x -is [ComponentModel.Win32Exception] -and (2,3) -contains $x.NativeErrorCode){{$c={not_found}}}
'{error_mark}'
$x.Message
"{exit_mark}$c"
exit $c}}
$o=$p.StandardOutput.ReadToEndAsync()
$e=$p.StandardError.ReadToEndAsync()
$i=$p.StandardInput.BaseStream
"""
_INPUT = """\
$b=[Text.Encoding]::ASCII.GetBytes((@($input) -join "`n"))
try{$i.Write($b,0,$b.Length)}catch [IO.IOException]{}
"""
_TAIL = """\
$i.Close()
$p.WaitForExit()
$o.Result
'{error_mark}'
$e.Result
"{exit_mark}$($p.ExitCode)"
exit $p.ExitCode
"""


def twinhull_argv(command: Sequence[str] | None, arguments: Sequence[str], *, windows: bool) -> list[str]:
    """The program and all its arguments.

    Args:
        command: the program and its first arguments; None or empty: where the collection installs it.
        arguments: what follows, without `--json`.
        windows: the host's platform.

    Raises ValueError for a NUL character, which no platform can pass on.
    """
    argv = [*(command or (WINDOWS_COMMAND if windows else LINUX_COMMAND)), *arguments, "--json"]
    for word in argv:
        if "\0" in word:
            raise ValueError(f"the argument {word!r} has a NUL character")
    return argv


def posix_command(argv: Sequence[str], *, with_input: bool) -> str:
    """The command line for a POSIX shell; without input it never waits for a person to type."""
    return shlex.join(argv) + ("" if with_input else " </dev/null")


def powershell_literal(text: str) -> str:
    """A PowerShell expression with exactly this string as its value.

    Only printable ASCII stands between quotes, and never an apostrophe; everything else, the quotes that PowerShell takes
    for apostrophes (U+2018 to U+201B) among it, is written as UTF-16 code units.
    """
    parts: list[str] = []
    position = 0
    while position < len(text):
        match = _PLAIN.match(text, position)
        if match:
            parts.append(f"'{match.group()}'")
            position = match.end()
        else:
            units = text[position].encode("utf-16-be", "surrogatepass")
            parts += [
                f"[char]{int.from_bytes(units[index : index + 2], 'big')}"
                for index in range(0, len(units), 2)
            ]
            position += 1
    if len(parts) == 1 and parts[0].startswith("'"):
        return parts[0]
    return "(" + "+".join(["''", *parts]) + ")" if parts else "''"


def powershell_script(argv: Sequence[str], *, with_input: bool) -> str:
    """A script for Windows PowerShell 5.1 that runs the program and tells its output and exit code.

    The program is started by CreateProcess and not by PowerShell's call operator, which loses empty arguments and embedded
    quotes (https://learn.microsoft.com/dotnet/api/system.diagnostics.processstartinfo.arguments). Its exit code is in the
    last line of the output, after `EXIT_MARK`: a connection may run the script in a shell within a shell and lose it.

    Args:
        argv: the program and its arguments.
        with_input: pass the lines of standard input on to the program; they must be ASCII.
    """
    marks = {"error_mark": ERROR_MARK, "exit_mark": EXIT_MARK}
    head = _HEAD.format(
        program=powershell_literal(argv[0]),
        arguments=powershell_literal(subprocess.list2cmdline(argv[1:])),
        not_found=NOT_FOUND,
        **marks,
    )
    return head + (_INPUT if with_input else "") + _TAIL.format(**marks)
