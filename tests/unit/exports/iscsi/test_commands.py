"""What each SCSI command does, seen by an initiator."""

from __future__ import annotations

import errno
import os
import random
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.exports.iscsi.initiator import (
    MIB,
    NAME,
    OPEN,
    SIZE_BYTES,
    Initiator,
    MemoryVolume,
    cdb16,
    logged_in,
    read10,
    write10,
)

from twinhull.exports.base import Op
from twinhull.exports.iscsi import cdb as table
from twinhull.exports.iscsi.pdu import FORMS, HEADER_BYTES

BLOCKS = SIZE_BYTES // 512
INVALID_FIELD, OUT_OF_RANGE, NO_SUCH_COMMAND = (5, 0x24, 0), (5, 0x21, 0), (5, 0x20, 0)
FOUR_K = replace(OPEN, unit_bytes=4096)

WRITES: dict[str, Callable[[int, int], bytes]] = {
    "WRITE(6)": lambda lba, n: bytes((0x0A, 0, lba >> 8, lba & 255, n, 0)),
    "WRITE(10)": write10,
    "WRITE(12)": lambda lba, n: struct.pack(">BBIIBB", 0xAA, 0, lba, n, 0, 0),
    "WRITE(16)": lambda lba, n: cdb16(0x8A, lba, n),
    "WRITE AND VERIFY(10)": lambda lba, n: struct.pack(">BBIBHB", 0x2E, 2, lba, 0, n, 0),
    "WRITE AND VERIFY(12)": lambda lba, n: struct.pack(">BBIIBB", 0xAE, 0, lba, n, 0, 0),
    "WRITE AND VERIFY(16)": lambda lba, n: cdb16(0x8E, lba, n),
}
READS: dict[str, Callable[[int, int], bytes]] = {
    "READ(6)": lambda lba, n: bytes((0x08, 0, lba >> 8, lba & 255, n, 0)),
    "READ(10)": read10,
    "READ(12)": lambda lba, n: struct.pack(">BBIIBB", 0xA8, 0, lba, n, 0, 0),
    "READ(16)": lambda lba, n: cdb16(0x88, lba, n),
}


def test_every_header_is_of_48_bytes() -> None:
    assert {form.size for form in FORMS.values()} == {HEADER_BYTES}


@pytest.mark.parametrize("settings", [OPEN, FOUR_K], ids=["512", "4096"])
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("read", READS)
def test_what_any_write_writes_any_read_reads(write: str, read: str, settings: object) -> None:
    initiator, volume = logged_in(FOUR_K if settings is FOUR_K else OPEN)
    volume.content[:] = b"\xee" * SIZE_BYTES
    data = os.urandom(5 * 512)
    assert initiator.run(WRITES[write](3, 5), out=data).status == 0
    assert initiator.run(READS[read](3, 5), room=len(data)).data == data
    assert volume.content[512 : 9 * 512] == b"\xee" * 1024 + data + b"\xee" * 512


@pytest.mark.parametrize("immediate", [True, False])
@pytest.mark.parametrize(
    "agreed", [{}, {"ImmediateData": "No", "InitialR2T": "Yes"}, {"MaxBurstLength": "4096"}]
)
def test_a_mebibyte_travels_in_any_way_that_was_agreed_upon(immediate: bool, agreed: dict[str, str]) -> None:
    initiator, volume = logged_in(OPEN, **agreed)
    data = os.urandom(MIB)
    immediate = immediate and not agreed
    assert initiator.run(write10(8, 2048), out=data, immediate_data=immediate).status == 0
    assert volume.content[4096 : 4096 + MIB] == data
    assert initiator.run(read10(8, 2048), room=MIB).data == data
    assert [seen.length_bytes for seen in volume.seen] == [MIB, MIB]


def test_fua_reaches_the_volume_and_is_never_refused() -> None:
    initiator, volume = logged_in()
    for cdb in (write10(0, 1, 0x08), cdb16(0x8A, 0, 1, 0x18), struct.pack(">BBIIBB", 0xAA, 8, 0, 1, 0, 0)):
        assert initiator.run(cdb, out=bytes(512)).status == 0
        assert volume.seen.pop().fua
    assert initiator.run(write10(0, 1), out=bytes(512)).status == 0
    assert not volume.seen.pop().fua
    assert initiator.run(read10(0, 1, 0x18), room=512).status == 0


