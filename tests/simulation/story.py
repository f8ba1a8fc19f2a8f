"""What happened in a life, in sentences."""

from __future__ import annotations

from .clock import Schedule


class Story:
    """Collects sentences with their time; told only when somebody wants to hear it."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._began_s = schedule.now_s
        self._lines: list[tuple[float, str, str]] = []

    def add(self, who: str, sentence: str) -> None:
        """`who` is a node, or what happens to the world."""
        self._lines.append((self._schedule.now_s, who, sentence))

    def told(self) -> str:
        """All of it, one line a sentence."""
        return "\n".join(f"{at - self._began_s:9.3f} s  {who:>8}  {what}" for at, who, what in self._lines)
