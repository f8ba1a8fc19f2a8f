"""Fleets of real hosts by hand: see `python -m tests.system.fleet --help`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from tests.lab.commands import LabError
from tests.lab.console import complain, say

from . import registry, tree
from .fabric import NETWORKS
from .fleet import REPOSITORY, SITES, Fleet, sweep
from .host import INSIDE_ENVIRONMENT


def main() -> int:
    """Do what the command line says; the exit status."""
    arguments = _parser().parse_args()
    try:
        if arguments.word == "up":
            up(arguments.name, arguments.sites, bare=arguments.bare)
        elif arguments.word == "down":
            down(arguments.name)
        elif arguments.word == "list":
            list_fleets()
        elif arguments.word == "run":
            enter(arguments.name, arguments.host, arguments.command)
        elif arguments.word == "ssh":
            log_in(arguments.name, arguments.host, arguments.command)
        elif arguments.word == "play":
            play(arguments.name, arguments.playbook, arguments.arguments)
        elif arguments.word == "clean":
            clean()
        elif arguments.word in {"cut", "heal"}:
            host = Fleet.load(arguments.name)[arguments.host]
            (host.cut if arguments.word == "cut" else host.heal)(*arguments.networks)
        else:
            change_power(arguments.word, arguments.name, arguments.host)
    except LabError as error:
        complain(f"fleet: {error}")
        return 1
    return 0


def up(name: str, sites: int, *, bare: bool) -> None:
    """Make a fleet that stays, and say how to use it."""
    chosen = SITES[:sites]
    fleet = Fleet(name, sites=chosen, bare=chosen if bare else ()).up(say, persistent=True)
    say(
        f"Fleet {name}: {', '.join(fleet.hosts)} run; inventory {fleet.inventory}"
        f" (without plugin: {fleet.static_inventory})."
    )
    say("")
    say(f"  python -m tests.system.fleet play {name} playbooks/preflight.yml [ansible-playbook's arguments]")
    say("which is, from the repository's directory:")
    say(
        f"  ANSIBLE_SSH_CONTROL_PATH_DIR={fleet.sockets} {shlex.join(fleet.play_command('playbooks/preflight.yml'))}"
    )
    say(f"  python -m tests.system.fleet run {name} {next(iter(fleet.hosts))} systemctl --failed")
    say(
        f"  python -m tests.system.fleet cut|heal {name} HOST [{'|'.join(NETWORKS)}]; off|on {name} HOST; down {name}"
    )


def down(name: str) -> None:
    """Remove a fleet."""
    Fleet.load(name).down()
    say(f"Fleet {name} is gone: no process, namespace, mount or loop device of it is left.")


def list_fleets() -> None:
    """Every fleet with its hosts."""
    for name in registry.names():
        fleet = Fleet.load(name)
        words = [f"{host.name} {'on' if host.powered else 'off'}" for host in fleet.living]
        say(f"{name}{' (abandoned)' if fleet.abandoned else ''}: {', '.join(words)}")


def enter(name: str, host: str, command: list[str]) -> None:
    """Become a command inside a host, with this terminal and without any network."""
    argv = Fleet.load(name)[host].enter(command or ["bash"])
    os.chdir("/")
    os.execvpe(argv[0], argv, {**INSIDE_ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb")})


def log_in(name: str, host: str, command: list[str]) -> None:
    """Become an ssh from the control node to a host."""
    fleet = Fleet.load(name)
    argv = fleet.control_command(["ssh", "-F", fleet.ssh_config, host, *command])
    os.execvpe(argv[0], argv, fleet.environment())


def play(name: str, playbook: str, arguments: list[str]) -> None:
    """Become ansible-playbook on the control node."""
    fleet = Fleet.load(name)
    argv = fleet.play_command(playbook, *arguments)
    os.chdir(REPOSITORY)
    os.execvpe(argv[0], argv, {**os.environ, **fleet.environment()})


def clean() -> None:
    """Remove abandoned fleets, and the cached trees when no fleet stands on them."""
    sweep(say)
    if registry.names():
        say(f"The cached trees stay: fleets {', '.join(registry.names())} stand on them.")
    else:
        tree.clean()
        say("The cached trees are gone.")


def change_power(word: str, name: str, host: str) -> None:
    """`off` is a power loss, not a shutdown; `on` boots and waits."""
    machine = Fleet.load(name)[host]
    if word == "off":
        machine.power_loss()
    else:
        machine.boot()
        machine.wait_booted()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.system.fleet", description=__doc__)
    words = parser.add_subparsers(dest="word", required=True)
    making = words.add_parser("up", help="make a fleet that stays until `down`")
    making.add_argument("name")
    making.add_argument("--sites", type=int, default=2, choices=range(1, len(SITES) + 1))
    making.add_argument("--bare", action="store_true", help="hosts without libvirt and QEMU")
    words.add_parser("down", help="remove a fleet").add_argument("name")
    words.add_parser("list", help="the fleets of this machine")
    words.add_parser("clean", help="remove abandoned fleets and the cached trees")
    for word, text in (("run", "a command inside a host, as root"), ("ssh", "the same over ssh")):
        running = words.add_parser(word, help=text)
        running.add_argument("name")
        running.add_argument("host")
        running.add_argument("command", nargs=argparse.REMAINDER)
    playing = words.add_parser("play", help="a playbook over the fleet")
    playing.add_argument("name")
    playing.add_argument("playbook")
    playing.add_argument("arguments", nargs=argparse.REMAINDER)
    for word, text in (("cut", "pull a host's cables"), ("heal", "plug them in again")):
        cabling = words.add_parser(word, help=f"{text}; all of them when none is named")
        cabling.add_argument("name")
        cabling.add_argument("host")
        cabling.add_argument("networks", nargs="*", choices=[*NETWORKS, []])
    for word, text in (("off", "power loss of a host"), ("on", "boot it again")):
        power = words.add_parser(word, help=text)
        power.add_argument("name")
        power.add_argument("host")
    return parser


if __name__ == "__main__":
    sys.exit(main())
