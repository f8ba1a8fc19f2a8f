"""The tests of `tests/windows_python` under Windows Python: one run of pytest inside a prefix, told test by test here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.fixtures import REPOSITORY
from tests.wine.prefix import Prefix

FILES = sorted(path.name for path in (REPOSITORY / "tests" / "windows_python").glob("test_*.py"))


@pytest.fixture(scope="module")
def prefix(windows_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefix]:
    """A Windows for all of them."""
    made = Prefix(tmp_path_factory.mktemp("inside") / "prefix", windows_python)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize("file", FILES)
def test_under_windows_python(prefix: Prefix, file: str) -> None:
    ran = prefix.pytest(
        rf"R:\tests\windows_python\{file}", r"--confcutdir=R:\tests\windows_python", "-rs", "-q"
    )
    assert ran.exit_code == 0, ran.output[-12_000:] + ran.errors[-4000:]
    passed = re.search(r"(\d+) passed", ran.output)
    assert passed is not None, ran.output
    assert "skipped" not in ran.output, ran.output
