"""The whole old volume of a rescue as one file: a raw image, or a virtual disk that Windows mounts by itself."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from twinhull.errors import UsageError

STEP_BYTES = 1 << 20
VHD_MAX_BYTES = 2040 << 30
_VHD_FIXED = 2
_CREATOR = b"win "  # of other creators some readers take the geometry for the size
_VHD_FOOTER = ">8sIIQI4sI4sQQHBBII16s"


class Content(Protocol):
    """What is written: `worker.rescue_view.OldVolume` is one."""

    @property
    def size_bytes(self) -> int: ...
    def read(self, offset_bytes: int, length_bytes: int) -> bytes: ...


def write_image(old: Content, target: Path, footer: bytes, told: Callable[[int], None]) -> None:
    """Write the old content into a new file; nothing of it stays when that fails.

    Args:
        target: must not exist yet.
        footer: put behind the content.
        told: takes the bytes that are done.

    Raises StorageError, OSError.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.truncate(old.size_bytes)
            for at in range(0, old.size_bytes, STEP_BYTES):
                content = old.read(at, min(STEP_BYTES, old.size_bytes - at))
                if content.count(0) != len(content):
                    file.seek(at)
                    file.write(content)
                told(at)
            file.seek(old.size_bytes)
            file.write(footer)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink()
        raise


def vhd_footer(size_bytes: int, name: str) -> bytes:
    """What makes a raw image a fixed virtual disk, behind it. Pure.

    Args:
        size_bytes: of the image.
        name: the identity of the disk is made of it.

    Raises UsageError for more than such a disk can hold. Source: Virtual Hard Disk Image Format Specification 1.0
    (Hard Disk Footer Format).
    """
    if size_bytes > VHD_MAX_BYTES:
        raise UsageError(
            f"A virtual disk of this kind holds {VHD_MAX_BYTES >> 30} GiB at most; nothing was written.",
            "Give the file another ending than .vhd: it becomes a raw image.",
        )
    sectors = min(size_bytes // 512, 65535 * 16 * 255)
    geometry = sectors // (16 * 255), 16, 255  # cylinders, heads, sectors: only old programs look at them
    identity = hashlib.sha256(f"{name} {size_bytes}".encode()).digest()[:16]
    fields = (
        b"conectix", 2, 0x00010000, 0xFFFFFFFFFFFFFFFF, 0, _CREATOR, 0x00060001, b"Wi2k", size_bytes, size_bytes,
        *geometry, _VHD_FIXED, 0, identity,
    )  # fmt: skip
    footer = struct.pack(_VHD_FOOTER, *fields).ljust(512, b"\0")
    checksum = ~sum(footer) & 0xFFFFFFFF
    return footer[:64] + struct.pack(">I", checksum) + footer[68:]
