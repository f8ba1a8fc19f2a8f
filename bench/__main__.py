"""`make bench`: measures, shows how far it is, writes build/bench.json and the figures of docs/performance.md."""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

from tests.lab.commands import LabError
from tests.lab.console import complain, say
from tests.lab.lab import sweep_stale

from bench import machine, report
from bench.plan import Step, UnknownNameError, eta_s, possible, rounds, select, with_needed
from bench.rows import Sample, merged, rows
from bench.stage import Stage, missing, missing_for
from bench.works import Work

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "performance.md"
GUESS_S = 8.0
INTERRUPTED = 130


def main() -> int:
    """Measure; the exit status (1: something could not be measured)."""
    options = _parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        chosen = select(options.only)
        with machine.alone():
            return _run(options, chosen)
    except (LabError, UnknownNameError) as error:
        complain(f"bench: {error}")
        return 2
    except KeyboardInterrupt:
        complain("bench: interrupted; everything was removed")
        return INTERRUPTED


def _run(options: argparse.Namespace, chosen: list[tuple[Work, str]]) -> int:
    machine.check()
    for name in sweep_stale():
        say(f"removed lab {name}, which a crashed run had left")
    facts = machine.facts(REPOSITORY)
    wanted, lacks = possible(with_needed(chosen), missing, missing_for)
    for lack in lacks:
        complain(f"{lack.what} is not measured: this machine lacks {', '.join(lack.programs)}")
    directory = options.directory.resolve() / f"bench-{os.getpid()}"
    compileall.compile_dir(REPOSITORY / "agent" / "twinhull", quiet=1)  # as an installation by pip leaves it
    stage = Stage(directory, f"bench{os.getpid()}", options.seconds)
    try:
        samples, failures = _measure(stage, rounds(wanted, options.repeats))
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stage.close()
        shutil.rmtree(directory, ignore_errors=True)
    found = rows(samples)
    old: list[dict[str, Any]] = []
    if options.only and options.output.exists():
        old = json.loads(options.output.read_text(encoding="utf-8"))
    every = merged(old, found)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(every, indent=2) + "\n", encoding="utf-8")
    if options.publish:
        _publish(every, facts)
    for row in found:
        low, high = row["spread"]
        say(f"{row['work']:24}{row['system']:13}{row['median']:>10g} {row['unit']:5} ({low:g} to {high:g})")
    for step, reason in failures:
        complain(f"{step.work.name} of {step.system} was not measured: {reason}")
    if facts["busy"]:
        say(f"The machine had a load of {facts['load']:.1f} before the run: only ratios mean something.")
    say(f"The figures are in {options.output}.")
    return 1 if failures or lacks else 0


def _measure(
    stage: Stage, groups: list[list[Step]]
) -> tuple[dict[tuple[str, str], list[Sample]], list[tuple[Step, str]]]:
    """Every step, with the progress; what failed is told and left out."""
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    failures: list[tuple[Step, str]] = []
    took_s: dict[str, list[float]] = defaultdict(list)
    left = [step for steps in groups for step in steps]
    total = len(left)
    for steps in groups:
        for step in steps:
            eta = eta_s(left, took_s, GUESS_S)
            say(
                f"[{total - len(left) + 1}/{total}, {eta / 60:.0f} min left] {step.work.name} of {step.system}"
            )
            begun_s = time.monotonic()
            try:
                samples[step.work.name, step.system].append(stage.measure(step))
            except (LabError, ValueError) as error:
                failures.append((step, str(error)))
                complain(f"  {error}")
            took_s[step.work.name].append(time.monotonic() - begun_s)
            left.pop(0)
        stage.close()
    return samples, failures


def _publish(every: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """Write the figures into the documentation."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(report.replaced(page, report.section(every, facts)), encoding="utf-8")
    for name, svg in report.plots(every).items():
        (PAGE.parent / name).write_text(svg, encoding="utf-8")
    say(f"The tables and plots of {PAGE} were written.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", default="", help="names of works and systems; all others are left out")
    parser.add_argument("--repeats", type=int, default=5, help="how often each is measured")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="how long each work through a folder lasts"
    )
    parser.add_argument(
        "--directory", type=Path, default=REPOSITORY / "build", help="where everything lies meanwhile"
    )
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build" / "bench.json")
    parser.add_argument("--publish", action="store_true", help="write the figures of docs/performance.md")
    return parser


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
