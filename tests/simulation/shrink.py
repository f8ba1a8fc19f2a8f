"""Makes a failing life shorter: leaves out faults and commands while the same promise still does not hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .life import Life, live
from .tales import Fault


def same(one: str, other: str) -> bool:
    """Whether two violations are of one kind: the same sentence but for numbers and nodes."""
    return _kind(one) == _kind(other)


def _kind(what: str) -> str:
    line = re.sub(r"\d+", "#", what.splitlines()[0] if what else "")
    return re.sub(r"\b[ab]\b", "@", line)[:60]


def shrink(seed: int, relive: Callable[[int, Sequence[Fault] | None], Life] = live) -> Life:
    """The shortest life found that fails as the seed does (the life itself when it does not fail)."""
    whole = relive(seed, None)
    if not whole.violation:
        return whole
    best = whole
    again = True
    while again:
        again = False
        for index in range(len(best.faults)):
            fewer = best.faults[:index] + best.faults[index + 1 :]
            life = relive(seed, fewer)
            if life.violation and same(life.violation, whole.violation):
                best, again = life, True
                break
    return _shorter_spans(seed, best, relive)


def _shorter_spans(seed: int, best: Life, relive: Callable[[int, Sequence[Fault] | None], Life]) -> Life:
    """Halve how long things last, where that changes nothing."""
    for index, fault in enumerate(best.faults):
        short = fault._replace(span=fault.span / 2)
        life = relive(seed, (*best.faults[:index], short, *best.faults[index + 1 :]))
        if life.violation and same(life.violation, best.violation):
            best = life
    return best
