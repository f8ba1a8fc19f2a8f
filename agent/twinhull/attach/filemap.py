"""Which files lie in certain places of a mounted file system: `python -I -S filemap.py FOLDER SECONDS OFFSET+LENGTH,...`.

Asks the file system where each file lies (FS_IOC_FIEMAP, Documentation/filesystems/fiemap.rst of Linux; ext4 and xfs
answer) and prints, as JSON, the files of each place. A process of its own, so that a folder that hangs holds up nobody; it
imports nothing of ours.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

if sys.platform != "win32":  # it can be imported there, not used
    import fcntl

FS_IOC_FIEMAP = 0xC020660B
_HEAD = struct.Struct("=QQLLLL")
_EXTENT = struct.Struct("=QQQQQLLLL")
_BATCH = 256
_LAST, _UNKNOWN, _DELALLOC, _ENCODED, _INLINE = 0x1, 0x2, 0x4, 0x8, 0x200
MAX_FILES_TOLD = 20

Range = tuple[int, int]


def extents(descriptor: int) -> Iterator[Range]:
    """Where an open file or directory lies on its device (offset, length), as far as that is fixed. Raises OSError."""
    start = 0
    while True:
        buffer = array.array("B", bytes(_HEAD.size + _BATCH * _EXTENT.size))
        _HEAD.pack_into(buffer, 0, start, (1 << 64) - 1 - start, 0, 0, _BATCH, 0)
        fcntl.ioctl(descriptor, FS_IOC_FIEMAP, buffer)
        mapped = _HEAD.unpack_from(buffer)[3]
        for number in range(mapped):
            logical, physical, length, _, _, flags, *_ = _EXTENT.unpack_from(
                buffer, _HEAD.size + number * _EXTENT.size
            )
            if not flags & (_UNKNOWN | _DELALLOC | _ENCODED | _INLINE):
                yield physical, length
            start = logical + length
            if flags & _LAST:
                return
        if not mapped:
            return


def overlaps(one: Range, other: Range) -> bool:
    """Whether two ranges touch the same bytes."""
    return one[0] < sum(other) and other[0] < sum(one)


def entries(folder: str, device: int) -> Iterator[str]:
    """Every file and directory below a folder, on its own file system."""
    waiting = [folder]
    while waiting:
        directory = waiting.pop()
        yield directory
        with contextlib.suppress(OSError), os.scandir(directory) as found:
            for entry in found:
                if entry.is_symlink() or entry.stat(follow_symlinks=False).st_dev != device:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry.path


def owners(folder: str, ranges: Sequence[Range], until_s: float) -> tuple[list[list[str]], bool]:
    """The files of each range, named from the folder on, and whether all files were looked at before `until_s`."""
    found: list[list[str]] = [[] for _ in ranges]
    for path in entries(folder, Path(folder).stat().st_dev):
        if time.monotonic() > until_s:
            return found, False
        with contextlib.suppress(OSError):  # gone meanwhile, or of a kind that lies nowhere
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME)
            try:
                lies = list(extents(descriptor))
            finally:
                os.close(descriptor)
            for files, wanted in zip(found, ranges, strict=True):
                if len(files) < MAX_FILES_TOLD and any(overlaps(wanted, extent) for extent in lies):
                    files.append(os.path.relpath(path, folder))
    return found, True


def main(argv: Sequence[str]) -> int:
    """Print the files. Answers 1 when the folder is no mounted file system."""
    folder, seconds, places = argv
    if not os.path.ismount(folder):
        sys.stderr.write(f"{folder} is not mounted\n")
        return 1
    ranges = [
        (int(offset), int(length)) for offset, length in (each.split("+") for each in places.split(","))
    ]
    found, everything = owners(folder, ranges, time.monotonic() + float(seconds))
    sys.stdout.write(json.dumps({"files": found, "all": everything}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
