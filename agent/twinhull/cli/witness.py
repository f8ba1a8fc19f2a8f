"""`twinhull witness`: what the witness with a memory holds for a module, and saying that it is the right one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ..log import who
from .exit_codes import DONE
from .jobs import confirm, run_job
from .modules import danger
from .shell import Shell
from .text import printable


def run_show(shell: Shell, args: argparse.Namespace) -> int:
    """What stands in the witness now, read through the agent's own way to it."""
    shell.check_module(args.module)
    agent = shell.agent()
    try:
        answer = agent.call("witness", {"module": args.module})
    finally:
        agent.close()
    shell.result(answer, "\n".join(_shown(answer)))
    return DONE


def _shown(answer: Mapping[str, Any]) -> list[str]:
    record = answer["record"] or {}
    listed = [each["node"] or f"a replica {each['replica'][:8]}" for each in record.get("may_start", [])]
    facts = {
        "endpoints": ", ".join(answer["endpoints"]),
        "key": f"{answer['key']} (revision {answer['key_revision']})"
        if answer["key_revision"]
        else answer["key"],
        "etcd cluster": answer["etcd_cluster"],
        "revision": answer["revision"],
        "may start": " and ".join(listed),
        "history": record.get("generation", ""),
        "written by": record.get("node", ""),
        "rules here": answer["rules"],
    }
    head = f"Witness of {answer['module']}, asked from {answer['node']}: {answer['sentence']}"
    return [printable(head)] + [
        f"  {name:14}{printable(str(value))}" for name, value in facts.items() if value
    ]


def run_reset(shell: Shell, args: argparse.Namespace) -> int:
    """Have the running node write the record anew, after it was confirmed."""
    shell.check_module(args.module)
    command = "witness-reset"
    lines = danger(shell, args.module, command) or [f"The witness's record of {args.module} is written anew."]
    confirm(shell, args.module, lines, args.yes)
    arguments = {"module": args.module, "command": command, "by": who()}
    return run_job(shell, "command", arguments, wait=not args.no_wait, timeout_s=args.timeout)
