"""The only source of chance: SplitMix64, which gives the same numbers on every machine and Python version.

Source: Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (OOPSLA 2014), the constants of its
reference implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1


class Rng:
    """A stream of numbers that follows from its seed alone."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def bits(self) -> int:
        """64 random bits."""
        self._state = state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        return state ^ (state >> 31)

    def below(self, limit: int) -> int:
        """A whole number from 0 to before `limit` (the bias for small limits does not matter here)."""
        return self.bits() % limit

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + self.bits() % (high - low + 1)

    def chance(self, percent: int) -> bool:
        """True in so many of 100 cases."""
        return self.bits() % 100 < percent

    def share(self) -> float:
        """A number from 0 to before 1, exact in binary."""
        return (self.bits() >> 11) * 2.0**-53

    def within(self, low: float, high: float) -> float:
        """A number between the two."""
        return low + (high - low) * self.share()

    def pick(self, among: Sequence[T]) -> T:
        """One of them."""
        return among[self.bits() % len(among)]

    def weighted(self, among: Sequence[tuple[int, T]]) -> T:
        """One of them, by weight."""
        left = self.bits() % sum(weight for weight, _ in among)
        for weight, each in among:
            left -= weight
            if left < 0:
                return each
        raise AssertionError("unreachable")

    def fork(self, label: int) -> Rng:
        """Another stream that does not depend on how much of this one was used later."""
        return Rng(self._state ^ (label * 0xD6E8FEB86659FD93))
