"""A process that serves a block device sits under the page cache: its memory must never wait for that device.

If the kernel, short of memory, wrote our volume's dirty pages to get one for us, we would wait for ourselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from . import syscalls

if sys.platform != "win32":  # it can be imported there, not used
    import resource

CAP_IPC_LOCK = 14
NEVER_KILL = -1000


def sit_under_page_cache() -> list[str]:
    """Prepare this process for serving a volume; called once, before it starts a thread or opens an export.

    - PR_SET_IO_FLUSHER: what this thread, and every thread it starts from here on, allocates never waits for
      block I/O, and its own writes are not throttled behind the volume's dirty pages (prctl(2), Linux 5.6).
    - mlockall: what is mapped now is brought in and held; what comes later is held as soon as it is touched
      (MCL_ONFAULT), so that growing stays cheap. Only where no limit could make a later allocation fail.
    - Other threads go on while a program that is started is being read, from this volume perhaps: Python before 3.11.4
      (Debian 12 has 3.11.2) stops them all for that (https://github.com/python/cpython/issues/104372).
    - The OOM killer spares the process. Children inherit that: start them with `choom -n 0 --`.

    Returns a sentence for each step that this host denies: how the process is at risk and what to do.
    """
    _start_programs_beside_others()
    return [warning for step in (_flush_io, _hold_memory, _outlive_others) if (warning := step())]


def parse_effective_capabilities(status: str) -> int:
    """The bits of CapEff in the text of /proc/PID/status (proc(5)); 0 when it is not there."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return int(value, 16)
    return 0


def _start_programs_beside_others() -> None:
    """With fork(2) instead of vfork(2), which holds the interpreter until the child has begun its program."""
    if sys.version_info < (3, 11, 4):
        subprocess._USE_VFORK = False  # type: ignore[misc]


def _flush_io() -> str:
    try:
        syscalls.set_io_flusher()
    except OSError as error:
        return (
            f"PR_SET_IO_FLUSHER was denied ({error.strerror}): when memory runs out the worker may wait for "
            "its own volume. Give it CAP_SYS_RESOURCE."
        )
    return ""


def _hold_memory() -> str:
    if not _may_lock_all():
        return (
            "The worker's memory is not locked: RLIMIT_MEMLOCK is limited and CAP_IPC_LOCK is missing. "
            "Set LimitMEMLOCK=infinity."
        )
    try:
        syscalls.lock_memory(syscalls.MCL_CURRENT)
        syscalls.lock_memory(syscalls.MCL_CURRENT | syscalls.MCL_FUTURE | syscalls.MCL_ONFAULT)
    except OSError as error:
        return f"The worker's memory cannot be locked ({error.strerror}). Set LimitMEMLOCK=infinity."
    return ""


def _may_lock_all() -> bool:
    """Whether no limit stands in the way, now or later: MCL_FUTURE under a limit makes allocations fail."""
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    if parse_effective_capabilities(status) >> CAP_IPC_LOCK & 1:
        return True
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY


def _outlive_others() -> str:
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(descriptor, str(NEVER_KILL).encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        return (
            f"The OOM killer may end the worker ({error.strerror}). Set OOMScoreAdjust={NEVER_KILL} in its "
            "unit or give it CAP_SYS_RESOURCE."
        )
    return ""
