"""The bitmap of what the peer may miss, on disk (docs/formats.md, "bits.bin").

One bit stands for 32 KiB. A page of `core.marks.PagedBitmap` is kept as `SECTORS` sectors of 512 bytes, each
with a checksum of its own: a torn page is a mix of old and new sectors, which is harmless (an extent leaves
the activity log only after its bits are durable, and a bit that is not cleared only costs a copy), and a
sector that is damaged reads as "all of it may differ".
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import NamedTuple

from ..core.identity import Id
from ..core.marks import BLOCK_BYTES, EMPTY_PAGE, PAGE_BLOCKS, PAGE_BYTES, PagedBitmap, page_count
from ..errors import VolumeFormatError
from .base import File

VERSION = 1
SECTOR_BYTES = 512
SECTORS = 9
SECTOR_BITS_BYTES = 456
PAGE_ON_DISK_BYTES = SECTORS * SECTOR_BYTES

_MAGIC = b"THBM"
_HEAD = struct.Struct("<4sBBHII")
_BODY = struct.Struct(f"<{_HEAD.size}s{SECTOR_BITS_BYTES}s24x")
_DIGEST_BYTES = 16
_ALL_MARKED = b"\xff" * SECTOR_BITS_BYTES
_FORMAT_PAGES = 256


class Loaded(NamedTuple):
    """A bitmap as it was found.

    Args:
        bits: the marks.
        damaged_sectors: how many sectors were damaged; their blocks are all marked.
    """

    bits: PagedBitmap
    damaged_sectors: int


def file_bytes(size_bytes: int) -> int:
    """Length of the bitmap's file for a volume of `size_bytes`."""
    return page_count(size_bytes // BLOCK_BYTES) * PAGE_ON_DISK_BYTES


def _digest(body: bytes, replica_id: Id) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES, key=replica_id, person=b"twinhull-bits").digest()


def encode_page(page: int, bits: bytes, replica_id: Id) -> bytes:
    """The sectors of one page of `PAGE_BYTES` bits."""
    parts: list[bytes] = []
    for part in range(SECTORS):
        head = _HEAD.pack(_MAGIC, VERSION, part, 0, page, 0)
        body = _BODY.pack(head, bits[part * SECTOR_BITS_BYTES : (part + 1) * SECTOR_BITS_BYTES])
        parts += (body, _digest(body, replica_id))
    return b"".join(parts)


def _decode_sector(sector: bytes, page: int, part: int, replica_id: Id, where: str) -> bytes | None:
    """The bits of a whole sector, None of any other. VolumeFormatError for a newer format."""
    body = sector[: _BODY.size]
    if sector[_BODY.size :] != _digest(body, replica_id):
        return None
    head, bits = _BODY.unpack(body)
    magic, version, *place = _HEAD.unpack(head)
    if magic != _MAGIC or place != [part, 0, page, 0]:
        return None
    if version != VERSION:
        raise VolumeFormatError(
            f"The bitmap of the volume in {where} has format {version}; this program knows format {VERSION}.",
            "Install the version of Twinhull that wrote it; nothing was changed.",
        )
    return bytes(bits)


class BitmapFile:
    """The bitmap's file of one volume. One thread at a time uses it.

    Args:
        file: the file, `file_bytes(size_bytes)` long.
        replica_id: the replica that the bitmap belongs to.
        size_bytes: size of the volume.
    """

    def __init__(self, file: File, replica_id: Id, size_bytes: int) -> None:
        self._file = file
        self._replica_id = replica_id
        self._size_bytes = size_bytes
        self._pages = page_count(size_bytes // BLOCK_BYTES)

    def format(self) -> None:
        """Write a bitmap without marks over all of the file, durably."""
        for first in range(0, self._pages, _FORMAT_PAGES):
            pages = range(first, min(first + _FORMAT_PAGES, self._pages))
            data = b"".join(encode_page(page, EMPTY_PAGE, self._replica_id) for page in pages)
            self._file.write(first * PAGE_ON_DISK_BYTES, data)
        self._file.sync()

    def load(self, where: str) -> Loaded:
        """Read all of it.

        Args:
            where: the volume's directory, for messages.

        Raises:
            VolumeFormatError: the file is foreign, newer or of another size; nothing was changed.
        """
        expected = file_bytes(self._size_bytes)
        if self._file.size() != expected:
            raise _unreadable(where, f"is {self._file.size()} bytes long instead of {expected}")
        bits = PagedBitmap(self._size_bytes // BLOCK_BYTES)
        damaged = 0
        for page in range(self._pages):
            data = self._file.read(page * PAGE_ON_DISK_BYTES, PAGE_ON_DISK_BYTES)
            content, missing = self._decode_page(page, data, where)
            damaged += missing
            if content != EMPTY_PAGE:
                bits.set_page(page, content)
        if damaged == self._pages * SECTORS:
            raise _unreadable(where, "holds nothing of this volume")
        return Loaded(bits, damaged)

    def _decode_page(self, page: int, data: bytes, where: str) -> tuple[bytes, int]:
        """The bits of a page, and how many of its sectors are damaged."""
        parts = [
            _decode_sector(
                data[part * SECTOR_BYTES : (part + 1) * SECTOR_BYTES], page, part, self._replica_id, where
            )
            for part in range(SECTORS)
        ]
        content = b"".join(_ALL_MARKED if part is None else part for part in parts)[:PAGE_BYTES]
        blocks = min(self._size_bytes // BLOCK_BYTES - page * PAGE_BLOCKS, PAGE_BLOCKS)
        return content[: blocks // 8].ljust(PAGE_BYTES, b"\0"), parts.count(None)

    def store(self, pages: Iterable[tuple[int, bytes]]) -> None:
        """Replace these pages (number, `PAGE_BYTES` of bits), then make all of them durable.

        Raises:
            DiskError: any of them may be old, new or a mix of both.
            ValueError: a page outside the volume, or of another length.
        """
        pages = list(pages)
        for page, bits in pages:
            if not 0 <= page < self._pages or len(bits) != PAGE_BYTES:
                raise ValueError(f"page {page} with {len(bits)} bytes")
        for page, bits in pages:
            self._file.write(page * PAGE_ON_DISK_BYTES, encode_page(page, bits, self._replica_id))
        if pages:
            self._file.sync()


def _unreadable(where: str, what: str) -> VolumeFormatError:
    return VolumeFormatError(
        f"The bitmap of the volume in {where} {what}.",
        "Nothing was changed. Put the volume's own file back, or remove this replica's files and create the "
        "replica anew: it will be copied from the other node.",
    )
