"""Performs the mirror's disk effects on a volume, without ever making the loop wait for a disk that hangs.

Writes run in order in the loop's own thread (see `loop`); while one of them is stuck, later ones queue. Flushes, the
log, reads that miss the cache, digests, and what a repair overwrites have lanes of their own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from twinhull.core.effects import (
    DigestLocal,
    KeepOld,
    LocalDiscard,
    LocalFlush,
    LocalWrite,
    ReadLocal,
    SyncLog,
)
from twinhull.core.frames import MAX_DATA_BYTES
from twinhull.core.mirror_digests import digests_of
from twinhull.core.record import Record
from twinhull.errors import DiskError, DiskFullError, StorageError

from .lanes import Lane, Outcome, outcome_of
from .loop import Loop


class Volume(Protocol):
    """What the worker needs of `storage.volume.Volume`."""

    size_bytes: int

    @property
    def record(self) -> Record: ...
    def write(self, offset_bytes: int, data: bytes | bytearray | memoryview) -> None: ...
    def discard(self, offset_bytes: int, length_bytes: int) -> None: ...
    def read(self, offset_bytes: int, length_bytes: int) -> bytes: ...
    def read_cached(self, offset_bytes: int, length_bytes: int) -> bytes | memoryview | None: ...
    def next_data(self, offset_bytes: int) -> tuple[int, int] | None: ...
    def flush(self) -> None: ...
    def log_commit(self, add: Iterable[int], remove: Iterable[int]) -> None: ...
    def store_bits(self, pages: Iterable[tuple[int, bytes]]) -> None: ...
    def write_record(self, record: Record) -> None: ...


class Answers(Protocol):
    """The mirror's methods that take the answers."""

    def local_done(self, ticket: int, error: str | None, full: bool, now_s: float) -> None: ...
    def flush_done(self, ticket: int, error: str | None, full: bool, now_s: float) -> None: ...
    def read_done(
        self, ticket: int, data: bytes | memoryview | None, error: str | None, now_s: float
    ) -> None: ...
    def digest_done(self, ticket: int, digests: bytes | None, error: str | None, now_s: float) -> None: ...
    def keep_done(self, ticket: int, error: str | None, now_s: float) -> None: ...
    def log_done(self, ticket: int, error: str | None, full: bool, now_s: float) -> None: ...
    @property
    def quiet(self) -> bool: ...


class Keeper(Protocol):
    """Where content goes that a repair overwrites."""

    def keep(self, offset_bytes: int, data: bytes) -> None: ...


def judged(outcome: Outcome[object]) -> tuple[str | None, bool]:
    """The disk's error as a sentence and whether the disk is full; (None, False) when all went well.

    Any other exception is a defect of ours and is raised.
    """
    error = outcome.error
    if error is None:
        return None, False
    if not isinstance(error, DiskError):
        raise error
    return _told(error)


def _told(error: DiskError) -> tuple[str, bool]:
    return error.what.rstrip("."), isinstance(error, DiskFullError)


_Changed = tuple[int, str | None, bool]
"""How an effect that changes the data file ended: its ticket, the error, and whether the disk is full."""

_Flushed = tuple[int, str | None, bool, float]
"""The same of a flush, and how many seconds it took."""

QUICK_FLUSH_S = 0.001
FLUSH_WEIGHT = 0.25
"""Share of the last flush in what is expected of the next; the clock may have steps of 16 ms."""


