"""How fast a resync is, and how fast it may be."""

from __future__ import annotations

from collections import deque

WINDOW_S = 10.0
SAMPLE_S = 0.5


class Rate:
    """The rate over the last seconds, from looks at what is done."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def restart(self, now_s: float, done_bytes: int) -> None:
        """Forget what was before."""
        self._samples.clear()
        self._samples.append((now_s, done_bytes))

    def look(self, now_s: float, done_bytes: int) -> tuple[float, bool]:
        """(bytes a second, whether nothing at all was done for a whole window)."""
        samples = self._samples
        if not samples or now_s - samples[-1][0] >= SAMPLE_S:
            samples.append((now_s, done_bytes))
        while len(samples) > 1 and now_s - samples[1][0] >= WINDOW_S:
            samples.popleft()
        since_s, before = samples[0]
        if now_s <= since_s:
            return 0.0, False
        rate = (done_bytes - before) / (now_s - since_s)
        return rate, rate <= 0 and now_s - since_s >= WINDOW_S


class Pace:
    """A limit on bytes a second that lets a second's worth through at once.

    Args:
        rate_bytes_s: the limit, or None.
    """

    def __init__(self, rate_bytes_s: int | None) -> None:
        self._rate = rate_bytes_s
        self._credit = float(rate_bytes_s or 0)
        self._seen_s: float | None = None

    def allows(self, now_s: float) -> bool:
        """Whether more may be taken now."""
        if self._rate is None:
            return True
        if self._seen_s is not None and now_s > self._seen_s:
            self._credit = min(self._rate, self._credit + (now_s - self._seen_s) * self._rate)
        self._seen_s = now_s
        return self._credit > 0

    def took(self, count_bytes: int) -> None:
        """So much was taken."""
        self._credit -= count_bytes
