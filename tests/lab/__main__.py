"""The command behind `make lab`, `make lab-down` and the scripts in build/lab."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import registry, standing
from .commands import LabError
from .console import complain, say
from .lab import Lab, sweep_stale
from .network import Direction


def main() -> int:
    """Do what the command line says; the exit status."""
    arguments = _parser().parse_args()
    try:
        if arguments.word == "up":
            standing.up(arguments.root)
        elif arguments.word == "down":
            down()
        elif arguments.word == "clean":
            for name in sweep_stale():
                say(f"removed lab {name}, which its maker had left")
        elif arguments.word == "on":
            enter(arguments.node, arguments.command)
        elif arguments.word in {"cut", "heal"}:
            change_cable(arguments.word, arguments.network, arguments.node, Direction(arguments.direction))
        else:
            change_power(arguments.word, arguments.node)
    except LabError as error:
        complain(f"lab: {error}")
        return 1
    return 0


def down() -> None:
    """Remove the standing lab and every lab whose maker died."""
    sweep_stale()
    if registry.exists(standing.NAME):
        standing.down()
        say("The lab is gone: no process, namespace, mount or loop device of it is left.")
    else:
        say("There is no standing lab.")
    for name in registry.names():
        say(f"Lab {name} is in use by process {registry.read(name)['owner_pid']} and was left alone.")


def enter(node: str, command: list[str]) -> None:
    """Become a command in a node, with this terminal, in the directory that it was called from."""
    lab = Lab.load(standing.NAME)
    directory = os.environ.get(standing.CALLED_FROM) or str(Path.cwd())
    argv = lab[node].enter(["env", f"--chdir={directory}", *(command or ["bash"])])
    os.chdir("/")
    os.execvpe(argv[0], argv, {**lab.environment(), "TERM": os.environ.get("TERM", "dumb")})


def change_cable(word: str, network: str, node: str | None, direction: Direction) -> None:
    """Cut or heal a network: every node's cable, or one node's."""
    lab = Lab.load(standing.NAME)
    if node is None:
        lab.cut(network) if word == "cut" else lab.heal(network)
    elif word == "cut":
        lab[node].cut(network, direction)
    else:
        lab[node].heal(network)


def change_power(word: str, node: str) -> None:
    """Take a node's power away, or boot it."""
    lab = Lab.load(standing.NAME)
    if word == "kill":
        lab[node].kill()
    else:
        lab[node].boot()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="Two Twinhull nodes on this machine.")
    words = parser.add_subparsers(dest="word", required=True)
    up = words.add_parser("up", help="make the lab and leave it")
    up.add_argument("--root", type=Path, default=Path("build/lab"))
    words.add_parser("down", help="remove the lab")
    words.add_parser("clean", help="remove what crashed runs left")
    on = words.add_parser("on", help="run a command on a node (a shell without one)")
    on.add_argument("node")
    on.add_argument("command", nargs=argparse.REMAINDER)
    for word, text in (("cut", "pull the cables of a network"), ("heal", "plug them in again")):
        cable = words.add_parser(word, help=text)
        cable.add_argument("network")
        cable.add_argument("node", nargs="?", help="only this node's cable")
        cable.add_argument("--direction", default="both", choices=[way.value for way in Direction])
    for word, text in (("kill", "power loss of a node"), ("boot", "power a node on")):
        words.add_parser(word, help=text).add_argument("node")
    return parser


if __name__ == "__main__":
    sys.exit(main())