class Disk:
    """The volume of one module, driven by effects.

    Args:
        loop: whose thread makes the writes; `perform` is called from its pump only.
        clock: for the answers, seconds.
        keeper: takes what a repair overwrites.
    """

    def __init__(
        self, loop: Loop, volume: Volume, answers: Answers, clock: Callable[[], float], keeper: Keeper
    ) -> None:
        self._loop = loop
        self._volume = volume
        self._answers = answers
        self._clock = clock
        self._keeper = keeper
        self._busy = False
        self._flushing = 0  # flushes on the lane
        self._flush_s = 2 * QUICK_FLUSH_S  # what a flush takes; not known yet
        self._waiting: deque[Callable[[], None]] = deque()
        self._log_lane = Lane(loop, "log")
        self._flush_lane = Lane(loop, "flush")
        self._read_lane = Lane(loop, "read", threads=2)
        self._digest_lane = Lane(loop, "digest", threads=2)
        self.keep_lane = Lane(loop, "keep")
        """What may take its time with the rescue store: one thread uses that."""

    @property
    def waiting(self) -> bool:
        """Whether ordered writes can be handed to the disk now (`resume` does it)."""
        return bool(self._waiting) and not self._busy

    def side_lane(self, name: str) -> Lane:
        """A lane for other work of the worker that may wait."""
        return Lane(self._loop, name)

    def perform(
        self, effect: LocalWrite | LocalDiscard | LocalFlush | ReadLocal | DigestLocal | KeepOld | SyncLog
    ) -> None:
        """Do what the effect asks; its answer goes to the mirror, now or later."""
        if isinstance(effect, LocalWrite):
            self.write(effect)
        elif isinstance(effect, ReadLocal):
            self._read(effect)
        elif isinstance(effect, LocalFlush):
            self._in_order(partial(self._flush, effect))
        elif isinstance(effect, LocalDiscard):
            self._in_order(partial(self._discard, effect))
        elif isinstance(effect, DigestLocal):
            self._digest(effect)
        elif isinstance(effect, KeepOld):
            self._keep(effect)
        else:
            self._sync_log(effect)

    def write(self, effect: LocalWrite) -> None:
        """`perform` for the one effect that comes with every write."""
        if self._busy or self._waiting:
            self._waiting.append(partial(self._write, effect))
        else:
            self._write(effect)

    def resume(self) -> None:
        """Hand the disk what queued behind a stuck write. From the pump only."""
        while self._waiting and not self._busy:
            self._waiting.popleft()()

    def persist(
        self, record: Record, before: Record, done: Callable[[str | None, bool], None]
    ) -> Callable[[], bool]:
        """Make the record durable, then tell `done` the error, if any, and whether the disk is full.

        Args:
            record: the new one.
            before: the one that counts so far.
            done: called on the loop.

        Returns:
            A call that gives the new record up: when it becomes durable later, the one of before is written over
            it, so that nobody finds what was never relied upon; save where the new one only says that the replica
            is not uptodate any more. False: too late, it is written (or failed).
        """
        settled = threading.Lock()  # taken by whoever decides what counts: the lane, or who waits no more

        def write() -> None:
            self._volume.write_record(record)
            if not settled.acquire(blocking=False) and not record.takes_back(before):
                self._volume.write_record(before)

        self._log_lane.submit(write, lambda outcome: done(*judged(outcome)))
        return lambda: settled.acquire(blocking=False)

    def close(self) -> None:
        """End the lanes once they have done what they were given."""
        for lane in (
            self._log_lane,
            self._flush_lane,
            self._read_lane,
            self._digest_lane,
            self.keep_lane,
        ):
            lane.close()

    def _in_order(self, call: Callable[[], None]) -> None:
        if self._busy or self._waiting:
            self._waiting.append(call)
        else:
            call()

    def _write(self, effect: LocalWrite) -> None:
        self._busy = True
        self._loop.run_inline(self._write_now, effect, self._changed)

    def _write_now(self, effect: LocalWrite) -> _Changed:
        ticket, offset_bytes, data = effect
        try:
            self._volume.write(offset_bytes, data)
        except DiskError as error:
            return ticket, *_told(error)
        return ticket, None, False

    def _discard(self, effect: LocalDiscard) -> None:
        self._busy = True
        self._loop.run_inline(self._discard_now, effect, self._changed)

    def _discard_now(self, effect: LocalDiscard) -> _Changed:
        ticket, offset_bytes, length_bytes = effect
        try:
            self._volume.discard(offset_bytes, length_bytes)
        except DiskError as error:
            return ticket, *_told(error)
        return ticket, None, False

    def _changed(self, result: _Changed) -> None:
        self._busy = False
        ticket, error, full = result
        self._answers.local_done(ticket, error, full, self._clock())

    def _flush(self, effect: LocalFlush) -> None:
        """Where the disk is quick and nothing else is under way, a hand-off to the lane would take longer than it saves."""
        if self._flush_s < QUICK_FLUSH_S and not self._flushing and self._answers.quiet:
            self._busy = True
            self._loop.run_inline(self._flush_now, effect, self._flushed_inline)
            return
        self._flushing += 1

        def done(outcome: Outcome[_Flushed]) -> None:
            self._flushing -= 1
            self._flushed(outcome.value())

        self._flush_lane.submit(partial(self._flush_now, effect), done)

    def _flush_now(self, effect: LocalFlush) -> _Flushed:
        begun_s = self._clock()
        error, full = judged(outcome_of(self._volume.flush))
        return effect.ticket, error, full, self._clock() - begun_s

    def _flushed_inline(self, result: _Flushed) -> None:
        self._busy = False
        self._flushed(result)

    def _flushed(self, result: _Flushed) -> None:
        ticket, error, full, took_s = result
        self._flush_s += (took_s - self._flush_s) * FLUSH_WEIGHT
        self._answers.flush_done(ticket, error, full, self._clock())

    def _sync_log(self, effect: SyncLog) -> None:
        volume = self._volume

        def commit() -> None:
            if effect.bits:
                volume.store_bits(effect.bits)
            volume.log_commit(effect.add, effect.remove)

        def done(outcome: Outcome[None]) -> None:
            error, full = judged(outcome)
            self._answers.log_done(effect.ticket, error, full, self._clock())

        self._log_lane.submit(commit, done)

    def _read(self, effect: ReadLocal) -> None:
        ticket, offset, length, hole_ok = effect
        if not hole_ok:
            outcome = outcome_of(lambda: self._volume.read_cached(offset, length))
            if outcome.error is not None or outcome.value() is not None:
                self._read_answered(ticket, outcome)
                return
        self._read_lane.submit(
            lambda: self._read_or_hole(offset, length) if hole_ok else self._volume.read(offset, length),
            lambda outcome: self._read_answered(ticket, outcome),
        )

    def _digest(self, effect: DigestLocal) -> None:
        def digest() -> bytes | None:
            data = self._read_or_hole(effect.offset_bytes, effect.length_bytes)
            return digests_of(data, effect.key) if data is not None else None

        def done(outcome: Outcome[bytes | None]) -> None:
            error, _ = judged(outcome)
            digests = None if error else outcome.value()
            self._answers.digest_done(effect.ticket, digests, error, self._clock())

        self._digest_lane.submit(digest, done)

    def _keep(self, effect: KeepOld) -> None:
        def keep() -> None:
            self._keeper.keep(
                effect.offset_bytes, self._volume.read(effect.offset_bytes, effect.length_bytes)
            )

        def done(outcome: Outcome[None]) -> None:
            error = outcome.error
            if error is not None and not isinstance(error, StorageError):
                raise error
            self._answers.keep_done(effect.ticket, str(error) if error else None, self._clock())

        self.keep_lane.submit(keep, done)

    def _read_or_hole(self, offset: int, length: int) -> bytes | None:
        data = self._volume.next_data(offset)
        if data is None or data[0] >= offset + length:
            return None
        return b"" if length > MAX_DATA_BYTES else self._volume.read(offset, length)

    def _read_answered(self, ticket: int, outcome: Outcome[bytes | memoryview | None]) -> None:
        error, _ = judged(outcome)
        self._answers.read_done(ticket, None if error else outcome.value(), error, self._clock())
