"""The kernel's messages, as bytes, and what is answered: no kernel needed."""

from __future__ import annotations

import errno
import os
import stat
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.core.requests import Op, Request
from twinhull.exports.fuse import protocol as p
from twinhull.exports.fuse.session import FILE_ID, OneFileSession

SIZE = 1 << 30
NAME = "disk"

# Captured from Linux 6.18 (FUSE 7.45): the first message after mount(2).
CAPTURED_INIT = bytes.fromhex(
    "680000001a00000002000000000000000000000000000000000000000000000000000000000000000700"
    "00002d00000000000200fbffff73fd0500000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000"
)


def session() -> OneFileSession:
    """A new connection to a file of 1 GiB."""
    return OneFileSession(SIZE, NAME, 64)


def message(opcode: int, body: bytes = b"", *, unique: int = 77, node: int = FILE_ID) -> memoryview:
    """What the kernel would write."""
    length = p.IN_HEADER.size + len(body)
    return memoryview(p.IN_HEADER.pack(length, opcode, unique, node, 0, 0, 1, 0, 0) + body)


def transfer(offset: int, size: int, flags: int = 0) -> bytes:
    """Body of a read or a write, without data."""
    return p.WRITE_IN.pack(0, offset, size, 0, 0, flags, 0)


def answered(outcome: Request | bytes | None) -> tuple[int, int, bytes]:
    """(errno, tag, body) of an answer; its length field is checked."""
    assert isinstance(outcome, bytes)
    length, error, unique = p.OUT_HEADER.unpack_from(outcome)
    assert length == len(outcome)
    return -error, unique, outcome[p.OUT_HEADER.size :]


@pytest.mark.parametrize(
    ("form", "size"),
    [
        (p.IN_HEADER, 40),
        (p.OUT_HEADER, 16),
        (p.INIT_OUT, 64),
        (p.WRITE_IN, 40),
        (p.READ_IN, 40),
        (p.FALLOCATE_IN, 32),
        (p.LSEEK_IN, 24),
        (p.ATTR, 88),
        (p.ATTR_OUT, 16),
        (p.ENTRY_OUT, 40),
        (p.OPEN_OUT, 16),
        (p.WRITE_OUT, 8),
        (p.STATFS_OUT, 80),
        (p.DIRENT, 24),
    ],
)
def test_structures_have_the_sizes_of_the_kernels_header(form: struct.Struct, size: int) -> None:
    assert form.size == size


def test_init_takes_what_is_needed_of_what_is_offered() -> None:
    error, unique, body = answered(session().understand(memoryview(CAPTURED_INIT)))
    major, minor, _, flags, background, congestion, max_write, _, pages, *_ = p.INIT_OUT.unpack(body)
    assert (error, unique) == (0, 2)
    assert (major, minor) == (7, 38)
    assert (background, congestion) == (64, 64)
    assert (max_write, pages) == (1 << 20, 256)
    wanted = p.InitFlag.ASYNC_DIO | p.InitFlag.MAX_PAGES | p.InitFlag.BIG_WRITES | p.InitFlag.ASYNC_READ
    assert flags & wanted == wanted


def test_init_never_claims_what_was_not_offered() -> None:
    body = answered(session().understand(message(p.Opcode.INIT, p.INIT_IN.pack(7, 31, 0, 0) + bytes(48))))[2]
    assert p.INIT_OUT.unpack(body)[1] == 31
    assert p.INIT_OUT.unpack(body)[3] == 0


def test_an_older_kernel_is_refused() -> None:
    assert (
        answered(session().understand(message(p.Opcode.INIT, p.INIT_IN.pack(7, 22, 0, 0))))[0] == errno.EPROTO
    )


def test_a_newer_major_is_told_ours() -> None:
    body = answered(session().understand(message(p.Opcode.INIT, p.INIT_IN.pack(8, 0, 0, 0))))[2]
    assert p.INIT_OUT.unpack(body)[:2] == (7, 38)


def test_a_write_is_handed_over_with_its_data_in_place() -> None:
    raw = message(p.Opcode.WRITE, transfer(4096, 1024) + b"d" * 1024)
    request = session().understand(raw)
    assert request == Request(77, Op.WRITE, 4096, 1024, b"d" * 1024, False)
    assert isinstance(request, Request)
    assert isinstance(request.data, memoryview)
    assert request.data.obj is raw.obj


@pytest.mark.parametrize("flag", [os.O_DSYNC, os.O_SYNC])
def test_a_write_of_a_synchronous_file_is_durable_before_its_answer(flag: int) -> None:
    request = session().understand(message(p.Opcode.WRITE, transfer(0, 512, flag) + bytes(512)))
    assert isinstance(request, Request)
    assert request.fua


