"""The bytes of the stream between two workers: one fixed header, then a payload that its type defines.

Described byte by byte in `docs/formats.md`, "The wire". Nothing here copies bulk data: `encode` answers
`[header, data]`, `decode` answers views into the buffer that it was given. Whatever does not fit the format
raises ProtocolError; what a caller of ours does wrong raises ValueError.
"""

from __future__ import annotations

import enum
import hashlib
import json
import struct
from typing import NamedTuple

from ..core import frames as core
from ..core.frames import Buffer, DataFrame
from ..core.identity import ID_BYTES, Id
from ..errors import ProtocolError

MAGIC = b"TH"
BASE_VERSION = 1
"""The header's version of OPEN and CLOSE: they are what an older and a newer node have in common."""

MIN_VERSION = 1
MAX_VERSION = 3
"""Version 2 adds COMPARE_ZERO, KEEP, KEPT, FETCH and FETCHED; with version 3 the digests of DIGESTS are keyed."""

_HEADER = struct.Struct("!2sBBHHI4s8s8sQ")
_HEADER_OFFSET = struct.Struct("!2sBBHHI4s8s8sQQ")
_U64 = struct.Struct("!Q")
_RANGE = struct.Struct("!QQ")
_KEEPALIVE = struct.Struct("!16sQ16sQ16s")

HEADER_BYTES = _HEADER.size
TAG_BYTES = 8
MAX_DATA_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = MAX_DATA_BYTES + 4096
MAX_MESSAGE_BYTES = 1 << 16
MAX_OPEN_BYTES = 4096
MAX_REASON_BYTES = 2048
MAX_STATE_BYTES = 64
MAX_OFFSET_BYTES = 1 << 63
DIGEST_BYTES = 16
NO_TAG = bytes(TAG_BYTES)

_HAS_ECHO = 1
_HAS_SESSION = 2
_REFUSED = 1


class FrameType(enum.IntEnum):
    """The type octet. Numbers are never used again for something else."""

    OPEN = 1
    CLOSE = 2
    MESSAGE = 3
    KEEPALIVE = 4
    WRITE = 16
    DISCARD = 17
    FLUSH = 18
    ACK = 19
    FLUSHED = 20
    CLEAR = 21
    MARKS = 32
    MARKS_END = 33
    COPY = 34
    COPY_ZERO = 35
    COPY_ACK = 36
    DIGESTS = 37
    DIFFER = 38
    COPY_FLUSH = 39
    COPY_FLUSHED = 40
    COMPARE_ZERO = 41
    KEEP = 42
    KEPT = 43
    FETCH = 44
    FETCHED = 45
    PEER_DISK_FAILED = 48


FIRST_DATA_TYPE = FrameType.WRITE

SINCE_VERSION = dict.fromkeys(
    (FrameType.COMPARE_ZERO, FrameType.KEEP, FrameType.KEPT, FrameType.FETCH, FrameType.FETCHED), 2
)
"""Types that did not exist in version 1."""

_MAX_LENGTH = {
    FrameType.OPEN: MAX_OPEN_BYTES,
    FrameType.CLOSE: MAX_REASON_BYTES,
    FrameType.MESSAGE: MAX_MESSAGE_BYTES,
    FrameType.KEEPALIVE: _KEEPALIVE.size + MAX_STATE_BYTES,
    FrameType.WRITE: 8 + MAX_DATA_BYTES,
    FrameType.DISCARD: 16,
    FrameType.FLUSH: 0,
    FrameType.ACK: 0,
    FrameType.FLUSHED: 0,
    FrameType.CLEAR: 0,
    FrameType.MARKS: MAX_DATA_BYTES,
    FrameType.MARKS_END: 0,
    FrameType.COPY: 8 + MAX_DATA_BYTES,
    FrameType.COPY_ZERO: 16,
    FrameType.COPY_ACK: 0,
    FrameType.DIGESTS: 8 + MAX_DATA_BYTES,
    FrameType.DIFFER: MAX_DATA_BYTES,
    FrameType.COPY_FLUSH: 0,
    FrameType.COPY_FLUSHED: 0,
    FrameType.COMPARE_ZERO: 16,
    FrameType.KEEP: 16,
    FrameType.KEPT: MAX_REASON_BYTES,
    FrameType.FETCH: 16,
    FrameType.FETCHED: 8 + MAX_DATA_BYTES,
    FrameType.PEER_DISK_FAILED: MAX_REASON_BYTES,
}

