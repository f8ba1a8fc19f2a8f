"""The bytes of a rescue file (docs/formats.md, "Rescue"): two slots that say what it is, then batches of old content."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.marks import BLOCK_BYTES

SLOT_BYTES = 4096
DATA_BEGIN_BYTES = 2 * SLOT_BYTES
HEADER_BYTES = 4096
VERSION = 2
MAX_ENTRIES = 126
MAX_ENTRY_BYTES = 1 << 20
MAX_BATCH_BYTES = 4 << 20
DIGEST_BYTES = 16
KEY_BYTES = 16
MAX_VOLUME_BYTES = 64 << 40
MAX_END_BYTES = 1 << 60
TEXTS = ("key", "module", "node", "why", "generation", "began", "ended", "note", "replica")

_SLOT = struct.Struct("<4sHHQII")
_SLOT_MAGIC = b"THRS"
_SLOT_PERSON = b"twinhull-resc"
_HEADER = struct.Struct("<4sHHQQ16s16s8x")
_HEADER_MAGIC = b"THRB"
_HEADER_PERSON = b"twinhull-batch"
_ENTRY = struct.Struct("<QII16s")
_HOLE = 1


class Kind(enum.Enum):
    """Why old content is kept."""

    SPLIT = "split-brain"
    RESYNC = "resync"
    VERIFY = "verify"


class Stage(enum.Enum):
    """How far a rescue is."""

    OPEN = "open"  # the copy goes on: what is not here is still on the disk
    GIVEN_UP = "given-up"  # the copy goes on without it; the content was dropped
    FOLLOWING = "following"  # the copy is complete; what is overwritten since goes here too
    COMPLETE = "complete"  # everything that the disk held is here
    PARTIAL = "partial"  # what the copy overwrote is here, the rest has gone on
    NOTHING = "nothing"  # given up, and the copy is complete: there is nothing
    ROLLED_BACK = "rolled-back"  # its content stands on the disk again
    BLOCKS = "blocks"  # single blocks that a repair overwrote


COPYING = frozenset({Stage.OPEN, Stage.GIVEN_UP})
"""While a rescue is in one of these the replica is half copied."""
VIEWABLE = frozenset({Stage.OPEN, Stage.FOLLOWING, Stage.COMPLETE})
"""In these the whole old volume can be seen."""


@dataclass(frozen=True, slots=True)
class About:
    """What a rescue is of. Times are texts (ISO 8601, local with offset).

    Args:
        key: random, 16 bytes in hexadecimal digits: batches of another file are told by it.
        generation: the history that the kept content belongs to, first digits; empty when unknown.
        began_s: seconds since 1970, for the order among them.
        note: why it is not whole, or what happened to it.
        replica: id of the replica whose content it is, hexadecimal digits.
        lain_s: for how long workers have run on the node since nothing waits for it, seconds: its age. The wall clock of
            a host may jump by years, and nothing is removed by it.
        copied_end_bytes: what stands in the file before here was overwritten by the copy; 0: the copy goes on.
    """

    key: str
    kind: Kind
    stage: Stage
    module: str
    node: str
    why: str
    generation: str
    volume_bytes: int
    began: str
    began_s: float
    ended: str = ""
    note: str = ""
    copied_end_bytes: int = 0
    replica: str = ""
    lain_s: float = 0.0


class Entry(NamedTuple):
    """Old content of some blocks. `data_bytes`: where it stands in the file; -1: a hole."""

    first: int
    blocks: int
    data_bytes: int
    digest: bytes


class Piece(NamedTuple):
    """Blocks to be kept; `data` None: a hole."""

    first: int
    blocks: int
    data: bytes | None


class Batch(NamedTuple):
    """A batch as its header tells it. `end_bytes`: where the next one begins."""

    entries: tuple[Entry, ...]
    end_bytes: int


def content_digest(data: bytes | memoryview) -> bytes:
    """What an entry says of its content."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def encode_slot(about: About, sequence: int) -> bytes:
    """A slot. ValueError: the texts are too long for it."""
    plain = {**dataclasses.asdict(about), "kind": about.kind.value, "stage": about.stage.value}
    text = json.dumps(plain, separators=(",", ":")).encode()
    room = SLOT_BYTES - _SLOT.size - DIGEST_BYTES
    if len(text) > room:
        raise ValueError(f"a description of {len(text)} bytes does not fit")
    body = _SLOT.pack(_SLOT_MAGIC, VERSION, 0, sequence, len(text), 0) + text.ljust(room, b"\0")
    return body + hashlib.blake2b(body, digest_size=DIGEST_BYTES, person=_SLOT_PERSON).digest()


