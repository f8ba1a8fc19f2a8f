"""Debian's tgt, an iSCSI target in C: a file on the same disk, behind the page cache, not mirrored."""

from __future__ import annotations

from pathlib import Path

from tests.lab.commands import LabError
from tests.lab.waiting import wait_until

from bench import initiator
from bench.cell import Cell

NEEDED = ("tgtd", "tgtadm")
NAME = "iqn.2026-11.io.twinhull:bench.tgt"
PORT = 3260
START_TIMEOUT_S = 30.0
PRIVATE = "/var/run/tgtd"


class Tgt:
    """See `base.Disk`."""

    def __init__(self, directory: Path) -> None:
        self.cell = Cell(directory)
        self.url = f"iscsi://127.0.0.1:{PORT}/{NAME}/1"
        backing = directory / "backing"
        try:
            with backing.open("wb") as file:
                file.truncate(initiator.DISK_BYTES)
            self.cell.private(PRIVATE)
            self._server = self.cell.popen(["tgtd", "-f"], "tgtd.log")
            wait_until("tgtd", self._answers, START_TIMEOUT_S)
            self._adm("--op", "new", "--mode", "target", "--tid", "1", "-T", NAME)
            self._adm("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", str(backing))
            self._adm("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
        except BaseException:
            self.cell.close()
            raise

    def _adm(self, *words: str) -> None:
        self.cell.run(["tgtadm", "--lld", "iscsi", *words])

    def _answers(self) -> bool:
        try:
            self._adm("--op", "show", "--mode", "target")
        except LabError:
            return False
        return True

    def run(self, argv: list[str], timeout_s: float) -> str:
        """Run the initiator in the cell. Raises LabError."""
        return self.cell.run(argv, timeout_s=timeout_s)

    def servers(self) -> list[int]:
        """The one daemon."""
        return self.cell.processes("tgtd")

    def close(self) -> None:
        """End it all."""
        self.cell.close()
        self._server.wait()
