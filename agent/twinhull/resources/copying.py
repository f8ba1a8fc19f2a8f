"""Copying a disk image into another file system, thin where it is thin, and proving that it arrived."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from twinhull.errors import ResourceError

CHUNK_BYTES = 1024 * 1024
_ZEROS = bytes(CHUNK_BYTES)
OnBytes = Callable[[int], None]


def copy_image(source: Path, target: Path, on_bytes: OnBytes) -> None:
    """Copy a file or block device byte by byte, leaving holes for zeros; durable and compared afterwards.

    Args:
        source: a file, or a block device.
        target: the new file; replaced if it exists. It appears under its name only when it is whole.
        on_bytes: told the number of bytes of each part read.

    Raises ResourceError when what was read back differs, or a disk failed; then there is no target.
    """
    part = target.with_name(target.name + ".part")
    try:
        with source.open("rb", buffering=0) as reader:
            size_bytes = reader.seek(0, os.SEEK_END)
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                written = _copy(reader.fileno(), descriptor, size_bytes, on_bytes)
                os.fsync(descriptor)
                # what is compared has to come from the disk, not from the memory that was just written
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                read_back = _digest(descriptor, size_bytes)
            finally:
                os.close(descriptor)
        if written != read_back:
            raise ResourceError(
                f"The copy of {source} differs from what was written to {target}.",
                "Check the disk below the folder; the original is unchanged.",
            )
        _keep_owner(source, part)
        finish_copy(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        what = "there is no space left" if error.errno == errno.ENOSPC else str(error)
        raise ResourceError(
            f"Copying {source} to {target} failed: {what}.", "The original is unchanged; run it again."
        ) from error
    except ResourceError:
        part.unlink(missing_ok=True)
        raise


def finish_copy(part: Path, target: Path) -> None:
    """Give a whole copy its name, durably."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def data_bytes(path: Path) -> int:
    """Bytes of a file that a copy reads: those that are allocated; the whole size of a block device."""
    status = path.stat()
    if stat.S_ISBLK(status.st_mode):
        with path.open("rb") as file:
            return file.seek(0, os.SEEK_END)
    return min(status.st_size, status.st_blocks * 512)


def _copy(source: int, target: int, size_bytes: int, on_bytes: OnBytes) -> bytes:
    os.ftruncate(target, size_bytes)
    digest = hashlib.blake2b()
    for offset_bytes, data in _chunks(source, size_bytes):
        if not _is_zero(data):
            _note(digest, offset_bytes, data)
            _write(target, offset_bytes, data)
        os.posix_fadvise(source, offset_bytes, len(data), os.POSIX_FADV_DONTNEED)
        on_bytes(len(data))
    return digest.digest()


def _digest(descriptor: int, size_bytes: int) -> bytes:
    digest = hashlib.blake2b()
    for offset_bytes, data in _chunks(descriptor, size_bytes):
        if not _is_zero(data):
            _note(digest, offset_bytes, data)
    return digest.digest()


def _note(digest: hashlib.blake2b, offset_bytes: int, data: bytes) -> None:
    digest.update(struct.pack("<QI", offset_bytes, len(data)))
    digest.update(data)


def _chunks(descriptor: int, size_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The chunks, at multiples of `CHUNK_BYTES`, that hold any data."""
    offset_bytes = 0
    while offset_bytes < size_bytes:
        next_bytes = _next_data(descriptor, offset_bytes)
        if next_bytes is None:
            return
        offset_bytes = next_bytes - next_bytes % CHUNK_BYTES
        length_bytes = min(CHUNK_BYTES, size_bytes - offset_bytes)
        yield offset_bytes, _read(descriptor, offset_bytes, length_bytes)
        offset_bytes += CHUNK_BYTES


def _next_data(descriptor: int, offset_bytes: int) -> int | None:
    try:
        return os.lseek(descriptor, offset_bytes, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return offset_bytes
        raise


def _read(descriptor: int, offset_bytes: int, length_bytes: int) -> bytes:
    parts = []
    while length_bytes:
        data = os.pread(descriptor, length_bytes, offset_bytes)
        if not data:
            raise OSError(errno.EIO, "the file ended while it was read")
        parts.append(data)
        offset_bytes += len(data)
        length_bytes -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _write(descriptor: int, offset_bytes: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset_bytes)
        offset_bytes += count
        view = view[count:]


def _is_zero(data: bytes) -> bool:
    return data == (_ZEROS if len(data) == CHUNK_BYTES else bytes(len(data)))


def _keep_owner(source: Path, target: Path) -> None:
    status = source.stat()
    if stat.S_ISREG(status.st_mode):
        os.chown(target, status.st_uid, status.st_gid)
        target.chmod(stat.S_IMODE(status.st_mode))
