"""GlusterFS replica 2: both bricks and the client in one network namespace, without TLS.

The volume is set as for disks of virtual machines, with the same promise as ours: no write is acknowledged before both
bricks have it (no write-behind), bricks use the page cache as our data files do (`network.remote-dio`).
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.commands import LabError
from tests.lab.waiting import wait_until

from bench import fio
from bench.cell import Cell

ADDRESS = "10.78.0.1"
NEEDED = ("glusterd", "gluster", "mount.glusterfs")
PRIVATE = ("/var/lib/glusterd", "/var/log/glusterfs", "/var/run/gluster")
OPTIONS = {
    "performance.write-behind": "off",
    "performance.read-ahead": "off",
    "performance.io-cache": "off",
    "performance.quick-read": "off",
    "performance.stat-prefetch": "off",
    "performance.strict-o-direct": "on",
    "network.remote-dio": "enable",
    "cluster.eager-lock": "enable",
    "storage.fips-mode-rchecksum": "on",
}
START_TIMEOUT_S = 60.0


class Gluster:
    """See `base.System`."""

    def __init__(self, directory: Path) -> None:
        self.cell = cell = Cell(directory)
        try:
            cell.run(["ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo"])
            cell.private(*PRIVATE)
            self._server = cell.popen(
                ["glusterd", "-N", "--pid-file", directory / "glusterd.pid"], "glusterd.log"
            )
            wait_until("glusterd", self._answers, START_TIMEOUT_S)
            bricks = [directory / f"brick{number}" for number in (1, 2)]
            for brick in bricks:
                brick.mkdir()
            names = [f"{ADDRESS}:{brick}" for brick in bricks]
            self._gluster("volume", "create", "bench", "replica", "2", *names, "force")
            for option, value in OPTIONS.items():
                self._gluster("volume", "set", "bench", option, value)
            self._gluster("volume", "start", "bench")
            folder = directory / "folder"
            folder.mkdir()
            cell.run(["mount", "-t", "glusterfs", f"{ADDRESS}:/bench", folder])
            self.folder = str(folder)
        except BaseException:
            cell.close()
            raise

    def _gluster(self, *words: str) -> str:
        return self.cell.run(["gluster", "--mode=script", *words])

    def _answers(self) -> bool:
        try:
            self._gluster("volume", "list")
        except LabError:
            return False
        return True

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
