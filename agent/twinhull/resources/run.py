"""Running a command with a time limit that holds even when the command cannot be killed.

`subprocess.run(timeout=...)` waits without limit for a child that hangs in the kernel (a disk that answers
nothing); here such a child is given up and left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from twinhull.errors import ResourceError

OUTPUT_LIMIT_BYTES = 16 * 1024 * 1024
_REAP_TIMEOUT_S = 1.0
ROOT = Path(sys.executable).anchor
"""Where commands are started: the root directory, or that of the drive with our Python."""


class Completed(NamedTuple):
    """What a command answered. `code` is its exit status, negative for a signal."""

    code: int
    out: str
    err: str


class CommandTimeoutError(ResourceError):
    """A command did not answer in its time; it was killed, or left behind where it cannot be killed."""


class CommandMissingError(ResourceError):
    """A command is not installed on this node or cannot be executed."""


class Run(Protocol):
    """How commands are run; tests give an answer of their own."""

    def __call__(self, argv: Sequence[str], *, timeout_s: float) -> Completed:
        """Run `argv` for at most `timeout_s`.

        Raises CommandTimeoutError, CommandMissingError; an exit status other than 0 is no error here.
        """


def command_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of our commands: ours, in the C locale, so that output can be parsed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
    environment["LC_ALL"] = "C"
    environment.update(extra or {})
    return environment


def run_command(argv: Sequence[str], *, timeout_s: float) -> Completed:
    """Run `argv` in a process group of its own, with its output captured.

    Args:
        argv: the command as a list; no shell reads it.
        timeout_s: seconds until its whole process group is killed.

    Raises:
        CommandTimeoutError: it did not end in its time.
        CommandMissingError: it cannot be executed.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=command_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise CommandMissingError(
            f"The command {argv[0]} cannot be run: {error.strerror}.", "Install it or correct its path."
        ) from error
    readers = [_Reader(pipe) for pipe in (process.stdout, process.stderr) if pipe is not None]
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        stuck = "" if kill_group(process) else " It cannot be killed either (it hangs in the kernel)."
        raise CommandTimeoutError(
            f"The command {' '.join(argv[:6])} did not end within {timeout_s:g} s.{stuck}"
        ) from None
    out, err = (reader.text(_REAP_TIMEOUT_S) for reader in readers)
    return Completed(code, out, err)


def kill_group(process: subprocess.Popen[bytes]) -> bool:
    """SIGKILL the process group that `process` leads. Returns whether its leader is gone after a second."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(_REAP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return False
    return True


class _Reader:
    """Drains a pipe on a thread, so that a grandchild that keeps it open holds up nobody."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._chunks: list[bytes] = []
        self._thread = threading.Thread(target=self._drain, name="command-output", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        kept_bytes = 0
        with self._pipe as pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                if kept_bytes < OUTPUT_LIMIT_BYTES:
                    self._chunks.append(chunk)
                    kept_bytes += len(chunk)

    def text(self, timeout_s: float) -> str:
        self._thread.join(timeout_s)
        return b"".join(self._chunks).decode("utf-8", "replace")
