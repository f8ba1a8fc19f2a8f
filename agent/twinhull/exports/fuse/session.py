"""What a file system of one file of fixed size answers: a protocol core without a descriptor.

A message of the kernel comes in; out comes either what the volume must do (a `Request`), the bytes of an
answer, or nothing.
"""

from __future__ import annotations

import errno
import os
import stat

from ..base import Op, Request
from . import protocol as p
from .protocol import Attributes, MessageError, Opcode, OpenFlag

FILE_ID = 2
SECTOR_BYTES = 512
MAX_TRANSFER_BYTES = 1 << 20

# Members of an enum are looked up slowly by their class (Python 3.11): these are asked for with every request.
_WRITE, _READ, _FSYNC, _FALLOCATE = Opcode.WRITE, Opcode.READ, Opcode.FSYNC, Opcode.FALLOCATE
_OP_WRITE, _OP_READ = Op.WRITE, Op.READ

_SILENT = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT})
_NOTHING_TO_DO = frozenset(
    {Opcode.FLUSH, Opcode.RELEASE, Opcode.RELEASEDIR, Opcode.FSYNCDIR, Opcode.ACCESS, Opcode.DESTROY}
)


class OneFileSession:
    """One connection of the kernel.

    Args:
        size_bytes: size of the file, a multiple of 512; fixed.
        name: name of the file in the root directory.
        max_in_flight: how many reads and writes the kernel may have under way.
    """

    def __init__(self, size_bytes: int, name: str, max_in_flight: int) -> None:
        self._size_bytes = size_bytes
        self._name = os.fsencode(name)
        self._max_in_flight = max_in_flight
        self._file = Attributes(FILE_ID, size_bytes, stat.S_IFREG | 0o600, 1)
        self._root = Attributes(p.ROOT_ID, 0, stat.S_IFDIR | 0o700, 2)

    def understand(self, message: memoryview) -> Request | bytes | None:
        """What to do about one message.

        Returns a `Request` whose tag is the message's `unique` and whose data is a part of `message`, the
        bytes of an answer to give at once, or None where nothing is answered.
        Raises MessageError for a message that cannot be answered because it names no request.
        """
        header = p.parse_header(message)
        try:
            return self._dispatch(header, message)
        except MessageError:
            return p.error_reply(header.unique, errno.EIO)

    def answer(self, op: Op, tag: int, length_bytes: int, error: int) -> bytes:
        """The bytes of an answer to a request (of a read: those before its data)."""
        if error:
            return p.error_reply(tag, error)
        if op is _OP_WRITE:
            return p.write_reply(tag, length_bytes)
        if op is _OP_READ:
            return p.read_reply_header(tag, length_bytes)
        return p.reply(tag)

    def _dispatch(self, header: p.Header, message: memoryview) -> Request | bytes | None:
        opcode, tag = header.opcode, header.unique
        if opcode == _WRITE:
            return self._write(tag, message)
        if opcode == _READ:
            return self._read(tag, message)
        if opcode == _FSYNC:
            return Request(tag, Op.FLUSH, 0, 0)
        if opcode == _FALLOCATE:
            return self._fallocate(tag, message)
        return self._chore(header, message)

    def _chore(self, header: p.Header, message: memoryview) -> bytes | None:
        opcode, tag = header.opcode, header.unique
        if opcode in _SILENT:
            return None
        if opcode in _NOTHING_TO_DO:
            return p.reply(tag)
        if opcode == Opcode.INIT:
            return self._init(tag, message)
        if opcode == Opcode.LOOKUP:
            if header.node == p.ROOT_ID and p.parse_name(message) == self._name:
                return p.reply(tag, p.entry_body(self._file))
            return p.error_reply(tag, errno.ENOENT)
        if opcode == Opcode.GETATTR:
            return p.reply(tag, p.attr_body(self._attributes(header.node)))
        if opcode == Opcode.SETATTR:
            return self._setattr(header, message)
        if opcode == Opcode.OPEN:
            return p.reply(tag, p.open_body(OpenFlag.DIRECT_IO | OpenFlag.PARALLEL_DIRECT_WRITES))
        if opcode == Opcode.OPENDIR:
            return p.reply(tag, p.open_body())
        if opcode == Opcode.READDIR:
            return self._readdir(tag, message)
        if opcode == Opcode.STATFS:
            return p.reply(tag, p.statfs_body(self._size_bytes))
        if opcode == Opcode.LSEEK:
            return self._lseek(tag, message)
        return p.error_reply(tag, errno.ENOSYS)

    def _attributes(self, node: int) -> Attributes:
        return self._file if node == FILE_ID else self._root

    def _init(self, tag: int, message: memoryview) -> bytes:
        offer = p.parse_init(message)
        if offer.major < p.MAJOR or (offer.major == p.MAJOR and offer.minor < p.OLDEST_MINOR):
            return p.error_reply(tag, errno.EPROTO)
        body = p.init_body(offer, max_background=self._max_in_flight, max_write_bytes=MAX_TRANSFER_BYTES)
        return p.reply(tag, body)

    def _write(self, tag: int, message: memoryview) -> Request | bytes:
        write = p.parse_transfer(message)
        data = message[p.WRITE_OVERHEAD_BYTES :]
        if len(data) != write.length_bytes:
            return p.error_reply(tag, errno.EIO)
        if not self._fits(write.offset_bytes, write.length_bytes):
            return p.error_reply(tag, errno.EINVAL)
        if not write.length_bytes:
            return p.write_reply(tag, 0)
        fua = bool(write.flags & os.O_DSYNC)
        return Request(tag, _OP_WRITE, write.offset_bytes, write.length_bytes, data, fua)

    def _read(self, tag: int, message: memoryview) -> Request | bytes:
        read = p.parse_transfer(message)
        length = min(read.length_bytes, self._size_bytes - read.offset_bytes)
        if length <= 0:
            return p.reply(tag)
        if length > MAX_TRANSFER_BYTES or not self._fits(read.offset_bytes, length):
            return p.error_reply(tag, errno.EINVAL)
        return Request(tag, _OP_READ, read.offset_bytes, length)

    def _fallocate(self, tag: int, message: memoryview) -> Request | bytes:
        wish = p.parse_fallocate(message)
        frees = wish.mode & (p.FALLOC_PUNCH_HOLE | p.FALLOC_ZERO_RANGE)
        if not frees or wish.mode & ~(p.FALLOC_KEEP_SIZE | p.FALLOC_PUNCH_HOLE | p.FALLOC_ZERO_RANGE):
            return p.error_reply(tag, errno.EOPNOTSUPP)
        if not wish.length_bytes or not self._fits(wish.offset_bytes, wish.length_bytes):
            return p.error_reply(tag, errno.EINVAL)
        return Request(tag, Op.DISCARD, wish.offset_bytes, wish.length_bytes)

    def _fits(self, offset_bytes: int, length_bytes: int) -> bool:
        whole_sectors = not (offset_bytes | length_bytes) % SECTOR_BYTES
        return whole_sectors and offset_bytes + length_bytes <= self._size_bytes

    def _setattr(self, header: p.Header, message: memoryview) -> bytes:
        """Owner, mode and times are ignored; another size is refused."""
        size = p.parse_new_size(message)
        if size is not None and (header.node != FILE_ID or size != self._size_bytes):
            return p.error_reply(header.unique, errno.EPERM)
        return p.reply(header.unique, p.attr_body(self._attributes(header.node)))

    def _readdir(self, tag: int, message: memoryview) -> bytes:
        wish = p.parse_transfer(message)
        names = (
            (p.ROOT_ID, b".", stat.S_IFDIR >> 12),
            (p.ROOT_ID, b"..", stat.S_IFDIR >> 12),
            (FILE_ID, self._name, stat.S_IFREG >> 12),
        )
        listing = b""
        for position, (inode, name, kind) in enumerate(names[wish.offset_bytes :], wish.offset_bytes + 1):
            entry = p.dirent(inode, position, name, kind)
            if len(listing) + len(entry) > wish.length_bytes:
                break
            listing += entry
        return p.reply(tag, listing)

    def _lseek(self, tag: int, message: memoryview) -> bytes:
        """The whole file counts as data: where its holes are is not told."""
        offset, whence = p.parse_lseek(message)
        if offset >= self._size_bytes or whence not in (os.SEEK_DATA, os.SEEK_HOLE):
            return p.error_reply(tag, errno.ENXIO if offset >= self._size_bytes else errno.EINVAL)
        return p.reply(tag, p.lseek_body(offset if whence == os.SEEK_DATA else self._size_bytes))
