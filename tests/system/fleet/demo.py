"""`make demo-fleet`: the playbooks against four hosts with systemd on this machine, from delivered to swapped.

The inventory is inventories/demo, as it stands. Nothing is left running.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tests.lab import guest
from tests.lab.commands import LabError, run
from tests.lab.console import complain, say
from tests.lab.fixtures import REPOSITORY

from . import bundles
from .fleet import Fleet, sweep
from .host import OUTSIDE, Host
from .story import Application

NAME = "demo"
SITES = ("lyon", "basel")
BARE_SITE = "basel"
LOGS = REPOSITORY / "build" / "demo-fleet"
INTERRUPTED = 130
PLAY_TIMEOUT_S = 900.0
TABLE_LINE = re.compile(r"^\s+- '?(?P<line>.*?)'?$")


class Demo:
    """The steps of the demo, with the time that each took.

    Args:
        fleet: the four hosts.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.begun_s = time.monotonic()
        self.times_s: list[tuple[str, float]] = []
        self.applications: dict[str, Application] = {}

    def step(self, text: str, work: Callable[[], object]) -> None:
        """Say what is done, do it, note how long it took."""
        say(f"[{time.monotonic() - self.begun_s:5.0f} s] {text}")
        begun_s = time.monotonic()
        work()
        self.times_s.append((text, time.monotonic() - begun_s))

    def play(self, playbook: str, *arguments: str) -> None:
        """Run a playbook as a person would in the repository's directory; show its last part.

        Raises:
            LabError: it failed; names the file with all that it said.
        """
        say(f"          $ ansible-playbook playbooks/{playbook}.yml {' '.join(arguments)}".rstrip())
        command = ["ansible-playbook", f"playbooks/{playbook}.yml", *arguments]
        told = run(
            self.fleet.control_command(command),
            check=False,
            env=self.fleet.environment(),
            cwd=REPOSITORY,
            timeout_s=PLAY_TIMEOUT_S,
        )
        log = LOGS / f"{len(self.times_s) + 1:02}-{playbook}.log"
        log.write_text(told.stdout + told.stderr, encoding="utf-8")
        for line in excerpt(told.stdout, playbook):
            say(f"          {line}")
        if told.returncode != 0:
            raise LabError(f"playbooks/{playbook}.yml failed: all that it said is in {log}")

    def run(self, built: guest.Guest, bundle: Path) -> None:
        """All steps after the bundle was made."""
        self.step(
            "four Debian hosts boot, two sites of two; basel's have no hypervisor yet",
            lambda: self.fleet.up(say),
        )
        self.step(
            "Twinhull is installed on all of them",
            lambda: self.play("install", "-e", f"twinhull_bundle={bundle}"),
        )
        for site in SITES:
            host = self.fleet[f"{site}-a"]
            self.step(f"{host.name} runs a VM, as hosts do", lambda h=host: self.start_vm(built, h))  # type: ignore[misc]
            arguments = [
                "--limit",
                f"site_{site}",
                "-e",
                f"twinhull_module={site}-vm",
                "-e",
                "twinhull_stop_vm=true",
            ]
            if site == BARE_SITE:
                arguments += ["-e", "twinhull_test_return=false"]
            self.step(
                f"{site}-vm is moved into its folder and mirrored",
                lambda a=arguments: self.play("protect_vm", *a),  # type: ignore[misc]
            )
        self.step("how the fleet is", lambda: self.play("status"))
        self.step("every VM moves away from its node a", lambda: self.play("swap", "-e", "twinhull_empty=a"))
        self.step("how the fleet is now", lambda: self.play("status"))
        self.step("what the VMs wrote is looked at", self.judge)

    def start_vm(self, built: guest.Guest, host: Host) -> None:
        """An existing VM: it writes numbered records and tells of each that was on its disk."""
        name = f"{host.site}-vm"
        directory = f"/var/lib/libvirt/images/{name}"
        application = Application(self.fleet.root / "outside" / f"{name}.reports", guest.SLOTS)
        self.applications[name] = application
        built.place(host.path(directory))
        xml = guest.domain_xml(name, directory, Path(OUTSIDE) / f"{name}.reports", pause_ms=20)
        (host.path(directory) / "domain.xml").write_text(xml, encoding="utf-8")
        host.run(["virsh", "define", f"{directory}/domain.xml"])
        host.run(["virsh", "start", name])
        application.wait_for_more()

    def judge(self) -> None:
        """Whether each start of each VM found all that it had been told was written.

        Raises:
            LabError: it did not.
        """
        for name, application in self.applications.items():
            application.wait_for_more()
            told = application.told()
            if told.lost_at_a_boot:
                raise LabError(f"{name}: {'; '.join(told.lost_at_a_boot)}: this is a bug")
            say(f"          {name}: {told.last} records written, {told.boots} starts, none lost")


def excerpt(text: str, playbook: str) -> list[str]:
    """What a person wants to see of a playbook's output: the table of `status`, else the recap by site."""
    lines = text.splitlines()
    if playbook == "status":
        shown: list[str] = []
        for line in lines:
            if line.startswith("TASK [Make the directory"):
                return shown
            found = TABLE_LINE.match(line)
            if found:
                shown.append(found["line"])
        return shown
    start = next((number for number, line in enumerate(lines) if line.startswith("SITES ***")), len(lines))
    return [line for line in lines[start + 1 :] if line.strip()]


def main() -> int:
    """Run the demo; the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        _run()
    except LabError as error:
        complain(f"demo: {error}")
        return 1
    except KeyboardInterrupt:
        complain("demo: interrupted; everything was removed")
        return INTERRUPTED
    return 0


def _run() -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    sweep(say)
    built = guest.build(REPOSITORY / "build" / "guest")
    modules = {site: {} for site in SITES}  # type: dict[str, dict[str, object]]
    fleet = Fleet(NAME, sites=SITES, bare=(BARE_SITE,), modules=modules)
    demo = Demo(fleet)
    made: list[Path] = []
    demo.step(
        "a bundle is made, with all that a site without internet needs",
        lambda: made.append(bundles.make(bundles.own_version())),
    )
    with fleet:
        demo.run(built, made[0])
        say(f"[{time.monotonic() - demo.begun_s:5.0f} s] everything is removed")
    width = max(len(text) for text, _ in demo.times_s)
    say("")
    for text, seconds in demo.times_s:
        say(f"  {text:<{width}}  {seconds:5.0f} s")
    say(
        f"  {'in all':<{width}}  {time.monotonic() - demo.begun_s:5.0f} s; what the playbooks said is in {LOGS}"
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
