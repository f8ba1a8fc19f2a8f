"""Files of a volume that hold anything at all: read as what they are, or refused with our own errors."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from tests.fakes.disk import FakeDisk
from tests.unit.fuzzing import HUGE_NUMBER, TOO_DEEP, json_values

from twinhull.core.marks import BLOCK_BYTES
from twinhull.errors import StorageError, VolumeFormatError
from twinhull.storage import actlog, bitmap, metadata, rescue_format
from twinhull.storage.rescue import Rescue, Store
from twinhull.storage.rescue_format import HEADER_BYTES, MAX_ENTRY_BYTES, Kind, Piece
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


# ---- rescues ---------------------------------------------------------------------------------------------

RESCUE_FILE = "01.rescue"
ABOUT = (
    "key",
    "kind",
    "stage",
    "volume_bytes",
    "began_s",
    "lain_s",
    "copied_end_bytes",
    "note",
    "replica",
    "why",
)


def rescue_on(disk: FakeDisk) -> Store:
    """A store that holds one rescue of four blocks in two batches."""
    store = Store(disk.directory("rescue"), "VM1", "b", SIZE_BYTES, replica="ab" * 16, now=lambda: 1.0)
    _, rescue = store.begin(Kind.SPLIT, "a goes on", "0123")
    rescue.keep([Piece(1, 2, b"x" * 2 * BLOCK_BYTES)])
    rescue.keep([Piece(5, 1, b"y" * BLOCK_BYTES), Piece(9, 1, None)])
    rescue.close()
    return store


def is_sound(rescue: Rescue) -> None:
    """Whatever it holds is within its volume, and as much at once as one of ours may be."""
    blocks = rescue.about.volume_bytes // BLOCK_BYTES
    for entry in rescue.entries():
        assert entry.blocks > 0 and entry.first + entry.blocks <= blocks
        assert entry.data_bytes < 0 or entry.blocks * BLOCK_BYTES <= MAX_ENTRY_BYTES


def look_at_everything(store: Store) -> None:
    """All that list, show, mount and expiry do with the files there are."""
    for number in store.numbers():
        try:
            rescue = store.open(number)
        except VolumeFormatError as error:
            assert str(error)
            continue
        is_sound(rescue)
        for entry in rescue.entries():
            try:
                rescue.content(entry)
            except StorageError as error:
                assert str(error)
        rescue.close()
    assert store.used_bytes() >= 0
    current = store.current()
    if current is not None:
        current[1].close()
    store.expire(1.0)


def sealed_slot(text: bytes, sequence: int) -> bytes:
    """A slot whose digest is right, around any description."""
    room = rescue_format.SLOT_BYTES - rescue_format._SLOT.size - rescue_format.DIGEST_BYTES
    text = text[:room]
    body = rescue_format._SLOT.pack(
        rescue_format._SLOT_MAGIC, rescue_format.VERSION, 0, sequence, len(text), 0
    ) + text.ljust(room, b"\0")
    seal = hashlib.blake2b(
        body, digest_size=rescue_format.DIGEST_BYTES, person=rescue_format._SLOT_PERSON
    ).digest()
    return body + seal


@given(
    text=st.binary(max_size=300)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.sampled_from([TOO_DEEP[:4000].encode(), HUGE_NUMBER[:4000].encode()]),
    sequence=st.integers(0, 2**64 - 1),
)
@example(TOO_DEEP[:4000].encode(), 9)
def test_a_rescue_with_a_whole_slot_of_anything_is_no_crash(text: bytes, sequence: int) -> None:
    disk = FakeDisk()
    store = rescue_on(disk)
    disk.poke(
        RESCUE_FILE, sequence % 2 * rescue_format.SLOT_BYTES, sealed_slot(text, sequence), directory="rescue"
    )
    look_at_everything(store)


@given(st.dictionaries(st.sampled_from(ABOUT), json_values | st.sampled_from(["open", "00" * 16, "verify"])))
@example({"key": "no digits"})
@example({"began_s": "yesterday"})
@example({"volume_bytes": -(1 << 40)})
@example({"volume_bytes": 1 << 62})
@example({"volume_bytes": 40 * BLOCK_BYTES})
@example({"began_s": float("nan")})
@example({"lain_s": [1]})
@example({"copied_end_bytes": True})
def test_a_rescue_that_says_anything_of_itself_is_read_or_refused(changes: dict[str, Any]) -> None:
    disk = FakeDisk()
    store = rescue_on(disk)
    rescue = store.open(1)
    about = dataclasses.asdict(rescue.about)
    about |= {"kind": rescue.about.kind.value, "stage": rescue.about.stage.value}
    rescue.close()
    for sequence in (8, 9):
        slot = sealed_slot(json.dumps({**about, **changes}).encode(), sequence)
        disk.poke(RESCUE_FILE, sequence % 2 * rescue_format.SLOT_BYTES, slot, directory="rescue")
    look_at_everything(store)


@given(st.integers(0, 40_000), noise)
def test_a_rescue_with_any_bytes_in_it_shows_what_was_kept_or_says_that_it_is_damaged(
    offset: int, data: bytes
) -> None:
    disk = FakeDisk()
    store = rescue_on(disk)
    disk.poke(RESCUE_FILE, offset, data, directory="rescue")
    look_at_everything(store)


entries = st.lists(
    st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 3))
    | st.tuples(st.integers(0, 2100), st.integers(0, 300), st.integers(0, 1)),
    max_size=4,
)


@given(
    entries=entries,
    count=st.integers(0, 2**16 - 1) | st.none(),
    data_bytes=st.integers(0, 2**64 - 1) | st.none(),
    number=st.sampled_from([1, 2, 3, 4, 2**64 - 1]),
)
@example([(2047, 2, 1)], None, 0, 3)
@example([(0, 0, 0)], None, 0, 3)
@example([(0, 2048, 0)], None, 2048 * BLOCK_BYTES, 3)
def test_a_sealed_batch_of_anything_is_taken_as_none_or_is_within_its_bounds(
    entries: list[tuple[int, int, int]], count: int | None, data_bytes: int | None, number: int
) -> None:
    disk = FakeDisk()
    store = rescue_on(disk)
    rescue = store.open(1)
    table = b"".join(
        rescue_format._ENTRY.pack(first, length, flags, bytes(16)) for first, length, flags in entries
    )
    body = table.ljust(HEADER_BYTES - rescue_format._HEADER.size, b"\0")
    told = len(entries) if count is None else count
    size = data_bytes
    if size is None:
        size = sum(length * BLOCK_BYTES for _, length, flags in entries if not flags & 1) % 2**64
    words = (
        rescue_format._HEADER_MAGIC,
        rescue_format.VERSION,
        told,
        number,
        size,
        bytes.fromhex(rescue.about.key),
    )
    head = rescue_format._HEADER.pack(*words, bytes(16))
    seal = hashlib.blake2b(head + body, digest_size=16, person=rescue_format._HEADER_PERSON).digest()
    at = rescue.used_bytes
    rescue.close()
    disk.poke(RESCUE_FILE, at, rescue_format._HEADER.pack(*words, seal) + body, directory="rescue")
    look_at_everything(store)
    again = store.open(1)
    assert {1, 2, 5, 9} <= {entry.first + n for entry in again.entries() for n in range(entry.blocks)}
    again.close()
