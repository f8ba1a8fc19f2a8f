"""What the stories are told with: playbooks run and read, hosts compared, applications watched."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import records
from tests.lab.commands import LabError

from .fleet import PLAY_TIMEOUT_S, REPOSITORY, Fleet
from .host import Host
from .recorder import SLOTS

POLL_S = 0.05
TAIL_CHARACTERS = 12_000
SMALL_FILE_BYTES = 1 << 20
TASK_LINE = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.*?)\] \*+$")
RESULT_LINE = re.compile(r"^(changed|ok|skipping|fatal|failed|unreachable): \[([^\]\s]+)[^\]]*\]")
# What a running system writes by itself, whoever looks at it.
RESTLESS = re.compile(
    r"^/(tmp|var/tmp|var/log|var/cache|run|root/\.(ansible|cache|ssh)|home/[^/]+/\.ansible|etc/ld\.so\.cache|"
    r"var/lib/(systemd|dbus|sudo|apt|private|logrotate)|var/backups)(/|$)"
)


@dataclass(frozen=True)
class Outcome:
    """How a run of a playbook went.

    Args:
        text: all that it said.
        status: its exit status.
        sites: the recap by site: `outcome`, `changed`, `hosts`, `troubles`.
        results: (task, host, state) in order.
        seconds: how long it took.
    """

    text: str
    status: int
    sites: dict[str, dict[str, Any]]
    results: tuple[tuple[str, str, str], ...]
    seconds: float

    def changes(self, *sites: str) -> list[tuple[str, str]]:
        """(task, host) of what changed at sites."""
        chosen = [
            (task, host)
            for task, host, state in self.results
            if state == "changed" and host.rpartition("-")[0] in sites
        ]
        return sorted(set(chosen))

    def sentences(self, site: str) -> str:
        """All that the recap says went wrong at a site."""
        return "\n".join(trouble["sentence"] for trouble in self.sites[site]["troubles"])

    def outcome(self, site: str) -> str:
        """`done`, `unchanged` or `left out`, as the recap names it."""
        word: str = self.sites[site]["outcome"]
        return word

    @property
    def tail(self) -> str:
        """The end of the text, for messages."""
        return self.text[-TAIL_CHARACTERS:]


class Stage:
    """A fleet with its playbooks: runs them, watches them and keeps what they said in `logs`.

    Args:
        fleet: the hosts.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.logs = fleet.root / "logs"
        self.logs.mkdir(exist_ok=True)
        self._count = 0

    def play(self, playbook: str, *arguments: str, inventory: Path | None = None) -> Outcome:
        """Run a playbook to its end, whatever that is."""
        return self._run(playbook, arguments, inventory, None)

    def play_and(
        self, playbook: str, *arguments: str, when: Callable[[str], bool], do: Callable[[], None]
    ) -> Outcome:
        """Run a playbook and do something to the hosts in the middle of it.

        Args:
            playbook: its name.
            arguments: for ansible-playbook.
            when: gets all that the playbook said so far; the first time it is true is the moment.
            do: what happens then.

        Raises:
            LabError: the moment never came.
        """
        return self._run(playbook, arguments, None, (when, do))

    def _run(
        self,
        playbook: str,
        arguments: tuple[str, ...],
        inventory: Path | None,
        interruption: tuple[Callable[[str], bool], Callable[[], None]] | None,
    ) -> Outcome:
        self._count += 1
        log = self.logs / f"{self._count:02}-{playbook}.log"
        recaps = self.logs / f"{self._count:02}-recap"
        command = self.fleet.play_command(f"playbooks/{playbook}.yml", *arguments)
        if inventory is not None:
            command[command.index("-i") + 1] = str(inventory)
        begun = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**self.fleet.environment(), "TWINHULL_OUTPUT_DIR": str(recaps)},
                cwd=REPOSITORY,
                start_new_session=True,
            )
        try:
            came = self._follow(process, log, interruption)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        text = log.read_text(encoding="utf-8", errors="replace")
        if interruption is not None and not came:
            raise LabError(
                f"{playbook} ended before the moment came to interrupt it:\n{text[-TAIL_CHARACTERS:]}"
            )
        return Outcome(text, process.returncode, _recap(recaps), read_results(text), time.monotonic() - begun)

    def _follow(
        self,
        process: subprocess.Popen[bytes],
        log: Path,
        interruption: tuple[Callable[[str], bool], Callable[[], None]] | None,
    ) -> bool:
        deadline = time.monotonic() + PLAY_TIMEOUT_S
        came = False
        while process.poll() is None:
            if interruption is not None and not came:
                when, do = interruption
                if when(log.read_text(encoding="utf-8", errors="replace")):
                    came = True
                    do()
            if time.monotonic() > deadline:
                raise LabError(f"{log.stem} did not end within {PLAY_TIMEOUT_S:g} s")
            time.sleep(POLL_S)
        return came


