"""What all modules of the collection are made of: an action on the control node that runs `twinhull` on the host.

The decisions are in `twinhull_*.py` beside this file, which do no I/O; here is the connection, the clock and the display.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from ansible.plugins.action import ActionBase

from .twinhull_answer import (
    AGENT_DOWN,
    NETWORK,
    AgentDownError,
    CommandError,
    JobFailedError,
    NoAnswerError,
    NotConfiguredError,
    NotInstalledError,
)
from .twinhull_arguments import Arguments
from .twinhull_command import NAME
from .twinhull_host import Host, JobLostError, Site
from .twinhull_lost import drop, lost_errors
from .twinhull_progress import Look, Poller, TimedOutError, job_text, printable, sync_text
from .twinhull_status import Goal, Status

Result = dict[str, Any]
T = TypeVar("T")
UNKNOWN_YET = {
    NotInstalledError: "not installed yet",
    NotConfiguredError: "not configured yet",
    AgentDownError: "not running yet",
}
WORKER_PATIENCE_S = 60.0
"""How long a module's process may take to begin, after its agent did."""


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

        Returns the job's last answer. Raises JobFailedError when the work failed, JobLostError when the agent forgot it,
        TaskError when the time is over.
        """

        def look() -> Look:
            answer = self._heard(lambda: host.job(job))
            if isinstance(answer, Look):
                return answer
            if answer.get("state") == "failed":
                raise JobFailedError(answer)
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
            status = self._heard(host.status)
            if isinstance(status, Look):
                return status
            return Look(status if goal(status) else None, _status_text(status, module))

        found: Status = self._until(
            look, options, subject, deadline_s, "Watch it on the host with: twinhull status --watch"
        )
        return found

    def _heard(self, ask: Callable[[], T]) -> T | Look:
        """The answer; or, while the host or its agent cannot be heard, what a person is shown meanwhile."""
        try:
            return ask()
        except CommandError as failure:
            if isinstance(failure, NoAnswerError) or failure.exit_code in (AGENT_DOWN, NETWORK):
                return Look(text=f"no answer; trying again ({failure.what})")
            raise
        except lost_errors() as error:
            return self._lost(error)

    def _lost(self, error: Exception) -> Look:
        trouble = drop(self._connection)
        self._display.vvv(self._site.says(f"the connection is dropped. {trouble}"))
        return Look(text=f"the connection is lost; trying again ({error})")

    def status_of(self, host: Host, options: Mapping[str, Any], module: str) -> Status:
        """The status, when the module is known and its process runs on this node; after a start of the agent that takes a
        moment. In check mode nothing is waited for.

        Raises CommandError, or TaskError for an unknown module or one whose process does not come up.
        """
        status = host.status()
        known_module(status, module)
        if self.check_mode or status.side(module).worker_alive:
            return status

        def look() -> Look:
            seen = self._heard(host.status)
            if isinstance(seen, Look):
                return seen
            return Look(seen if seen.side(module).worker_alive else None, seen.side(module).says)

        patience_s = min(WORKER_PATIENCE_S, float(options["timeout_s"]))
        try:
            found: Status = self._poller(options, module).until(look, time.monotonic() + patience_s)
        except TimedOutError as late:
            raise TaskError(
                f"{module}: its process does not run or answer on {status.node}, and did not within {patience_s:g} s. "
                f"{late.last} Look on the host with: twinhull logs {module}"
            ) from late
        return found

    def _until(
        self,
        look: Callable[[], Look],
        options: Mapping[str, Any],
        subject: str,
        deadline_s: float,
        watch: str,
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