def decode_slot(data: bytes) -> tuple[int, About] | None:
    """Sequence and description; None when the slot is not whole."""
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.blake2b(body, digest_size=DIGEST_BYTES, person=_SLOT_PERSON).digest() != digest:
        return None
    magic, version, _, sequence, length, _ = _SLOT.unpack_from(body)
    if magic != _SLOT_MAGIC or version != VERSION:
        return None
    try:
        plain = json.loads(body[_SLOT.size : _SLOT.size + length])
        return sequence, _read_about(plain)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _read_about(plain: Any) -> About:
    """Raises ValueError, KeyError or TypeError for what is no description that a program of ours wrote."""
    if not isinstance(plain, dict):
        raise TypeError("it is no object")
    known = {field.name for field in dataclasses.fields(About)}
    values = {name: value for name, value in plain.items() if name in known}
    values["kind"], values["stage"] = Kind(values["kind"]), Stage(values["stage"])
    about = About(**values)
    if not all(isinstance(getattr(about, name), str) for name in TEXTS):
        raise TypeError("a text is none")
    numbers = (about.volume_bytes, MAX_VOLUME_BYTES), (about.copied_end_bytes, MAX_END_BYTES)
    if not all(type(number) is int and 0 <= number <= most for number, most in numbers):
        raise ValueError("a number of bytes that no volume has")
    for time_s in (about.began_s, about.lain_s):
        if type(time_s) not in (int, float) or not math.isfinite(time_s):
            raise ValueError("a time that no clock shows")
    if len(bytes.fromhex(about.key)) != KEY_BYTES:
        raise ValueError("a key that is none")
    return about


def encode_batch(pieces: Sequence[Piece], key: bytes, number: int, begin_bytes: int) -> tuple[bytes, Batch]:
    """A batch that begins at `begin_bytes`. At most `MAX_ENTRIES` pieces."""
    at = begin_bytes + HEADER_BYTES
    entries, table, content = [], bytearray(), []
    for first, blocks, data in pieces:
        if data is None:
            entry = Entry(first, blocks, -1, bytes(DIGEST_BYTES))
        else:
            entry = Entry(first, blocks, at, content_digest(data))
            content.append(data)
            at += len(data)
        entries.append(entry)
        table += _ENTRY.pack(first, blocks, _HOLE if data is None else 0, entry.digest)
    data_bytes = at - begin_bytes - HEADER_BYTES
    body = bytes(table).ljust(HEADER_BYTES - _HEADER.size, b"\0")
    head = _HEADER.pack(_HEADER_MAGIC, VERSION, len(entries), number, data_bytes, key, bytes(DIGEST_BYTES))
    digest = hashlib.blake2b(head + body, digest_size=DIGEST_BYTES, person=_HEADER_PERSON).digest()
    head = _HEADER.pack(_HEADER_MAGIC, VERSION, len(entries), number, data_bytes, key, digest)
    return b"".join((head, body, *content)), Batch(tuple(entries), at)


def decode_header(data: bytes, key: bytes, number: int, begin_bytes: int, blocks: int) -> Batch | None:
    """The batch whose header this is; None when it is not batch `number` of this file.

    Args:
        blocks: of the volume: an entry beyond it belongs to nothing of ours.
    """
    magic, version, count, found, data_bytes, whose, digest = _HEADER.unpack_from(data)
    if magic != _HEADER_MAGIC or version != VERSION or found != number or whose != key or count > MAX_ENTRIES:
        return None
    head = _HEADER.pack(magic, version, count, found, data_bytes, whose, bytes(DIGEST_BYTES))
    body = data[_HEADER.size :]
    if hashlib.blake2b(head + body, digest_size=DIGEST_BYTES, person=_HEADER_PERSON).digest() != digest:
        return None
    at = begin_bytes + HEADER_BYTES
    entries = []
    for index in range(count):
        first, length, flags, content = _ENTRY.unpack_from(body, index * _ENTRY.size)
        hole = flags & _HOLE
        if not length or first + length > blocks or not (hole or length * BLOCK_BYTES <= MAX_ENTRY_BYTES):
            return None
        if hole:
            entries.append(Entry(first, length, -1, content))
        else:
            entries.append(Entry(first, length, at, content))
            at += length * BLOCK_BYTES
    return Batch(tuple(entries), at) if at - begin_bytes - HEADER_BYTES == data_bytes else None
