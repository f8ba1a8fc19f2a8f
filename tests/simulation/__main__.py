"""`python -m tests.simulation --seeds N [--from n] [--jobs n]`: lives, a tally, `build/simulate.json`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .faults import KINDS
from .life import story_of
from .run import run, write_result
from .shrink import shrink

ROOT = Path(__file__).resolve().parents[2]
WRONG_SHOWN = 3


def main(arguments: list[str] | None = None) -> int:
    """The command. 0: no promise was broken."""
    options = _parser().parse_args(arguments)
    without = frozenset(each for each in options.without.split(",") if each)
    if without - KINDS.keys():
        _say(f"Unknown kinds of faults: {', '.join(sorted(without - KINDS.keys()))}.")
        return 2
    if options.story is not None:
        _say(story_of(options.story, without=without))
        return 0
    if options.shrink is not None:
        return _shrink(options.shrink)
    if options.mutants is not None:
        from .mutants.search import search

        return search(options.mutants or None, options.seeds or 20_000, options.start)
    return _simulate(options.seeds or 3000, options.start, options.jobs, without, options.result)


def _simulate(seeds: int, first: int, jobs: int, without: frozenset[str], file: Path) -> int:
    began_s = time.monotonic()
    total = run(seeds, first, jobs, without=without, show=_say)
    took_s = time.monotonic() - began_s
    write_result(total, first, took_s, file)
    for seed, _ in sorted(total.violations)[:WRONG_SHOWN]:
        _say(f"\nThe story of seed {seed}:\n{story_of(seed, without=without)}")
    moves = sum(1 for what in total.coverage if what.startswith("move:"))
    pairs = sum(1 for what in total.coverage if what.startswith(("pair:", "faults:")))
    _say(f"{moves} transitions and {pairs} pairs were seen; counts in {file}")
    _say(f"{total.lives / max(total.cpu_s, 1e-9):.1f} lives a second and core (processor time)")
    _say(f"{total.lives} seeds, {len(total.violations)} violations")
    return 1 if total.violations else 0


def _shrink(seed: int) -> int:
    life = shrink(seed)
    if not life.violation:
        _say(f"Seed {seed} breaks no promise.")
        return 0
    _say(f"{life.story}\n\n{len(life.faults)} faults are left of seed {seed}:")
    for fault in life.faults:
        _say(f"  {fault.told()}")
    _say(life.violation)
    return 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, help="how many lives (3000; for --mutants at most 20000 each)")
    parser.add_argument("--from", dest="start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--result", type=Path, default=ROOT / "build" / "simulate.json", help="what is written"
    )
    parser.add_argument("--without", default="", help="kinds of faults to leave out, with commas")
    parser.add_argument("--story", type=int, metavar="SEED", help="tell the story of one life")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="make a failing life shorter")
    parser.add_argument("--mutants", nargs="*", metavar="NAME", help="look for the deliberate bugs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
