"""An export without a kernel: tests ask what a host's block layer would ask, and wait for the answers."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from twinhull.errors import AttachError
from twinhull.exports.base import Op, Request


class Answer(NamedTuple):
    """How a request ended: a positive errno or 0, and the data of a read."""

    error: int
    data: bytes | None


class FakeExport:
    """The volume as tests see it; implements `exports.base.Export`. Thread-safe on the asking side."""

    def __init__(self) -> None:
        self._bell = os.eventfd(0, os.EFD_NONBLOCK)
        self._asked: deque[Request] = deque()
        self._under_way: set[int] = set()
        self._answers: dict[int, Answer] = {}
        self._changed = threading.Condition()
        self._tags = 0
        self._lost = False
        self.closed = False

    # ---- the interface -------------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._bell

    def receive(self) -> Sequence[Request]:
        if self._lost:
            raise AttachError("The connection of the fake export has ended.")
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return []
        with self._changed:
            taken = list(self._asked)
            self._asked.clear()
            return taken

    def reply(self, tag: int, error: int = 0, data: bytes | memoryview | None = None) -> None:
        with self._changed:
            if tag not in self._under_way:
                raise ValueError(f"request {tag} is not under way")
            self._under_way.remove(tag)
            self._answers[tag] = Answer(error, None if data is None else bytes(data))
            self._changed.notify_all()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._bell)
            with self._changed:
                self._changed.notify_all()

    # ---- for tests -----------------------------------------------------------------------------------

    def ask(
        self, op: Op, offset_bytes: int, length_bytes: int, data: bytes | None = None, *, fua: bool = False
    ) -> int:
        """Ask for something; the tag to wait for."""
        with self._changed:
            self._tags += 1
            self._under_way.add(self._tags)
            self._asked.append(Request(self._tags, op, offset_bytes, length_bytes, data, fua))
        os.eventfd_write(self._bell, 1)
        return self._tags

    def wait(self, tag: int, timeout_s: float = 20.0) -> Answer:
        """The answer to this request."""
        with self._changed:
            assert self._changed.wait_for(lambda: tag in self._answers, timeout_s), "no answer"
            return self._answers[tag]

    def answered(self, tag: int) -> bool:
        """Whether this request was answered."""
        with self._changed:
            return tag in self._answers

    def write(self, offset_bytes: int, data: bytes, *, fua: bool = False) -> Answer:
        """Write, and wait for the answer."""
        return self.wait(self.ask(Op.WRITE, offset_bytes, len(data), data, fua=fua))

    def read(self, offset_bytes: int, length_bytes: int) -> Answer:
        """Read, and wait for the answer."""
        return self.wait(self.ask(Op.READ, offset_bytes, length_bytes))

    def flush(self) -> Answer:
        """Flush, and wait for the answer."""
        return self.wait(self.ask(Op.FLUSH, 0, 0))

    def lose(self) -> None:
        """The kernel ends the connection."""
        self._lost = True
        os.eventfd_write(self._bell, 1)


class FakeNetworkDisk(FakeExport):
    """One that is a disk of its own to its host; implements `exports.base.NetworkDisk`.

    Attributes:
        discards: whether writes are thrown away.
        space: what was told of the room: used, available, whether to warn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.discards = False
        self.space: list[tuple[int, int, bool]] = []

    @property
    def in_flight(self) -> int:
        return len(self._under_way)

    def discard_writes(self) -> None:
        with self._changed:
            self.discards = True
            self._changed.notify_all()

    def tell_space(self, used_bytes: int, available_bytes: int, *, warn: bool = False) -> None:
        self.space.append((used_bytes, available_bytes, warn))

    def wait_for_discards(self, timeout_s: float = 20.0) -> None:
        """Wait until writes are thrown away."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.discards, timeout_s), "it never came to that"
