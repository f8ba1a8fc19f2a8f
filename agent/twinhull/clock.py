"""The clock that everything of ours counts by."""

from __future__ import annotations

import sys
import time

if sys.platform == "win32":
    from .windows.api import tick_count_64

    def boot_clock_s() -> float:
        """Seconds of a monotonic clock that counts sleep and hibernation (GetTickCount64; steps of about 16 ms)."""
        return int(tick_count_64()) / 1000

else:
    _CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def boot_clock_s() -> float:
        """Seconds of a monotonic clock that counts suspend (CLOCK_BOOTTIME; where there is none, the monotonic one)."""
        return time.clock_gettime(_CLOCK)
