"""`twinhull logs`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from ..config import parse_duration_s
from .exit_codes import DONE
from .shell import Agent, Shell
from .text import paint, printable

FOLLOW_PAUSE_S = 1.0
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LEVEL_COLOURS = {"WARNING": "orange", "ERROR": "red", "CRITICAL": "red", "DEBUG": "dim"}


def parse_age(text: str) -> timedelta:
    """The argument of --since. Raises ValueError."""
    return timedelta(seconds=parse_duration_s(text))


def run(shell: Shell, args: argparse.Namespace) -> int:
    """Show the newest lines; with --follow go on until Ctrl-C."""
    if args.module:
        shell.check_module(args.module)
    agent = shell.agent()
    try:
        oldest = shell.now() - args.since if args.since else None
        token = ""
        while True:
            token, full = _page(shell, agent, args, token, oldest)
            if not args.follow:
                return DONE
            if not full:
                shell.pause(FOLLOW_PAUSE_S)
    except KeyboardInterrupt:
        return DONE
    finally:
        agent.close()


def _page(
    shell: Shell, agent: Agent, args: argparse.Namespace, token: str, oldest: datetime | None
) -> tuple[str, bool]:
    asked = {"module": args.module, "after": token, "limit": args.lines}
    page = agent.call("logs", asked)
    lines = page.get("lines", [])
    _show(shell, (line for line in lines if _wanted(line, args.level, oldest)))
    return str(page.get("next", token)), len(lines) >= args.lines and bool(token)


def _wanted(line: dict[str, Any], level: str | None, oldest: datetime | None) -> bool:
    if level and line["level"] in LEVELS and LEVELS.index(line["level"]) < LEVELS.index(level):
        return False
    return oldest is None or _time(line["time"]) >= oldest


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _show(shell: Shell, lines: Iterable[dict[str, Any]]) -> None:
    for line in lines:
        if shell.json:
            shell.say(json.dumps(line, ensure_ascii=False))
            continue
        local = _time(line["time"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        where = f"{line['node']}/{line['module']}" if line.get("module") else line["node"]
        level = paint(f"{line['level']:7}", _LEVEL_COLOURS.get(line["level"], ""), shell.colour)
        shell.say(f"{local} {level} {printable(where)}: {printable(line['text'])}")
    shell.out.flush()
