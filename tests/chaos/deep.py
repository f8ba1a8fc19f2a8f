"""The second writer: several writes under way at once, told of only when a flush that began after them has ended.

Imports nothing of ours: nodes run it, too. A run continues the numbers behind all that it finds, so within one history
the number in a slot only ever grows. Lines of its reports:

    look RUN NODE SLOT:NUMBER ... .    what the run found when it began
    flushed RUN SLOT:NUMBER ... .      writes that were acknowledged before a flush that was acknowledged
    laid RUN .                         fio's file was written whole once, and flushed
    fio RUN WORDS .                    fio found something that it had not written
"""

from __future__ import annotations

import os
import random
import struct
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path

SLOT_BYTES = 4096
SLOTS = 512
DEPTHS = (1, 4, 16)
_HEAD = struct.Struct("<8sQ8sI")
_CRC = struct.Struct("<I")
_MAGIC = b"TWHLDEP1"


def make_slot(number: int, run: bytes, slot: int) -> bytes:
    """The bytes of a slot."""
    head = _HEAD.pack(_MAGIC, number, run, slot)
    body = head + random.Random(head).randbytes(SLOT_BYTES - len(head) - _CRC.size)
    return body + _CRC.pack(zlib.crc32(body))


def read_slot(data: bytes, slot: int) -> int | None:
    """The number in a slot: 0 while it was never written, None when it is damaged or another slot's."""
    if not any(data):
        return 0
    if len(data) != SLOT_BYTES or zlib.crc32(data[: -_CRC.size]) != _CRC.unpack(data[-_CRC.size :])[0]:
        return None
    magic, number, _, place = _HEAD.unpack_from(data)
    return int(number) if magic == _MAGIC and place == slot else None


def read_all(data: bytes) -> dict[int, int | None]:
    """What every slot holds."""
    data = data.ljust(SLOTS * SLOT_BYTES, b"\0")
    return {slot: read_slot(data[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES], slot) for slot in range(SLOTS)}


class DeepWriter:
    """One run.

    Args:
        folder: where the file `deep` lies.
        reports: descriptor of the reports, open for appending.
        node: where it runs.
    """

    def __init__(self, folder: Path, reports: int, node: str) -> None:
        self.run_name = os.urandom(8)
        self._reports = reports
        self._file = os.open(folder / "deep", os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
        if os.fstat(self._file).st_size < SLOTS * SLOT_BYTES:
            os.posix_fallocate(self._file, 0, SLOTS * SLOT_BYTES)
        self._pages = [mmap(-1, SLOT_BYTES) for _ in range(max(DEPTHS))]
        found = self._found()
        self._last = max((number or 0 for number in found.values()), default=0)
        shown = (f"{slot}:{-1 if number is None else number}" for slot, number in found.items())
        self.tell("look", self.run_name.hex(), node, *shown)

    def tell(self, *words: object) -> None:
        """One whole line, in one call."""
        os.write(self._reports, (" ".join(str(word) for word in (*words, ".")) + "\n").encode("ascii"))

    def batches(self, pool: ThreadPoolExecutor) -> Iterable[int]:
        """Write for ever, one batch of some depth after the other; the depth of each that was flushed."""
        while True:
            depth = random.choice(DEPTHS)
            slots = random.sample(range(SLOTS), depth)
            numbers = {slot: self._last + place for place, slot in enumerate(slots, 1)}
            self._last += depth
            list(pool.map(self._write, self._pages, slots, numbers.values()))
            os.fdatasync(self._file)
            self.tell("flushed", self.run_name.hex(), *(f"{slot}:{n}" for slot, n in numbers.items()))
            yield depth

    def _write(self, page: mmap, slot: int, number: int) -> None:
        page[:] = make_slot(number, self.run_name, slot)
        if os.pwrite(self._file, page, slot * SLOT_BYTES) != SLOT_BYTES:
            raise OSError("a slot was written only in part")

    def _found(self) -> dict[int, int | None]:
        page = mmap(-1, SLOTS * SLOT_BYTES)
        count = os.preadv(self._file, [page], 0)
        return read_all(page[:count])


@dataclass
class DeepRun:
    """One run as it was told.

    Args:
        node: where it ran.
        look: what it found.
        floor: slot -> the highest number that was flushed by it.
        counted: how many writes it told of.
    """

    node: str
    look: dict[int, int]
    floor: dict[int, int] = field(default_factory=dict)
    counted: int = 0


class DeepReports:
    """The report file, read piece by piece. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._offset = 0
        self.runs: dict[str, DeepRun] = {}
        self.laid = False
        self.complaints: list[str] = []

    def read(self) -> dict[str, DeepRun]:
        """All runs so far, in the order of their starts."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode("ascii").splitlines():
            self._take(line.split()[:-1])
        return self.runs

    def _take(self, words: list[str]) -> None:
        kind, run, *rest = words
        if kind == "look":
            self.runs[run] = DeepRun(rest[0], _pairs(rest[1:]))
        elif kind == "flushed" and run in self.runs:
            told = _pairs(rest)
            known = self.runs[run]
            known.counted += len(told)
            for slot, number in told.items():
                known.floor[slot] = max(number, known.floor.get(slot, 0))
        elif kind == "laid":
            self.laid = True
        elif kind == "fio":
            self.complaints.append(f"run {run}: fio says {' '.join(rest)}")

    def lost(self, content: bytes) -> list[str]:
        """What was flushed and is not there, or was not found by a later run, in sentences.

        Args:
            content: of the file `deep`, now.
        """
        now = {slot: -1 if number is None else number for slot, number in read_all(content).items()}
        looks = [(name, run.look) for name, run in self.read().items()] + [("now", now)]
        found = []
        for index, (name, run) in enumerate(self.runs.items()):
            for later, look in looks[index + 1 :]:
                found += [
                    f"slot {slot}: run {name} on node {run.node} flushed number {number}, "
                    f"but {later} holds {look.get(slot, 0)}"
                    for slot, number in run.floor.items()
                    if look.get(slot, 0) < number
                ]
        damaged = [f"slot {slot} is damaged" for slot, number in now.items() if number < 0]
        return damaged + found


def _pairs(words: Iterable[str]) -> dict[int, int]:
    return {int(slot): int(number) for slot, _, number in (word.partition(":") for word in words)}
