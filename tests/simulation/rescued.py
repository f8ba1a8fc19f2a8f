"""Judges promise 7: what a half-copied replica overwrites is durably in its rescue first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinhull.core.marks import BLOCK_BYTES
from twinhull.errors import VolumeFormatError
from twinhull.storage.rescue import Rescue
from twinhull.storage.rescue_format import Stage

from .judge import DurableFile

if TYPE_CHECKING:
    from twinhull.storage.volume import Volume

    from .disk import Inode
    from .node import Unit

FILES = [f"{number:02}.rescue" for number in range(1, 4)]
"""Those of later numbers are not looked at: no life has so many splits."""


class RescueJudge:
    """Looks at every overwrite of a volume, through the eyes of a reader after a power loss.

    Args:
        unit: whose volume it is.
        volume: its methods are watched from now on.
    """

    def __init__(self, unit: Unit, volume: Volume) -> None:
        self._unit = unit
        self._known: dict[int, tuple[Inode, Rescue]] = {}
        write, discard = volume.write, volume.discard

        def watched_write(offset_bytes: int, data: bytes | bytearray | memoryview) -> None:
            self._overwrites(offset_bytes, len(data))
            write(offset_bytes, data)

        def watched_discard(offset_bytes: int, length_bytes: int) -> None:
            self._overwrites(offset_bytes, length_bytes)
            discard(offset_bytes, length_bytes)

        volume.write, volume.discard = watched_write, watched_discard  # type: ignore[method-assign]

    def _overwrites(self, offset_bytes: int, length_bytes: int) -> None:
        unit = self._unit
        for name in FILES:
            inode = unit.disk.files.get((f"rescue-{unit.module}", name))
            rescue = self._rescue(inode) if inode is not None else None
            if rescue is None or rescue.about.stage is not Stage.OPEN:
                continue
            unit.world.cover("overwritten after rescue")
            first, last = offset_bytes // BLOCK_BYTES, (offset_bytes + length_bytes - 1) // BLOCK_BYTES
            for block in range(first, last + 1):
                if block not in rescue.kept:
                    unit.world.judge.broken(
                        f"{unit.node.name} overwrites block {block} of {unit.module}, which is not durably in its rescue"
                    )

    def _rescue(self, inode: Inode) -> Rescue | None:
        known = self._known.get(id(inode))
        if known is None:
            try:
                known = self._known[id(inode)] = inode, Rescue(DurableFile(inode), "judged")  # type: ignore[arg-type]
            except VolumeFormatError:
                return None
        known[1].look_again()
        return known[1]
