"""What the writer told, and whether a folder holds all of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.waiting import wait_until

from . import journal

READ_PIECE_BYTES = 1 << 20


@dataclass
class Run:
    """One life of the writer.

    Args:
        node: where it ran.
        name: its random name.
        found: last whole record in the journal at its start.
        behind: bytes behind that record at its start.
        acknowledged: number -> slot, all that it told.
        error: the words of its failure; empty when it was killed or still runs.
        given_up: a person gave its changes up (the losing side of a split brain).
    """

    node: str
    name: str
    found: int
    behind: int
    acknowledged: dict[int, int] = field(default_factory=dict)
    error: str = ""
    given_up: bool = False


class Reports:
    """The report file, read piece by piece. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._offset = 0
        self._rest = b""
        self._runs: dict[str, Run] = {}

    def read(self) -> list[Run]:
        """All runs so far, in the order of their starts."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode("ascii").split())
        return list(self._runs.values())

    def _take(self, words: list[str]) -> None:
        kind = words[0]
        if kind == "start":
            self._runs[words[2]] = Run(words[1], words[2], int(words[3]), int(words[4]))
        elif kind == "ack":
            self._runs[words[3]].acknowledged[int(words[1])] = int(words[2])
        elif words[1] in self._runs:
            self._runs[words[1]].error = " ".join(words[2:-1])

    def last(self) -> int:
        """The highest number told of, 0 for none."""
        return max((max(run.acknowledged, default=0) for run in self.read()), default=0)

    def newest(self, node: str | None = None) -> Run | None:
        """The run that started last, on a node or on any."""
        runs = [run for run in self.read() if node in (None, run.node)]
        return runs[-1] if runs else None

    def wait_progress(self, count: int, timeout_s: float, node: str | None = None) -> str:
        """Wait until the newest run (on a node or on any) has told of `count` more numbers; its node.

        Raises:
            LabError: not within `timeout_s` seconds.
        """
        start: dict[str, int] = {run.name: len(run.acknowledged) for run in self.read()}

        def progressed() -> bool:
            run = self.newest(node)
            return run is not None and len(run.acknowledged) >= start.get(run.name, 0) + count

        where = f" on node {node}" if node else ""
        wait_until(f"the writer to tell of {count} more records{where}", progressed, timeout_s)
        run = self.newest(node)
        return run.node if run is not None else ""

    def give_up(self, node: str, after: int) -> None:
        """The runs of this node that told of numbers above `after` lost a split brain."""
        for run in self.read():
            if run.node == node and max(run.acknowledged, default=0) > after:
                run.given_up = True

    # -- judgement -----------------------------------------------------------------------------

    def broken_order(self) -> list[str]:
        """What no single history could have told, in sentences.

        A run begins behind all that any earlier one told of, now or later: a record that is told after that
        was acknowledged by a node that had been replaced, or was lost.
        """
        found = []
        runs = [run for run in self.read() if not run.given_up]
        for index, run in enumerate(runs):
            for earlier in runs[:index]:
                highest = max(earlier.acknowledged, default=0)
                if highest > run.found:
                    found.append(
                        f"run {run.name} on node {run.node} found records up to {run.found}, "
                        f"but run {earlier.name} on node {earlier.node} told of {highest}"
                    )
        return found


def read_fresh(path: Path) -> bytes:
    """A file's content as the volume holds it, not as the page cache does."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()


def missing(runs: list[Run], journal_data: bytes, table_data: bytes) -> list[str]:
    """Which acknowledged writes a folder lacks, in sentences.

    A slot may hold the write of a number that was not told of: one that was under way.
    """
    acknowledged: dict[int, tuple[str, int]] = {}
    newest: dict[int, int] = {}
    for run in runs:
        if not run.given_up:
            for number, slot in run.acknowledged.items():
                acknowledged[number] = (run.name, slot)
                newest[slot] = max(number, newest.get(slot, 0))
    records = journal.read_journal(journal_data)
    found = []
    for number, (name, slot) in sorted(acknowledged.items()):
        if number > len(records):
            found.append(f"record {number} of run {name} is missing: the journal ends at {len(records)}")
            break
        record = records[number - 1]
        if record.run.hex() != name or record.slot != slot:
            found.append(f"record {number} is of run {record.run.hex()}, but run {name} told of it")
    return found + _bad_slots(newest, records, table_data)


def _bad_slots(newest: dict[int, int], records: list[journal.Record], table_data: bytes) -> list[str]:
    found = []
    for slot, number in newest.items():
        data = table_data[slot * journal.SLOT_BYTES : (slot + 1) * journal.SLOT_BYTES]
        held = journal.read_slot(data)
        if held is None or held.slot != slot:
            found.append(f"slot {slot} is damaged; number {number} was written there")
        elif held.number < number:
            found.append(f"slot {slot} holds number {held.number}, but {number} was written there")
        elif held.number <= len(records):
            record = records[held.number - 1]
            if record.run == held.run and (record.slot, record.slot_crc) != (slot, held.crc):
                found.append(f"slot {slot} differs from what record {held.number} says")
    return found


def first_difference(one: Path, other: Path) -> int | None:
    """Offset of the first piece in which two sparse files differ, or None when they are equal."""
    with one.open("rb") as left, other.open("rb") as right:
        size = os.fstat(left.fileno()).st_size
        if size != os.fstat(right.fileno()).st_size:
            return min(size, os.fstat(right.fileno()).st_size)
        pieces = sorted({*_pieces_with_data(left.fileno(), size), *_pieces_with_data(right.fileno(), size)})
        for piece in pieces:
            offset = piece * READ_PIECE_BYTES
            if os.pread(left.fileno(), READ_PIECE_BYTES, offset) != os.pread(
                right.fileno(), READ_PIECE_BYTES, offset
            ):
                return offset
    return None


def _pieces_with_data(descriptor: int, size: int) -> set[int]:
    pieces: set[int] = set()
    offset = 0
    while offset < size:
        try:
            begin = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError:
            break
        offset = os.lseek(descriptor, begin, os.SEEK_HOLE)
        pieces.update(range(begin // READ_PIECE_BYTES, (offset - 1) // READ_PIECE_BYTES + 1))
    return pieces
