"""The processes themselves, exit codes and completion."""

from __future__ import annotations

import argparse
import sys

from ..errors import ConfigError
from ..installation import pin
from .completion import bash
from .exit_codes import DONE, EXIT_CODES
from .shell import Shell


def run_agent(shell: Shell, _args: argparse.Namespace) -> int:
    """Becomes the agent; returns when it is told to end."""
    pin(["-P", "-m", "twinhull.cli", *sys.argv[1:]])
    from ..agent.main import run

    return run(shell.node_config)


def run_worker(shell: Shell, args: argparse.Namespace) -> int:
    """Becomes the worker of one module; returns when it is told to end."""
    from ..worker.main import main

    return main(["--node-config", str(shell.node_config), "--module", args.module])


def run_exit_codes(shell: Shell, _args: argparse.Namespace) -> int:
    """The list of exit codes."""
    lines = [f"{code:3}  {meaning}" for code, meaning in EXIT_CODES.items()]
    shell.result({str(code): meaning for code, meaning in EXIT_CODES.items()}, "\n".join(lines))
    return DONE


def run_completion(shell: Shell, args: argparse.Namespace) -> int:
    """The script for bash, or the words that it completes with."""
    if args.what == "bash":
        from .parser import build_parser

        shell.out.write(bash(build_parser()))
        return DONE
    try:
        _, cluster = shell.configuration()
    except ConfigError:
        return DONE
    shell.say("\n".join(cluster.modules))
    return DONE
