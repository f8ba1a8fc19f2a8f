"""The bitmap on disk: marks are found again, and damage costs copies, never marks."""

from __future__ import annotations

import random

import pytest
from tests.fakes.disk import FakeDisk

from twinhull.core.marks import BLOCK_BYTES, PAGE_BLOCKS
from twinhull.errors import VolumeFormatError
from twinhull.storage import bitmap
from twinhull.storage.bitmap import PAGE_ON_DISK_BYTES, SECTOR_BITS_BYTES, SECTOR_BYTES, SECTORS
from twinhull.storage.volume import Volume

from .common import GIB, MIB, REPLICA, make


def opened(disk: FakeDisk) -> Volume:
    """The volume after a power loss that took all that was not synced."""
    disk.power_loss()
    return Volume.open(disk.directory())


def test_pages_are_found_again(disk: FakeDisk) -> None:
    volume = make(disk, 3 * GIB + MIB)
    rng = random.Random(5)
    pages = {0: rng.randbytes(4096), 2: b"\xff" * 4096, 3: b"\x0f\0\0\x80" + bytes(4092)}
    volume.store_bits(pages.items())
    assert dict(opened(disk).bits().pages()) == pages


def test_a_stored_page_replaces_the_one_before(disk: FakeDisk) -> None:
    volume = make(disk)
    volume.store_bits([(0, b"\x07" + bytes(4095))])
    volume.store_bits([(0, b"\x02" + bytes(4095))])
    assert list(opened(disk).bits().runs()) == [(1, 1)]


def test_storing_nothing_touches_nothing(disk: FakeDisk) -> None:
    volume = make(disk)
    before = disk.changes
    volume.store_bits([])
    assert disk.changes == before


@pytest.mark.parametrize(("page", "length"), [(-1, 4096), (1, 4096), (0, 4095), (0, 0)])
def test_a_page_that_cannot_be_is_refused_before_anything_is_written(
    disk: FakeDisk, page: int, length: int
) -> None:
    volume = make(disk)
    with pytest.raises(ValueError, match="page"):
        volume.store_bits([(0, b"\x01" + bytes(4095)), (page, bytes(length))])
    assert not opened(disk).bits()


@pytest.mark.parametrize("sector", range(SECTORS))
def test_a_damaged_sector_marks_what_it_stood_for_and_no_more(disk: FakeDisk, sector: int) -> None:
    volume = make(disk, 2 * GIB)
    volume.store_bits([(1, b"\x01" + bytes(4095))])
    volume.close()
    disk.poke("bits.bin", PAGE_ON_DISK_BYTES + sector * SECTOR_BYTES + 100, b"?")
    volume = Volume.open(disk.directory())
    page = bytearray(b"\x01" + bytes(4095))
    low, high = sector * SECTOR_BITS_BYTES, min((sector + 1) * SECTOR_BITS_BYTES, 4096)
    page[low:high] = b"\xff" * (high - low)
    assert dict(volume.bits().pages()) == {1: bytes(page)}
    assert "1 sectors of the bitmap" in volume.notes[0]


def test_damage_at_the_end_marks_no_block_that_does_not_exist(disk: FakeDisk) -> None:
    make(disk, GIB + MIB).close()
    disk.poke("bits.bin", PAGE_ON_DISK_BYTES, bytes(PAGE_ON_DISK_BYTES))
    volume = Volume.open(disk.directory())
    assert list(volume.bits().runs()) == [(PAGE_BLOCKS, MIB // BLOCK_BYTES)]


def test_a_page_in_the_wrong_place_is_damage(disk: FakeDisk) -> None:
    make(disk, 2 * GIB).close()
    disk.poke("bits.bin", 0, disk.peek("bits.bin", PAGE_ON_DISK_BYTES, PAGE_ON_DISK_BYTES))
    assert len(Volume.open(disk.directory()).bits()) == PAGE_BLOCKS


def test_a_bitmap_of_a_newer_version_is_refused(disk: FakeDisk) -> None:
    make(disk).close()
    sector = bytearray(disk.peek("bits.bin", 0, 512))
    sector[4] = 2
    sector[496:] = bitmap._digest(bytes(sector[:496]), REPLICA)
    disk.poke("bits.bin", 0, bytes(sector))
    with pytest.raises(VolumeFormatError, match=r"format 2; this program knows .*Install"):
        Volume.open(disk.directory())


def test_the_layout_is_the_documented_one(disk: FakeDisk) -> None:
    volume = make(disk, 2 * GIB)
    bits = random.Random(6).randbytes(4096)
    volume.store_bits([(1, bits)])
    page = disk.peek("bits.bin", PAGE_ON_DISK_BYTES, PAGE_ON_DISK_BYTES)
    sectors = [page[number * 512 : (number + 1) * 512] for number in range(9)]
    for number, sector in enumerate(sectors):
        assert sector[:16] == b"THBM" + bytes([1, number, 0, 0]) + b"\x01\0\0\0" + bytes(4)
        assert sector[472:496] == bytes(24)
    assert b"".join(sector[16:472] for sector in sectors) == bits + bytes(8)


def test_a_large_bitmap_is_formatted_in_pieces(disk: FakeDisk) -> None:
    volume = make(disk, 300 * GIB)
    assert not volume.bits()
    assert volume.bits().page_count == 300
