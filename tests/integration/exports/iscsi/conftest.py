"""A sparse file that stands for the volume."""

from __future__ import annotations

from pathlib import Path

import pytest

GIB = 1 << 30


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    """1 GiB of zeros that takes no space."""
    path = tmp_path / "backing"
    with path.open("wb") as file:
        file.truncate(GIB)
    return path