_MIN_LENGTH = {
    FrameType.OPEN: 2,
    FrameType.MESSAGE: 1,
    FrameType.KEEPALIVE: _KEEPALIVE.size,
    FrameType.WRITE: 9,
    FrameType.DISCARD: 16,
    FrameType.COPY: 9,
    FrameType.COPY_ZERO: 16,
    FrameType.DIGESTS: 8 + DIGEST_BYTES,
    FrameType.DIFFER: 1,
    FrameType.COMPARE_ZERO: 16,
    FrameType.KEEP: 16,
    FrameType.FETCH: 16,
    FrameType.FETCHED: 9,
}

_FLAGS = {FrameType.KEEPALIVE: _HAS_ECHO | _HAS_SESSION, FrameType.CLOSE: _REFUSED}
_NUMBERLESS = frozenset(
    {
        FrameType.OPEN,
        FrameType.CLOSE,
        FrameType.MESSAGE,
        FrameType.KEEPALIVE,
        FrameType.MARKS_END,
        FrameType.PEER_DISK_FAILED,
    }
)


class _Form(NamedTuple):
    """What a header of one type may say."""

    type: FrameType
    flags: int
    min_bytes: int
    max_bytes: int
    numberless: bool


_FORMS = {
    int(kind): _Form(
        kind, _FLAGS.get(kind, 0), _MIN_LENGTH.get(kind, 0), _MAX_LENGTH[kind], kind in _NUMBERLESS
    )
    for kind in FrameType
}

# A member of an enum is looked up slowly by its class (Python 3.11): these are asked for with every write.
_WRITE, _ACK, _COPY = FrameType.WRITE, FrameType.ACK, FrameType.COPY


class Keepalive(NamedTuple):
    """A sign of life of the sender's worker; waits for no disk.

    Args:
        process: the sender's worker process.
        counter: its moving sign of life, any number below 2**64.
        echo_process, echo: the newest counter of the receiver that the sender has seen, and whose it was.
        session: the session that the sender is in, or None.
        state: the sender's state, at most `MAX_STATE_BYTES` bytes of UTF-8.
    """

    process: Id
    counter: int
    echo_process: Id | None
    echo: int
    session: Id | None
    state: str


class Open(NamedTuple):
    """First frame of either side: who I am and which versions I speak."""

    min_version: int
    max_version: int
    cluster: str
    module: str
    node: str


class Close(NamedTuple):
    """Last frame: why. `refused`: the receiver is not wanted as it is; asking again changes nothing."""

    reason: str
    refused: bool


class Envelope(NamedTuple):
    """What the header says beside type, length and number: see `tag_of_module` and `tag_of_id`."""

    version: int
    module: bytes
    session: bytes
    generation: bytes


class Header(NamedTuple):
    """A header that fits the format. `number` is a frame's seq, op, epoch or page."""

    version: int
    type: FrameType
    flags: int
    length_bytes: int
    module: bytes
    session: bytes
    generation: bytes
    number: int


def tag_of_module(module: str) -> bytes:
    """The 4 bytes by which frames name their module: BLAKE2b of its name."""
    return hashlib.blake2b(module.encode(), digest_size=4).digest()


def tag_of_id(identity: Id) -> bytes:
    """The 8 bytes by which frames name a session or a generation: the first half of the random id."""
    if len(identity) != ID_BYTES:
        raise ValueError(f"an id has {ID_BYTES} bytes, this one has {len(identity)}")
    return bytes(identity[:TAG_BYTES])


# ---- encoding ------------------------------------------------------------------------------------------


