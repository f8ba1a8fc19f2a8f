"""Lanes: threads that do, in order, what would make the loop wait."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from .loop import Loop

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Outcome(Generic[T_co]):
    """The result of a call on a lane: a value, or the error it ended with."""

    __slots__ = ("_value", "error")

    def __init__(self, value: T_co | None, error: Exception | None) -> None:
        self._value = value
        self.error = error

    def value(self) -> T_co:
        """The value; raises the error if there was one."""
        if self.error is not None:
            raise self.error
        return self._value  # type: ignore[return-value]


def outcome_of(call: Callable[[], T]) -> Outcome[T]:
    """Make the call; every exception becomes part of the outcome, to be judged by whoever asked."""
    try:
        return Outcome(call(), None)
    except Exception as error:  # noqa: BLE001 - carried to the caller, who decides
        return Outcome(None, error)


class Lane:
    """One thread (or a few) with a queue. Results come back to the loop.

    Args:
        loop: where `done` is called.
        name: of the thread, for people who look at the process.
        threads: more than one gives up the order.
    """

    def __init__(self, loop: Loop, name: str, *, threads: int = 1) -> None:
        self._loop = loop
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = threads
        for number in range(threads):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def submit(self, call: Callable[[], T], done: Callable[[Outcome[T]], None]) -> None:
        """Make `call` on the lane, then `done` on the loop."""

        def work() -> None:
            outcome = outcome_of(call)
            self._loop.post(lambda: done(outcome))

        self._queue.put(work)

    def close(self) -> None:
        """End the threads once they have done what was submitted; does not wait."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
