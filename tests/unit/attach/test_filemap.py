"""Files are named by where they lie; what cannot be told is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from twinhull.attach import filemap


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder whose files lie where the test says, whatever the file system below would answer."""
    places = {"disk.qcow2": [(0, 100), (500, 100)], "notes": [(100, 50)], "sub/deep": [(650, 10)]}
    for name in places:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "notes")
    inodes = {(tmp_path / name).stat().st_ino: lies for name, lies in places.items()}
    monkeypatch.setattr(filemap, "extents", lambda fd: iter(inodes.get(os.fstat(fd).st_ino, ())))
    return tmp_path


def test_every_range_gets_the_files_that_it_touches(lying: Path) -> None:
    ranges = [(90, 20), (599, 60), (300, 10), (149, 1)]
    found, everything = filemap.owners(str(lying), ranges, float("inf"))
    assert [sorted(files) for files in found] == [
        ["disk.qcow2", "notes"],
        ["disk.qcow2", "sub/deep"],
        [],
        ["notes"],
    ]
    assert everything


def test_a_look_that_takes_too_long_says_that_it_is_not_complete(lying: Path) -> None:
    assert filemap.owners(str(lying), [(0, 1)], 0.0) == ([[]], False)


def test_a_folder_that_is_not_mounted_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert filemap.main([str(tmp_path), "1", "0+1"]) == 1
    assert "is not mounted" in capsys.readouterr().err


def test_the_answer_is_json(
    lying: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda _: True)
    assert filemap.main([str(lying), "10", "0+1,300+1"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": [["disk.qcow2"], []], "all": True}
