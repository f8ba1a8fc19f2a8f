"""Runs everything that proves Twinhull, three lanes at a time, and says what came out.

    python -m tests.suites                 all of it
    python -m tests.suites unit failover   only these steps
    python -m tests.suites --list

Most tests wait for time-outs of the thing they test, so three lanes on two cores take half the time of one. A step's output
is kept in build/test/STEP.log and printed whole when it fails; of a green step the closing lines are printed, and every
test that was not run, by name and with its reason. The last lines name each test that failed, and why.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "test"
# A tracer doubles the time of a test, so only those tests are traced that are there for the code that is counted.
COVERED = "*/twinhull/core/*,*/twinhull/storage/*"
COVERED_AT_LEAST_PERCENT = 95
COUNTED = re.compile(r"(\d+) (passed|failed|error|errors|skipped|xfailed|xpassed)\b")
HEARTBEAT_S = 60.0
TEST_HEADING = re.compile(r"_{2,} (ERROR at |ERROR collecting )?\S.* _{2,}$")
DIGEST_LINES = 12
"""So much of a failure is told once more in the end."""
NOTHING_RAN = 5
"""The exit status of a step of tests that ran none: pytest's own for that."""


class Step(NamedTuple):
    """One command. `tests` says that it ends with pytest's closing line, which is counted."""

    name: str
    argv: tuple[str, ...]
    tests: bool = True


class Outcome(NamedTuple):
    """How a step ended. `digest`: the lines of its output that say what failed."""

    step: Step
    status: int
    took_s: float
    processor_s: float
    counts: dict[str, int]
    digest: Sequence[str] = ()


def _pytest(name: str, *paths: str, coverage: bool = False) -> Step:
    argv = (sys.executable, "-m", "pytest", *paths, "-rs", "--no-fold-skipped", "--timeout=900")
    argv += ("--durations=20", "--durations-min=2")
    return Step(name, (*argv, "--cov", "--cov-report=") if coverage else argv)


def _apart(step: Step) -> Step:
    """With a mount namespace of its own: what it mounts is not copied by the labs of another lane, which would hold it."""
    return step._replace(argv=("unshare", "--mount", "--propagation", "private", *step.argv))


def _command(name: str, *argv: str) -> Step:
    return Step(name, argv, tests=False)


LANES: dict[str, tuple[Step, ...]] = {
    "code": (
        _command("lint", "make", "--no-print-directory", "lint"),
        _pytest("core", "tests/unit/core", "tests/unit/storage", "tests/scenarios", coverage=True),
        _pytest("unit", "tests/unit", "--ignore=tests/unit/core", "--ignore=tests/unit/storage"),
        _apart(
            _pytest(
                "integration",
                "tests/integration/transport",
                "tests/integration/exports",
                "tests/integration/resources",
                "tests/integration/witness",
                "--ignore=tests/integration/exports/iscsi",
            )
        ),
        _pytest("simulation", "tests/simulation"),
        _command("collection", ".ci/collection"),
        _pytest("system", "tests/system", "--ignore=tests/system/fleet"),
        _pytest("preflight", "tests/integration/preflight"),
        _pytest("wine", "tests/integration/wine", "tests/integration/windows_story"),
    ),
    "pairs": (
        _pytest("failover", "tests/integration/failover"),
        _pytest("chaos", "tests/chaos"),
        _pytest("iscsi", "tests/integration/exports/iscsi", "tests/integration/iscsi_disk"),
        _pytest(
            "windows",
            "tests/integration/windows_python",
            "tests/integration/windows_attach",
            "tests/integration/windows_playbooks",
            "tests/integration/fleet_scale",
        ),
    ),
    "fleet": (_pytest("fleet", "tests/system/fleet"),),
}

NOT_RUN = {
    "a real Windows host": "playbooks meet a stand-in endpoint, PowerShell the real engine with stand-in cmdlets",
    "the execution environment image": "building it needs a container runtime and images from the internet",
    "firewalld and ufw": "the hosts here use nftables; the plans for the other two are unit-tested",
    "processor virtualisation": "guests are emulated (TCG) where KVM does not boot one",
}
"""What no step can show on the machines that these tests are made for, and why."""


def main() -> int:
    """Run what the command line says; the exit status."""
    steps = {step.name: step for lane in LANES.values() for step in lane}
    parser = argparse.ArgumentParser(description="Runs everything that proves Twinhull.")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"only these: {', '.join(steps)}")
    parser.add_argument("--list", action="store_true", help="print the steps and their commands, run nothing")
    arguments = parser.parse_args()
    unknown = set(arguments.steps) - set(steps)
    if unknown:
        parser.error(f"no step is called {', '.join(sorted(unknown))}; there are {', '.join(steps)}")
    if arguments.list:
        for step in steps.values():
            sys.stdout.write(f"{step.name:12} {' '.join(step.argv)}\n")
        sys.stdout.write("\n".join(_not_run()) + "\n")
        return 0
    wanted = set(arguments.steps) or set(steps)
    lanes = [[step for step in lane if step.name in wanted] for lane in LANES.values()]
    return Run(whole=wanted >= set(steps)).all([lane for lane in lanes if lane])


