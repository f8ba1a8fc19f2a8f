"""The real primitives where the operating system misbehaves or answers in its own words."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twinhull.errors import DiskError, DiskFullError, StorageError, VolumeFormatError, VolumeLockedError
from twinhull.storage import linux
from twinhull.storage.linux import (
    PIECE_BYTES,
    LinuxDirectory,
    LinuxFile,
    Mount,
    deepest,
    lock_holder,
    loop_backing,
    mount_of,
    parse_mountinfo,
)
from twinhull.storage.platform import platform_directory

from .common import MIB


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[LinuxDirectory]:
    """A real directory."""
    directory = LinuxDirectory(tmp_path)
    yield directory
    directory.close()


@pytest.fixture
def file(directory: LinuxDirectory) -> Iterator[LinuxFile]:
    """A real file of 1 MiB."""
    file = directory.create("file", MIB, sparse=True)
    assert isinstance(file, LinuxFile)
    yield file
    file.close()


def failing(number: int) -> Callable[..., Any]:
    """A system call that always fails."""

    def call(*args: object, **kwargs: object) -> Any:
        raise OSError(number, os.strerror(number))

    return call


def short(call: Callable[..., int]) -> Callable[..., int]:
    """pwrite that takes at most 1000 bytes at a time."""
    return lambda fd, data, offset: call(fd, memoryview(data)[:1000], offset)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_apart(file: LinuxFile, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "pwrite", failing(number))
    with pytest.raises(DiskFullError, match=r"No room to write to .*file.*Free space"):
        file.write(0, b"x")


def test_a_write_beyond_the_limit_of_file_sizes_is_a_full_disk(file: LinuxFile) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    try:
        with pytest.raises(DiskFullError):
            file.write(MIB, b"x" * 512)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_any_other_error_is_a_failed_disk(file: LinuxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", failing(errno.EIO))
    monkeypatch.setattr(os, "pread", failing(errno.EIO))
    monkeypatch.setattr(os, "preadv", failing(errno.EIO))
    monkeypatch.setattr(os, "lseek", failing(errno.EIO))
    monkeypatch.setattr(linux, "_change_range", failing(errno.EIO))
    for call in (
        lambda: file.write(0, b"x"),
        lambda: file.read(0, 1),
        lambda: file.read_cached(0, 1),
        lambda: file.next_data(0),
        lambda: file.punch(0, 4096),
    ):
        with pytest.raises(DiskError, match="The disk failed to") as caught:
            call()
        assert not isinstance(caught.value, DiskFullError)


def test_a_failed_sync_is_told_by_every_later_call(file: LinuxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing(errno.EIO))
        with pytest.raises(DiskError, match="make durable"):
            file.sync()
    for call in (
        file.sync,
        lambda: file.write(0, b"x"),
        lambda: file.read(0, 1),
        lambda: file.read_cached(0, 1),
        lambda: file.punch(0, 4096),
        lambda: file.zero(0, 4096),
        lambda: file.next_data(0),
    ):
        with pytest.raises(DiskError, match="make durable"):
            call()


def test_a_sync_without_room_stays_a_full_disk(file: LinuxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing(errno.ENOSPC))
        with pytest.raises(DiskFullError):
            file.sync()
    with pytest.raises(DiskFullError):
        file.write(0, b"x")


def test_a_large_write_reaches_the_kernel_in_pieces(file: LinuxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = []
    pwrite = os.pwrite

    def noted(descriptor: int, data: bytes, offset: int) -> int:
        pieces.append((offset, len(data)))
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", noted)
    content = os.urandom(2 * PIECE_BYTES + 512)
    file.write(4096, content)
    assert pieces == [
        (4096, PIECE_BYTES),
        (4096 + PIECE_BYTES, PIECE_BYTES),
        (4096 + 2 * PIECE_BYTES, 512),
    ]
    assert file.read(4096, len(content)) == content


def test_short_writes_and_reads_are_completed(file: LinuxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    pread = os.pread
    monkeypatch.setattr(os, "pwrite", short(os.pwrite))
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, min(length, 700), offset))
    data = os.urandom(10_000)
    file.write(3, data)
    assert file.read(3, len(data)) == data


def test_a_disk_that_takes_nothing_is_a_failed_disk(file: LinuxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: 0)
    with pytest.raises(DiskError, match="nothing was written"):
        file.write(0, b"x")


def test_what_is_not_cached_is_not_waited_for(file: LinuxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "preadv", failing(errno.EAGAIN))
    assert file.read_cached(0, 512) is None
    monkeypatch.setattr(os, "preadv", lambda *args: 100)
    assert file.read_cached(0, 512) is None


def test_a_file_system_that_cannot_answer_from_its_cache_is_asked_once(
    file: LinuxFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", failing(errno.EOPNOTSUPP))
    assert file.read_cached(0, 512) is None
    monkeypatch.undo()
    file.write(0, b"x" * 512)
    assert file.read_cached(0, 512) is None


@pytest.mark.parametrize("method", ["punch", "zero"])
def test_zeros_are_written_where_holes_cannot_be_punched(
    file: LinuxFile, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(linux, "_change_range", failing(errno.EOPNOTSUPP))
    file.write(0, b"x" * MIB)
    getattr(file, method)(4096, 100_000)
    assert file.read(0, MIB) == b"x" * 4096 + bytes(100_000) + b"x" * (MIB - 104_096)


def test_an_interrupted_system_call_is_made_again(file: LinuxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    real = linux._fallocate()
    calls = []

    def interrupted(*args: int) -> int:
        calls.append(args)
        if len(calls) == 1:
            ctypes.set_errno(errno.EINTR)
            return -1
        return real(*args)

    monkeypatch.setattr(linux, "_fallocate", lambda: interrupted)
    file.write(0, b"x" * 4096)
    file.punch(0, 4096)
    assert file.read(0, 4096) == bytes(4096)
    assert len(calls) == 2


def test_what_cannot_be_punched_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x" * 4096)
    reader = LinuxFile(os.open(tmp_path / "plain", os.O_RDONLY), "plain")
    with pytest.raises(DiskError, match="discard a range"):
        reader.punch(0, 4096)
    reader.close()


def test_a_closed_file_cannot_be_punched_or_looked_at(file: LinuxFile) -> None:
    file.close()
    with pytest.raises(DiskError):
        file.punch(0, 4096)
    with pytest.raises(DiskError):
        file.size()


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be opened.*Make it"):
        platform_directory(tmp_path / "missing")
    (tmp_path / "plain").touch()
    with pytest.raises(StorageError, match="cannot be opened"):
        LinuxDirectory(tmp_path / "plain")


def test_other_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(StorageError, match="not supported on plan9"):
        platform_directory(tmp_path)


def test_only_regular_files_are_opened(directory: LinuxDirectory, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(VolumeFormatError, match="not a regular file"):
        directory.open("pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    with pytest.raises(DiskError):
        directory.open("link")


def test_files_are_readable_by_their_owner_alone(file: LinuxFile, tmp_path: Path) -> None:
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_file_that_finds_no_room_is_not_left_behind(
    directory: LinuxDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.ENOSPC))
    with pytest.raises(DiskFullError, match="make room for 4096 bytes"):
        directory.create("full", 4096, sparse=False)
    assert not directory.exists("full")


def test_a_directory_on_a_failed_disk_says_so(
    directory: LinuxDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.create("there", 512, sparse=True).close()
    for name in ("open", "stat", "fsync", "fstatvfs"):
        monkeypatch.setattr(os, name, failing(errno.EIO))
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
    for call in (
        lambda: directory.create("file", 512, sparse=True),
        lambda: directory.exists("file"),
        lambda: directory.remove("there"),
        directory.lock,
        directory.free,
    ):
        with pytest.raises(DiskError, match="The disk failed to"):
            call()


HOLD_LOCK = """
import sys
from pathlib import Path
from twinhull.storage.linux import LinuxDirectory
directory = LinuxDirectory(Path(sys.argv[1]))
directory.lock()
print("locked", flush=True)
sys.stdin.read()
"""


def test_the_lock_names_its_holder_and_dies_with_it(directory: LinuxDirectory, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(VolumeLockedError, match=f"process {holder.pid}"):
            directory.lock()
        holder.kill()
        holder.wait()
        directory.lock()


def test_the_lock_is_refused_also_when_the_kernel_does_not_name_its_holder(
    directory: LinuxDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = LinuxDirectory(tmp_path)
    directory.lock()
    monkeypatch.setattr(Path, "read_text", failing(errno.EACCES))
    with pytest.raises(VolumeLockedError, match="another process"):
        second.lock()
    second.close()


def test_the_holder_of_a_lock_is_found_in_the_kernels_list(tmp_path: Path) -> None:
    found = tmp_path.stat()
    key = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    assert lock_holder(f"1: POSIX ADVISORY WRITE 7 {key} 0 EOF\n2: FLOCK", found) is None
    assert lock_holder(f"1: FLOCK  ADVISORY  WRITE 42 {key} 0 EOF\n", found) == 42
    assert lock_holder(f"1: FLOCK  ADVISORY  WRITE -1 {key} 0 EOF\n", found) is None


MOUNTINFO = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
28 27 0:25 / /srv/a\\040b ro,noatime shared:7 - xfs /dev/mapper/x\\134y rw,attr2
29 27 0:26 / /srv tmpfs,rw - tmpfs none rw
30 27 0:27 / /srv rw - nfs4 server:/x rw
"""


def test_mounts_are_read_with_their_options_and_odd_names() -> None:
    mounts = parse_mountinfo(MOUNTINFO)
    assert mounts[1] == Mount(
        Path("/srv/a b"), "xfs", "/dev/mapper/x\\y", frozenset({"ro", "noatime", "rw", "attr2"})
    )


def test_the_deepest_and_newest_mount_holds_a_path() -> None:
    mounts = parse_mountinfo(MOUNTINFO)
    assert deepest(mounts, Path("/srv/a b/c")).kind == "xfs"
    assert deepest(mounts, Path("/srv/a")).kind == "nfs4"
    assert deepest(mounts, Path("/home")).kind == "ext4"
    with pytest.raises(StorageError, match="No file system holds"):
        deepest([], Path("/home"))


def test_this_machines_mounts_can_be_read(tmp_path: Path) -> None:
    assert mount_of(Path("/proc/self")).kind == "proc"
    assert tmp_path.is_relative_to(mount_of(tmp_path / "not" / "there").point)


def test_only_loop_devices_have_a_file_behind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loop_backing("/dev/sda1") is None
    assert loop_backing("/dev/loop9999") is None
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: "/srv/disk.img\n")
    assert loop_backing("/dev/loop3") == Path("/srv/disk.img")
