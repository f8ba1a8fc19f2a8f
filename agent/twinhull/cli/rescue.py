"""`twinhull rescue`: what a copy overwrote on a node."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from ..log import who
from .exit_codes import DONE
from .jobs import confirm, run_job
from .shell import Answer, Shell
from .text import printable, size_text


def _ask(shell: Shell, args: argparse.Namespace, what: str, **more: Any) -> Answer:
    shell.check_module(args.module)
    number = getattr(args, "rescue", 0)
    agent = shell.agent()
    try:
        return agent.call(
            "rescue", {"module": args.module, "what": what, "rescue": number, "by": who(), **more}
        )
    finally:
        agent.close()


def run_list(shell: Shell, args: argparse.Namespace) -> int:
    """All rescues of a module on a node."""
    answer = _ask(shell, args, "list")
    found = answer["rescues"]
    if not found:
        shell.result(answer, f"There is no rescue of {args.module} here.")
        return DONE
    lines = [f"{'rescue':>6}  {'kind':11}  {'began':25}  {'takes':>9}  what it is"]
    lines += [
        f"{each['rescue']:>6}  {each['kind']:11}  {each.get('began', ''):25}  {size_text(each['taken_bytes']):>9}  "
        f"{printable(str(each['says']))}"
        for each in found
    ]
    shell.result(answer, "\n".join(lines))
    return DONE


def run_show(shell: Shell, args: argparse.Namespace) -> int:
    """One rescue in full."""
    answer = _ask(shell, args, "show")
    shell.result(answer, "\n".join(_shown(args.module, answer)))
    return DONE


def _shown(module: str, each: Mapping[str, Any]) -> list[str]:
    holes = int(each["kept_holes_bytes"])
    facts = {
        "kind": each["kind"],
        "state": f"{each['state']} ({each['says']})",
        "why": each["why"],
        "note": each["note"],
        "began": each["began"],
        "copy ended": each["ended"] or "not yet",
        "generation": each["generation"],
        "holds": f"{size_text(each['kept_bytes'])} of {size_text(each['volume_bytes'])}, {size_text(holes)} of it holes",
        "takes": size_text(each["taken_bytes"]),
        "mounted at": each["mounted"],
    }
    return [f"Rescue {each['rescue']} of {module}"] + [
        f"  {name:12}{printable(str(value))}" for name, value in facts.items() if value
    ]


def run_unmount(shell: Shell, args: argparse.Namespace) -> int:
    """Take a mount away."""
    answer = _ask(shell, args, "unmount")
    shell.result({"ok": True, **answer}, str(answer["sentence"]))
    return DONE


def run_drop(shell: Shell, args: argparse.Namespace) -> int:
    """Remove a rescue, after it was confirmed."""
    lines = _ask(shell, args, "danger", command="drop")["lines"]
    confirm(shell, args.module, [str(line) for line in lines], args.yes)
    answer = _ask(shell, args, "drop")
    shell.result({"ok": True, **answer}, str(answer["sentence"]))
    return DONE


def run_work(shell: Shell, args: argparse.Namespace) -> int:
    """mount, diff, export, rollback."""
    shell.check_module(args.module)
    what = args.rescue_work
    facts: dict[str, Any] = {"module": args.module, "rescue": args.rescue, "what": what, "by": who()}
    if what == "export":
        if args.paths and args.image:
            raise UsageError("--image writes the whole old volume.", "Leave out the paths, or --image.")
        facts |= {"target": args.to or args.image, "image": bool(args.image), "paths": args.paths}
    if what in ("mount", "diff", "export"):
        facts["partial"] = args.partial
    if what == "rollback":
        lines = _ask(shell, args, "danger", command="rollback")["lines"]
        confirm(shell, args.module, [str(line) for line in lines], args.yes)
    return run_job(shell, "rescue_job", facts, wait=not args.no_wait, timeout_s=args.timeout)