def select_cache(initiator: Initiator, on: bool) -> None:
    """MODE SELECT(6) of the caching page."""
    page = bytes((0x08, 0x12, 4 if on else 0)).ljust(20, b"\0")
    assert initiator.run(bytes((0x15, 0x10, 0, 0, 24, 0)), out=bytes(4) + page).status == 0


def test_with_the_write_cache_off_every_write_is_durable() -> None:
    initiator, volume = logged_in()
    cached = initiator.run(bytes((0x1A, 0, 0x08, 0, 255, 0)), room=255).data
    assert cached[2] & 0x10, "DPO and FUA are announced"
    assert cached[14] & 4, "the write cache is on"
    select_cache(initiator, False)
    assert volume.seen.pop().op is Op.FLUSH
    assert not initiator.run(bytes((0x1A, 0, 0x08, 0, 255, 0)), room=255).data[14] & 4
    initiator.run(write10(0, 1), out=bytes(512))
    assert volume.seen.pop().fua
    initiator.run(bytes.fromhex("42000000000000001800"), out=unmap([(8, 8)]))
    assert volume.seen.pop().fua
    select_cache(initiator, True)
    initiator.run(write10(0, 1), out=bytes(512))
    assert not volume.seen.pop().fua


@pytest.mark.parametrize(
    ("parameters", "sense"),
    [
        (bytes(4) + bytes((0x08, 0x12, 0x05)).ljust(20, b"\0"), (5, 0x26, 0)),
        (bytes(4) + bytes((0x07, 0x0A)).ljust(12, b"\0"), (5, 0x26, 0)),
        (bytes(4) + bytes((0x08, 0x20)).ljust(20, b"\0"), (5, 0x26, 0)),
        (bytes(4) + bytes((0x08, 0x12, 4)), (5, 0x1A, 0)),
        (bytes((0, 0, 0, 5)) + bytes(20), (5, 0x26, 0)),
    ],
)
def test_a_mode_select_of_anything_else_is_refused(parameters: bytes, sense: tuple[int, int, int]) -> None:
    initiator, volume = logged_in()
    result = initiator.run(bytes((0x15, 0x10, 0, 0, len(parameters), 0)), out=parameters)
    assert result.sense == sense
    assert volume.seen == []


@pytest.mark.parametrize("opcode", [0x35, 0x91])
def test_a_flush_is_answered_when_the_volume_has_answered(opcode: int) -> None:
    initiator, volume = logged_in()
    volume.held = []
    _, pdus = initiator.command_pdu(bytes((opcode, 2)))
    assert pdus == []
    assert [request.op for request in volume.held] == [Op.FLUSH]
    volume.release()
    assert [pdu.head[3] for pdu in initiator.heard()] == [0]


def unmap(ranges: list[tuple[int, int]]) -> bytes:
    """Parameters of UNMAP."""
    body = b"".join(struct.pack(">QII", lba, count, 0) for lba, count in ranges)
    return struct.pack(">HHI", len(body) + 6, len(body), 0) + body


def run_unmap(initiator: Initiator, ranges: list[tuple[int, int]]) -> tuple[int, int, int] | None:
    """UNMAP; its sense."""
    parameters = unmap(ranges)
    return initiator.run(struct.pack(">BBIBHB", 0x42, 0, 0, 0, len(parameters), 0), out=parameters).sense


@pytest.mark.parametrize("settings", [OPEN, FOUR_K], ids=["512", "4096"])
def test_unmapped_blocks_read_as_zeros_at_any_alignment(settings: object) -> None:
    initiator, volume = logged_in(FOUR_K if settings is FOUR_K else OPEN)
    volume.content[:] = b"\xee" * SIZE_BYTES
    assert run_unmap(initiator, [(1, 2), (13, 30), (100, 0)]) is None
    expected = bytearray(b"\xee" * SIZE_BYTES)
    expected[512:1536] = bytes(1024)
    expected[13 * 512 : 43 * 512] = bytes(30 * 512)
    assert volume.content == expected
    assert any(seen.op is Op.DISCARD for seen in volume.seen)


