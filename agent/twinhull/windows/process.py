"""Processes and job objects: held by handle, started apart, ended together with whoever started them."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from ctypes import wintypes
from typing import Final

assert sys.platform == "win32"

from . import api
from .api import checked, function, kernel32, last_error

_TERMINATE, _SET_QUOTA, _SUSPEND, _QUERY, _SYNCHRONIZE = 0x1, 0x100, 0x800, 0x1000, 0x100000
_STILL_THERE: Final = 0x102
_KILLED: Final = 137
_JOB_LIMITS: Final = 9
_JOB_PROCESSES: Final = 3
_KILL_ON_CLOSE: Final = 0x2000
_MAX_PROCESSES: Final = 4096
CREATE_SUSPENDED: Final = 0x4
_BREAKAWAY: Final = 0x01000000
_MIB: Final = 1 << 20

_open_process = function(
    kernel32, "OpenProcess", wintypes.HANDLE, wintypes.DWORD, wintypes.BOOL, wintypes.DWORD
)
_terminate = function(kernel32, "TerminateProcess", wintypes.BOOL, wintypes.HANDLE, wintypes.UINT)
_wait = function(kernel32, "WaitForSingleObject", wintypes.DWORD, wintypes.HANDLE, wintypes.DWORD)
_times = function(
    kernel32,
    "GetProcessTimes",
    wintypes.BOOL,
    wintypes.HANDLE,
    *[ctypes.POINTER(ctypes.c_uint64)] * 4,
)
_image = function(
    kernel32,
    "QueryFullProcessImageNameW",
    wintypes.BOOL,
    wintypes.HANDLE,
    wintypes.DWORD,
    wintypes.LPWSTR,
    ctypes.POINTER(wintypes.DWORD),
)
_in_job = function(
    kernel32,
    "IsProcessInJob",
    wintypes.BOOL,
    wintypes.HANDLE,
    wintypes.HANDLE,
    ctypes.POINTER(wintypes.BOOL),
)
_create_job = function(kernel32, "CreateJobObjectW", wintypes.HANDLE, ctypes.c_void_p, wintypes.LPCWSTR)
_open_job = function(
    kernel32, "OpenJobObjectW", wintypes.HANDLE, wintypes.DWORD, wintypes.BOOL, wintypes.LPCWSTR
)
_assign = function(kernel32, "AssignProcessToJobObject", wintypes.BOOL, wintypes.HANDLE, wintypes.HANDLE)
_terminate_job = function(kernel32, "TerminateJobObject", wintypes.BOOL, wintypes.HANDLE, wintypes.UINT)
_set_job = function(
    kernel32,
    "SetInformationJobObject",
    wintypes.BOOL,
    wintypes.HANDLE,
    ctypes.c_int,
    ctypes.c_void_p,
    wintypes.DWORD,
)
_query_job = function(
    kernel32,
    "QueryInformationJobObject",
    wintypes.BOOL,
    wintypes.HANDLE,
    ctypes.c_int,
    ctypes.c_void_p,
    wintypes.DWORD,
    ctypes.POINTER(wintypes.DWORD),
)
_working_set = function(
    kernel32,
    "SetProcessWorkingSetSizeEx",
    wintypes.BOOL,
    wintypes.HANDLE,
    ctypes.c_size_t,
    ctypes.c_size_t,
    wintypes.DWORD,
)
_ntdll = ctypes.WinDLL("ntdll")
_nt_resume = function(_ntdll, "NtResumeProcess", ctypes.c_long, wintypes.HANDLE)
_nt_suspend = function(_ntdll, "NtSuspendProcess", ctypes.c_long, wintypes.HANDLE)


class _BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", wintypes.DWORD),
        ("minimum_set", ctypes.c_size_t),
        ("maximum_set", ctypes.c_size_t),
        ("active", wintypes.DWORD),
        ("affinity", ctypes.c_size_t),
        ("priority", wintypes.DWORD),
        ("scheduling", wintypes.DWORD),
    )


class _Limits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("basic", _BasicLimits),
        ("io", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process", ctypes.c_size_t),
        ("peak_job", ctypes.c_size_t),
    )


def open_process(pid: int) -> int:
    """A handle that can wait, end and suspend. Raises ProcessLookupError when there is none, OSError."""
    handle = _open_process(_TERMINATE | _SET_QUOTA | _SUSPEND | _QUERY | _SYNCHRONIZE, False, pid)
    if not handle:
        if ctypes.get_last_error() == api.ERROR_INVALID_PARAMETER:
            raise ProcessLookupError(f"there is no process {pid}")
        raise last_error(f"process {pid}")
    return int(handle)


def close(handle: int) -> None:
    """Let go."""
    api.close_handle(handle)


def wait_for_end(handle: int, patience_s: float) -> bool:
    """Whether the process is gone, waiting at most so long."""
    return bool(_wait(handle, int(patience_s * 1000)) != _STILL_THERE)


def terminate(handle: int) -> None:
    """End it; harmless when it has ended."""
    _terminate(handle, _KILLED)


def suspend(handle: int) -> None:
    """Stop all its threads, best effort."""
    _nt_suspend(handle)


def resume(handle: int) -> None:
    """Let them go on, best effort."""
    _nt_resume(handle)


def started(handle: int) -> int:
    """When it started (FILETIME): with its number it names a process for good. Raises OSError."""
    figures = [ctypes.c_uint64() for _ in range(4)]
    checked(_times(handle, *map(ctypes.byref, figures)))
    return figures[0].value


def name(handle: int) -> str:
    """Its program's file name; empty when that cannot be seen."""
    room = ctypes.create_unicode_buffer(32768)
    length = wintypes.DWORD(len(room))
    return room.value.rpartition("\\")[2] if _image(handle, 0, room, ctypes.byref(length)) else ""


