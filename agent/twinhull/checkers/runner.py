"""The threads around the schedules: one for each checker, so that one that hangs delays no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from twinhull.clock import boot_clock_s

from . import schedule
from .base import Checker, CheckResult
from .schedule import CheckerSettings, Phase, Schedule, Verdict

OnFailed = Callable[[str, str, str], None]
_LONGEST_WAIT_S = 3600.0


class CheckerRunner:
    """Runs the checkers of one module.

    Args:
        checkers: each with its settings; names are unique.
        on_failed: told name, action and reason of a verdict, on the checker's thread.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        checkers: Sequence[tuple[Checker, CheckerSettings]],
        on_failed: OnFailed,
        *,
        clock: Callable[[], float] = boot_clock_s,
    ) -> None:
        self._runs = [_Run(checker, settings, on_failed, clock) for checker, settings in checkers]
        for run in self._runs:
            run.start()

    def arm(self, armed: bool) -> None:
        """The resource was started (True), or is not to be looked at (False)."""
        for run in self._runs:
            run.arm(armed)

    def suspend(self, suspended: bool) -> None:
        """A person suspended the checkers, or resumed them."""
        for run in self._runs:
            run.suspend(suspended)

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """What each checker found last, by its name.

        `ok` is None while nothing was found since the resource's start (or nothing that says anything).
        """
        return {run.settings.name: run.snapshot() for run in self._runs}

    def close(self) -> None:
        """End the threads; a look that is under way ends by itself and is told to nobody."""
        for run in self._runs:
            run.close()


class _Run:
    def __init__(
        self, checker: Checker, settings: CheckerSettings, on_failed: OnFailed, clock: Callable[[], float]
    ) -> None:
        self.settings = settings
        self._checker = checker
        self._on_failed = on_failed
        self._clock = clock
        self._state = Schedule()
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name=f"checker-{settings.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def arm(self, armed: bool) -> None:
        with self._changed:
            if armed:
                self._state = schedule.arm(self._state, self._clock(), self.settings)
            else:
                self._state = schedule.disarm(self._state)
            self._changed.notify_all()

    def suspend(self, suspended: bool) -> None:
        with self._changed:
            self._state = schedule.suspend(self._state, suspended, self._clock(), self.settings)
            self._changed.notify_all()

    def snapshot(self) -> dict[str, Any]:
        with self._changed:
            state = self._state
        last = state.last
        known = last is not None and (last.ok or (last.conclusive and state.phase is not Phase.BOOTING))
        return {
            "ok": last.ok if last is not None and known else None,
            "detail": "" if last is None else last.detail,
            "phase": state.phase.value,
            "failures": state.failed,
            "action": self.settings.action,
        }

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _loop(self) -> None:
        while (epoch := self._await_due()) is not None:
            found = self._checker.check(self.settings.timeout_s)
            verdict = self._take(epoch, found)
            if verdict is not None:
                self._on_failed(self.settings.name, self.settings.action, verdict.reason)

    def _await_due(self) -> int | None:
        """Wait until a look is due; gives the epoch that it belongs to, None at the end."""
        with self._changed:
            while not self._closed:
                if self._state.looks:
                    left_s = self._state.due_at_s - self._clock()
                    if left_s <= 0:
                        return self._state.epoch
                    self._changed.wait(left_s)
                else:
                    self._changed.wait(_LONGEST_WAIT_S)
            return None

    def _take(self, epoch: int, found: CheckResult) -> Verdict | None:
        with self._changed:
            if self._closed:
                return None
            self._state, verdict = schedule.result(self._state, epoch, found, self._clock(), self.settings)
            return verdict
