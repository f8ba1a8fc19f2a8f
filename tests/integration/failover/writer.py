"""The application that the lab's module runs: writes durably into the folder and tells of it outside of the node.

    python -m tests.integration.failover.writer REPORTS

For each number: a random slot of the table is overwritten, then the journal's next record is written, each with
O_DSYNC; when both calls have returned, the number is told in REPORTS, which lies on no node's disk. After a start it
goes on behind the last whole record; asked to end (SIGTERM), it writes on for a moment, as a guest that shuts down
does. Lines of REPORTS: `start NODE RUN LAST BEHIND .`, `ack NUMBER SLOT RUN .`, `error RUN LAST WORDS .`
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from . import journal

PAUSE_S = 0.003
SHUTDOWN_S = 0.4


class Writer:
    """One run of the application."""

    def __init__(self, folder: Path, reports: Path, node: str) -> None:
        self._run = os.urandom(journal.RUN_BYTES)
        self._node = node
        self._reports = os.open(reports, os.O_WRONLY | os.O_APPEND)
        flags = os.O_RDWR | os.O_CREAT | os.O_DSYNC
        self._journal = os.open(folder / "journal", flags, 0o644)
        self._table = os.open(folder / "table", flags, 0o644)
        self._end_s = float("inf")

    def end(self) -> None:
        """Write on for a moment, then end."""
        self._end_s = min(self._end_s, time.monotonic() + SHUTDOWN_S)

    def tell(self, *words: object) -> None:
        """One whole line, in one call."""
        os.write(self._reports, (" ".join(str(word) for word in (*words, ".")) + "\n").encode("ascii"))

    def run(self) -> None:
        """Write until killed or told to end, or until the folder fails."""
        last = 0
        try:
            last, behind = self._last()
            self.tell("start", self._node, self._run.hex(), last, behind)
            while time.monotonic() < self._end_s:
                last += 1
                self._write(last)
                time.sleep(PAUSE_S)
        except OSError as error:
            self.tell("error", self._run.hex(), last, (error.strerror or str(error)).replace(" ", "-"))
            raise SystemExit(1) from error

    def _last(self) -> tuple[int, int]:
        """The last whole record's number, and the bytes found behind it."""
        size = os.fstat(self._journal).st_size
        data = os.pread(self._journal, size, 0) if size else b""
        last = len(journal.read_journal(data))
        return last, size - last * journal.RECORD_BYTES

    def _write(self, number: int) -> None:
        slot = random.randrange(journal.SLOTS)
        content = journal.make_slot(number, self._run, slot)
        self._whole(os.pwrite(self._table, content, slot * journal.SLOT_BYTES), content)
        found = journal.read_slot(content)
        crc = found.crc if found else 0
        record = journal.make_record(journal.Record(number, self._run, slot, crc))
        self._whole(os.pwrite(self._journal, record, (number - 1) * journal.RECORD_BYTES), record)
        self.tell("ack", number, slot, self._run.hex())

    @staticmethod
    def _whole(written: int, data: bytes) -> None:
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were written")


def main() -> None:
    """Read the environment that the module's resource gives."""
    writer = Writer(Path(os.environ["TWINHULL_FOLDER"]), Path(sys.argv[1]), os.environ["TWINHULL_NODE"])
    signal.signal(signal.SIGTERM, lambda *_: writer.end())
    writer.run()


if __name__ == "__main__":
    main()
