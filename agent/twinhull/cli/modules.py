"""Commands on one module."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..config import HyperVConfig, ScriptsConfig
from ..errors import UsageError
from ..log import who
from .exit_codes import DONE
from .jobs import confirm, plain_job, run_job, wait_for_job
from .shell import Shell
from .text import printable


def danger(shell: Shell, module: str, command: str, **facts: Any) -> list[str]:
    """What the agent says would be lost by this command, line by line."""
    agent = shell.agent()
    try:
        answer = agent.call("danger", {"module": module, "command": command, **facts})
    finally:
        agent.close()
    return [str(line) for line in answer.get("lines", [])]


def run_command(shell: Shell, args: argparse.Namespace) -> int:
    """start, stop, restart, stopstart, swap, checker suspend and resume."""
    shell.check_module(args.module)
    facts: dict[str, Any] = {
        "as_primary": getattr(args, "as_primary", False),
        "forced": getattr(args, "forced", False),
        "mode": getattr(args, "mode", None),
    }
    if getattr(args, "without_witness", False):
        if not facts["as_primary"]:
            raise UsageError("--without-witness is for a start as primary.", "Add --as-primary.")
        facts["without_witness"] = True
    command = "abandon" if getattr(args, "abandon", False) else args.agent_command
    if facts["as_primary"] or facts["forced"]:
        lines = danger(shell, args.module, command, **facts)
        if facts["as_primary"] and not lines:
            lines = [f"Module {args.module} starts from this node's data, whatever the other node holds."]
        confirm(shell, args.module, lines, args.yes)
    elif getattr(args, "yes", None) is not None:
        confirm(shell, args.module, [], args.yes)
    arguments = {"module": args.module, "command": command, **facts, "by": who()}
    return run_job(shell, "command", arguments, wait=not args.no_wait, timeout_s=args.timeout)


def run_protect(shell: Shell, args: argparse.Namespace) -> int:
    """Move an existing VM into the folder and mirror it, or make a new volume."""
    shell.check_module(args.module)
    facts = {"domain": args.domain, "stop_vm": args.stop_vm}
    confirm(shell, args.module, danger(shell, args.module, "protect", **facts), args.yes)
    arguments = {"module": args.module, **facts, "by": who()}
    return run_job(shell, "protect", arguments, wait=not args.no_wait, timeout_s=args.timeout)


def run_originals(shell: Shell, args: argparse.Namespace) -> int:
    """What `protect` left at the VM's old places on a node; with --remove it is deleted after a confirmation."""
    shell.check_module(args.module)
    if args.remove:
        confirm(shell, args.module, danger(shell, args.module, "originals"), args.yes)
        arguments = {"module": args.module, "remove": True, "by": who()}
        return run_job(shell, "originals", arguments, wait=not args.no_wait, timeout_s=args.timeout)
    agent = shell.agent()
    try:
        answer = agent.call("originals", {"module": args.module})
    finally:
        agent.close()
    lines = [printable(str(line)) for line in (*answer["files"], answer["keeps"]) if line]
    shell.result(answer, "\n".join(lines) or f"{args.module} has no original files on {answer['node']}.")
    return DONE


def run_unprotect(shell: Shell, args: argparse.Namespace) -> int:
    """Copy the VM back out of the folder and forget the module's mirror."""
    shell.check_module(args.module)
    _check_target(shell, args.module, args.target)
    facts = {"target": args.target}
    lines = danger(shell, args.module, "unprotect", **facts) or [
        f"Module {args.module} will not be mirrored any more: the loss of a server is then the loss of the VM."
    ]
    confirm(shell, args.module, lines, args.yes)
    arguments = {"module": args.module, **facts, "by": who()}
    return run_job(shell, "unprotect", arguments, wait=not args.no_wait, timeout_s=args.timeout)


def _check_target(shell: Shell, module: str, target: str | None) -> None:
    """A VM needs a directory to go to. Raises UsageError before anything is asked of a person."""
    config = shell.configuration()[1].module(module)
    if target is not None and not Path(target).is_absolute():
        raise UsageError(f"--target {printable(target)} is no absolute path.", "Nothing was changed.")
    if target is None and not isinstance(config.resource, ScriptsConfig):
        windows = isinstance(config.resource, HyperVConfig)
        usual = f"C:\\VMs\\{module}" if windows else f"/var/lib/libvirt/images/{module}"
        raise UsageError(
            f"Module {module} holds a VM, which needs a directory to go to.",
            f"Nothing was changed; name one: twinhull unprotect {module} --target {usual}",
        )


def run_verify(shell: Shell, args: argparse.Namespace) -> int:
    """Compare both replicas of a module, and repair what differs if asked."""
    shell.check_module(args.module)
    if args.source is not None and not args.repair:
        raise UsageError("--source is for a repair.", "Add --repair, or leave it out.")
    arguments = {
        "module": args.module,
        "repair": args.repair,
        "source": args.source,
        "abandon": args.abandon,
        "by": who(),
    }
    return run_job(shell, "verify", arguments, wait=not args.no_wait, timeout_s=args.timeout)


def run_job_command(shell: Shell, args: argparse.Namespace) -> int:
    """Wait for a job that was started before."""
    if args.no_wait:
        agent = shell.agent()
        try:
            answer = agent.call("job", {"id": args.job})
        finally:
            agent.close()
        plain = plain_job(args.job, answer)
        state = "goes on" if plain["state"] == "running" else plain["state"]
        shell.result(plain, f"Job {args.job}: {state}. {plain['message']} {plain['remedy']}".rstrip())
        return DONE
    code, _ = wait_for_job(shell, args.job, timeout_s=args.timeout)
    return code
