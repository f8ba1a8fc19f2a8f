"""One mirror on a bench: what it asks for is kept until the test answers it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from twinhull.core import effects as fx
from twinhull.core.events import Event
from twinhull.core.frames import Ack, DataFrame, Discard, Flush, Flushed, MarksEnd, Write
from twinhull.core.marks import BLOCK_BYTES, EXTENT_BYTES, PagedBitmap
from twinhull.core.mirror import Mirror, ResyncSettings
from twinhull.core.requests import Op

KIB = 1024
SIZE = 16 * EXTENT_BYTES
BLOCKS = SIZE // BLOCK_BYTES
DATA = bytes(range(256)) * 16  # 4 KiB

E = TypeVar("E", bound=tuple)  # type: ignore[type-arg]


class Bench:
    """A mirror and the effects that it handed out and that were not answered.

    Args:
        log: extents in the activity log as it was loaded.
        warm: extents that `in_step` brings into the log, without marks.
        bits: blocks marked in the durable bitmap.
        capacity: of the activity log, extents.
        resync: limits of the resync.
    """

    def __init__(
        self,
        *,
        log: Iterable[int] = (),
        warm: Iterable[int] = (),
        bits: Iterable[int] = (),
        capacity: int = 8,
        resync: ResyncSettings | None = None,
        size: int = SIZE,
    ) -> None:
        bitmap = PagedBitmap(size // BLOCK_BYTES)
        for block in bits:
            bitmap.set_range(block, 1)
        self.mirror = Mirror(size, bitmap, log, capacity, 10.0, resync or ResyncSettings())
        self.now_s = 100.0
        self.open: list[fx.Effect] = []
        self.done: list[fx.Complete] = []
        self.told: list[Event] = []
        self.sent: list[DataFrame] = []
        self.tag = 0
        self.warm = tuple(warm)
        self.flushes_confirmed: set[int] = set()

    # ---- effects -------------------------------------------------------------------------------------

    def pull(self) -> list[fx.Effect]:
        """Sort what the mirror asks for; returns it as it came."""
        taken = self.mirror.take()
        for effect in taken:
            if isinstance(effect, fx.Complete):
                self.done.append(effect)
            elif isinstance(effect, fx.Tell):
                self.told.append(effect.event)
            elif isinstance(effect, fx.SendFrame):
                self.sent.append(effect.frame)
            else:
                self.open.append(effect)
        return taken

    def asked(self, kind: type[E]) -> list[E]:
        """Effects of a kind that wait for their answer."""
        self.pull()
        return [effect for effect in self.open if isinstance(effect, kind)]

    def frames(self, kind: type[E]) -> list[E]:
        """Frames of a kind that were sent."""
        self.pull()
        return [frame for frame in self.sent if isinstance(frame, kind)]

    def events(self, kind: type[E]) -> list[E]:
        """Events of a kind that were told."""
        self.pull()
        return [event for event in self.told if isinstance(event, kind)]

    def answers(self) -> dict[int, int]:
        """Tag and errno of every answered request."""
        self.pull()
        assert len({complete.tag for complete in self.done}) == len(self.done), "answered twice"
        return {complete.tag: complete.error for complete in self.done}

    def answer(self, effect: fx.Effect, error: str | None = None, *, full: bool = False) -> None:
        """The disk did what the effect asks for, or failed."""
        self.open.remove(effect)
        mirror = self.mirror
        match effect:
            case fx.LocalWrite() | fx.LocalDiscard():
                mirror.local_done(effect.ticket, error, full, self.now_s)
            case fx.LocalFlush():
                mirror.flush_done(effect.ticket, error, full, self.now_s)
            case fx.SyncLog():
                mirror.log_done(effect.ticket, error, full, self.now_s)
            case _:
                raise AssertionError(effect)

    def run(self, *kinds: type) -> None:
        """Do everything that waits (of these kinds), and what follows from it; reads are left alone."""
        kinds = kinds or (fx.LocalWrite, fx.LocalDiscard, fx.LocalFlush, fx.SyncLog)
        while True:
            self.pull()
            waiting = [effect for effect in self.open if isinstance(effect, kinds)]
            if not waiting:
                return
            self.answer(waiting[0])

    def confirm(self) -> None:
        """The peer confirms all writes and the last flush, until nothing more comes."""
        told = -1
        while True:
            self.run()
            if len(self.sent) == told:
                return
            told = len(self.sent)
            numbered = [f for f in self.sent if isinstance(f, Write | Discard | Flush)]
            flushes = [f.seq for f in numbered if isinstance(f, Flush)]
            if numbered:
                self.mirror.frame(Ack(numbered[-1].seq), self.now_s)
            if flushes and flushes[-1] not in self.flushes_confirmed:
                self.flushes_confirmed.add(flushes[-1])
                self.mirror.frame(Flushed(flushes[-1]), self.now_s)

    # ---- requests and sessions -------------------------------------------------------------------------

    def write(self, offset: int, data: bytes = DATA, *, fua: bool = False) -> int:
        self.tag += 1
        self.mirror.submit(self.tag, Op.WRITE, offset, len(data), data, fua, self.now_s)
        return self.tag

    def flush(self) -> int:
        self.tag += 1
        self.mirror.submit(self.tag, Op.FLUSH, 0, 0, None, False, self.now_s)
        return self.tag

    def discard(self, offset: int, length: int) -> int:
        self.tag += 1
        self.mirror.submit(self.tag, Op.DISCARD, offset, length, None, False, self.now_s)
        return self.tag

    def read(self, offset: int, length: int) -> int:
        self.tag += 1
        self.mirror.submit(self.tag, Op.READ, offset, length, None, False, self.now_s)
        return self.tag

    def alone(self) -> Bench:
        self.mirror.open_alone(self.now_s)
        return self

    def primary(self, *, resend: bool = False, serve: bool = True, everything: bool = False) -> Bench:
        """PRIM in a new session, with a lease; the SECOND has marked nothing."""
        self.pull()
        self.sent.clear()
        self.flushes_confirmed.clear()
        self.mirror.begin_session(
            primary=True, resend=resend, everything=everything, serve=serve, now_s=self.now_s
        )
        self.mirror.set_lease(1e9, self.now_s)
        return self

    def in_step(self) -> Bench:
        """PRIM with nothing to copy."""
        self.primary()
        self.frame(MarksEnd())
        if self.warm:
            for extent in self.warm:
                self.write(extent * EXTENT_BYTES)
            self.flush()
            self.confirm()
            self.primary(resend=True)
            self.frame(MarksEnd())
            self.done.clear()
            self.tag = 0
        assert self.mirror.in_step
        assert not self.mirror.has_marks
        return self

    def second(self) -> Bench:
        self.pull()
        self.sent.clear()
        self.mirror.begin_session(primary=False, now_s=self.now_s)
        return self

    def frame(self, *frames: DataFrame) -> None:
        for frame in frames:
            self.mirror.frame(frame, self.now_s)

    def tick(self, seconds: float = 0.5, times: int = 1) -> None:
        for _ in range(times):
            self.now_s += seconds
            self.mirror.tick(self.now_s)
