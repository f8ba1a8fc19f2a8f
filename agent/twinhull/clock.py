"""The clock that everything of ours counts by."""

from __future__ import annotations

import time


def boot_clock_s() -> float:
    """Seconds of a monotonic clock that counts suspend (CLOCK_BOOTTIME; where there is none, the monotonic one)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
