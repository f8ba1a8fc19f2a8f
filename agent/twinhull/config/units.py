"""Sizes, durations and maintenance windows as people write them, and back.

Every `parse_` function raises ValueError with a sentence that says what is accepted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

SIZE_UNITS_BYTES = {
    "B": 1,
    "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
DURATION_UNITS_S = {"ms": Decimal("0.001"), "s": Decimal(1), "min": Decimal(60), "h": Decimal(3600)}
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MINUTES_PER_DAY = 24 * 60
_NUMBER = r"(?P<number>\d{1,18}(?:\.\d{1,9})?)"
_QUANTITY = re.compile(_NUMBER + r"\s*(?P<unit>[A-Za-z]*)", re.ASCII)
_WINDOW = re.compile(
    r"(?P<days>\S+)\s+(?P<h1>\d{1,2}):(?P<m1>\d{2})\s*-\s*(?P<h2>\d{1,2}):(?P<m2>\d{2})", re.ASCII
)


def parse_size_bytes(text: str) -> int:
    """Bytes of a size such as `2 GiB`; GiB is 1024^3, GB is taken literally as 1000^3."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is no size: write a number and a unit, such as '100 GiB'")
    if not match["unit"]:
        raise ValueError(f"'{text}' has no unit: write for example '{text.strip()} GiB'")
    unit = _find_unit(match["unit"], tuple(SIZE_UNITS_BYTES))
    if unit is None:
        raise ValueError(f"'{match['unit']}' is no unit of size: use {', '.join(SIZE_UNITS_BYTES)}")
    size = Decimal(match["number"]) * SIZE_UNITS_BYTES[unit]
    if size != size.to_integral_value():
        raise ValueError(f"'{text}' is no whole number of bytes")
    return int(size)


def parse_duration_s(text: str) -> float:
    """Seconds of a duration such as `10`, `1.5 s`, `2 min`."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"'{text}' is no duration: write seconds ('10'), or a unit: '500 ms', '1.5 s', '2 min', '1 h'"
        )
    unit = _find_unit(match["unit"] or "s", tuple(DURATION_UNITS_S))
    if unit is None:
        raise ValueError(f"'{match['unit']}' is no unit of time: use {', '.join(DURATION_UNITS_S)}")
    return float(Decimal(match["number"]) * DURATION_UNITS_S[unit])


def _find_unit(text: str, units: tuple[str, ...]) -> str | None:
    return next((unit for unit in units if unit.lower() == text.lower()), None)


def exact_size_text(size_bytes: int) -> str:
    """The shortest text that `parse_size_bytes` reads back as exactly this size."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % SIZE_UNITS_BYTES[unit] == 0:
            return f"{size_bytes // SIZE_UNITS_BYTES[unit]} {unit}"
    return f"{size_bytes} B"


@dataclass(frozen=True, slots=True)
class Window:
    """A weekly maintenance window in the node's local time.

    Args:
        days: days on which it begins, 0 is Monday.
        start_minute: minutes after midnight.
        end_minute: minutes after midnight, exclusive; not after `start_minute` means on the next day.
    """

    days: tuple[int, ...]
    start_minute: int
    end_minute: int

    def is_open(self, local: datetime) -> bool:
        """Whether the window is open at this local time."""
        minute = local.hour * 60 + local.minute
        today = local.weekday() in self.days
        if self.start_minute < self.end_minute:
            return today and self.start_minute <= minute < self.end_minute
        yesterday = (local.weekday() - 1) % 7 in self.days
        return (today and minute >= self.start_minute) or (yesterday and minute < self.end_minute)

    def opened(self, local: datetime) -> datetime | None:
        """When the window opened that is open at this local time; None when none is."""
        if not self.is_open(local):
            return None
        start = local.replace(
            hour=self.start_minute // 60, minute=self.start_minute % 60, second=0, microsecond=0
        )
        return start if start <= local and local.weekday() in self.days else start - timedelta(days=1)

    def __str__(self) -> str:
        days = "daily" if len(self.days) == len(DAYS) else ",".join(DAYS[day] for day in self.days)
        return f"{days} {_clock(self.start_minute)}-{_clock(self.end_minute)}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def parse_window(text: str) -> Window:
    """A window such as `Sun 02:00-04:00`, `Mon-Fri 22:00-02:00`, `daily 03:00-04:00`."""
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"'{text}' is no window: write it as 'Sun 02:00-04:00', 'Mon-Fri 22:00-02:00' "
            "or 'daily 03:00-04:00'"
        )
    start, end = (_minute(match[hour], match[minute], text) for hour, minute in (("h1", "m1"), ("h2", "m2")))
    start %= _MINUTES_PER_DAY
    if start == end:
        raise ValueError(f"'{text}' is no window: it ends when it begins")
    return Window(_days(match["days"]), start, end)


def _minute(hour: str, minute: str, text: str) -> int:
    result = int(hour) * 60 + int(minute)
    if int(minute) > 59 or result > _MINUTES_PER_DAY:
        raise ValueError(f"'{text}' is no window: {hour}:{minute} is no time of day")
    return result


def _days(text: str) -> tuple[int, ...]:
    if text.lower() == "daily":
        return tuple(range(len(DAYS)))
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = _day(first), _day(last or first)
        days.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return tuple(sorted(days))


def _day(text: str) -> int:
    try:
        return DAYS.index(text.capitalize())
    except ValueError:
        raise ValueError(f"'{text}' is no day: use {', '.join(DAYS)} or daily") from None