class Run:
    """The lanes, what ran, and what must be ended when a person interrupts."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._print_lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self._running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
        self._interrupted = threading.Event()

    def all(self, lanes: Sequence[Sequence[Step]]) -> int:
        LOGS.mkdir(parents=True, exist_ok=True)
        for stale in ROOT.glob(".coverage*"):
            stale.unlink()
        signal.signal(signal.SIGTERM, _interrupt)
        threads = [threading.Thread(target=self._lane, args=(lane,), daemon=True) for lane in lanes]
        try:
            for thread in threads:
                thread.start()
            self._wait(threads)
        except KeyboardInterrupt:
            self._interrupted.set()
            self._end_all()
            for thread in threads:
                thread.join(timeout=30)
            self._say("Interrupted; what still ran was ended.")
            return 130
        uncovered = _coverage() if self._whole else 0
        return self._summary() or uncovered

    def _wait(self, threads: Sequence[threading.Thread]) -> None:
        for thread in threads:
            while thread.is_alive():
                thread.join(timeout=HEARTBEAT_S)
                running = [
                    f"{name} ({time.monotonic() - since:.0f} s)" for name, (_, since) in self._running.items()
                ]
                if thread.is_alive() and running:
                    self._say(f"   ... {' and '.join(running)}")

    def _lane(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if not self._interrupted.is_set():
                self._outcomes.append(self._step(step))

    def _step(self, step: Step) -> Outcome:
        log = LOGS / f"{step.name}.log"
        self._say(f"== {step.name}: {' '.join(_short(step.argv))}")
        began = time.monotonic()
        environment = {**os.environ, "COVERAGE_FILE": str(ROOT / f".coverage.{step.name}")}
        with log.open("wb") as output:
            process = subprocess.Popen(
                step.argv,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running[step.name] = (process, began)
            _, waited, usage = os.wait4(process.pid, 0)
            status = process.returncode = os.waitstatus_to_exitcode(waited)
            del self._running[step.name]
        text = log.read_text(encoding="utf-8", errors="replace")
        counts = _counts(text) if step.tests else {}
        if step.tests and status == 0 and not counts["passed"]:
            status = NOTHING_RAN
        processor_s = usage.ru_utime + usage.ru_stime
        digest = _digest(text) if status != 0 else ()
        outcome = Outcome(step, status, time.monotonic() - began, processor_s, counts, digest)
        self._say("\n".join(_told(outcome, text, log)))
        return outcome

    def _end_all(self) -> None:
        for process, _ in list(self._running.values()):
            os.killpg(process.pid, signal.SIGINT)

    def _summary(self) -> int:
        total = {word: sum(outcome.counts.get(word, 0) for outcome in self._outcomes) for word in _WORDS}
        bad = [outcome for outcome in self._outcomes if outcome.status != 0]
        self._say("")
        for outcome in self._outcomes:
            word = "ok" if outcome.status == 0 else "FAILED"
            self._say(
                f"{outcome.step.name:12} {word:7} {outcome.took_s:6.0f} s, {outcome.processor_s:.0f} s of a processor"
            )
        for line in _not_run():
            self._say(line)
        for outcome in bad:
            self._say("\n".join((f"FAILED: {outcome.step.name}", *outcome.digest)))
        failed_commands = sum(not outcome.step.tests for outcome in bad)
        failed = total["failed"] + total["errors"] + failed_commands
        if bad and not failed:
            failed = len(bad)
        self._say(f"{total['passed']} passed, {failed} failed, {total['skipped']} skipped")
        return 1 if bad else 0

    def _say(self, text: str) -> None:
        with self._print_lock:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()


def _not_run() -> Iterator[str]:
    yield from (f"NOT RUN: {what}: {why}" for what, why in NOT_RUN.items())


def _digest(text: str) -> list[str]:
    """Of each test that failed its name and the first lines that say why; of another command the last lines."""
    lines = text.rstrip().splitlines()
    found: list[str] = []
    reasons = 0
    for line in lines:
        if TEST_HEADING.match(line):
            found.append(f"   {line.strip('_ ')}")
            reasons = 0
        elif line.startswith("E ") and found and reasons < DIGEST_LINES:
            found.append(f"      {line[1:].strip()}")
            reasons += 1
    return found or [f"   {line}" for line in lines[-DIGEST_LINES:]]


_WORDS = ("passed", "failed", "errors", "skipped")


def _counts(text: str) -> dict[str, int]:
    """What pytest's closing line says; an empty run counts nothing."""
    closing = [
        line for line in text.splitlines() if line.startswith("=") and " in " in line and COUNTED.search(line)
    ]
    counts = dict.fromkeys(_WORDS, 0)
    for number, word in COUNTED.findall(closing[-1]) if closing else ():
        counts["errors" if word == "error" else word] = int(number)
    return counts


def _told(outcome: Outcome, text: str, log: Path) -> Iterator[str]:
    name = outcome.step.name
    if outcome.status != 0:
        yield f"-- {name} FAILED with exit status {outcome.status} after {outcome.took_s:.0f} s; its output:"
        yield text.rstrip()
        return
    lines = text.rstrip().splitlines()
    yield from (f"   {line}" for line in lines if line.startswith(("SKIPPED", "NOT RUN")))
    closing = lines[-1].strip("= ") if lines else "no output"
    yield f"-- {name} ok after {outcome.took_s:.0f} s: {closing} ({log.relative_to(ROOT)})"


def _coverage() -> int:
    command = [sys.executable, "-m", "coverage"]
    subprocess.run([*command, "combine", "-q"], cwd=ROOT, check=False)
    report = [
        *command,
        "report",
        "--skip-covered",
        f"--include={COVERED}",
        f"--fail-under={COVERED_AT_LEAST_PERCENT}",
    ]
    return subprocess.run(report, cwd=ROOT, check=False).returncode


def _short(argv: Sequence[str]) -> list[str]:
    return ["pytest" if word == "pytest" else word for word in argv if word not in (sys.executable, "-m")]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
