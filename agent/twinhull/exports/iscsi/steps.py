"""Commands of several steps, written as generators and driven by the answers of the volume."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple, TypeVar

from .sense import ScsiError, Sense

Data = bytes | memoryview
Done = Callable[[int, Data | None], None]
"""Told how a step ended: a positive errno or 0, and the data of a read."""
Step = Callable[[Done], None]
"""Something that begins when it is called and tells the end to what it is given, at once or later."""
T = TypeVar("T")
Steps = Generator[Step, tuple[int, Data | None], T]


class Plan(NamedTuple):
    """What a command wants.

    Args:
        out_bytes: how much data the initiator must send.
        answer: the data that answers it, when there is nothing to wait for.
        work: else: given the initiator's data, the steps whose value is the answering data.
        part: the same for less data than the command takes; without it the command is refused then.
    """

    out_bytes: int = 0
    answer: bytes = b""
    work: Callable[[Data], Steps[Data]] | None = None
    part: Callable[[Data], Steps[Data]] | None = None


def checked(outcome: tuple[int, Data | None], failed: Callable[[int], Sense]) -> Data:
    """The data of a step that went well (empty where there is none). Raises ScsiError with the errno's sense."""
    error, data = outcome
    if error:
        raise ScsiError(failed(error))
    return data if data is not None else b""


class Runner:
    """Drives one generator to its end, whatever steps answer at once, without recursion.

    Args:
        steps: what is to be done.
        finished: told the generator's value, or the ScsiError that it raised.
    """

    __slots__ = ("_answer", "_finished", "_running", "_steps")

    def __init__(self, steps: Steps[T], finished: Callable[[T | None, ScsiError | None], None]) -> None:
        self._steps = steps
        self._finished = finished
        self._answer: tuple[int, Data | None] | None = None
        self._running = False

    def start(self) -> None:
        """Begin; `finished` may be called before this returns."""
        self._run(None)

    def _told(self, error: int, data: Data | None) -> None:
        if self._running:
            self._answer = (error, data)
        else:
            self._run((error, data))

    def _run(self, answer: tuple[int, Data | None] | None) -> None:
        self._running = True
        while True:
            try:
                step = next(self._steps) if answer is None else self._steps.send(answer)
            except StopIteration as stop:
                self._finished(stop.value, None)
                return
            except ScsiError as error:
                self._finished(None, error)
                return
            self._answer = None
            step(self._told)
            answer = self._answer
            if answer is None:
                self._running = False
                return
