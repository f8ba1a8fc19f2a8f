"""Running the machine's commands for the lab."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMAND_TIMEOUT_S = 60.0


class LabError(Exception):
    """The lab cannot do what it was asked; the message says why and what to do."""


def run(
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    timeout_s: float = COMMAND_TIMEOUT_S,
    input_text: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a process group of its own, and take all of the group away on time-out.

    Args:
        argv: the command and its arguments; no shell is involved.
        check: raise LabError when the exit status is not 0.
        timeout_s: seconds until the whole process group is killed and LabError raised.
        input_text: what the command reads from its standard input; none means an empty input.
        env: the whole environment, or None for this process's.
        cwd: working directory.

    Raises:
        LabError: the command failed (with `check`), timed out, or does not exist.
    """
    words = [str(word) for word in argv]
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            env=None if env is None else dict(env),
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise LabError(
            f"{words[0]} is not installed: run `make lab`, which installs what is missing"
        ) from error
    try:
        output, errors = process.communicate(input_text or "", timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        kill_group(process)
        output, errors = process.communicate()
        raise LabError(
            f"`{' '.join(words)}` did not end within {timeout_s:g} s\n{output}{errors}".rstrip()
        ) from error
    except BaseException:
        kill_group(process)
        process.communicate()
        raise
    if check and process.returncode != 0:
        raise LabError(f"`{' '.join(words)}` failed ({process.returncode})\n{output}{errors}".rstrip())
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


def kill_group(process: subprocess.Popen[str]) -> None:
    """SIGKILL to a process started with `start_new_session` and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
