"""Content that a repair overwrites, kept beside it (promise 7): `DATA_DIR/rescue/MODULE/verify-TIME/`.

`blocks.bin` is a row of records, each a header of 64 bytes and the old content; a record is durable before the block is
overwritten. A torn last record is told by its digest: its block was not overwritten. docs/formats.md has it byte by byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import DiskError, DiskFullError, StorageError

MAGIC = b"THRB"
VERSION = 1
BLOCKS_FILE = "blocks.bin"
ABOUT_FILE = "about.json"
LIMIT_BYTES = 1 << 30
FREE_SHARE = 10
IDLE_S = 60.0
_HEADER = struct.Struct("<4sHHQQ24x16s")
_PERSON = b"twinhull-kept"


class KeptBlock(NamedTuple):
    """Old content of a range of the volume."""

    offset_bytes: int
    data: bytes


class Keeper:
    """Keeps what is overwritten by repairs of one module on this node. One thread uses it.

    Args:
        directory: `rescue/MODULE`; made when it is needed.
        about: what is written beside the blocks for people (module, node, why); asked when a store begins.
        limit_bytes: the most that all repairs of the module may keep.
        now: names the store, seconds since 1970.
        clock: monotonic seconds: a pause of `IDLE_S` ends a store.
    """

    def __init__(
        self,
        directory: Path,
        about: Callable[[], Mapping[str, object]],
        *,
        limit_bytes: int = LIMIT_BYTES,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._about = about
        self._limit_bytes = limit_bytes
        self._now = now
        self._clock = clock
        self._file: int | None = None
        self._used_s = 0.0
        self._kept_bytes = 0
        self._end_bytes = 0
        self.path: Path | None = None
        """Where the last block was kept."""

    def keep(self, offset_bytes: int, data: bytes) -> None:
        """Have the content durable; it may be overwritten then.

        Raises StorageError when the bound is reached, DiskError (DiskFullError) when the disk does not take it.
        """
        try:
            if self._file is None or self._clock() - self._used_s > IDLE_S:
                self.close()
                self._file = self._begin()
            self._used_s = self._clock()
            self._check_room(_HEADER.size + len(data))
            self._append(self._file, record_of(offset_bytes, data))
        except OSError as error:
            self.close()  # what was written half-way is not gone on with
            kind = DiskFullError if error.errno in (28, 122) else DiskError
            raise kind(
                f"What a repair overwrites cannot be kept in {self._directory}: {error.strerror}.",
                "Make room on that disk; nothing was overwritten.",
            ) from error

    def close(self) -> None:
        """End the store; the next block begins another. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _begin(self) -> int:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._kept_bytes = sum(
            file.stat().st_size for file in self._directory.glob(f"verify-*/{BLOCKS_FILE}")
        )
        place = self._new_place()
        text = json.dumps({"format": VERSION, **self._about()}, indent=2) + "\n"
        for name, content in ((ABOUT_FILE, text.encode()), (BLOCKS_FILE, b"")):
            file = os.open(place / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, content)
                os.fsync(file)
            except OSError:
                os.close(file)
                raise
            if name == ABOUT_FILE:
                os.close(file)
        for directory in (place, self._directory, self._directory.parent):
            _sync_directory(directory)
        self.path, self._end_bytes = place, 0
        return file

    def _new_place(self) -> Path:
        name = time.strftime("verify-%Y%m%d-%H%M%S", time.localtime(self._now()))
        for number in range(1000):
            place = self._directory / (f"{name}-{number}" if number else name)
            with contextlib.suppress(FileExistsError):
                place.mkdir(mode=0o700)
                return place
        raise StorageError(f"{self._directory} has too many stores of the same second.", "Remove old ones.")

    def _check_room(self, more_bytes: int) -> None:
        figures = os.statvfs(self._directory)
        free_bytes = figures.f_bavail * figures.f_frsize
        if self._kept_bytes + more_bytes > self._limit_bytes:
            raise StorageError(
                f"{self._directory} holds {self._kept_bytes >> 20} MiB of overwritten content already, and "
                f"{self._limit_bytes >> 20} MiB is the most that is kept there.",
                "Look through it, remove what is not needed, and verify again.",
            )
        if more_bytes > free_bytes // FREE_SHARE:
            raise StorageError(
                f"The disk of {self._directory} has only {free_bytes >> 20} MiB left.", "Make room on it."
            )

    def _append(self, file: int, record: bytes) -> None:
        done = 0
        while done < len(record):
            done += os.pwrite(file, record[done:], self._end_bytes + done)
        os.fdatasync(file)
        self._end_bytes += len(record)
        self._kept_bytes += len(record)


def record_of(offset_bytes: int, data: bytes) -> bytes:
    """A block as it stands in the file."""
    head = _HEADER.pack(MAGIC, VERSION, 0, offset_bytes, len(data), bytes(16))
    digest = hashlib.blake2b(head + data, digest_size=16, person=_PERSON).digest()
    return head[:-16] + digest + data


def read_kept(path: Path) -> Iterator[KeptBlock]:
    """The blocks of a store, in the order in which they were overwritten; a torn last one is left out.

    Args:
        path: the directory of the store.

    Raises StorageError for a file that is no such store.
    """
    with (path / BLOCKS_FILE).open("rb") as file:
        while len(head := file.read(_HEADER.size)) == _HEADER.size:
            magic, version, _, offset_bytes, length_bytes, digest = _HEADER.unpack(head)
            if magic != MAGIC or version != VERSION:
                raise StorageError(f"{path / BLOCKS_FILE} holds something else than kept blocks.", "")
            data = file.read(length_bytes)
            empty = head[:-16] + bytes(16)
            if hashlib.blake2b(empty + data, digest_size=16, person=_PERSON).digest() != digest:
                return
            yield KeptBlock(offset_bytes, data)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
