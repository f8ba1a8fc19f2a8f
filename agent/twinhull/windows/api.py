"""Functions of kernel32 and advapi32 with their types, and how their errors become OSError."""

from __future__ import annotations

import ctypes
import sys
from ctypes import wintypes
from typing import Any, Final

assert sys.platform == "win32"

INVALID_HANDLE: Final = ctypes.c_void_p(-1).value
ERROR_INVALID_FUNCTION: Final = 1
ERROR_FILE_NOT_FOUND: Final = 2
ERROR_PATH_NOT_FOUND: Final = 3
ERROR_ACCESS_DENIED: Final = 5
ERROR_NOT_SUPPORTED: Final = 50
ERROR_SHARING_VIOLATION: Final = 32
ERROR_LOCK_VIOLATION: Final = 33
ERROR_HANDLE_EOF: Final = 38
ERROR_HANDLE_DISK_FULL: Final = 39
ERROR_FILE_EXISTS: Final = 80
ERROR_INVALID_PARAMETER: Final = 87
ERROR_DISK_FULL: Final = 112
ERROR_ALREADY_EXISTS: Final = 183
ERROR_MORE_DATA: Final = 234
ERROR_DISK_QUOTA: Final = 1295
ERROR_FILE_SYSTEM_LIMITATION: Final = 665

kernel32: Final = ctypes.WinDLL("kernel32", use_last_error=True)
advapi32: Final = ctypes.WinDLL("advapi32", use_last_error=True)


def function(library: ctypes.WinDLL, name: str, result: Any, *arguments: Any) -> Any:
    """A function of a library with its types."""
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


def last_error(what: str = "") -> OSError:
    """What the last call left, as OSError with `winerror`."""
    number = ctypes.get_last_error()
    return OSError(None, ctypes.FormatError(number).strip().rstrip("."), what or None, number)


def checked(done: Any, what: str = "") -> Any:
    """The result, unless it says that the call failed. Raises OSError."""
    if not done:
        raise last_error(what)
    return done


close_handle: Final = function(kernel32, "CloseHandle", wintypes.BOOL, wintypes.HANDLE)
local_free: Final = function(kernel32, "LocalFree", wintypes.HLOCAL, wintypes.HLOCAL)
current_process: Final = function(kernel32, "GetCurrentProcess", wintypes.HANDLE)
tick_count_64: Final = function(kernel32, "GetTickCount64", ctypes.c_uint64)
