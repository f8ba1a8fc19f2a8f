"""Files without the cache of Windows: opened unbuffered and overlapped, read and written at an offset."""

from __future__ import annotations

import ctypes
import struct
import sys
import threading
from ctypes import wintypes
from pathlib import Path
from typing import Final

assert sys.platform == "win32"

from . import api
from .api import checked, function, kernel32, last_error

FSCTL_SET_SPARSE: Final = 0x900C4
FSCTL_SET_ZERO_DATA: Final = 0x980C8
FSCTL_QUERY_ALLOCATED_RANGES: Final = 0x940CF
FSCTL_GET_RETRIEVAL_POINTERS: Final = 0x90073
_GENERIC_READ, _GENERIC_WRITE = 0x80000000, 0x40000000
_SHARE_READ = 0x1
_SHARE_WRITE = 0x2
_CREATE_NEW, _OPEN_EXISTING, _OPEN_ALWAYS = 1, 3, 4
_NO_BUFFERING, _WRITE_THROUGH, _OVERLAPPED, _OPEN_REPARSE = 0x20000000, 0x80000000, 0x40000000, 0x00200000
_ATTRIBUTE_DIRECTORY, _ATTRIBUTE_REPARSE = 0x10, 0x400
_INVALID_ATTRIBUTES = 0xFFFFFFFF
_IO_PENDING = 997
_FIXED_DRIVE = 3
_FILE_STANDARD_INFO = 1
_EXTENT_BATCH_BYTES = 16 + 16 * 4096


class _OverlappedIo(ctypes.Structure):
    """OVERLAPPED (minwinbase.h)."""

    _fields_ = (
        ("internal", ctypes.c_size_t),
        ("internal_high", ctypes.c_size_t),
        ("offset", wintypes.DWORD),
        ("offset_high", wintypes.DWORD),
        ("event", wintypes.HANDLE),
    )


_create_file = function(
    kernel32,
    "CreateFileW",
    wintypes.HANDLE,
    wintypes.LPCWSTR,
    wintypes.DWORD,
    wintypes.DWORD,
    ctypes.c_void_p,
    wintypes.DWORD,
    wintypes.DWORD,
    wintypes.HANDLE,
)
_transfer_types = (wintypes.HANDLE, ctypes.c_void_p, wintypes.DWORD, ctypes.c_void_p, ctypes.c_void_p)
_read_file = function(kernel32, "ReadFile", wintypes.BOOL, *_transfer_types)
_write_file = function(kernel32, "WriteFile", wintypes.BOOL, *_transfer_types)
_overlapped_result = function(
    kernel32,
    "GetOverlappedResult",
    wintypes.BOOL,
    wintypes.HANDLE,
    ctypes.c_void_p,
    ctypes.POINTER(wintypes.DWORD),
    wintypes.BOOL,
)
_create_event = function(
    kernel32, "CreateEventW", wintypes.HANDLE, ctypes.c_void_p, wintypes.BOOL, wintypes.BOOL, wintypes.LPCWSTR
)
_flush = function(kernel32, "FlushFileBuffers", wintypes.BOOL, wintypes.HANDLE)
_set_pointer = function(
    kernel32,
    "SetFilePointerEx",
    wintypes.BOOL,
    wintypes.HANDLE,
    ctypes.c_int64,
    ctypes.c_void_p,
    wintypes.DWORD,
)
_set_end = function(kernel32, "SetEndOfFile", wintypes.BOOL, wintypes.HANDLE)
_get_size = function(
    kernel32, "GetFileSizeEx", wintypes.BOOL, wintypes.HANDLE, ctypes.POINTER(ctypes.c_int64)
)
_compressed_size = function(
    kernel32,
    "GetCompressedFileSizeW",
    wintypes.DWORD,
    wintypes.LPCWSTR,
    ctypes.POINTER(wintypes.DWORD),
)
_file_information = function(
    kernel32,
    "GetFileInformationByHandleEx",
    wintypes.BOOL,
    wintypes.HANDLE,
    ctypes.c_int,
    ctypes.c_void_p,
    wintypes.DWORD,
)
_control = function(
    kernel32,
    "DeviceIoControl",
    wintypes.BOOL,
    wintypes.HANDLE,
    wintypes.DWORD,
    ctypes.c_void_p,
    wintypes.DWORD,
    ctypes.c_void_p,
    wintypes.DWORD,
    ctypes.POINTER(wintypes.DWORD),
    ctypes.c_void_p,
)
_disk_free = function(
    kernel32,
    "GetDiskFreeSpaceW",
    wintypes.BOOL,
    wintypes.LPCWSTR,
    *[ctypes.POINTER(wintypes.DWORD)] * 4,
)
_disk_free_ex = function(
    kernel32,
    "GetDiskFreeSpaceExW",
    wintypes.BOOL,
    wintypes.LPCWSTR,
    *[ctypes.POINTER(ctypes.c_uint64)] * 3,
)
_attributes = function(kernel32, "GetFileAttributesW", wintypes.DWORD, wintypes.LPCWSTR)
_volume_path = function(
    kernel32, "GetVolumePathNameW", wintypes.BOOL, wintypes.LPCWSTR, wintypes.LPWSTR, wintypes.DWORD
)
_volume_information = function(
    kernel32,
    "GetVolumeInformationW",
    wintypes.BOOL,
    wintypes.LPCWSTR,
    wintypes.LPWSTR,
    wintypes.DWORD,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.POINTER(wintypes.DWORD),
    wintypes.LPWSTR,
    wintypes.DWORD,
)
_drive_type = function(kernel32, "GetDriveTypeW", wintypes.UINT, wintypes.LPCWSTR)
_virtual_lock = function(kernel32, "VirtualLock", wintypes.BOOL, ctypes.c_void_p, ctypes.c_size_t)

