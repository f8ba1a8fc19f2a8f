"""The primitives of `storage.base` on Linux: positional I/O, fdatasync, hole punching, flock.

Everything that a platform does its own way stands here; `storage.platform` picks the module.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import DiskError, DiskFullError, StorageError, VolumeFormatError, VolumeLockedError
from ..spare import SpareBuffers
from .base import File

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})
_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 0x01, 0x02, 0x10  # linux/falloc.h
_ZEROS = bytes(1 << 20)
_FILE_MODE = 0o600

SMALL_READ_BYTES = 1 << 16
PIECE_BYTES = 1 << 18
"""A write is cut into pieces of this size: of a larger one newer kernels make one folio of the page cache, and then go
through all of its blocks for each small write to it that follows."""
LARGEST_SPARE_BYTES = 1 << 20
SPARE_BUFFERS = 2
"""For answers to large reads: a fresh megabyte for each would be filled with zeros first."""


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], int]:
    """fallocate(2) of the C library; Python has only posix_fallocate, which punches no holes."""
    function = ctypes.CDLL(None, use_errno=True).fallocate
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    function.restype = ctypes.c_int
    call: Callable[[int, int, int, int], int] = function
    return call


def _change_range(fd: int, mode: int, offset_bytes: int, length_bytes: int) -> None:
    """fallocate(2) with `mode`. Raises OSError."""
    while _fallocate()(fd, mode | _KEEP_SIZE, offset_bytes, length_bytes) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


def _disk_error(action: str, path: str, error: OSError) -> DiskError:
    """What the operating system said, as one of ours."""
    if error.errno in _FULL:
        return DiskFullError(
            f"No room to {action} {path}: {error.strerror}.",
            "Free space on that disk, or enlarge it, then start the module again.",
        )
    return DiskError(
        f"The disk failed to {action} {path}: {error.strerror}.",
        "Check that disk and the kernel's log; replace the disk if it is broken.",
    )


class LinuxFile:
    """An open regular file (implements `storage.base.File`).

    Args:
        fd: an open descriptor, owned from here on.
        path: its path, for messages.
    """

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._failed: DiskError | None = None
        self._nowait = True
        self._spare = SpareBuffers(LARGEST_SPARE_BYTES, SPARE_BUFFERS)
        self._close_lock = threading.Lock()

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly `length_bytes` at `offset_bytes`."""
        self._check()
        try:
            data = os.pread(self._fd, length_bytes, offset_bytes)
            if len(data) == length_bytes:
                return data
            return self._read_rest(offset_bytes, length_bytes, data)
        except OSError as error:
            raise _disk_error("read", self._path, error) from error

    def _read_rest(self, offset_bytes: int, length_bytes: int, data: bytes) -> bytes:
        parts = [data]
        got = len(data)
        while got < length_bytes:
            data = os.pread(self._fd, length_bytes - got, offset_bytes + got)
            if not data:
                raise OSError(errno.EIO, f"the file ends at byte {offset_bytes + got}")
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def read_cached(self, offset_bytes: int, length_bytes: int) -> memoryview | None:
        """Like `read`, out of the page cache only; None when the disk would have to be waited for."""
        self._check()
        if not self._nowait:
            return None
        large = SMALL_READ_BYTES < length_bytes <= LARGEST_SPARE_BYTES
        view = memoryview(self._spare.take() if large else bytearray(length_bytes))[:length_bytes]
        try:
            got = os.preadv(self._fd, [view], offset_bytes, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                self._nowait = False
                return None
            raise _disk_error("read", self._path, error) from error
        return view.toreadonly() if got == length_bytes else None

    def write(self, offset_bytes: int, data: bytes | bytearray | memoryview) -> None:
        """All of `data` at `offset_bytes`; durable after the next `sync`."""
        self._check()
        try:
            done = os.pwrite(self._fd, data, offset_bytes) if len(data) <= PIECE_BYTES else 0
            if done != len(data):
                self._write_pieces(offset_bytes, memoryview(data).cast("B"), done)
        except OSError as error:
            raise _disk_error("write to", self._path, error) from error

    def _write_pieces(self, offset_bytes: int, data: memoryview, done: int) -> None:
        while done < data.nbytes:
            step = os.pwrite(self._fd, data[done : done + PIECE_BYTES], offset_bytes + done)
            if step == 0:
                raise OSError(errno.EIO, "nothing was written")
            done += step

    def punch(self, offset_bytes: int, length_bytes: int) -> None:
        """The range reads as zeros and its blocks are freed (FALLOC_FL_PUNCH_HOLE)."""
        self._zeroed(_PUNCH_HOLE, offset_bytes, length_bytes)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """The range reads as zeros and keeps its blocks (FALLOC_FL_ZERO_RANGE)."""
        self._zeroed(_ZERO_RANGE, offset_bytes, length_bytes)

    def _zeroed(self, mode: int, offset_bytes: int, length_bytes: int) -> None:
        self._check()
        if length_bytes == 0:
            return
        try:
            _change_range(self._fd, mode, offset_bytes, length_bytes)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise _disk_error("discard a range of", self._path, error) from error
        else:
            return
        end = offset_bytes + length_bytes
        for start in range(offset_bytes, end, len(_ZEROS)):
            self.write(start, _ZEROS[: end - start])

    def sync(self) -> None:
        """fdatasync(2). The kernel drops what it could not write, so an error is remembered for good."""
        self._check()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._failed = _disk_error("make durable", self._path, error)
            raise self._failed from error

    def _check(self) -> None:
        """Promise 2: an fsync error is final, and is told again by every later call."""
        failed = self._failed
        if failed is not None:
            raise type(failed)(failed.what, failed.remedy) from failed

    def next_data(self, offset_bytes: int) -> tuple[int, int] | None:
        """The next range (offset, length) that is no hole (SEEK_DATA, SEEK_HOLE)."""
        self._check()
        try:
            start = os.lseek(self._fd, offset_bytes, os.SEEK_DATA)
            return start, os.lseek(self._fd, start, os.SEEK_HOLE) - start
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise _disk_error("find the data of", self._path, error) from error

    def size(self) -> int:
        """Length in bytes."""
        return self._stat().st_size

    def allocated(self) -> int:
        """Bytes of disk that it takes."""
        return self._stat().st_blocks * 512

    def _stat(self) -> os.stat_result:
        try:
            return os.fstat(self._fd)
        except OSError as error:
            raise _disk_error("look at", self._path, error) from error

    def close(self) -> None:
        """Close the descriptor."""
        with self._close_lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            self._failed = self._failed or DiskError(f"{self._path} is closed.")
            os.close(fd)


class LinuxDirectory:
    """A directory of a local file system (implements `storage.base.Directory`).

    Its lock is flock(2) on the directory itself: it needs no file and dies with the process.

    Args:
        path: an existing directory.

    Raises:
        StorageError: there is no such directory, or it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StorageError(
                f"The data directory {path} cannot be opened: {error.strerror}.",
                "Make it, as root, on a local disk of this node.",
            ) from error

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._path)

    def open(self, name: str) -> File:
        """An existing regular file. FileNotFoundError if there is none."""
        path = str(self._path / name)
        try:
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _disk_error("open", path, error) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise VolumeFormatError(f"{path} is not a regular file.", "Put the volume's own file back.")
        return LinuxFile(fd, path)

    def create(self, name: str, size_bytes: int, *, sparse: bool) -> File:
        """A new file of zeros, readable by its owner alone, durable with its name. FileExistsError."""
        path = str(self._path / name)
        try:
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, _FILE_MODE, dir_fd=self._fd)
        except FileExistsError:
            raise
        except OSError as error:
            raise _disk_error("create", path, error) from error
        try:
            if sparse or size_bytes == 0:
                os.ftruncate(fd, size_bytes)
            else:
                os.posix_fallocate(fd, 0, size_bytes)
            os.fsync(fd)
            os.fsync(self._fd)
        except OSError as error:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._fd)
            raise _disk_error(f"make room for {size_bytes} bytes in", path, error) from error
        return LinuxFile(fd, path)

    def exists(self, name: str) -> bool:
        """Whether there is anything of this name."""
        try:
            os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _disk_error("look at", str(self._path / name), error) from error
        return True

    def remove(self, name: str) -> None:
        """Unlink it, durably."""
        try:
            os.unlink(name, dir_fd=self._fd)
            os.fsync(self._fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _disk_error("remove", str(self._path / name), error) from error

    def lock(self) -> None:
        """flock(2), exclusive, without waiting; VolumeLockedError names the holder where it can."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = lock_holder(_kernel_locks(), os.fstat(self._fd))
            who = f"process {holder}" if holder else "another process"
            raise VolumeLockedError(
                f"The volume in {self._path} is in use by {who}.",
                "Stop the module on this node (or wait for its worker to end) first.",
            ) from error
        except OSError as error:
            raise _disk_error("lock", self.name, error) from error

    def free(self) -> tuple[int, int]:
        """Free and total bytes of the file system, free meaning: without what it reserves for root."""
        try:
            figures = os.fstatvfs(self._fd)
        except OSError as error:
            raise _disk_error("ask for the free space of", self.name, error) from error
        return figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize

    def close(self) -> None:
        """Close the descriptor, which gives the lock back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _kernel_locks() -> str:
    """The text of /proc/locks; empty where it cannot be read, because it only makes a message better."""
    try:
        return Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return ""


def lock_holder(locks: str, directory: os.stat_result) -> int | None:
    """The process that holds a flock on this inode, out of the text of /proc/locks (proc(5)), if it says."""
    device = directory.st_dev
    key = f"{os.major(device):02x}:{os.minor(device):02x}:{directory.st_ino}"
    for line in locks.splitlines():
        words = line.split()
        if len(words) >= 6 and words[1] == "FLOCK" and words[5] == key:
            return int(words[4]) if int(words[4]) > 0 else None
    return None


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo.

    Args:
        point: where it is mounted.
        kind: type of the file system.
        source: the device, or what stands for it.
        options: those of the mount and of the file system.
    """

    point: Path
    kind: str
    source: str
    options: frozenset[str]


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts in /proc/self/mountinfo, oldest first (proc(5); octal escapes are undone)."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        before, after = left.split(" "), right.split(" ")
        options = frozenset(before[5].split(",")) | frozenset(after[2].split(","))
        mounts.append(Mount(Path(_unescape(before[4])), after[0], _unescape(after[1]), options))
    return mounts


def _unescape(word: str) -> str:
    for escape, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(escape, char)
    return word


def mount_of(path: Path) -> Mount:
    """The mount that `path` (it need not exist yet) lies on."""
    real = path.resolve()
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    return deepest(mounts, real)


def deepest(mounts: list[Mount], path: Path) -> Mount:
    """The mount that a resolved path lies on: the deepest, and of several the one mounted last."""
    holding = [mount for mount in mounts if path.is_relative_to(mount.point)]
    if not holding:
        raise StorageError(f"No file system holds {path}.", "Choose a directory of a local disk.")
    return max(enumerate(holding), key=lambda item: (len(item[1].point.parts), item[0]))[1]


def loop_backing(source: str) -> Path | None:
    """The file behind a loop device (`/dev/loop0`), None for any other device (sysfs, loop(4))."""
    name = Path(source).name
    if not name.startswith("loop"):
        return None
    try:
        text = Path(f"/sys/block/{name}/loop/backing_file").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return Path(text.rstrip("\n"))
