"""Notices that a node's disk or the peer has not answered for too long."""

from __future__ import annotations

from collections.abc import Iterable

from .events import LocalWriteTimeout, PeerWriteTimeout
from .mirror_types import Desk

Since = Iterable[float | None]
"""When the oldest of each kind was asked for that is not answered, seconds; None: nothing waits."""


class Watch:
    """Tells of each stall once.

    Args:
        desk: what the parts share.

    `awake_since_s` is when this process last began to look again after it had not for a while.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._looked_s: float | None = None
        self._interval_s = 0.0
        self.awake_since_s = 0.0
        self._peer_told = False
        self._local_told = False

    def new_session(self) -> None:
        """A stall of the peer in the next session is another one."""
        self._peer_told = False

    def look(self, peer: Since, local: Since) -> None:
        """Look at what waits; call it at regular intervals."""
        self._look_for_gap()
        late = self._late(peer)
        if late and not self._peer_told:
            self._desk.tell(PeerWriteTimeout())
        self._peer_told = late
        late = self._late(local)
        if late and not self._local_told:
            self._desk.tell(LocalWriteTimeout())
        self._local_told = late

    def _look_for_gap(self) -> None:
        """Promise 8: where nobody looked for a while, what was silent before proves nothing."""
        now_s = self._desk.now_s
        if self._looked_s is None:
            self.awake_since_s = now_s
        else:
            interval_s = now_s - self._looked_s
            if interval_s > max(self._desk.write_timeout_s / 4, 3 * self._interval_s):
                self.awake_since_s = now_s
            self._interval_s = interval_s
        self._looked_s = now_s

    def _late(self, since: Since) -> bool:
        waiting = [at_s for at_s in since if at_s is not None]
        if not waiting:
            return False
        return self._desk.now_s - max(min(waiting), self.awake_since_s) >= self._desk.write_timeout_s
