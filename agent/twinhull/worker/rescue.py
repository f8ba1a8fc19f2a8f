"""Keeps what a copy overwrites (promise 7): opens, fills and closes the rescues of one module, on the keep lane.

Everything that waits when the lane is free becomes durable together. After a split brain was healed the rescue goes on:
what is overwritten on the SECOND is still kept first (stage `following`), and the rest of the volume is copied beside it in
the background; then the rescue stands on its own. A node that runs the module writes past it: a rescue that still needs the
disk is then only what the copy overwrote (stage `partial`), and says so.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from twinhull.core import events
from twinhull.core.effects import RescueOld
from twinhull.core.marks import BLOCK_BYTES, PagedBitmap
from twinhull.core.record import Record, Role
from twinhull.core.rescue import RescueKind, RescuePlan
from twinhull.errors import StorageError
from twinhull.storage.rescue import Rescue, RescueFullError, Store
from twinhull.storage.rescue_format import COPYING, MAX_ENTRY_BYTES, Kind, Piece, Stage

from .lanes import Lane, Outcome
from .loop import Loop

FILL_STEP_BYTES = 4 << 20
FILL_PAUSE_S = 0.05
MAX_TOGETHER = 64
AGE_STEP_S = 600.0
"""So often the age of what lies there is written down."""

Log = logging.LoggerAdapter[logging.Logger]


class Source(Protocol):
    """What is read of the volume."""

    size_bytes: int

    @property
    def record(self) -> Record: ...
    def read(self, offset_bytes: int, length_bytes: int) -> bytes: ...
    def next_data(self, offset_bytes: int) -> tuple[int, int] | None: ...


class Answers(Protocol):
    """The mirror's methods that take the answers."""

    def rescue_done(self, ticket: int, error: str | None, now_s: float) -> None: ...
    def rescue_opened(self, kept: PagedBitmap | None, error: str | None, now_s: float) -> None: ...
    def rescue_over(self, now_s: float) -> None: ...


