"""From samples to the rows of build/bench.json. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .works import SYSTEMS, WORKS


class Sample(NamedTuple):
    """One measurement.

    Args:
        value: in the work's unit.
        notes: other figures taken with it, by name.
    """

    value: float
    notes: Mapping[str, float] = {}


Samples = Mapping[tuple[str, str], Sequence[Sample]]


def rows(samples: Samples) -> list[dict[str, Any]]:
    """One row for each work and system that has samples, in the table's order."""
    found = []
    for work in WORKS:
        for system in SYSTEMS:
            taken = samples.get((work.name, system))
            if taken:
                found.append(_row(work.name, system, work.unit, taken))
    return found


def _row(work: str, system: str, unit: str, taken: Sequence[Sample]) -> dict[str, Any]:
    values = [sample.value for sample in taken]
    notes = {
        name: _short(statistics.median(sample.notes[name] for sample in taken if name in sample.notes))
        for name in sorted({name for sample in taken for name in sample.notes})
    }
    row = {
        "work": work,
        "system": system,
        "median": _short(statistics.median(values)),
        "unit": unit,
        "repeats": len(values),
        "spread": [_short(min(values)), _short(max(values))],
    }
    return row | ({"notes": notes} if notes else {})


def merged(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The new rows, and those old ones that were not measured again, in the table's order."""
    by_key = {(row["work"], row["system"]): dict(row) for row in [*old, *new]}
    order = [(work.name, system) for work in WORKS for system in SYSTEMS]
    return [by_key[key] for key in order if key in by_key]


def _short(value: float) -> float:
    """Four digits say more than any of these is worth."""
    return float(f"{value:.4g}")