def encode(envelope: Envelope, frame: DataFrame) -> list[Buffer]:
    """A data frame as buffers to be sent one after the other; bulk data is not copied.

    Raises:
        ValueError: the frame cannot be sent (too long, empty, a negative or huge number).
    """
    if isinstance(frame, core.Write):
        return _encode_bulk(envelope, _WRITE, frame.seq, frame.offset_bytes, frame.data)
    if isinstance(frame, core.Ack):
        return [pack(envelope, _ACK, b"", frame.seq)]
    if isinstance(frame, core.Copy):
        return _encode_bulk(envelope, FrameType.COPY, frame.op, frame.offset_bytes, frame.data)
    if isinstance(frame, core.Digests):
        if len(frame.digests) % DIGEST_BYTES:
            raise ValueError("digests have 16 bytes each")
        return _encode_bulk(envelope, FrameType.DIGESTS, frame.op, frame.offset_bytes, frame.digests)
    if isinstance(frame, core.Fetched):
        return _encode_bulk(envelope, FrameType.FETCHED, frame.op, frame.offset_bytes, frame.data)
    kind, number, payload = _small(frame)
    return [pack(envelope, kind, payload, number)]


def _encode_bulk(
    envelope: Envelope, kind: FrameType, number: int, offset_bytes: int, data: Buffer
) -> list[Buffer]:
    if isinstance(data, memoryview) and (data.itemsize != 1 or data.ndim != 1):
        data = data.cast("B")
    length_bytes = len(data)
    if not 0 < length_bytes <= MAX_DATA_BYTES or not 0 <= offset_bytes <= MAX_OFFSET_BYTES - length_bytes:
        raise ValueError(f"{length_bytes} bytes at offset {offset_bytes} do not fit into a frame")
    version, module, session, generation = envelope
    try:
        header = _HEADER_OFFSET.pack(
            MAGIC, version, kind, 0, 0, 8 + length_bytes, module, session, generation, number, offset_bytes
        )
    except struct.error as error:
        raise ValueError(f"{kind.name} number {number} does not fit into a frame") from error
    return [header, data]


def _small(frame: DataFrame) -> tuple[FrameType, int, bytes]:
    """Type, number and payload of every frame without bulk data."""
    match frame:
        case core.Flush(seq):
            return FrameType.FLUSH, seq, b""
        case core.Flushed(seq):
            return FrameType.FLUSHED, seq, b""
        case core.Clear(seq):
            return FrameType.CLEAR, seq, b""
        case core.Discard(seq, offset_bytes, length_bytes):
            return FrameType.DISCARD, seq, _pack_range(offset_bytes, length_bytes)
        case core.CopyZero(op, offset_bytes, length_bytes):
            return FrameType.COPY_ZERO, op, _pack_range(offset_bytes, length_bytes)
        case core.CopyAck(op):
            return FrameType.COPY_ACK, op, b""
        case core.Differ(op, flags):
            return FrameType.DIFFER, op, flags
        case core.CopyFlush(epoch):
            return FrameType.COPY_FLUSH, epoch, b""
        case core.CopyFlushed(epoch):
            return FrameType.COPY_FLUSHED, epoch, b""
        case core.Marks(page, bits):
            return FrameType.MARKS, page, bits
        case core.MarksEnd():
            return FrameType.MARKS_END, 0, b""
        case core.CompareZero(op, offset_bytes, length_bytes):
            return FrameType.COMPARE_ZERO, op, _pack_range(offset_bytes, length_bytes)
        case core.Keep(op, offset_bytes, length_bytes):
            return FrameType.KEEP, op, _pack_range(offset_bytes, length_bytes)
        case core.Kept(op, reason):
            return FrameType.KEPT, op, _text(reason, MAX_REASON_BYTES)
        case core.Fetch(op, offset_bytes, length_bytes):
            return FrameType.FETCH, op, _pack_range(offset_bytes, length_bytes)
        case core.PeerDiskFailed(reason):
            return FrameType.PEER_DISK_FAILED, 0, _text(reason, MAX_REASON_BYTES)
    raise ValueError(f"{type(frame).__name__} is no data frame that this version can send")


def _pack_range(offset_bytes: int, length_bytes: int) -> bytes:
    if offset_bytes < 0 or length_bytes <= 0 or offset_bytes + length_bytes > MAX_OFFSET_BYTES:
        raise ValueError(f"{length_bytes} bytes at offset {offset_bytes} is no range")
    return _RANGE.pack(offset_bytes, length_bytes)


