"""The pair, for each test anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .pair import Pair, standing


@pytest.fixture
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two nodes without Twinhull."""
    before = request.session.testsfailed
    with standing(tmp_path, lambda: request.session.testsfailed > before) as pair:
        yield pair
