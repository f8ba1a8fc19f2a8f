"""What a repair overwrites is durable before, and can be read back."""

from __future__ import annotations

import pytest
from tests.fakes.disk import FakeDisk

from twinhull.core.marks import BLOCK_BYTES
from twinhull.errors import DiskError
from twinhull.storage.kept import IDLE_S, Keeper
from twinhull.storage.rescue import Limits, Rescue, RescueFullError, Store
from twinhull.storage.rescue_format import Kind, Stage

VOLUME_BYTES = 64 * BLOCK_BYTES


class Clock:
    """A clock in the test's hands."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def store(disk: FakeDisk) -> Store:
    return Store(disk.directory("rescue"), "VM1", "a", VOLUME_BYTES)


def test_blocks_are_read_back() -> None:
    disk = FakeDisk()
    kept = Keeper(store(disk))
    kept.keep(3 * BLOCK_BYTES, b"x" * 2 * BLOCK_BYTES)
    kept.close()
    rescue = store(disk).open(1)
    assert (rescue.about.kind, rescue.about.stage) == (Kind.VERIFY, Stage.BLOCKS)
    assert [(entry.first, rescue.content(entry)) for entry in rescue.entries()] == [
        (3, b"x" * 2 * BLOCK_BYTES)
    ]


def test_a_block_survives_a_power_loss_once_it_counts_as_kept() -> None:
    disk = FakeDisk()
    Keeper(store(disk)).keep(0, b"y" * BLOCK_BYTES)
    disk.power_loss(keep=lambda _order: False)
    entry = store(disk).open(1).entry_of(0)
    assert entry is not None


def test_a_pause_begins_another_rescue() -> None:
    disk, clock = FakeDisk(), Clock()
    kept = Keeper(store(disk), clock=clock)
    kept.keep(0, b"1" * BLOCK_BYTES)
    clock.now_s = IDLE_S + 1
    kept.keep(0, b"2" * BLOCK_BYTES)
    assert store(disk).numbers() == [1, 2]


def test_a_full_disk_is_told() -> None:
    disk = FakeDisk()
    kept = Keeper(store(disk))
    kept.keep(0, b"1" * BLOCK_BYTES)
    disk.fail_next("write")
    with pytest.raises(DiskError):
        kept.keep(BLOCK_BYTES, b"2" * BLOCK_BYTES)


def test_what_is_kept_after_a_person_dropped_the_rescue_goes_into_another_one() -> None:
    disk = FakeDisk()
    kept = Keeper(store(disk))
    kept.keep(0, b"1" * BLOCK_BYTES)
    store(disk).drop(1)
    kept.keep(BLOCK_BYTES, b"2" * BLOCK_BYTES)
    (number,) = store(disk).numbers()
    rescue = store(disk).open(number)
    assert [(entry.first, rescue.content(entry)) for entry in rescue.entries()] == [(1, b"2" * BLOCK_BYTES)]


def test_a_rescue_that_took_the_number_of_a_dropped_one_is_told_apart() -> None:
    disk = FakeDisk()
    kept = Keeper(store(disk))
    kept.keep(0, b"1" * BLOCK_BYTES)
    store(disk).drop(1)
    store(disk).begin(Kind.SPLIT, "", "")
    kept.keep(BLOCK_BYTES, b"2" * BLOCK_BYTES)
    found = {n: store(disk).open(n) for n in store(disk).numbers()}
    assert {n: rescue.about.kind for n, rescue in found.items()} == {1: Kind.SPLIT, 2: Kind.VERIFY}
    assert found[2].entry_of(1) is not None


def test_a_repair_whose_own_rescue_makes_the_room_keeps_what_it_overwrites_next() -> None:
    disk = FakeDisk(capacity_bytes=3 << 30)
    small = Store(disk.directory("rescue"), "VM1", "a", 1024 * BLOCK_BYTES, Limits(share_percent=1))
    kept = Keeper(small)
    kept.keep(0, b"v" * 650 * BLOCK_BYTES)
    kept.keep(650 * BLOCK_BYTES, b"w" * 374 * BLOCK_BYTES)
    (number,) = small.numbers()
    rescue = small.open(number)
    assert len(rescue.kept) == 374 and rescue.entry_of(0) is None
    assert all(rescue.content(entry) == b"w" * entry.blocks * BLOCK_BYTES for entry in rescue.entries())


def test_a_block_that_is_overwritten_twice_is_kept_twice() -> None:
    disk = FakeDisk()
    kept = Keeper(store(disk))
    for content in (b"1", b"2"):
        kept.keep(BLOCK_BYTES, content * BLOCK_BYTES)
    found = [store(disk).open(number) for number in store(disk).numbers()]
    assert [rescue.content(entry) for rescue in found for entry in rescue.entries()] == [
        b"1" * BLOCK_BYTES,
        b"2" * BLOCK_BYTES,
    ]


def test_what_is_removed_as_soon_as_it_is_there_is_an_error_and_not_a_silent_loss() -> None:
    disk = FakeDisk()

    class Removing(Store):
        """Somebody removes everything behind each write."""

        def holds(self, number: int, rescue: Rescue) -> bool:
            self.drop(number)
            return super().holds(number, rescue)

    with pytest.raises(RescueFullError, match="is removed from the rescue store"):
        Keeper(Removing(disk.directory("rescue"), "VM1", "a", VOLUME_BYTES)).keep(0, b"1" * BLOCK_BYTES)
