"""Finding and signalling the processes of a node from outside of it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from .commands import LabError

START_TIME_FIELD = 19


def start_time(pid: int) -> int | None:
    """When a process was started, in clock ticks since the machine's boot; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[START_TIME_FIELD])


def is_same(pid: int, started: int) -> bool:
    """Whether `pid` is still the process that was started at `started`."""
    return start_time(pid) == started


def kill_and_wait(
    pid: int, started: int, timeout_s: float, after_signal: Callable[[], None] = lambda: None
) -> None:
    """SIGKILL, and wait until the process is gone.

    Args:
        pid: the process.
        started: its start time; another process of the same number is left alone.
        timeout_s: seconds to wait for its end.
        after_signal: called between the signal and the wait.

    Raises:
        LabError: it is still there after `timeout_s` seconds.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not is_same(pid, started):
            return
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        after_signal()
        ready, _, _ = select.select([descriptor], [], [], timeout_s)
        if not ready:
            raise LabError(f"process {pid} is still there {timeout_s:g} s after SIGKILL")
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def in_namespace_of(pid: int) -> list[int]:
    """Every process in the pid namespace whose first process is `pid` (that one left out)."""
    try:
        namespace = Path(f"/proc/{pid}/ns/pid").readlink()
    except OSError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == pid:
            continue
        with contextlib.suppress(OSError):
            if (entry / "ns/pid").readlink() == namespace:
                found.append(int(entry.name))
    return found


def entering(init_pid: int) -> list[int]:
    """The processes outside that others were entered through into the node of a first process (nsenter).

    Such a process stops itself when its child is stopped, and as long as it does not reap its dead child the
    node's pid namespace cannot end.
    """
    running = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in running if command_line(pid).startswith(f"nsenter -t {init_pid} ")]


def resume(pids: Iterable[int]) -> None:
    """SIGCONT to each that still lives."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def command_line(pid: int) -> str:
    """The words of a process's command line, joined by blanks; empty for a dead one."""
    with contextlib.suppress(OSError):
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        return raw.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    return ""
