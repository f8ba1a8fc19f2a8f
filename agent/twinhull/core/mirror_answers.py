"""The gate through which answers go to the VM."""

from __future__ import annotations

import errno
from collections import deque

from .effects import Complete
from .frames import Buffer
from .mirror_types import NEVER_S, Desk


class Answers:
    """Promise 4: nothing is answered but by the node that may serve, and as PRIM only within the lease.

    Args:
        desk: what the parts share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._gate_s = NEVER_S
        self._ready: deque[Complete] = deque()

    def give(self, tag: int, error: int, data: Buffer | None = None) -> None:
        """Answer a request now if that is allowed, otherwise as soon as it is."""
        desk = self._desk
        if desk.now_s < self._gate_s and not self._ready:
            desk.effects.append(Complete(tag, error, data))
        else:
            self._ready.append(Complete(tag, error, data))
            self.release()

    def release(self) -> None:
        """Give the answers that wait, if that is allowed now."""
        if self._ready and self._desk.now_s < self._gate_s:
            self._desk.effects.extend(self._ready)
            self._ready.clear()

    def allow(self, until_s: float) -> None:
        """Answers may be given before this time."""
        self._gate_s = until_s

    def fail(self) -> None:
        """Answer all that wait with EIO at once."""
        for complete in self._ready:
            self._desk.effects.append(Complete(complete.tag, complete.error or errno.EIO))
        self._ready.clear()
