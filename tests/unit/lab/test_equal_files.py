"""Comparing sparse files byte for byte."""

from __future__ import annotations

from pathlib import Path

from tests.lab.protected import PIECE_BYTES, equal_files

SIZE_BYTES = 8 * PIECE_BYTES


def sparse(path: Path, content: dict[int, bytes], size_bytes: int = SIZE_BYTES) -> Path:
    """A file with content at some offsets and holes elsewhere."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
        for offset, data in content.items():
            file.seek(offset)
            file.write(data)
    return path


def test_holes_and_written_zeros_are_equal(tmp_path: Path) -> None:
    first = sparse(tmp_path / "first", {})
    assert equal_files(first, sparse(tmp_path / "second", {PIECE_BYTES: bytes(PIECE_BYTES)}))


def test_one_differing_byte_anywhere_is_found(tmp_path: Path) -> None:
    first = sparse(tmp_path / "first", {PIECE_BYTES: b"x" * 5000})
    for offset in (0, PIECE_BYTES + 4999, SIZE_BYTES - 1):
        content = {PIECE_BYTES: b"x" * 5000, offset: b"y"}
        second = sparse(tmp_path / f"second-{offset}", content)
        assert not equal_files(first, second)
        assert not equal_files(second, first)


def test_files_of_different_sizes_differ(tmp_path: Path) -> None:
    first = sparse(tmp_path / "first", {})
    assert not equal_files(first, sparse(tmp_path / "second", {}, SIZE_BYTES + 512))


def test_equal_content_at_odd_offsets_is_equal(tmp_path: Path) -> None:
    content = {5: b"a", 3 * PIECE_BYTES + 77: b"b" * PIECE_BYTES}
    assert equal_files(sparse(tmp_path / "first", content), sparse(tmp_path / "second", content))
