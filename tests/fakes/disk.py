"""A disk in memory for tests and the simulation, to be treated badly: implements `twinhull.storage.base`.

What was written is volatile until it is synced; at a power loss every 512-byte sector that was not synced is
lost or kept on its own, so that writes are torn, dropped and reordered as a real disk may do. Creating and
removing a file are durable on return, as the interface promises; a power loss in the middle of either leaves
it done or not.

    disk = FakeDisk()
    volume = Volume.create(disk.directory(), ...)
    disk.fail_next("sync", file="data.img")    # the next one fails
    disk.fill_up()                              # no room left
    disk.crash_at(3)                            # power goes in the middle of the third change from now
    disk.power_loss(random.Random(seed))        # everything open is dead; look at what is left
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from twinhull.errors import DiskError, DiskFullError, VolumeLockedError
from twinhull.storage.base import File

SECTOR_BYTES = 512
UNIT_BYTES = 4096
_SECTORS_OF_UNIT = UNIT_BYTES // SECTOR_BYTES
_ZERO_SECTOR = bytes(SECTOR_BYTES)
CHANGES = frozenset({"write", "punch", "zero", "sync", "create", "remove"})
"""The operations that `crash_at` counts."""


class PowerLost(Exception):  # noqa: N818 - an event, not an error of the code under test
    """Power is gone, or the process that held this handle is dead. No code under test may catch it."""


@dataclass
class _Inode:
    size_bytes: int
    reserved: bool
    current: dict[int, bytes] = field(default_factory=dict)  # by sector; absent: zeros
    durable: dict[int, bytes] = field(default_factory=dict)
    pending: list[tuple[int, int, bytes | None]] = field(default_factory=list)  # order, sector, content
    taken: set[int] = field(default_factory=set)  # units of 4 KiB that take room
    written: set[int] = field(default_factory=set)  # units that are no hole

    def copy(self) -> _Inode:
        return _Inode(
            self.size_bytes, self.reserved, dict(self.current), dict(self.durable), list(self.pending),
            set(self.taken), set(self.written),
        )  # fmt: skip

    def settle(self, content: dict[int, bytes]) -> None:
        """After a power loss: this is what the file holds."""
        self.durable = content
        self.current = dict(content)
        self.pending = []
        self.written = {sector // _SECTORS_OF_UNIT for sector in content}
        if not self.reserved:
            self.taken = set(self.written)


@dataclass
class Hang:
    """A disk that answers nothing: callers wait in the operation until `release`."""

    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Let all callers go on."""
        self.released.set()


