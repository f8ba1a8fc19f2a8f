"""Whether a volume is blank: nothing recognisable, and nothing but zeros wherever we look."""

from __future__ import annotations

import mmap
import os

from ..errors import AttachError

_MIB = 1 << 20
_SAMPLE_BYTES = 64 << 10
_SAMPLES = 64


def places(size_bytes: int) -> list[tuple[int, int]]:
    """Where to look, as (offset, length) in bytes: first and last MiB, and samples between. Pure."""
    if size_bytes <= 4 * _MIB:
        return [(0, size_bytes)]
    step = (size_bytes - 2 * _MIB) // (_SAMPLES + 1) // _SAMPLE_BYTES * _SAMPLE_BYTES
    samples = [(_MIB + index * step, _SAMPLE_BYTES) for index in range(1, _SAMPLES + 1)] if step else []
    # 128 MiB: the first copy of an ext4 superblock, where a lost beginning would leave one.
    backup = [(128 * _MIB, _SAMPLE_BYTES)] if size_bytes > 130 * _MIB else []
    return [(0, _MIB), *backup, *samples, (size_bytes - _MIB, _MIB)]


def first_data(device: str) -> int | None:
    """Offset in bytes of a place that holds something, or None. Raises AttachError."""
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        raise AttachError(f"The device {device} cannot be opened: {error.strerror}.") from error
    buffer = mmap.mmap(-1, 4 * _MIB)
    try:
        size_bytes = os.lseek(descriptor, 0, os.SEEK_END)
        for offset, length in places(size_bytes):
            view = memoryview(buffer)[:length]
            count = os.preadv(descriptor, [view], offset)
            holds_data = view[:count].tobytes().count(0) != count
            view.release()
            if count != length:
                raise AttachError(f"The device {device} gave {count} of {length} bytes at {offset}.")
            if holds_data:
                return offset
    except OSError as error:
        raise AttachError(f"The device {device} cannot be read: {error.strerror}.") from error
    finally:
        buffer.close()
        os.close(descriptor)
    return None
