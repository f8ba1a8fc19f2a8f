"""The layout of every iSCSI PDU, as data (RFC 7143 section 11), and what is needed to read and make them.

Each layout is the basic header segment of 48 bytes. Of its second word, `lengths`, the highest byte counts the words
of additional header segments, the rest the bytes of the data segment.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final, NamedTuple

HEADER_BYTES: Final = 48
NO_TAG: Final = 0xFFFFFFFF
"""The reserved value of task tags (RFC 7143 section 11.1)."""
MASK32: Final = 0xFFFFFFFF
IMMEDIATE: Final = 0x40
OPCODE_MASK: Final = 0x3F
FINAL: Final = 0x80
CONTINUE: Final = 0x40


class Opcode(enum.IntEnum):
    """RFC 7143 section 11.2.1.2."""

    NOP_OUT = 0x00
    SCSI_COMMAND = 0x01
    TASK_MANAGEMENT = 0x02
    LOGIN = 0x03
    TEXT = 0x04
    DATA_OUT = 0x05
    LOGOUT = 0x06
    SNACK = 0x10
    NOP_IN = 0x20
    SCSI_RESPONSE = 0x21
    TASK_MANAGEMENT_RESPONSE = 0x22
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    DATA_IN = 0x25
    LOGOUT_RESPONSE = 0x26
    R2T = 0x31
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


class CommandFlag(enum.IntFlag):
    """Byte 1 of a SCSI Command (section 11.3.1)."""

    FINAL = 0x80
    READ = 0x40
    WRITE = 0x20
    ATTRIBUTES = 0x07


class Attribute(enum.IntEnum):
    """Task attributes (section 11.3.1)."""

    UNTAGGED = 0
    SIMPLE = 1
    ORDERED = 2
    HEAD_OF_QUEUE = 3
    ACA = 4


class DataInFlag(enum.IntFlag):
    """Byte 1 of Data-In and, for the residuals, of a SCSI Response (sections 11.4.1 and 11.7)."""

    FINAL = 0x80
    ACKNOWLEDGE = 0x40
    OVERFLOW = 0x04
    UNDERFLOW = 0x02
    STATUS = 0x01


class Function(enum.IntEnum):
    """Task management functions (section 11.5.1)."""

    ABORT_TASK = 1
    ABORT_TASK_SET = 2
    CLEAR_ACA = 3
    CLEAR_TASK_SET = 4
    LOGICAL_UNIT_RESET = 5
    TARGET_WARM_RESET = 6
    TARGET_COLD_RESET = 7
    TASK_REASSIGN = 8


class FunctionResult(enum.IntEnum):
    """Task management responses (section 11.6.1)."""

    COMPLETE = 0
    NO_TASK = 1
    NO_LUN = 2
    NOT_REASSIGNABLE = 4
    NOT_SUPPORTED = 5
    REJECTED = 255


class RejectReason(enum.IntEnum):
    """Section 11.17.1."""

    DATA_DIGEST = 0x02
    SNACK = 0x03
    PROTOCOL_ERROR = 0x04
    NOT_SUPPORTED = 0x05
    TOO_MANY_IMMEDIATE = 0x06
    INVALID_PDU_FIELD = 0x09


class AsyncEvent(enum.IntEnum):
    """Section 11.9.1."""

    SCSI_EVENT = 0
    LOGOUT_REQUESTED = 1


class Stage(enum.IntEnum):
    """Stages of the login (section 11.12.3)."""

    SECURITY = 0
    OPERATIONAL = 1
    FULL_FEATURE = 3


class LoginFlag(enum.IntFlag):
    """Byte 1 of login PDUs, above the stages (section 11.12)."""

    TRANSIT = 0x80
    CONTINUE = 0x40


class LoginStatus(enum.IntEnum):
    """Class and detail of a Login Response (section 11.13.5)."""

    SUCCESS = 0x0000
    INITIATOR_ERROR = 0x0200
    AUTHENTICATION_FAILURE = 0x0201
    NOT_FOUND = 0x0203
    UNSUPPORTED_VERSION = 0x0205
    TOO_MANY_CONNECTIONS = 0x0206
    MISSING_PARAMETER = 0x0207
    SESSION_TYPE = 0x0209
    NO_SESSION = 0x020A
    INVALID_DURING_LOGIN = 0x020B
    OUT_OF_RESOURCES = 0x0302


class ScsiCommand(NamedTuple):
    """Section 11.3."""

    opcode: int
    flags: int
    lengths: int
    lun: int
    task_tag: int
    expected_bytes: int
    command_sn: int
    expected_status_sn: int
    cdb: bytes


class NopOut(NamedTuple):
    """Section 11.18."""

    opcode: int
    flags: int
    lengths: int
    lun: int
    task_tag: int
    transfer_tag: int
    command_sn: int
    expected_status_sn: int


class TaskManagement(NamedTuple):
    """Section 11.5."""

    opcode: int
    function: int
    lengths: int
    lun: int
    task_tag: int
    referenced_tag: int
    command_sn: int
    expected_status_sn: int
    referenced_command_sn: int
    expected_data_sn: int


class LoginRequest(NamedTuple):
    """Section 11.12."""

    opcode: int
    flags: int
    version_max: int
    version_min: int
    lengths: int
    isid: bytes
    tsih: int
    task_tag: int
    connection_id: int
    command_sn: int
    expected_status_sn: int


class TextRequest(NamedTuple):
    """Section 11.10."""

    opcode: int
    flags: int
    lengths: int
    lun: int
    task_tag: int
    transfer_tag: int
    command_sn: int
    expected_status_sn: int


class DataOut(NamedTuple):
    """Section 11.7."""

    opcode: int
    flags: int
    lengths: int
    lun: int
    task_tag: int
    transfer_tag: int
    expected_status_sn: int
    data_sn: int
    offset_bytes: int


class LogoutRequest(NamedTuple):
    """Section 11.14."""

    opcode: int
    reason: int
    lengths: int
    task_tag: int
    connection_id: int
    command_sn: int
    expected_status_sn: int


LAYOUTS: Final[dict[Opcode, str]] = {
    Opcode.NOP_OUT: ">BB2xIQIIII16x",
    Opcode.SCSI_COMMAND: ">BB2xIQIIII16s",
    Opcode.TASK_MANAGEMENT: ">BB2xIQIIIIII8x",
    Opcode.LOGIN: ">BBBBI6sHIH2xII16x",
    Opcode.TEXT: ">BB2xIQIIII16x",
    Opcode.DATA_OUT: ">BB2xIQII4xI4xII4x",
    Opcode.LOGOUT: ">BB2xI8xIH2xII16x",
    # flags, lengths, LUN, task tag, transfer tag, StatSN, ExpCmdSN, MaxCmdSN
    Opcode.NOP_IN: ">BB2xIQIIIII12x",
    # flags, response, status, lengths, task tag, StatSN, ExpCmdSN, MaxCmdSN, ExpDataSN, residual
    Opcode.SCSI_RESPONSE: ">BBBBI8xI4xIIII4xI",
    # flags, response, lengths, task tag, StatSN, ExpCmdSN, MaxCmdSN
    Opcode.TASK_MANAGEMENT_RESPONSE: ">BBBxI8xI4xIII12x",
    # flags, versions, lengths, ISID, TSIH, task tag, StatSN, ExpCmdSN, MaxCmdSN, status
    Opcode.LOGIN_RESPONSE: ">BBBBI6sHI4xIIIH10x",
    Opcode.TEXT_RESPONSE: ">BB2xIQIIIII12x",
    # flags, status, lengths, LUN, task tag, transfer tag, StatSN, ExpCmdSN, MaxCmdSN, DataSN, offset, residual
    Opcode.DATA_IN: ">BBxBIQIIIIIIII",
    # flags, response, lengths, task tag, StatSN, ExpCmdSN, MaxCmdSN, Time2Wait, Time2Retain
    Opcode.LOGOUT_RESPONSE: ">BBBxI8xI4xIII4xHH4x",
    # flags, lengths, LUN, task tag, transfer tag, StatSN, ExpCmdSN, MaxCmdSN, R2TSN, offset, length
    Opcode.R2T: ">BB2xIQIIIIIIII",
    # flags, lengths, LUN, task tag (none), StatSN, ExpCmdSN, MaxCmdSN, event, code, three parameters
    Opcode.ASYNC_MESSAGE: ">BB2xIQI4xIIIBBHHH4x",
    # flags, reason, lengths, task tag (none), StatSN, ExpCmdSN, MaxCmdSN
    Opcode.REJECT: ">BBBxI8xI4xIII12x",
}
"""Format of each PDU's header; of those that the target sends with what its fields are, after the opcode."""

FORMS: Final[dict[Opcode, Struct]] = {opcode: Struct(layout) for opcode, layout in LAYOUTS.items()}

LENGTHS: Final = Struct(">I")


def header(opcode: Opcode, *fields: int | bytes, length: int = 0) -> bytes:
    """The header of a PDU of the target.

    Args:
        opcode: which one.
        fields: as in `LAYOUTS`, without opcode and lengths.
        length: bytes of its data segment, without padding.
    """
    small = _BYTES_BEFORE_LENGTHS[opcode]
    return FORMS[opcode].pack(opcode, *fields[:small], length, *fields[small:])


_BYTES_BEFORE_LENGTHS: Final[dict[Opcode, int]] = {
    opcode: layout[1 : layout.index("I")].count("B") - 1 for opcode, layout in LAYOUTS.items()
}


def padded(length_bytes: int) -> int:
    """A segment's length with its padding to whole words (section 11.2.3)."""
    return length_bytes + 3 & ~3


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C (Castagnoli) of section 13.1: for the rare initiator that insists on digests; slow."""
    crc = 0xFFFFFFFF
    table = _CRC_TABLE
    for byte in bytes(data):
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE: Final = _crc_table()
