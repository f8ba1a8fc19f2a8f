"""Work that goes on in the agent: start it, show its progress, wait for its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import AgentDownError, TransportError, UsageError
from ..transport.control import RemoteError
from .exit_codes import DONE, FAILED, INTERRUPTED
from .shell import Agent, Answer, Shell
from .status_view import difference_lines
from .text import duration_text, printable, progress_text

POLL_S = 0.5
RECONNECTS = 20


def run_job(
    shell: Shell, method: str, arguments: Mapping[str, Any], *, wait: bool, timeout_s: float | None = None
) -> int:
    """Start a job and, unless told not to, wait for it. Returns the exit code.

    Args:
        timeout_s: how long to wait at most, in seconds; None: to the end.
    """
    agent = shell.agent()
    try:
        job = str(agent.call(method, arguments)["job"])
    finally:
        agent.close()
    if not wait:
        sentence = f"Started as job {job}; wait for it with: twinhull job {job}"
        shell.result(plain_job(job, {}, sentence), sentence)
        return DONE
    code, _ = wait_for_job(shell, job, timeout_s=timeout_s)
    return code


def plain_job(job: str, answer: Mapping[str, Any], message: str = "") -> dict[str, Any]:
    """A job as `--json` shows it, whatever command began it.

    Args:
        job: its id.
        answer: what the agent told of it; empty when it has only just begun.
        message: in place of the agent's sentence.
    """
    done, ok = bool(answer.get("done")), bool(answer.get("ok"))
    plain = {
        "ok": ok or not done,
        "id": job,
        "command": answer.get("command", ""),
        "module": answer.get("module", ""),
        "state": "running" if not done else "done" if ok else "failed",
        "progress": answer.get("progress") or {},
        "message": message or printable(str(answer.get("sentence", ""))),
        "remedy": printable(str(answer.get("remedy", ""))),
        "exit_code": DONE if ok or not done else int(answer.get("exit_code") or FAILED),
        "result": answer.get("result"),
    }
    return plain if plain["ok"] else {**plain, "error": plain["message"]}


def wait_for_job(
    shell: Shell, job: str, *, quiet: bool = False, timeout_s: float | None = None
) -> tuple[int, Answer]:
    """Wait for a job, showing progress to a person.

    Args:
        job: the agent's id of it.
        quiet: say nothing when it succeeds.
        timeout_s: how long at most, in seconds; the work goes on after it.

    Returns the exit code and the agent's last answer. A restart of the agent is waited for.
    """
    progress = _ProgressLine(shell)
    try:
        answer = _poll_to_end(shell, job, progress, timeout_s)
    except KeyboardInterrupt:
        progress.clear()
        shell.remark(
            f"You stopped waiting; job {job} goes on in the agent. "
            f"Look with: twinhull status; wait again with: twinhull job {job}"
        )
        return INTERRUPTED, {}
    progress.clear()
    if not answer.get("done"):
        return _say_too_long(shell, job, answer, timeout_s or 0.0), answer
    plain = plain_job(job, answer)
    if plain["ok"]:
        if not quiet:
            shell.result(plain, "\n".join([str(plain["message"]), *difference_lines(plain["result"])]))
    elif shell.json:
        shell.result(plain, "")
    else:
        shell.remark(f"Not done: {plain['message']} {plain['remedy']}".rstrip())
        for line in difference_lines(plain["result"]):
            shell.remark(line)
    return int(plain["exit_code"]), answer


def _say_too_long(shell: Shell, job: str, answer: Answer, timeout_s: float) -> int:
    far = _text(answer.get("progress"))
    sentence = f"Not done within {duration_text(timeout_s)} ({far}); job {job} goes on in the agent."
    remedy = f"Wait again with: twinhull job {job}"
    if shell.json:
        plain = plain_job(job, answer, sentence)
        shell.result({**plain, "ok": False, "error": sentence, "remedy": remedy, "exit_code": FAILED}, "")
    else:
        shell.remark(f"{sentence} {remedy}")
    return FAILED


def _poll_to_end(shell: Shell, job: str, progress: _ProgressLine, timeout_s: float | None) -> Answer:
    """The agent's answer once the job is over, or the newest one when the time is."""
    agent: Agent | None = None
    failures = 0
    until_s = None if timeout_s is None else shell.clock() + timeout_s
    try:
        while True:
            answer: Answer = {}
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
            if until_s is not None and shell.clock() >= until_s:
                return answer
            shell.pause(POLL_S if until_s is None else max(0.0, min(POLL_S, until_s - shell.clock())))
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
