"""The primitives of `storage.base` on Windows: unbuffered, written through, sparse, locked by a file nobody can share.

Sources: CreateFileW, "File Buffering" (alignment of FILE_FLAG_NO_BUFFERING), FSCTL_SET_SPARSE, FSCTL_SET_ZERO_DATA,
FSCTL_QUERY_ALLOCATED_RANGES, FSCTL_GET_RETRIEVAL_POINTERS of the Windows API reference. Nothing here goes through the
cache of Windows, because a worker sits below it.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

assert sys.platform == "win32"

from ..errors import DiskError, DiskFullError, StorageError, VolumeFormatError, VolumeLockedError
from ..windows import api, files
from .base import File

PUNCH_UNIT_BYTES: Final = 1 << 20
"""Only whole aligned units of this size are punched: each hole is an extent, and NTFS bounds them."""
PIECE_BYTES: Final = 1 << 20
POOL_PIECES: Final = 8
PAGE_BYTES: Final = 4096
EXTENTS_TOLD_FROM: Final = 500_000
_FULL: Final = frozenset({api.ERROR_DISK_FULL, api.ERROR_HANDLE_DISK_FULL, api.ERROR_DISK_QUOTA})
_UNSUPPORTED: Final = frozenset(
    {api.ERROR_INVALID_FUNCTION, api.ERROR_NOT_SUPPORTED, api.ERROR_INVALID_PARAMETER}
)
_ZEROS: Final = bytes(PIECE_BYTES)


def _disk_error(action: str, path: str, error: OSError) -> DiskError:
    """What Windows said, as one of ours."""
    if error.winerror in _FULL:
        return DiskFullError(
            f"No room to {action} {path}: {error.strerror}.",
            "Free space on that disk, or enlarge it, then start the module again.",
        )
    if error.winerror == api.ERROR_FILE_SYSTEM_LIMITATION:
        return DiskFullError(
            f"{path} is in too many pieces to {action} it: {error.strerror} (error 665).",
            "Move the volume to a disk formatted with 64 KiB clusters and large file records (format /A:64K /L).",
        )
    return DiskError(
        f"The disk failed to {action} {path}: {error.strerror} (error {error.winerror}).",
        "Check that disk and the system's event log; replace the disk if it is broken.",
    )


class _Buffers:
    """Memory at page boundaries, made and touched before it is needed; more is made only when all of it is in use."""

    def __init__(self, count: int = POOL_PIECES) -> None:
        self._free: deque[tuple[mmap.mmap, int]] = deque(self._make() for _ in range(count))

    @staticmethod
    def _make() -> tuple[mmap.mmap, int]:
        memory = mmap.mmap(-1, PIECE_BYTES + PAGE_BYTES)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        files.lock_memory(address, len(memory))
        return memory, address

    @contextlib.contextmanager
    def one(self) -> Iterator[tuple[memoryview, int]]:
        """A buffer of PIECE_BYTES and a page, and its address."""
        try:
            taken = self._free.pop()
        except IndexError:
            taken = self._make()
        try:
            with memoryview(taken[0]) as view:
                yield view, taken[1]
        finally:
            self._free.append(taken)


_buffers: _Buffers | None = None
_buffers_lock = threading.Lock()


def _pool() -> _Buffers:
    global _buffers  # noqa: PLW0603 - one pool for all files of the process, made with the first
    with _buffers_lock:
        if _buffers is None:
            _buffers = _Buffers()
        return _buffers


class WindowsFile:
    """An open file (implements `storage.base.File`).

    Args:
        handle: opened by `windows.files.open_unbuffered`, owned from here on.
        path: its path, for messages.
        unit_bytes: what its disk reads and writes at once.
    """

    def __init__(self, handle: int, path: str, unit_bytes: int) -> None:
        self._handle = handle
        self._path = path
        self._unit_bytes = unit_bytes
        self._pool = _pool()
        self._failed: DiskError | None = None
        self._partial = threading.Lock()
        self._close_lock = threading.Lock()
        self._can_punch = True

    # ---- reading -------------------------------------------------------------------------------------

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly `length_bytes` at `offset_bytes`."""
        self._check()
        with self._told("read"):
            parts = [
                self._read_piece(at, min(PIECE_BYTES, offset_bytes + length_bytes - at))
                for at in range(offset_bytes, offset_bytes + length_bytes, PIECE_BYTES)
            ]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_cached(self, offset_bytes: int, length_bytes: int) -> bytes | None:  # noqa: ARG002
        """Always None: nothing is cached, so the disk is always waited for."""
        self._check()
        return None

    def _read_piece(self, offset_bytes: int, length_bytes: int) -> bytes:
        start, end = self._around(offset_bytes, length_bytes)
        with self._pool.one() as (view, address):
            got = files.read_at(self._handle, start, address, end - start)
            if got < offset_bytes + length_bytes - start:
                raise OSError(None, f"the file ends at byte {start + got}", self._path, api.ERROR_HANDLE_EOF)
            return bytes(view[offset_bytes - start : offset_bytes - start + length_bytes])

    # ---- writing -------------------------------------------------------------------------------------

    def write(self, offset_bytes: int, data: bytes | bytearray | memoryview) -> None:
        """All of `data` at `offset_bytes`; durable after the next `sync`."""
        self._check()
        source = memoryview(data).cast("B")
        with self._told("write to"):
            for at in range(0, len(source), PIECE_BYTES):
                self._write_piece(offset_bytes + at, source[at : at + PIECE_BYTES])

    def _write_piece(self, offset_bytes: int, data: memoryview) -> None:
        length = len(data)
        if not (offset_bytes | length) & (self._unit_bytes - 1):
            with self._pool.one() as (view, address):
                view[:length] = data
                self._write_whole(offset_bytes, address, length)
            return
        start, end = self._around(offset_bytes, length)
        with self._partial, self._pool.one() as (view, address):
            got = files.read_at(self._handle, start, address, end - start)
            view[got : end - start] = bytes(end - start - got)
            view[offset_bytes - start : offset_bytes - start + length] = data
            self._write_whole(start, address, end - start)

    def _write_whole(self, offset_bytes: int, address: int, length_bytes: int) -> None:
        if files.write_at(self._handle, offset_bytes, address, length_bytes) != length_bytes:
            raise OSError(None, "only a part was written", self._path, api.ERROR_HANDLE_DISK_FULL)

    def _around(self, offset_bytes: int, length_bytes: int) -> tuple[int, int]:
        mask = self._unit_bytes - 1
        return offset_bytes & ~mask, (offset_bytes + length_bytes + mask) & ~mask

    def punch(self, offset_bytes: int, length_bytes: int) -> None:
        """The range reads as zeros; whole units of 1 MiB in it are freed, zeros are written beside them."""
        self._check()
        end = offset_bytes + length_bytes
        first = min(-(-offset_bytes // PUNCH_UNIT_BYTES) * PUNCH_UNIT_BYTES, end)
        last = max(end // PUNCH_UNIT_BYTES * PUNCH_UNIT_BYTES, first)
        self._write_zeros(offset_bytes, first)
        if first < last and not self._free_range(first, last):
            self._write_zeros(first, last)
        self._write_zeros(last, end)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """The range reads as zeros and keeps its space: zeros are written."""
        self._check()
        self._write_zeros(offset_bytes, offset_bytes + length_bytes)

    def _free_range(self, start: int, end: int) -> bool:
        """FSCTL_SET_ZERO_DATA. False where the file system knows nothing of it."""
        if not self._can_punch:
            return False
        with self._told("discard a range of"):
            try:
                files.control(self._handle, files.FSCTL_SET_ZERO_DATA, struct.pack("<qq", start, end))
            except OSError as error:
                if error.winerror not in _UNSUPPORTED:
                    raise
                self._can_punch = False
        return self._can_punch

    def _write_zeros(self, start: int, end: int) -> None:
        for at in range(start, end, PIECE_BYTES):
            self.write(at, memoryview(_ZEROS)[: min(PIECE_BYTES, end - at)])

    def sync(self) -> None:
        """FlushFileBuffers. An error is remembered for good: nobody knows what the disk holds after it."""
        self._check()
        try:
            files.flush(self._handle)
        except OSError as error:
            self._failed = _disk_error("make durable", self._path, error)
            raise self._failed from error

    def _check(self) -> None:
        """Promise 2: an error of a flush is final, and is told again by every later call."""
        failed = self._failed
        if failed is not None:
            raise type(failed)(failed.what, failed.remedy) from failed

    # ---- looking -------------------------------------------------------------------------------------

    def next_data(self, offset_bytes: int) -> tuple[int, int] | None:
        """The next range (offset, length) that is no hole (FSCTL_QUERY_ALLOCATED_RANGES)."""
        self._check()
        size = self.size()
        if offset_bytes >= size:
            return None
        asked = struct.pack("<qq", offset_bytes, size - offset_bytes)
        with self._told("find the data of"):
            try:
                answer = files.control(
                    self._handle, files.FSCTL_QUERY_ALLOCATED_RANGES, asked, 16, partly=True
                )
            except OSError as error:
                if error.winerror not in _UNSUPPORTED:
                    raise
                return offset_bytes, size - offset_bytes
        if len(answer) < 16:
            return None
        start, length = struct.unpack("<qq", answer[:16])
        begin = max(start, offset_bytes)
        return begin, min(start + length, size) - begin

    def size(self) -> int:
        """Length in bytes."""
        with self._told("look at"):
            return files.size(self._handle)

    def allocated(self) -> int:
        """Bytes of disk that it takes."""
        with self._told("look at"):
            return files.allocated(self._handle, self._path)

    def extents(self, at_most: int) -> int | None:
        """In how many pieces it lies on its disk, counted up to `at_most`; None where that cannot be told."""
        try:
            return files.count_extents(self._handle, at_most)
        except OSError:  # no failure of the disk: not every file system answers
            return None

    @contextlib.contextmanager
    def _told(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _disk_error(action, self._path, error) from error

    def close(self) -> None:
        """Close the handle."""
        with self._close_lock:
            handle, self._handle = self._handle, 0
        if handle:
            self._failed = self._failed or DiskError(f"{self._path} is closed.")
            api.close_handle(handle)


class WindowsDirectory:
    """A directory of a local disk (implements `storage.base.Directory`).

    Its lock is a file beside it that is open for nobody else; Windows closes it with the process.

    Args:
        path: an existing directory.

    Raises:
        StorageError: there is no such directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = 0
        try:
            if not path.is_dir():
                raise OSError(None, "it is no directory", str(path), api.ERROR_PATH_NOT_FOUND)
            self._unit_bytes = files.sector_bytes(path)
        except OSError as error:
            raise StorageError(
                f"The data directory {path} cannot be opened: {error.strerror}.",
                "Make it, as administrator, on a local disk of this node.",
            ) from error

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._path)

    def open(self, name: str) -> File:
        """An existing file. FileNotFoundError if there is none."""
        path = self._path / name
        try:
            handle = files.open_unbuffered(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _disk_error("open", str(path), error) from error
        if not files.is_plain(path):
            api.close_handle(handle)
            raise VolumeFormatError(f"{path} is not a regular file.", "Put the volume's own file back.")
        return WindowsFile(handle, str(path), self._unit_bytes)

    def create(self, name: str, size_bytes: int, *, sparse: bool) -> File:
        """A new file of zeros, readable by the administrators alone, durable with its name. FileExistsError.

        A file that is not sparse has its zeros written: its room is there, and nothing of before shows.
        """
        path = self._path / name
        try:
            handle = files.open_unbuffered(path, new=True)
        except FileExistsError:
            raise
        except OSError as error:
            raise _disk_error("create", str(path), error) from error
        file = WindowsFile(handle, str(path), self._unit_bytes)
        try:
            if sparse:
                files.control(handle, files.FSCTL_SET_SPARSE, b"")
            files.set_size(handle, size_bytes)
            if not sparse:
                file.zero(0, size_bytes)
            files.flush(handle)
            self._make_names_durable()
        except (OSError, DiskError) as error:
            file.close()
            with contextlib.suppress(OSError):
                path.unlink()
            if isinstance(error, DiskError):
                raise
            raise _disk_error(f"make room for {size_bytes} bytes in", str(path), error) from error
        return file

    def exists(self, name: str) -> bool:
        """Whether there is anything of this name."""
        return self._do("look at", name, files.exists)

    def remove(self, name: str) -> None:
        """Take it away, durably."""
        self._do("remove", name, Path.unlink)
        self._do("make durable", name, lambda _: self._make_names_durable())

    def _do(self, action: str, name: str, call: Callable[[Path], Any]) -> Any:
        path = self._path / name
        try:
            return call(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _disk_error(action, str(path), error) from error

    def _make_names_durable(self) -> None:
        """NTFS keeps names in its journal; a flush of any file writes the journal as far as that file needs it."""
        if self._lock:
            files.append_and_flush(self._lock)

    def lock(self) -> None:
        """Open the file beside the directory for nobody else, without waiting. VolumeLockedError."""
        path = self._path.with_name(f"{self._path.name}.lock")
        try:
            self._lock = files.open_alone(path)
        except OSError as error:
            if error.winerror in (api.ERROR_SHARING_VIOLATION, api.ERROR_LOCK_VIOLATION):
                raise VolumeLockedError(
                    f"The volume in {self._path} is in use by another process.",
                    "Stop the module on this node (or wait for its worker to end) first.",
                ) from error
            raise _disk_error("lock", self.name, error) from error

    def free(self) -> tuple[int, int]:
        """Free and total bytes of the disk, within what this account may use."""
        try:
            return files.free_space(self._path)
        except OSError as error:
            raise _disk_error("ask for the free space of", self.name, error) from error

    def close(self) -> None:
        """Close the lock's file, which gives the lock back."""
        lock, self._lock = self._lock, 0
        if lock:
            api.close_handle(lock)
