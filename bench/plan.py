"""Which work is measured on which system, in which order, and how long it will take. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .works import LIMIT, LOCAL, SYSTEMS, WORKS, Group, Work


class Step(NamedTuple):
    """One measurement."""

    work: Work
    system: str
    repeat: int


class UnknownNameError(Exception):
    """`ONLY` names what there is not; the message lists what there is."""


def select(only: str) -> list[tuple[Work, str]]:
    """Works and systems that `ONLY` asks for.

    Args:
        only: names of works and systems, separated by commas or spaces; empty: everything. Works named are measured
            on the systems named, on all where none is.

    Raises:
        UnknownNameError: a name that is neither.
    """
    names = {name for name in re.split(r"[,\s]+", only) if name}
    works = {work.name for work in WORKS}
    unknown = names - works - set(SYSTEMS)
    if unknown:
        raise UnknownNameError(
            f"ONLY names {', '.join(sorted(unknown))}; there are the works {', '.join(w.name for w in WORKS)} "
            f"and the systems {', '.join(SYSTEMS)}"
        )
    wanted_works, wanted_systems = names & works or works, names & set(SYSTEMS) or set(SYSTEMS)
    return [
        (work, system)
        for work in WORKS
        if work.name in wanted_works
        for system in SYSTEMS
        if system in work.systems and system in wanted_systems
    ]


def with_needed(chosen: Sequence[tuple[Work, str]]) -> list[tuple[Work, str]]:
    """The same, and the local path wherever a limit is asked for, which is made of it."""
    needed = [*chosen]
    for work, system in chosen:
        if system == LIMIT and work.group is Group.PATH and (work, LOCAL) not in needed:
            needed.append((work, LOCAL))
    return needed


def rounds(chosen: Sequence[tuple[Work, str]], repeats: int) -> list[list[Step]]:
    """The steps of each group, interleaved: each repeat goes through all works and systems, each time beginning with
    another system, so that what else the machine does strikes all of them alike. The limit comes after its local path.
    """
    result = []
    for group in Group:
        own = [(work, system) for work, system in chosen if work.group is group]
        steps = []
        for repeat in range(repeats):
            for work in WORKS:
                systems = [system for other, system in own if other is work]
                turn = repeat % max(1, len(systems))
                systems = systems[turn:] + systems[:turn]
                systems.sort(key=lambda system: system == LIMIT)
                steps += [Step(work, system, repeat) for system in systems]
        if steps:
            result.append(steps)
    return result


def eta_s(left: Sequence[Step], took_s: Mapping[str, Sequence[float]], guess_s: float) -> float:
    """Seconds that the steps left will take, each as long as its work took up to now."""
    known = {work: sum(times) / len(times) for work, times in took_s.items() if times}
    mean_s = sum(known.values()) / len(known) if known else guess_s
    return sum(known.get(step.work.name, mean_s) for step in left)