_of_thread = threading.local()


def _open(path: Path, access: int, share: int, how: int, flags: int) -> int:
    handle = _create_file(str(path), access, share, None, how, flags, None)
    if handle is None or handle == api.INVALID_HANDLE:
        raise last_error(str(path))
    return int(handle)


def open_unbuffered(path: Path, *, new: bool = False) -> int:
    """Open for reading and writing without the cache. Raises OSError (FileNotFoundError, ...).

    Others may open it, too: who may write is decided by the lock (`open_alone`).
    """
    flags = _NO_BUFFERING | _WRITE_THROUGH | _OVERLAPPED | _OPEN_REPARSE
    return _open(
        path,
        _GENERIC_READ | _GENERIC_WRITE,
        _SHARE_READ | _SHARE_WRITE,
        _CREATE_NEW if new else _OPEN_EXISTING,
        flags,
    )


def open_alone(path: Path) -> int:
    """Open a file, made if it is missing, that nobody else may open meanwhile. Raises OSError."""
    return _open(path, _GENERIC_READ | _GENERIC_WRITE, 0, _OPEN_ALWAYS, _WRITE_THROUGH | _OPEN_REPARSE)


def append_and_flush(handle: int) -> None:
    """Change a file that `open_alone` opened and flush it. Raises OSError."""
    done = wintypes.DWORD()
    checked(_set_pointer(handle, 0, None, 0))
    checked(_write_file(handle, ctypes.create_string_buffer(b"lock"), 4, ctypes.byref(done), None))
    flush(handle)


def _event() -> int:
    event = getattr(_of_thread, "event", None)
    if event is None:
        event = _of_thread.event = checked(_create_event(None, True, False, None))
    return int(event)


def _finish(handle: int, started: int, request: _OverlappedIo) -> int:
    count = wintypes.DWORD()
    if not started and ctypes.get_last_error() != _IO_PENDING:
        if ctypes.get_last_error() == api.ERROR_HANDLE_EOF:
            return 0
        raise last_error()
    if not _overlapped_result(handle, ctypes.byref(request), ctypes.byref(count), True):
        if ctypes.get_last_error() == api.ERROR_HANDLE_EOF:
            return 0
        raise last_error()
    return int(count.value)


def read_at(handle: int, offset_bytes: int, address: int, length_bytes: int) -> int:
    """Read into memory; how many bytes there were. Raises OSError."""
    request = _OverlappedIo(0, 0, offset_bytes & 0xFFFFFFFF, offset_bytes >> 32, _event())
    started = _read_file(handle, address, length_bytes, None, ctypes.byref(request))
    return _finish(handle, started, request)


def write_at(handle: int, offset_bytes: int, address: int, length_bytes: int) -> int:
    """Write from memory; how many bytes went. Raises OSError."""
    request = _OverlappedIo(0, 0, offset_bytes & 0xFFFFFFFF, offset_bytes >> 32, _event())
    started = _write_file(handle, address, length_bytes, None, ctypes.byref(request))
    return _finish(handle, started, request)


def flush(handle: int) -> None:
    """FlushFileBuffers. Raises OSError."""
    checked(_flush(handle))


def set_size(handle: int, size_bytes: int) -> None:
    """Where the file ends. Raises OSError."""
    checked(_set_pointer(handle, size_bytes, None, 0))
    checked(_set_end(handle))


def size(handle: int) -> int:
    """Length of the file in bytes. Raises OSError."""
    found = ctypes.c_int64()
    checked(_get_size(handle, ctypes.byref(found)))
    return found.value


def allocated(handle: int, path: str) -> int:
    """Bytes of disk that a file takes: the smaller of two answers, since one of them may count holes. Raises OSError."""
    figures = (ctypes.c_int64 * 3)()
    checked(_file_information(handle, _FILE_STANDARD_INFO, figures, ctypes.sizeof(figures)), path)
    high = wintypes.DWORD()
    ctypes.set_last_error(0)
    low = int(_compressed_size(path, ctypes.byref(high)))
    if low == 0xFFFFFFFF and ctypes.get_last_error():
        raise last_error(path)
    return min(high.value << 32 | low, int(figures[0]))


