"""The operator's commands as they reach a worker, and the answers they wait for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twinhull.core import events
from twinhull.core.settings import StopMode


def _start(arguments: Mapping[str, Any]) -> events.Event:
    return events.Start(
        as_primary=bool(arguments.get("as_primary", False)),
        without_witness=bool(arguments.get("without_witness", False)),
    )


def _stop(arguments: Mapping[str, Any]) -> events.Event:
    reason = str(arguments.get("reason") or "a person stopped it")
    return events.Stop(forced=bool(arguments.get("forced", False)), reason=reason)


def _swap(arguments: Mapping[str, Any]) -> events.Event:
    return events.Swap(mode=StopMode(arguments.get("mode") or "stop"))


COMMANDS: Mapping[str, Callable[[Mapping[str, Any]], events.Event]] = {
    "start": _start,
    "stop": _stop,
    "restart": lambda _: events.Restart(),
    "stopstart": lambda _: events.StopStart(),
    "swap": _swap,
    "witness-reset": lambda _: events.WitnessReset(),
    "abandon": lambda _: events.Abandon(),
}


class Commands:
    """Which commands wait for an answer of the machine.

    The machine names the command that it answers, not who gave it. So whoever told it the command says whether
    the answer came at once: that one is for the newest of its name, any later one for the oldest.

    Args:
        answer: sends (id, ok, sentence) to whoever asked.
    """

    def __init__(self, answer: Callable[[int, bool, str], None]) -> None:
        self._answer = answer
        self._waiting: dict[str, list[int | None]] = {}

    def take(self, number: int, command: str, arguments: Mapping[str, Any]) -> events.Event | None:
        """The event of this command, whose reply will answer `number`; None (answered) when it cannot be given."""
        make = COMMANDS.get(command)
        if make is None:
            self._answer(number, False, f"This worker does not know the command {command!r}.")
            return None
        try:
            event = make(arguments)
        except ValueError as error:
            self._answer(number, False, f"The command {command} cannot take that: {error}.")
            return None
        self._waiting.setdefault(command, []).append(number)
        return event

    def answered_at_once(self, number: int, command: str, ok: bool, sentence: str) -> None:
        """The machine replied to this very command while it was told of it."""
        waiting = self._waiting.get(command, [])
        if number in waiting:
            waiting.remove(number)
            self._answer(number, ok, sentence)
        elif None in waiting:
            waiting.remove(None)

    def replied(self, command: str, ok: bool, sentence: str) -> None:
        """The machine replied to the oldest command of this name."""
        waiting = self._waiting.get(command)
        number = waiting.pop(0) if waiting else None
        if number is not None:
            self._answer(number, ok, sentence)

    def forget_askers(self) -> None:
        """Another agent is there: it numbers its questions anew, and whoever asked the old one is gone."""
        for command, waiting in self._waiting.items():
            self._waiting[command] = [None] * len(waiting)
