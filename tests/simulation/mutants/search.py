"""Looks for every deliberate bug: how many lives does it take to find it?"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..life import Life, live
from . import data_path, decisions, marks, rescue, shell, witness
from .kit import Mutant

ALL: tuple[Mutant, ...] = (
    *data_path.MUTANTS,
    *marks.MUTANTS,
    *decisions.MUTANTS,
    *rescue.MUTANTS,
    *shell.MUTANTS,
    *witness.MUTANTS,
)
ROOT = Path(__file__).resolve().parents[3]


def by_name(name: str) -> Mutant:
    """The mutant of this name. Raises KeyError."""
    for mutant in ALL:
        if mutant.name == name:
            return mutant
    raise KeyError(name)


def find(mutant: Mutant, limit: int, first: int = 0) -> tuple[int, Life | None]:
    """How many seeds it took, and the life that found it; None: it was not found."""
    gc.disable()
    try:
        with mutant.at_work():
            for count in range(limit):
                life = live(first + count)
                if life.violation:
                    return count + 1, life
                if count % 25 == 24:
                    gc.collect()
    finally:
        gc.enable()
    return limit, None


def search(names: Sequence[str] | None, limit: int, first: int) -> int:
    """Look for all of them (or those named), tell and write down what it took. 0: all were found."""
    wanted = [by_name(name) for name in names] if names else list(ALL)
    found: dict[str, object] = {}
    missed = 0
    for mutant in wanted:
        began_s = time.monotonic()
        seeds, life = find(mutant, limit, first)
        took_s = time.monotonic() - began_s
        what = life.violation.splitlines()[0] if life is not None else "NOT FOUND"
        missed += life is None
        by = f"seed {life.seed} finds it" if life is not None else "no seed finds it"
        _say(f"{mutant.name}: {seeds} seeds, {took_s:.0f} s, {by}: {what}")
        found[mutant.name] = {
            "seeds": seeds,
            "found": life is not None,
            "seed": life.seed if life is not None else None,
            "what": what,
        }
    file = ROOT / "build" / "mutants.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    _say(f"{len(wanted)} mutants, {missed} not found")
    return 1 if missed else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
