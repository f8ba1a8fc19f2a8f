"""The activity log: which 4 MiB extents may differ between the nodes (promise 3; docs/formats.md, "log.bin").

A fixed ring of slots; each holds the whole set under a checksum and a sequence number. A commit writes the
next slot and syncs, so that a tear at any write leaves the set of the commit before, whole.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from collections.abc import Iterable

from ..core.identity import Id
from ..errors import VolumeFormatError
from .base import File

VERSION = 1
SLOT_BYTES = 8192
SLOTS = 32
FILE_BYTES = SLOTS * SLOT_BYTES

_MAGIC = b"THAL"
_HEAD = struct.Struct("<4sHHQII24s")
_DIGEST_BYTES = 16
_ENTRIES_OFFSET = _HEAD.size + _DIGEST_BYTES
_WRITE_UNIT_BYTES = 4096

CAPACITY = (SLOT_BYTES - _ENTRIES_OFFSET) // 4
"""The most extents that can be active at once."""


def _digest(head: bytes, entries: bytes, replica_id: Id) -> bytes:
    """Keyed by the replica, so that a slot of another volume is never taken for ours."""
    state = hashlib.blake2b(head, digest_size=_DIGEST_BYTES, key=replica_id, person=b"twinhull-log")
    state.update(entries)
    return state.digest()


def _encode_slot(sequence: int, extents: Iterable[int], replica_id: Id) -> bytes:
    entries = _little_endian(array("I", sorted(extents))).tobytes()
    head = _HEAD.pack(_MAGIC, VERSION, 0, sequence, len(entries) // 4, 0, b"")
    slot = head + _digest(head, entries, replica_id) + entries
    return slot + bytes(-len(slot) % _WRITE_UNIT_BYTES)


def _decode_slot(data: bytes, index: int, replica_id: Id, where: str) -> tuple[int, frozenset[int]] | None:
    """The (sequence, extents) of a whole slot, None of any other. VolumeFormatError for a newer format."""
    head = data[: _HEAD.size]
    magic, version, _, sequence, count, _, _ = _HEAD.unpack(head)
    if magic != _MAGIC or count > CAPACITY:
        return None
    entries = data[_ENTRIES_OFFSET : _ENTRIES_OFFSET + 4 * count]
    if data[_HEAD.size : _ENTRIES_OFFSET] != _digest(head, entries, replica_id) or sequence % SLOTS != index:
        return None
    if version != VERSION:
        raise VolumeFormatError(
            f"The activity log of the volume in {where} has format {version}; this program knows {VERSION}.",
            "Install the version of Twinhull that wrote it; nothing was changed.",
        )
    return sequence, frozenset(_little_endian(array("I", entries)))


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


class ActivityLog:
    """The log of one volume. One thread at a time uses it. Made by `format` or `load`."""

    def __init__(
        self, file: File, replica_id: Id, extent_count: int, sequence: int, extents: frozenset[int]
    ) -> None:
        self._file = file
        self._replica_id = replica_id
        self._extent_count = extent_count
        self._sequence = sequence
        self._extents = extents

    @property
    def extents(self) -> frozenset[int]:
        """The extents that are durably marked."""
        return self._extents

    @classmethod
    def format(cls, file: File, replica_id: Id, extent_count: int) -> ActivityLog:
        """Write an empty set into a new file of `FILE_BYTES` zeros, durably."""
        file.write(0, _encode_slot(0, (), replica_id).ljust(FILE_BYTES, b"\0"))
        file.sync()
        return cls(file, replica_id, extent_count, 0, frozenset())

    @classmethod
    def load(cls, file: File, replica_id: Id, extent_count: int, where: str) -> ActivityLog:
        """Find the newest whole slot.

        Args:
            file: the log's file, not changed.
            replica_id: the replica that the log must belong to.
            extent_count: number of extents of the volume.
            where: the volume's directory, for messages.

        Raises:
            VolumeFormatError: no slot is whole, or the file is foreign, newer or of another size.
        """
        if file.size() != FILE_BYTES:
            raise _unreadable(where, f"is {file.size()} bytes long instead of {FILE_BYTES}")
        data = file.read(0, FILE_BYTES)
        whole = [
            slot
            for index in range(SLOTS)
            if (
                slot := _decode_slot(
                    data[index * SLOT_BYTES : (index + 1) * SLOT_BYTES], index, replica_id, where
                )
            )
        ]
        if not whole:
            raise _unreadable(where, "holds nothing of this volume")
        sequence, extents = max(whole, key=lambda slot: slot[0])
        if any(extent >= extent_count for extent in extents):
            raise _unreadable(where, "names extents behind the volume's end")
        return cls(file, replica_id, extent_count, sequence, extents)

    def commit(self, add: Iterable[int] = (), remove: Iterable[int] = ()) -> None:
        """Durably mark `add` and unmark `remove`, all or nothing; what is in both stays marked.

        Raises:
            DiskError: it is not sure to be durable; the set of before counts, though a later `load` may find
                either of the two.
            ValueError: an extent outside the volume, or more than `CAPACITY` of them.
        """
        extents = (self._extents - frozenset(remove)) | frozenset(add)
        if extents == self._extents:
            return
        if len(extents) > CAPACITY:
            raise ValueError(f"{len(extents)} extents; the activity log takes {CAPACITY}")
        if any(not 0 <= extent < self._extent_count for extent in extents):
            raise ValueError("an extent outside the volume")
        sequence = self._sequence + 1
        self._file.write(sequence % SLOTS * SLOT_BYTES, _encode_slot(sequence, extents, self._replica_id))
        self._file.sync()
        self._sequence, self._extents = sequence, extents


def _unreadable(where: str, what: str) -> VolumeFormatError:
    return VolumeFormatError(
        f"The activity log of the volume in {where} {what}.",
        "Nothing was changed. Put the volume's own file back, or remove this replica's files and create the "
        "replica anew: it will be copied from the other node.",
    )
