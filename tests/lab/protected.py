"""A protected module of the lab as its users see it: through the `twinhull` command, and its files from outside."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import records
from .commands import LabError, run
from .lab import Lab
from .node import DATA_DIRECTORY, Node
from .waiting import wait_until

STATUS_POLL_S = 0.2
COPY_TIMEOUT_S = 300.0
PIECE_BYTES = 1 << 20


class Protected:
    """One module.

    Args:
        lab: where it runs.
        name: of the module.
        folder: its folder in the nodes.
    """

    def __init__(self, lab: Lab, name: str, folder: str) -> None:
        self.lab = lab
        self.name = name
        self.folder = folder

    def status(self, of: str, *, asked: str | None = None) -> dict[str, Any]:
        """The module's status on node `of`, as the agent of node `asked` (default: the same) tells it.

        Raises:
            LabError: the agent does not answer, or does not reach the other node.
        """
        words: dict[str, Any] = self.lab[asked or of].status()["nodes"][of]["modules"][self.name]
        return words

    def is_state(self, node: str, state: str, colour: str | None = None) -> bool:
        """Whether the module is in a state on a node; False also while nobody can tell."""
        try:
            words = self.status(node)
        except (LabError, KeyError):
            return False
        return words["state"] == state and colour in {None, words["colour"]}

    def wait_state(self, node: str, state: str, colour: str | None, timeout_s: float) -> float:
        """Wait for a state; the seconds it took.

        Raises:
            LabError: it did not come in time; says what the module told last.
        """
        what = f"{self.name} to be {state}{f' and {colour}' if colour else ''} on node {node}"
        try:
            return wait_until(what, lambda: self.is_state(node, state, colour), timeout_s, STATUS_POLL_S)
        except LabError as error:
            raise LabError(f"{error}\n{self.describe()}") from error

    def wait_mirrored(self, primary: str, secondary: str, timeout_s: float) -> float:
        """Wait until both nodes are green in their roles; the seconds it took."""
        took_s = self.wait_state(primary, "PRIM", "green", timeout_s)
        return took_s + self.wait_state(secondary, "SECOND", "green", timeout_s)

    def describe(self) -> str:
        """What every live node says, for messages."""
        lines = []
        for name, node in self.lab.nodes.items():
            if not node.alive:
                lines.append(f"node {name} is off")
                continue
            told = node.twinhull("status", check=False, timeout_s=30.0)
            lines.append(f"node {name} says:\n{told.stdout}{told.stderr}")
        return "\n".join(lines)

    # -- the replicas from outside ---------------------------------------------------------------

    def data_file(self, node: str) -> Path:
        """The data file of a node's replica, as seen from outside.

        Raises:
            LabError: there is none.
        """
        directory = self.lab[node].path(DATA_DIRECTORY)
        found = [file for file in directory.rglob("data.img") if self.name in file.parts]
        if len(found) != 1:
            raise LabError(f"node {node} has {len(found)} data files of {self.name} below {DATA_DIRECTORY}")
        return found[0]

    def settle(self, primary: Node) -> None:
        """Have the primary's file system write out all that the resource wrote."""
        primary.run(["sync", "-f", self.folder])

    def replicas_equal(self) -> bool:
        """Whether all nodes' data files are equal byte for byte."""
        first, *others = [self.data_file(node) for node in self.lab.nodes]
        return all(equal_files(first, other) for other in others)

    def guest_records(self, node: str, disk: str) -> bytes:
        """The guest's records out of a node's replica: volume, file system, disk image, guest's file system.

        Args:
            node: whose replica is read (from a copy; nothing is changed).
            disk: path of the guest's disk image below the folder.
        """
        with tempfile.TemporaryDirectory(prefix="twinhull-replica-", dir="/var/tmp") as directory:
            copy, image = Path(directory) / "volume", Path(directory) / "disk.img"
            run(["cp", "--sparse=always", self.data_file(node), copy], timeout_s=COPY_TIMEOUT_S)
            run(["e2fsck", "-f", "-p", copy], check=False, timeout_s=COPY_TIMEOUT_S)
            run(["debugfs", "-R", f"dump /{disk} {image}", copy], timeout_s=COPY_TIMEOUT_S)
            if not image.exists():
                raise LabError(f"the replica of node {node} holds no /{disk}")
            return records.extract(image)

    def guest_disk(self, primary: Node) -> str:
        """Path of the guest's disk image below the folder."""
        found = primary.run(["find", self.folder, "-xdev", "-name", "disk.img"]).stdout.split()
        if len(found) != 1:
            raise LabError(f"{self.folder} on node {primary.name} holds {len(found)} files disk.img")
        return str(Path(found[0]).relative_to(self.folder))


def equal_files(first: Path, second: Path) -> bool:
    """Whether two (sparse) files are equal byte for byte; a hole is zeros."""
    with first.open("rb", buffering=0) as one, second.open("rb", buffering=0) as other:
        size = first.stat().st_size
        if second.stat().st_size != size:
            return False
        offset = 0
        while (offset := min(_next_data(one.fileno(), offset), _next_data(other.fileno(), offset))) < size:
            if os.pread(one.fileno(), PIECE_BYTES, offset) != os.pread(other.fileno(), PIECE_BYTES, offset):
                return False
            offset += PIECE_BYTES
    return True


def _next_data(descriptor: int, offset: int) -> int:
    """Where the next data at or after an offset begins; beyond any file when only a hole follows."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return sys.maxsize


def has_room(directory: Path, needed_bytes: int) -> bool:
    """Whether a directory's disk has so much space left."""
    return shutil.disk_usage(directory).free >= needed_bytes
