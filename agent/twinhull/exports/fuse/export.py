"""The export as a descriptor of /dev/fuse and a mount: the shell around `OneFileSession`."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ...errors import AttachError
from ..base import Op, Request
from . import mounts, syscalls
from .protocol import WRITE_OVERHEAD_BYTES, MessageError
from .session import MAX_TRANSFER_BYTES, SECTOR_BYTES, OneFileSession

_READ, _WRITE = Op.READ, Op.WRITE  # looked up slowly by their class (Python 3.11)
DEFAULT_IN_FLIGHT: Final = 64
_PAGE_BYTES: Final = mmap.PAGESIZE
_SLOT_BYTES: Final = _PAGE_BYTES + MAX_TRANSFER_BYTES
_SPARE_SLOTS: Final = 4
"""Beside what the kernel may have under way: messages that it does not count (flushes, attributes)."""

_GONE: Final = frozenset({errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN, errno.EBADF})


class _Slot:
    """Room for one message: the data of a write begins at a page's boundary."""

    __slots__ = ("room",)

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, _SLOT_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self.room: tuple[memoryview] = (memory[_PAGE_BYTES - WRITE_OVERHEAD_BYTES :],)


class _Pending(NamedTuple):
    op: Op
    length_bytes: int
    slot: _Slot | None


