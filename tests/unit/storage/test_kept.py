"""What a repair overwrites is durable before, and can be read back."""

from __future__ import annotations

import pytest
from tests.fakes.disk import FakeDisk

from twinhull.core.marks import BLOCK_BYTES
from twinhull.errors import DiskError
from twinhull.storage.kept import IDLE_S, Keeper
from twinhull.storage.rescue import Store
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