@pytest.mark.parametrize(
    ("offset", "size", "sent", "error"),
    [
        (0, 512, 511, errno.EIO),
        (0, 512, 513, errno.EIO),
        (0, 0xFFFFFFFF, 512, errno.EIO),
        (1, 512, 512, errno.EINVAL),
        (0, 100, 100, errno.EINVAL),
        (SIZE, 512, 512, errno.EINVAL),
        (SIZE - 512, 1024, 1024, errno.EINVAL),
        (0xFFFFFFFFFFFFFE00, 512, 512, errno.EINVAL),
    ],
)
def test_a_write_that_cannot_be_is_refused(offset: int, size: int, sent: int, error: int) -> None:
    outcome = session().understand(message(p.Opcode.WRITE, transfer(offset, size) + bytes(sent)))
    assert answered(outcome)[:2] == (error, 77)


def test_an_empty_write_is_answered_at_once() -> None:
    assert answered(session().understand(message(p.Opcode.WRITE, transfer(0, 0)))) == (0, 77, bytes(8))


def test_a_read_is_cut_at_the_end_of_the_file() -> None:
    assert session().understand(message(p.Opcode.READ, transfer(SIZE - 512, 4096))) == Request(
        77, Op.READ, SIZE - 512, 512
    )
    assert answered(session().understand(message(p.Opcode.READ, transfer(SIZE, 4096)))) == (0, 77, b"")
    assert answered(session().understand(message(p.Opcode.READ, transfer(1, 512))))[0] == errno.EINVAL
    assert answered(session().understand(message(p.Opcode.READ, transfer(0, 2 << 20))))[0] == errno.EINVAL


@pytest.mark.parametrize("mode", [0x03, 0x02 | 0x01, 0x10, 0x11])
def test_freeing_and_zeroing_are_discards(mode: int) -> None:
    body = p.FALLOCATE_IN.pack(0, 8192, 4096, mode, 0)
    assert session().understand(message(p.Opcode.FALLOCATE, body)) == Request(77, Op.DISCARD, 8192, 4096)


@pytest.mark.parametrize(
    ("offset", "length", "mode", "error"),
    [
        (0, 4096, 0x00, errno.EOPNOTSUPP),
        (0, 4096, 0x01, errno.EOPNOTSUPP),
        (0, 4096, 0x08, errno.EOPNOTSUPP),
        (0, 4096, 0x1B, errno.EOPNOTSUPP),
        (SIZE, 4096, 0x03, errno.EINVAL),
        (100, 4096, 0x03, errno.EINVAL),
        (0, 0, 0x03, errno.EINVAL),
    ],
)
def test_other_allocations_are_refused(offset: int, length: int, mode: int, error: int) -> None:
    body = p.FALLOCATE_IN.pack(0, offset, length, mode, 0)
    assert answered(session().understand(message(p.Opcode.FALLOCATE, body)))[0] == error


def test_fsync_is_a_flush() -> None:
    assert session().understand(message(p.Opcode.FSYNC, bytes(16))) == Request(77, Op.FLUSH, 0, 0)


@pytest.mark.parametrize("opcode", [p.Opcode.FORGET, p.Opcode.BATCH_FORGET, p.Opcode.INTERRUPT])
def test_some_messages_have_no_answer(opcode: int) -> None:
    assert session().understand(message(opcode, bytes(8))) is None


@pytest.mark.parametrize(
    "opcode", [p.Opcode.FLUSH, p.Opcode.RELEASE, p.Opcode.ACCESS, p.Opcode.DESTROY, p.Opcode.RELEASEDIR]
)
def test_some_messages_need_nothing_done(opcode: int) -> None:
    assert answered(session().understand(message(opcode, bytes(24)))) == (0, 77, b"")


@pytest.mark.parametrize("opcode", [5, 8, 9, 10, 12, 22, 31, 35, 39, 40, 47, 49, 52, 4096, 0xFFFFFFFF])
def test_what_is_not_known_is_not_implemented(opcode: int) -> None:
    assert answered(session().understand(message(opcode, bytes(64)))) == (errno.ENOSYS, 77, b"")


def test_only_the_one_name_is_found() -> None:
    found = answered(session().understand(message(p.Opcode.LOOKUP, b"disk\0", node=p.ROOT_ID)))
    assert found[0] == 0
    assert p.ENTRY_OUT.unpack_from(found[2])[0] == FILE_ID
    assert p.ATTR.unpack_from(found[2], p.ENTRY_OUT.size)[1] == SIZE
    for body, node in ((b"disk2\0", p.ROOT_ID), (b"", p.ROOT_ID), (b"disk\0", FILE_ID)):
        outcome = session().understand(message(p.Opcode.LOOKUP, body, node=node))
        assert answered(outcome)[0] == errno.ENOENT


