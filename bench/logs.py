"""Times out of a module's log: from one sentence to another. No I/O."""

from __future__ import annotations

from datetime import datetime


def between_s(text: str, first: str, then: str) -> float:
    """Seconds from the last line that holds `first` to the next one that holds `then`.

    Raises:
        ValueError: there are no such lines.
    """
    begun: datetime | None = None
    ended: datetime | None = None
    for line in text.splitlines():
        if first in line:
            begun, ended = _time(line), None
        elif then in line and begun is not None and ended is None:
            ended = _time(line)
    if begun is None or ended is None:
        raise ValueError(f"the log does not tell of {first!r} and then {then!r}")
    return (ended - begun).total_seconds()


def _time(line: str) -> datetime:
    return datetime.fromisoformat(line.split(" ", 1)[0])
