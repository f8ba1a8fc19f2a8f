"""What the writer puts into the folder, and how it is read again. Imports nothing of ours: nodes run it, too.

`journal` is a file of fixed-size records, numbered from 1; `table` is a fixed area whose slots are overwritten at random.
Each journal record names the slot that was overwritten just before it and that slot's checksum.
"""

from __future__ import annotations

import random
import struct
import zlib
from typing import NamedTuple

RECORD_BYTES = 512
SLOT_BYTES = 4096
SLOTS = 256
RUN_BYTES = 8
_RECORD = struct.Struct("<8sQ8sII")
_SLOT = struct.Struct("<8sQ8sI")
_CRC = struct.Struct("<I")
_RECORD_MAGIC = b"TWHLJRN1"
_SLOT_MAGIC = b"TWHLSLT1"


class Record(NamedTuple):
    """One whole record of the journal."""

    number: int
    run: bytes
    slot: int
    slot_crc: int


class Slot(NamedTuple):
    """One whole slot of the table; `crc` is that of all its bytes."""

    number: int
    run: bytes
    slot: int
    crc: int


def _sealed(head: bytes, size: int, run: bytes, number: int) -> bytes:
    filling = random.Random(run + head).randbytes(size - len(head) - _CRC.size)
    body = head + filling
    return body + _CRC.pack(zlib.crc32(body))


def _is_sealed(data: bytes, size: int, magic: bytes) -> bool:
    return (
        len(data) == size
        and data.startswith(magic)
        and zlib.crc32(data[: -_CRC.size]) == _CRC.unpack(data[-_CRC.size :])[0]
    )


def make_record(record: Record) -> bytes:
    """The bytes of a record."""
    head = _RECORD.pack(_RECORD_MAGIC, record.number, record.run, record.slot, record.slot_crc)
    return _sealed(head, RECORD_BYTES, record.run, record.number)


def read_record(data: bytes) -> Record | None:
    """The record, or None when the bytes are no whole one."""
    if not _is_sealed(data, RECORD_BYTES, _RECORD_MAGIC):
        return None
    _, number, run, slot, slot_crc = _RECORD.unpack_from(data)
    return Record(number, run, slot, slot_crc)


def make_slot(number: int, run: bytes, slot: int) -> bytes:
    """The bytes of a slot."""
    return _sealed(_SLOT.pack(_SLOT_MAGIC, number, run, slot), SLOT_BYTES, run, number)


def read_slot(data: bytes) -> Slot | None:
    """The slot, or None when the bytes are no whole one."""
    if not _is_sealed(data, SLOT_BYTES, _SLOT_MAGIC):
        return None
    _, number, run, slot = _SLOT.unpack_from(data)
    return Slot(number, run, slot, zlib.crc32(data))


def read_journal(data: bytes) -> list[Record]:
    """The records from the first on, up to the first that is missing, damaged or not in its place."""
    records: list[Record] = []
    for offset in range(0, len(data), RECORD_BYTES):
        record = read_record(data[offset : offset + RECORD_BYTES])
        if record is None or record.number != offset // RECORD_BYTES + 1:
            break
        records.append(record)
    return records
