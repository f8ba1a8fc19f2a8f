"""Which work is measured on which system, in which order, and how long it will take. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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
        if system == LIMIT and LOCAL in work.systems and (work, LOCAL) not in needed:
            needed.append((work, LOCAL))
    return needed


class Lack(NamedTuple):
    """What this machine lacks for a part of what was chosen.

    Args:
        what: the system, or the group of works.
        programs: that are missing.
    """

    what: str
    programs: Sequence[str]


def possible(
    chosen: Sequence[tuple[Work, str]],
    missing: Callable[[str], Sequence[str]],
    missing_for: Callable[[Group], Sequence[str]],
) -> tuple[list[tuple[Work, str]], list[Lack]]:
    """What of it can be measured here, and what the rest lacks.

    Args:
        chosen: works and systems.
        missing: programs that a system lacks.
        missing_for: programs that all works of a group lack.
    """
    groups = [group for group in Group if any(work.group is group for work, _ in chosen)]
    systems = [name for name in SYSTEMS if any(system == name for _, system in chosen)]
    no_groups = {group: lacking for group in groups if (lacking := missing_for(group))}
    no_systems = {name: lacking for name in systems if (lacking := missing(name))}
    able = [(work, name) for work, name in chosen if work.group not in no_groups and name not in no_systems]
    lacks = [Lack(group.value, programs) for group, programs in no_groups.items()]
    return able, lacks + [Lack(name, programs) for name, programs in no_systems.items()]


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
