"""The activity log: the whole set is found again, whatever was written last."""

from __future__ import annotations

import random
import struct
import sys

import pytest
from tests.fakes.disk import FakeDisk, PowerLost

from twinhull.core.marks import EXTENT_BYTES
from twinhull.errors import VolumeFormatError
from twinhull.storage import actlog
from twinhull.storage.actlog import CAPACITY, SLOT_BYTES, SLOTS
from twinhull.storage.volume import Volume

from .common import MIB, REPLICA, make


def opened(disk: FakeDisk) -> Volume:
    """The volume after a power loss that took all that was not synced."""
    disk.power_loss()
    return Volume.open(disk.directory())


def test_the_set_is_found_again_after_many_rounds_of_the_ring(disk: FakeDisk) -> None:
    volume = make(disk, 1 << 30)
    rng = random.Random(4)
    expected: set[int] = set()
    for _ in range(3 * SLOTS + 5):
        add = {rng.randrange(256) for _ in range(rng.randint(0, 9))}
        remove = {rng.randrange(256) for _ in range(rng.randint(0, 9))}
        volume.log_commit(add, remove)
        expected = (expected - remove) | add
        assert volume.log_extents() == expected
    assert opened(disk).log_extents() == expected


def test_a_full_log_is_found_again(disk: FakeDisk) -> None:
    extents = range(0, 3 * CAPACITY, 3)
    disk_bytes = 3 * CAPACITY * EXTENT_BYTES
    volume = make(disk, disk_bytes)
    volume.log_commit(add=extents)
    assert opened(disk).log_extents() == set(extents)
    assert CAPACITY >= 1024


def test_more_than_fits_is_refused_and_changes_nothing(disk: FakeDisk) -> None:
    volume = make(disk, (CAPACITY + 1) * EXTENT_BYTES)
    volume.log_commit(add={5})
    with pytest.raises(ValueError, match="takes"):
        volume.log_commit(add=range(CAPACITY + 1))
    assert opened(disk).log_extents() == {5}


@pytest.mark.parametrize("extent", [-1, 1])
def test_an_extent_outside_the_volume_is_refused(disk: FakeDisk, extent: int) -> None:
    volume = make(disk, MIB)
    volume.log_commit(add={0})
    with pytest.raises(ValueError, match="outside"):
        volume.log_commit(add={extent})


def test_what_changes_nothing_is_not_written(disk: FakeDisk) -> None:
    volume = make(disk)
    volume.log_commit(add={0})
    before = disk.changes
    volume.log_commit(add={0})
    volume.log_commit(add={0}, remove={0})
    volume.log_commit()
    assert disk.changes == before


def test_a_small_set_takes_one_page_of_the_disk(disk: FakeDisk) -> None:
    volume = make(disk)
    disk.crash_at(1)
    with pytest.raises(PowerLost, match="sync"):
        volume.log_commit(add={0})
    assert disk.pending_sectors() == 8


def test_the_layout_is_the_documented_one(disk: FakeDisk) -> None:
    volume = make(disk, 1 << 30)
    volume.log_commit(add={9, 3, 200})
    slot = disk.peek("log.bin", SLOT_BYTES, SLOT_BYTES)
    assert slot[:24] == b"THAL" + struct.pack("<HHQII", 1, 0, 1, 3, 0)
    assert slot[24:48] == bytes(24)
    assert struct.unpack_from("<3I", slot, 64) == (3, 9, 200)
    assert slot[76:4096] == bytes(4096 - 76)


def resealed(disk: FakeDisk, index: int, offset: int, change: bytes) -> None:
    """Change a slot under a checksum that is right."""
    slot = bytearray(disk.peek("log.bin", index * SLOT_BYTES, SLOT_BYTES))
    slot[offset : offset + len(change)] = change
    count = struct.unpack_from("<I", slot, 16)[0]
    slot[48:64] = actlog._digest(bytes(slot[:48]), bytes(slot[64 : 64 + 4 * count]), REPLICA)
    disk.poke("log.bin", index * SLOT_BYTES, bytes(slot))


def test_a_log_of_a_newer_version_is_refused(disk: FakeDisk) -> None:
    make(disk).log_commit(add={0})
    disk.kill()
    resealed(disk, 1, 4, b"\x02")
    with pytest.raises(VolumeFormatError, match=r"format 2; this program knows 1\. Install"):
        Volume.open(disk.directory())


def test_a_slot_in_the_wrong_place_does_not_count(disk: FakeDisk) -> None:
    volume = make(disk)
    volume.log_commit(add={0})
    volume.close()
    resealed(disk, 1, 8, struct.pack("<Q", 2))
    assert Volume.open(disk.directory()).log_extents() == frozenset()


def test_a_log_that_names_extents_behind_the_end_is_refused(disk: FakeDisk) -> None:
    make(disk).log_commit(add={0})
    disk.kill()
    resealed(disk, 1, 64, struct.pack("<I", 77))
    with pytest.raises(VolumeFormatError, match="behind the volume's end"):
        Volume.open(disk.directory())


def test_numbers_are_little_endian_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    slot = actlog._encode_slot(1, [1], REPLICA)
    assert slot[64:68] == b"\x00\x00\x00\x01"
