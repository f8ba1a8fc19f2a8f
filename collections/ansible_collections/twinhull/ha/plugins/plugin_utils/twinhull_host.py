"""The `twinhull` command of one host, over the connection of a task; and how messages name the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase

from .twinhull_answer import USAGE, CommandError, NoAnswerError, joined, read_answer, read_output
from .twinhull_command import posix_command, powershell_script, twinhull_argv
from .twinhull_status import Status, read_status


class JobLostError(Exception):
    """The agent was restarted and does not know the job any more."""


class Site:
    """How messages name the host: `site: node`.

    Args:
        task_vars: variables of the task.
    """

    def __init__(self, task_vars: Mapping[str, Any]) -> None:
        host = str(task_vars.get("inventory_hostname") or "this host")
        self.site = str(task_vars.get("twinhull_site") or "")
        self.node = str(task_vars.get("twinhull_node") or "")
        self.name = f"{self.site}: {self.node or host}" if self.site else host

    def says(self, *sentences: str) -> str:
        """The sentences with the host's name before them."""
        return f"{self.name}: {joined(*sentences)}"


class Host:
    """The `twinhull` command of one host.

    Args:
        action: the action whose connection is used.
        command: program and first arguments, or None for the platform's own.
    """

    def __init__(self, action: ActionBase, command: Sequence[str] | None) -> None:
        self._action = action
        self._command = command
        self.windows = bool(getattr(action._connection._shell, "_IS_WINDOWS", False))

    def ask(self, *arguments: str, config: bytes | None = None) -> Any:
        """Run one command and return its answer.

        Args:
            arguments: of `twinhull`, without `--json`.
            config: what goes to its standard input.

        Raises a CommandError; AnsibleConnectionFailure when the connection is lost.
        """
        argv = twinhull_argv(self._command, arguments, windows=self.windows)
        with_input = config is not None
        if with_input and not getattr(self._action._connection, "has_pipelining", False):
            raise CommandError(
                f"The connection plugin {self._action._connection.transport} cannot pass standard input on.",
                "Use ssh, winrm, psrp or local.",
            )
        if self.windows:
            shell = self._action._connection._shell
            line = shell._encode_script(
                powershell_script(argv, with_input=with_input), strict_mode=False, preserve_rc=False
            )
        else:
            line = posix_command(argv, with_input=with_input)
        ran = self._action._low_level_execute_command(line, in_data=config)
        return read_answer(read_output(int(ran["rc"]), str(ran["stdout"]), str(ran["stderr"])), argv[0])

    def status(self) -> Status:
        """What the host's agent says of both nodes. Raises a CommandError."""
        try:
            return read_status(self.ask("status"))
        except ValueError as error:
            raise _strange(error) from error

    def start_job(self, *arguments: str) -> str:
        """Begin work that goes on in the agent; returns the job's id. Raises a CommandError."""
        answer = self.ask(*arguments, "--no-wait")
        found = answer.get("id") or answer.get("job") if isinstance(answer, Mapping) else None
        if not found:
            raise _strange("it names no job")
        return str(found)

    def job(self, job: str) -> Mapping[str, Any]:
        """The job's state now. Raises JobLostError, or a CommandError that is not the job's own."""
        try:
            answer = self.ask("job", job, "--no-wait")
        except CommandError as failure:
            if failure.exit_code == USAGE:
                raise JobLostError(failure.what) from failure
            raise
        if not isinstance(answer, Mapping):
            raise _strange("the job is no object")
        return answer


def _strange(reason: object) -> NoAnswerError:
    return NoAnswerError(
        f"The answer of the command is not understood: {reason}.",
        "Install the same version of Twinhull on the host and of the collection on the control node.",
    )