def test_an_unmap_beyond_the_end_changes_nothing() -> None:
    initiator, volume = logged_in()
    assert run_unmap(initiator, [(0, 8), (BLOCKS - 1, 2)]) == OUT_OF_RANGE
    assert run_unmap(initiator, [(0, 1)] * 257) == (5, 0x26, 0)
    assert volume.seen == []


@pytest.mark.parametrize("opcode", [0x41, 0x93])
def test_write_same_fills_a_range_and_zeros_take_no_room(opcode: int) -> None:
    initiator, volume = logged_in()
    volume.content[:] = b"\xee" * SIZE_BYTES

    def same(lba: int, count: int) -> bytes:
        return (
            cdb16(0x93, lba, count) if opcode == 0x93 else struct.pack(">BBIBHB", 0x41, 0, lba, 0, count, 0)
        )

    assert initiator.run(same(3, 5000), out=b"ab" * 256).status == 0
    assert volume.content[1536 : 1536 + 5000 * 512] == b"ab" * 256 * 5000
    volume.seen.clear()
    assert initiator.run(same(3, 5000), out=bytes(512)).status == 0
    assert [(seen.op, seen.length_bytes) for seen in volume.seen] == [(Op.DISCARD, 5000 * 512)]
    assert initiator.run(same(0, 0), out=bytes(512)).sense == INVALID_FIELD
    assert initiator.run(same(0, 1), out=bytes(256)).sense == INVALID_FIELD
    assert initiator.run(same(0, 1), out=bytes(1024)).sense == INVALID_FIELD


def test_write_same_16_may_come_without_a_block() -> None:
    initiator, volume = logged_in()
    volume.content[:] = b"\xee" * SIZE_BYTES
    assert initiator.run(cdb16(0x93, 8, 8, 0x01)).status == 0
    assert volume.content[4096:8192] == bytes(4096)


def compare_and_write(lba: int, count: int) -> bytes:
    """Its CDB."""
    return struct.pack(">BBQ3xBBB", 0x89, 0, lba, count, 0, 0)


@pytest.mark.parametrize("settings", [OPEN, FOUR_K], ids=["512", "4096"])
def test_compare_and_write_writes_only_over_what_it_expects(settings: object) -> None:
    initiator, volume = logged_in(FOUR_K if settings is FOUR_K else OPEN)
    old, new = os.urandom(1024), os.urandom(1024)
    volume.content[512:1536] = old
    assert initiator.run(compare_and_write(1, 2), out=old + new).status == 0
    assert volume.content[512:1536] == new
    wrong = new[:700] + bytes((new[700] ^ 1,)) + new[701:]
    result = initiator.run(compare_and_write(1, 2), out=wrong + old)
    assert result.sense == (14, 0x1D, 0)
    assert struct.unpack_from(">I", result.raw_sense, 3)[0] == 700, "it says where"
    assert volume.content[512:1536] == new
    assert initiator.run(compare_and_write(0, 129), out=bytes(129 * 1024)).sense == INVALID_FIELD
    assert initiator.run(compare_and_write(BLOCKS, 1), out=bytes(1024)).sense == OUT_OF_RANGE


def in_flight_pair(first: bytes, second: bytes, data: tuple[bytes, bytes]) -> tuple[Initiator, MemoryVolume]:
    """Two commands sent while the volume holds its I/O."""
    initiator, volume = logged_in(FOUR_K)
    volume.content[: 1 << 16] = b"\xee" * (1 << 16)
    volume.held = []
    for cdb, out in zip((first, second), data, strict=True):
        initiator.command_pdu(cdb, flags=0xA1, expected=len(out), data=out)
    return initiator, volume


def finish_one_by_one(initiator: Initiator, volume: MemoryVolume, seed: int) -> list[int]:
    """Answer one request after the other in some order, each leading to others; the statuses."""
    choice = random.Random(seed)
    statuses = []
    while volume.held:
        volume.answer(volume.held.pop(choice.randrange(len(volume.held))))
        volume.work()
        statuses += [pdu.head[3] for pdu in initiator.heard() if pdu.opcode == 0x21]
    return statuses


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("first_lba", [0, 1])
@pytest.mark.parametrize("second_count", [1, 8])
def test_writes_to_one_unit_never_undo_each_other(seed: int, first_lba: int, second_count: int) -> None:
    """On a 4Kn disk blocks are read, changed and written back: beside another write to the same unit."""
    second_lba = 2 if second_count == 1 else 8
    first, second = b"\x01" * 512 * 8, b"\x02" * 512 * second_count
    initiator, volume = in_flight_pair(
        write10(first_lba, 8), write10(second_lba, second_count), (first, second)
    )
    assert finish_one_by_one(initiator, volume, seed) == [0, 0]
    seen = [volume.content[block * 512] for block in range(16)]
    for block in range(16):
        writers = {
            value
            for value, lba, count in ((1, first_lba, 8), (2, second_lba, second_count))
            if lba <= block < lba + count
        }
        assert seen[block] in (writers or {0xEE}), f"block {block}: {seen}"


