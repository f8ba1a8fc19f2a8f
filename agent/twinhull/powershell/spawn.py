"""Starting a child process with two inherited pipes, so that all of it can be killed at once: per platform."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO

Command = Callable[[int, int], list[str]]
"""The command line for the handles of requests and replies."""


@dataclass(frozen=True, slots=True)
class Child:
    """A started process with its pipes.

    Args:
        process: its standard output, with the errors in it, is a pipe.
        requests, replies: our ends.
        kill: ends it and all that it started, and waits for that.
        release: frees what `kill` needed; the process must be dead.
    """

    process: subprocess.Popen[bytes]
    requests: IO[bytes]
    replies: IO[bytes]
    kill: Callable[[], None]
    release: Callable[[], None]


def spawn(command: Command, environment: Mapping[str, str]) -> Child:
    """Start a process that inherits two pipes and nothing else. Raises OSError."""
    request_read, request_write = os.pipe()
    reply_read, reply_write = os.pipe()
    try:
        process, kill, release = _popen(command, request_read, reply_write, {**os.environ, **environment})
    except BaseException:
        os.close(request_write)
        os.close(reply_read)
        raise
    finally:
        os.close(request_read)
        os.close(reply_write)
    return Child(process, os.fdopen(request_write, "wb"), os.fdopen(reply_read, "rb"), kill, release)


_Started = tuple["subprocess.Popen[bytes]", Callable[[], None], Callable[[], None]]

if sys.platform == "win32":
    import msvcrt

    from .windows_job import Job

    def _popen(
        command: Command, request_read: int, reply_write: int, environment: dict[str, str]
    ) -> _Started:
        handles = [msvcrt.get_osfhandle(request_read), msvcrt.get_osfhandle(reply_write)]
        for handle in handles:
            os.set_handle_inheritable(handle, True)
        startup = subprocess.STARTUPINFO()
        startup.lpAttributeList = {"handle_list": handles}
        job = Job()
        try:
            process = subprocess.Popen(
                command(*handles), env=environment, startupinfo=startup, close_fds=True,
                creationflags=subprocess.CREATE_NO_WINDOW,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except BaseException:
            job.close()
            raise
        job.add(int(process._handle))  # type: ignore[attr-defined]

        def kill() -> None:
            job.kill()
            process.wait()

        return process, kill, job.close

else:

    def _popen(
        command: Command, request_read: int, reply_write: int, environment: dict[str, str]
    ) -> _Started:
        process = subprocess.Popen(
            command(request_read, reply_write), env=environment, pass_fds=(request_read, reply_write),
            start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

        def kill() -> None:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()

        return process, kill, lambda: None
