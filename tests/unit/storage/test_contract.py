"""What `storage.base` promises, kept by the real directory and the fake one alike."""

from __future__ import annotations

import random

import pytest

from twinhull.errors import DiskError, VolumeLockedError
from twinhull.storage.base import Directory, File

from .common import MIB
from .conftest import Handles


@pytest.fixture
def directory(handles: Handles) -> Directory:
    """An open directory."""
    return handles()


@pytest.fixture
def file(directory: Directory) -> File:
    """A new sparse file of 1 MiB."""
    return directory.create("file", MIB, sparse=True)


def test_a_new_file_reads_as_zeros_over_its_whole_size(file: File) -> None:
    assert file.size() == MIB
    assert file.read(0, MIB) == bytes(MIB)


def test_a_sparse_file_takes_no_room(file: File) -> None:
    assert file.allocated() == 0
    assert file.next_data(0) is None


def test_a_full_file_takes_its_room_at_once(directory: Directory) -> None:
    file = directory.create("full", MIB, sparse=False)
    assert file.allocated() >= MIB
    assert file.read(0, MIB) == bytes(MIB)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_was_written_is_read_again(file: File, kind: type[bytes]) -> None:
    file.write(1024, kind(b"abc" * 512))
    assert file.read(512, 2560) == bytes(512) + b"abc" * 512 + bytes(512)


def test_writes_at_any_byte_touch_nothing_else(file: File) -> None:
    rng = random.Random(1)
    expected = bytearray(MIB)
    for _ in range(200):
        offset = rng.randrange(MIB - 5000)
        data = rng.randbytes(rng.randint(1, 5000))
        file.write(offset, data)
        expected[offset : offset + len(data)] = data
    assert file.read(0, MIB) == bytes(expected)


@pytest.mark.parametrize("method", ["punch", "zero"])
@pytest.mark.parametrize(("offset", "length"), [(0, MIB), (4096, 8192), (100, 9000), (513, 7), (9, 0)])
def test_a_cleared_range_reads_as_zeros_and_nothing_else_changes(
    file: File, method: str, offset: int, length: int
) -> None:
    content = random.Random(2).randbytes(MIB)
    file.write(0, content)
    getattr(file, method)(offset, length)
    assert file.read(0, MIB) == content[:offset] + bytes(length) + content[offset + length :]


def test_punching_frees_room_and_zeroing_keeps_it(file: File) -> None:
    file.write(0, b"x" * MIB)
    file.sync()
    file.zero(0, MIB)
    assert file.allocated() >= MIB
    file.punch(0, MIB)
    assert file.allocated() == 0


def test_data_is_found_behind_holes(file: File) -> None:
    file.write(256 << 10, b"x" * (64 << 10))
    file.write(768 << 10, b"y" * (256 << 10))
    assert file.next_data(0) == (256 << 10, 64 << 10)
    assert file.next_data(300 << 10) == (300 << 10, 20 << 10)
    assert file.next_data(320 << 10) == (768 << 10, 256 << 10)
    assert file.next_data(MIB) is None


def test_what_was_just_written_is_read_without_waiting(file: File) -> None:
    file.write(8192, b"warm" * 1024)
    assert file.read_cached(8192, 4096) == b"warm" * 1024


def test_reading_behind_the_end_is_an_error(file: File) -> None:
    with pytest.raises(DiskError):
        file.read(MIB - 512, 1024)


def test_a_closed_file_refuses_and_closes_again(file: File) -> None:
    file.close()
    file.close()
    with pytest.raises(DiskError):
        file.read(0, 512)
    with pytest.raises(DiskError):
        file.read_cached(0, 512)
    with pytest.raises(DiskError):
        file.write(0, bytes(512))
    with pytest.raises(DiskError):
        file.sync()


def test_content_survives_closing(directory: Directory, file: File) -> None:
    file.write(0, b"kept" * 128)
    file.sync()
    file.close()
    assert directory.open("file").read(0, 512) == b"kept" * 128


def test_names_come_and_go(directory: Directory) -> None:
    assert not directory.exists("a")
    directory.create("a", 512, sparse=True).close()
    assert directory.exists("a")
    with pytest.raises(FileExistsError):
        directory.create("a", 512, sparse=True)
    directory.remove("a")
    assert not directory.exists("a")
    with pytest.raises(FileNotFoundError):
        directory.open("a")
    with pytest.raises(FileNotFoundError):
        directory.remove("a")


def test_an_empty_file_can_be_made(directory: Directory) -> None:
    assert directory.create("empty", 0, sparse=False).size() == 0


def test_only_one_holds_the_lock_until_it_closes(handles: Handles) -> None:
    first, second = handles(), handles()
    first.lock()
    first.lock()
    with pytest.raises(VolumeLockedError, match="in use"):
        second.lock()
    first.close()
    first.close()
    second.lock()


def test_the_disk_tells_its_room(directory: Directory) -> None:
    free, total = directory.free()
    assert 0 < free <= total


def test_a_directory_has_a_name_for_messages(directory: Directory) -> None:
    assert directory.name.startswith("/")
