"""When a checker looks, and when its failures count. Pure: `now_s` comes in, verdicts come out.

A checker rests until it is armed (the resource was started). Then it boots: failures are forgiven until it
saw the resource well once, or `boot_time_s` went by. Then it watches: `failures` conclusive failures in a
row are a verdict, after which it is silent until it is armed again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import NamedTuple

from .base import CheckResult


@dataclass(frozen=True, slots=True)
class CheckerSettings:
    """One checker.

    Args:
        name: of the checker.
        action: what its failure asks for, `restart` or `stopstart`.
        interval_s: pause between two looks.
        timeout_s: how long one look may take.
        failures: how many in a row count.
        boot_time_s: how long after a start failures are forgiven while no success was seen; None: for ever.
    """

    name: str
    action: str = "restart"
    interval_s: float = 5.0
    timeout_s: float = 5.0
    failures: int = 3
    boot_time_s: float | None = 300.0


class Phase(enum.Enum):
    """What a checker is doing."""

    RESTING = "resting"
    BOOTING = "booting"
    WATCHING = "watching"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Schedule:
    """The state of one checker; every step gives the next one.

    Args:
        phase: see the module's docstring.
        suspended: whether a person suspended it.
        epoch: number of the arming; a result of an earlier one does not count.
        armed_at_s, due_at_s, seen_at_s: times of the arming, of the next look, of the last result.
        failed: conclusive failures in a row.
        last: the last result since the arming.
    """

    phase: Phase = Phase.RESTING
    suspended: bool = False
    epoch: int = 0
    armed_at_s: float = 0.0
    due_at_s: float = 0.0
    seen_at_s: float | None = None
    failed: int = 0
    last: CheckResult | None = None

    @property
    def looks(self) -> bool:
        """Whether it looks at all at present."""
        return not self.suspended and self.phase in (Phase.BOOTING, Phase.WATCHING)


class Verdict(NamedTuple):
    """A checker found the resource ill; `reason` is for people."""

    reason: str


def arm(state: Schedule, now_s: float, settings: CheckerSettings) -> Schedule:
    """The resource was started: forget what was, forgive until it is up."""
    return Schedule(
        phase=Phase.BOOTING,
        suspended=state.suspended,
        epoch=state.epoch + 1,
        armed_at_s=now_s,
        due_at_s=now_s + settings.interval_s,
    )


def disarm(state: Schedule) -> Schedule:
    """The resource is not to be looked at."""
    return Schedule(suspended=state.suspended, epoch=state.epoch + 1)


def suspend(state: Schedule, suspended: bool, now_s: float, settings: CheckerSettings) -> Schedule:
    """A person suspended or resumed it; failures before the pause do not count after it."""
    if suspended == state.suspended:
        return state
    # the boot time is granted anew: during maintenance the resource may have been restarted from inside
    again = Phase.BOOTING if state.phase in (Phase.WATCHING, Phase.BOOTING) else state.phase
    return replace(
        state,
        phase=again,
        suspended=suspended,
        epoch=state.epoch + 1,
        armed_at_s=now_s,
        due_at_s=now_s + settings.interval_s,
        seen_at_s=None,
        failed=0,
    )


def result(
    state: Schedule, epoch: int, found: CheckResult, now_s: float, settings: CheckerSettings
) -> tuple[Schedule, Verdict | None]:
    """A look that began in `epoch` ended; the verdict if it is one failure too many."""
    if epoch != state.epoch or not state.looks:
        return state, None
    gap_s = 0.0 if state.seen_at_s is None else now_s - state.seen_at_s
    # after a gap (this host slept) earlier failures are no evidence any more
    stale = gap_s > 4 * (settings.interval_s + settings.timeout_s)
    state = replace(state, due_at_s=now_s + settings.interval_s, seen_at_s=now_s, last=found)
    if found.ok:
        return replace(state, phase=Phase.WATCHING, failed=0), None
    if not found.conclusive:
        return state, None
    if state.phase is Phase.BOOTING and not _booted(state, now_s, settings):
        return state, None
    failed = 1 if stale else state.failed + 1
    state = replace(state, phase=Phase.WATCHING, failed=failed)
    if failed < settings.failures:
        return state, None
    reason = f"checker {settings.name} failed {failed} times in a row: {found.detail}"
    return replace(state, phase=Phase.REPORTED), Verdict(reason)


def _booted(state: Schedule, now_s: float, settings: CheckerSettings) -> bool:
    return settings.boot_time_s is not None and now_s - state.armed_at_s >= settings.boot_time_s
