"""What the guest told of its records, and whether a disk image holds them."""

from __future__ import annotations

import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .commands import LabError, run
from .guest import SLOTS
from .waiting import wait_until

RECORD_BYTES = 4096
MAGIC = b"TWHLREC1"
CHECK_TIMEOUT_S = 300.0
WORDS_IN_LINE = 3


@dataclass(frozen=True)
class Boot:
    """A start of the guest's program: the last whole record that it found, damaged ones, and the last told of before."""

    last: int
    damaged: int
    told: int

    @property
    def whole(self) -> bool:
        """Whether it found all that had been told of."""
        return self.last >= self.told and self.damaged == 0


@dataclass(frozen=True)
class Reports:
    """All that the guest told so far.

    Args:
        acknowledged: numbers of the records whose fsync had returned.
        boots: starts of its program, in order.
        failures: words of failures, in order.
    """

    acknowledged: frozenset[int]
    boots: tuple[Boot, ...]
    failures: tuple[str, ...]

    @property
    def last(self) -> int:
        """The highest record told of; 0 when there is none."""
        return max(self.acknowledged, default=0)


def parse(text: str) -> Reports:
    """Read the report file's text; a line cut by a power loss is not a report."""
    acknowledged: set[int] = set()
    boots: list[Boot] = []
    failures: list[str] = []
    for line in text.splitlines():
        words = line.removesuffix(".").split()
        whole = line.endswith(".") and len(words) == WORDS_IN_LINE
        if not whole or not (words[1].isdigit() and words[2].isdigit()):
            continue
        if words[0] == "ack":
            acknowledged.add(int(words[1]))
        elif words[0] == "boot":
            boots.append(Boot(int(words[1]), int(words[2]), max(acknowledged, default=0)))
        elif words[0] != "found":
            failures.append(f"{words[0]} {words[1]}")
    return Reports(frozenset(acknowledged), tuple(boots), tuple(failures))


class ReportFile:
    """The host file that the guest reports into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def read(self) -> Reports:
        """What was told so far."""
        return parse(self.path.read_text(encoding="ascii", errors="replace"))

    def wait(self, what: str, enough: Callable[[Reports], bool], timeout_s: float) -> Reports:
        """Wait until the reports satisfy `enough`.

        Raises:
            LabError: not within `timeout_s` seconds; says `what` was waited for and what was told.
        """
        try:
            wait_until(what, lambda: enough(self.read()), timeout_s)
        except LabError as error:
            now = self.read()
            told = f"{now.last} records, {len(now.boots)} boots, failures {now.failures}"
            raise LabError(f"{error}; the guest told of {told}") from error
        return self.read()


def is_whole(piece: bytes, number: int) -> bool:
    """Whether the bytes are the record of a number, as guest_files/recorder.c makes it."""
    head = MAGIC + struct.pack("<Q", number)
    total = struct.pack("<Q", zlib.crc32(piece[: RECORD_BYTES - 8]))
    return len(piece) == RECORD_BYTES and piece.startswith(head) and piece.endswith(total)


def missing(records: bytes, acknowledged: Iterable[int], slots: int = SLOTS) -> list[int]:
    """Which acknowledged records are not in the records file, or not byte for byte what was written.

    Args:
        records: content of the guest's records file.
        acknowledged: numbers told outside.
        slots: size of the ring; numbers that a later acknowledged one must have overwritten are left out,
            and a slot may hold a later record whose report was lost with the power.
    """
    told = set(acknowledged)
    newest: dict[int, int] = {}
    for number in told:
        slot = (number - 1) % slots
        newest[slot] = max(number, newest.get(slot, 0))
    lost = []
    for slot, number in newest.items():
        piece = records[slot * RECORD_BYTES : (slot + 1) * RECORD_BYTES]
        found = struct.unpack("<Q", piece[8:16])[0] if len(piece) == RECORD_BYTES else 0
        later = found > number and (found - 1) % slots == slot
        if (found != number and not later) or not is_whole(piece, found):
            lost.append(number)
    return sorted(lost)


def extract(disk_image: Path) -> bytes:
    """The records file out of a guest's disk image, read from outside as after a power loss.

    Works on a copy: the journal of the copy is replayed (e2fsck), then the file is read (debugfs).

    Raises:
        LabError: the image cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="twinhull-records-", dir="/var/tmp") as directory:
        copy, output = Path(directory) / "disk.img", Path(directory) / "records"
        run(["cp", "--sparse=always", disk_image, copy], timeout_s=CHECK_TIMEOUT_S)
        if shutil.which("e2fsck") is None or shutil.which("debugfs") is None:
            raise LabError("e2fsck and debugfs (package e2fsprogs) are missing")
        run(["e2fsck", "-f", "-p", copy], check=False, timeout_s=CHECK_TIMEOUT_S)
        told = run(["debugfs", "-R", f"dump /records {output}", copy], timeout_s=CHECK_TIMEOUT_S)
        if not output.exists():
            raise LabError(f"{disk_image} holds no records file\n{told.stderr}")
        return output.read_bytes()
