"""Power is lost at every single write of what is recorded, with every tear: what is left is whole and right.

A tear is every subset of the 512-byte sectors that were on their way where there are few of them, and
otherwise every prefix, every suffix, all but one, one alone and many at random.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from tests.fakes.disk import FakeDisk, PowerLost

from twinhull.core.record import Record
from twinhull.errors import VolumeFormatError
from twinhull.storage.actlog import SLOTS
from twinhull.storage.volume import Volume

from .common import FULL_RECORD, GIB, MIB, make

Work = Callable[[Volume], None]


def tears(count: int) -> Iterator[frozenset[int]]:
    """Which of the `count` sector writes on their way reach the disk."""
    if count <= 9:
        yield from (frozenset(n for n in range(count) if mask >> n & 1) for mask in range(1 << count))
        return
    every = frozenset(range(count))
    for n in range(count + 1):
        yield frozenset(range(n))
        yield frozenset(range(n, count))
    for n in range(count):
        yield every - {n}
        yield frozenset({n})
    rng = random.Random(count)
    for _ in range(200):
        yield frozenset(n for n in every if rng.random() < 0.5)


def crashes(disk: FakeDisk, work: Work) -> Iterator[tuple[int, FakeDisk]]:
    """All disks that a power loss during `work` can leave, with the number of the change it hit."""
    plain = disk.clone()
    volume = Volume.open(plain.directory())
    at_open = plain.changes
    work(volume)
    for change in range(plain.changes - at_open):
        torn = disk.clone()
        volume = Volume.open(torn.directory())
        torn.crash_at(change)
        with pytest.raises(PowerLost):
            work(volume)
        for kept in tears(torn.pending_sectors()):
            left = torn.clone()
            left.power_loss(keep=kept.__contains__)
            yield change, left
    assert plain.changes > at_open


def garbled(disk: FakeDisk, file: str, offset_bytes: int, length_bytes: int) -> Iterator[FakeDisk]:
    """The disk with each sector of a range turned into nonsense."""
    for sector in range(offset_bytes, offset_bytes + length_bytes, 512):
        left = disk.clone()
        left.poke(file, sector, random.Random(sector).randbytes(512))
        yield left


def settled(volume: Volume, disk: FakeDisk) -> FakeDisk:
    """The disk after the volume was closed and all is durable."""
    volume.close()
    disk.power_loss()
    return disk


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_record_is_the_old_or_the_new_one(before: int) -> None:
    disk = FakeDisk()
    volume = make(disk)
    for number in range(before):
        volume.write_record(replace(FULL_RECORD, running_ms=number))
    old = volume.record
    disk = settled(volume, disk)
    new = replace(FULL_RECORD, running_ms=99, outdated_reason="z" * 2048)
    seen = set()
    for _, left in crashes(disk, lambda volume: volume.write_record(new)):
        found = Volume.open(left.directory())
        assert found.record in (old, new)
        seen.add(found.record)
        found.write_record(FULL_RECORD)
        found.close()
        left.power_loss()
        assert Volume.open(left.directory()).record == FULL_RECORD
    assert seen == {old, new}


@pytest.mark.parametrize("before", [0, 1])
def test_a_sector_of_nonsense_in_the_slot_being_written_leaves_the_old_record(before: int) -> None:
    disk = FakeDisk()
    volume = make(disk)
    for number in range(before):
        volume.write_record(replace(FULL_RECORD, running_ms=number))
    old = volume.record
    volume.write_record(replace(FULL_RECORD, running_ms=50))
    disk = settled(volume, disk)
    slot = (before + 1) % 2
    for left in garbled(disk, "meta.bin", slot * 65_536, 4096):
        assert Volume.open(left.directory()).record == old


@pytest.mark.parametrize("before", [0, SLOTS - 2, SLOTS - 1])
@pytest.mark.parametrize("add", [3, 1100])
def test_the_activity_log_is_the_old_or_the_new_set(before: int, add: int) -> None:
    disk = FakeDisk()
    volume = make(disk, 8 * GIB)
    for number in range(before):
        volume.log_commit(add={number, number + 1})
    volume.log_commit(remove={1})
    old = volume.log_extents()
    disk = settled(volume, disk)
    new = (old - {0, 2}) | set(range(5, 5 + add))
    seen = set()
    for _, left in crashes(disk, lambda volume: volume.log_commit(set(range(5, 5 + add)), {0, 2})):
        found = Volume.open(left.directory())
        assert found.log_extents() in (old, new)
        seen.add(found.log_extents())
        found.log_commit(add={777})
        expected = found.log_extents()
        found.close()
        left.power_loss()
        assert Volume.open(left.directory()).log_extents() == expected
    assert seen == {old, new}


def test_a_sector_of_nonsense_in_the_log_slot_being_written_leaves_the_old_set() -> None:
    disk = FakeDisk()
    volume = make(disk, 8 * GIB)
    volume.log_commit(add=range(900))
    volume.log_commit(add=range(901))
    disk = settled(volume, disk)
    for left in garbled(disk, "log.bin", 2 * 8192, 3584 + 512):
        assert Volume.open(left.directory()).log_extents() == set(range(900))


def test_a_torn_bitmap_page_loses_no_mark_that_old_and_new_have() -> None:
    rng = random.Random(7)
    disk = FakeDisk()
    volume = make(disk, GIB)
    old, new = rng.randbytes(4096), rng.randbytes(4096)
    volume.store_bits([(0, old)])
    disk = settled(volume, disk)
    both = int.from_bytes(old, "little") & int.from_bytes(new, "little")
    either = int.from_bytes(old, "little") | int.from_bytes(new, "little")
    for _, left in crashes(disk, lambda volume: volume.store_bits([(0, new)])):
        found = Volume.open(left.directory())
        bits = int.from_bytes(found.bits().page(0) or b"", "little")
        assert bits & both == both
        assert bits | either == either
        assert found.notes == ()


def test_a_sector_of_nonsense_in_the_bitmap_loses_no_mark() -> None:
    rng = random.Random(8)
    disk = FakeDisk()
    volume = make(disk, GIB)
    marks = rng.randbytes(4096)
    volume.store_bits([(0, marks)])
    disk = settled(volume, disk)
    for left in garbled(disk, "bits.bin", 0, 4608):
        found = int.from_bytes(Volume.open(left.directory()).bits().page(0) or b"", "little")
        assert found | int.from_bytes(marks, "little") == found


def test_bits_that_were_stored_before_their_extent_was_removed_are_never_missed() -> None:
    page = b"\0" * 16 + b"\xff" * 16 + bytes(4064)
    disk = FakeDisk()
    volume = make(disk, GIB)
    volume.log_commit(add={0, 1, 2})
    disk = settled(volume, disk)

    def retire(volume: Volume) -> None:
        volume.store_bits([(0, page)])
        volume.log_commit(remove={1})

    for _, left in crashes(disk, retire):
        found = Volume.open(left.directory())
        assert found.log_extents() >= {0, 2}
        assert 1 in found.log_extents() or found.bits().page(0) == page


def test_what_was_flushed_stays_and_what_was_not_may_be_torn() -> None:
    disk = FakeDisk()
    volume = make(disk)
    volume.write(0, b"1" * 4096)
    volume.flush()
    disk = settled(volume, disk)

    def work(volume: Volume) -> None:
        volume.write(2048, b"2" * 4096)
        volume.flush()

    for _, left in crashes(disk, work):
        found = Volume.open(left.directory()).read(0, 8192)
        assert found[:2048] == b"1" * 2048
        assert set(found[2048:6144]) <= set(b"12\0")
        assert found[6144:] == bytes(2048)


@pytest.mark.parametrize("thick", [False, True])
def test_a_discard_is_as_durable_as_a_write(thick: bool) -> None:
    disk = FakeDisk()
    volume = make(disk, thick=thick)
    volume.write(0, b"1" * 12_288)
    volume.flush()
    disk = settled(volume, disk)
    volume = Volume.open(disk.directory())
    volume.discard(1024, 9000)
    lost = disk.clone()
    lost.power_loss()
    assert Volume.open(lost.directory()).read(0, 12_288) == b"1" * 12_288
    volume.flush()
    disk.power_loss()
    expected = b"1" * 1024 + bytes(9000) + b"1" * (12_288 - 10_024)
    assert Volume.open(disk.directory()).read(0, 12_288) == expected


@pytest.mark.parametrize("done", [False, True])
def test_a_creation_that_was_cut_off_can_be_redone(done: bool) -> None:
    plain = FakeDisk()
    make(plain)
    reopened = plain.clone()
    Volume.open(reopened.directory())
    opening = reopened.changes
    assert opening
    ends = set()
    for change in range(plain.changes - opening):
        torn = FakeDisk()
        torn.crash_at(change, done=done)
        with pytest.raises(PowerLost):
            make(torn)
        for kept in (0, 1, torn.pending_sectors() // 2, torn.pending_sectors()):
            left = torn.clone()
            left.power_loss(keep=lambda number, kept=kept: number < kept)  # type: ignore[misc]
            ends.add(redo(left))
    assert ends == {"made anew", "was complete"} if done else ends == {"made anew"}


def redo(disk: FakeDisk) -> str:
    """Create the volume again after a power loss, as a person would."""
    if "creating" not in disk.names() and disk.names():
        with pytest.raises(VolumeFormatError, match="already holds"):
            make(disk)
        assert Volume.open(disk.directory()).record.blank
        return "was complete"
    with pytest.raises(VolumeFormatError, match=r"(interrupted|missing)"):
        Volume.open(disk.directory())
    make(disk).close()
    disk.power_loss()
    volume = Volume.open(disk.directory())
    assert volume.record.blank
    assert volume.notes == ()
    assert volume.read(0, MIB) == bytes(MIB)
    return "made anew"


class Model:
    """What must be found: of each thing what was confirmed last, or what was on its way."""

    def __init__(self, volume: Volume) -> None:
        self.records: tuple[Record, ...] = (volume.record,)
        self.extents: tuple[frozenset[int], ...] = (volume.log_extents(),)
        self.pages: tuple[bytes, ...] = (volume.bits().page(0) or bytes(4096),)

    def step(self, volume: Volume, rng: random.Random) -> None:
        """One random change, confirmed if this returns."""
        kind = rng.randrange(3)
        if kind == 0:
            record = replace(FULL_RECORD, running_ms=rng.getrandbits(60))
            self.records = (self.records[-1], record)
            volume.write_record(record)
            self.records = (record,)
        elif kind == 1:
            add = frozenset(rng.sample(range(256), 20))
            remove = frozenset(rng.sample(range(256), 20))
            self.extents = (self.extents[-1], (self.extents[-1] - remove) | add)
            volume.log_commit(add, remove)
            self.extents = self.extents[-1:]
        else:
            page = bytes(rng.randrange(256) for _ in range(32)) * 128
            self.pages = (self.pages[-1], page)
            volume.store_bits([(0, page)])
            self.pages = (page,)

    def check(self, volume: Volume) -> None:
        """The volume holds what it must."""
        assert volume.record in self.records
        assert volume.log_extents() in self.extents
        numbers = [int.from_bytes(page, "little") for page in self.pages]
        found = int.from_bytes(volume.bits().page(0) or b"", "little")
        assert found & (numbers[0] & numbers[-1]) == numbers[0] & numbers[-1]
        assert volume.notes or found | numbers[0] | numbers[-1] == numbers[0] | numbers[-1]


@pytest.mark.parametrize("garble", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_a_life_of_many_power_losses_loses_nothing_that_was_confirmed(seed: int, garble: bool) -> None:
    rng = random.Random(seed)
    disk = FakeDisk()
    volume = make(disk, GIB)
    for _ in range(15):
        model = Model(volume)
        disk.crash_at(rng.randrange(30))
        with pytest.raises(PowerLost):
            while True:
                model.step(volume, rng)
        disk.power_loss(rng, garble=garble)
        volume = Volume.open(disk.directory())
        model.check(volume)


def test_what_a_killed_process_recorded_and_did_not_sync_is_durable_once_the_next_one_believes_it() -> None:
    disk = FakeDisk()
    make(disk, GIB).close()
    works: tuple[Work, ...] = (
        lambda volume: volume.write_record(replace(volume.record, volume_id=FULL_RECORD.volume_id)),
        lambda volume: volume.log_commit({3}),
        lambda volume: volume.store_bits([(0, b"\x01" * 4096)]),
    )
    for work in works:
        volume = Volume.open(disk.directory())
        disk.hook = lambda op, _file: (_ for _ in ()).throw(StopIteration) if op == "sync" else None
        with pytest.raises((StopIteration, RuntimeError)):
            work(volume)
        disk.hook = None
        disk.kill()
        assert disk.pending_sectors()
        believed = Volume.open(disk.directory())
        disk.power_loss()
        left = Volume.open(disk.directory())
        assert (left.record, left.log_extents(), left.bits().page(0)) == (
            believed.record, believed.log_extents(), believed.bits().page(0)
        )  # fmt: skip
        left.close()
    assert left.record.volume_id == FULL_RECORD.volume_id and left.log_extents() == {3} and left.bits()
