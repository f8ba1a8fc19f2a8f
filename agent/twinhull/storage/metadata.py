"""The record of a replica in two checksummed, sequenced slots (promise 6; docs/formats.md, "meta.bin").

A record is written into the older slot and made durable before anything relies on it, so that a crash at any
write leaves one slot that is whole. Files that are foreign, newer or of another size are refused unchanged.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from typing import NamedTuple

from ..core.identity import ID_BYTES, MAX_PARENTS, NO_ID, Generation, Id
from ..core.memory import NOTHING_SEEN, WitnessMemory
from ..core.record import Record, Role, SavedState, WitnessKind
from ..errors import DiskError, VolumeFormatError
from .base import File

MAGIC = b"THULLMET"
VERSION = 1
SLOT_BYTES = 4096
SLOT_OFFSETS_BYTES = (0, 65_536)
FILE_BYTES = 131_072
REASON_BYTES = 2048
FORMATTED_SEQUENCE = 2
"""The sequence number of a volume that was just created, both slots written."""

_FIXED = struct.Struct("<8sHHIQQ16s16s16sBBBBBBH16sQ16s16s")
_PARENTS_OFFSET = _FIXED.size
_REASON_OFFSET = _PARENTS_OFFSET + MAX_PARENTS * ID_BYTES
_MEMORY_OFFSET = _REASON_OFFSET + REASON_BYTES
_MEMORY = struct.Struct("<16sQQ")
_RESERVED_OFFSET = _MEMORY_OFFSET + _MEMORY.size
DIGEST_BYTES = 32
_BODY_BYTES = SLOT_BYTES - DIGEST_BYTES
_PREFIX = struct.Struct("<8sH")
_THICK = 1


class Geometry(NamedTuple):
    """What a volume was created with and keeps for life.

    Args:
        size_bytes: its fixed size.
        thick: whether its space was reserved at creation and is kept by discards.
    """

    size_bytes: int
    thick: bool


class _Saved(enum.IntEnum):
    NONE = 0
    READY = 1
    USED = 2


class _Damage(enum.Enum):
    ZEROS = "all zeros"
    TORN = "torn"
    FOREIGN = "foreign"


class _Slot(NamedTuple):
    sequence: int
    geometry: Geometry
    record: Record


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES, person=b"twinhull-meta").digest()


def encode_slot(sequence: int, geometry: Geometry, record: Record) -> bytes:
    """The bytes of one slot. A longer reason is cut. Raises ValueError for a record that has no form."""
    generation = record.generation
    parents = generation.parents if generation else ()
    if len(parents) > MAX_PARENTS:
        raise ValueError(f"a generation has at most {MAX_PARENTS} parents, not {len(parents)}")
    reason = _cut(record.outdated_reason)
    saved = record.saved
    fixed = _FIXED.pack(
        MAGIC, VERSION, _THICK if geometry.thick else 0, SLOT_BYTES, sequence, geometry.size_bytes,
        record.volume_id or NO_ID, record.replica_id, generation.id if generation else NO_ID,
        len(parents), record.uptodate, record.peer_may_be_uptodate, record.role.value, record.witness.value,
        _Saved.NONE if saved is None else _Saved.USED if saved.used else _Saved.READY, len(reason),
        record.peer_replica_id or NO_ID, record.running_ms,
        saved.generation if saved else NO_ID, saved.session if saved else NO_ID,
    )  # fmt: skip
    ids = b"".join(parents).ljust(MAX_PARENTS * ID_BYTES, b"\0")
    memory = record.witness_memory
    seen = _MEMORY.pack(memory.cluster or NO_ID, memory.revision, memory.key_revision)
    body = (fixed + ids + reason.ljust(REASON_BYTES, b"\0") + seen).ljust(_BODY_BYTES, b"\0")
    return body + _digest(body)


def _cut(reason: str) -> bytes:
    """The reason in UTF-8, cut between two characters."""
    return reason.encode()[:REASON_BYTES].decode(errors="ignore").encode()


def _decode_slot(data: bytes, index: int, where: str) -> _Slot | _Damage:
    """What a slot holds. Raises VolumeFormatError when it is whole but not ours to understand."""
    if not any(data):
        return _Damage.ZEROS
    magic, version = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        return _Damage.FOREIGN
    body = data[:_BODY_BYTES]
    if data[_BODY_BYTES:] != _digest(body):
        return _Damage.TORN
    if version != VERSION:
        raise VolumeFormatError(
            f"The metadata of the volume in {where} has format {version}; this program knows {VERSION}.",
            "Install the version of Twinhull that wrote it; nothing was changed.",
        )
    try:
        slot = _decode_body(body)
    except (ValueError, KeyError) as error:
        raise _unreadable(where, f"holds a value this program does not know ({error})") from error
    return slot if slot.sequence % len(SLOT_OFFSETS_BYTES) == index else _Damage.FOREIGN


def _decode_body(body: bytes) -> _Slot:
    """The meaning of a whole slot. Raises ValueError for what version 1 does not know."""
    (
        _, _, flags, slot_bytes, sequence, size_bytes, volume, replica, generation, parent_count, uptodate,
        peer_may_be_uptodate, role, witness, saved, reason_bytes, peer, running_ms, saved_generation,
        saved_session,
    ) = _FIXED.unpack_from(body)  # fmt: skip
    if flags & ~_THICK or slot_bytes != SLOT_BYTES or body[_RESERVED_OFFSET:].strip(b"\0"):
        raise ValueError("flags or reserved bytes")
    if uptodate > 1 or peer_may_be_uptodate > 1 or parent_count > MAX_PARENTS or reason_bytes > REASON_BYTES:
        raise ValueError("a field out of its range")
    parents = tuple(
        Id(body[start : start + ID_BYTES])
        for start in range(_PARENTS_OFFSET, _PARENTS_OFFSET + parent_count * ID_BYTES, ID_BYTES)
    )
    record = Record(
        volume_id=_optional(volume),
        replica_id=Id(replica),
        generation=None if generation == NO_ID else Generation(Id(generation), parents),
        uptodate=bool(uptodate),
        peer_may_be_uptodate=bool(peer_may_be_uptodate),
        role=Role(role),
        outdated_reason=body[_REASON_OFFSET : _REASON_OFFSET + reason_bytes].decode(),
        witness=WitnessKind(witness),
        peer_replica_id=_optional(peer),
        running_ms=running_ms,
        saved=_saved(_Saved(saved), saved_generation, saved_session),
        witness_memory=_memory(body),
    )
    if record.witness is not WitnessKind.ETCD and record.witness_memory != NOTHING_SEEN:
        raise ValueError("something was seen of a witness that there is not")
    return _Slot(sequence, Geometry(size_bytes, bool(flags & _THICK)), record)


def _memory(body: bytes) -> WitnessMemory:
    cluster, revision, key_revision = _MEMORY.unpack_from(body, _MEMORY_OFFSET)
    return WitnessMemory(_optional(cluster), revision, key_revision)


def _optional(identity: bytes) -> Id | None:
    return None if identity == NO_ID else Id(identity)


def _saved(kind: _Saved, generation: bytes, session: bytes) -> SavedState | None:
    if kind is _Saved.NONE:
        return None
    return SavedState(Id(generation), Id(session), used=kind is _Saved.USED)


def _unreadable(where: str, what: str) -> VolumeFormatError:
    return VolumeFormatError(
        f"The metadata of the volume in {where} {what}.",
        "Nothing was changed. If the disk lost it, remove this replica's files and create the replica anew: "
        "it will be copied from the other node.",
    )


class Metadata:
    """The two slots of one volume, the newest record in memory.

    Made by `format` or `load`.
    """

    def __init__(self, file: File, newest: _Slot, notes: tuple[str, ...] = ()) -> None:
        self._file = file
        self._newest = newest
        self.notes = notes
        """Sentences about what was found damaged and is harmless."""
        self.unconfirmed: bytes | None = None
        """The digest of a slot that could not be made durable, and may be all the same; no more are written then."""

    @property
    def record(self) -> Record:
        """The record that is durable."""
        return self._newest.record

    @property
    def geometry(self) -> Geometry:
        """What the volume was created with."""
        return self._newest.geometry

    @property
    def sequence(self) -> int:
        """How many records were written in the volume's life, both of its creation counted."""
        return self._newest.sequence

    @classmethod
    def format(cls, file: File, geometry: Geometry, record: Record) -> Metadata:
        """Write both slots of a new file of `FILE_BYTES` zeros, durably."""
        file.write(0, bytes(FILE_BYTES))
        newest = _Slot(0, geometry, record)
        metadata = cls(file, newest)
        for _ in range(FORMATTED_SEQUENCE):
            metadata.write(record)
        return metadata

    @classmethod
    def load(cls, file: File, where: str, void: bytes | None = None) -> Metadata:
        """Read both slots; the newest whole one counts.

        Args:
            file: the metadata file, not changed.
            where: the volume's directory, for messages.
            void: digest of a slot that counts only where the other one is not whole.

        Raises:
            VolumeFormatError: no slot is whole, or the file is foreign, newer or of another size.
        """
        size_bytes = file.size()
        if size_bytes != FILE_BYTES:
            raise _unreadable(where, f"is {size_bytes} bytes long instead of {FILE_BYTES}")
        contents = [file.read(offset, SLOT_BYTES) for offset in SLOT_OFFSETS_BYTES]
        slots = [_decode_slot(content, index, where) for index, content in enumerate(contents)]
        whole = [slot for slot in slots if isinstance(slot, _Slot)]
        damages = [(index, slot) for index, slot in enumerate(slots) if isinstance(slot, _Damage)]
        if not whole:
            raise _unreadable(where, f"cannot be used: {_why(slots)}")
        if len({(slot.geometry, slot.record.replica_id) for slot in whole}) > 1:
            raise _unreadable(where, "mixes two different volumes")
        notes = tuple(
            f"Slot {index} of the metadata in {where} is {damage.value}; the other one is whole and is used."
            for index, damage in damages
        )
        confirmed = [
            slot
            for slot, content in zip(slots, contents, strict=True)
            if isinstance(slot, _Slot) and content[_BODY_BYTES:] != void
        ]
        return cls(file, max(confirmed or whole, key=lambda slot: slot.sequence), notes)

    def write(self, record: Record) -> None:
        """Make `record` the durable one: the older slot is written and synced. All or nothing.

        Raises:
            DiskError: it is not sure to be durable; the record of before counts, though a later `load` may
                find either of the two.
            ValueError: a record of another replica, or one that has no form.
        """
        newest = self._newest
        if record.replica_id != newest.record.replica_id or record.replica_id == NO_ID:
            raise ValueError("a record of another replica")
        following = _Slot(newest.sequence + 1, newest.geometry, record)
        if self.unconfirmed is not None:
            raise DiskError("A record could not be made durable before.", "Repair or replace the disk.")
        offset = SLOT_OFFSETS_BYTES[following.sequence % len(SLOT_OFFSETS_BYTES)]
        slot = encode_slot(*following)
        try:
            self._file.write(offset, slot)
            self._file.sync()
        except DiskError:
            self.unconfirmed = slot[_BODY_BYTES:]
            raise
        self._newest = following


def _why(slots: list[_Slot | _Damage]) -> str:
    if all(slot is _Damage.ZEROS for slot in slots):
        return "it is all zeros"
    if any(slot is _Damage.TORN for slot in slots):
        return "both slots are torn or damaged"
    return "it was not written by Twinhull"
