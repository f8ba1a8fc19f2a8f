"""The application of the stories: writes numbered, checksummed records into a mirrored folder and tells of each.

`python3 recorder.py RECORDS REPORTS`; runs on the hosts, with nothing but the standard library. Records and reports are
as the lab's guest makes them (tests/lab/records.py reads them); the last number of a report is a time in milliseconds,
the same clock on all hosts of a fleet.
"""

from __future__ import annotations

import os
import struct
import sys
import time
import zlib
from pathlib import Path

RECORD_BYTES = 4096
MAGIC = b"TWHLREC1"
SLOTS = 16_384
PAUSE_S = 0.02


def make(number: int) -> bytes:
    """The record of a number."""
    head = MAGIC + struct.pack("<Q", number)
    body = (head * (RECORD_BYTES // len(head)))[: RECORD_BYTES - 8]
    return body + struct.pack("<Q", zlib.crc32(body))


def find_last(content: bytes) -> tuple[int, int]:
    """The highest number of a whole record, and how many slots hold a damaged one."""
    last = damaged = 0
    for at in range(0, len(content), RECORD_BYTES):
        piece = content[at : at + RECORD_BYTES]
        if not any(piece):
            continue
        number = struct.unpack("<Q", piece[8:16])[0] if len(piece) == RECORD_BYTES else 0
        if piece == make(number):
            last = max(last, number)
        else:
            damaged += 1
    return last, damaged


def main() -> None:
    """Write for ever; a failing write ends the program, as it ends an application."""
    records = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
    reports = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def tell(word: str, number: int, second: int) -> None:
        os.write(reports, f"\n{word} {number} {second}.\n".encode("ascii"))

    number, damaged = find_last(Path(sys.argv[1]).read_bytes())
    tell("boot", number, damaged)
    while True:
        number += 1
        os.pwrite(records, make(number), (number - 1) % SLOTS * RECORD_BYTES)
        os.fsync(records)
        tell("ack", number, time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
