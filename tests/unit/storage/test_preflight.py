"""Directories that must not hold volumes are refused in words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from twinhull.errors import StorageError
from twinhull.storage.preflight import Ground, Objection, objections, platform_probe, require_fit

PLACE = Path("/var/lib/twinhull")


def on(kind: str, *options: str, backing: Path | None = None, below: str = "ext4") -> list[Objection]:
    """What speaks against a directory on such a file system."""

    def probe(path: Path) -> Ground:
        return (
            Ground(below, frozenset(), None) if path == backing else Ground(kind, frozenset(options), backing)
        )

    return objections(PLACE, probe=probe)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_ordinary_local_disks_are_accepted(kind: str) -> None:
    assert on(kind, "rw", "relatime") == []


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("nfs4", "this node's own"),
        ("cifs", "this node's own"),
        ("fuse.sshfs", "this node's own"),
        ("fuse", "this node's own"),
        ("tmpfs", "in memory"),
        ("vfat", "sparse"),
    ],
)
def test_unfit_file_systems_are_refused(kind: str, word: str) -> None:
    (objection,) = on(kind)
    assert objection.fatal
    assert word in objection.sentence
    assert str(PLACE) in objection.sentence


@pytest.mark.parametrize(("kind", "word"), [("btrfs", "new place"), ("fuseblk", "never tested")])
def test_doubtful_file_systems_are_warned_of(kind: str, word: str) -> None:
    (objection,) = on(kind)
    assert not objection.fatal
    assert word in objection.sentence


@pytest.mark.parametrize(
    ("option", "word"), [("ro", "read-only"), ("nobarrier", "power loss"), ("barrier=0", "power")]
)
def test_mounts_that_cannot_keep_promises_are_refused(option: str, word: str) -> None:
    (objection,) = on("ext4", option)
    assert objection.fatal
    assert word in objection.sentence


def test_a_volume_on_a_volume_is_refused() -> None:
    (objection,) = on("ext4", "rw", backing=Path("/run/x/volume"), below="fuse.twinhull")
    assert objection.fatal
    assert "wait for itself" in objection.sentence
    (objection,) = on("ext4", "rw", backing=Path("/images/disk.img"))
    assert not objection.fatal


def test_a_directory_in_a_protected_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "vm"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(StorageError, match=r"cannot hold itself\. Choose"):
        require_fit(
            tmp_path / "link" / "data",
            folders=[tmp_path / "other", folder],
            probe=lambda path: Ground("xfs", frozenset(), None),
        )


def test_memory_is_accepted_where_tests_ask_for_it() -> None:
    memory = Ground("tmpfs", frozenset(), None)
    assert require_fit(PLACE, allow_memory=True, probe=lambda path: memory) == []
    with pytest.raises(StorageError, match="in memory"):
        require_fit(PLACE, probe=lambda path: memory)


def test_warnings_are_returned() -> None:
    (warning,) = require_fit(PLACE, probe=lambda path: Ground("zfs", frozenset(), None))
    assert "zfs" in warning


def test_this_machine_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert platform_probe(Path("/proc")).kind == "proc"
    assert objections(Path("/proc"))
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(StorageError, match="plan9"):
        platform_probe(Path("/proc"))
