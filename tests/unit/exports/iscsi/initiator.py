"""An initiator without a socket, written from the RFC and not from our tables, and a volume in memory for the target."""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from twinhull.exports.base import Op, Request
from twinhull.exports.iscsi.chap import Chap
from twinhull.exports.iscsi.connection import Connection
from twinhull.exports.iscsi.target import Log, Target, TargetSettings

MIB = 1 << 20
SIZE_BYTES = 4 * MIB
CHAP = Chap("twinhull", "Only-For-Tests")
NAME = "iqn.2026-11.io.twinhull:test.m1"
ME = "iqn.2005-03.org.example:host"
SETTINGS = TargetSettings(NAME, SIZE_BYTES, bytes(range(16)), CHAP)
OPEN = replace(SETTINGS, chap=None)
LOG = Log(logging.getLogger("tests.iscsi"), {})

OPERATIONAL = {
    "HeaderDigest": "None",
    "DataDigest": "None",
    "InitialR2T": "No",
    "ImmediateData": "Yes",
    "MaxRecvDataSegmentLength": "262144",
    "MaxBurstLength": "1048576",
    "FirstBurstLength": "262144",
    "DefaultTime2Wait": "2",
    "DefaultTime2Retain": "0",
    "MaxOutstandingR2T": "1",
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
    "ErrorRecoveryLevel": "0",
    "MaxConnections": "1",
}
NO_KEYS: Mapping[str, str] = {}


class Pdu(NamedTuple):
    """A PDU of the target's: its header and its data segment."""

    head: bytes
    data: bytes

    @property
    def opcode(self) -> int:
        return self.head[0]

    def word(self, at: int) -> int:
        """The four bytes there."""
        number: int = struct.unpack_from(">I", self.head, at)[0]
        return number


@dataclass
class Result:
    """How a command ended."""

    status: int
    sense: tuple[int, int, int] | None
    data: bytes
    overflow: int
    underflow: int
    raw_sense: bytes = b""


class MemoryVolume:
    """Does what requests ask, at once; while `held` is a list, it gathers them there instead."""

    def __init__(self, target: Target, size_bytes: int) -> None:
        self.target = target
        self.content = bytearray(size_bytes)
        self.held: list[Request] | None = None
        self.seen: list[Request] = []
        self.errors: dict[Op, int] = {}

    def work(self) -> None:
        """Take what the target wants, and what that leads to."""
        while requests := self.target.take_requests():
            for request in requests:
                self.seen.append(
                    request._replace(data=bytes(request.data) if request.data is not None else None)
                )
                if self.held is not None:
                    self.held.append(request)
                else:
                    self.answer(request)

    def release(self, order: Callable[[list[Request]], list[Request]] = list) -> None:
        """Answer what was held, and hold no more."""
        held, self.held = self.held or [], None
        for request in order(held):
            self.answer(request)
        self.work()

    def answer(self, request: Request) -> None:
        if error := self.errors.get(request.op, 0):
            self.target.reply(request.tag, error, None)
            return
        start, end = request.offset_bytes, request.offset_bytes + request.length_bytes
        data: bytes | None = None
        if request.op is Op.WRITE:
            assert request.data is not None
            assert len(request.data) == request.length_bytes
            self.content[start:end] = request.data
        elif request.op is Op.DISCARD:
            self.content[start:end] = bytes(end - start)
        elif request.op is Op.READ:
            data = bytes(self.content[start:end])
        self.target.reply(request.tag, 0, data)


def make_target(settings: TargetSettings = SETTINGS) -> tuple[Target, MemoryVolume]:
    """A target and its volume."""
    target = Target(settings, random=lambda count: bytes(range(7, 7 + count)), log=LOG)
    target.portal = "127.0.0.1:3260"
    return target, MemoryVolume(target, settings.size_bytes)


def text(pairs: dict[str, str]) -> bytes:
    """Keys as they travel."""
    return b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs.items())


