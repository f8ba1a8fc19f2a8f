"""The processes of an application on Windows: those of a job object, which dies with the worker that made it."""

from __future__ import annotations

import signal
import subprocess
import sys

assert sys.platform == "win32"

from ..windows import process as windows
from .processes import CONTINUE, STOP, Process


class JobTable:
    """Stands in for `processes.ProcessTable` where there is no /proc: a run's processes are those of its job.

    The job is named after the run and held by the worker alone. A worker that dies closes it, and Windows then ends all that
    is in it: so whoever finds no such job knows that nothing of the run is left.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, windows.Job] = {}
        self._suspended: set[int] = set()

    def get(self, pid: int) -> Process | None:
        """The process with this number unless it is dead."""
        if not pid:
            return None
        try:
            handle = windows.open_process(pid)
        except (ProcessLookupError, OSError):
            return None
        try:
            if windows.wait_for_end(handle, 0.0):
                return None
            state = "T" if pid in self._suspended else "R"
            return Process(pid, windows.started(handle), 0, 0, state, windows.name(handle))
        finally:
            windows.close(handle)

    def with_environment(self, variable: str, value: str) -> list[Process]:  # noqa: ARG002 - the same on all platforms
        """What runs in the job of this run."""
        job = self._jobs.get(value)
        pids = job.pids() if job is not None else []
        return [process for pid in pids if (process := self.get(pid)) is not None]

    def kill(self, process: Process, *, timeout_s: float, number: int = signal.SIGTERM) -> bool:
        """End, suspend or let go on; whether it is gone after `timeout_s`.

        Windows has no way to ask a process without a window or console to end: every other signal ends it at once.
        """
        try:
            handle = windows.open_process(process.pid)
        except ProcessLookupError:
            return True
        try:
            if windows.started(handle) != process.start_ticks:
                return True
            if number == STOP:
                self._suspended.add(process.pid)
                windows.suspend(handle)
            elif number == CONTINUE:
                self._suspended.discard(process.pid)
                windows.resume(handle)
            else:
                windows.terminate(handle)
            return windows.wait_for_end(handle, timeout_s)
        finally:
            windows.close(handle)

    @staticmethod
    def creation_flags() -> int:
        """How a command is started: suspended until it is in its job, and without a window."""
        return windows.CREATE_SUSPENDED | subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP

    def adopt(self, run: str, child: subprocess.Popen[bytes]) -> None:
        """Put a started command into the job of its run (none: of itself) and let it go. Raises OSError."""
        handle = windows.open_process(child.pid)
        try:
            if run:
                job = self._jobs.get(run)
                if job is None:
                    for old in self._jobs.values():
                        old.close()
                    self._jobs = {run: windows.Job(f"twinhull-{run}")}
                    job = self._jobs[run]
                job.take(handle)
            windows.resume(handle)
        except OSError:
            windows.terminate(handle)
            raise
        finally:
            windows.close(handle)
