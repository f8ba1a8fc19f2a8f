"""The two disks that every storage test can run on: a real directory and the fake one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.disk import FakeDisk

from twinhull.storage.base import Directory
from twinhull.storage.platform import platform_directory

Handles = Callable[[], Directory]


@pytest.fixture
def disk() -> FakeDisk:
    """A fake disk."""
    return FakeDisk()


@pytest.fixture(params=["real", "fake"])
def handles(request: pytest.FixtureRequest, tmp_path: Path, disk: FakeDisk) -> Handles:
    """Makes handles on one and the same directory, as several processes would have them."""
    if request.param == "fake":
        return disk.directory
    return lambda: platform_directory(tmp_path)
