"""What can be a module's bare folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinhull.attach.folder import FolderFacts, check_folder, look, objection, overlap
from twinhull.errors import FolderNotOursError

FOLDER = Path("/srv/m1")


def complaint(folder: Path, facts: FolderFacts) -> str:
    """The objection's first sentence, or nothing."""
    found = objection("m1", folder, facts)
    return found[0] if found else ""


def test_a_missing_or_empty_directory_is_good() -> None:
    assert not complaint(FOLDER, FolderFacts("missing", (), FOLDER))
    assert not complaint(FOLDER, FolderFacts("directory", (), FOLDER))


@pytest.mark.parametrize(
    ("folder", "facts", "words"),
    [
        (FOLDER, FolderFacts("link", (), FOLDER), "symbolic link"),
        (FOLDER, FolderFacts("other", (), FOLDER), "no directory"),
        (FOLDER, FolderFacts("directory", ("a", "b", "c", "d"), FOLDER), "a, b, c, ..."),
        (FOLDER, FolderFacts("directory", (), Path("/mnt/m1")), "leads over a symbolic link"),
        (Path("srv/m1"), FolderFacts("missing", (), Path("srv/m1")), "absolute"),
        (Path("/srv/../m1"), FolderFacts("missing", (), Path("/m1")), "absolute"),
        (Path("/"), FolderFacts("directory", ("bin",), Path("/")), "absolute"),
    ],
)
def test_what_cannot_be_a_folder_is_said(folder: Path, facts: FolderFacts, words: str) -> None:
    assert words in complaint(folder, facts)
    assert "m1" in complaint(folder, facts)


def test_overlapping_folders_are_found() -> None:
    folders = {"a": Path("/srv/a"), "b": Path("/srv/a/b"), "c": Path("/srv/ab"), "d": Path("/srv/ab")}
    assert [sentence[:30] for sentence in overlap(folders)] == [
        "The folders of modules a (/srv",
        "The folders of modules c (/srv",
    ]
    assert overlap({"a": Path("/srv/a"), "b": Path("/srv/ab")}) == []


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path.resolve() / "new"
    check_folder("m1", folder)
    assert not folder.exists()
    assert look(folder).kind == "missing"
    folder.mkdir()
    check_folder("m1", folder)
    (folder / "x").write_bytes(b"")
    with pytest.raises(FolderNotOursError, match="not empty"):
        check_folder("m1", folder)
    link = tmp_path.resolve() / "link"
    link.symlink_to(folder)
    with pytest.raises(FolderNotOursError, match="symbolic link"):
        check_folder("m1", link)
