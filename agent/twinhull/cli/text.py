"""Values as people read them. Pure functions."""

from __future__ import annotations

from ..config.units import GIB, KIB, MIB, TIB

_COLOURS = {"red": "31", "green": "32", "orange": "33", "bold": "1", "dim": "2"}


def size_text(size_bytes: float) -> str:
    """Bytes with three digits and a unit: `3.1 GiB`."""
    for unit_bytes, unit in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if abs(size_bytes) >= unit_bytes:
            amount = size_bytes / unit_bytes
            digits = 0 if amount >= 100 or amount == int(amount) else 1
            return f"{amount:.{digits}f} {unit}"
    return f"{size_bytes:.0f} B"


def duration_text(seconds: float) -> str:
    """Seconds with the two largest units: `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 10 and seconds != whole:
        return f"{max(0.0, seconds):.1f} s"
    parts = [
        (whole // 86_400, "d"),
        (whole % 86_400 // 3600, "h"),
        (whole % 3600 // 60, "min"),
        (whole % 60, "s"),
    ]
    first = next((index for index, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount) or "0 s"


def progress_text(left_bytes: float, total_bytes: float, rate_bytes_s: float, eta_s: float | None) -> str:
    """How far a copy is: percent, what is left, rate, time to go."""
    done = 1.0 if total_bytes <= 0 else min(1.0, max(0.0, 1 - left_bytes / total_bytes))
    parts = [
        f"{int(done * 100)} %",
        f"{size_text(left_bytes)} of {size_text(total_bytes)} left",
        f"{size_text(rate_bytes_s)}/s",
    ]
    if eta_s is not None:
        parts.append(f"{duration_text(eta_s)} to go")
    return ", ".join(parts)


def paint(text: str, colour: str, enabled: bool) -> str:
    """The text in `red`, `orange`, `green`, `bold` or `dim`, when colours are enabled."""
    code = _COLOURS.get(colour)
    return f"\x1b[{code}m{text}\x1b[0m" if enabled and code else text


def printable(text: str) -> str:
    """The text without control characters: what a guest or a peer wrote must not drive this terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
