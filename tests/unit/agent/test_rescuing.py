"""What differs between a rescue and the module as it is now."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinhull.agent.rescuing import Listed, _check_target, _inside, _overlaps, compare, listing
from twinhull.errors import UsageError

MIB = 1 << 20


def test_files_that_differ_are_told_with_both_sides() -> None:
    old = {
        "same": Listed("file", 5, 1), "gone": Listed("file", 6, 2 * 10**9), "longer": Listed("file", 7, 3),
        "disk.img": Listed("file", 9, 4), "dir": Listed("directory", 0, 0),
    }  # fmt: skip
    now = {
        "same": Listed("file", 5, 1), "longer": Listed("file", 8, 3), "disk.img": Listed("file", 9, 4),
        "dir": Listed("directory", 0, 0), "new": Listed("link", 3, 5),
    }  # fmt: skip
    changes = {each["path"]: each for each in compare(old, now, {"disk.img"})}
    assert {path: each["what"] for path, each in changes.items()} == {
        "gone": "only in the rescue", "longer": "differs", "disk.img": "differs", "new": "only now",
    }  # fmt: skip
    assert changes["gone"]["rescue"]["size_bytes"] == 6
    assert changes["gone"]["rescue"]["time"].startswith("1970-01-01T")
    assert changes["gone"]["now"] is None and changes["new"]["rescue"] is None


def test_a_listing_names_everything_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("/etc/passwd")
    found = listing(tmp_path)
    assert {path: entry.kind for path, entry in found.items()} == {
        "deep": "directory", "deep/er": "directory", "deep/er/file": "file", "link": "link",
    }  # fmt: skip
    assert found["deep/er/file"].size_bytes == 5


@pytest.mark.parametrize(
    ("begin", "end", "hit"), [(0, 10, False), (0, 11, True), (19, 30, True), (20, 30, False), (50, 51, True)]
)
def test_ranges_touch_each_other_or_not(begin: int, end: int, hit: bool) -> None:
    assert _overlaps([(10, 20), (40, 60)], begin, end) is hit


@pytest.mark.parametrize("path", ["../outside", "missing", "link/passwd"])
def test_nothing_outside_of_the_old_file_system_is_taken_out(tmp_path: Path, path: str) -> None:
    inside = tmp_path / "files"
    inside.mkdir()
    (tmp_path / "outside").write_text("x")
    (inside / "link").symlink_to("/etc")
    with pytest.raises(UsageError, match="There is no"):
        _inside(inside, path)


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        _check_target(tmp_path)
    with pytest.raises(UsageError, match="no absolute path"):
        _check_target(Path("old"))
    _check_target(tmp_path / "new")
