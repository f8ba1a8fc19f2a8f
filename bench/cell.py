"""A place for a peer: its own network, mounts and processes, of which nothing is left when it is closed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.lab import leftovers, processes
from tests.lab.commands import LabError, run

KILL_TIMEOUT_S = 30.0
SETUP = """
set -eu
mount -t proc proc /proc
ip link set lo up
echo ready
exec sleep infinity
"""


class Cell:
    """Namespaces of network, mounts and processes, held by one process.

    Args:
        directory: for the cell's files; made, and removed with the cell.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        argv = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        self._holder = subprocess.Popen(
            [*argv, "sh", "-c", SETUP],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd="/",
        )
        if self._holder.stdout is None or self._holder.stdout.readline() != "ready\n":
            self._holder.kill()
            raise LabError("a namespace for a peer cannot be made here")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text(
            encoding="ascii"
        )
        self._init = int(children.split()[0])
        self._init_started = processes.start_time(self._init)

    def enter(self, argv: Sequence[str | Path]) -> list[str]:
        """The command line that runs `argv` in the cell."""
        return ["nsenter", "-t", str(self._init), "-m", "-n", "-p", "--", *map(str, argv)]

    def run(self, argv: Sequence[str | Path], *, timeout_s: float = 120.0) -> str:
        """Run a command in the cell to its end; its output. Raises LabError."""
        return run(self.enter(argv), timeout_s=timeout_s, cwd="/").stdout

    def popen(self, argv: Sequence[str | Path], log: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a command in the cell that ends with it; its output goes to a file of the cell's directory."""
        with (self.directory / log).open("ab") as file:
            return subprocess.Popen(
                self.enter(argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd="/", **options
            )

    def processes(self, match: str) -> list[int]:
        """Numbers (as seen outside) of the cell's processes whose command line contains `match`; there must be one.

        Raises:
            LabError: there is none.
        """
        found = [pid for pid in processes.in_namespace_of(self._init) if match in processes.command_line(pid)]
        if not found:
            raise LabError(f"{match} does not run any more: its log is in {self.directory}")
        return found

    def private(self, *paths: str) -> None:
        """Put directories of the cell in the place of directories of the machine."""
        for path in paths:
            own = self.directory / "private" / path.strip("/").replace("/", "-")
            own.mkdir(parents=True)
            self.run(["mkdir", "-p", path])
            self.run(["mount", "--bind", own, path])

    def close(self) -> None:
        """End every process in the cell, and free what the kernel kept of it."""
        if self._init_started is not None and processes.is_same(self._init, self._init_started):
            left = leftovers.of_node(self._init)
            processes.kill_and_wait(self._init, self._init_started, KILL_TIMEOUT_S, left.abort)
            left.free()
        self._holder.wait(KILL_TIMEOUT_S)
        if self._holder.stdout is not None:
            self._holder.stdout.close()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.directory)

    def __enter__(self) -> Self:
        """The cell is there once it is made."""
        return self

    def __exit__(self, *_: object) -> None:
        """`close`."""
        self.close()


def loop_device(cell: Cell, file: Path) -> str:
    """A loop device on a file of the cell, with direct I/O as ours has it.

    Raises:
        LabError: the kernel refuses direct I/O on it, so that nothing could be compared.
    """
    device = cell.run(["losetup", "--find", "--show", "--direct-io=on", file]).strip()
    if cell.run(["losetup", "--noheadings", "--output", "DIO", device]).strip() != "1":
        raise LabError(f"the kernel refuses direct I/O on {file}")
    return device


def mounted(cell: Cell, device: str) -> str:
    """An ext4 file system made on the device and mounted, with our own options; the folder."""
    folder = cell.directory / "folder"
    folder.mkdir()
    cell.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", device])
    cell.run(["mount", "-t", "ext4", "-o", "noatime", device, folder])
    return str(folder)


def environment() -> dict[str, str]:
    """For Python programs of this package in a cell or a node."""
    repository = Path(__file__).resolve().parents[1]
    return {**os.environ, "PYTHONPATH": str(repository), "PYTHONDONTWRITEBYTECODE": "1"}
