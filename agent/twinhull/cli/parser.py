"""The arguments of the command, with examples for each."""

from __future__ import annotations

import argparse
import difflib
import re
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..config import parse_duration_s
from ..errors import UsageError
from . import configuration, console, logs, modules, other, pki, rescue, snapshot, status, witness
from .shell import Run

_INVALID_CHOICE = re.compile(r"invalid choice: '(?P<word>[^']*)' \(choose from (?P<choices>.*)\)")


MIN_INTERVAL_S = 0.2


class Parser(argparse.ArgumentParser):
    """Tells misuse as UsageError, and what was probably meant. Options are not abbreviated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        match = _INVALID_CHOICE.search(message)
        if match:
            choices = [choice.strip(" '") for choice in match["choices"].split(",")]
            near = difflib.get_close_matches(match["word"], choices, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"use one of: {', '.join(choices)}"
            message = f"'{match['word']}' is not known here: {hint}"
        command = self.prog.removeprefix("twinhull").strip()
        what = f"{command}: {message}" if command else message
        raise UsageError(what if what.endswith("?") else f"{what}.", f"See: {self.prog} --help")


def _duration(text: str) -> float:
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _interval(text: str) -> float:
    seconds = _duration(text)
    if seconds < MIN_INTERVAL_S:
        raise argparse.ArgumentTypeError(f"'{text}' is too short: {MIN_INTERVAL_S} s or more")
    return seconds


def _age(text: str) -> Any:
    try:
        return logs.parse_age(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1 to 100000")
    return int(text)


def _global_options(*, defaults: bool) -> argparse.ArgumentParser:
    """Options valid before and after the command; only those before it carry defaults."""
    options = Parser(add_help=False, argument_default=None if defaults else argparse.SUPPRESS)
    options.add_argument(
        "--node-config", metavar="FILE", type=Path, help="this node's file (default: /etc/twinhull/node.yml)"
    )
    options.add_argument(
        "--node", metavar="NODE", help="ask the agent of this node in place of the local one"
    )
    options.add_argument(
        "--json",
        action="store_true",
        help="print JSON",
    )
    return options


class _Commands:
    """Adds commands that share the global options."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def add(
        self, name: str, help_text: str, examples: tuple[str, ...], run: Run | None = None
    ) -> argparse.ArgumentParser:
        """One command; `run` gets the shell and the arguments, and returns the exit code."""
        epilog = "examples:\n" + "\n".join(f"  twinhull {example}" for example in examples)
        parser: argparse.ArgumentParser = self._group.add_parser(
            name,
            help=help_text,
            description=help_text[0].upper() + help_text[1:] + ".",
            epilog=epilog,
            parents=[_global_options(defaults=False)],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if run is not None:
            parser.set_defaults(run=run)
        return parser

    def group(self, name: str, help_text: str, examples: tuple[str, ...]) -> _Commands:
        """A command that has commands of its own."""
        parser = self.add(name, help_text, examples)
        return _Commands(parser.add_subparsers(dest=f"{name}_command", metavar="COMMAND", required=True))


def build_parser() -> Parser:
    """The parser of `twinhull`; every command's arguments carry `run`."""
    parser = Parser(
        prog="twinhull",
        description="Keeps a virtual machine running when a server dies.",
        epilog="examples:\n  twinhull status --watch\n  twinhull swap VM1\n  twinhull logs VM1 --follow",
        parents=[_global_options(defaults=True)],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"twinhull {__version__}")
    group = _Commands(parser.add_subparsers(dest="command", metavar="COMMAND", required=True))
    _add_status(group)
    _add_modules(group)
    _add_protection(group)
    _add_rescue(group)
    _add_witness(group)
    _add_looking(group)
    _add_config(group)
    _add_pki(group)
    _add_console(group)
    _add_processes(group)
    return parser


def _add_status(group: _Commands) -> None:
    examples: tuple[str, ...] = (
        "status",
        "status --watch",
        "status --json",
        "status --check && echo all green",
    )
    parser = group.add("status", "show both nodes and their modules", examples, status.run)
    parser.add_argument("--watch", action="store_true", help="draw again and again until Ctrl-C")
    parser.add_argument(
        "--interval", type=_interval, default=2.0, metavar="SECONDS", help="of --watch (default: 2)"
    )
    parser.add_argument(
        "--check", action="store_true", help="exit code 20 when something is orange, 21 when red"
    )


def _module_command(
    group: _Commands, name: str, help_text: str, examples: tuple[str, ...], agent_command: str | None = None
) -> argparse.ArgumentParser:
    parser = group.add(name, help_text, examples, modules.run_command)
    parser.set_defaults(agent_command=agent_command or name)
    parser.add_argument("module", metavar="MODULE", help="name of the module")
    _add_no_wait(parser)
    return parser


def _add_no_wait(parser: argparse.ArgumentParser) -> None:
    waiting = parser.add_mutually_exclusive_group()
    waiting.add_argument("--no-wait", action="store_true", help="do not wait for the end")
    _add_timeout(waiting)


def _add_timeout(parser: Any) -> None:
    help_text = "wait at most so long (default: to the end); the work goes on after it"
    parser.add_argument("--timeout", type=_duration, metavar="SECONDS", help=help_text)


def _add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", metavar="MODULE", help="confirm by naming the module (for scripts)")


def _add_modules(group: _Commands) -> None:
    examples: tuple[str, ...] = (
        "start VM1",
        "start VM1 --as-primary",
        "start VM1 --as-primary --yes VM1",
        "start VM1 --as-primary --without-witness",
    )
    parser = _module_command(group, "start", "start a module on this node", examples)
    help_text = (
        "start from this node's data whatever is known of the other: what only the other node holds is lost"
    )
    parser.add_argument("--as-primary", action="store_true", help=help_text)
    help_text = "with --as-primary: also if the witness cannot be asked; make sure that the other node is off"
    parser.add_argument("--without-witness", action="store_true", help=help_text)
    _add_yes(parser)

    examples = ("stop VM1", "stop VM1 --forced", "--node b stop VM1")
    parser = _module_command(
        group, "stop", "stop a module on this node; the other one takes over if it can", examples
    )
    parser.add_argument("--forced", action="store_true", help="use the forced stop mode (usually: power off)")
    _add_yes(parser)

    _module_command(group, "restart", "restart what runs in a module, in place", ("restart VM1",))
    help_text = "stop a module here, let the other node take over, and come back as its mirror"
    _module_command(group, "stopstart", help_text, ("stopstart VM1",))

    examples = ("swap VM1", "swap VM1 --mode save", "swap VM1 --no-wait", "swap VM1 --abandon")
    help_text = "exchange the roles of the nodes; nothing is resynchronised"
    parser = _module_command(group, "swap", help_text, examples)
    parser.add_argument("--mode", choices=("stop", "save"), help="shut the guest down, or save its state")
    parser.add_argument(
        "--abandon", action="store_true", help="give up a swap that still waits for the guest"
    )

    checkers = group.group("checker", "suspend or resume the checkers of a module", ("checker suspend VM1",))
    for name, word in (("suspend", "rest"), ("resume", "work again")):
        help_text = f"let the checkers of a module {word}"
        _module_command(checkers, name, help_text, (f"checker {name} VM1",), f"checker-{name}")


def _add_protection(group: _Commands) -> None:
    examples: tuple[str, ...] = (
        "protect VM1",
        "protect VM1 --domain web --stop-vm",
        "protect VM1 --domain web --yes VM1",
    )
    parser = group.add(
        "protect", "move a VM into the module's folder and mirror it", examples, modules.run_protect
    )
    parser.add_argument("module", metavar="MODULE", help="name of the module in the configuration")
    parser.add_argument(
        "--domain", metavar="NAME", help="the VM: refused if the module is configured for another one"
    )
    parser.add_argument("--stop-vm", action="store_true", help="shut the VM down for it")
    _add_yes(parser)
    _add_no_wait(parser)

    examples = ("originals VM1", "originals VM1 --remove", "originals VM1 --remove --yes VM1")
    help_text = "what `protect` left at the VM's old places on this node"
    parser = group.add("originals", help_text, examples, modules.run_originals)
    parser.add_argument("module", metavar="MODULE", help="name of the module")
    parser.add_argument(
        "--remove", action="store_true", help="delete it, once the module is green and runs here"
    )
    _add_yes(parser)
    _add_no_wait(parser)

    examples = (
        "unprotect VM1 --target /var/lib/libvirt/images/VM1",
        "unprotect VM1 --target /var/lib/libvirt/images/VM1 --yes VM1",
        "unprotect files",
    )
    parser = group.add(
        "unprotect", "move a VM back out of the folder, end its mirror", examples, modules.run_unprotect
    )
    parser.add_argument("module", metavar="MODULE", help="name of the module")
    parser.add_argument(
        "--target", metavar="DIR", help="where the VM goes: an absolute path, needed for a VM"
    )
    _add_yes(parser)
    _add_no_wait(parser)

    examples = ("verify VM1", "verify VM1 --repair", "verify VM1 --repair --source b", "verify VM1 --abandon")
    help_text = "compare both replicas while the VM runs; run it where the module is PRIM"
    parser = group.add("verify", help_text, examples, modules.run_verify)
    parser.add_argument("module", metavar="MODULE", help="name of the module")
    help_text = "make equal what differs; what is overwritten is kept"
    parser.add_argument("--repair", action="store_true", help=help_text)
    help_text = "the node with the right content (default: the one that runs the module)"
    parser.add_argument("--source", metavar="NODE", help=help_text)
    parser.add_argument("--abandon", action="store_true", help="end the comparison that is under way")
    _add_no_wait(parser)

    parser = group.add(
        "job",
        "wait for work that goes on in the agent",
        ("job 17", "job 17 --timeout '5 min'", "job 17 --no-wait --json"),
        modules.run_job_command,
    )
    parser.add_argument("job", metavar="JOB", help="its id")
    waiting = parser.add_mutually_exclusive_group()
    waiting.add_argument("--no-wait", action="store_true", help="show how far it is and return")
    _add_timeout(waiting)


def _rescue_command(
    group: _Commands, name: str, help_text: str, examples: tuple[str, ...], run: Run = rescue.run_work
) -> argparse.ArgumentParser:
    parser = group.add(name, help_text, tuple(f"rescue {example}" for example in examples), run)
    parser.set_defaults(rescue_work=name)
    parser.add_argument("module", metavar="MODULE", help="name of the module")
    if name != "list":
        parser.add_argument(
            "rescue", metavar="RESCUE", type=_positive, help="its number, as `rescue list` shows it"
        )
    if run is rescue.run_work:
        _add_no_wait(parser)
    return parser


def _add_rescue(group: _Commands) -> None:
    help_text = "what a copy overwrote on a node: the losing side of a split brain, a copy that was cut off"
    group = group.group("rescue", help_text, ("rescue list VM1", "--node b rescue mount VM1 1"))
    _rescue_command(group, "list", "list the rescues of a module on a node", ("list VM1",), rescue.run_list)
    examples: tuple[str, ...] = ("show VM1 1", "show VM1 1 --json")
    _rescue_command(group, "show", "show one: when, why, how much", examples, rescue.run_show)
    help_text = "mount the whole old file system read-only, beside the module as it runs"
    partial = "also what has gone on since, where the old content is not there any more"
    parser = _rescue_command(group, "mount", help_text, ("mount VM1 1",))
    parser.add_argument("--partial", action="store_true", help=partial)
    _rescue_command(group, "unmount", "take that mount away", ("unmount VM1 1",), rescue.run_unmount)
    help_text = "list the files that differ from the module as it is now, with sizes and times"
    parser = _rescue_command(group, "diff", help_text, ("diff VM1 1", "diff VM1 1 --json"))
    parser.add_argument("--partial", action="store_true", help=partial)
    examples = (
        "export VM1 1 --to /root/old",
        "export VM1 1 --to /root/old --path images/disk.qcow2",
        "export VM1 1 --image /root/old.img",
    )
    parser = _rescue_command(group, "export", "copy files, or the whole old volume, out of it", examples)
    help_path = "a file or directory below the module's folder; may be given again (default: everything)"
    parser.add_argument("--path", metavar="PATH", dest="paths", action="append", default=[], help=help_path)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", metavar="DIR", help="a directory that is not there yet, on that node")
    where.add_argument(
        "--image",
        metavar="FILE",
        help="write the old volume as a disk image in place of files; FILE.vhd: as a virtual disk",
    )
    parser.add_argument("--partial", action="store_true", help=partial)
    help_text = "put a stopped replica whose source died half-way back to its last consistent state"
    examples = ("rollback VM1 2", "rollback VM1 2 --yes VM1")
    _add_yes(_rescue_command(group, "rollback", help_text, examples))
    examples = ("drop VM1 1", "drop VM1 1 --yes VM1")
    _add_yes(_rescue_command(group, "drop", "remove a rescue for good", examples, rescue.run_drop))


def _add_witness(group: _Commands) -> None:
    help_text = "the witness with a memory: what it holds for a module"
    group = group.group("witness", help_text, ("witness show VM1", "witness reset VM1"))
    examples: tuple[str, ...] = ("witness show VM1", "--node b witness show VM1", "witness show VM1 --json")
    help_text = "read the module's record: who may start, under which history"
    parser = group.add("show", help_text, examples, witness.run_show)
    parser.add_argument("module", metavar="MODULE", help="name of the module")
    examples = ("witness reset VM1", "witness reset VM1 --yes VM1")
    help_text = "write the record anew on the node that runs the module: the witness that is there now is the right one"
    parser = group.add("reset", help_text, examples, witness.run_reset)
    parser.add_argument("module", metavar="MODULE", help="name of the module")
    _add_yes(parser)
    _add_no_wait(parser)


def _add_looking(group: _Commands) -> None:
    examples: tuple[str, ...] = (
        "logs",
        "logs VM1 --follow",
        "logs --since '2 h' --level WARNING",
        "logs VM1 --json",
    )
    parser = group.add("logs", "show the log of this node", examples, logs.run)
    parser.add_argument("module", metavar="MODULE", nargs="?", help="lines about this module only")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_argument(
        "-n", "--lines", type=_positive, default=100, metavar="N", help="newest lines (default: 100)"
    )
    parser.add_argument("--since", type=_age, metavar="DURATION", help="not older than, such as '30 min'")
    parser.add_argument("--level", choices=logs.LEVELS, help="this level and above")

    examples = ("snapshot", "snapshot --anonymise -o /root/for-support.tar.gz")
    help_text = "collect configuration, logs, states and system facts in one archive; no keys are in it"
    parser = group.add("snapshot", help_text, examples, snapshot.run)
    parser.add_argument("--anonymise", action="store_true", help="replace names and addresses consistently")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to write it")
    _add_timeout(parser)


def _add_config(group: _Commands) -> None:
    group = group.group(
        "config", "check, show and apply the configuration", ("config check", "config apply new.yml")
    )
    examples: tuple[str, ...] = ("config check", "config check new.yml", "config check new.yml --json")
    parser = group.add(
        "check", "check a configuration of the cluster; asks no agent", examples, configuration.run_check
    )
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, help="default: the one of this node")
    group.add("show", "show what the agent runs with", ("config show",), configuration.run_show)
    examples = ("config apply new.yml --dry-run", "config apply new.yml", "config apply - --json < new.yml")
    parser = group.add(
        "apply", "have this node's agent take a new configuration", examples, configuration.run_apply
    )
    help_text = "the new configuration of the cluster; - for standard input"
    parser.add_argument("file", metavar="FILE", type=Path, help=help_text)
    parser.add_argument("--dry-run", action="store_true", help="show what would change, apply nothing")
    help_text = "print a configuration with every default written out"
    parser = group.add("normalise", help_text, ("config normalise cluster.yml",), configuration.run_normalise)
    parser.add_argument("file", metavar="FILE", type=Path, help="a configuration of a cluster")


