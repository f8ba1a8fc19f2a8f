"""A checker that is a command of the operator: exit status 0 says well."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence

from .base import CheckResult
from .command import RunCommand, run_command


class ScriptChecker:
    """Runs a command; every exit status but 0, and a time-out, is a failure.

    Args:
        command: argument list; no shell reads it.
        environment: added to its environment (TWINHULL_MODULE and the like).
        run: runs commands.
        launcher: put before the command: it becomes the command.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        run: RunCommand = run_command,
        launcher: Sequence[str] = (),
    ) -> None:
        self._launcher = tuple(launcher)
        self._command = tuple(command)
        self._environment = dict(environment or {})
        self._run = run

    def check(self, timeout_s: float) -> CheckResult:
        """Run it once. A command that cannot be run says nothing about the resource."""
        try:
            if self._launcher and not os.access(self._command[0], os.X_OK):
                raise FileNotFoundError(errno.ENOENT, "there is no such program, or it is not executable")
            argv = (*self._launcher, *self._command)
            answer = self._run(argv, timeout_s=timeout_s, environment=self._environment)
        except OSError as error:
            return CheckResult(False, f"{self._command[0]} cannot be run: {error.strerror}", conclusive=False)
        if answer.code is None:
            return CheckResult(False, f"did not end within {timeout_s:g} s")
        last = answer.out.splitlines()[-1][:200] if answer.out else ""
        said = f"exit status {answer.code}" + (f": {last}" if last else "")
        return CheckResult(answer.code == 0, said)