def parse_text(data: bytes) -> dict[str, str]:
    """The keys of a text."""
    items = (item.decode().partition("=") for item in data.split(b"\0") if item)
    return {key: value for key, _, value in items}


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Initiator:
    """One connection of an initiator.

    Args:
        target: whom it talks to.
        volume: told to work after everything that was sent.
        name: its iSCSI name.
        isid: its half of the session's id.
    """

    def __init__(
        self, target: Target, volume: MemoryVolume, name: str = ME, isid: bytes = b"\x80\0\0\0\0\x01"
    ) -> None:
        self.target = target
        self.volume = volume
        self.name = name
        self.isid = isid
        self.connection: Connection = target.connect()
        self.command_sn = 1
        self.tags = itertools.count(0x10)
        self.tsih = 0
        self.answers: dict[str, str] = {}
        self.digests = False
        self._in = b""

    # ---- bytes ---------------------------------------------------------------------------------------

    def send(self, head: bytes, data: bytes = b"") -> list[Pdu]:
        """Send one PDU; whatever the target says to that."""
        return self.send_bytes(self.encoded(head, data))

    def encoded(self, head: bytes, data: bytes) -> bytes:
        """A PDU as it travels."""
        padding = bytes(-len(data) % 4)
        head = head[:4] + head[4:5] + len(data).to_bytes(3, "big") + head[8:]
        sent = head
        if self.digests:
            sent += crc32c(head).to_bytes(4, "little")
        sent += data + padding
        if self.digests and data:
            sent += crc32c(data + padding).to_bytes(4, "little")
        return sent

    def send_bytes(self, sent: bytes) -> list[Pdu]:
        """Send anything."""
        self.connection.receive_data(sent)
        self.volume.work()
        return self.heard()

    def heard(self) -> list[Pdu]:
        """PDUs that came since the last time."""
        self._in += b"".join(bytes(piece) for piece in self.connection.outgoing)
        self.connection.outgoing = []
        found = []
        while len(self._in) >= 48:
            head, length = self._in[:48], int.from_bytes(self._in[5:8], "big")
            at = 48
            if self.digests:
                assert int.from_bytes(self._in[48:52], "little") == crc32c(head)
                at = 52
            end = at + (length + 3) // 4 * 4
            if len(self._in) < end + (4 if self.digests and length else 0):
                break
            data = self._in[at : at + length]
            if self.digests and length:
                assert int.from_bytes(self._in[end : end + 4], "little") == crc32c(self._in[at:end])
                end += 4
            self._in = self._in[end:]
            found.append(Pdu(head, data))
        return found

    # ---- login ---------------------------------------------------------------------------------------

    def login_pdu(
        self,
        stage: int,
        next_stage: int | None,
        pairs: dict[str, str],
        *,
        more: bool = False,
        version: int = 0,
    ) -> list[Pdu]:
        """One Login Request."""
        flags = stage << 2 | (0x80 | next_stage if next_stage is not None else 0) | (0x40 if more else 0)
        head = struct.pack(
            ">BBBBI6sHIHHII16x",
            0x43,
            flags,
            version,
            version,
            0,
            self.isid,
            self.tsih,
            1,
            0,
            0,
            self.command_sn,
            0,
        )
        return self.send(head, text(pairs))

    def login(
        self, *, discovery: bool = False, chap: Chap | None = CHAP, keys: Mapping[str, str] = NO_KEYS
    ) -> int:
        """Log in as a well-behaved initiator does; the status of the last response."""
        identity = {"InitiatorName": self.name, "SessionType": "Discovery" if discovery else "Normal"}
        if not discovery:
            identity["TargetName"] = self.target.name
        method = "None" if chap is None else "CHAP,None"
        response = self._logged(self.login_pdu(0, 1, {**identity, "AuthMethod": method}))
        if chap is not None and not self.failed(response):
            response = self._logged(self.login_pdu(0, None, {"CHAP_A": "5"}))
            answer = self.chap_answer(chap, parse_text(response.data))
            response = self._logged(self.login_pdu(0, 1, answer))
        if not self.failed(response):
            wanted = {**OPERATIONAL, **keys}
            response = self._logged(self.login_pdu(1, 3, wanted))
            self.answers = parse_text(response.data)
            self.tsih = struct.unpack_from(">H", response.head, 14)[0]
            self.digests = self.answers.get("HeaderDigest") == "CRC32C"
        return self.failed(response)

    @staticmethod
    def chap_answer(chap: Chap, asked: dict[str, str]) -> dict[str, str]:
        """CHAP_N and CHAP_R for a question."""
        hashes = {"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}
        question = bytes.fromhex(asked["CHAP_C"][2:])
        message = bytes((int(asked["CHAP_I"]),)) + chap.secret.encode() + question
        return {
            "CHAP_N": chap.user,
            "CHAP_R": "0x" + hashlib.new(hashes[asked["CHAP_A"]], message).hexdigest(),
        }

    @staticmethod
    def failed(response: Pdu) -> int:
        """Status class and detail."""
        status: int = struct.unpack_from(">H", response.head, 36)[0]
        return status

    @staticmethod
    def _logged(pdus: list[Pdu]) -> Pdu:
        [response] = pdus
        assert response.opcode == 0x23
        return response

    # ---- commands ------------------------------------------------------------------------------------

    def command_pdu(
        self,
        cdb: bytes,
        *,
        flags: int = 0x81,
        expected: int = 0,
        data: bytes = b"",
        lun: int = 0,
        command_sn: int | None = None,
        tag: int | None = None,
        immediate: bool = False,
    ) -> tuple[int, list[Pdu]]:
        """One SCSI Command; its tag and what came."""
        tag = next(self.tags) if tag is None else tag
        number = self.command_sn if command_sn is None else command_sn
        if command_sn is None and not immediate:
            self.command_sn += 1
        opcode = 0x41 if immediate else 0x01
        head = struct.pack(
            ">BBHIQIIII16s", opcode, flags, 0, 0, lun, tag, expected, number, 0, cdb.ljust(16, b"\0")
        )
        return tag, self.send(head, data)

    def run(
        self,
        cdb: bytes,
        *,
        out: bytes | None = None,
        room: int = 0,
        lun: int = 0,
        immediate_data: bool = True,
        attribute: int = 1,
    ) -> Result:
        """A command with its data, to its end."""
        flags = 0x80 | attribute | (0x20 if out is not None else 0x40 if room else 0)
        first = out[:262144] if out is not None and immediate_data else b""
        expected = len(out) if out is not None else room
        tag, pdus = self.command_pdu(cdb, flags=flags, expected=expected, data=first, lun=lun)
        got = b""
        while True:
            for pdu in pdus:
                if pdu.opcode == 0x31:
                    assert out is not None
                    pdus = self.answer_r2t(pdu, out)
                    break
                if pdu.opcode == 0x25:
                    assert pdu.word(40) == len(got)
                    got += pdu.data
                    if pdu.head[1] & 1:
                        return self.result(pdu, got)
                elif pdu.opcode == 0x21:
                    assert pdu.word(16) == tag
                    return self.result(pdu, got)
                else:
                    raise AssertionError(f"{pdu.opcode:#x} came")
            else:
                pdus = self.heard()
                assert pdus, "the command has no end"

    def answer_r2t(self, r2t: Pdu, out: bytes, *, segment: int = 65536) -> list[Pdu]:
        """The Data-Outs that an R2T asks for."""
        offset, length = r2t.word(40), r2t.word(44)
        return self.data_out(
            r2t.word(16), r2t.word(20), out[offset : offset + length], offset, segment=segment
        )

    def data_out(
        self,
        tag: int,
        transfer_tag: int,
        data: bytes,
        offset: int,
        *,
        segment: int = 65536,
        first_sn: int = 0,
    ) -> list[Pdu]:
        """Data-Outs of one sequence."""
        sent = b""
        for number, at in enumerate(range(0, len(data), segment), first_sn):
            piece = data[at : at + segment]
            final = 0x80 if at + segment >= len(data) else 0
            head = struct.pack(
                ">BBHIQIIIIIIII", 0x05, final, 0, 0, 0, tag, transfer_tag, 0, 0, 0, number, offset + at, 0
            )
            sent += self.encoded(head, piece)
        return self.send_bytes(sent)

    @staticmethod
    def result(pdu: Pdu, data: bytes) -> Result:
        """What the last PDU of a command says."""
        residual = pdu.word(44)
        over, under = (residual if pdu.head[1] & bit else 0 for bit in (4, 2))
        if pdu.opcode == 0x25 or not pdu.data:
            return Result(pdu.head[3], None, data, over, under)
        raw = pdu.data[2 : 2 + int.from_bytes(pdu.data[:2], "big")]
        return Result(pdu.head[3], (raw[2] & 15, raw[12], raw[13]), data, over, under, raw)

    def settle(self) -> None:
        """Take the unit attention that a new session begins with."""
        assert self.run(bytes(6)).sense == (6, 0x29, 0)

    def nop(self, data: bytes = b"", tag: int = 0x7777, transfer_tag: int = 0xFFFFFFFF) -> list[Pdu]:
        """An immediate NOP-Out."""
        head = struct.pack(">BBHIQIIII16x", 0x40, 0x80, 0, 0, 0, tag, transfer_tag, self.command_sn, 0)
        return self.send(head, data)

    def manage(self, function: int, referenced: int = 0xFFFFFFFF, lun: int = 0) -> list[Pdu]:
        """An immediate task management request."""
        head = struct.pack(
            ">BBHIQIIIIII8x",
            0x42,
            0x80 | function,
            0,
            0,
            lun,
            next(self.tags),
            referenced,
            self.command_sn,
            0,
            0,
            0,
        )
        return self.send(head)

    def logout(self, reason: int = 0) -> list[Pdu]:
        """A Logout Request."""
        head = struct.pack(
            ">BBHIQIHHII16x", 0x46, 0x80 | reason, 0, 0, 0, next(self.tags), 0, 0, self.command_sn, 0
        )
        return self.send(head)


def logged_in(settings: TargetSettings = OPEN, **changes: str) -> tuple[Initiator, MemoryVolume]:
    """An initiator that has logged in and heard of the power on, and the volume behind its disk."""
    target, volume = make_target(settings)
    initiator = Initiator(target, volume)
    assert initiator.login(chap=settings.chap, keys=changes) == 0
    initiator.settle()
    return initiator, volume


def read10(lba: int, count: int, flags: int = 0) -> bytes:
    """CDB of READ(10)."""
    return struct.pack(">BBIBHB", 0x28, flags, lba, 0, count, 0)


def write10(lba: int, count: int, flags: int = 0) -> bytes:
    """CDB of WRITE(10)."""
    return struct.pack(">BBIBHB", 0x2A, flags, lba, 0, count, 0)


def cdb16(opcode: int, lba: int, count: int, flags: int = 0) -> bytes:
    """CDB of a command of 16 bytes with LBA and length."""
    return struct.pack(">BBQIBB", opcode, flags, lba, count, 0, 0)


NO_SPACE = errno.ENOSPC
