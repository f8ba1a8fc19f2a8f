"""What the `twinhull` command answered on a host. Pure functions: text in, plain data or one sentence out.

CommandError           the command could not be carried out; the message says why and what to do
  NotInstalledError    there is no such program on the host
  NotConfiguredError   the host has no configuration, or an invalid one
  AgentDownError       no agent answers on the host
  NoAnswerError        what came back is no answer: a broken connection, a killed process
  JobFailedError       work that went on in the agent ended without success
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from .twinhull_command import ERROR_MARK, EXIT_MARK, NOT_FOUND

USAGE = 2
CONFIG = 3
NETWORK = 4
AGENT_DOWN = 9
MAX_TOLD_CHARS = 400
_CLIXML = "#< CLIXML"
_OBJECTS = re.compile(r"<Objs .*?</Objs>", re.DOTALL)
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


class CommandError(Exception):
    """A command could not be carried out.

    Args:
        what: what happened.
        remedy: what to do; may be empty.
        exit_code: the command's, as docs/cli.md lists them; None when there is none.
    """

    def __init__(self, what: str, remedy: str = "", exit_code: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.exit_code = exit_code

    def __str__(self) -> str:
        return joined(self.what, self.remedy)


class NotInstalledError(CommandError):
    """There is no such program on the host."""


class NotConfiguredError(CommandError):
    """The host has no configuration, or an invalid one."""


class AgentDownError(CommandError):
    """No agent answers on the host."""


class NoAnswerError(CommandError):
    """What came back is no answer of the command."""


class JobFailedError(CommandError):
    """Work that went on in the agent ended without success.

    Args:
        answer: the job's last answer; its `result` says how far the work came.
    """

    def __init__(self, answer: Mapping[str, Any]) -> None:
        told = str(answer.get("message") or answer.get("error") or "The work failed.")
        code = answer.get("exit_code")
        super().__init__(told, str(answer.get("remedy") or ""), code if isinstance(code, int) and code else 1)
        self.answer = answer


@dataclass(frozen=True)
class Output:
    """What a command left behind.

    Args:
        exit_code: of the program itself.
        stdout, stderr: text; standard error may hold PowerShell's CLIXML.
    """

    exit_code: int
    stdout: str
    stderr: str


def joined(*sentences: str) -> str:
    """Sentences one after the other, the empty ones left out."""
    return " ".join(sentence.strip() for sentence in sentences if sentence and sentence.strip())


def read_output(exit_code: int, stdout: str, stderr: str) -> Output:
    """The program's own output and exit code out of what the connection returned.

    On Windows both stand in standard output, behind `ERROR_MARK` and `EXIT_MARK` (see `powershell_script`).
    """
    lines = stdout.replace("\r\n", "\n").rstrip().split("\n")
    errors = plain_errors(stderr)
    if not lines[-1].startswith(EXIT_MARK) or not lines[-1][len(EXIT_MARK) :].lstrip("-").isdigit():
        return Output(exit_code, "\n".join(lines), errors)
    told = lines[:-1]
    if ERROR_MARK in told:
        at = len(told) - 1 - told[::-1].index(ERROR_MARK)
        told, errors = told[:at], joined("\n".join(told[at + 1 :]), errors)
    return Output(int(lines[-1][len(EXIT_MARK) :]), "\n".join(told), errors)


def plain_errors(stderr: str) -> str:
    """Standard error as text: PowerShell's CLIXML (MS-PSRP 2.2.5) without its clothes."""
    text = stderr.replace("\r\n", "\n")
    if _CLIXML not in text:
        return text.strip()
    outside = _OBJECTS.sub("", text).replace(_CLIXML, "")
    told = [line for found in _OBJECTS.findall(text) for line in _clixml_errors(found)]
    return joined(outside, "".join(told))


def _clixml_errors(objects: str) -> list[str]:
    try:
        root = ElementTree.fromstring(objects)  # noqa: S314 - the host that we command anyway wrote it
    except ElementTree.ParseError:
        return [objects]
    return [
        _ESCAPED.sub(lambda match: chr(int(match[1], 16)), element.text or "")
        for element in root.iter()
        if element.tag.endswith("}S") and element.get("S") == "Error"
    ]


def find_json(text: str) -> Any:
    """The JSON value in a text that may have other lines before or after it. Raises ValueError if there is none."""
    decoder = json.JSONDecoder()
    offset = 0
    for line in text.split("\n"):
        start = offset + len(line) - len(line.lstrip())
        if text[start : start + 1] in ("{", "["):
            try:
                return decoder.raw_decode(text, start)[0]
            except ValueError:
                pass
        offset += len(line) + 1
    raise ValueError("no JSON in it")


def read_answer(output: Output, program: str) -> Any:
    """The command's answer.

    Args:
        output: what the command left behind.
        program: the path of the program, for messages.

    Raises a CommandError when there is no answer, or when the answer is an error of the command. A job that failed is an
    answer: the command only told of it.
    """
    if output.exit_code == NOT_FOUND:
        raise NotInstalledError(
            f"Twinhull is not installed: there is no {program} on this host.",
            "Install it with the role twinhull.ha.agent (playbook install.yml), or name the program with the option "
            "command.",
            NOT_FOUND,
        )
    try:
        answer = find_json(output.stdout)
    except ValueError:
        raise _no_answer(output, program) from None
    if isinstance(answer, Mapping) and "state" in answer:
        return answer
    if isinstance(answer, Mapping) and answer.get("ok") is False and "error" in answer:
        code = answer.get("exit_code")
        raise _failure(
            str(answer["error"]),
            str(answer.get("remedy") or ""),
            code if isinstance(code, int) else output.exit_code,
        )
    if isinstance(answer, Mapping) and answer.get("ok") is False and isinstance(answer.get("problems"), list):
        raise _failure("\n".join(problem_text(item) for item in answer["problems"]), "", CONFIG)
    return answer


def problem_text(problem: object) -> str:
    """One problem of a configuration as `file:line: message`."""
    if isinstance(problem, Mapping):
        return f"{problem.get('file', '')}:{problem.get('line', '')}: {problem.get('message', '')}"
    return str(problem)


def _failure(what: str, remedy: str, exit_code: int | None) -> CommandError:
    kinds = {AGENT_DOWN: AgentDownError, CONFIG: NotConfiguredError, NOT_FOUND: NotInstalledError}
    kind = kinds.get(exit_code, CommandError) if exit_code is not None else CommandError
    return kind(what, remedy, exit_code)


def _no_answer(output: Output, program: str) -> NoAnswerError:
    told = output.stderr.strip() or output.stdout.strip()
    words = told[-MAX_TOLD_CHARS:].strip()
    said = f" It said: {words}" if words else " It said nothing."
    return NoAnswerError(
        f"{program} ended with exit code {output.exit_code} and without an answer.{said}",
        "Run the same command by hand on the host; on Linux it needs root (become), on Windows an administrator.",
        output.exit_code,
    )