def test_two_compare_and_writes_that_expect_the_same_are_never_both_done() -> None:
    initiator, volume = logged_in()
    volume.held = []
    for value in (1, 2):
        initiator.command_pdu(
            compare_and_write(0, 1), flags=0xA1, expected=1024, data=bytes(512) + bytes((value,)) * 512
        )
    assert sorted(finish_one_by_one(initiator, volume, 0)) == [0, 2]
    assert volume.content[:512] in (b"\x01" * 512, b"\x02" * 512)


@pytest.mark.parametrize("check", [0, 1, 3])
@pytest.mark.parametrize("opcode", [0x2F, 0x8F])
def test_verify_compares_what_it_is_given(check: int, opcode: int) -> None:
    initiator, volume = logged_in()
    block = os.urandom(512)
    volume.content[: 4 * 512] = block * 4

    def verify() -> bytes:
        if opcode == 0x8F:
            return cdb16(0x8F, 0, 4, check << 1)
        return struct.pack(">BBIBHB", 0x2F, check << 1, 0, 0, 4, 0)

    out = None if check == 0 else block * (4 if check == 1 else 1)
    assert initiator.run(verify(), out=out).sense is None
    volume.content[3 * 512 + 5] ^= 1
    expected = None if check == 0 else (14, 0x1D, 0)
    assert initiator.run(verify(), out=out).sense == expected


@pytest.mark.parametrize("name", [*WRITES, *READS])
def test_nothing_reaches_beyond_the_end(name: str) -> None:
    if name.endswith("(6)"):
        cdb = struct.pack(">I", 0x0A000000 | BLOCKS - 1) + b"\x02\0"
        cdb = bytes((0x0A if name.startswith("W") else 0x08,)) + cdb[1:]
    else:
        cdb = {**WRITES, **READS}[name](BLOCKS - 1, 2)
    initiator, volume = logged_in()
    writes = name.startswith("W")
    result = initiator.run(cdb, out=bytes(1024) if writes else None, room=0 if writes else 1024)
    assert result.sense == OUT_OF_RANGE
    assert volume.seen == []


def test_a_transfer_beyond_the_announced_limit_is_refused() -> None:
    initiator, _ = logged_in()
    assert initiator.run(read10(0, 2049), room=2049 * 512).sense == INVALID_FIELD


@pytest.mark.parametrize("op", [Op.READ, Op.WRITE, Op.FLUSH, Op.DISCARD])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_no_error_of_the_volume_takes_the_disk_from_windows(op: Op, error: int) -> None:
    """07/27/07 would: a full disk is an error of the write, as any other."""
    initiator, volume = logged_in()
    volume.errors = {op: error}
    if op is Op.READ:
        assert initiator.run(read10(0, 1), room=512).sense == (3, 0x11, 0)
        assert initiator.run(struct.pack(">BBIIBB", 0xA8, 0, 0, 1, 0, 0), room=512).sense == (3, 0x11, 0)
    elif op is Op.WRITE:
        assert initiator.run(write10(0, 1), out=bytes(512)).sense == (3, 0x0C, 0)
        assert initiator.run(bytes((0x0A, 0, 0, 0, 1, 0)), out=bytes(512)).sense == (3, 0x0C, 0)
    elif op is Op.FLUSH:
        assert initiator.run(bytes((0x35,))).sense == (4, 0x44, 0)
    else:
        assert run_unmap(initiator, [(0, 8)]) == (3, 0x0C, 0)


