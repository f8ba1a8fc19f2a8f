"""What all modules of the collection are made of: an action on the control node that runs `twinhull` on the host.

The decisions are in `twinhull_*.py` beside this file, which do no I/O; here is the connection, the clock and the display.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase

from .twinhull_answer import (
    USAGE,
    AgentDownError,
    CommandError,
    NoAnswerError,
    NotConfiguredError,
    NotInstalledError,
    joined,
    read_answer,
    read_output,
)
from .twinhull_arguments import Arguments
from .twinhull_command import NAME, posix_command, powershell_script, twinhull_argv
from .twinhull_lost import drop, lost_errors
from .twinhull_progress import Look, Poller, TimedOutError, job_text, printable, sync_text
from .twinhull_status import Goal, Status, read_status

Result = dict[str, Any]
UNKNOWN_YET = {
    NotInstalledError: "not installed yet",
    NotConfiguredError: "not configured yet",
    AgentDownError: "not running yet",
}


class TaskError(Exception):
    """The task failed; the message is complete but for site and node.

    Args:
        message: what happened and what to do.
        values: further values of the task's result.
    """

    def __init__(self, message: str, **values: Any) -> None:
        super().__init__(message)
        self.message = message
        self.values = values


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


class TwinhullAction(ActionBase):  # type: ignore[misc]
    """The base of all modules: checks the options, calls `act`, and turns failures into sentences."""

    ARGUMENTS: ClassVar[Arguments]
    PREVIEWS: ClassVar[bool] = True
    """In check mode, a host that cannot be asked yet counts as changed; False: it is a failure."""

    _supports_check_mode = True
    _supports_async = False
    _supports_diff = True

    def act(self, host: Host, options: Mapping[str, Any]) -> Result:
        """Do what the module is for. Returns its result, with `changed` and `message`.

        Args:
            host: where.
            options: the checked options.

        Raises CommandError, TaskError or TimedOutError.
        """
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> Result:
        """The task. Called by Ansible."""
        result: Result = super().run(tmp, task_vars)
        del tmp
        self._site = Site(task_vars or {})
        checked = self.validate_argument_spec(argument_spec=self.ARGUMENTS.spec, **self.ARGUMENTS.rules)
        options: Mapping[str, Any] = checked[1]
        host = Host(self, options["command"])
        try:
            self.check_options(options)
            result.update(self.act(host, options))
        except (NotInstalledError, NotConfiguredError, AgentDownError) as failure:
            if not (self.check_mode and self.PREVIEWS) or failure.exit_code is None:
                return self._failed(result, str(failure), exit_code=failure.exit_code)
            result.update(self._preview(failure))
        except CommandError as failure:
            return self._failed(result, str(failure), exit_code=failure.exit_code)
        except TaskError as failure:
            return self._failed(result, failure.message, **failure.values)
        result["message"] = self._site.says(str(result.get("message") or ""))
        result["msg"] = result["message"]
        return result

    @property
    def check_mode(self) -> bool:
        """Nothing may be changed."""
        return bool(self._task.check_mode)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse what no agent would take, before anything is asked. Raises TaskError."""
        for key in ("module", "name", "to", "source"):
            value = options.get(key)
            if value is not None and not NAME.fullmatch(value):
                raise TaskError(
                    f"The option {key} is {value!r}, which is no name of a module or node: "
                    "letters, digits, '-' and '_', beginning with a letter or digit."
                )
        if options["timeout_s"] <= 0 or options["poll_s"] <= 0:
            raise TaskError("The options timeout_s and poll_s are seconds and must be more than 0.")

    def _failed(self, result: Result, message: str, /, **values: Any) -> Result:
        told = self._site.says(message)
        result.update({"changed": False, **values, "failed": True, "msg": told, "message": told})
        return result

    def _preview(self, failure: CommandError) -> Result:
        """What check mode says of a host that cannot be asked yet."""
        why = next(words for kind, words in UNKNOWN_YET.items() if isinstance(failure, kind))
        message = f"Twinhull is {why} on this host, so what would change cannot be compared. {failure.what}"
        return {
            "changed": True,
            "message": message,
            "diff": {"before": f"{why}\n", "after": f"{self._task.action} would do its work\n"},
        }

    # ---- waiting -----------------------------------------------------------------------------------

    def deadline_s(self, options: Mapping[str, Any]) -> float:
        """When this task stops waiting, in monotonic seconds."""
        return time.monotonic() + float(options["timeout_s"])

    def _poller(self, options: Mapping[str, Any], subject: str) -> Poller:
        def say(text: str) -> None:
            self._display.display(self._site.says(f"{subject}: {printable(text)}"))

        return Poller(time.monotonic, time.sleep, say, float(options["poll_s"]))

    def wait_for_job(
        self, host: Host, job: str, options: Mapping[str, Any], subject: str, deadline_s: float
    ) -> Mapping[str, Any]:
        """Wait for work in the agent, also over lost connections and restarts of the agent.

        Args:
            job: its id.
            subject: module and command, for lines of progress.
            deadline_s: when to stop waiting.

        Returns the job's last answer. Raises CommandError when the work failed, JobLostError when the agent forgot it,
        TaskError when the time is over.
        """

        def look() -> Look:
            try:
                answer = host.job(job)
            except (AgentDownError, NoAnswerError) as failure:
                return Look(text=f"no answer; trying again ({failure.what})")
            except lost_errors() as error:
                return self._lost(error)
            if answer.get("state") == "failed":
                told = str(answer.get("message") or answer.get("error") or "The work failed.")
                raise CommandError(told, str(answer.get("remedy") or ""), _code(answer))
            done = answer.get("state") == "done"
            return Look(answer if done else None, job_text(answer.get("progress")))

        found: Mapping[str, Any] = self._until(
            look, options, subject, deadline_s, f"Wait again on the host with: twinhull job {job}"
        )
        return found

    def wait_for(
        self, host: Host, goal: Goal, options: Mapping[str, Any], module: str, subject: str, deadline_s: float
    ) -> Status:
        """Wait until the status shows what is wanted.

        Raises TaskError when the time is over.
        """

        def look() -> Look:
            try:
                status = host.status()
            except (AgentDownError, NoAnswerError) as failure:
                return Look(text=f"no answer; trying again ({failure.what})")
            except lost_errors() as error:
                return self._lost(error)
            return Look(status if goal(status) else None, _status_text(status, module))

        found: Status = self._until(
            look, options, subject, deadline_s, "Watch it on the host with: twinhull status --watch"
        )
        return found

    def _lost(self, error: Exception) -> Look:
        trouble = drop(self._connection)
        self._display.vvv(self._site.says(f"the connection is dropped. {trouble}"))
        return Look(text=f"the connection is lost; trying again ({error})")

    def _until(
        self, look: Any, options: Mapping[str, Any], subject: str, deadline_s: float, watch: str
    ) -> Any:
        try:
            return self._poller(options, subject).until(look, deadline_s)
        except TimedOutError as late:
            raise TaskError(
                f"{subject}: not done within {options['timeout_s']:g} s; the work goes on in the agent. "
                f"Last seen: {late.last or 'nothing'}. {watch}",
                timed_out=True,
            ) from late

    def carry_out(
        self,
        host: Host,
        arguments: Sequence[str],
        options: Mapping[str, Any],
        module: str,
        *,
        goal: Goal | None = None,
        given_up: Goal | None = None,
        deadline_s: float | None = None,
    ) -> str:
        """Have the agent do something to a module and wait until it is done.

        Args:
            arguments: of `twinhull`.
            goal: what the status shows afterwards; it also decides when a restart of the agent lost the job.
            given_up: what the status shows when a lost job was not carried out.
            deadline_s: when to stop waiting (default: the option timeout_s from now).

        Returns the agent's closing sentence. Raises CommandError or TaskError.
        """
        deadline = self.deadline_s(options) if deadline_s is None else deadline_s
        subject = f"{module}: {arguments[0]}"
        job = host.start_job(*arguments)
        try:
            answer = self.wait_for_job(host, job, options, subject, deadline)
            sentence = str(answer.get("message") or "")
        except JobLostError as lost:
            if goal is None:
                raise TaskError(_forgotten(subject, "what became of the work is not known")) from lost
            sentence = f"{module}: the agent was restarted meanwhile."
            self._wait_for_either(host, goal, given_up, options, module, subject, deadline)
        if goal is not None:
            self.wait_for(host, goal, options, module, subject, deadline)
        return sentence

    def _wait_for_either(
        self,
        host: Host,
        goal: Goal,
        given_up: Goal | None,
        options: Mapping[str, Any],
        module: str,
        subject: str,
        deadline_s: float,
    ) -> None:
        """After the job was lost: wait until it is seen that it was carried out, or that it was not."""
        if given_up is None:
            return

        def settled(status: Status) -> bool:
            return goal(status) or given_up(status)

        status = self.wait_for(host, settled, options, module, subject, deadline_s)
        if not goal(status):
            raise TaskError(_forgotten(subject, f"the work was not done. {status.says(module)}"))


def _forgotten(subject: str, what: str) -> str:
    return (
        f"{subject}: the agent was restarted meanwhile, and {what}. "
        "Look with: twinhull status; then run the task again."
    )


def _code(answer: Mapping[str, Any]) -> int:
    code = answer.get("exit_code")
    return code if isinstance(code, int) and code else 1


def _status_text(status: Status, module: str) -> str:
    syncs = [side.sync for side in status.sides(module) if side.sync]
    return sync_text(syncs[0]) if syncs else status.says(module)


def known_module(status: Status, module: str) -> None:
    """Refuse a module that is in no configuration. Raises TaskError."""
    if not status.side(module).known:
        names = ", ".join(status.modules) or "none"
        raise TaskError(
            f"There is no module {module} in the configuration of {status.node} (modules: {names}). "
            "Check the name, or add it with twinhull.ha.module (state: present)."
        )
