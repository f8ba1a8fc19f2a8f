"""PowerShell hosts that live long: one for queries, one for changes, a spare one for what must not wait."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from twinhull.errors import PowerShellGoneError, PowerShellTimeoutError

from .framing import Value
from .process import Engine, HostProcess

RECYCLE_AFTER_S = 24 * 3600.0


class Lane(enum.Enum):
    """Which host answers. A change that hangs keeps no query waiting."""

    QUERY = "query"
    CHANGE = "change"
    URGENT = "urgent"
    """A change that waits for no other: by the host for changes where that is free, else by a spare one."""


class PowerShell(Protocol):
    """Calls functions of `Twinhull.psm1`. From any thread."""

    def warm(self) -> None:
        """Have hosts ready for queries and changes, young ones. Raises PowerShellError."""

    def query(self, function: str, arguments: Mapping[str, Value], *, timeout_s: float) -> Value:
        """Ask what changes nothing. Raises PowerShellError."""

    def change(
        self, function: str, arguments: Mapping[str, Value], *, timeout_s: float, urgent: bool = False
    ) -> Value:
        """Change something.

        Raises PowerShellTimeoutError and PowerShellGoneError when it is not known what was done (their `begun` says
        whether it was begun at all): read the state again. PowerShellError is the function's own.
        """


class PowerShellHosts:
    """The hosts of one process of ours; implements `PowerShell`.

    Args:
        engine: how a host is started.
        recycle_after_s: age in seconds at which a host is replaced before its next request.
        clock: seconds that only ever grow.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        recycle_after_s: float = RECYCLE_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slots = {lane: _Slot(engine or Engine(), lane.value, recycle_after_s, clock) for lane in Lane}

    def warm(self) -> None:
        """Start the hosts for queries and changes, so that the next requests need not wait. Raises PowerShellError."""
        for lane in (Lane.QUERY, Lane.CHANGE):
            self._slots[lane].warm()

    def query(self, function: str, arguments: Mapping[str, Value], *, timeout_s: float) -> Value:
        """Ask what changes nothing; once more by a new host when the old one ended in the middle."""
        slot = self._slots[Lane.QUERY]
        try:
            return slot.ask(function, arguments, timeout_s)
        except PowerShellGoneError:
            return slot.ask(function, arguments, timeout_s)

    def change(
        self, function: str, arguments: Mapping[str, Value], *, timeout_s: float, urgent: bool = False
    ) -> Value:
        """Change something, never twice; see `PowerShell.change`."""
        slot = self._slots[Lane.CHANGE]
        if urgent and slot.busy():
            return self._slots[Lane.URGENT].ask(function, arguments, timeout_s)
        return slot.ask(function, arguments, timeout_s)

    def close(self) -> None:
        """End all hosts, also in the middle of a request."""
        for slot in self._slots.values():
            slot.close()


class _Slot:
    """One host at a time, started when it is needed."""

    def __init__(self, engine: Engine, name: str, recycle_after_s: float, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._name = name
        self._recycle_after_s = recycle_after_s
        self._clock = clock
        self._lock = threading.Lock()
        self._host: HostProcess | None = None
        self._born_s = 0.0
        self._closed = False

    def busy(self) -> bool:
        return self._lock.locked()

    def warm(self) -> None:
        with self._lock:
            self._ready()

    def ask(self, function: str, arguments: Mapping[str, Value], timeout_s: float) -> Value:
        with self._turn(function, timeout_s) as left_s:
            host = self._ready()
            try:
                return host.ask(function, arguments, left_s)
            finally:
                if not host.alive():
                    self._host = None

    @contextmanager
    def _turn(self, function: str, timeout_s: float) -> Iterator[float]:
        """Wait for the host to be free; gives the seconds that are left."""
        since_s = self._clock()
        if not self._lock.acquire(timeout=max(timeout_s, 0.0)):
            raise PowerShellTimeoutError(
                f"{function} was not begun within {timeout_s:g} s: the PowerShell host ({self._name}) was busy.",
                begun=False,
            )
        try:
            yield max(0.001, timeout_s - (self._clock() - since_s))
        finally:
            self._lock.release()

    def _ready(self) -> HostProcess:
        if self._closed:
            raise PowerShellGoneError(f"The PowerShell host ({self._name}) was ended.", begun=False)
        host = self._host
        if host is not None and not host.alive():
            host.kill()
            host = self._host = None
        if host is not None and self._clock() - self._born_s >= self._recycle_after_s:
            self._host = None
            host.close()
            host = None
        if host is None:
            host = self._host = HostProcess(self._engine, self._name)
            self._born_s = self._clock()
        return host

    def close(self) -> None:
        self._closed = True
        host = self._host
        if host is not None and self.busy():
            host.kill()
        with self._lock:
            if self._host is not None:
                self._host.close()
                self._host = None
