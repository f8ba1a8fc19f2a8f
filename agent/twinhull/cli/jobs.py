"""Work that goes on in the agent: start it, show its progress, wait for its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import AgentDownError, TransportError, UsageError
from ..transport.control import RemoteError
from .exit_codes import DONE, FAILED, INTERRUPTED
from .shell import Agent, Answer, Shell
from .text import printable, progress_text

POLL_S = 0.5
RECONNECTS = 20


def run_job(shell: Shell, method: str, arguments: Mapping[str, Any], *, wait: bool) -> int:
    """Start a job and, unless told not to, wait for it. Returns the exit code."""
    agent = shell.agent()
    try:
        job = str(agent.call(method, arguments)["job"])
    finally:
        agent.close()
    if not wait:
        shell.result({"job": job}, f"Started as job {job}; wait for it with: twinhull job {job}")
        return DONE
    code, _ = wait_for_job(shell, job)
    return code


def wait_for_job(shell: Shell, job: str, *, quiet: bool = False) -> tuple[int, Answer]:
    """Wait for a job, showing progress to a person.

    Args:
        job: the agent's id of it.
        quiet: say nothing when it succeeds.

    Returns the exit code and the agent's last answer. A restart of the agent is waited for.
    """
    progress = _ProgressLine(shell)
    try:
        answer = _poll_to_end(shell, job, progress)
    except KeyboardInterrupt:
        progress.clear()
        shell.remark(
            f"You stopped waiting; job {job} goes on in the agent. "
            f"Look with: twinhull status; wait again with: twinhull job {job}"
        )
        return INTERRUPTED, {}
    progress.clear()
    sentence = printable(str(answer.get("sentence", "")))
    if answer.get("ok"):
        if not quiet:
            shell.result({"job": job, "ok": True, "sentence": sentence}, sentence)
        return DONE, answer
    code = int(answer.get("exit_code") or FAILED)
    if shell.json:
        shell.result({"job": job, "ok": False, "sentence": sentence, "exit_code": code}, "")
    else:
        shell.remark(f"Not done: {sentence}")
    return code, answer


def _poll_to_end(shell: Shell, job: str, progress: _ProgressLine) -> Answer:
    agent: Agent | None = None
    failures = 0
    try:
        while True:
            try:
                agent = agent or shell.agent()
                answer = agent.call("job", {"id": job})
                failures = 0
            except RemoteError:
                raise
            except (AgentDownError, TransportError):
                failures += 1
                if failures > RECONNECTS:
                    raise
                _drop(agent)
                agent = None
                progress.show("the agent does not answer; trying again")
            else:
                if answer.get("done"):
                    return answer
                progress.show(_text(answer.get("progress")))
            shell.pause(POLL_S)
    finally:
        _drop(agent)


def _drop(agent: Agent | None) -> None:
    if agent is not None:
        agent.close()


def _text(progress: object) -> str:
    if not isinstance(progress, Mapping):
        return "working"
    text = printable(str(progress.get("text") or "working"))
    total_bytes = progress.get("total_bytes")
    if not total_bytes:
        return text
    left_bytes = total_bytes - (progress.get("done_bytes") or 0)
    rate = progress.get("rate_bytes_s") or 0
    return f"{text}: {progress_text(left_bytes, total_bytes, rate, progress.get('eta_s'))}"


class _ProgressLine:
    """One line on a person's terminal that is written over."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._length = 0

    def show(self, text: str) -> None:
        if self._shell.interactive:
            short = text[:100]
            self._shell.err.write("\r" + short.ljust(self._length))
            self._shell.err.flush()
            self._length = len(short)

    def clear(self) -> None:
        if self._length:
            self._shell.err.write("\r" + " " * self._length + "\r")
            self._shell.err.flush()
            self._length = 0


def confirm(shell: Shell, module: str, lines: list[str], yes: str | None) -> None:
    """Show what would be lost and have the module's name typed.

    Args:
        module: the name to be typed.
        lines: what would be lost; nothing is asked when there is none.
        yes: the name as given with `--yes`.

    Raises UsageError when it is not confirmed; nothing was changed then.
    """
    if yes is not None and yes != module:
        raise UsageError(
            f"--yes names '{printable(yes)}', but the module is '{module}'.",
            "Nothing was changed; check the module.",
        )
    if not lines:
        return
    for line in lines:
        shell.remark(printable(line))
    if yes is not None:
        return
    if not shell.interactive:
        raise UsageError(
            f"This is dangerous for module {module} and was not confirmed.",
            f"Nothing was changed; in a script, confirm with: --yes {module}",
        )
    try:
        typed = shell.ask(f"Type the module's name ({module}) to go on: ")
    except EOFError:
        typed = ""
    if typed.strip() != module:
        raise UsageError(f"The name typed is not '{module}'.", "Nothing was changed.")
