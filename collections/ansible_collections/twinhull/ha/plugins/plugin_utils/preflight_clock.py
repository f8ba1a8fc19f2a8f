"""How far a host's clock is from the control node's, measured through the connection."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import NamedTuple

POSIX_COMMAND = "date +%s.%N"
WINDOWS_COMMAND = "[DateTimeOffset]::UtcNow.ToUnixTimeMilliseconds()"
GOOD_UNCERTAINTY_S = 0.25
_TRIES = 3


class ClockOffset(NamedTuple):
    """The host's clock minus the control node's, and by how much that may be wrong, in seconds."""

    offset_s: float
    uncertainty_s: float


def parse_epoch_s(text: str) -> float | None:
    """Seconds since 1970 of either command's output, or None when it is neither. Pure."""
    match = re.search(r"\b(\d{9,11}(?:\.\d+)?|\d{12,14})\b", text)
    if match is None:
        return None
    value = float(match.group(1))
    return value / 1000 if "." not in match.group(1) and value > 1e11 else value


def offset(before_s: float, host_s: float, after_s: float) -> ClockOffset:
    """The offset of a clock that was read at some moment between two moments of ours. Pure."""
    return ClockOffset(host_s - (before_s + after_s) / 2, (after_s - before_s) / 2)


def measure(ask: Callable[[], str], now_s: Callable[[], float] = time.time) -> ClockOffset | None:
    """The best of a few measurements; None when the host gave no time.

    Args:
        ask: has the host say its time and returns its words.
        now_s: the control node's clock, seconds since 1970.
    """
    best: ClockOffset | None = None
    for _ in range(_TRIES):
        before_s = now_s()
        host_s = parse_epoch_s(ask())
        after_s = now_s()
        if host_s is None:
            return best
        found = offset(before_s, host_s, after_s)
        if best is None or found.uncertainty_s < best.uncertainty_s:
            best = found
        if best.uncertainty_s <= GOOD_UNCERTAINTY_S:
            break
    return best
