"""A process that shows the old volume of a rescue as a file; the agent starts it (`-m twinhull.worker.rescue_view`).

What the rescue holds comes from it, the rest from the volume's data file as it is now, while the rescue says that this is
still the old content. The order makes it sure: the data file is read first, then the rescue is looked at for what was kept
meanwhile, because old content is durable there before anything overwrites it. Writes (a journal that is replayed when the
file system is mounted) go to a temporary file that is thrown away: neither volume nor rescue is ever written.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import select
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from twinhull.core.marks import BLOCK_BYTES
from twinhull.core.requests import Op, Request
from twinhull.errors import StorageError, TwinhullError
from twinhull.exports.fuse import FuseExport
from twinhull.storage.base import File
from twinhull.storage.platform import platform_directory
from twinhull.storage.rescue import Rescue, Store
from twinhull.storage.rescue_format import VIEWABLE, Entry, Stage
from twinhull.storage.volume import DATA_FILE

OVERLAY_LIMIT_BYTES = 2 << 30
UNIT_BYTES = 512
POLL_MS = 1000


class OldVolume:
    """The content that a volume had when the rescue began.

    Args:
        rescue: read from.
        data: the volume's data file as it is now.
        partial: also what has gone on since is shown, for want of the old content.
    """

    def __init__(self, rescue: Rescue, data: File, *, partial: bool = False) -> None:
        self._rescue = rescue
        self._data = data
        self._partial = partial
        self._last: tuple[Entry, bytes] | None = None

    @property
    def size_bytes(self) -> int:
        """Of the volume."""
        return self._rescue.about.volume_bytes

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The old content of a range. Raises StorageError where it is not to be had any more."""
        pieces = []
        end = offset_bytes + length_bytes
        while offset_bytes < end:
            block, skip = divmod(offset_bytes, BLOCK_BYTES)
            length = min(BLOCK_BYTES - skip, end - offset_bytes)
            pieces.append(self._piece(block, skip, length))
            offset_bytes += length
        return b"".join(pieces)

    def _piece(self, block: int, skip: int, length: int) -> bytes:
        entry = self._rescue.entry_of(block)
        if entry is not None:
            return self._kept(entry, block, skip, length)
        if self._rescue.about.stage is Stage.COMPLETE:
            return bytes(length)  # the rest were holes
        now = self._data.read(block * BLOCK_BYTES + skip, length)
        self._rescue.look_again()
        entry = self._rescue.entry_of(block)
        if entry is not None:
            return self._kept(entry, block, skip, length)
        about = self._rescue.about
        if about.stage is Stage.COMPLETE:
            return bytes(length)
        if about.stage not in VIEWABLE and not self._partial:
            raise StorageError(f"The rescue does not show the old content any more ({about.stage.value}).")
        return now

    def _kept(self, entry: Entry, block: int, skip: int, length: int) -> bytes:
        if self._last is None or self._last[0] != entry:
            data = self._rescue.content(entry)
            if data is None:
                return bytes(length)
            self._last = entry, data
        at = (block - entry.first) * BLOCK_BYTES + skip
        return self._last[1][at : at + length]


class Overlay:
    """What is written on top of an old volume, in a file that has no name.

    Args:
        below: the old volume.
        file: takes what is written.
    """

    def __init__(self, below: OldVolume, file: IO[bytes]) -> None:
        self._below = below
        self._file = file
        self._written: set[int] = set()

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Content with what was written. Raises StorageError, OSError."""
        first, count = offset_bytes // UNIT_BYTES, length_bytes // UNIT_BYTES
        if not any(unit in self._written for unit in range(first, first + count)):
            return self._below.read(offset_bytes, length_bytes)
        if all(unit in self._written for unit in range(first, first + count)):
            return os.pread(self._file.fileno(), length_bytes, offset_bytes)
        content = bytearray(self._below.read(offset_bytes, length_bytes))
        for unit in range(first, first + count):
            if unit in self._written:
                at = (unit - first) * UNIT_BYTES
                content[at : at + UNIT_BYTES] = os.pread(self._file.fileno(), UNIT_BYTES, unit * UNIT_BYTES)
        return bytes(content)

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        """Take what is written. OSError ENOSPC: more than any journal needs."""
        first = offset_bytes // UNIT_BYTES
        units = range(first, first + len(data) // UNIT_BYTES)
        if (len(self._written) + len(units)) * UNIT_BYTES > OVERLAY_LIMIT_BYTES:
            raise OSError(errno.ENOSPC, "the overlay is full")
        os.pwrite(self._file.fileno(), data, offset_bytes)
        self._written.update(units)


def answer(export: FuseExport, overlay: Overlay, request: Request) -> None:
    """Serve one request of the host."""
    tag, op, offset_bytes, length_bytes, data, _ = request
    try:
        if op is Op.READ:
            export.reply(tag, 0, overlay.read(offset_bytes, length_bytes))
        elif op is Op.WRITE and data is not None:
            overlay.write(offset_bytes, memoryview(data))
            export.reply(tag)
        elif op is Op.DISCARD:
            export.reply(tag, errno.EOPNOTSUPP)
        else:
            export.reply(tag)
    except OSError as error:
        export.reply(tag, error.errno or errno.EIO)
    except StorageError as error:
        sys.stderr.write(f"{error}\n")
        export.reply(tag, errno.EIO)


def serve(export: FuseExport, overlay: Overlay) -> None:
    """Serve until the mount is taken away or SIGTERM comes."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: export.close())
    poll = select.poll()
    poll.register(export.fileno(), select.POLLIN)
    while export.fileno() >= 0:
        poll.poll(POLL_MS)
        try:
            requests: Sequence[Request] = export.receive()
        except TwinhullError:  # somebody unmounted it: that is how it ends
            return
        for request in requests:
            answer(export, overlay, request)


def main(argv: Sequence[str] | None = None) -> int:
    """Show one rescue; says `ready` on standard output once the file is there."""
    parser = argparse.ArgumentParser(description="Shows the old volume of a rescue; started by the agent.")
    parser.add_argument("--volume", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--mount-dir", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--partial", action="store_true")
    arguments = parser.parse_args(argv)
    try:
        rescue = Store(platform_directory(arguments.store), "", "", 0).open(arguments.number)
        data = platform_directory(arguments.volume).open(DATA_FILE)
        old = OldVolume(rescue, data, partial=arguments.partial)
        with tempfile.TemporaryFile(dir=arguments.store) as file:
            export = FuseExport(arguments.mount_dir, old.size_bytes, arguments.name)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            try:
                serve(export, Overlay(old, file))
            finally:
                export.close()
    except (TwinhullError, OSError) as error:
        with contextlib.suppress(OSError):
            sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
