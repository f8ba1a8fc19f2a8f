"""The lab that `make lab` leaves standing, with a script for each thing that can be done to it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from . import existing_vm, guest, registry
from .commands import LabError
from .console import say
from .lab import Lab, check_machine, sweep_stale
from .records import ReportFile

NAME = "standing"
MODULE = "VM1"
TIMEOUT_S = 5.0
WORDS = ("on", "cut", "heal", "kill", "boot")
CALLED_FROM = "TWINHULL_LAB_CALLED_FROM"
"""The environment's name of the directory that a script was called in, where the node's command runs too."""
REPOSITORY = Path(__file__).resolve().parents[2]
HELP = """\
The lab is up. Two nodes, a and b; a runs the VM {module}, which is not protected yet.

  {root}/on a COMMAND...        run a command on node a (b likewise); a shell without a command
  {root}/cut NETWORK [NODE]     pull the cables of heartbeat or replication (or one node's)
  {root}/heal NETWORK [NODE]    plug them in again
  {root}/kill NODE              power loss
  {root}/boot NODE              power on
  {root}/reports/{module}           what the VM's program tells of its records
  make lab-down                 remove all of it

Begin with:
  {root}/on a twinhull status
  {root}/on a twinhull protect {module} --stop-vm --yes {module}
  {root}/on b twinhull status --watch
"""


def up(root: Path) -> Lab:
    """Make the standing lab, say how to use it, and leave it.

    Args:
        root: directory for disks, logs and scripts.

    Raises:
        LabError: it stands already, or this machine lacks something.
    """
    check_machine(libvirt=True)
    sweep_stale()
    if registry.exists(NAME):
        raise LabError("the lab is up already: `make lab-down` removes it")
    say("Building the guest ...")
    built = guest.build(root.resolve().parent / "guest")
    say("Starting nodes a and b ...")
    lab = Lab(root, NAME, libvirt=True, persistent=True).up()
    try:
        lab.install_twinhull({MODULE: existing_vm.module(MODULE, timeout_s=TIMEOUT_S, preferred="a")})
        lab.wait_agents()
        existing_vm.define(lab["a"], MODULE, built, ReportFile(lab.reports / MODULE))
        lab["a"].run(["virsh", "start", MODULE])
        write_scripts(lab.root)
    except BaseException:
        lab.down()
        raise
    say(HELP.format(module=MODULE, root=root))
    return lab


def down() -> None:
    """Remove the standing lab with its scripts."""
    lab = Lab.load(NAME)
    lab.down()
    for word in WORDS:
        (lab.root / word).unlink(missing_ok=True)
    if lab.root.exists() and not any(lab.root.iterdir()):
        lab.root.rmdir()


def write_scripts(root: Path) -> None:
    """One small script for each word, so that the lab is used from any shell."""
    for word in WORDS:
        script = root / word
        call = f"exec {shlex.quote(sys.executable)} -m tests.lab {word}"
        lines = ["#!/bin/sh", f'{CALLED_FROM}="$PWD"', f"export {CALLED_FROM}"]
        lines += [f"cd {shlex.quote(str(REPOSITORY))} || exit", f'{call} "$@"']
        script.write_text("\n".join(lines) + "\n", encoding="utf-8")
        script.chmod(0o755)
