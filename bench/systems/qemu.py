"""QEMU's write-blocking mirror: a storage daemon that mirrors each write to an NBD server, without TLS.

It cannot be mounted: its FUSE export wants the right to resize the disk, which a mirror denies. So fio speaks NBD with
it over a Unix socket, which spares it the file system, the loop device and FUSE that the others pass through.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from tests.lab.commands import LabError
from tests.lab.waiting import wait_until

from bench import fio
from bench.cell import Cell

NEEDED = ("qemu-storage-daemon",)
SIZE_BYTES = 2 << 30
PORT = 10809
TIMEOUT_S = 30.0


class QemuMirror:
    """See `base.System`."""

    def __init__(self, directory: Path) -> None:
        self.cell = cell = Cell(directory)
        self._daemons: list[Any] = []
        self._socket = directory / "nbd"
        try:
            for name in ("near.raw", "far.raw"):
                with (directory / name).open("wb") as file:
                    file.truncate(SIZE_BYTES)
            self._daemon("far", *_far(directory / "far.raw"))
            wait_until("the NBD server", self._listens, TIMEOUT_S)
            control = directory / "qmp"
            self._daemon("near", *_near(directory / "near.raw", self._socket, control))
            wait_until("the storage daemon", control.exists, TIMEOUT_S)
            self._mirror(control)
        except BaseException:
            cell.close()
            raise

    def _daemon(self, name: str, *words: str) -> None:
        self._daemons.append(self.cell.popen(["qemu-storage-daemon", *words], f"{name}.log"))

    def _listens(self) -> bool:
        return f":{PORT}" in self.cell.run(["ss", "-Hltn"])

    def _mirror(self, control: Path) -> None:
        server = {"type": "inet", "host": "127.0.0.1", "port": str(PORT)}
        target = {"driver": "nbd", "node-name": "far", "server": server, "export": "far"}
        job = {"job-id": "mirror", "device": "near", "target": "far", "sync": "none"}
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIMEOUT_S)
            sock.connect(str(control))
            with sock.makefile("rw", encoding="utf-8") as lines:
                lines.readline()
                for command, arguments in (
                    ("qmp_capabilities", {}),
                    ("blockdev-add", target),
                    ("blockdev-mirror", {**job, "copy-mode": "write-blocking"}),
                ):
                    lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
                    lines.flush()
                    _answer(lines, command)
                _ready(lines)

    @property
    def target(self) -> list[str]:
        """The mirrored disk, by NBD."""
        return fio.of_nbd(str(self._socket), "near")

    def run(self, argv: list[str], timeout_s: float) -> str:
        """Run a command in the cell."""
        return self.cell.run(argv, timeout_s=timeout_s)

    def close(self) -> None:
        """End it all."""
        self.cell.close()
        for daemon in self._daemons:
            daemon.wait()


def _far(image: Path) -> list[str]:
    server = f"addr.type=inet,addr.host=127.0.0.1,addr.port={PORT}"
    disk = f"driver=file,node-name=far,filename={image},discard=unmap"
    return [
        "--blockdev",
        disk,
        "--nbd-server",
        server,
        "--export",
        "nbd,id=e,node-name=far,name=far,writable=on",
    ]


def _near(image: Path, path: Path, control: Path) -> list[str]:
    disk = f"driver=file,node-name=near,filename={image},discard=unmap"
    server = f"addr.type=unix,addr.path={path}"
    export = "nbd,id=e,node-name=near,name=near,writable=on"
    chardev = f"socket,id=c,path={control},server=on,wait=off"
    return [
        "--blockdev",
        disk,
        "--nbd-server",
        server,
        "--export",
        export,
        "--chardev",
        chardev,
        "--monitor",
        "chardev=c",
    ]


def _answer(lines: Any, command: str) -> None:
    for line in lines:
        words = json.loads(line)
        if "error" in words:
            raise LabError(f"qemu-storage-daemon refuses {command}: {words['error']['desc']}")
        if "return" in words:
            return
    raise LabError(f"qemu-storage-daemon ended at {command}")


def _ready(lines: Any) -> None:
    """Wait until the mirror says that it is in step: from then on each write waits for both."""
    for line in lines:
        if json.loads(line).get("event") == "BLOCK_JOB_READY":
            return
    raise LabError("qemu-storage-daemon ended before its mirror was ready")
