"""A half-copied volume goes back to what it held, whatever cuts that off."""

from __future__ import annotations

import dataclasses
import random

import pytest
from tests.fakes.disk import FakeDisk, PowerLost

from twinhull.core.identity import Generation, Id
from twinhull.core.marks import BLOCK_BYTES
from twinhull.core.record import Role
from twinhull.errors import UsageError
from twinhull.storage.rescue import Store
from twinhull.storage.rescue_format import Kind, Piece, Stage
from twinhull.storage.rollback import roll_back
from twinhull.storage.volume import Volume

MIB = 1 << 20
SIZE = 4 * MIB
REPLICA = Id(b"r" * 16)
TOUCHED = (0, 1, 7, 64, 65, 127)


def old_block(number: int) -> bytes:
    return bytes([number + 1]) * BLOCK_BYTES


class Scene:
    """A volume of known content on a fake disk, of which some blocks were copied over."""

    def __init__(self) -> None:
        self.disk = FakeDisk()
        volume = Volume.create(self.disk.directory(), size_bytes=SIZE, replica_id=REPLICA, minimum_bytes=MIB)
        for number in (0, 1, 64, 65, 100):
            volume.write(number * BLOCK_BYTES, old_block(number))
        volume.flush()
        volume.write_record(
            dataclasses.replace(volume.record, generation=Generation(Id(b"g" * 16)), role=Role.SECONDARY)
        )
        _, rescue = self.store().begin(Kind.RESYNC, "b is older", "67676767")
        for number in TOUCHED:
            held = number in (0, 1, 64, 65)
            rescue.keep([Piece(number, 1, old_block(number) if held else None)])
            volume.write(number * BLOCK_BYTES, b"!" * BLOCK_BYTES)
        volume.flush()
        volume.close()

    def store(self) -> Store:
        return Store(self.disk.directory("rescue"), "VM1", "b", SIZE, replica=REPLICA.hex())

    def roll_back(self) -> None:
        volume = Volume.open(self.disk.directory())
        try:
            roll_back(volume, self.store(), self.store().open(1))
        finally:
            volume.close()

    def check(self) -> None:
        volume = Volume.open(self.disk.directory())
        for number in range(SIZE // BLOCK_BYTES):
            held = number in (0, 1, 64, 65, 100)
            assert volume.read(number * BLOCK_BYTES, BLOCK_BYTES) == (
                old_block(number) if held else bytes(BLOCK_BYTES)
            )
        assert all(number in volume.bits() for number in TOUCHED)
        assert not volume.record.uptodate
        assert "rolled back" in volume.record.outdated_reason
        assert self.store().open(1).about.stage is Stage.ROLLED_BACK
        volume.close()


def test_everything_is_as_it_was_and_every_block_is_marked() -> None:
    scene = Scene()
    scene.roll_back()
    scene.check()
    with pytest.raises(UsageError, match="rolled-back"):
        scene.roll_back()


@pytest.mark.parametrize("change", range(14))
def test_a_power_loss_at_any_step_is_healed_by_doing_it_again(change: int) -> None:
    scene = Scene()
    scene.disk.crash_at(change)
    try:
        scene.roll_back()
    except PowerLost:
        scene.disk.power_loss(random.Random(change))
        if scene.store().open(1).about.stage is Stage.OPEN:
            scene.roll_back()
    scene.check()


def test_a_replica_that_is_uptodate_or_another_one_is_left_alone() -> None:
    scene = Scene()
    volume = Volume.open(scene.disk.directory())
    volume.write_record(dataclasses.replace(volume.record, uptodate=True))
    with pytest.raises(UsageError, match="is uptodate"):
        roll_back(volume, scene.store(), scene.store().open(1))
    volume.write_record(dataclasses.replace(volume.record, uptodate=False))
    other = Store(scene.disk.directory("rescue"), "VM1", "b", SIZE, replica="00")
    _, foreign = other.begin(Kind.RESYNC, "", "")
    with pytest.raises(UsageError, match="another replica"):
        roll_back(volume, other, foreign)