class FakeDisk:
    """The disk: it outlives the processes that use it.

    Args:
        capacity_bytes: its size.
        name: what messages call it.
    """

    def __init__(self, capacity_bytes: int = 1 << 40, name: str = "disk") -> None:
        self.capacity_bytes = capacity_bytes
        self.name = name
        self.cold = False
        """While true nothing is in the cache: `read_cached` answers None."""
        self.hook: Callable[[str, str], None] | None = None
        """Called with (operation, file) before each; may raise what the operation then raises."""
        self.changes = 0
        """Operations of `CHANGES` so far."""
        self._files: dict[tuple[str, str], _Inode] = {}
        self._locks: dict[str, FakeDirectory] = {}
        self._filler_bytes = 0
        self._life = 0
        self._dead = False
        self._order = 0
        self._crash: tuple[int, bool] | None = None
        self._faults: list[tuple[str, str | None, DiskError | None]] = []
        self._hangs: list[tuple[str, str | None, Hang]] = []
        self._mutex = threading.RLock()

    # ---- what tests do to it -------------------------------------------------------------------------

    def directory(self, name: str = "volume") -> FakeDirectory:
        """A new handle on a directory, as a process that just started would have."""
        return FakeDirectory(self, name, self._life)

    def fail_next(self, op: str, *, file: str | None = None, error: DiskError | None = None) -> None:
        """The next `op` (a method of File or Directory), of this file if named, raises."""
        self._faults.append((op, file, error))

    def fill_up(self, free_bytes: int = 0) -> None:
        """Somebody else takes all room but this much."""
        self._filler_bytes += self.free_bytes() - free_bytes

    def hang(self, op: str, *, file: str | None = None) -> Hang:
        """From now on callers of `op` wait until the hang is released."""
        hang = Hang()
        self._hangs.append((op, file, hang))
        return hang

    def crash_at(self, change: int, *, done: bool = True) -> None:
        """In the middle of the change with this number from now (0: the next one) PowerLost is raised.

        A write or punch has then reached the volatile cache, a sync made nothing durable; a create or remove
        is `done` or not.
        """
        self._crash = (self.changes + change, done)

    def kill(self) -> None:
        """All processes die: their handles are dead and their locks gone; what they wrote stays."""
        self._life += 1
        self._dead = False
        self._crash = None
        self._locks.clear()

    def pending_sectors(self) -> int:
        """How many sector writes are not durable."""
        return sum(len(inode.pending) for inode in self._files.values())

    def power_loss(
        self,
        rng: random.Random | None = None,
        *,
        keep: Callable[[int], bool] | None = None,
        garble: bool = False,
    ) -> None:
        """Power goes and comes back: of what was not synced, some is lost.

        Args:
            rng: chooses what is kept; None (and no `keep`): nothing is.
            keep: whether the n-th sector write that was pending (in the order of writing) is kept.
            garble: also make one pending sector random bytes (the one under the head).
        """
        self.kill()
        pending = self._pending_in_order()
        chosen = keep or _chooser(rng, len(pending))
        content_of = {id(inode): dict(inode.durable) for inode in self._files.values()}
        for number, (inode, sector, content) in enumerate(pending):
            if chosen(number):
                _put(content_of[id(inode)], sector, content)
        if garble and rng is not None and pending:
            inode, sector, _ = rng.choice(pending)
            content_of[id(inode)][sector] = rng.randbytes(SECTOR_BYTES)
        for inode in self._files.values():
            inode.settle(content_of[id(inode)])

    def clone(self) -> FakeDisk:
        """The same disk again, without the processes that use it and without planned faults."""
        other = FakeDisk(self.capacity_bytes, self.name)
        other._files = {key: inode.copy() for key, inode in self._files.items()}
        other._filler_bytes = self._filler_bytes
        other._order = self._order
        return other

    def peek(self, file: str, offset_bytes: int, length_bytes: int, *, directory: str = "volume") -> bytes:
        """What a file holds now, past all faults."""
        return self._read(self._files[directory, file], offset_bytes, length_bytes)

    def poke(self, file: str, offset_bytes: int, data: bytes, *, directory: str = "volume") -> None:
        """Change a file behind everybody's back, durably."""
        inode = self._files[directory, file]
        self._change(inode, offset_bytes, data)
        self._make_durable(inode)

    def resize(self, file: str, size_bytes: int, *, directory: str = "volume") -> None:
        """Change a file's length behind everybody's back."""
        self._files[directory, file].size_bytes = size_bytes

    def forget(self, file: str, *, directory: str = "volume") -> None:
        """A file vanishes behind everybody's back."""
        del self._files[directory, file]

    def names(self, directory: str = "volume") -> set[str]:
        """The files of a directory."""
        return {file for place, file in self._files if place == directory}

    def free_bytes(self) -> int:
        """Room that is left."""
        used = sum(len(inode.taken) for inode in self._files.values()) * UNIT_BYTES
        return self.capacity_bytes - self._filler_bytes - used

    # ---- what its handles use ------------------------------------------------------------------------

    def _pending_in_order(self) -> list[tuple[_Inode, int, bytes | None]]:
        every = [
            (order, inode, sector, content)
            for inode in self._files.values()
            for order, sector, content in inode.pending
        ]
        return [item[1:] for item in sorted(every, key=lambda item: item[0])]

    def _enter(self, life: int, op: str, file: str, path: str) -> bool:
        """Before every operation. True when power goes in the middle of it."""
        if self._dead or life != self._life:
            raise PowerLost(f"{op} {path}")
        for wanted, place, hang in list(self._hangs):
            if wanted == op and place in (None, file):
                hang.reached.set()
                hang.released.wait()
        if self.hook is not None:
            self.hook(op, file)
        for fault in self._faults:
            if fault[0] == op and fault[1] in (None, file):
                self._faults.remove(fault)
                raise fault[2] or DiskError(f"The disk failed to {op} {path}.", "Replace the disk.")
        if op not in CHANGES:
            return False
        self.changes += 1
        return self._crash is not None and self._crash[0] == self.changes - 1

    def _die(self, op: str, path: str) -> PowerLost:
        self._dead = True
        return PowerLost(f"{op} {path}")

    @property
    def _crash_done(self) -> bool:
        return self._crash is not None and self._crash[1]

    def _take(self, inode: _Inode, units: Iterable[int], path: str) -> None:
        new = set(units) - inode.taken
        if len(new) * UNIT_BYTES > self.free_bytes():
            raise DiskFullError(f"No room to write to {path}.", "Free space on that disk.")
        inode.taken |= new

    def _read(self, inode: _Inode, offset_bytes: int, length_bytes: int) -> bytes:
        first, last = offset_bytes // SECTOR_BYTES, -(-(offset_bytes + length_bytes) // SECTOR_BYTES)
        data = b"".join(inode.current.get(sector, _ZERO_SECTOR) for sector in range(first, last))
        skip = offset_bytes - first * SECTOR_BYTES
        return data[skip : skip + length_bytes]

    def _change(self, inode: _Inode, offset_bytes: int, data: bytes) -> None:
        """Into the volatile cache, sector by sector."""
        end = offset_bytes + len(data)
        first, last = offset_bytes // SECTOR_BYTES, -(-end // SECTOR_BYTES)
        before = self._read(inode, first * SECTOR_BYTES, offset_bytes - first * SECTOR_BYTES)
        whole = before + data + self._read(inode, end, last * SECTOR_BYTES - end)
        for number, sector in enumerate(range(first, last)):
            content = whole[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES]
            inode.current[sector] = content
            inode.pending.append((self._next_order(), sector, content))
            inode.written.add(sector // _SECTORS_OF_UNIT)

    def _clear(self, inode: _Inode, offset_bytes: int, length_bytes: int, *, free: bool) -> None:
        """A range of whole units becomes zeros."""
        first = offset_bytes // SECTOR_BYTES
        last = (offset_bytes + length_bytes) // SECTOR_BYTES
        known = set(inode.current) | set(inode.durable) | {sector for _, sector, _ in inode.pending}
        for sector in sorted(sector for sector in known if first <= sector < last):
            inode.current.pop(sector, None)
            inode.pending.append((self._next_order(), sector, None))
        gone = {
            unit
            for unit in inode.written | inode.taken
            if first <= unit * _SECTORS_OF_UNIT and (unit + 1) * _SECTORS_OF_UNIT <= last
        }
        inode.written -= gone
        if free:
            inode.taken -= gone

    def _make_durable(self, inode: _Inode) -> None:
        for _, sector, content in inode.pending:
            _put(inode.durable, sector, content)
        inode.pending = []

    def _next_order(self) -> int:
        self._order += 1
        return self._order


def _put(content_of: dict[int, bytes], sector: int, content: bytes | None) -> None:
    if content is None:
        content_of.pop(sector, None)
    else:
        content_of[sector] = content


def _chooser(rng: random.Random | None, count: int) -> Callable[[int], bool]:
    """What a power loss keeps: nothing, all, what came first, or any."""
    if rng is None:
        return lambda number: False
    kind = rng.choice(("nothing", "all", "first", "any", "any"))
    if kind == "first":
        limit = rng.randint(0, count)
        return lambda number: number < limit
    kept = [kind == "all" or (kind == "any" and rng.random() < 0.5) for _ in range(count)]
    return kept.__getitem__


class FakeFile:
    """A handle on a file of a `FakeDisk` (implements `storage.base.File`)."""

    def __init__(self, disk: FakeDisk, inode: _Inode, file: str, path: str, life: int) -> None:
        self._disk = disk
        self._inode = inode
        self._file = file
        self._path = path
        self._life = life
        self._failed: DiskError | None = None
        self._closed = False

    def _enter(self, op: str) -> bool:
        crash = self._disk._enter(self._life, op, self._file, self._path)
        if self._closed:
            raise DiskError(f"{self._path} is closed.")
        if self._failed is not None:
            raise type(self._failed)(self._failed.what, self._failed.remedy) from self._failed
        return crash

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """See `storage.base.File`."""
        self._enter("read")
        return self._get(offset_bytes, length_bytes)

    def _get(self, offset_bytes: int, length_bytes: int) -> bytes:
        if offset_bytes + length_bytes > self._inode.size_bytes:
            raise DiskError(f"The disk failed to read {self._path}: the file ends before.")
        with self._disk._mutex:
            return self._disk._read(self._inode, offset_bytes, length_bytes)

    def read_cached(self, offset_bytes: int, length_bytes: int) -> bytes | None:
        """See `storage.base.File`."""
        self._enter("read_cached")
        return None if self._disk.cold else self._get(offset_bytes, length_bytes)

    def write(self, offset_bytes: int, data: bytes | bytearray | memoryview) -> None:
        """See `storage.base.File`. A write behind the end is a bug of the code under test: ValueError."""
        crash = self._enter("write")
        if offset_bytes + len(data) > self._inode.size_bytes:
            raise ValueError(f"a write behind the end of {self._path}")
        with self._disk._mutex:
            units = range(offset_bytes // UNIT_BYTES, -(-(offset_bytes + len(data)) // UNIT_BYTES))
            self._disk._take(self._inode, units, self._path)
            self._disk._change(self._inode, offset_bytes, bytes(data))
        if crash:
            raise self._disk._die("write", self._path)

    def punch(self, offset_bytes: int, length_bytes: int) -> None:
        """See `storage.base.File`."""
        self._cleared("punch", offset_bytes, length_bytes)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """See `storage.base.File`."""
        self._cleared("zero", offset_bytes, length_bytes)

    def _cleared(self, op: str, offset_bytes: int, length_bytes: int) -> None:
        crash = self._enter(op)
        end = offset_bytes + length_bytes
        first = min(-(-offset_bytes // SECTOR_BYTES) * SECTOR_BYTES, end)
        last = max(end // SECTOR_BYTES * SECTOR_BYTES, first)
        with self._disk._mutex:
            for start, stop in ((offset_bytes, first), (last, end)):
                if start < stop:
                    self._disk._change(self._inode, start, bytes(stop - start))
            self._disk._clear(self._inode, first, last - first, free=op == "punch")
        if crash:
            raise self._disk._die(op, self._path)

    def sync(self) -> None:
        """See `storage.base.File`. What a failed sync should have written is lost for good, as on Linux."""
        try:
            crash = self._enter("sync")
        except DiskError as error:
            if self._failed is None and not self._closed:
                self._failed = error
                self._inode.pending = []
            raise
        if crash:
            raise self._disk._die("sync", self._path)
        with self._disk._mutex:
            self._disk._make_durable(self._inode)

    def next_data(self, offset_bytes: int) -> tuple[int, int] | None:
        """See `storage.base.File`."""
        self._enter("next_data")
        with self._disk._mutex:
            first = min(
                (unit for unit in self._inode.written if (unit + 1) * UNIT_BYTES > offset_bytes), default=None
            )
            if first is None or offset_bytes >= self._inode.size_bytes:
                return None
            last = first
            while last in self._inode.written:
                last += 1
        start = max(first * UNIT_BYTES, offset_bytes)
        return start, min(last * UNIT_BYTES, self._inode.size_bytes) - start

    def size(self) -> int:
        """See `storage.base.File`."""
        self._enter("size")
        return self._inode.size_bytes

    def allocated(self) -> int:
        """See `storage.base.File`."""
        self._enter("allocated")
        return len(self._inode.taken) * UNIT_BYTES

    def close(self) -> None:
        """See `storage.base.File`."""
        self._closed = True


class FakeDirectory:
    """One process's handle on a directory of a `FakeDisk` (implements `storage.base.Directory`)."""

    def __init__(self, disk: FakeDisk, place: str, life: int) -> None:
        self.disk = disk
        self._place = place
        self._life = life

    @property
    def name(self) -> str:
        """See `storage.base.Directory`."""
        return f"/{self.disk.name}/{self._place}"

    def _enter(self, op: str, file: str) -> bool:
        return self.disk._enter(self._life, op, file, f"{self.name}/{file}")

    def open(self, name: str) -> File:
        """See `storage.base.Directory`."""
        self._enter("open", name)
        inode = self.disk._files.get((self._place, name))
        if inode is None:
            raise FileNotFoundError(name)
        return FakeFile(self.disk, inode, name, f"{self.name}/{name}", self._life)

    def create(self, name: str, size_bytes: int, *, sparse: bool) -> File:
        """See `storage.base.Directory`."""
        crash = self._enter("create", name)
        path = f"{self.name}/{name}"
        if (self._place, name) in self.disk._files:
            raise FileExistsError(name)
        inode = _Inode(size_bytes, not sparse)
        with self.disk._mutex:
            if not sparse:
                self.disk._take(inode, range(-(-size_bytes // UNIT_BYTES)), path)
            if not crash or self.disk._crash_done:
                self.disk._files[self._place, name] = inode
        if crash:
            raise self.disk._die("create", path)
        return FakeFile(self.disk, inode, name, path, self._life)

    def exists(self, name: str) -> bool:
        """See `storage.base.Directory`."""
        self._enter("exists", name)
        return (self._place, name) in self.disk._files

    def remove(self, name: str) -> None:
        """See `storage.base.Directory`."""
        crash = self._enter("remove", name)
        if (self._place, name) not in self.disk._files:
            raise FileNotFoundError(name)
        if not crash or self.disk._crash_done:
            with self.disk._mutex:
                del self.disk._files[self._place, name]
        if crash:
            raise self.disk._die("remove", f"{self.name}/{name}")

    def lock(self) -> None:
        """See `storage.base.Directory`."""
        self._enter("lock", "")
        holder = self.disk._locks.setdefault(self._place, self)
        if holder is not self:
            raise VolumeLockedError(
                f"The volume in {self.name} is in use by another process.", "Stop the module there first."
            )

    def free(self) -> tuple[int, int]:
        """See `storage.base.Directory`."""
        self._enter("free", "")
        return self.disk.free_bytes(), self.disk.capacity_bytes

    def close(self) -> None:
        """See `storage.base.Directory`."""
        if self.disk._locks.get(self._place) is self:
            del self.disk._locks[self._place]
