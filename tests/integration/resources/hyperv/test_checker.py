"""Our PowerShell is Windows PowerShell 5.1 and calls only cmdlets and parameters that Windows has."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from tests.lab.fixtures import REPOSITORY
from tests.standin import engine
from tests.standin.windows_host import MODULE, needs_engine

pytestmark = needs_engine
NOT_IN_THE_REFERENCE = "*-Hgs*"
"""Commands of the module HgsClient, which the checker's reference has not got."""


PAGE = REPOSITORY / "docs" / "windows.md"
PROGRAMS = ("icacls.exe", "sc.exe", "cmd.exe")
TELLER = """
function Tell {{ ConvertTo-Json -Compress -InputObject @($args | ForEach-Object {{ [string] $_ }}) }}
{aliases}
$version = '1.0'
{lines}
"""


def check(path: Path) -> tuple[int, str]:
    source, program = engine.kit(), engine.present()
    assert source is not None and program is not None
    checker = str(source / "check.ps1")
    command = [str(program), "-NoProfile", "-File", checker, str(path), "-Allow", NOT_IN_THE_REFERENCE]
    ran = subprocess.run(command, capture_output=True, text=True)
    return ran.returncode, ran.stdout


def by_hand() -> str:
    """What docs/windows.md has typed, in order."""
    section = PAGE.read_text(encoding="utf-8").partition("## By hand")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"^ {7}(.*)$", section, re.MULTILINE)) + "\n"


def test_the_checker_finds_nothing() -> None:
    assert check(MODULE) == (0, "")


def test_what_is_typed_by_hand_is_windows_powershell(tmp_path: Path) -> None:
    (tmp_path / "hand.ps1").write_text(by_hand())
    assert check(tmp_path) == (0, "")


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_get_the_arguments_that_are_typed(tmp_path: Path, program: str) -> None:
    lines = [line for line in by_hand().splitlines() if line.startswith(f"{program} ")]
    assert lines
    text = TELLER.format(aliases=f"Set-Alias '{program}' Tell", lines="\n".join(lines))
    (tmp_path / "hand.ps1").write_text(text)
    command = [str(engine.present()), "-NoProfile", "-File", str(tmp_path / "hand.ps1")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    typed = [re.findall(r'"[^"]*"|\S+', line.replace("$version", "1.0"))[1:] for line in lines]
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [
        [word.strip('"') for word in words] for words in typed
    ]
