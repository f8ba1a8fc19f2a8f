"""Our PowerShell is Windows PowerShell 5.1 and calls only cmdlets and parameters that Windows has."""

from __future__ import annotations

import subprocess

from tests.standin import engine
from tests.standin.windows_host import MODULE, needs_engine

pytestmark = needs_engine
NOT_IN_THE_REFERENCE = "*-Hgs*"
"""Commands of the module HgsClient, which the checker's reference has not got."""


def test_the_checker_finds_nothing() -> None:
    source, program = engine.kit(), engine.present()
    assert source is not None
    assert program is not None
    command = [
        str(program),
        "-NoProfile",
        "-File",
        str(source / "check.ps1"),
        str(MODULE),
        "-Allow",
        NOT_IN_THE_REFERENCE,
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")
