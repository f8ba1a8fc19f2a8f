"""Fixtures for tests that need Windows Python; a conftest.py imports what it uses.

A machine without Wine says so by name for each such test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import template
from .prefix import Prefix

MakePrefix = Callable[[str], Prefix]


@pytest.fixture(scope="session")
def windows_python() -> Path:
    """The template with CPython, pytest and the agent's dependencies."""
    reason = template.why_not()
    if reason is not None:
        pytest.skip(reason)
    return template.python()


@pytest.fixture
def make_prefix(windows_python: Path, tmp_path: Path) -> Iterator[MakePrefix]:
    """Makes booted prefixes by name; nothing of them runs after the test."""
    made: list[Prefix] = []

    def make(name: str) -> Prefix:
        prefix = Prefix(tmp_path / name, windows_python)
        made.append(prefix)
        prefix.start()
        return prefix

    try:
        yield make
    finally:
        for prefix in made:
            prefix.remove()
