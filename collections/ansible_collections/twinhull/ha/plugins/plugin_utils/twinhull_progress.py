"""How far work is, in words, and how long to wait for it.

Only `Poller` waits, and it is given its clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

SAY_EVERY_S = 5.0
GROWTH = 1.5
LONGEST = 10.0
"""The pause between two looks grows by `GROWTH` to `LONGEST` times the first."""
_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_TIMES = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def size_text(size_bytes: float) -> str:
    """Bytes with a unit: `3.1 GiB`."""
    for unit_bytes, unit in _SIZES:
        if abs(size_bytes) >= unit_bytes:
            amount = size_bytes / unit_bytes
            return (
                f"{amount:.0f} {unit}" if amount >= 100 or amount == int(amount) else f"{amount:.1f} {unit}"
            )
    return f"{size_bytes:.0f} B"


def duration_text(seconds: float) -> str:
    """Seconds with the two largest units: `2 h 5 min`."""
    left = max(0, round(seconds))
    parts = []
    for unit_s, unit in _TIMES:
        amount, left = divmod(left, unit_s)
        if amount:
            parts.append(f"{amount} {unit}")
    return " ".join(parts[:2]) or "0 s"


def copy_text(left_bytes: float, total_bytes: float, rate_bytes_s: float, eta_s: float | None) -> str:
    """How far a copy is: percent, what is left, rate, time to go."""
    done = 1.0 if total_bytes <= 0 else min(1.0, max(0.0, 1 - left_bytes / total_bytes))
    parts = [f"{int(done * 100)} %", f"{size_text(left_bytes)} of {size_text(total_bytes)} left"]
    if rate_bytes_s:
        parts.append(f"{size_text(rate_bytes_s)}/s")
    if eta_s is not None:
        parts.append(f"{duration_text(eta_s)} to go")
    return ", ".join(parts)


def job_text(progress: object) -> str:
    """The progress of a job as `twinhull job ID` tells it."""
    if not isinstance(progress, Mapping):
        return "working"
    text = printable(str(progress.get("text") or "working"))
    total = _number(progress.get("total_bytes"))
    if not total:
        return text
    left = total - _number(progress.get("done_bytes"))
    return f"{text}: {copy_text(left, total, _number(progress.get('rate_bytes_s')), _eta(progress))}"


def sync_text(sync: Mapping[str, Any]) -> str:
    """The progress of a resync as the status tells it."""
    losing = bool(sync.get("losing_ground"))
    left, total, rate = (_number(sync.get(key)) for key in ("left_bytes", "total_bytes", "rate_bytes_s"))
    ground = ", losing ground: the VM writes faster than this copies" if losing else ""
    return f"resync: {copy_text(left, total, rate, None if losing else _eta(sync))}{ground}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _eta(progress: Mapping[str, Any]) -> float | None:
    eta = progress.get("eta_s")
    return float(eta) if isinstance(eta, int | float) else None


def printable(text: str) -> str:
    """The text without control characters: what a guest wrote must not drive the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


class TimedOutError(Exception):
    """The time was over before the end was seen.

    Args:
        last: what the last look showed.
    """

    def __init__(self, last: str) -> None:
        super().__init__(last)
        self.last = last


@dataclass(frozen=True)
class Look:
    """What one look showed.

    Args:
        value: set when there is nothing more to wait for.
        text: how far it is, for people.
    """

    value: Any = None
    text: str = ""


@dataclass(frozen=True)
class Poller:
    """Looks again and again until something is seen.

    Args:
        now_s: monotonic seconds.
        pause: waits so many seconds.
        say: shows one line of progress.
        first_pause_s: between the first two looks.
    """

    now_s: Callable[[], float]
    pause: Callable[[float], None]
    say: Callable[[str], None]
    first_pause_s: float = 1.0

    def until(self, look: Callable[[], Look], deadline_s: float) -> Any:
        """The value of the first look that has one. Raises TimedOutError when `deadline_s` (of `now_s`) is over."""
        say_s, pause_s = self.now_s(), self.first_pause_s
        while True:
            seen = look()
            if seen.value is not None:
                return seen.value
            now_s = self.now_s()
            if now_s >= deadline_s:
                raise TimedOutError(seen.text)
            if seen.text and now_s >= say_s:
                self.say(seen.text)
                say_s = now_s + SAY_EVERY_S
            self.pause(min(pause_s, max(deadline_s - now_s, 0.01)))
            pause_s = min(pause_s * GROWTH, self.first_pause_s * LONGEST)
