"""The local path without replication: our export, a server that does nothing but the file's own I/O, loop device, ext4."""

from __future__ import annotations

import os
import selectors
import signal
import sys
from pathlib import Path

from tests.lab.waiting import wait_until

from bench import fio
from bench.cell import Cell, environment, loop_device, mounted

SIZE_BYTES = 2 << 30
START_TIMEOUT_S = 30.0


class Local:
    """See `base.System`."""

    def __init__(self, directory: Path) -> None:
        self.cell = Cell(directory)
        try:
            mount_dir, backing = directory / "export", directory / "backing"
            with backing.open("wb") as file:
                file.truncate(SIZE_BYTES)
            argv: list[str | Path] = [sys.executable, "-m", "bench.systems.local", mount_dir, backing]
            self._server = self.cell.popen(argv, "server.log", env=environment())
            ready = directory / "server.log"
            wait_until(
                "the local server", lambda: "ready" in ready.read_text(encoding="utf-8"), START_TIMEOUT_S
            )
            self.folder = mounted(self.cell, loop_device(self.cell, mount_dir / "disk"))
        except BaseException:
            self.cell.close()
            raise

    @property
    def target(self) -> list[str]:
        """A file in the folder."""
        return fio.of_file(f"{self.folder}/bench.dat")

    def run(self, argv: list[str], timeout_s: float) -> str:
        """Run a command in the cell."""
        return self.cell.run(argv, timeout_s=timeout_s)

    def close(self) -> None:
        """End it all."""
        self.cell.close()
        self._server.wait()


def serve(mount_dir: Path, backing: Path) -> None:
    """Answer every request of the export with the file's own I/O, until the end of the process."""
    from twinhull.exports.base import Op
    from twinhull.exports.fuse.export import FuseExport

    export = FuseExport(mount_dir, SIZE_BYTES)
    file = os.open(backing, os.O_RDWR)
    selector = selectors.DefaultSelector()
    selector.register(export.fileno(), selectors.EVENT_READ)
    print("ready", flush=True)
    while selector.select():
        for request in export.receive():
            if request.op is Op.WRITE:
                os.pwrite(file, request.data or b"", request.offset_bytes)
                export.reply(request.tag)
            elif request.op is Op.READ:
                export.reply(request.tag, 0, os.pread(file, request.length_bytes, request.offset_bytes))
            else:
                if request.op is Op.FLUSH:
                    os.fdatasync(file)
                export.reply(request.tag)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