def control(handle: int, code: int, asked: bytes, room_bytes: int = 0, *, partly: bool = False) -> bytes:
    """DeviceIoControl on an overlapped handle; its answer.

    Args:
        partly: an answer that does not fit is taken as far as it does.

    Raises OSError.
    """
    request = _OverlappedIo(0, 0, 0, 0, _event())
    room = ctypes.create_string_buffer(max(room_bytes, 1))
    count = wintypes.DWORD()
    done = _control(
        handle, code, asked, len(asked), room, room_bytes, ctypes.byref(count), ctypes.byref(request)
    )
    number = 0 if done else ctypes.get_last_error()
    if number == _IO_PENDING:
        done = _overlapped_result(handle, ctypes.byref(request), ctypes.byref(count), True)
        number = 0 if done else ctypes.get_last_error()
    if number and not (partly and number == api.ERROR_MORE_DATA):
        raise OSError(None, ctypes.FormatError(number).strip().rstrip("."), None, number)
    return room.raw[: min(count.value, room_bytes)]


def count_extents(handle: int, at_most: int) -> int:
    """In how many pieces a file lies on its disk (FSCTL_GET_RETRIEVAL_POINTERS). Raises OSError."""
    counted, cluster = 0, 0
    while counted < at_most:
        try:
            answer = control(
                handle,
                FSCTL_GET_RETRIEVAL_POINTERS,
                struct.pack("<q", cluster),
                _EXTENT_BATCH_BYTES,
                partly=True,
            )
        except OSError as error:
            if error.winerror == api.ERROR_HANDLE_EOF:
                return counted
            raise
        found = struct.unpack_from("<I", answer)[0] if len(answer) >= 16 else 0
        pairs = struct.iter_unpack("<qq", answer[16 : 16 + 16 * found])
        ends = [(end, place) for end, place in pairs]
        counted += len([place for _, place in ends if place >= 0])
        if not ends or len(answer) < _EXTENT_BATCH_BYTES:
            return counted
        cluster = ends[-1][0]
    return counted


def volume_of(path: Path) -> str:
    """The root of the volume that a path lies on, such as `D:\\`. Raises OSError."""
    room = ctypes.create_unicode_buffer(1024)
    checked(_volume_path(str(path), room, len(room)), str(path))
    return room.value


def cluster_and_sector_bytes(path: Path) -> tuple[int, int]:
    """What the volume allocates at once, and what its disk writes at once. Raises OSError."""
    sectors, unit, free, total = (wintypes.DWORD() for _ in range(4))
    checked(_disk_free(volume_of(path), *map(ctypes.byref, (sectors, unit, free, total))), str(path))
    return sectors.value * unit.value, unit.value


def sector_bytes(path: Path) -> int:
    """What the disk below a path reads and writes at once: 512 or 4096. Raises OSError."""
    return cluster_and_sector_bytes(path)[1]


def file_system(path: Path) -> tuple[str, bool, int]:
    """Name of the file system, whether it is on a local disk, and its flags (GetVolumeInformationW). Raises OSError."""
    root = volume_of(path)
    name = ctypes.create_unicode_buffer(64)
    flags = wintypes.DWORD()
    checked(_volume_information(root, None, 0, None, None, ctypes.byref(flags), name, len(name)), root)
    return name.value, _drive_type(root) == _FIXED_DRIVE, flags.value


def free_space(path: Path) -> tuple[int, int]:
    """Free bytes for this account, and total bytes, of the volume below. Raises OSError."""
    own, total, free = (ctypes.c_uint64() for _ in range(3))
    checked(_disk_free_ex(str(path), *map(ctypes.byref, (own, total, free))), str(path))
    return own.value, total.value


def exists(path: Path) -> bool:
    """Whether there is anything of this name. Raises OSError where that cannot be seen."""
    if _attributes(str(path)) != _INVALID_ATTRIBUTES:
        return True
    if ctypes.get_last_error() in (api.ERROR_FILE_NOT_FOUND, api.ERROR_PATH_NOT_FOUND):
        return False
    raise last_error(str(path))


def is_plain(path: Path) -> bool:
    """Whether it is a file, and no directory, link or other reparse point."""
    found = _attributes(str(path))
    return found != _INVALID_ATTRIBUTES and not found & (_ATTRIBUTE_DIRECTORY | _ATTRIBUTE_REPARSE)


def lock_memory(address: int, length_bytes: int) -> bool:
    """Touch memory and keep it from being paged out (VirtualLock); whether that was granted."""
    ctypes.memset(address, 0, length_bytes)
    return bool(_virtual_lock(address, length_bytes))
