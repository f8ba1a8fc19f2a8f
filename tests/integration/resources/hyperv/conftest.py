"""Stand-in Windows hosts for the tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.standin.windows_host import WindowsHost

from twinhull.powershell import PowerShellHosts


@pytest.fixture
def windows(tmp_path: Path) -> WindowsHost:
    """One host with empty drives C and D."""
    return WindowsHost(tmp_path / "one")


@pytest.fixture
def shells(windows: WindowsHost) -> Iterator[PowerShellHosts]:
    """Its PowerShell."""
    hosts = PowerShellHosts(windows.engine())
    yield hosts
    hosts.close()