def _add_pki(group: _Commands) -> None:
    examples: tuple[str, ...] = (
        "pki init --cluster site-042",
        "pki issue a --role node --out /root/a",
        "pki show",
    )
    group = group.group("pki", "the cluster's authority and certificates (local files only)", examples)
    pki.add_commands(group)


def _add_console(group: _Commands) -> None:
    group = group.group("console", "the console of this node", ("console password < FILE",))
    examples: tuple[str, ...] = (
        "console password",
        "console password < FILE",
        "console password --check < FILE",
    )
    help_text = "set the console's password to what comes on standard input (or is typed)"
    parser = group.add("password", help_text, examples, console.run_password)
    help_text = "change nothing; exit code 0 when it is the password already, 1 when it is not"
    parser.add_argument("--check", action="store_true", help=help_text)


def _add_processes(group: _Commands) -> None:
    agents = group.group("agent", "the agent of this node", ("agent run",))
    agents.add("run", "run the agent in the foreground (systemd does this)", ("agent run",), other.run_agent)
    help_text = "run the worker of one module (the agent does this)"
    parser = group.add("worker", help_text, ("worker VM1",), other.run_worker)
    parser.add_argument("module", metavar="MODULE", help="name of the module")
    group.add("exit-codes", "list the exit codes", ("exit-codes",), other.run_exit_codes)
    examples: tuple[str, ...] = ("completion bash > /etc/bash_completion.d/twinhull",)
    parser = group.add("completion", "print the completion for a shell", examples, other.run_completion)
    parser.add_argument("what", choices=("bash", "modules"), help="the script, or the names of the modules")
