"""Fleets of stand-in Windows hosts for the tests of this directory; see tests/standin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.standin.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """An empty fleet behind HTTPS."""
    with Fleet(tmp_path / "fleet") as made:
        yield made