def test_space_that_runs_out_is_an_attention_told_once() -> None:
    initiator, _ = logged_in()
    initiator.target.tell_space(3 * MIB, 13 * MIB)
    initiator.target.warn_of_space()
    initiator.target.warn_of_space()
    result = initiator.run(read10(0, 1), room=512)
    assert result.sense == (6, 0x38, 0x07)
    assert initiator.run(read10(0, 1), room=512).status == 0
    page = initiator.run(struct.pack(">BBBBBHHB", 0x4D, 0, 0x4C, 0, 0, 0, 255, 0), room=255).data
    assert page[:4] == bytes((0x0C, 0, 0, 24))
    parameters = [
        (struct.unpack_from(">H", page, at)[0], struct.unpack_from(">I", page, at + 4)[0]) for at in (4, 16)
    ]
    assert parameters == [(1, 13), (2, 3)], "what is left and what is used, in MiB"


def vpd(initiator: Initiator, page: int) -> bytes:
    """A page of vital product data."""
    return initiator.run(bytes((0x12, 1, page, 0, 255, 0)), room=255).data


def test_every_listed_page_is_there_and_no_other() -> None:
    initiator, _ = logged_in()
    assert vpd(initiator, 0)[4:] == bytes((0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2))
    for page in range(256):
        result = initiator.run(bytes((0x12, 1, page, 0, 255, 0)), room=255)
        if page in vpd(initiator, 0)[4:]:
            assert result.data[1] == page
            assert int.from_bytes(result.data[2:4], "big") == len(result.data) - 4
        else:
            assert result.sense == INVALID_FIELD


def test_the_pages_say_what_windows_looks_for() -> None:
    initiator, _ = logged_in()
    assert vpd(initiator, 0x80)[4:] == bytes(range(16)).hex().encode()
    limits, character, provisioning = (vpd(initiator, page) for page in (0xB0, 0xB1, 0xB2))
    assert limits[3] == character[3] == 0x3C
    assert struct.unpack_from(">I", limits, 8)[0] == 2048
    assert struct.unpack_from(">II", limits, 20) == (1 << 20, 256)
    assert character[4:6] == b"\0\1", "it does not rotate"
    assert provisioning[5] & 0xE4 == 0xE4, "UNMAP, WRITE SAME, and zeros are read"
    assert provisioning[6] & 7 == 2, "thin"
    identification = vpd(initiator, 0x83)
    assert NAME.encode() in identification
    assert identification[4:8] == b"\x01\x03\x00\x08", "first of all the NAA of the unit"


def test_capacity_with_physical_blocks_of_4096_bytes() -> None:
    initiator, _ = logged_in()
    assert initiator.run(bytes((0x25,)).ljust(10, b"\0"), room=8).data == struct.pack(">II", BLOCKS - 1, 512)
    long = initiator.run(bytes.fromhex("9e10000000000000000000000020"), room=32).data
    assert long[:14] == struct.pack(">QIBB", BLOCKS - 1, 512, 0, 3)
    assert long[14] == 0xC0


def test_units_that_there_are_not_say_so() -> None:
    initiator, _ = logged_in()
    lun1 = 1 << 48
    assert initiator.run(bytes((0x12, 0, 0, 0, 96, 0)), room=96, lun=lun1).data[0] == 0x7F
    assert initiator.run(bytes(6), lun=lun1).sense == (5, 0x25, 0)
    assert initiator.run(read10(0, 1), room=512, lun=lun1).sense == (5, 0x25, 0)
    luns = initiator.run(bytes.fromhex("a00000000000000000ff0000"), room=255, lun=lun1).data
    assert luns == struct.pack(">IIQ", 8, 0, 0)


@pytest.mark.parametrize("opcode", [0x16, 0x17, 0x5E, 0x5F, 0x56, 0x57])
def test_reservations_are_refused_whole(opcode: int) -> None:
    initiator, _ = logged_in()
    assert initiator.run(bytes((opcode,)).ljust(10, b"\0")).sense == NO_SUCH_COMMAND


def test_every_command_of_the_table_is_known_by_its_cdb_and_says_what_it_looks_at() -> None:
    initiator, _ = logged_in()
    listed = initiator.run(bytes.fromhex("a30c0000000000000fff0000"), room=4095).data
    assert int.from_bytes(listed[:4], "big") == len(listed) - 4 == 8 * len(table.COMMANDS)
    for command in table.COMMANDS:
        option = 1 if command.action is None else 2
        one = struct.pack(">BBBBHIBB", 0xA3, 0x0C, option, command.opcode, command.action or 0, 255, 0, 0)
        described = initiator.run(one, room=255).data
        assert described[4:] == command.usage
        assert described[1] & 7 == 3
        assert initiator.run(command.usage[:1] + command.usage[1:-1] + b"\x04").sense == INVALID_FIELD, "NACA"