def _recap(directory: Path) -> dict[str, dict[str, Any]]:
    sites: dict[str, dict[str, Any]] = {}
    for file in directory.glob("recap-*.json"):
        for entry in json.loads(file.read_text(encoding="utf-8"))["sites"]:
            sites[entry["site"]] = entry
    return sites


def read_results(text: str) -> tuple[tuple[str, str, str], ...]:
    """(task, host, state) of each result in what ansible-playbook said, in order."""
    task, found = "", []
    for line in text.splitlines():
        banner = TASK_LINE.match(line)
        if banner:
            task = banner[1]
            continue
        result = RESULT_LINE.match(line)
        if result:
            found.append((task, result[2], result[1]))
    return tuple(found)


def fingerprint(host: Host) -> dict[str, str]:
    """All that is kept on a host's disk, and what runs on it: equal before and after what changes nothing."""
    found: dict[str, str] = {}
    roots = [(host.directory / "upper", "")]
    roots += [
        (host.directory / "disk" / own.lstrip("/").replace("/", "-"), own) for own in ("/var/lib", "/srv")
    ]
    for root, prefix in roots:
        for directory, names, files in os.walk(root):
            inside = prefix + directory.removeprefix(str(root))
            names[:] = [name for name in names if not RESTLESS.match(f"{inside}/{name}")]
            for name in [*names, *files]:
                if not RESTLESS.match(f"{inside}/{name}"):
                    found[f"{inside}/{name}"] = _described(Path(directory, name))
    running = host.run(
        ["systemctl", "list-unit-files", "--plain", "--no-legend", "--type=service,socket,timer"]
    )
    found["unit files"] = running.stdout
    found["packet filter"] = host.run(["nft", "--stateless", "list", "ruleset"]).stdout
    found["agent"] = host.run(["systemctl", "is-active", "twinhull-agent"], check=False).stdout
    return found


def _described(path: Path) -> str:
    status = path.lstat()
    words = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return f"{words} -> {path.readlink()}"
    if not stat.S_ISREG(status.st_mode):
        return words
    if status.st_size > SMALL_FILE_BYTES:
        return f"{words} {status.st_size} {status.st_mtime_ns}"
    return f"{words} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What differs between two fingerprints, in words."""
    return [
        f"{name}: {before.get(name, 'absent')} became {after.get(name, 'absent')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


@dataclass(frozen=True)
class Told:
    """What an application told so far: its starts and acknowledged records, in order."""

    boots: int
    last: int
    lost_at_a_boot: tuple[str, ...]
    longest_pause_ms: int


class Application:
    """The program of a module, watched from outside of all hosts.

    Args:
        reports: where it tells of its records.
        slots: of its ring of records.
    """

    def __init__(self, reports: Path, slots: int = SLOTS) -> None:
        self.reports = records.ReportFile(reports)
        self.slots = slots

    def told(self, since_line: int = 0) -> Told:
        """Read the reports, from a line on."""
        return judge(self.reports.path.read_text(encoding="ascii", errors="replace"), since_line)

    @property
    def lines(self) -> int:
        """How many lines there are now."""
        return len(self.reports.path.read_text(encoding="ascii", errors="replace").splitlines())

    def wait_for_more(self, timeout_s: float = 60.0) -> None:
        """Wait until it has written some more records.

        Raises:
            LabError: it has not.
        """
        last = self.told().last
        self.reports.wait("the application to write", lambda now: now.last > last + 2, timeout_s)

    def missing(self, content: bytes) -> list[int]:
        """Which acknowledged records are not in the content of the records file."""
        return records.missing(content, self.reports.read().acknowledged, self.slots)


def judge(text: str, since_line: int = 0) -> Told:
    """Whether each start of an application found all that was acknowledged before.

    Args:
        text: of the reports.
        since_line: starts, records and pauses before this line are left out of the numbers, not of the judgement.
    """
    boots = last = pause_ms = 0
    lost = []
    at_ms: int | None = None
    for number, line in enumerate(text.splitlines()):
        words = line.removesuffix(".").split()
        if not line.endswith(".") or len(words) != 3 or not (words[1].isdigit() and words[2].isdigit()):
            continue
        first, second = int(words[1]), int(words[2])
        if words[0] == "boot":
            boots += number >= since_line
            if first < last or second:
                lost.append(f"a start found {first} of {last} acknowledged records, {second} damaged")
        elif words[0] == "ack":
            last = max(last, first)
            if at_ms is not None and number >= since_line:
                pause_ms = max(pause_ms, second - at_ms)
            at_ms = second
    return Told(boots, last, tuple(lost), pause_ms)
