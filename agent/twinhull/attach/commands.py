"""Runs one program of the host: a list of arguments, no shell, English messages, an end to waiting."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import AttachError
from .linux_cmd import PACKAGES

_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_KILL_WAIT_S = 2.0


class Outcome(NamedTuple):
    """How a program ended."""

    exit_code: int
    output: str
    errors: str


class CommandTimeoutError(AttachError):
    """A program did not end in its time; it was killed, or left behind where it waits for a disk."""


def run(arguments: Sequence[str], timeout_s: float) -> Outcome:
    """Run a program and wait for it at most `timeout_s`.

    Never waits longer: a process that waits for a dead disk cannot be killed, so it is left to itself.
    Raises AttachError when the program is missing, CommandTimeoutError.
    """
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            env=_ENVIRONMENT,
            cwd="/",
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        package = PACKAGES.get(arguments[0], arguments[0])
        raise AttachError(
            f"The program {arguments[0]} is missing.", f"Install it: apt-get install {package}."
        ) from error
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_KILL_WAIT_S)
        raise CommandTimeoutError(
            f"`{' '.join(arguments)}` did not end within {timeout_s:g} s.",
            "The disk below may hang: look at the kernel's log (dmesg).",
        ) from error
    return Outcome(process.returncode, output, errors)


def run_well(arguments: Sequence[str], timeout_s: float, what: str, remedy: str) -> str:
    """Output of a program that must succeed. Raises AttachError: `what`, its own words, `remedy`."""
    outcome = run(arguments, timeout_s)
    if outcome.exit_code != 0:
        words = " ".join((outcome.errors or outcome.output).split()) or f"exit code {outcome.exit_code}"
        raise AttachError(f"{what}: {words.rstrip('.')}.", remedy)
    return outcome.output
