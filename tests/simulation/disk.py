"""A disk in memory for whole lives: implements `twinhull.storage.base`, fast, and treats what was not synced badly.

What was written is volatile until it is synced. At a power loss each write that was not synced is lost or kept, whole or
sector by sector (512 bytes); what a failed sync should have written may be lost for good. A killed process loses nothing
that it had written: that is the system's page cache.
"""

from __future__ import annotations

from collections.abc import Callable

from twinhull.errors import DiskError, DiskFullError, VolumeLockedError
from twinhull.storage.base import File

from .rng import Rng

UNIT_BYTES = 4096
SECTOR_BYTES = 512
MANY_BYTES = 128 << 10
ZERO_UNIT = bytes(UNIT_BYTES)
ZEROS = memoryview(bytes(4 << 20))

Content = dict[int, bytes]
"""Units of 4 KiB by number; absent ones are holes."""

Write = tuple[int, int, bytes | None, int]
"""Order, offset, data (None: zeros) and length of a write that is not durable."""


class Inode:
    """A file's content, now and as it would be after a power loss."""

    __slots__ = ("current", "durable", "failed", "lost", "pending", "size_bytes", "version")

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.current: Content = {}
        self.durable: Content = {}
        self.pending: list[Write] = []
        self.failed = False
        self.lost: set[int] = set()  # units that a failed sync should have written
        self.version = 0  # of what is durable

    def fail(self) -> None:
        """A sync failed: nobody knows what of it reached the disk."""
        self.failed = True
        for _, offset, _, length in self.pending:
            self.lost.update(range(offset // UNIT_BYTES, (offset + length - 1) // UNIT_BYTES + 1))
        self.pending = []

    def reopen(self, rng: Rng) -> None:
        """The error is forgotten, and so is what the system still had in memory."""
        self.failed = False
        self.version += 1
        for unit in sorted(self.lost):
            source, target = (self.current, self.durable) if rng.chance(30) else (self.durable, self.current)
            if unit in source:
                target[unit] = source[unit]
            else:
                target.pop(unit, None)
        self.lost.clear()

    def copy(self) -> Inode:
        """The same durable content again."""
        twin = Inode(self.size_bytes)
        twin.current, twin.durable = dict(self.durable), dict(self.durable)
        return twin

    def read(self, content: Content, offset: int, length: int) -> bytes:
        """A range of one of the two contents."""
        first, last = offset // UNIT_BYTES, (offset + length - 1) // UNIT_BYTES
        get, skip = content.get, offset % UNIT_BYTES
        if first == last:
            unit = get(first, ZERO_UNIT)
            return unit if length == UNIT_BYTES else unit[skip : skip + length]
        if length >= MANY_BYTES and len(content) < length // UNIT_BYTES // 4:
            return self._read_sparse(content, offset, length)
        whole = b"".join([get(unit, ZERO_UNIT) for unit in range(first, last + 1)])
        return whole if not skip and length == len(whole) else whole[skip : skip + length]

    @staticmethod
    def _read_sparse(content: Content, offset: int, length: int) -> bytes:
        """The same for a long range with little in it: not put together unit by unit."""
        begin, end = offset // UNIT_BYTES, (offset + length - 1) // UNIT_BYTES + 1
        parts: list[bytes | memoryview] = []
        at = begin
        for unit in sorted(unit for unit in content if begin <= unit < end):
            parts += _zeros(unit - at), content[unit]
            at = unit + 1
        parts.append(_zeros(end - at))
        whole = b"".join(parts)
        skip = offset % UNIT_BYTES
        return whole if length == len(whole) else whole[skip : skip + length]


def _zeros(units: int) -> bytes | memoryview:
    length = units * UNIT_BYTES
    return ZEROS[:length] if length <= len(ZEROS) else bytes(length)


class DurableFile:
    """A file as it would be read after a power loss that kept nothing."""

    def __init__(self, inode: Inode) -> None:
        self._inode = inode

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """See `storage.base.File`."""
        return self._inode.read(self._inode.durable, offset_bytes, length_bytes)

    def size(self) -> int:
        """See `storage.base.File`."""
        return self._inode.size_bytes

    def close(self) -> None:
        """See `storage.base.File`."""


class DurableDirectory:
    """A directory as it would be found after such a power loss."""

    def __init__(self, disk: SimDisk, place: str) -> None:
        self._disk = disk
        self._place = place
        self.name = f"/{disk.name}/{place}"

    def open(self, name: str) -> DurableFile:
        """See `storage.base.Directory`."""
        inode = self._disk.files.get((self._place, name))
        if inode is None:
            raise FileNotFoundError(name)
        return DurableFile(inode)


def put(content: Content, offset: int, data: bytes) -> None:
    """Change a range."""
    end = offset + len(data)
    at = offset
    while at < end:
        unit, skip = divmod(at, UNIT_BYTES)
        take = min(UNIT_BYTES - skip, end - at)
        if take == UNIT_BYTES:
            content[unit] = data[at - offset : at - offset + take]
        else:
            old = content.get(unit, ZERO_UNIT)
            content[unit] = old[:skip] + data[at - offset : at - offset + take] + old[skip + take :]
        at += take


def clear(content: Content, offset: int, length: int) -> None:
    """Make a range of whole units a hole."""
    first, last = offset // UNIT_BYTES, (offset + length) // UNIT_BYTES
    if last - first > len(content):
        for unit in [unit for unit in content if first <= unit < last]:
            del content[unit]
    else:
        for unit in range(first, last):
            content.pop(unit, None)


class SimDisk:
    """What survives the processes of a node.

    Args:
        name: for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: dict[tuple[str, str], Inode] = {}
        self.locks: dict[str, SimDirectory] = {}
        self.order = 0
        self.sync_limit: int | None = None
        self.early_s = 0.0  # a call on a lane began so much earlier, as its process sees it
        self.full = False
        self.total_bytes = 1 << 41
        self.failing: list[tuple[str, str]] = []  # (operation, file) that fail once, in any order
        self.broken = False
        self.hook: Callable[[str, str], None] = _nothing
        self.on_fault: Callable[[str], None] = _no_fault

    def directory(self, place: str) -> SimDirectory:
        """A handle as a process that just started would have it."""
        return SimDirectory(self, place)

    def clone(self, name: str) -> SimDisk:
        """The same disk again, with what is durable on it."""
        twin = SimDisk(name)
        twin.files = {key: inode.copy() for key, inode in self.files.items()}
        return twin

    def reopened(self, place: str, rng: Rng) -> None:
        """A new process: its files do not remember an error. What a failed sync had lost may be lost for good."""
        for (where, _), inode in self.files.items():
            if inode.failed and where.endswith(place):
                inode.reopen(rng)

    def power_loss(self, rng: Rng) -> None:
        """Of what was not synced anything may be there afterwards, in any combination of sectors."""
        self.locks.clear()
        fate = rng.pick(("nothing", "all", "first", "any", "any", "torn"))
        pending = sorted(
            (write for inode in self.files.values() for write in inode.pending), key=lambda write: write[0]
        )
        limit = pending[rng.below(len(pending))][0] if pending else 0
        for inode in self.files.values():
            for write in inode.pending:
                if fate == "nothing" or (fate == "first" and write[0] > limit):
                    continue
                if fate in ("all", "first") or (fate == "any" and rng.chance(50)):
                    _keep(inode.durable, write)
                elif fate == "torn":
                    _tear(inode.durable, write, rng)
            inode.pending = []
            inode.version += 1
            inode.failed = False
            inode.lost.clear()
            inode.current = dict(inode.durable)

    def fails(self, op: str, file: str) -> None:
        """Raises what was planned for this operation, if anything was."""
        if self.broken:
            raise DiskError(f"The disk {self.name} failed to {op} {file}.", "Replace the disk.")
        for fault in self.failing:
            if fault == (op, file):
                self.failing.remove(fault)
                self.on_fault(f"{op} of {file}")
                raise DiskError(f"The disk {self.name} failed to {op} {file}.", "Replace the disk.")


def _keep(content: Content, write: Write) -> None:
    _, offset, data, length = write
    if data is None:
        clear(content, offset, length)
    else:
        put(content, offset, data)


def _tear(content: Content, write: Write, rng: Rng) -> None:
    _, offset, data, length = write
    if data is None:
        if rng.chance(50):
            clear(content, offset, length)
        return
    for at in range(0, length, SECTOR_BYTES):
        if rng.chance(50):
            put(content, offset + at, data[at : at + SECTOR_BYTES])


def _nothing(_op: str, _file: str) -> None:
    """No hook."""


def _no_fault(_what: str) -> None:
    """Nobody wants to know."""


class SimFile:
    """A handle on a file (implements `storage.base.File`)."""

    __slots__ = ("_disk", "_inode", "_name")

    def __init__(self, disk: SimDisk, inode: Inode, name: str) -> None:
        self._disk = disk
        self._inode = inode
        self._name = name

    def _enter(self, op: str) -> None:
        disk = self._disk
        disk.hook(op, self._name)
        if disk.failing or disk.broken:
            disk.fails(op, self._name)
        if self._inode.failed and op != "size":
            raise DiskError(f"{self._name} failed before.", "Replace the disk.")

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """See `storage.base.File`."""
        self._enter("read")
        return self._inode.read(self._inode.current, offset_bytes, length_bytes)

    def read_cached(self, offset_bytes: int, length_bytes: int) -> bytes | None:
        """See `storage.base.File`."""
        self._enter("read")
        return self._inode.read(self._inode.current, offset_bytes, length_bytes)

    def write(self, offset_bytes: int, data: bytes | bytearray | memoryview) -> None:
        """See `storage.base.File`."""
        self._enter("write")
        inode, disk, content = self._inode, self._disk, bytes(data)
        length = len(content)
        if disk.full and self._name == "data.img":
            units = range(offset_bytes // UNIT_BYTES, (offset_bytes + length - 1) // UNIT_BYTES + 1)
            if any(unit not in inode.current for unit in units):
                disk.on_fault("a write without room")
                raise DiskFullError(f"No room on {disk.name}.", "Free space on that disk.")
        disk.order += 1
        put(inode.current, offset_bytes, content)
        inode.pending.append((disk.order, offset_bytes, content, length))

    def punch(self, offset_bytes: int, length_bytes: int) -> None:
        """See `storage.base.File`; whole units only, which is what a volume asks for."""
        self._enter("punch")
        self._disk.order += 1
        clear(self._inode.current, offset_bytes, length_bytes)
        self._inode.pending.append((self._disk.order, offset_bytes, None, length_bytes))

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """See `storage.base.File`."""
        self.punch(offset_bytes, length_bytes)

    def sync(self) -> None:
        """See `storage.base.File`. Covers what was written before the sync began, no more."""
        inode, disk = self._inode, self._disk
        disk.early_s = 0.0  # what the lane waited for is over with it
        try:
            self._enter("sync")
        except DiskError:
            if not inode.failed:
                inode.fail()
            raise
        limit = disk.sync_limit
        if limit is None or not inode.pending or inode.pending[-1][0] <= limit:
            settle_all(inode)
            return
        inode.version += 1
        for write in inode.pending:
            if write[0] <= limit:
                _keep(inode.durable, write)
        inode.pending = [write for write in inode.pending if write[0] > limit]

    def next_data(self, offset_bytes: int) -> tuple[int, int] | None:
        """See `storage.base.File`."""
        self._enter("read")
        current = self._inode.current
        unit = offset_bytes // UNIT_BYTES
        first = min((each for each in current if each >= unit), default=None)
        if first is None:
            return None
        last = first
        while last in current:
            last += 1
        start = max(first * UNIT_BYTES, offset_bytes)
        return start, min(last * UNIT_BYTES, self._inode.size_bytes) - start

    def size(self) -> int:
        """See `storage.base.File`."""
        return self._inode.size_bytes

    def allocated(self) -> int:
        """See `storage.base.File`."""
        return len(self._inode.current) * UNIT_BYTES

    def close(self) -> None:
        """See `storage.base.File`."""


def settle_all(inode: Inode) -> None:
    """Everything that was written is durable."""
    if inode.pending:
        inode.version += 1
    for _, offset, data, length in inode.pending:
        first, last = offset // UNIT_BYTES, (offset + length - 1) // UNIT_BYTES
        if data is None:
            clear(inode.durable, offset, length)
            continue
        for unit in range(first, last + 1):
            content = inode.current.get(unit)
            if content is None:
                inode.durable.pop(unit, None)
            else:
                inode.durable[unit] = content
    if any(write[2] is None for write in inode.pending):
        inode.durable = dict(inode.current)
    inode.pending = []


class SimDirectory:
    """One process's handle on a directory (implements `storage.base.Directory`)."""

    def __init__(self, disk: SimDisk, place: str) -> None:
        self._disk = disk
        self._place = place

    @property
    def name(self) -> str:
        """See `storage.base.Directory`."""
        return f"/{self._disk.name}/{self._place}"

    def open(self, name: str) -> File:
        """See `storage.base.Directory`."""
        self._disk.hook("open", name)
        inode = self._disk.files.get((self._place, name))
        if inode is None:
            raise FileNotFoundError(name)
        return SimFile(self._disk, inode, name)

    def create(self, name: str, size_bytes: int, *, sparse: bool) -> File:
        """See `storage.base.Directory`."""
        self._disk.hook("create", name)
        if (self._place, name) in self._disk.files:
            raise FileExistsError(name)
        inode = self._disk.files[self._place, name] = Inode(size_bytes)
        return SimFile(self._disk, inode, name)

    def exists(self, name: str) -> bool:
        """See `storage.base.Directory`."""
        return (self._place, name) in self._disk.files

    def remove(self, name: str) -> None:
        """See `storage.base.Directory`."""
        self._disk.hook("remove", name)
        if self._disk.files.pop((self._place, name), None) is None:
            raise FileNotFoundError(name)

    def lock(self) -> None:
        """See `storage.base.Directory`."""
        if self._disk.locks.setdefault(self._place, self) is not self:
            raise VolumeLockedError(f"The volume in {self.name} is in use.", "Stop the module there first.")

    def free(self) -> tuple[int, int]:
        """See `storage.base.Directory`."""
        return self._disk.total_bytes // 2, self._disk.total_bytes

    def close(self) -> None:
        """See `storage.base.Directory`."""
        if self._disk.locks.get(self._place) is self:
            del self._disk.locks[self._place]
