"""Waiting for several sockets behind one descriptor (Linux), or on a loop that watches each of them (elsewhere)."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol


class Ready(NamedTuple):
    """A socket that can be used without waiting."""

    file: int
    readable: bool
    writable: bool


class Poller(Protocol):
    """What the export waits with."""

    def fileno(self) -> int:
        """What the loop waits on; -1 where the loop watches the sockets themselves."""

    def watch(self, file: int, *, read: bool, write: bool) -> None:
        """Wait for this socket from now on, in this way."""

    def forget(self, file: int) -> None:
        """Wait for it no more; it is still open."""

    def ready(self) -> Sequence[Ready]:
        """The sockets that can be used now; waits for nothing. Takes back `ring`."""

    def ring(self) -> None:
        """Have the loop call the export again soon, though no socket is ready."""

    def close(self) -> None:
        """Wait for nothing any more."""


class EpollPoller:
    """One epoll descriptor for all of them: it is readable when one of them is ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._rung = False
        self._watched: dict[int, int] = {}
        self._epoll.register(self._bell, select.EPOLLIN)

    def fileno(self) -> int:
        """The epoll descriptor."""
        return self._epoll.fileno() if not self._epoll.closed else -1

    def watch(self, file: int, *, read: bool, write: bool) -> None:
        """Wait for this socket from now on, in this way."""
        events = (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0)
        before = self._watched.get(file)
        if before is None:
            self._epoll.register(file, events)
        elif before != events:
            self._epoll.modify(file, events)
        self._watched[file] = events

    def forget(self, file: int) -> None:
        """Wait for it no more; it is still open."""
        if self._watched.pop(file, None) is not None:
            self._epoll.unregister(file)

    def ready(self) -> Sequence[Ready]:
        """The sockets that can be used now."""
        found = []
        for file, events in self._epoll.poll(0):
            if file == self._bell:
                os.eventfd_read(self._bell)
                self._rung = False
                continue
            broken = events & (select.EPOLLHUP | select.EPOLLERR)
            found.append(Ready(file, bool(events & select.EPOLLIN or broken), bool(events & select.EPOLLOUT)))
        return found

    def ring(self) -> None:
        """Make the epoll descriptor readable."""
        if not self._rung:
            self._rung = True
            os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Give the descriptors back."""
        if not self._epoll.closed:
            self._epoll.close()
            os.close(self._bell)


class Watcher(Protocol):
    """A loop that watches sockets: `worker.loop.Loop` is one."""

    def watch(
        self, file: int, callback: Callable[[], None], *, write: Callable[[], None] | None = None
    ) -> None: ...
    def unwatch(self, file: int) -> None: ...
    def post(self, callback: Callable[[], None]) -> None: ...


class LoopPoller:
    """The loop itself watches each socket: for hosts without epoll.

    Args:
        loop: who watches.
        serve: called whenever the export should look (`receive`).
    """

    def __init__(self, loop: Watcher, serve: Callable[[], None]) -> None:
        self._loop = loop
        self._serve = serve
        self._watched: set[int] = set()
        self._ready: dict[int, Ready] = {}
        self._rung = False
        self._closed = False

    def fileno(self) -> int:
        """There is none."""
        return -1

    def watch(self, file: int, *, read: bool, write: bool) -> None:
        """Have the loop watch it."""
        self._watched.add(file)
        if not read and not write:
            self._loop.unwatch(file)
            return
        readable = (lambda: self._note(file, True, False)) if read else _nothing
        self._loop.watch(file, readable, write=(lambda: self._note(file, False, True)) if write else None)

    def forget(self, file: int) -> None:
        """Have the loop watch it no more."""
        if file in self._watched:
            self._watched.remove(file)
            self._ready.pop(file, None)
            self._loop.unwatch(file)

    def ready(self) -> Sequence[Ready]:
        """What the loop has told since the last time."""
        self._rung = False
        found, self._ready = list(self._ready.values()), {}
        return found

    def ring(self) -> None:
        """Have the loop call `serve`."""
        if not self._rung:
            self._rung = True
            self._loop.post(self._rang)

    def close(self) -> None:
        """Have the loop watch nothing of ours."""
        self._closed = True
        for file in list(self._watched):
            self.forget(file)

    def _rang(self) -> None:
        if not self._closed:
            self._serve()

    def _note(self, file: int, readable: bool, writable: bool) -> None:
        before = self._ready.get(file, Ready(file, False, False))
        self._ready[file] = Ready(file, before.readable or readable, before.writable or writable)
        self._serve()


def _nothing() -> None:
    return
