"""The calls of the C library that Python does not offer. Each releases the interpreter lock."""

from __future__ import annotations

import ctypes
import os

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_NOATIME = 0x400
MNT_DETACH = 0x2

PR_SET_IO_FLUSHER = 57
MCL_CURRENT = 1
MCL_FUTURE = 2
MCL_ONFAULT = 4


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """mount(2). Raises OSError."""
    arguments = (
        os.fsencode(source),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )
    _check(_libc().mount(*arguments), target)


def unmount_lazily(target: str) -> None:
    """umount2(2) with MNT_DETACH: gone from the tree at once. Raises OSError."""
    _check(_libc().umount2(os.fsencode(target), MNT_DETACH), target)


def set_io_flusher() -> None:
    """prctl(PR_SET_IO_FLUSHER): memory that this thread allocates never waits for a block device.

    Counts for the calling thread and those it starts. Raises OSError (EPERM without CAP_SYS_RESOURCE).
    """
    zero = ctypes.c_ulong(0)
    _check(_libc().prctl(PR_SET_IO_FLUSHER, ctypes.c_ulong(1), zero, zero, zero), "PR_SET_IO_FLUSHER")


def lock_memory(flags: int) -> None:
    """mlockall(2). Raises OSError."""
    _check(_libc().mlockall(ctypes.c_int(flags)), "mlockall")
