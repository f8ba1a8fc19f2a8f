"""The one small interface of every checker. `check` blocks; a `CheckerRunner` calls it on its own thread."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class CheckResult(NamedTuple):
    """What one check found.

    Args:
        ok: whether the resource is well.
        detail: one sentence or a few words for people.
        conclusive: False where the check itself could not be made (the host's tools do not answer, the VM is
            paused): that is neither for nor against the resource, and counts as no failure.
    """

    ok: bool
    detail: str
    conclusive: bool = True


class Checker(Protocol):
    """Looks whether a resource is well."""

    def check(self, timeout_s: float) -> CheckResult:
        """One look that takes at most `timeout_s` seconds and raises nothing."""
