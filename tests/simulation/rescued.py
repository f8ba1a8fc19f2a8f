"""Judges promise 7: what a copy overwrites is durably in the rescue store first, or the store says that it is not.

Two judges, both with the eyes of a reader after a power loss: one stands beside every write of a volume, one compares at the
end what a node held when it gave way after a split brain with what its rescue brings back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinhull.core.marks import BLOCK_BYTES
from twinhull.core.state import Mode, Phase
from twinhull.errors import VolumeFormatError
from twinhull.storage.rescue import Rescue
from twinhull.storage.rescue_format import Kind, Stage
from twinhull.storage.volume import DATA_FILE

from .disk import UNIT_BYTES, Content, DurableFile, Inode

if TYPE_CHECKING:
    from twinhull.storage.volume import Volume

    from .node import Unit

FILES = [f"{number:02}.rescue" for number in range(1, 7)]
"""Those of later numbers are not looked at: no life has so many splits."""
BLOCK_UNITS = BLOCK_BYTES // UNIT_BYTES
ZERO_UNIT = bytes(UNIT_BYTES)
KEEPS = (Stage.OPEN, Stage.FOLLOWING)
HONEST = (Stage.GIVEN_UP, Stage.NOTHING)


@dataclass
class Held:
    """What a node held when it gave way.

    Args:
        content: of its data file, as a VM would have read it.
        doubtful: units that were not flushed: a power loss may have changed them before they were kept.
    """

    generation: str
    replica: str
    content: Content
    doubtful: set[int]


class RescueJudge:
    """Looks at every overwrite of a volume.

    Args:
        unit: whose volume it is.
        volume: its methods are watched from now on.
    """

    def __init__(self, unit: Unit, volume: Volume) -> None:
        self._unit = unit
        self._volume = volume
        self._places = [(f"rescue-{unit.module}", name) for name in FILES]
        self._known: dict[int, tuple[Inode, Rescue, int]] = {}
        write, discard = volume.write, volume.discard

        def watched_write(offset_bytes: int, data: bytes | bytearray | memoryview) -> None:
            self._overwrites(offset_bytes, len(data))
            write(offset_bytes, data)

        def watched_discard(offset_bytes: int, length_bytes: int) -> None:
            self._overwrites(offset_bytes, length_bytes)
            discard(offset_bytes, length_bytes)

        volume.write, volume.discard = watched_write, watched_discard  # type: ignore[method-assign]

    def _overwrites(self, offset_bytes: int, length_bytes: int) -> None:
        unit, process, record = self._unit, self._unit.process, self._volume.record
        second = process is not None and process.machine._module.mode is Mode.SECOND
        said = False
        for rescue in self._rescues():
            stage = rescue.about.stage
            said = said or stage in (*KEEPS, Stage.GIVEN_UP)
            ends = (
                record.uptodate and rescue.about.kind is Kind.RESYNC
            )  # it is removed as soon as the disk has time
            if (stage is Stage.OPEN and not ends) or (stage is Stage.FOLLOWING and second):
                unit.world.cover("overwritten after rescue")
                self._kept(rescue, offset_bytes, length_bytes)
        session = process.machine._module.session if process is not None else None
        copied_to = second and session is not None and session.phase is Phase.COPYING
        if copied_to and not record.uptodate and not record.blank and not said:
            unit.world.judge.broken(
                f"{unit.node.name} is copied to, overwrites what it holds of {unit.module}, and there is no rescue"
            )

    def _kept(self, rescue: Rescue, offset_bytes: int, length_bytes: int) -> None:
        unit = self._unit
        first, last = offset_bytes // BLOCK_BYTES, (offset_bytes + length_bytes - 1) // BLOCK_BYTES
        for block in range(first, last + 1):
            if block not in rescue.kept:
                unit.world.judge.broken(
                    f"{unit.node.name} overwrites block {block} of {unit.module}, which is not durably in its rescue"
                )

    def _rescues(self) -> Iterator[Rescue]:
        files = self._unit.disk.files
        for place in self._places:
            inode = files.get(place)
            rescue = self._rescue(inode) if inode is not None else None
            if rescue is not None and rescue.about.replica == self._volume.record.replica_id.hex():
                yield rescue

    def _rescue(self, inode: Inode) -> Rescue | None:
        """As it is on the disk; read anew when something became durable since."""
        known = self._known.get(id(inode))
        if known is not None and known[2] == inode.version:
            return known[1]
        try:
            rescue = Rescue(DurableFile(inode), "judged") if known is None else known[1]  # type: ignore[arg-type]
        except VolumeFormatError:
            return None
        rescue.look_again()
        self._known[id(inode)] = inode, rescue, inode.version
        return rescue


# ---- what a node held when it gave way -------------------------------------------------------------------


def remember(unit: Unit) -> None:
    """This node gives way after a split brain: what it holds now must be found in its rescue."""
    record = unit.record
    if record is None or record.generation is None:
        return
    generation, replica = str(record.generation), record.replica_id.hex()
    if any(held.generation == generation and held.replica == replica for held in unit.held):
        return
    inode = unit.disk.files[unit.module, DATA_FILE]
    current, durable = inode.current, inode.durable
    doubtful = {
        number for number in current.keys() | durable.keys() if current.get(number) != durable.get(number)
    }
    unit.held.append(Held(generation, replica, dict(current), doubtful))
    unit.world.cover("gave way after a split brain")


def look_back(unit: Unit) -> None:
    """Everything is green: what was given up is in the rescue, or the store says honestly that it is not."""
    record = unit.record
    for held in unit.held:
        if record is None or held.replica != record.replica_id.hex():
            continue  # that disk is gone
        found = [rescue for rescue in _all(unit) if _belongs(rescue, held)]
        if not found:
            unit.world.judge.broken(
                f"{unit.node.name} gave way with the history {held.generation}, and there is no rescue of it"
            )
        for rescue in found:
            _compare(unit, held, rescue)


def _all(unit: Unit) -> Iterator[Rescue]:
    for name in FILES:
        inode = unit.disk.files.get((f"rescue-{unit.module}", name))
        if inode is not None:
            try:
                rescue = Rescue(DurableFile(inode), name)  # type: ignore[arg-type]
            except VolumeFormatError:
                continue  # it is being made: nothing of it is durable yet
            rescue.scan()
            yield rescue


def _belongs(rescue: Rescue, held: Held) -> bool:
    about = rescue.about
    return (
        about.kind is Kind.SPLIT and about.generation == held.generation[: len(about.generation)]
    ) and about.replica == held.replica


def _compare(unit: Unit, held: Held, rescue: Rescue) -> None:
    world, stage = unit.world, rescue.about.stage
    world.cover(f"rescue of a split brain: {stage.value}")
    if stage in HONEST:
        if not world.rescue_may_fail:
            world.judge.broken(f"{unit.node.name} gave a rescue up, though it had room: {rescue.about.note}")
        return
    brought = {}
    for entry in rescue.entries():
        data = rescue.content(entry)
        for unit_number in range(entry.first * BLOCK_UNITS, (entry.first + entry.blocks) * BLOCK_UNITS):
            at = (unit_number - entry.first * BLOCK_UNITS) * UNIT_BYTES
            brought[unit_number] = data[at : at + UNIT_BYTES] if data is not None else ZERO_UNIT
    now = unit.disk.files[unit.module, DATA_FILE].durable
    for number in sorted(held.content.keys() | brought.keys() | now.keys()):
        if number in held.doubtful:
            continue
        was = held.content.get(number, ZERO_UNIT)
        if number in brought:
            shown = brought[number]
        elif stage is Stage.FOLLOWING:
            shown = now.get(number, ZERO_UNIT)
        elif stage is Stage.COMPLETE:
            shown = ZERO_UNIT
        else:
            continue
        if shown != was:
            world.judge.broken(
                f"unit {number} of what {unit.node.name} held of {unit.module} when it gave way is not what its rescue "
                f"({stage.value}) shows"
            )
