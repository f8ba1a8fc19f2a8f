"""The commands of this disk, as a table: what a CDB looks like, which of its bits count, who carries it out.

Sources: SBC-3 clause 5 and SPC-4 clause 6; the usage masks are those of REPORT SUPPORTED OPERATION CODES (SPC-4 6.35).
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Form(enum.Enum):
    """Where LBA and transfer length lie."""

    NONE = "neither"
    SIX = "21 bits of LBA, 8 of length (0 means 256)"
    TEN = "32 and 16 bits"
    TWELVE = "32 and 32 bits"
    SIXTEEN = "64 and 32 bits"


class Command(NamedTuple):
    """One command.

    Args:
        opcode: byte 0.
        action: the service action, or None where there is none.
        name: as in the standard; `disk` has its part under the name of `part`.
        part: which method of the logical unit plans it.
        form: where LBA and length lie.
        usage: the CDB's bits that are looked at.
        without_attention: whether it is carried out though a unit attention waits (SAM-5 5.14).
    """

    opcode: int
    action: int | None
    name: str
    part: str
    form: Form
    usage: bytes
    without_attention: bool = False


def _command(
    opcode: int,
    name: str,
    part: str,
    usage: str,
    form: Form = Form.NONE,
    action: int | None = None,
    without_attention: bool = False,
) -> Command:
    return Command(opcode, action, name, part, form, bytes.fromhex(usage), without_attention)


_SIX, _TEN, _TWELVE, _SIXTEEN = Form.SIX, Form.TEN, Form.TWELVE, Form.SIXTEEN

COMMANDS: Final = (
    _command(0x00, "TEST UNIT READY", "nothing", "00 00 00 00 00 00"),
    _command(0x03, "REQUEST SENSE", "request_sense", "03 01 00 00 FF 00", without_attention=True),
    _command(0x08, "READ(6)", "read", "08 1F FF FF FF 00", _SIX),
    _command(0x0A, "WRITE(6)", "write", "0A 1F FF FF FF 00", _SIX),
    _command(0x12, "INQUIRY", "inquiry", "12 01 FF FF FF 00", without_attention=True),
    _command(0x15, "MODE SELECT(6)", "mode_select_6", "15 11 00 00 FF 00"),
    _command(0x1A, "MODE SENSE(6)", "mode_sense_6", "1A 08 FF FF FF 00"),
    _command(0x1B, "START STOP UNIT", "start_stop", "1B 01 00 00 07 00"),
    _command(0x25, "READ CAPACITY(10)", "read_capacity_10", "25 00 00 00 00 00 00 00 00 00"),
    _command(0x28, "READ(10)", "read", "28 18 FF FF FF FF 00 FF FF 00", _TEN),
    _command(0x2A, "WRITE(10)", "write", "2A 18 FF FF FF FF 00 FF FF 00", _TEN),
    _command(0x2E, "WRITE AND VERIFY(10)", "write_and_verify", "2E 12 FF FF FF FF 00 FF FF 00", _TEN),
    _command(0x2F, "VERIFY(10)", "verify", "2F 16 FF FF FF FF 00 FF FF 00", _TEN),
    _command(0x35, "SYNCHRONIZE CACHE(10)", "synchronize", "35 02 FF FF FF FF 00 FF FF 00", _TEN),
    _command(0x41, "WRITE SAME(10)", "write_same", "41 08 FF FF FF FF 00 FF FF 00", _TEN),
    _command(0x42, "UNMAP", "unmap", "42 00 00 00 00 00 00 FF FF 00"),
    _command(0x4D, "LOG SENSE", "log_sense", "4D 00 FF FF 00 00 00 FF FF 00"),
    _command(0x55, "MODE SELECT(10)", "mode_select_10", "55 11 00 00 00 00 00 FF FF 00"),
    _command(0x5A, "MODE SENSE(10)", "mode_sense_10", "5A 18 FF FF 00 00 00 FF FF 00"),
    _command(0x88, "READ(16)", "read", "88 18 FF FF FF FF FF FF FF FF FF FF FF FF 00 00", _SIXTEEN),
    _command(
        0x89,
        "COMPARE AND WRITE",
        "compare_and_write",
        "89 18 FF FF FF FF FF FF FF FF 00 00 00 FF 00 00",
        _SIXTEEN,
    ),
    _command(0x8A, "WRITE(16)", "write", "8A 18 FF FF FF FF FF FF FF FF FF FF FF FF 00 00", _SIXTEEN),
    _command(
        0x8E,
        "WRITE AND VERIFY(16)",
        "write_and_verify",
        "8E 12 FF FF FF FF FF FF FF FF FF FF FF FF 00 00",
        _SIXTEEN,
    ),
    _command(0x8F, "VERIFY(16)", "verify", "8F 16 FF FF FF FF FF FF FF FF FF FF FF FF 00 00", _SIXTEEN),
    _command(
        0x91,
        "SYNCHRONIZE CACHE(16)",
        "synchronize",
        "91 02 FF FF FF FF FF FF FF FF FF FF FF FF 00 00",
        _SIXTEEN,
    ),
    _command(
        0x93, "WRITE SAME(16)", "write_same", "93 09 FF FF FF FF FF FF FF FF FF FF FF FF 00 00", _SIXTEEN
    ),
    _command(
        0x9E,
        "READ CAPACITY(16)",
        "read_capacity_16",
        "9E 10 00 00 00 00 00 00 00 00 FF FF FF FF 00 00",
        action=0x10,
    ),
    _command(
        0x9E,
        "GET LBA STATUS",
        "get_lba_status",
        "9E 12 FF FF FF FF FF FF FF FF FF FF FF FF 00 00",
        action=0x12,
    ),
    _command(
        0xA0, "REPORT LUNS", "report_luns", "A0 00 FF 00 00 00 FF FF FF FF 00 00", without_attention=True
    ),
    _command(
        0xA3,
        "REPORT SUPPORTED OPERATION CODES",
        "report_commands",
        "A3 0C 87 FF FF FF FF FF FF FF 00 00",
        action=0x0C,
    ),
    _command(
        0xA3,
        "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        "report_functions",
        "A3 0D 80 00 00 00 FF FF FF FF 00 00",
        action=0x0D,
    ),
    _command(0xA8, "READ(12)", "read", "A8 18 FF FF FF FF FF FF FF FF 00 00", _TWELVE),
    _command(0xAA, "WRITE(12)", "write", "AA 18 FF FF FF FF FF FF FF FF 00 00", _TWELVE),
    _command(
        0xAE, "WRITE AND VERIFY(12)", "write_and_verify", "AE 12 FF FF FF FF FF FF FF FF 00 00", _TWELVE
    ),
    _command(0xAF, "VERIFY(12)", "verify", "AF 16 FF FF FF FF FF FF FF FF 00 00", _TWELVE),
)
"""Reservations of any kind are refused whole: there is one session, so there is nobody to reserve against."""

BY_OPCODE: Final[dict[tuple[int, int | None], Command]] = {
    (command.opcode, command.action): command for command in COMMANDS
}
WITH_ACTION: Final = frozenset(command.opcode for command in COMMANDS if command.action is not None)


def find(cdb: bytes) -> Command | None:
    """The command of a CDB of 16 bytes (padded with zeros), or None when there is none like it."""
    opcode = cdb[0]
    return BY_OPCODE.get((opcode, cdb[1] & 0x1F if opcode in WITH_ACTION else None))


def number(cdb: bytes, start: int, end: int) -> int:
    """The big-endian number in bytes `start` to `end`."""
    return int.from_bytes(cdb[start:end], "big")


def blocks(form: Form, cdb: bytes) -> tuple[int, int]:
    """LBA and transfer length in blocks."""
    if form is Form.SIX:
        return number(cdb, 1, 4) & 0x1FFFFF, cdb[4] or 256
    if form is Form.TEN:
        return number(cdb, 2, 6), number(cdb, 7, 9)
    if form is Form.TWELVE:
        return number(cdb, 2, 6), number(cdb, 6, 10)
    return number(cdb, 2, 10), number(cdb, 10, 14)