def test_attributes_never_change_and_another_size_is_refused() -> None:
    body = answered(session().understand(message(p.Opcode.GETATTR, bytes(16))))[2]
    fields = p.ATTR.unpack_from(body, p.ATTR_OUT.size)
    assert (fields[1], fields[2], fields[9]) == (SIZE, SIZE // 512, stat.S_IFREG | 0o600)
    same = p.SETATTR_IN.pack(p.SETATTR_SIZE, 0, 0, SIZE) + bytes(64)
    other = p.SETATTR_IN.pack(p.SETATTR_SIZE, 0, 0, SIZE - 512) + bytes(64)
    mode = p.SETATTR_IN.pack(1, 0, 0, 0) + bytes(64)
    assert answered(session().understand(message(p.Opcode.SETATTR, same)))[0] == 0
    assert answered(session().understand(message(p.Opcode.SETATTR, mode)))[0] == 0
    assert answered(session().understand(message(p.Opcode.SETATTR, other)))[0] == errno.EPERM


def test_an_opened_file_bypasses_the_page_cache() -> None:
    body = answered(session().understand(message(p.Opcode.OPEN, bytes(8))))[2]
    assert p.OPEN_OUT.unpack(body)[1] == p.OpenFlag.DIRECT_IO | p.OpenFlag.PARALLEL_DIRECT_WRITES


def test_the_directory_is_listed_in_as_many_parts_as_the_reader_wants() -> None:
    names, offset = [], 0
    while True:
        listing = answered(session().understand(message(p.Opcode.READDIR, transfer(offset, 40), node=1)))[2]
        if not listing:
            break
        _, offset, length, _ = p.DIRENT.unpack_from(listing)
        names.append(listing[24 : 24 + length])
        assert len(listing) % 8 == 0
    assert names == [b".", b"..", b"disk"]


def test_seeking_shows_data_everywhere() -> None:
    def seek(offset: int, whence: int) -> tuple[int, int, bytes]:
        return answered(session().understand(message(p.Opcode.LSEEK, p.LSEEK_IN.pack(0, offset, whence, 0))))

    assert seek(4096, os.SEEK_DATA) == (0, 77, p.LSEEK_OUT.pack(4096))
    assert seek(4096, os.SEEK_HOLE) == (0, 77, p.LSEEK_OUT.pack(SIZE))
    assert seek(SIZE, os.SEEK_DATA)[0] == errno.ENXIO
    assert seek(0, os.SEEK_END)[0] == errno.EINVAL


def test_answers_carry_their_tag_length_and_errno() -> None:
    answer = session().answer
    assert answered(answer(Op.WRITE, 5, 4096, 0)) == (0, 5, p.WRITE_OUT.pack(4096, 0))
    assert answered(answer(Op.WRITE, 5, 4096, errno.ENOSPC)) == (errno.ENOSPC, 5, b"")
    assert answered(answer(Op.FLUSH, 6, 0, 0)) == (0, 6, b"")
    assert answered(answer(Op.DISCARD, 7, 4096, 0)) == (0, 7, b"")
    assert p.OUT_HEADER.unpack(answer(Op.READ, 8, 4096, 0)) == (16 + 4096, 0, 8)
    assert answered(answer(Op.READ, 8, 4096, errno.EIO)) == (errno.EIO, 8, b"")


def test_a_message_that_lies_about_its_length_names_no_request() -> None:
    for raw in (b"", b"\0" * 39, bytes(message(p.Opcode.READ, transfer(0, 512)))[:-1]):
        with pytest.raises(p.MessageError):
            session().understand(memoryview(raw))


@pytest.mark.parametrize(
    "opcode", [p.Opcode.WRITE, p.Opcode.READ, p.Opcode.FALLOCATE, p.Opcode.INIT, p.Opcode.SETATTR]
)
def test_a_body_that_is_cut_is_answered_with_an_error(opcode: int) -> None:
    assert answered(session().understand(message(opcode, b"\1\2\3")))[:2] == (errno.EIO, 77)


@given(st.integers(0, 60), st.binary(max_size=200))
def test_nonsense_is_answered_or_dropped_but_never_breaks(opcode: int, body: bytes) -> None:
    outcome = session().understand(message(opcode, body))
    if isinstance(outcome, Request):
        assert outcome.offset_bytes + outcome.length_bytes <= SIZE
    elif outcome is not None:
        answered(outcome)


@given(st.binary(max_size=200))
def test_noise_raises_nothing_but_its_own_error(raw: bytes) -> None:
    try:
        session().understand(memoryview(raw))
    except p.MessageError:
        return