class FuseExport:
    """The volume as one file; see `exports.base.Export`. Used by one thread at a time.

    The mount's own chores (looking up the file, its attributes) are answered inside `receive`, so whoever
    opens the file while no loop runs `receive` waits: never touch `path` from the thread of the loop.

    Args:
        mount_dir: directory for the mount, made if it is missing; nothing may be mounted there.
        size_bytes: size of the file, a multiple of 512.
        name: name of the file. The loop device shows it as `MOUNT_DIR/NAME`: let it be unique on the machine.
        max_in_flight: reads and writes that the kernel may have under way; each may hold 1 MiB.

    Raises AttachError.
    """

    def __init__(
        self, mount_dir: Path, size_bytes: int, name: str = "disk", *, max_in_flight: int = DEFAULT_IN_FLIGHT
    ) -> None:
        if size_bytes <= 0 or size_bytes % SECTOR_BYTES:
            raise AttachError(f"A volume of {size_bytes} bytes cannot be exported: it is no multiple of 512.")
        self._mount_dir = mounts.absolute(mount_dir)
        self._path = self._mount_dir / name
        self._session = OneFileSession(size_bytes, name, max_in_flight)
        self._free = [_Slot() for _ in range(max_in_flight + _SPARE_SLOTS)]
        self._pending: dict[int, _Pending] = {}
        self._batch = max_in_flight
        self._fd = _mounted_descriptor(self._mount_dir)

    @property
    def path(self) -> Path:
        """The file that a loop device is put on."""
        return self._path

    @property
    def in_flight(self) -> int:
        """Requests handed out and not yet answered."""
        return len(self._pending)

    def fileno(self) -> int:
        """What the loop waits on for reading; -1 once closed."""
        return self._fd

    def receive(self) -> Sequence[Request]:
        """Every request that can be had without waiting.

        Empty when there is none, or after `close`. Raises AttachError when the kernel has ended the
        connection (somebody unmounted or aborted it).
        """
        requests: list[Request] = []
        while len(requests) < self._batch and self._fd >= 0:
            # The kernel bounds what is under way, so a slot beyond the pool is rare, and kept.
            slot = self._free.pop() if self._free else _Slot()
            count = self._read_message(slot)
            if count == 0:
                self._free.append(slot)
                break
            request = self._take(slot, count)
            if request is not None:
                requests.append(request)
                # Alone on the wire: another read would only say that nothing is there.
                if len(self._pending) == 1:
                    break
        return requests

    def reply(self, tag: int, error: int = 0, data: bytes | memoryview | None = None) -> None:
        """Complete a request: `error` is a positive errno or 0; `data` (all of it) for reads.

        After it a write's data belongs to the export again, unless it failed: then it stays as it is for whoever
        holds it. Raises ValueError for a tag that is not under
        way and for data of another length than was asked for (the host then gets EIO).
        """
        pending = self._pending.pop(tag, None)
        if pending is None:
            if self._fd < 0:
                return
            raise ValueError(f"request {tag} is not under way")
        op, length_bytes, slot = pending
        read = op is _READ and not error
        wrong = read and (data is None or len(data) != length_bytes)
        head = self._session.answer(op, tag, length_bytes, errno.EIO if wrong else error)
        self._send(head, data if read and not wrong else None)
        # After an error somebody may still read the data (a write that the disk has not taken yet): let it go.
        if slot is not None and not (error and op is _WRITE):
            self._free.append(slot)
        if wrong:
            raise ValueError(f"a read of {length_bytes} bytes was answered with another length")

    def close(self) -> None:
        """Take the export away at once; unanswered requests fail at the host. Idempotent, waits for nobody.

        Data of writes that were not answered stays readable as long as somebody holds it.
        """
        if self._fd < 0:
            return
        descriptor, self._fd = self._fd, -1
        self._pending.clear()
        for own in mounts.mounted_at(self._mount_dir):
            with contextlib.suppress(OSError):  # somebody else unmounted it: that is what we want
                syscalls.unmount_lazily(own.mount_point)
        os.close(descriptor)

    def _read_message(self, slot: _Slot) -> int:
        """Length in bytes of one message read into the slot; 0 when none is there."""
        while True:
            try:
                return os.readv(self._fd, slot.room)
            except BlockingIOError:
                return 0
            except OSError as error:
                if error.errno == errno.ENOENT:  # the asker was killed while we read
                    continue
                self._free.append(slot)
                raise AttachError(
                    f"The FUSE connection at {self._mount_dir} has ended: {error.strerror}.",
                    "Somebody unmounted or aborted it; stop the module and start it again.",
                ) from error

    def _take(self, slot: _Slot, count: int) -> Request | None:
        try:
            outcome = self._session.understand(slot.room[0][:count])
        except MessageError:
            outcome = None  # names no request: there is nobody to answer
        if isinstance(outcome, Request):
            keeps = outcome.data is not None
            self._pending[outcome.tag] = _Pending(outcome.op, outcome.length_bytes, slot if keeps else None)
            if not keeps:
                self._free.append(slot)
            return outcome
        self._free.append(slot)
        if outcome is not None:
            self._send(outcome, None)
        return None

    def _send(self, head: bytes, data: bytes | memoryview | None) -> None:
        if self._fd < 0:
            return
        try:
            if data is None:
                os.write(self._fd, head)
            else:
                os.writev(self._fd, (head, data))
        except OSError as error:
            # ENOENT: the asker was killed meanwhile. The others: the connection is gone, `receive` says so.
            if error.errno != errno.ENOENT and error.errno not in _GONE:
                raise


def _mounted_descriptor(mount_dir: Path) -> int:
    """A fresh connection, mounted at `mount_dir`."""
    if mounts.mounted_at(mount_dir):
        raise AttachError(
            f"An earlier export is still mounted at {mount_dir}.", "It must be freed first (abort_stale)."
        )
    try:
        mount_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise AttachError(
            f"The export at {mount_dir} cannot be made: {error.strerror} ({error.filename}).",
            "Run as root on a kernel with FUSE (`modprobe fuse`).",
        ) from error
    options = f"fd={descriptor},rootmode=40700,user_id=0,group_id=0,max_read={MAX_TRANSFER_BYTES}"
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC | syscalls.MS_NOATIME
    try:
        syscalls.mount("twinhull", str(mount_dir), mounts.FILE_SYSTEM, flags, options)
    except OSError as error:
        os.close(descriptor)
        raise AttachError(
            f"The export cannot be mounted at {mount_dir}: {error.strerror}.",
            "Run as root; in a container allow /dev/fuse and CAP_SYS_ADMIN.",
        ) from error
    return descriptor
