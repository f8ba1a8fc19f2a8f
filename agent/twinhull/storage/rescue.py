"""The rescue store: what is about to be overwritten is kept beside the volume first (promise 7).

One file for each rescue, `NN.rescue` in `DATA_DIR/rescue/MODULE`, written only at its end: batches of old blocks, each
durable before any of its blocks is overwritten. A batch that was torn counts as not there: its blocks were not
overwritten. The slots at the begin say what the file is, in place, so that a full disk cannot keep a node from saying that
a rescue was given up.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import datetime as dt
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..core.marks import BLOCK_BYTES, PagedBitmap
from ..errors import DiskFullError, StorageError, VolumeFormatError
from .base import Directory, File
from .rescue_format import (
    COPYING,
    DATA_BEGIN_BYTES,
    HEADER_BYTES,
    MAX_BATCH_BYTES,
    MAX_ENTRIES,
    SLOT_BYTES,
    About,
    Batch,
    Entry,
    Kind,
    Piece,
    Stage,
    content_digest,
    decode_header,
    decode_slot,
    encode_batch,
    encode_slot,
)

MAX_RESCUES = 64
MAX_WHY_CHARS = 300
DEFAULT_SHARE_PERCENT = 20
DEFAULT_EXPIRE_S = 30 * 86_400.0
RESERVE_BYTES = 1 << 30
RESERVE_SHARE = 20
"""A rescue never takes the last 1 GiB of a disk, or the last twentieth of a smaller one: the volume needs it."""


class RescueFullError(StorageError):
    """The bound of the rescue store is reached; nothing was overwritten."""


class Limits(NamedTuple):
    """How much may be kept.

    Args:
        share_percent: of the disk, by all rescues of a module together.
        expire_s: age in seconds of running time from which a rescue that nothing waits for is removed.
    """

    share_percent: int = DEFAULT_SHARE_PERCENT
    expire_s: float = DEFAULT_EXPIRE_S


class Rescue:
    """One rescue file. One thread writes it; another process may read it meanwhile.

    Args:
        file: open.
        name: for messages.

    Raises VolumeFormatError: it is none of ours, or of a newer version.
    """

    def __init__(self, file: File, name: str) -> None:
        self._file = file
        self._name = name
        self._sequence = 0
        self.about = self._read_about()
        self._is_sure = False
        self._key = bytes.fromhex(self.about.key)
        self._blocks = self.about.volume_bytes // BLOCK_BYTES
        self._begin()

    def _begin(self) -> None:
        self.kept = PagedBitmap(self._blocks)
        self._entries: list[Entry] = []
        self._last_begin_bytes = self._end_bytes = DATA_BEGIN_BYTES
        self._number = 1

    @property
    def used_bytes(self) -> int:
        """What it takes of the disk, about."""
        return self._end_bytes

    @property
    def allocated_bytes(self) -> int:
        """What it really takes of the disk."""
        return self._file.allocated()

    @property
    def kept_bytes(self) -> int:
        """How much of the volume it holds, holes included."""
        return len(self.kept) * BLOCK_BYTES

    # ---- what it is -------------------------------------------------------------------------------------

    def _read_about(self) -> About:
        if self._file.size() < DATA_BEGIN_BYTES:
            raise VolumeFormatError(f"{self._name} is too short for a rescue.", "Remove it.")
        slots = [decode_slot(self._file.read(at, SLOT_BYTES)) for at in (0, SLOT_BYTES)]
        whole = [slot for slot in slots if slot is not None]
        if not whole:
            raise VolumeFormatError(
                f"{self._name} is no rescue, is damaged, or was made by a newer version.",
                "Nothing was changed. Install that version, or remove the file.",
            )
        self._sequence, about = max(whole, key=lambda slot: slot[0])
        return about

    def look_again(self) -> None:
        """Read what another process wrote since: the description, and batches at the end."""
        before = self.about.stage
        self.about = self._read_about()
        if self.about.stage is not before and self.about.stage in (Stage.GIVEN_UP, Stage.NOTHING):
            self._begin()
        self.scan()

    def describe(self, **changes: object) -> None:
        """Durably change the description. Raises DiskError."""
        about = dataclasses.replace(self.about, **changes)  # type: ignore[arg-type]
        sequence = self._sequence + 1
        self._file.write(sequence % 2 * SLOT_BYTES, encode_slot(about, sequence))
        self._file.sync()
        self._sequence, self.about = sequence, about

    def give_up(self, note: str) -> None:
        """The whole of it is dropped, durably said first. Raises DiskError."""
        self.describe(stage=Stage.GIVEN_UP, note=note[:MAX_WHY_CHARS])
        self._file.punch(DATA_BEGIN_BYTES, self._file.size() - DATA_BEGIN_BYTES)
        self._begin()

    # ---- batches ------------------------------------------------------------------------------------------

    def scan(self) -> None:
        """Take in whole batches behind those that are known; a torn one ends it."""
        last: Batch | None = None
        begin_bytes, number = self._end_bytes, self._number
        found: list[Batch] = []
        size_bytes = self._file.size()
        while begin_bytes + HEADER_BYTES <= size_bytes:
            head = self._file.read(begin_bytes, HEADER_BYTES)
            last = decode_header(head, self._key, number, begin_bytes, self._blocks)
            if last is None:
                break
            found.append(last)
            begin_bytes, number = last.end_bytes, number + 1
        if found and not self._is_whole(found[-1]):
            found.pop()
        for batch in found:
            self._took(batch)

    def _is_whole(self, batch: Batch) -> bool:
        """Only the last batch can be torn: each was durable before the next was begun."""
        return all(
            entry.data_bytes < 0
            or content_digest(self._file.read(entry.data_bytes, entry.blocks * BLOCK_BYTES)) == entry.digest
            for entry in batch.entries
        )

    def _took(self, batch: Batch) -> None:
        for entry in batch.entries:
            self.kept.set_range(entry.first, entry.blocks)
            bisect.insort(self._entries, entry)
        self._last_begin_bytes, self._end_bytes = self._end_bytes, batch.end_bytes
        self._number += 1

    def make_sure(self) -> None:
        """Have durable what was found in the file: a process that was killed may have written it and not synced it.

        Before a copy goes on with a rescue of an earlier process; else what is kept by its word alone would be
        overwritten. Only description and last batch can be in doubt. They are written once more, because a sync that
        follows one that failed may succeed though nothing reached the disk. Raises DiskError.
        """
        if self._is_sure:
            return
        last = self._file.read(self._last_begin_bytes, self._end_bytes - self._last_begin_bytes)
        if last:
            self._file.write(self._last_begin_bytes, last)
        self._file.write(self._sequence % 2 * SLOT_BYTES, encode_slot(self.about, self._sequence))
        self._file.sync()
        self._is_sure = True

    def keep(self, pieces: Iterable[Piece]) -> None:
        """Have the pieces durable; their blocks may be overwritten then. Raises DiskError (DiskFullError)."""
        waiting: list[Piece] = []
        size_bytes = 0
        for piece in pieces:
            length = 0 if piece.data is None else len(piece.data)
            if waiting and (len(waiting) == MAX_ENTRIES or size_bytes + length > MAX_BATCH_BYTES):
                self._append(waiting)
                waiting, size_bytes = [], 0
            waiting.append(piece)
            size_bytes += length
        if waiting:
            self._append(waiting)

    def _append(self, pieces: list[Piece]) -> None:
        content, batch = encode_batch(pieces, self._key, self._number, self._end_bytes)
        self._file.write(self._end_bytes, content)
        self._file.sync()
        self._took(batch)

    # ---- reading --------------------------------------------------------------------------------------------

    def entry_of(self, block: int) -> Entry | None:
        """What holds this block; None when it is not kept."""
        if block not in self.kept:
            return None
        index = bisect.bisect_right(self._entries, block, key=lambda entry: entry.first) - 1
        entry = self._entries[index]
        return entry if entry.first <= block < entry.first + entry.blocks else None

    def content(self, entry: Entry) -> bytes | None:
        """Old content of an entry; None: a hole. StorageError: the disk has damaged it."""
        if entry.data_bytes < 0:
            return None
        data = self._file.read(entry.data_bytes, entry.blocks * BLOCK_BYTES)
        if content_digest(data) != entry.digest:
            raise StorageError(
                f"The rescue {self._name} is damaged: blocks {entry.first} to {entry.first + entry.blocks - 1} "
                "are not what was kept.",
                "Check that disk; everything else in it can still be read.",
            )
        return data

    def entries(self) -> Iterator[Entry]:
        """All entries, by block."""
        yield from tuple(self._entries)

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()


class Store:
    """All rescues of one module on one node. One thread uses it.

    Args:
        directory: where they lie; closed with the store.
        module, node: whose they are.
        volume_bytes: size of the volume.
        replica: id of the replica, hexadecimal digits; only rescues of this one are gone on with.
        limits: how much may be kept.
        now: seconds since 1970.
        new_key: 16 random bytes.
    """

    def __init__(
        self,
        directory: Directory,
        module: str,
        node: str,
        volume_bytes: int,
        limits: Limits | None = None,
        *,
        replica: str = "",
        now: Callable[[], float] = time.time,
        new_key: Callable[[], bytes] = lambda: secrets.token_bytes(16),
    ) -> None:
        self._directory = directory
        self._module = module
        self._node = node
        self._volume_bytes = volume_bytes
        self._limits = limits or Limits()
        self._replica = replica
        self._now = now
        self._new_key = new_key

    # ---- which there are --------------------------------------------------------------------------------

    def numbers(self) -> list[int]:
        """Numbers of the rescues, ascending."""
        exists = self._directory.exists
        return [number for number, name in enumerate(_FILE_NAMES[1:], 1) if exists(name)]

    def open(self, number: int, *, scan: bool = True) -> Rescue:
        """A rescue. FileNotFoundError; VolumeFormatError for what is none."""
        name = _file_name(number)
        file = self._directory.open(name)
        try:
            rescue = Rescue(file, f"{self._directory.name}/{name}")
            if scan:
                rescue.scan()
        except BaseException:
            file.close()
            raise
        return rescue

    def holds(self, number: int, rescue: Rescue) -> bool:
        """Whether a rescue that is open still lies here under its number. Others may have removed it."""
        try:
            found = self.open(number, scan=False)
        except (FileNotFoundError, VolumeFormatError):
            return False
        found.close()
        return found.about.key == rescue.about.key

    def current(self) -> tuple[int, Rescue] | None:
        """The rescue of a copy that is not complete, or else one that still follows; None when there is none."""
        following: tuple[int, About] | None = None
        for number, about in self._abouts():
            if about.replica != self._replica:
                continue
            if about.stage in COPYING:
                return number, self.open(number)
            if about.stage is Stage.FOLLOWING:
                following = (number, about)
        return None if following is None else (following[0], self.open(following[0]))

    def _abouts(self) -> Iterator[tuple[int, About]]:
        for number in self.numbers():
            with contextlib.suppress(VolumeFormatError):
                rescue = self.open(number, scan=False)
                about = rescue.about
                rescue.close()
                yield number, about

    # ---- making and removing ------------------------------------------------------------------------------

    def begin(self, kind: Kind, why: str, generation: str, *, given_up: str = "") -> tuple[int, Rescue]:
        """A new rescue, durable. Raises RescueFullError, DiskError.

        Args:
            given_up: why it holds nothing from its begin on: the copy goes on without it.
        """
        self.expire()
        taken = self.numbers()
        number = max(taken, default=0) + 1
        if number > MAX_RESCUES:
            free = sorted(set(range(1, MAX_RESCUES + 1)) - set(taken))
            if not free:
                raise RescueFullError(
                    f"{self._directory.name} holds {MAX_RESCUES} rescues already.",
                    f"Drop what is not needed: twinhull rescue list {self._module}",
                )
            number = free[0]
        if not given_up:
            self.make_room(SLOT_BYTES * 4)
        about = About(
            key=self._new_key().hex(),
            kind=kind,
            stage=Stage.GIVEN_UP if given_up else Stage.BLOCKS if kind is Kind.VERIFY else Stage.OPEN,
            note=given_up[:MAX_WHY_CHARS],
            module=self._module,
            node=self._node,
            why=why[:MAX_WHY_CHARS],
            generation=generation,
            volume_bytes=self._volume_bytes,
            began=self._time(),
            began_s=self._now(),
            replica=self._replica,
        )
        # Holes cost nothing: every block with a header of its own, and it still fits.
        size_bytes = DATA_BEGIN_BYTES + (self._volume_bytes // BLOCK_BYTES + 1) * (BLOCK_BYTES + HEADER_BYTES)
        file = self._directory.create(_file_name(number), size_bytes, sparse=True)
        file.write(0, encode_slot(about, 2) + encode_slot(about, 1))
        file.sync()
        return number, Rescue(file, f"{self._directory.name}/{_file_name(number)}")

    def end(self, rescue: Rescue, stage: Stage, note: str = "") -> None:
        """Durably say that a rescue is in another stage now. Raises DiskError."""
        rescue.describe(
            stage=stage,
            note=note[:MAX_WHY_CHARS],
            ended=rescue.about.ended or self._time(),
            copied_end_bytes=rescue.about.copied_end_bytes or rescue.used_bytes,
        )

    def drop(self, number: int) -> None:
        """Remove a rescue. FileNotFoundError; StorageError while a copy still needs it."""
        with contextlib.suppress(VolumeFormatError):
            rescue = self.open(number, scan=False)
            rescue.close()
            if rescue.about.stage in COPYING:
                raise StorageError(
                    f"Rescue {number} of {self._module} on {self._node} belongs to a copy that is not complete.",
                    "Nothing was removed. Let the copy come to its end, or roll back.",
                )
        self._directory.remove(_file_name(number))

    def remove(self, number: int) -> None:
        """Remove a rescue whose copy is complete, whatever it says of itself. FileNotFoundError."""
        self._directory.remove(_file_name(number))

    def expire(self, passed_s: float = 0.0) -> list[int]:
        """Remove rescues that have reached the configured age and that nothing waits for. Their numbers.

        Args:
            passed_s: how much older they are than at the last call, seconds.
        """
        gone = []
        for number in self.numbers():
            with contextlib.suppress(VolumeFormatError):
                rescue = self.open(number, scan=False)
                try:
                    if self._ages(rescue, passed_s):
                        gone.append(number)
                finally:
                    rescue.close()
        for number in gone:
            self._directory.remove(_file_name(number))
        return gone

    def _ages(self, rescue: Rescue, passed_s: float) -> bool:
        """Whether it is too old now; else it durably is so much older."""
        about = rescue.about
        if about.stage in COPYING or (about.stage is Stage.FOLLOWING and about.replica == self._replica):
            return False
        lain_s = about.lain_s + passed_s
        if lain_s >= self._limits.expire_s:
            return True
        if passed_s:
            rescue.describe(lain_s=lain_s)
        return False

    # ---- room -----------------------------------------------------------------------------------------------

    def used_bytes(self) -> int:
        """What all of them take of the disk."""
        total = 0
        for number in self.numbers():
            file = self._directory.open(_file_name(number))
            total += file.allocated()
            file.close()
        return total

    def check_room(self, more_bytes: int, used_bytes: int | None = None) -> None:
        """Raises RescueFullError when so much more may not be kept."""
        free_bytes, total_bytes = self._directory.free()
        limit_bytes = total_bytes * self._limits.share_percent // 100
        used = self.used_bytes() if used_bytes is None else used_bytes
        if used + more_bytes > limit_bytes:
            raise RescueFullError(
                f"The rescue store of {self._module} on {self._node} holds {used >> 20} MiB, and "
                f"{self._limits.share_percent} % of its disk ({limit_bytes >> 20} MiB) is the most.",
                f"Drop rescues that are not needed (twinhull rescue list {self._module}), or raise rescue.share.",
            )
        if free_bytes - more_bytes < min(RESERVE_BYTES, total_bytes // RESERVE_SHARE):
            raise RescueFullError(
                f"The disk of {self._node} has only {free_bytes >> 20} MiB left, too little for the rescue of "
                f"{self._module}.",
                "Make room on it.",
            )

    def make_room(self, more_bytes: int) -> None:
        """The same, after removing rescues that nobody will miss, the oldest first. Never one of a split brain."""
        for number, about in sorted(self._abouts(), key=lambda item: item[1].began_s):
            try:
                self.check_room(more_bytes)
            except RescueFullError:
                if about.stage not in COPYING and about.kind is not Kind.SPLIT:
                    self._directory.remove(_file_name(number))
        self.check_room(more_bytes)

    def ready(self) -> str:
        """Why a rescue cannot be begun now; empty when it can."""
        try:
            self.check_room(SLOT_BYTES * 4)
        except (RescueFullError, DiskFullError) as error:
            return error.what
        return ""

    def close(self) -> None:
        """Close the directory. Idempotent."""
        self._directory.close()

    def _time(self) -> str:
        return dt.datetime.fromtimestamp(self._now()).astimezone().isoformat(timespec="seconds")


_FILE_NAMES = tuple(f"{number:02}.rescue" for number in range(MAX_RESCUES + 1))


def _file_name(number: int) -> str:
    return _FILE_NAMES[number]
