"""A server of a plain file through an `IscsiExport`: what a worker does, without mirror or volume."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tests.integration.exports.serving import punch

from twinhull.exports.base import Op, Request
from twinhull.exports.iscsi import Chap, IscsiExport, TargetSettings, target_name
from twinhull.exports.iscsi.target import Log

VOLUME_ID = bytes(range(16))
CHAP = Chap("twinhull", "Only-For-Tests")


def settings_for(size_bytes: int, *, chap: Chap | None = CHAP, unit_bytes: int = 512) -> TargetSettings:
    """A target like that of a module m1 of a cluster test."""
    return TargetSettings(target_name("test", "m1"), size_bytes, VOLUME_ID, chap, unit_bytes)


def next_data(file: int, size_bytes: int, offset_bytes: int) -> tuple[int, int] | None:
    """As `storage.volume.Volume.next_data`."""
    try:
        start = os.lseek(file, offset_bytes, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    return start, min(os.lseek(file, start, os.SEEK_HOLE), size_bytes) - start


class Serving:
    """Serves `backing` from a thread of its own; as a context manager it is closed at the end.

    Args:
        backing: the file that stands for the volume.
        settings: of the target; by default those of `settings_for` the file's size.
        port: where it listens.
        take: is shown each request and says whether it is answered; what it refuses stays unanswered until
            `release` is called.
    """

    def __init__(
        self,
        backing: Path,
        settings: TargetSettings | None = None,
        *,
        port: int = 0,
        take: Callable[[Request], bool] | None = None,
    ) -> None:
        self._file = os.open(backing, os.O_RDWR)
        size = os.fstat(self._file).st_size
        self.settings = settings if settings is not None else settings_for(size)
        self._take = take
        self.held: list[Request] = []
        self.seen: list[tuple[Op, int, int, bool]] = []
        self._wake_read, self._wake_write = os.pipe()
        self._todo: deque[Callable[[], None]] = deque()
        self._stop = False
        self.failure: BaseException | None = None
        log = Log(logging.getLogger("tests.iscsi"), {})
        self.export = IscsiExport(
            self.settings, port=port, log=log, next_data=lambda offset: next_data(self._file, size, offset)
        )
        self.port = self.export.port
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self.failure is not None and error is None:
            raise AssertionError("serving failed") from self.failure

    @property
    def url(self) -> str:
        """What libiscsi and QEMU call the disk."""
        chap = self.settings.chap
        who = f"{chap.user}%{chap.secret}@" if chap is not None else ""
        return f"iscsi://{who}127.0.0.1:{self.port}/{self.settings.name}/0"

    def close(self) -> None:
        """Close the export in its own thread and wait for that."""
        if self._thread.is_alive():
            self.do(self._end)
            self._thread.join(30)
        os.close(self._file)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def do(self, what: Callable[[], None]) -> None:
        """Have the serving thread do something."""
        self._todo.append(what)
        os.write(self._wake_write, b"x")

    def ask(self, what: Callable[[], None]) -> None:
        """The same, and wait until it is done."""
        done = threading.Event()

        def act() -> None:
            what()
            done.set()

        self.do(act)
        assert done.wait(30)

    def take(self, take: Callable[[Request], bool]) -> None:
        """Have each request shown from now on, as `take` of the constructor."""
        self._take = take

    def release(self, error: int = 0) -> None:
        """Answer what was held back, and hold nothing back any more."""

        def answer() -> None:
            self._take = None
            held, self.held = self.held, []
            for request in held:
                if error:
                    self.export.reply(request.tag, error)
                else:
                    self.answer(request)

        self.do(answer)

    def _end(self) -> None:
        self._stop = True
        self.export.close()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self.failure = error
            self.export.close()
            raise

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.export.fileno(), selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._stop:
                ready = {key.fd for key, _ in selector.select()}
                if self._wake_read in ready:
                    os.read(self._wake_read, 1)
                    self._todo.popleft()()
                if not self._stop and self.export.fileno() in ready:
                    for request in self.export.receive():
                        self._got(request)
        with contextlib.suppress(OSError):
            self.export.close()

    def _got(self, request: Request) -> None:
        self.seen.append((request.op, request.offset_bytes, request.length_bytes, request.fua))
        if self._take is not None and not self._take(request):
            self.held.append(request)
        else:
            self.answer(request)

    def answer(self, request: Request) -> None:
        """Do what is asked for, and answer it; in the serving thread."""
        data: bytes | None = None
        if request.op is Op.WRITE:
            assert request.data is not None
            assert len(request.data) == request.length_bytes
            if os.pwrite(self._file, request.data, request.offset_bytes) != request.length_bytes:
                self.export.reply(request.tag, errno.EIO)
                return
        elif request.op is Op.READ:
            data = os.pread(self._file, request.length_bytes, request.offset_bytes)
        elif request.op is Op.DISCARD:
            punch(self._file, request.offset_bytes, request.length_bytes)
        self.export.reply(request.tag, 0, data)