def test_all_that_is_not_in_the_table_is_refused_by_name() -> None:
    initiator, _ = logged_in()
    known = {command.opcode for command in table.COMMANDS}
    for opcode in set(range(256)) - known:
        assert initiator.run(bytes((opcode,)).ljust(16, b"\0")).sense == NO_SUCH_COMMAND


@pytest.mark.parametrize(("expected", "flag"), [(256, "over"), (2048, "under"), (0, "over")])
def test_residuals_of_reads(expected: int, flag: str) -> None:
    initiator, volume = logged_in()
    volume.content[:512] = os.urandom(512)
    result = initiator.run(read10(0, 1), room=expected)
    assert result.data == volume.content[: min(expected, 512)]
    assert (result.overflow, result.underflow) == (
        (512 - expected, 0) if flag == "over" else (0, expected - 512)
    )


@pytest.mark.parametrize("expected", [0, 200, 512, 1024, 4096])
def test_residuals_of_writes_change_nothing_that_was_not_sent(expected: int) -> None:
    initiator, volume = logged_in()
    volume.content[:4096] = b"a" * 4096
    result = initiator.run(write10(0, 2), out=b"b" * expected)
    assert result.status == 0
    moved = min(expected, 1024)
    assert volume.content[:4096] == b"b" * moved + b"a" * (4096 - moved)
    assert (result.overflow, result.underflow) == (max(0, 1024 - expected), max(0, expected - 1024))


def test_stopping_the_unit_flushes_and_it_cannot_be_ejected() -> None:
    initiator, volume = logged_in()
    assert initiator.run(bytes((0x1B, 0, 0, 0, 0, 0))).status == 0
    assert [seen.op for seen in volume.seen] == [Op.FLUSH]
    assert initiator.run(bytes((0x1B, 0, 0, 0, 2, 0))).sense == INVALID_FIELD


def test_get_lba_status_tells_holes_from_data() -> None:
    from twinhull.exports.iscsi.disk import LogicalUnit
    from twinhull.exports.iscsi.pages import DiskIdentity
    from twinhull.exports.iscsi.store import Store

    def next_data(offset: int) -> tuple[int, int] | None:
        return next(((max(offset, a), b - max(offset, a)) for a, b in ((8192, 16384),) if offset < b), None)

    unit = LogicalUnit(DiskIdentity(bytes(16), NAME, MIB), Store(MIB), next_data)
    found = {}
    for lba in (0, 16, 20, 32, 40):
        answer = unit.plan(struct.pack(">BBQIBB", 0x9E, 0x12, lba, 24, 0, 0)).answer
        found[lba] = struct.unpack_from(">QIB", answer, 8)
    assert found == {
        0: (0, 16, 1),
        16: (16, 16, 0),
        20: (20, 12, 0),
        32: (32, 2048 - 32, 1),
        40: (40, 2048 - 40, 1),
    }


def test_both_mode_senses_tell_the_same_pages() -> None:
    initiator, _ = logged_in()
    six = initiator.run(bytes((0x1A, 0, 0x3F, 0xFF, 255, 0)), room=255).data
    ten = initiator.run(bytes((0x5A, 0, 0x3F, 0xFF, 0, 0, 0, 1, 0, 0)), room=256).data
    assert six[0] == len(six) - 1
    assert int.from_bytes(ten[:2], "big") == len(ten) - 2
    assert six[4:] == ten[8:]
    assert six[2] == ten[3] == 0x10
    assert struct.unpack_from(">II", six, 4) == (BLOCKS, 512)
    without = initiator.run(bytes((0x1A, 8, 0x3F, 0xFF, 255, 0)), room=255).data
    assert without[4:] == six[12:]
    assert initiator.run(bytes((0x1A, 0, 0x3F, 0xFF, 4, 0)), room=4).data == six[:4]


