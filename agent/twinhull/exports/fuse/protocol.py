"""The kernel's FUSE protocol as data: structures, the messages we read and the replies we write.

Pure: bytes in, values out; values in, bytes out. Source: include/uapi/linux/fuse.h, protocol 7.38;
7.31 (Linux 5.4) is the oldest spoken. All integers are of the host's byte order.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import NamedTuple

MAJOR = 7
MINOR = 38
OLDEST_MINOR = 31

ROOT_ID = 1
MIN_READ_BUFFER_BYTES = 8192
FOREVER_S = 0x7FFF_FFFF


class Opcode(enum.IntEnum):
    """What the kernel asks (enum fuse_opcode); only what is treated apart from the rest."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    ACCESS = 34
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    FALLOCATE = 43
    LSEEK = 46


class InitFlag(enum.IntFlag):
    """What both sides can do (FUSE_INIT flags)."""

    ASYNC_READ = 1 << 0
    BIG_WRITES = 1 << 5
    ASYNC_DIO = 1 << 15
    PARALLEL_DIROPS = 1 << 18
    HANDLE_KILLPRIV = 1 << 19
    MAX_PAGES = 1 << 22


class OpenFlag(enum.IntFlag):
    """How an open file behaves (FOPEN_*)."""

    DIRECT_IO = 1 << 0
    PARALLEL_DIRECT_WRITES = 1 << 6


SETATTR_SIZE = 1 << 3  # FATTR_SIZE

FALLOC_KEEP_SIZE = 0x01
FALLOC_PUNCH_HOLE = 0x02
FALLOC_ZERO_RANGE = 0x10

IN_HEADER = Struct("=IIQQIIIHH")
OUT_HEADER = Struct("=IiQ")
WRITE_IN = Struct("=QQIIQII")
READ_IN = Struct("=QQIIQII")
FALLOCATE_IN = Struct("=QQQII")
LSEEK_IN = Struct("=QQII")
SETATTR_IN = Struct("=IIQQ")
INIT_IN = Struct("=IIII")
INIT_OUT = Struct("=IIIIHHIIHHI28x")
ATTR = Struct("=6Q10I")
ATTR_OUT = Struct("=QII")
ENTRY_OUT = Struct("=QQQQII")
OPEN_OUT = Struct("=QII")
WRITE_OUT = Struct("=II")
STATFS_OUT = Struct("=5Q4I24x")
LSEEK_OUT = Struct("=Q")
DIRENT = Struct("=QQII")

WRITE_REPLY = Struct("=IiQII")
"""Header and body of the answer to a write in one."""

WRITE_OVERHEAD_BYTES = IN_HEADER.size + WRITE_IN.size
"""What stands before the data of a write."""

_ZEROED_TIMES = (0, 0, 0, 0, 0, 0)


class MessageError(Exception):
    """A message of the kernel has lengths that cannot be; it is answered with EIO where it has a name."""


class Header(NamedTuple):
    """What every message begins with."""

    length_bytes: int
    opcode: int
    unique: int
    node: int


class Init(NamedTuple):
    """What the kernel offers."""

    major: int
    minor: int
    max_readahead_bytes: int
    flags: int


class Transfer(NamedTuple):
    """A read or a write: `flags` are those of open(2)."""

    offset_bytes: int
    length_bytes: int
    flags: int


class Fallocate(NamedTuple):
    """A change of what is allocated; `mode` as in fallocate(2)."""

    offset_bytes: int
    length_bytes: int
    mode: int


class Attributes(NamedTuple):
    """What stat(2) shows of a file or directory."""

    inode: int
    size_bytes: int
    mode: int
    links: int
    block_bytes: int = 4096


def parse_header(message: memoryview) -> Header:
    """The header, checked against what was read. Raises MessageError."""
    if len(message) < IN_HEADER.size:
        raise MessageError(f"a message of {len(message)} bytes is shorter than its header")
    length, opcode, unique, node, *_ = IN_HEADER.unpack_from(message)
    if length != len(message):
        raise MessageError(f"a message of {len(message)} bytes says that it has {length}")
    return Header(length, opcode, unique, node)


def _body(form: Struct, message: memoryview) -> tuple[int, ...]:
    if len(message) < IN_HEADER.size + form.size:
        raise MessageError(f"a message of {len(message)} bytes lacks its body of {form.size}")
    return form.unpack_from(message, IN_HEADER.size)


def parse_init(message: memoryview) -> Init:
    """Body of INIT. Raises MessageError."""
    return Init(*_body(INIT_IN, message))


