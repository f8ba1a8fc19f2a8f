"""Files and volumes on the primitives of Windows."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows Python", allow_module_level=True)
assert sys.platform == "win32"

from twinhull.core.identity import Id
from twinhull.errors import DiskError, StorageError, VolumeLockedError
from twinhull.storage.base import Fragmented
from twinhull.storage.platform import platform_directory
from twinhull.storage.preflight import platform_probe, require_fit
from twinhull.storage.volume import Volume
from twinhull.storage.windows import PUNCH_UNIT_BYTES, WindowsDirectory, WindowsFile
from twinhull.windows import acl, files

MIB = 1 << 20


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[WindowsDirectory]:
    made = WindowsDirectory(tmp_path)
    made.lock()
    yield made
    made.close()


def test_what_was_written_is_read_at_any_alignment(directory: WindowsDirectory) -> None:
    file = directory.create("data", 8 * MIB, sparse=True)
    data = os.urandom(3 * MIB + 1234)
    file.write(700, data)
    assert file.read(700, len(data)) == data
    assert file.read(0, 700) == bytes(700)
    assert file.read(700 + len(data), 4096) == bytes(4096)
    file.write(512 * 3 + 5, b"within a sector")
    expected = bytearray(bytes(700) + data)
    expected[512 * 3 + 5 : 512 * 3 + 20] = b"within a sector"
    assert file.read(0, len(expected)) == expected
    file.sync()
    file.close()
    again = directory.open("data")
    assert again.read(0, len(expected)) == expected
    again.close()


def test_reading_behind_the_end_is_an_error(directory: WindowsDirectory) -> None:
    file = directory.create("data", MIB, sparse=True)
    with pytest.raises(DiskError, match="ends at byte"):
        file.read(MIB - 512, 1024)
    file.close()


def test_a_sparse_file_takes_room_only_where_it_was_written(directory: WindowsDirectory) -> None:
    file = directory.create("data", 64 * MIB, sparse=True)
    assert file.size() == 64 * MIB
    before = file.allocated()
    file.write(40 * MIB, os.urandom(MIB))
    assert before + MIB <= file.allocated() + MIB < 64 * MIB
    found = file.next_data(0)
    assert found is not None
    assert found[0] <= 40 * MIB < found[0] + found[1]
    file.close()


def test_the_pieces_of_a_file_are_counted_or_not_to_be_told(directory: WindowsDirectory) -> None:
    """Wine's file systems may not know; on NTFS a file that holds something has one at least."""
    file = directory.create("data", 8 * MIB, sparse=True)
    file.write(0, os.urandom(MIB))
    assert isinstance(file, Fragmented)
    pieces = file.extents(1000)
    assert pieces is None or 1 <= pieces <= 1000
    file.close()


def test_a_discard_reads_as_zeros_at_any_alignment(directory: WindowsDirectory) -> None:
    file = directory.create("data", 8 * MIB, sparse=True)
    data = os.urandom(8 * MIB)
    file.write(0, data)
    start, end = MIB // 2 + 512, 4 * MIB + 4096
    file.punch(start, end - start)
    assert file.read(0, 8 * MIB) == data[:start] + bytes(end - start) + data[end:]
    file.punch(5 * MIB + 512, 1024)
    assert (
        file.read(5 * MIB, 4096)
        == data[5 * MIB : 5 * MIB + 512] + bytes(1024) + data[5 * MIB + 1536 :][:2560]
    )
    assert PUNCH_UNIT_BYTES == MIB
    file.close()


def test_a_thick_file_is_zeros_on_the_disk(directory: WindowsDirectory) -> None:
    file = directory.create("log", MIB + 4096, sparse=False)
    assert file.read(0, MIB + 4096) == bytes(MIB + 4096)
    assert file.allocated() >= MIB
    file.close()


def test_several_threads_read_and_write_one_file_at_once(directory: WindowsDirectory) -> None:
    file = directory.create("data", 16 * MIB, sparse=True)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                data = bytes([number, turn]) * 32768
                file.write(number * MIB + turn * 512, data)
                assert file.read(number * MIB + turn * 512, len(data)) == data
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close()
    assert failures == []


def test_a_failed_flush_is_told_ever_after(directory: WindowsDirectory) -> None:
    file = directory.create("data", MIB, sparse=True)
    assert isinstance(file, WindowsFile)
    own, file._handle = file._handle, 12345678
    with pytest.raises(DiskError, match="make durable"):
        file.sync()
    file._handle = own
    for call in (file.sync, lambda: file.write(0, bytes(512)), lambda: file.read(0, 512)):
        with pytest.raises(DiskError, match="make durable"):
            call()
    file.close()


def test_names_are_made_and_removed(directory: WindowsDirectory) -> None:
    directory.create("creating", 0, sparse=True).close()
    assert directory.exists("creating")
    with pytest.raises(FileExistsError):
        directory.create("creating", 0, sparse=True)
    directory.remove("creating")
    assert not directory.exists("creating")
    with pytest.raises(FileNotFoundError):
        directory.remove("creating")
    with pytest.raises(FileNotFoundError):
        directory.open("creating")
    free, total = directory.free()
    assert 0 < free <= total


HOLD = """
import sys
from pathlib import Path
from twinhull.storage.windows import WindowsDirectory
directory = WindowsDirectory(Path(sys.argv[1]))
directory.lock()
print("locked", flush=True)
sys.stdin.read()
"""


def test_the_lock_is_anothers_until_its_process_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert b"locked" in holder.stdout.readline()
    mine = WindowsDirectory(tmp_path)
    with pytest.raises(VolumeLockedError, match="another process"):
        mine.lock()
    holder.kill()
    holder.wait()
    mine.lock()
    mine.close()


def test_a_volume_lives_on_through_reopening(tmp_path: Path) -> None:
    def directory() -> WindowsDirectory:
        made = platform_directory(tmp_path)
        assert isinstance(made, WindowsDirectory)
        return made

    replica = Id(os.urandom(16))
    volume = Volume.create(directory(), size_bytes=64 * MIB, replica_id=replica, minimum_bytes=MIB)
    data = os.urandom(96 * 1024)
    volume.write(4096, data)
    volume.log_commit(add=(0, 3))
    volume.flush()
    volume.close()
    volume = Volume.open(directory())
    assert volume.record.replica_id == replica
    assert volume.read(4096, len(data)) == data
    assert volume.log_extents() == {0, 3}
    volume.discard(4096, 8192)
    assert volume.read(4096, len(data)) == bytes(8192) + data[8192:]
    assert volume.space().disk_free_bytes > 0
    volume.close()


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        platform_directory(tmp_path / "missing")


def test_the_ground_of_a_directory_is_told(tmp_path: Path) -> None:
    ground = platform_probe(tmp_path / "not" / "yet")
    assert ground.kind == ground.kind.lower() != ""
    assert files.sector_bytes(tmp_path) in (512, 4096)
    require_fit(tmp_path, probe=lambda _: ground._replace(kind="ntfs", options=frozenset()))


def test_a_private_file_lets_in_nobody_by_inheritance(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    acl.make_private(path)
    found = acl.dacl(path)
    assert ";;;WD)" not in found
    assert ";;;BU)" not in found
    assert ";;;SY)" in found
    assert path.read_bytes() == b"x"
