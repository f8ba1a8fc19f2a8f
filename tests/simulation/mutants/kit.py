"""What a deliberate bug is made of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """One deliberate bug.

    Args:
        name: in a few words.
        bug: what the code does wrong then, in a sentence.
        patches: (object, attribute, what stands there instead).
        seed: one that finds it, for the quick regression; None: not recorded.
    """

    name: str
    bug: str
    patches: tuple[tuple[Any, str, Any], ...]
    seed: int | None = None

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """The bug is in the code while this lasts."""
        before = [(owner, name, owner.__dict__[name]) for owner, name, _ in self.patches]
        for owner, name, new in self.patches:
            setattr(owner, name, new)
        try:
            yield
        finally:
            for owner, name, old in before:
                setattr(owner, name, old)