def parse_transfer(message: memoryview) -> Transfer:
    """Body of READ or WRITE. Raises MessageError."""
    _, offset, size, _, _, flags, _ = _body(WRITE_IN, message)
    return Transfer(offset, size, flags)


def parse_fallocate(message: memoryview) -> Fallocate:
    """Body of FALLOCATE. Raises MessageError."""
    _, offset, length, mode, _ = _body(FALLOCATE_IN, message)
    return Fallocate(offset, length, mode)


def parse_lseek(message: memoryview) -> tuple[int, int]:
    """(offset in bytes, whence) of LSEEK. Raises MessageError."""
    _, offset, whence, _ = _body(LSEEK_IN, message)
    return offset, whence


def parse_new_size(message: memoryview) -> int | None:
    """The size in bytes that SETATTR wants, or None. Raises MessageError."""
    valid, _, _, size = _body(SETATTR_IN, message)
    return size if valid & SETATTR_SIZE else None


def parse_name(message: memoryview) -> bytes:
    """The name of LOOKUP, without its end mark."""
    return bytes(message[IN_HEADER.size :]).split(b"\0", 1)[0]


def reply(unique: int, body: bytes = b"") -> bytes:
    """A good answer."""
    return OUT_HEADER.pack(OUT_HEADER.size + len(body), 0, unique) + body


def error_reply(unique: int, error: int) -> bytes:
    """An answer that says what failed; `error` is a positive errno."""
    return OUT_HEADER.pack(OUT_HEADER.size, -error, unique)


def write_reply(unique: int, length_bytes: int) -> bytes:
    """The answer to a write that was done."""
    return WRITE_REPLY.pack(WRITE_REPLY.size, 0, unique, length_bytes, 0)


def read_reply_header(unique: int, length_bytes: int) -> bytes:
    """What goes before the data that a read asked for."""
    return OUT_HEADER.pack(OUT_HEADER.size + length_bytes, 0, unique)


def init_body(offer: Init, *, max_background: int, max_write_bytes: int, page_bytes: int = 4096) -> bytes:
    """Our half of the negotiation: what we want of what the kernel offers."""
    wanted = (
        InitFlag.ASYNC_READ
        | InitFlag.BIG_WRITES
        | InitFlag.ASYNC_DIO
        | InitFlag.PARALLEL_DIROPS
        | InitFlag.HANDLE_KILLPRIV
        | InitFlag.MAX_PAGES
    )
    return INIT_OUT.pack(
        MAJOR,
        min(MINOR, offer.minor) if offer.major == MAJOR else MINOR,
        0,
        offer.flags & int(wanted),
        max_background,
        max_background,
        max_write_bytes,
        1,
        max_write_bytes // page_bytes,
        0,
        0,
    )


def _attr(attributes: Attributes) -> bytes:
    return ATTR.pack(
        attributes.inode,
        attributes.size_bytes,
        attributes.size_bytes // 512,
        *_ZEROED_TIMES,
        attributes.mode,
        attributes.links,
        0,
        0,
        0,
        attributes.block_bytes,
        0,
    )


def attr_body(attributes: Attributes) -> bytes:
    """Answer to GETATTR and SETATTR; valid for ever, because nothing of it ever changes."""
    return ATTR_OUT.pack(FOREVER_S, 0, 0) + _attr(attributes)


def entry_body(attributes: Attributes) -> bytes:
    """Answer to LOOKUP of a name that exists."""
    return ENTRY_OUT.pack(attributes.inode, 0, FOREVER_S, FOREVER_S, 0, 0) + _attr(attributes)


def open_body(flags: OpenFlag | int = 0) -> bytes:
    """Answer to OPEN and OPENDIR."""
    return OPEN_OUT.pack(0, int(flags), 0)


def statfs_body(size_bytes: int, block_bytes: int = 4096) -> bytes:
    """Answer to STATFS: full, with one file. The block size becomes the loop device's discard unit."""
    return STATFS_OUT.pack(size_bytes // block_bytes, 0, 0, 1, 0, block_bytes, 255, block_bytes, 0)


def lseek_body(offset_bytes: int) -> bytes:
    """Answer to LSEEK."""
    return LSEEK_OUT.pack(offset_bytes)


def dirent(inode: int, next_offset: int, name: bytes, kind: int) -> bytes:
    """One entry of a directory; `kind` as in d_type."""
    entry = DIRENT.pack(inode, next_offset, len(name), kind) + name
    return entry + bytes(-len(entry) % 8)
