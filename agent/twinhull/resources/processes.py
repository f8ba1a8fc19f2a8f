"""Processes of this host, found in /proc and ended through pidfds, so that a reused pid is never hit."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

KILL = int(getattr(signal, "SIGKILL", 9))
STOP = int(getattr(signal, "SIGSTOP", 19))
CONTINUE = int(getattr(signal, "SIGCONT", 18))
"""Windows has no such signals; there these numbers mean the like (see `windows_processes`)."""


class Process(NamedTuple):
    """One process, identified for as long as the host is up.

    Args:
        pid: its number.
        start_ticks: when it started (clock ticks since boot, field 22 of proc(5) stat).
        group: its process group, `session`: its session.
        state: one letter of proc(5) stat; `D` hangs in the kernel, `Z` is dead already.
        name: its short name.
    """

    pid: int
    start_ticks: int
    group: int
    session: int
    state: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid}{', hangs in the kernel' if self.state == 'D' else ''})"


class ProcessTable:
    """What runs on this host.

    Args:
        root: where proc(5) is mounted.
    """

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root

    @staticmethod
    def creation_flags() -> int:
        """What `subprocess.Popen` is given as such: nothing."""
        return 0

    def get(self, pid: int) -> Process | None:
        """The process with this number unless it is dead (zombies count as dead)."""
        try:
            text = (self._root / str(pid) / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        process = parse_stat(text)
        return None if process.state in "ZX" else process

    def alive(self, process: Process) -> Process | None:
        """The same process as it is now, or None when it is gone."""
        now = self.get(process.pid)
        return now if now is not None and now.start_ticks == process.start_ticks else None

    def all(self) -> Iterator[Process]:
        """Every process that is not dead, without its command line (which can hang where this cannot)."""
        for entry in self._root.iterdir():
            if entry.name.isdigit() and (process := self.get(int(entry.name))) is not None:
                yield process

    def with_arguments(self, wanted: Callable[[Sequence[str]], bool]) -> list[Process]:
        """Processes whose command line `wanted` accepts."""
        return [process for process in self.all() if wanted(self.arguments(process))]

    def with_environment(self, variable: str, value: str) -> list[Process]:
        """Processes that were started with this variable in their environment, or inherited it."""
        needle = f"{variable}={value}".encode()
        return [process for process in self.all() if needle in self._strings(process, "environ")]

    def arguments(self, process: Process) -> list[str]:
        """Its command line; empty for kernel threads and processes that ended meanwhile."""
        return [os.fsdecode(word) for word in self._strings(process, "cmdline")]

    def _strings(self, process: Process, name: str) -> list[bytes]:
        try:
            data = (self._root / str(process.pid) / name).read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return []
        return data.split(b"\0")[:-1]

    def kill(self, process: Process, *, timeout_s: float, number: int = KILL) -> bool:
        """Signal the process and wait until it has ended: no thread of it writes any more.

        Returns whether it is gone; False for one that still hangs in the kernel after `timeout_s`.
        """
        if sys.platform == "win32":
            raise OSError("Windows ends processes in another way")
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return True
        try:
            if self.alive(process) is None:
                return True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            return bool(select.select([descriptor], [], [], timeout_s)[0])
        finally:
            os.close(descriptor)


def parse_stat(text: str) -> Process:
    """A `Process` out of the text of /proc/PID/stat; the name may hold spaces and parentheses (proc(5))."""
    head, _, tail = text.rpartition(")")
    pid, _, name = head.partition(" (")
    fields = tail.split()
    return Process(
        pid=int(pid), name=name, state=fields[0], group=int(fields[2]), session=int(fields[3]),
        start_ticks=int(fields[19]),
    )  # fmt: skip