class Rescues:
    """The rescues of one module. All methods are called on the loop.

    Args:
        loop, lane: where answers come, and where the disk is waited for; shared with nobody but the keeper of repairs.
        store: the module's.
        volume: read from.
        answers: the mirror.
        tell: takes events for the machine.
        clock: seconds.
    """

    def __init__(
        self,
        loop: Loop,
        lane: Lane,
        store: Store,
        volume: Source,
        answers: Answers,
        tell: Callable[[events.Event], None],
        log: Log,
        clock: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._lane = lane
        self._store = store
        self._volume = volume
        self._answers = answers
        self._tell = tell
        self._log = log
        self._clock = clock
        self._wanted = 0  # number of the wish that counts; answers to older ones come too late
        self._waiting: deque[RescueOld] = deque()
        self._busy = False
        self._plan: RescuePlan | None = None
        self._trouble: str | None = None
        self._number = 0
        self._rescue: Rescue | None = None
        self._finishing = False  # the copy is complete; that it is waits for the disk
        self._others_bytes = 0
        self._aged_s = clock()
        self._settle_last_life()

    def _settle_last_life(self) -> None:
        """What the process before could not say any more. Before anything runs: the disk may be waited for."""
        try:
            current = self._store.current()
            if current is None:
                return
            self._number, self._rescue = current
            self._others_bytes = self._store.used_bytes() - self._rescue.used_bytes
            record = self._volume.record
            if record.role is Role.PRIMARY and (record.uptodate or current[1].about.stage is Stage.FOLLOWING):
                self._part_ways()
            elif record.uptodate and current[1].about.stage in COPYING:
                self._complete()
        except StorageError as error:
            self._log.error("the rescue store cannot be looked at: %s", error)

    def look_at_room(self) -> None:
        """Tell the machine whether a rescue could be begun now. Waits for the disk."""
        self._room_seen(self._store.ready())

    def _room_seen(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._tell(events.RescueRoom(trouble))

    def look(self) -> None:
        """The same, by the way; also removes what is too old."""

        passed_s = self._clock() - self._aged_s
        if passed_s < AGE_STEP_S:
            passed_s = 0.0
        self._aged_s += passed_s

        def look() -> str:
            self._store.expire(passed_s)
            return self._store.ready()

        self._lane.submit(look, lambda outcome: self._room_seen(str(outcome.error or outcome.value())))

    # ---- a copy begins and ends ---------------------------------------------------------------------------

    def begin(self, plan: RescuePlan | None) -> bool:
        """This node became SECOND. Whether anything is to be kept before it is overwritten.

        Args:
            plan: of a copy; None: there is nothing to copy, but a rescue may still follow.
        """
        self._wanted += 1
        wish, self._plan = self._wanted, plan
        if plan is None and not self._follows():
            return False
        self._lane.submit(lambda: self._open(plan), lambda outcome: self._opened(wish, outcome))
        return True

    def _follows(self) -> bool:
        """Whether the rescue follows what is written, or will as soon as the end of its copy is written down."""
        rescue = self._rescue
        if rescue is None:
            return False
        about = rescue.about
        return about.stage is Stage.FOLLOWING or (
            self._finishing and about.kind is Kind.SPLIT and about.stage is Stage.OPEN
        )

    def _open(self, plan: RescuePlan | None) -> Rescue:
        rescue = self._rescue
        if rescue is not None and (plan is None or rescue.about.stage in COPYING):
            rescue.make_sure()
            return rescue
        if plan is None:
            raise RescueFullError("There is no rescue to go on with.")
        if rescue is not None:
            self._part_ways()
        kind = Kind.SPLIT if plan.kind is RescueKind.SPLIT else Kind.RESYNC
        self._number, rescue = self._store.begin(kind, plan.why, plan.generation)
        self._others_bytes = self._store.used_bytes()
        self._rescue = rescue
        self._log.info("rescue %d begins: what the copy overwrites is kept (%s)", self._number, kind.value)
        return rescue

    def _opened(self, wish: int, outcome: Outcome[Rescue]) -> None:
        if wish != self._wanted:
            return
        now_s = self._clock()
        if outcome.error is not None:
            self._answers.rescue_opened(None, _sentence(outcome.error), now_s)
            return
        about = outcome.value().about
        if self._plan is not None:
            self._tell(events.RescueOpened(RescueKind(about.kind.value)))
        given_up = about.stage is Stage.GIVEN_UP
        self._answers.rescue_opened(None if given_up else outcome.value().kept.copy(), None, now_s)
        if about.stage is Stage.FOLLOWING:
            self._fill(wish, 0)

    def finish(self) -> None:
        """The copy is complete and recorded."""
        self._wanted += 1
        wish, self._plan = self._wanted, None
        self._finishing = True

        def done(outcome: Outcome[None]) -> None:
            self._finishing = False
            if outcome.error is not None:
                self._log.error("the rescue could not be closed: %s", _sentence(outcome.error))
            if wish == self._wanted and self._rescue is not None:
                self._fill(wish, 0)
            elif wish == self._wanted:
                self._answers.rescue_over(self._clock())

        self._lane.submit(self._complete, done)

    def _complete(self) -> None:
        rescue = self._rescue
        if rescue is None or rescue.about.stage not in COPYING:
            return
        if rescue.about.kind is Kind.SPLIT and rescue.about.stage is Stage.OPEN:
            self._store.end(rescue, Stage.FOLLOWING)
            return
        self._rescue = None
        if rescue.about.kind is Kind.SPLIT:
            self._store.end(rescue, Stage.NOTHING, rescue.about.note)
            rescue.close()
            return
        rescue.close()
        self._store.remove(self._number)

    def leave(self) -> None:
        """This node serves the module itself from now on: it writes past the rescue."""
        self._wanted += 1
        if self._rescue is not None:
            self._lane.submit(self._part_ways, self._left)

    def forget(self) -> None:
        """A person drops a rescue that still follows."""
        if self._rescue is not None and self._rescue.about.stage is Stage.FOLLOWING:
            self.leave()
            self._answers.rescue_over(self._clock())

    def _left(self, outcome: Outcome[None]) -> None:
        if outcome.error is not None:
            self._log.error("the rescue could not be closed: %s", _sentence(outcome.error))

    def _part_ways(self) -> None:
        rescue, self._rescue = self._rescue, None
        if rescue is not None:
            note = f"{rescue.about.node} ran the module or was copied to again before everything was kept"
            given_up = rescue.about.stage is Stage.GIVEN_UP
            self._store.end(rescue, Stage.NOTHING if given_up else Stage.PARTIAL, rescue.about.note or note)
            rescue.close()

    def give_up(self, reason: str) -> None:
        """Drop the present rescue; one that follows keeps what the copy overwrote."""
        wish, plan = self._wanted, self._plan

        def drop() -> None:
            if self._rescue is None and plan is not None:
                kind = Kind.SPLIT if plan.kind is RescueKind.SPLIT else Kind.RESYNC
                self._number, self._rescue = self._store.begin(
                    kind, plan.why, plan.generation, given_up=reason
                )
            elif self._rescue is not None and self._rescue.about.stage is Stage.FOLLOWING:
                self._part_ways()
            elif self._rescue is not None:
                self._rescue.give_up(reason)

        def done(outcome: Outcome[None]) -> None:
            if outcome.error is not None:
                self._tell(events.DiskFailed(_sentence(outcome.error).rstrip("."), full=True))
            elif wish == self._wanted:
                self._answers.rescue_over(self._clock())

        self._lane.submit(drop, done)

    # ---- blocks ---------------------------------------------------------------------------------------------

    def keep(self, effect: RescueOld) -> None:
        """Perform the effect; what waits meanwhile becomes durable together."""
        self._waiting.append(effect)
        self._keep_next()

    def _keep_next(self) -> None:
        if self._busy or not self._waiting:
            return
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_TOGETHER))]
        self._busy = True

        def done(outcome: Outcome[None]) -> None:
            self._busy = False
            error = None if outcome.error is None else _sentence(outcome.error)
            for effect in taken:
                self._answers.rescue_done(effect.ticket, error, self._clock())
            self._keep_next()

        self._lane.submit(lambda: self._keep(taken), done)

    def _keep(self, effects: list[RescueOld]) -> None:
        rescue = self._rescue
        if rescue is None:
            raise RescueFullError("The rescue was closed.")
        pieces = [
            piece
            for effect in effects
            for piece in self._pieces(rescue, effect.offset_bytes, effect.length_bytes)
        ]
        self._check_room(rescue, pieces)
        rescue.keep(pieces)

    def _check_room(self, rescue: Rescue, pieces: list[Piece]) -> None:
        more_bytes = sum(len(piece.data) for piece in pieces if piece.data is not None) + (1 << 16)
        try:
            self._store.check_room(more_bytes, self._others_bytes + rescue.used_bytes)
        except RescueFullError:
            self._store.make_room(more_bytes)
            self._others_bytes = max(0, self._store.used_bytes() - rescue.used_bytes)

    def _pieces(self, rescue: Rescue, offset_bytes: int, length_bytes: int) -> Iterator[Piece]:
        """What of the range is not kept yet, holes as holes."""
        for first, blocks in _missing(rescue.kept, offset_bytes // BLOCK_BYTES, length_bytes // BLOCK_BYTES):
            at, end = first * BLOCK_BYTES, (first + blocks) * BLOCK_BYTES
            while at < end:
                data = self._volume.next_data(at)
                begins = end if data is None else min(max(data[0] // BLOCK_BYTES * BLOCK_BYTES, at), end)
                if begins > at:
                    yield Piece(at // BLOCK_BYTES, (begins - at) // BLOCK_BYTES, None)
                    at = begins
                elif data is not None:
                    stop = min(
                        end, at + MAX_ENTRY_BYTES, -(-(data[0] + data[1]) // BLOCK_BYTES) * BLOCK_BYTES
                    )
                    yield Piece(
                        at // BLOCK_BYTES, (stop - at) // BLOCK_BYTES, self._volume.read(at, stop - at)
                    )
                    at = stop

    # ---- the rest, in the background ---------------------------------------------------------------------------

    def _fill(self, wish: int, from_bytes: int) -> None:
        if wish != self._wanted:
            return

        def done(outcome: Outcome[int | None]) -> None:
            if outcome.error is not None:
                self._log.warning(
                    "rescue %d goes on following the disk, which takes time at each first write: %s",
                    self._number,
                    _sentence(outcome.error),
                )
                return
            at = outcome.value()
            if at is not None:
                self._loop.call_later(FILL_PAUSE_S, lambda: self._fill(wish, at))
            elif wish == self._wanted:
                self._answers.rescue_over(self._clock())

        self._lane.submit(lambda: self._fill_step(from_bytes), done)

    def _fill_step(self, from_bytes: int) -> int | None:
        """Keep the next few MiB that are not kept; None when everything is."""
        rescue = self._rescue
        if rescue is None or rescue.about.stage is not Stage.FOLLOWING:
            return None
        at, left = from_bytes, FILL_STEP_BYTES
        pieces: list[Piece] = []
        while left > 0 and (data := self._volume.next_data(at)) is not None:
            begin = data[0] // BLOCK_BYTES * BLOCK_BYTES
            end = min(-(-(data[0] + data[1]) // BLOCK_BYTES) * BLOCK_BYTES, begin + left)
            pieces += [p for p in self._pieces(rescue, begin, end - begin) if p.data is not None]
            at, left = end, left - (end - begin)
        if pieces:
            self._check_room(rescue, pieces)
            rescue.keep(pieces)
        if left <= 0:
            return at
        self._store.end(rescue, Stage.COMPLETE)
        self._rescue = None
        rescue.close()
        self._log.info("rescue %d is complete: it needs the volume no more", self._number)
        return None


def _missing(kept: PagedBitmap, first: int, count: int) -> Iterator[tuple[int, int]]:
    """Runs of blocks (first, number) of a range that are not in the bitmap."""
    start = None
    for block in range(first, first + count):
        if block in kept:
            if start is not None:
                yield start, block - start
            start = None
        elif start is None:
            start = block
    if start is not None:
        yield start, first + count - start


def _sentence(error: Exception) -> str:
    if not isinstance(error, StorageError):
        raise error
    return str(error)
