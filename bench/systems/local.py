"""The local path without replication: our export, and a server that does nothing but the file's own I/O.

In a process of its own: python -m bench.systems.local folder|disk WHERE BACKING
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.lab.waiting import wait_until

from bench import fio, initiator
from bench.cell import Cell, environment, loop_device, mounted
from bench.serving import serve_file

SIZE_BYTES = 2 << 30
START_TIMEOUT_S = 30.0
MODULE = "bench.systems.local"
FOLDER, DISK = "folder", "disk"
NAME = "iqn.2026-11.io.twinhull:bench.local"
PORT = 3260


class Server:
    """The server of one kind in a cell of its own.

    Args:
        directory: of the cell.
        kind: FOLDER (a file in `directory`/export) or DISK (an iSCSI disk on PORT).
        size_bytes: of the file that it serves.
    """

    def __init__(self, directory: Path, kind: str, size_bytes: int) -> None:
        self.cell = Cell(directory)
        try:
            backing = directory / "backing"
            with backing.open("wb") as file:
                file.truncate(size_bytes)
            argv: list[str | Path] = [
                sys.executable,
                "-m",
                MODULE,
                kind,
                directory / "export",
                backing,
            ]
            self._server = self.cell.popen(argv, "server.log", env=environment())
            ready = directory / "server.log"
            wait_until(
                "the local server", lambda: "ready" in ready.read_text(encoding="utf-8"), START_TIMEOUT_S
            )
        except BaseException:
            self.cell.close()
            raise

    def run(self, argv: list[str], timeout_s: float) -> str:
        """Run a command in the cell."""
        return self.cell.run(argv, timeout_s=timeout_s)

    def close(self) -> None:
        """End it all."""
        self.cell.close()
        self._server.wait()


class Local(Server):
    """Our FUSE export, loop device, ext4. See `base.System`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, FOLDER, SIZE_BYTES)
        try:
            self.folder = mounted(self.cell, loop_device(self.cell, directory / "export" / "disk"))
        except BaseException:
            self.close()
            raise

    @property
    def target(self) -> list[str]:
        """A file in the folder."""
        return fio.of_file(f"{self.folder}/bench.dat")


class LocalDisk(Server):
    """Our iSCSI export. See `base.Disk`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, DISK, initiator.DISK_BYTES)

    @property
    def url(self) -> str:
        """The disk, open to everybody in the cell."""
        return f"iscsi://127.0.0.1:{PORT}/{NAME}/0"

    def servers(self) -> list[int]:
        """The one server."""
        return self.cell.processes(MODULE)


def serve(kind: str, mount_dir: Path, backing: Path) -> None:
    """Answer every request of the export with the file's own I/O, until the end of the process."""
    from twinhull.exports.fuse.export import FuseExport
    from twinhull.exports.iscsi import IscsiExport, TargetSettings

    export: Any
    if kind == FOLDER:
        export = FuseExport(mount_dir, SIZE_BYTES)
    else:
        export = IscsiExport(TargetSettings(NAME, initiator.DISK_BYTES, bytes(16), None), port=PORT)
    print("ready", flush=True)
    serve_file(export, str(backing))


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
