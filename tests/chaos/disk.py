"""A node's disk that fails on command: one file of a FUSE file system, served by a process of its own.

    python -m tests.chaos.disk IMAGE MOUNT_DIR

A loop device and ext4 above it carry the node's data directory, so that the node meets what a dying disk does to
everything at once. Orders are JSON lines on the standard input, each answered by a line on the standard output.
It is hardware: it lives outside of the node, in a mount namespace of its own, and its cache is volatile (`cache.py`).
"""

from __future__ import annotations

import errno
import heapq
import itertools
import json
import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.lab import LabError
from tests.lab.commands import run
from tests.lab.leftovers import loop_backing

from twinhull.errors import AttachError
from twinhull.exports.base import Op, Request
from twinhull.exports.fuse.export import FuseExport

from .cache import VolatileFile

FILE_NAME = "disk"
ORDER_TIMEOUT_S = 20.0


class DiskServer:
    """Answers the kernel's requests as its orders say.

    Args:
        image: the disk's content, a file whose size is a multiple of 512.
        mount_dir: where the file `disk` appears.
    """

    def __init__(self, image: Path, mount_dir: Path) -> None:
        self._descriptor = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        self._content = VolatileFile(self._descriptor)
        self._export = FuseExport(mount_dir, os.fstat(self._descriptor).st_size, FILE_NAME)
        self._failing: frozenset[Op] = frozenset()
        self._failing_share = 1.0
        self._delay_s = 0.0
        self._stalled = False
        self._on = True
        self._chance = random.Random(0)
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, Request]] = []
        self._failed = 0
        self._attaching: subprocess.Popen[bytes] | None = None

    def run(self, orders: int, answers: int) -> None:
        """Until the orders end."""
        text = b""
        while True:
            watched = [self._export.fileno(), orders]
            attaching = self._attaching
            if attaching is not None and attaching.stdout is not None:
                watched.append(attaching.stdout.fileno())
            ready, _, _ = select.select(watched, [], [], self._next_due_s())
            if attaching is not None and watched[-1] in ready and watched[-1] != orders:
                self._attaching = None
                loop = attaching.communicate()[0].decode("ascii").strip()
                os.write(answers, json.dumps({"loop": loop}).encode("ascii") + b"\n")
            if orders in ready:
                piece = os.read(orders, 65536)
                if not piece:
                    return
                *lines, text = (text + piece).split(b"\n")
                for line in lines:
                    answer = self.obey(json.loads(line))
                    if answer is not None:
                        os.write(answers, json.dumps(answer).encode("ascii") + b"\n")
            if self._export.fileno() in ready:
                for request in self._export.receive():
                    self._take(request)
            self._do_due()

    def close(self) -> None:
        """Take the file away; what is under way fails."""
        self._export.close()
        os.close(self._descriptor)

    def obey(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """One order: `healthy`, `errors`, `delay`, `stall`, `power_off`, `power_on`; what it did.

        None for `power_on`, whose loop device is told once it is there: to make it, the file must be served.
        """
        word = order["order"]
        if word == "healthy":
            self._failing, self._delay_s, self._stalled = frozenset(), 0.0, False
        elif word == "errors":
            self._failing = frozenset(Op[name] for name in order["ops"])
            self._failing_share = float(order["share"])
        elif word == "delay":
            self._delay_s = float(order["seconds"])
        elif word == "stall":
            self._stalled = True
        elif word == "power_off":
            return {"lost": self._power_off(int(order["seed"]))}
        elif word == "power_on":
            self._on = True
            argv = ["losetup", "--find", "--show", "--direct-io=on", str(self._export.path)]
            self._attaching = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            return None
        else:
            raise ValueError(f"there is no order {word!r}")
        return {"failed": self._failed}

    def _power_off(self, seed: int) -> int:
        self._on, self._stalled, self._delay_s = False, False, 0.0
        self._failing = frozenset()
        self._chance = random.Random(seed)
        return self._content.lose_power(self._chance)

    def _take(self, request: Request) -> None:
        due_s = time.monotonic() + (self._delay_s * self._chance.random() if self._delay_s else 0.0)
        heapq.heappush(self._waiting, (due_s, next(self._numbers), request))

    def _next_due_s(self) -> float | None:
        if not self._waiting or self._stalled:
            return None
        return max(0.0, self._waiting[0][0] - time.monotonic())

    def _do_due(self) -> None:
        while self._waiting and not self._stalled and self._waiting[0][0] <= time.monotonic():
            self._do(heapq.heappop(self._waiting)[2])

    def _do(self, request: Request) -> None:
        op = request.op
        if not self._on or (op in self._failing and self._chance.random() < self._failing_share):
            self._failed += 1
            self._export.reply(request.tag, errno.EIO)
        elif op is Op.READ:
            self._export.reply(
                request.tag, data=self._content.read(request.offset_bytes, request.length_bytes)
            )
        elif op is Op.WRITE:
            assert request.data is not None
            self._content.write(request.offset_bytes, bytes(request.data))
            if request.fua:
                self._content.flush()
            self._export.reply(request.tag)
        elif op is Op.FLUSH:
            self._content.flush()
            self._export.reply(request.tag)
        else:
            self._export.reply(request.tag, errno.EOPNOTSUPP)


class Disk:
    """The disk of one node, from the outside.

    Args:
        image: its content.
        mount_dir: where its file appears, for its server alone.
    """

    def __init__(self, image: Path, mount_dir: Path) -> None:
        self._mount_dir = mount_dir
        self._attached: tuple[str, tuple[int, int] | None] = ("", None)
        argv = ["unshare", "--mount", "--propagation", "private"]
        argv += [sys.executable, "-m", "tests.chaos.disk", str(image), str(mount_dir)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
        )
        self.healthy()

    def healthy(self) -> None:
        """No trouble from here on."""
        self._order(order="healthy")

    def errors(self, *ops: Op, share: float = 1.0) -> None:
        """These requests fail with EIO.

        Args:
            ops: which.
            share: how many of them, 0 to 1.
        """
        self._order(order="errors", ops=[op.name for op in ops], share=share)

    def delay(self, seconds: float) -> None:
        """Every request takes up to so long, and they overtake each other."""
        self._order(order="delay", seconds=seconds)

    def stall(self) -> None:
        """No request is answered until `healthy`."""
        self._order(order="stall")

    def power_off(self, seed: int) -> int:
        """The cache is lost, nothing is written any more; how many writes were lost."""
        return int(self._order(order="power_off", seed=seed)["lost"])

    def power_on(self) -> Path:
        """It works, without trouble; its block device, which goes with the node's power."""
        loop = str(self._order(order="power_on")["loop"])
        if not loop:
            raise LabError(f"no loop device for the disk at {self._mount_dir}: see `losetup -l`")
        self._attached = (loop, loop_backing(loop))
        return Path(loop)

    def close(self) -> None:
        """Remove it. Idempotent."""
        loop, backing = self._attached
        if backing is not None and loop_backing(loop) == backing:
            run(["losetup", "-d", loop], check=False)
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
            try:
                self._process.wait(ORDER_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _order(self, **words: Any) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(words).encode("ascii") + b"\n")
        except OSError as error:
            raise LabError(f"the disk at {self._mount_dir} is gone: {error}") from error
        if not select.select([stdout], [], [], ORDER_TIMEOUT_S)[0]:
            raise LabError(f"the disk at {self._mount_dir} does not obey {words['order']}")
        line = stdout.readline()
        if not line:
            raise LabError(f"the disk at {self._mount_dir} died of {words['order']}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> None:
    """Serve the image named on the command line."""
    image, mount_dir = Path(sys.argv[1]), Path(sys.argv[2])
    server = DiskServer(image, mount_dir)
    try:
        server.run(sys.stdin.fileno(), sys.stdout.fileno())
    except AttachError as error:
        sys.stderr.write(f"{error}\n")
    finally:
        server.close()


if __name__ == "__main__":
    main()
