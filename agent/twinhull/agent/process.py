"""A worker's process, held so that its number can never come to mean another one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

if sys.platform == "win32":
    from twinhull.windows import process as windows

    class WorkerProcess:
        """See above: an open handle keeps the number from being used anew. Raises ProcessLookupError."""

        def __init__(self, pid: int) -> None:
            self.pid = pid
            self._handle = windows.open_process(pid)
            self.killed = False

        def alive(self) -> bool:
            """Whether it still runs."""
            return not self.ended(0.0)

        def ended(self, patience_s: float) -> bool:
            """Whether it is gone, waiting at most `patience_s` for that."""
            return windows.wait_for_end(self._handle, patience_s)

        def kill(self) -> None:
            """TerminateProcess; one that hangs in the kernel dies later."""
            self.killed = True
            windows.terminate(self._handle)

        def close(self) -> None:
            """Let go of it."""
            windows.close(self._handle)

else:

    class WorkerProcess:
        """See above (pidfd_open(2)). Raises ProcessLookupError when it is gone already."""

        def __init__(self, pid: int) -> None:
            self.pid = pid
            self._descriptor = os.pidfd_open(pid)
            self.killed = False

        def alive(self) -> bool:
            """Whether any thread of it still runs."""
            return not self.ended(0.0)

        def ended(self, patience_s: float) -> bool:
            """Whether all of it is gone, waiting at most `patience_s` for that."""
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            return bool(poll.poll(patience_s * 1000))

        def kill(self) -> None:
            """SIGKILL; one that hangs in the kernel dies later."""
            self.killed = True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

        def close(self) -> None:
            """Let go of it."""
            os.close(self._descriptor)


def start_apart(argv: Sequence[str], output: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a process that outlives this one; it and the length that its output file had before. Raises OSError.

    Windows: without a console, and out of the service's job object, so that neither takes it along.
    """
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        length_bytes = file.seek(0, os.SEEK_END)
        if sys.platform == "win32":
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=output.parent,
                creationflags=windows.apart(),
            )
        else:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                cwd="/",
            )
    return child, length_bytes