def test_only_the_write_cache_can_be_changed_and_nothing_is_saved() -> None:
    initiator, volume = logged_in()
    changeable = initiator.run(bytes((0x1A, 8, 0x7F, 0xFF, 255, 0)), room=255).data[4:]
    assert sum(bin(byte).count("1") for page in split_pages(changeable) for byte in page) == 1
    assert initiator.run(bytes((0x1A, 0, 0xC8, 0, 255, 0)), room=255).sense == (5, 0x39, 0)
    assert initiator.run(bytes((0x1A, 0, 0x07, 0, 255, 0)), room=255).sense == INVALID_FIELD
    off = bytes(8) + bytes((0x08, 0x12, 0)).ljust(20, b"\0")
    assert initiator.run(bytes((0x55, 0x10, 0, 0, 0, 0, 0, 0, 28, 0)), out=off).status == 0
    initiator.run(write10(0, 1), out=bytes(512))
    assert volume.seen.pop().fua
    default = initiator.run(bytes((0x1A, 8, 0x88, 0, 255, 0)), room=255).data
    assert default[6] & 4, "by default it is on"
    assert initiator.run(bytes((0x55, 0x11, 0, 0, 0, 0, 0, 0, 28, 0)), out=off).sense == INVALID_FIELD


def split_pages(data: bytes) -> list[bytes]:
    """The values of mode pages, without their headers."""
    found = []
    while data:
        long = data[0] & 0x40
        start = 4 if long else 2
        length = int.from_bytes(data[2:4], "big") if long else data[1]
        found.append(data[start : start + length])
        data = data[start + length :]
    return found


@pytest.mark.parametrize("form", [0, 1])
def test_request_sense_takes_what_waits(form: int) -> None:
    initiator, _ = logged_in()
    initiator.target.warn_of_space()
    request = bytes((0x03, form, 0, 0, 252, 0))
    waiting = initiator.run(request, room=252).data
    assert (waiting[2] & 15, waiting[12], waiting[13]) == (6, 0x38, 7)
    nothing = initiator.run(request, room=252).data
    assert (nothing[0], nothing[1 if form else 2] & 15) == (0x72 if form else 0x70, 0)
    assert initiator.run(request, room=252, lun=1 << 48).data[12] == 0x25
    assert initiator.run(bytes(6)).status == 0


def test_log_pages_are_listed_and_others_refused() -> None:
    initiator, _ = logged_in()

    def sense_log(page: int, save: int = 0) -> bytes:
        return struct.pack(">BBBBBHHB", 0x4D, save, 0x40 | page, 0, 0, 0, 255, 0)

    assert initiator.run(sense_log(0), room=255).data == bytes((0, 0, 0, 2, 0x00, 0x0C))
    assert initiator.run(sense_log(0x0D), room=255).sense == INVALID_FIELD
    assert initiator.run(sense_log(0, save=1), room=255).sense == INVALID_FIELD


def test_the_task_management_functions_are_told() -> None:
    initiator, _ = logged_in()
    told = initiator.run(bytes.fromhex("a30d0000000000000010") + bytes(2), room=16).data
    assert told == bytes((0xD8, 0, 0, 0)), "abort task, abort and clear task set, reset"


@pytest.mark.parametrize(
    "cdb",
    [
        write10(0, 1, 0x20),
        read10(0, 1, 0x40),
        read10(0, 1)[:9] + b"\x04",
        write10(0, 1)[:9] + b"\x04",
        cdb16(0x88, 0, 1)[:15] + b"\x04",
        bytes((0x1B, 0, 0, 0, 0x30, 0)),
        bytes((0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0)),
        bytes.fromhex("9e10000000000000000100000020"),
        bytes.fromhex("9e1f000000000000000000000020"),
        bytes.fromhex("42010000000000001800"),
        bytes.fromhex("4110000000000000 0100"),
        bytes.fromhex("2f08000000000000 0100")[:1] + b"\x04" + bytes(6) + b"\x01\0",
        bytes.fromhex("a00003000000000000ff0000"),
    ],
)
def test_bits_that_mean_what_this_disk_has_not_are_refused(cdb: bytes) -> None:
    initiator, volume = logged_in()
    writes = cdb[0] in (0x2A, 0x41, 0x42)
    result = initiator.run(cdb, out=bytes(512) if writes else None, room=0 if writes else 512)
    assert result.sense == INVALID_FIELD
    assert volume.seen == []