def pack(envelope: Envelope, kind: FrameType, payload: bytes, number: int = 0, flags: int = 0) -> bytes:
    """Header and payload of a frame without bulk data. Raises ValueError if it cannot be sent."""
    length_bytes = len(payload)
    form = _FORMS[kind]
    if not form.min_bytes <= length_bytes <= form.max_bytes:
        raise ValueError(f"a {kind.name} frame cannot carry {length_bytes} bytes")
    version, module, session, generation = envelope
    try:
        header = _HEADER.pack(
            MAGIC, version, kind, flags, 0, length_bytes, module, session, generation, number
        )
    except struct.error as error:
        raise ValueError(f"{kind.name} number {number} does not fit into a frame") from error
    return header + payload


def pack_keepalive(envelope: Envelope, keepalive: Keepalive) -> bytes:
    """A KEEPALIVE frame. Raises ValueError if it cannot be sent."""
    flags = (_HAS_ECHO if keepalive.echo_process else 0) | (_HAS_SESSION if keepalive.session else 0)
    state = keepalive.state.encode()
    try:
        payload = _KEEPALIVE.pack(
            keepalive.process,
            keepalive.counter,
            keepalive.echo_process or b"",
            keepalive.echo if keepalive.echo_process else 0,
            keepalive.session or b"",
        )
    except struct.error as error:
        raise ValueError("the counters of a keep-alive have 64 bits") from error
    return pack(envelope, FrameType.KEEPALIVE, payload + state, flags=flags)


def pack_open(envelope: Envelope, opening: Open) -> bytes:
    """An OPEN frame (JSON, so that versions that know nothing of each other can still read it)."""
    members = {
        "versions": [opening.min_version, opening.max_version],
        "cluster": opening.cluster,
        "module": opening.module,
        "node": opening.node,
    }
    return pack(envelope, FrameType.OPEN, json.dumps(members, separators=(",", ":")).encode())


def pack_close(envelope: Envelope, close: Close) -> bytes:
    """A CLOSE frame; a reason that is too long is cut."""
    payload = _text(close.reason, MAX_REASON_BYTES)
    return pack(envelope, FrameType.CLOSE, payload, flags=_REFUSED if close.refused else 0)


def _text(text: str, limit_bytes: int) -> bytes:
    return text.encode()[:limit_bytes].decode(errors="ignore").encode()


# ---- decoding ------------------------------------------------------------------------------------------


def decode_header(buffer: Buffer, offset: int = 0) -> Header:
    """The header at `offset` of a buffer that holds at least `HEADER_BYTES` there.

    Raises:
        ProtocolError: magic, type, flags, reserved bits, length or number do not fit the format.
    """
    magic, version, kind, flags, reserved, length_bytes, module, session, generation, number = (
        _HEADER.unpack_from(buffer, offset)
    )
    if magic != MAGIC:
        raise ProtocolError("bytes that are no frame")
    form = _FORMS.get(kind)
    if form is None:
        raise ProtocolError(f"a frame of the unknown type {kind}")
    known, known_flags, min_bytes, max_bytes, numberless = form
    if reserved or flags & ~known_flags:
        raise ProtocolError(f"a {known.name} frame with unknown flags")
    if not min_bytes <= length_bytes <= max_bytes:
        raise ProtocolError(f"a {known.name} frame of {length_bytes} bytes, which is too short or too long")
    if number and numberless:
        raise ProtocolError(f"a {known.name} frame with a number")
    return Header(version, known, flags, length_bytes, module, session, generation, number)


def decode(header: Header, payload: memoryview) -> DataFrame:
    """The data frame of a header and its whole payload; `data` is a view into `payload`.

    Raises:
        ProtocolError: the payload does not fit its type.
    """
    kind = header.type
    if kind is _WRITE:
        return core.Write(header.number, _bulk_offset(payload), payload[8:])
    if kind is _ACK:
        return core.Ack(header.number)
    if kind is _COPY:
        return core.Copy(header.number, _bulk_offset(payload), payload[8:])
    return _decode_rare(kind, header.number, payload)


