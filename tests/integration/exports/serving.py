"""A server of a plain file through a `FuseExport`: what a worker does, without mirror or volume."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import selectors
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from twinhull.core.requests import Op, Request
from twinhull.errors import AttachError
from twinhull.exports.fuse.export import FuseExport

PUNCH_HOLE_KEEP_SIZE = 0x03


def punch(file: int, offset_bytes: int, length_bytes: int) -> None:
    """fallocate(2): free the range."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (
        ctypes.c_int(PUNCH_HOLE_KEEP_SIZE),
        ctypes.c_int64(offset_bytes),
        ctypes.c_int64(length_bytes),
    )
    if libc.fallocate(ctypes.c_int(file), *arguments) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


class Serving:
    """Serves `backing` from a thread of its own; as a context manager it is closed at the end.

    Args:
        shuffle: answers the requests of each batch in an order of its choice.
        take: is shown each request and says whether it is answered; what it refuses stays unanswered until
            `release` is called.
    """

    def __init__(
        self,
        backing: Path,
        mount_dir: Path,
        name: str,
        *,
        shuffle: random.Random | None = None,
        take: Callable[[Request], bool] | None = None,
    ) -> None:
        self._file = os.open(backing, os.O_RDWR)
        self._shuffle = shuffle
        self._take = take
        self.held: list[Request] = []
        self.seen: list[tuple[Op, int, int]] = []
        self.failure: Exception | None = None
        self._wake_read, self._wake_write = os.pipe()
        self._todo: list[Callable[[], None]] = []
        self._stop = False
        self.export = FuseExport(mount_dir, os.fstat(self._file).st_size, name)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the export in its own thread and wait for that."""
        if not self._thread.is_alive():
            return
        self._do(self._end)
        self._thread.join(30)
        os.close(self._file)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def release(self, order: Callable[[list[Request]], list[Request]] = list) -> None:
        """Answer what was held back, in an order."""
        self._do(lambda: self._answer_held(order))

    def fail_held(self, error: int) -> None:
        """Answer what was held back with an errno."""
        self._do(lambda: self._fail_held(error))

    def join(self) -> None:
        """Wait until serving has ended by itself."""
        self._thread.join(30)

    def _do(self, what: Callable[[], None]) -> None:
        self._todo.append(what)
        os.write(self._wake_write, b"x")

    def _end(self) -> None:
        self._stop = True
        self.export.close()

    def _answer_held(self, order: Callable[[list[Request]], list[Request]]) -> None:
        held, self.held = order(self.held), []
        for request in held:
            self._answer(request)

    def _fail_held(self, error: int) -> None:
        held, self.held = self.held, []
        for request in held:
            self.export.reply(request.tag, error)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.export.fileno(), selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._stop:
                ready = {key.fd for key, _ in selector.select()}
                if self._wake_read in ready:
                    os.read(self._wake_read, 1)
                    self._todo.pop(0)()
                if not self._stop:
                    self._serve()
        with contextlib.suppress(OSError):
            self.export.close()

    def _serve(self) -> None:
        try:
            requests = list(self.export.receive())
        except AttachError as error:
            self.failure, self._stop = error, True
            return
        if self._shuffle is not None:
            self._shuffle.shuffle(requests)
        for request in requests:
            self.seen.append((request.op, request.offset_bytes, request.length_bytes))
            if self._take is not None and not self._take(request):
                self.held.append(request)
            else:
                self._answer(request)

    def _answer(self, request: Request) -> None:
        data: bytes | None = None
        if request.op is Op.WRITE:
            if os.pwrite(self._file, request.data or b"", request.offset_bytes) != request.length_bytes:
                self.export.reply(request.tag, errno.EIO)
                return
        elif request.op is Op.READ:
            data = os.pread(self._file, request.length_bytes, request.offset_bytes)
        elif request.op is Op.DISCARD:
            punch(self._file, request.offset_bytes, request.length_bytes)
        self.export.reply(request.tag, 0, data)
