"""Status and sense of SCSI commands (SPC-4 clauses 4.5 and 5; SAM-5 clause 5.3)."""

from __future__ import annotations

import enum
import errno
from typing import Final, NamedTuple


class Status(enum.IntEnum):
    """SAM-5 table 43."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    BUSY = 0x08
    TASK_SET_FULL = 0x28


class Key(enum.IntEnum):
    """Sense keys, SPC-4 table 47."""

    NO_SENSE = 0x0
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    ABORTED_COMMAND = 0xB
    MISCOMPARE = 0xE


class Sense(NamedTuple):
    """Key, additional sense code and its qualifier; `information`, when there is some; the field that was wrong.

    Args:
        key: what kind.
        code: additional sense code, SPC-4 annex F.
        qualifier: of the code.
        information: for instance where data began to differ, in bytes.
        field: offset of the byte of the CDB or of the parameters that was not accepted.
        in_cdb: whether `field` is one of the CDB.
    """

    key: Key
    code: int
    qualifier: int
    information: int | None = None
    field: int | None = None
    in_cdb: bool = True


NO_SENSE: Final = Sense(Key.NO_SENSE, 0, 0)
WRITE_ERROR: Final = Sense(Key.MEDIUM_ERROR, 0x0C, 0x00)
READ_ERROR: Final = Sense(Key.MEDIUM_ERROR, 0x11, 0x00)
FLUSH_ERROR: Final = Sense(Key.HARDWARE_ERROR, 0x44, 0x00)
INVALID_OPCODE: Final = Sense(Key.ILLEGAL_REQUEST, 0x20, 0x00)
OUT_OF_RANGE: Final = Sense(Key.ILLEGAL_REQUEST, 0x21, 0x00)
INVALID_CDB_FIELD: Final = Sense(Key.ILLEGAL_REQUEST, 0x24, 0x00)
NO_SUCH_UNIT: Final = Sense(Key.ILLEGAL_REQUEST, 0x25, 0x00)
INVALID_PARAMETER: Final = Sense(Key.ILLEGAL_REQUEST, 0x26, 0x00)
PARAMETER_LIST_LENGTH: Final = Sense(Key.ILLEGAL_REQUEST, 0x1A, 0x00)
SAVING_NOT_SUPPORTED: Final = Sense(Key.ILLEGAL_REQUEST, 0x39, 0x00)
INVALID_INFORMATION_UNIT: Final = Sense(Key.ILLEGAL_REQUEST, 0x0E, 0x03)
POWER_ON: Final = Sense(Key.UNIT_ATTENTION, 0x29, 0x00)
RESET_OCCURRED: Final = Sense(Key.UNIT_ATTENTION, 0x29, 0x03)
MODE_CHANGED: Final = Sense(Key.UNIT_ATTENTION, 0x2A, 0x01)
SPACE_THRESHOLD: Final = Sense(Key.UNIT_ATTENTION, 0x38, 0x07)
"""Thin provisioning soft threshold reached. Never 07/27/07 in its stead: it makes Windows take the disk off-line."""
UNEXPECTED_DATA: Final = Sense(Key.ABORTED_COMMAND, 0x0C, 0x0C)
WRONG_AMOUNT_OF_DATA: Final = Sense(Key.ABORTED_COMMAND, 0x0C, 0x0D)
MISCOMPARE: Final = Sense(Key.MISCOMPARE, 0x1D, 0x00)

FIXED_BYTES: Final = 18


class ScsiError(Exception):
    """A command ends with CHECK CONDITION and this sense."""

    def __init__(self, sense: Sense) -> None:
        super().__init__(f"{sense.key.name} {sense.code:02X}/{sense.qualifier:02X}")
        self.sense = sense


def bad_field(byte: int) -> ScsiError:
    """The CDB's byte has a value that is not accepted."""
    return ScsiError(INVALID_CDB_FIELD._replace(field=byte))


def bad_parameter(byte: int) -> ScsiError:
    """A byte of the parameters has a value that is not accepted."""
    return ScsiError(INVALID_PARAMETER._replace(field=byte, in_cdb=False))


def fixed(sense: Sense) -> bytes:
    """Sense data in the fixed format (SPC-4 clause 4.5.3)."""
    data = bytearray(FIXED_BYTES)
    data[0] = 0x70
    if sense.information is not None:
        data[0] |= 0x80
        data[3:7] = min(sense.information, 0xFFFFFFFF).to_bytes(4, "big")
    data[2] = sense.key
    data[7] = FIXED_BYTES - 8
    data[12], data[13] = sense.code, sense.qualifier
    if sense.field is not None:
        data[15] = 0x80 | (0x40 if sense.in_cdb else 0)
        data[16:18] = sense.field.to_bytes(2, "big")
    return bytes(data)


def descriptor(sense: Sense) -> bytes:
    """Sense data in the descriptor format (SPC-4 clause 4.5.2), for REQUEST SENSE that asks for it."""
    body = b""
    if sense.information is not None:
        body += bytes((0x00, 0x0A, 0x80, 0)) + sense.information.to_bytes(8, "big")
    return bytes((0x72, sense.key, sense.code, sense.qualifier, 0, 0, 0, len(body))) + body


def sense_of_error(error: int, failed: Sense) -> Sense:
    """What the initiator is told of an errno of the volume; `failed` for all that has no better word.

    A full disk is a write error too: the sense that says "write protected for want of space" would make Windows take
    the disk from under its VMs.
    """
    return OUT_OF_RANGE if error == errno.EINVAL else failed
