"""What every answer of a session carries: status and command numbers, and the window (RFC 7143 section 4.2.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .pdu import MASK32

WINDOW: Final = 64
"""Commands that the initiator may have under way; each may hold 1 MiB of data."""


class Numbers:
    """The numbers of one session.

    Args:
        command_sn: CmdSN that the first command will have.
        status_sn: StatSN of the first response.
        segment_bytes: the largest data segment that the initiator takes.
    """

    __slots__ = ("early", "expected", "maximum", "segment_bytes", "status")

    def __init__(self, command_sn: int, status_sn: int, segment_bytes: int) -> None:
        self.expected = command_sn
        """ExpCmdSN: what the next command must have."""
        self.maximum = command_sn + WINDOW - 1 & MASK32
        """MaxCmdSN: the last that is taken; it grows by one for each command that is over."""
        self.status = status_sn
        """StatSN of the next response."""
        self.segment_bytes = segment_bytes
        self.early: dict[int, Callable[[], None]] = {}
        """Commands that came before others that come before them."""

    def next_status(self) -> int:
        """The number of a response that is being made."""
        number = self.status
        self.status = number + 1 & MASK32
        return number

    def is_next(self, command_sn: int) -> bool:
        """Whether a command has the number that must come now, and there is room for it."""
        return command_sn == self.expected and self.maximum - command_sn & MASK32 < WINDOW

    def sequenced(self, opcode: int, command_sn: int, do: Callable[[], None]) -> None:
        """Carry out a request in the order of its CmdSN; at once when it is immediate. It takes no lasting room."""
        if opcode & 0x40:
            do()
            return

        def passes() -> None:
            self.maximum = self.maximum + 1 & MASK32
            do()

        if self.is_next(command_sn):
            self.expected = command_sn + 1 & MASK32
            passes()
            self.go_on()
        else:
            self.later(command_sn, passes)

    def later(self, command_sn: int, do: Callable[[], None]) -> None:
        """Out of order: kept within the window, silently ignored outside of it."""
        ahead = command_sn - self.expected & MASK32
        if ahead <= (self.maximum - self.expected & MASK32) and ahead < WINDOW:
            self.early.setdefault(command_sn, do)

    def go_on(self) -> None:
        """Carry out what came early and is due now."""
        while (do := self.early.pop(self.expected, None)) is not None:
            self.expected = self.expected + 1 & MASK32
            do()