def apart() -> int:
    """Creation flags of a process that outlives this one: no console, a group of its own, out of our job if it lets us."""
    flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    inside = wintypes.BOOL()
    _in_job(api.current_process(), None, ctypes.byref(inside))
    return flags | (_BREAKAWAY if inside.value else 0)


def hold_memory(minimum_mib: int, maximum_mib: int) -> None:
    """A hard minimum of the working set (SetProcessWorkingSetSizeEx): so much is never paged out. Raises OSError."""
    hard_minimum, soft_maximum = 0x1, 0x8
    checked(
        _working_set(
            api.current_process(), minimum_mib * _MIB, maximum_mib * _MIB, hard_minimum | soft_maximum
        )
    )


class Job:
    """A job object: everything in it dies when its last handle is closed, and with it when our process dies.

    Args:
        job_name: by which others find it as long as somebody holds it.
    """

    def __init__(self, job_name: str) -> None:
        self._handle = checked(_create_job(None, job_name), job_name)
        limits = _Limits()
        limits.basic.flags = _KILL_ON_CLOSE
        checked(_set_job(self._handle, _JOB_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)), job_name)

    def take(self, process: int) -> None:
        """A process (its handle) belongs to the job from here on, with all that it starts. Raises OSError."""
        checked(_assign(self._handle, process))

    def pids(self) -> list[int]:
        """What is in it. Raises OSError."""
        return _pids(self._handle)

    def terminate(self) -> None:
        """End all of it. Raises OSError."""
        checked(_terminate_job(self._handle, _KILLED))

    def close(self) -> None:
        """Let go: whatever is left in it dies."""
        handle, self._handle = self._handle, 0
        if handle:
            api.close_handle(handle)


def job_is_held(job_name: str) -> bool:
    """Whether somebody holds a job of this name, so that what is in it may run."""
    handle = _open_job(0x4, False, job_name)  # JOB_OBJECT_QUERY
    if handle:
        api.close_handle(handle)
    return bool(handle)


def _pids(job: int) -> list[int]:
    room = (ctypes.c_size_t * (1 + _MAX_PROCESSES))()
    checked(_query_job(job, _JOB_PROCESSES, room, ctypes.sizeof(room), None))
    count = int(room[0]) >> 32  # two 32-bit numbers: assigned, and in the list
    return [int(room[1 + index]) for index in range(count)]
