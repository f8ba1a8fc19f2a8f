"""What each sector of the VM's disk may hold, given what was asked, answered and flushed. Knows nothing of the code."""

from __future__ import annotations

from collections.abc import Callable, Iterable

SECTOR_BYTES = 512


def content(value: int, sectors: int) -> bytes:
    """Sectors that hold the value."""
    return value.to_bytes(8, "little") * (SECTOR_BYTES // 8 * sectors)


class ClientWrite:
    """A write of the VM, by the history's own count of moments.

    Args:
        value: what it writes; 0 is a discard.
        asked: when; `done`: when it was answered; `over`: when it was clear that no answer comes any more.
        flushed: a flush that was asked for after `done` was answered.
        weak: power was lost somewhere, or a sync failed, before it was flushed: it may be gone.
    """

    __slots__ = ("asked", "asked_s", "done", "first", "flushed", "over", "sectors", "value", "weak")

    def __init__(self, value: int, first: int, sectors: int, asked: int) -> None:
        self.value = value
        self.first = first
        self.sectors = sectors
        self.asked = asked
        self.asked_s = 0.0
        self.done: int | None = None
        self.over: int | None = None
        self.flushed = False
        self.weak = False


class History:
    """One unbroken history of writes."""

    def __init__(self) -> None:
        self.moment = 0
        self.sectors: dict[int, list[ClientWrite]] = {}
        self.unflushed: list[ClientWrite] = []
        self.open: list[ClientWrite] = []

    def now(self) -> int:
        """The next moment."""
        self.moment += 1
        return self.moment

    def ask(self, value: int, first: int, sectors: int, now_s: float) -> ClientWrite:
        """The VM asks for a write."""
        write = ClientWrite(value, first, sectors, self.now())
        write.asked_s = now_s
        for sector in range(first, first + sectors):
            known = self.sectors.get(sector)
            if known is None:
                known = self.sectors[sector] = [_base(0)]
            known.append(write)
        self.open.append(write)
        return write

    def answer(self, write: ClientWrite) -> None:
        """It was acknowledged."""
        write.done = self.now()
        self.unflushed.append(write)
        if write in self.open:
            self.open.remove(write)

    def unflushed_now(self) -> list[ClientWrite]:
        """What a flush that is asked for now must make durable."""
        return list(self.unflushed)

    def flushed(self, writes: Iterable[ClientWrite]) -> None:
        """A flush that covers these was answered."""
        for write in writes:
            write.flushed = True
        self.unflushed = [write for write in self.unflushed if not write.flushed]

    def power_lost(self) -> None:
        """Somewhere what was not flushed may be gone."""
        for write in self.unflushed:
            write.weak = True

    def sync_failed(self) -> None:
        """The only disk that counts dropped what it should have written: also what is written there and answered later."""
        self.power_lost()
        for write in self.open:
            write.weak = True

    def allowed(self, sector: int, *, durable_only: bool = False) -> set[int]:
        """What the sector may hold.

        Args:
            durable_only: only what was flushed is counted on.
        """
        writes = self.sectors.get(sector)
        if writes is None:
            return {0}
        latest = -1
        for write in writes:
            firm = write.done is not None and (write.flushed or not (write.weak or durable_only))
            if firm and write.asked > latest:
                latest = write.asked
        return {write.value for write in writes if write.asked >= latest or _lasts_beyond(write, latest)}

    def prune(self, sector: int) -> None:
        """Forget what a later, flushed write has replaced for good."""
        writes = self.sectors[sector]
        latest = max((w.asked for w in writes if w.done is not None and w.flushed), default=-1)
        self.sectors[sector] = [w for w in writes if w.asked >= latest or _lasts_beyond(w, latest)]

    def collapse(
        self, value_of: Callable[[int], int], durable_of: Callable[[int], int], *, weak: bool = False
    ) -> None:
        """The VM begins anew and sees what there is; what it has seen stays, unless power is lost again.

        Args:
            weak: a sync of this disk had failed before: what it holds and is not durable never will be.
        """
        now = self.now()
        for write in self.open:
            write.over = now
        self.open = []
        for sector, writes in self.sectors.items():
            value = value_of(sector)
            for write in writes:
                if write.done is None and write.over is None:
                    write.over = now
            seen = ClientWrite(value, sector, 1, now + 1)
            seen.done = now + 1
            seen.flushed = durable_of(sector) == value
            seen.weak = weak and not seen.flushed
            if not seen.flushed:
                self.unflushed.append(seen)
            writes.append(seen)
            self.prune(sector)
        self.moment = now + 1

    def rebase(self, value_of: Callable[[int], int], others_of: Callable[[int], set[int]]) -> History:
        """A person chose this replica: what it holds is the truth from here on (`others`: or may become so)."""
        new = History()
        for sector in self.sectors:
            writes = [_base(value) for value in sorted(others_of(sector))]
            truth = ClientWrite(value_of(sector), sector, 1, 0)
            truth.done = 0
            new.unflushed.append(truth)
            new.sectors[sector] = [*writes, truth]
        return new

    def meanwhile(self) -> None:
        """What was the truth when a replica was chosen came about beside the writes that were asked for since."""
        now = self.now()
        for writes in self.sectors.values():
            for write in writes:
                if write.asked == 0:
                    write.done = now


def _base(value: int) -> ClientWrite:
    write = ClientWrite(value, 0, 1, -1)
    write.done = -1
    write.flushed = True
    return write


def _lasts_beyond(write: ClientWrite, latest: int) -> bool:
    """Whether it may have been applied after the write that was asked at `latest`."""
    if write.done is not None:
        return write.done >= latest
    return write.over is None or write.over >= latest