def _decode_rare(kind: FrameType, number: int, payload: memoryview) -> DataFrame:
    match kind:
        case FrameType.FLUSH:
            return core.Flush(number)
        case FrameType.FLUSHED:
            return core.Flushed(number)
        case FrameType.CLEAR:
            return core.Clear(number)
        case FrameType.DISCARD:
            return core.Discard(number, *_unpack_range(payload))
        case FrameType.COPY_ZERO:
            return core.CopyZero(number, *_unpack_range(payload))
        case FrameType.COPY_ACK:
            return core.CopyAck(number)
        case FrameType.DIGESTS:
            if len(payload) % DIGEST_BYTES != 8:
                raise ProtocolError("digests that are cut")
            return core.Digests(number, _bulk_offset(payload), bytes(payload[8:]))
        case FrameType.DIFFER:
            return core.Differ(number, _differ_flags(payload))
        case FrameType.COPY_FLUSH:
            return core.CopyFlush(number)
        case FrameType.COPY_FLUSHED:
            return core.CopyFlushed(number)
        case FrameType.MARKS:
            return core.Marks(number, bytes(payload))
        case FrameType.MARKS_END:
            return core.MarksEnd()
        case FrameType.COMPARE_ZERO:
            return core.CompareZero(number, *_unpack_range(payload))
        case FrameType.KEEP:
            return core.Keep(number, *_unpack_range(payload))
        case FrameType.KEPT:
            return core.Kept(number, decode_text(payload))
        case FrameType.FETCH:
            return core.Fetch(number, *_unpack_range(payload))
        case FrameType.FETCHED:
            return core.Fetched(number, _bulk_offset(payload), payload[8:])
        case FrameType.PEER_DISK_FAILED:
            return core.PeerDiskFailed(decode_text(payload))
    raise ProtocolError(f"a {kind.name} frame where data was expected")


def _bulk_offset(payload: memoryview) -> int:
    offset_bytes: int = _U64.unpack_from(payload)[0]
    if offset_bytes > MAX_OFFSET_BYTES - (len(payload) - 8):
        raise ProtocolError(f"data at the impossible offset {offset_bytes}")
    return offset_bytes


def _unpack_range(payload: memoryview) -> tuple[int, int]:
    offset_bytes, length_bytes = _RANGE.unpack(payload)
    if not length_bytes or offset_bytes + length_bytes > MAX_OFFSET_BYTES:
        raise ProtocolError(f"an impossible range of {length_bytes} bytes at {offset_bytes}")
    return offset_bytes, length_bytes


def _differ_flags(payload: memoryview) -> bytes:
    flags = bytes(payload)
    if flags.strip(b"\0\1"):
        raise ProtocolError("flags of blocks that are neither 0 nor 1")
    return flags


def decode_text(payload: memoryview) -> str:
    """UTF-8 text. Raises ProtocolError."""
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError("text that is not UTF-8") from error


def decode_keepalive(header: Header, payload: memoryview) -> Keepalive:
    """The keep-alive of a KEEPALIVE frame. Raises ProtocolError."""
    process, counter, echo_process, echo, session = _KEEPALIVE.unpack_from(payload)
    has_echo, has_session = bool(header.flags & _HAS_ECHO), bool(header.flags & _HAS_SESSION)
    if (not has_echo and (any(echo_process) or echo)) or (not has_session and any(session)):
        raise ProtocolError("a keep-alive with members that it says it has not")
    return Keepalive(
        Id(process),
        counter,
        Id(echo_process) if has_echo else None,
        echo,
        Id(session) if has_session else None,
        decode_text(payload[_KEEPALIVE.size :]),
    )


def decode_open(payload: memoryview) -> Open:
    """The content of an OPEN frame; members that are not known are left aside. Raises ProtocolError."""
    try:
        members = json.loads(bytes(payload))
        lowest, highest = members["versions"]
        names = (members["cluster"], members["module"], members["node"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError("an opening that cannot be read") from error
    numbers = type(lowest) is int and type(highest) is int and 0 < lowest <= highest
    if not numbers or not all(isinstance(name, str) for name in names):
        raise ProtocolError("an opening that cannot be read")
    return Open(lowest, highest, *names)


def decode_close(header: Header, payload: memoryview) -> Close:
    """The content of a CLOSE frame. Raises ProtocolError."""
    return Close(decode_text(payload), bool(header.flags & _REFUSED))
