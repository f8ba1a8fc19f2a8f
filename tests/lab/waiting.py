"""Waiting for something outside of this process that gives no event."""

from __future__ import annotations

import time
from collections.abc import Callable

from .commands import LabError

POLL_S = 0.05


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float, poll_s: float = POLL_S) -> float:
    """Look again and again until a condition holds; how many seconds that took.

    Raises:
        LabError: it did not within `timeout_s`; names `what`.
    """
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > timeout_s:
            raise LabError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(poll_s)
    return time.monotonic() - begun
