"""Files of a volume that hold anything at all: read as what they are, or refused with our own errors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.disk import FakeDisk

from twinhull.core.marks import BLOCK_BYTES
from twinhull.errors import VolumeFormatError
from twinhull.storage import actlog, bitmap, metadata
from twinhull.storage.volume import BITMAP_FILE, LOG_FILE, METADATA_FILE, Volume

from .common import MIB, REPLICA, make

noise = st.binary(min_size=1, max_size=600)
SIZE_BYTES = 64 * MIB


def opened_after(file: str, offset_bytes: int, data: bytes) -> Volume | None:
    """The volume with these bytes in one of its files; None when it was refused as it should be."""
    disk = FakeDisk()
    make(disk, SIZE_BYTES)
    disk.kill()
    disk.poke(file, offset_bytes, data)
    try:
        return Volume.open(disk.directory())
    except VolumeFormatError as error:
        assert str(error)
        return None


@given(st.integers(0, metadata.SLOT_BYTES - 600), noise, st.booleans())
def test_metadata_with_any_bytes_in_it_is_read_or_refused(offset: int, data: bytes, sealed: bool) -> None:
    slots = []
    for slot_offset in metadata.SLOT_OFFSETS_BYTES:
        disk = FakeDisk()
        make(disk, SIZE_BYTES)
        slots.append(bytearray(disk.peek(METADATA_FILE, slot_offset, metadata.SLOT_BYTES)))
    disk = FakeDisk()
    make(disk, SIZE_BYTES)
    disk.kill()
    for slot, slot_offset in zip(slots, metadata.SLOT_OFFSETS_BYTES, strict=True):
        slot[offset : offset + len(data)] = data
        body = bytes(slot[: metadata.SLOT_BYTES - 32])
        whole = body + (metadata._digest(body) if sealed else bytes(slot[-32:]))
        disk.poke(METADATA_FILE, slot_offset, whole)
    try:
        volume = Volume.open(disk.directory())
    except VolumeFormatError as error:
        assert str(error)
    else:
        assert volume.record.replica_id == REPLICA or sealed


@given(st.integers(0, bitmap.PAGE_ON_DISK_BYTES - 600), noise)
def test_a_bitmap_with_any_bytes_in_it_loses_no_mark(offset: int, data: bytes) -> None:
    disk = FakeDisk()
    volume = make(disk, SIZE_BYTES)
    page = b"\x05" + bytes(4095)
    volume.store_bits([(0, page)])
    disk.kill()
    disk.poke(BITMAP_FILE, offset, data)
    try:
        bits = Volume.open(disk.directory()).bits()
    except VolumeFormatError as error:
        assert str(error)
    else:
        marked = {block for first, count in bits.runs() for block in range(first, first + count)}
        assert {0, 2} <= marked
        assert max(marked) < SIZE_BYTES // BLOCK_BYTES


@given(
    head=st.binary(min_size=actlog._HEAD.size, max_size=actlog._HEAD.size) | st.none(),
    count=st.integers(0, 2**32 - 1),
    sequence=st.integers(0, 2**64 - 1),
    entries=st.binary(max_size=200),
)
def test_a_log_with_a_whole_slot_of_anything_is_read_or_refused(
    head: bytes | None, count: int, sequence: int, entries: bytes
) -> None:
    made = head or actlog._HEAD.pack(actlog._MAGIC, actlog.VERSION, 0, sequence, count, 0, b"")
    body = entries[: 4 * count] if count < 50 else entries
    slot = made + actlog._digest(made, body, REPLICA) + body
    index = sequence % actlog.SLOTS
    volume = opened_after(LOG_FILE, index * actlog.SLOT_BYTES, slot)
    if volume is not None:
        assert all(extent < SIZE_BYTES // (4 * MIB) for extent in volume.log_extents())
