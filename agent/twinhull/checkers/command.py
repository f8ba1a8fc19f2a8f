"""Running a checker's command: killed with its process group when its time is over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

_OUTPUT_LIMIT_BYTES = 64 * 1024
_REAP_TIMEOUT_S = 1.0


class Answer(NamedTuple):
    """What a command answered.

    Args:
        code: its exit status; None when it was killed because its time was over.
        out: the beginning of its output, standard error included.
    """

    code: int | None
    out: str


class RunCommand(Protocol):
    """How commands are run; tests give an answer of their own."""

    def __call__(
        self, argv: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None
    ) -> Answer:
        """Run `argv` for at most `timeout_s`. Raises OSError when it cannot be run."""


def run_command(
    argv: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None
) -> Answer:
    """Run `argv` for at most `timeout_s` seconds, in a process group of its own and with / as its directory.

    Args:
        argv: the command as a list; no shell reads it.
        timeout_s: seconds until its process group is killed.
        environment: added to ours.

    Raises OSError when it cannot be run.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=Path(sys.executable).anchor,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
            if sys.platform == "win32":
                process.kill()
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_REAP_TIMEOUT_S)
        output.seek(0)
        return Answer(code, output.read(_OUTPUT_LIMIT_BYTES).decode("utf-8", "replace").strip())
