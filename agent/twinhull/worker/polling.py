"""Waiting for files, as cheaply as the platform can: it is done for every request."""

from __future__ import annotations

import contextlib
import select
import selectors
import sys

if sys.platform == "linux":
    READABLE, WRITABLE = ~select.EPOLLOUT, ~select.EPOLLIN
    """What says so in the events of a file; an error and an end count as both."""

    class Poller:
        """The files that a loop watches. `selectors` would do, but what it does in Python costs time with every write."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self._watched: set[int] = set()
            self.wait = self._epoll.poll
            """Called with seconds, or None for ever: what is ready, as pairs of a file and its events."""

        def watch(self, file: int, *, write: bool) -> None:
            """Wait for reading, and for writing too if so. Replaces an earlier watch."""
            events = select.EPOLLIN | (select.EPOLLOUT if write else 0)
            if file in self._watched:
                self._epoll.modify(file, events)
            else:
                self._epoll.register(file, events)
                self._watched.add(file)

        def unwatch(self, file: int) -> None:
            """Stop; harmless when it was not watched, or is closed already (-1)."""
            if file in self._watched:
                self._watched.discard(file)
                with contextlib.suppress(OSError):  # closed: the kernel forgot it by itself
                    self._epoll.unregister(file)

else:
    READABLE, WRITABLE = selectors.EVENT_READ, selectors.EVENT_WRITE

    class Poller:
        """The files that a loop watches; see above."""

        def __init__(self) -> None:
            self._selector = selectors.DefaultSelector()

        def watch(self, file: int, *, write: bool) -> None:
            """See above."""
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
            if file in self._selector.get_map():
                self._selector.modify(file, events)
            else:
                self._selector.register(file, events)

        def unwatch(self, file: int) -> None:
            """See above."""
            if file >= 0 and file in self._selector.get_map():
                self._selector.unregister(file)

        def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
            """See above."""
            return [(key.fd, events) for key, events in self._selector.select(timeout_s)]
