"""`twinhull status`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import AgentDownError, TransportError
from .exit_codes import DONE, STATUS_RED
from .shell import Agent, Shell
from .status_view import render, verdict

CLEAR = "\x1b[H\x1b[J"


def run(shell: Shell, args: argparse.Namespace) -> int:
    """Show both nodes once, or again and again with --watch."""
    if args.watch:
        return _watch(shell, args)
    agent = shell.agent()
    try:
        status = agent.call("status", {})
    finally:
        agent.close()
    shell.result(status, render(status, colour=shell.colour, width=shell.width))
    return verdict(status) if args.check else DONE


def _watch(shell: Shell, args: argparse.Namespace) -> int:
    agent: Agent | None = None
    code = DONE
    try:
        while True:
            try:
                agent = agent or shell.agent()
                status = agent.call("status", {})
                code = verdict(status)
                _draw(shell, status, render(status, colour=shell.colour, width=shell.width))
            except (AgentDownError, TransportError) as error:
                if agent is not None:
                    agent.close()
                agent, code = None, STATUS_RED
                _draw(shell, {"error": str(error)}, str(error))
            shell.pause(args.interval)
    except KeyboardInterrupt:
        return code if args.check else DONE
    finally:
        if agent is not None:
            agent.close()


def _draw(shell: Shell, plain: dict[str, Any], human: str) -> None:
    """One frame: drawn over the last one on a terminal, below it elsewhere; JSON is one object per line."""
    if shell.json:
        shell.say(json.dumps(plain, ensure_ascii=False))
    else:
        shell.say((CLEAR if shell.colour else "") + human + ("" if shell.colour else "\n"))
    shell.out.flush()
