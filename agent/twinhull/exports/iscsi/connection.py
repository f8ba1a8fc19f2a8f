"""One connection's bytes: cut into PDUs, guarded by digests where that was agreed upon, handed to login or session.

Without a socket: `buffer` is where the next bytes belong, `received` says how many came, `outgoing` is what must be sent.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from .chores import ProtocolError
from .login import Identity, Login
from .pdu import (
    FORMS,
    HEADER_BYTES,
    LENGTHS,
    OPCODE_MASK,
    LoginRequest,
    LogoutRequest,
    NopOut,
    Opcode,
    RejectReason,
    TaskManagement,
    TextRequest,
    crc32c,
    padded,
)
from .session import Session
from .steps import Data
from .text import RECEIVE_SEGMENT_BYTES

BUFFER_BYTES: Final = RECEIVE_SEGMENT_BYTES + (64 << 10)
MAX_HEADERS_BYTES: Final = HEADER_BYTES + 255 * 4
LOGIN_SEGMENT_BYTES: Final = 8192
UNSENT_BYTES: Final = 16 << 20
"""When so much waits to be sent, nothing more is taken: an initiator that does not read gets no more answers."""
DIRECT_BYTES: Final = 32 << 10
"""From this size on a Data-Out is received to where it belongs, without a copy."""
_LENGTHS: Final = LENGTHS.unpack_from
_COMMAND: Final = int(Opcode.SCSI_COMMAND)
_DATA_OUT: Final = int(Opcode.DATA_OUT)
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")


class Phase(enum.Enum):
    """Where the connection is."""

    LOGIN = 1
    FULL_FEATURE = 2
    ENDING = 3


class Connection:
    """One TCP connection, seen as bytes.

    Args:
        login: its login.
        begin: called when the login is done, makes the session.
        ended: called once, when nothing more will be taken; with the reason, empty for an orderly end.
    """

    def __init__(
        self,
        login: Login,
        begin: Callable[[Connection, Login, Identity, int], Session],
        ended: Callable[[Connection, str], None],
    ) -> None:
        self._login = login
        self._begin = begin
        self._ended = ended
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._direct: memoryview | None = None  # where a large Data-Out goes, after what is in the buffer
        self._direct_filled = 0
        self._direct_head = bytearray()
        self._ending = False
        self._header_digest = False
        self._data_digest = False
        self._segment_limit = LOGIN_SEGMENT_BYTES
        self.session: Session | None = None
        self.phase = Phase.LOGIN
        self.outgoing: list[Data] = []
        """What must be sent, in order; the shell takes it away."""
        self.unsent_bytes = 0
        """How much of what was emitted has not left; the shell counts it down."""

    @property
    def paused(self) -> bool:
        """Whether nothing should be received for now."""
        return self.unsent_bytes > UNSENT_BYTES or self._ending

    # ---- out ---------------------------------------------------------------------------------------------

    def emit(self, head: bytes, data: Data | None = None) -> None:
        """Send one PDU: its header and its data segment."""
        outgoing = self.outgoing
        outgoing.append(head)
        size = len(head)
        if self._header_digest:
            outgoing.append(crc32c(head).to_bytes(4, "little"))
            size += 4
        if data is not None:
            length = len(data)
            outgoing.append(data)
            size += length
            if length & 3:
                outgoing.append(_PADDING[length & 3])
                size += -length & 3
            if self._data_digest:
                outgoing.append(crc32c(bytes(data) + _PADDING[length & 3]).to_bytes(4, "little"))
                size += 4
        self.unsent_bytes += size

    def end(self, why: str) -> None:
        """Take nothing more; what is to be sent is still sent. Idempotent."""
        if self.phase is Phase.ENDING:
            return
        self.phase = Phase.ENDING
        self._ending = True
        if self.session is not None:
            self.session.end()
        self._ended(self, why)

    # ---- in ----------------------------------------------------------------------------------------------

    def buffer(self) -> memoryview:
        """Where the next bytes belong; never empty while the connection is not ending."""
        if self._direct is not None:
            return self._direct[self._direct_filled :]
        return self._view[self._filled :]

    def received(self, count: int) -> None:
        """So many bytes came into `buffer`."""
        try:
            if self._direct is not None:
                self._received_directly(self._direct, count)
                return
            self._filled += count
            taken = self._take(self._filled)
        except ProtocolError as error:
            self.end(str(error))
            return
        left = self._filled - taken
        if taken and left:
            self._buffer[:left] = self._buffer[taken : self._filled]
        self._filled = left

    def _received_directly(self, place: memoryview, count: int) -> None:
        self._direct_filled += count
        session = self.session
        if self._direct_filled == len(place) and session is not None:
            self._direct = None
            session.intake.data_out(self._direct_head, 0, place, placed=True)

    def receive_data(self, data: bytes) -> None:
        """The same for bytes at hand."""
        view = memoryview(data)
        while len(view) and self.phase is not Phase.ENDING:
            room = self.buffer()
            count = min(len(room), len(view))
            room[:count] = view[:count]
            self.received(count)
            view = view[count:]

    def _take(self, end: int) -> int:
        """Handle every whole PDU; how many bytes they were. Raises ProtocolError."""
        at = 0
        source, view = self._buffer, self._view
        while end - at >= HEADER_BYTES and not self._ending:
            [lengths] = _LENGTHS(source, at + 4)
            length = lengths & 0xFFFFFF
            if length > self._segment_limit:
                raise ProtocolError(f"a data segment of {length} bytes")
            data_at = at + HEADER_BYTES + (lengths >> 24) * 4 + (4 if self._header_digest else 0)
            next_at = data_at + (length + 3 & ~3) + (4 if length and self._data_digest else 0)
            opcode = source[at] & OPCODE_MASK
            session = self.session
            if next_at > end:
                if opcode == _DATA_OUT and session is not None and data_at <= end and length >= DIRECT_BYTES:
                    return self._place(session, at, data_at, end, length)
                break
            if self._header_digest or self._data_digest:
                self._check_digests(at, data_at, length)
            if opcode == _COMMAND and session is not None:
                session.command(source, at, view[data_at : data_at + length] if length else b"")
            else:
                self._handle(opcode, at, view[data_at : data_at + length])
            at = next_at
        return at

    def _place(self, session: Session, at: int, data_at: int, end: int, length: int) -> int:
        """Have the rest of a large Data-Out received to where it belongs; up to where the buffer is then used up."""
        if self._header_digest or self._data_digest or length & 3:
            return at
        place = session.intake.place_for(self._buffer, at, length)
        if place is None:
            return at
        place[: end - data_at] = self._view[data_at:end]
        self._direct_head = self._buffer[at : at + HEADER_BYTES]
        self._direct, self._direct_filled = place, end - data_at
        return end

    def _check_digests(self, at: int, data_at: int, length: int) -> None:
        """Raises ProtocolError: at error recovery level 0 a wrong digest ends the connection (section 7.7)."""
        view = self._view
        if self._header_digest:
            given = int.from_bytes(view[data_at - 4 : data_at], "little")
            if crc32c(view[at : data_at - 4]) != given:
                raise ProtocolError("the digest of a header is wrong")
        if self._data_digest and length:
            end = data_at + padded(length)
            if crc32c(view[data_at:end]) != int.from_bytes(view[end : end + 4], "little"):
                raise ProtocolError("the digest of a data segment is wrong")

    def _handle(self, opcode: int, at: int, data: memoryview) -> None:
        session = self.session
        if session is None:
            if opcode != Opcode.LOGIN:
                raise ProtocolError("something else came before the login was done")
            self._log_in(at, data)
            return
        source = self._buffer
        if opcode == Opcode.DATA_OUT:
            session.intake.data_out(source, at, data)
        elif opcode == Opcode.NOP_OUT:
            session.chores.nop(NopOut._make(FORMS[Opcode.NOP_OUT].unpack_from(source, at)), data)
        elif opcode == Opcode.TASK_MANAGEMENT:
            session.management.request(
                TaskManagement._make(FORMS[Opcode.TASK_MANAGEMENT].unpack_from(source, at))
            )
        elif opcode == Opcode.TEXT:
            session.chores.text(TextRequest._make(FORMS[Opcode.TEXT].unpack_from(source, at)), data)
        elif opcode == Opcode.LOGOUT:
            session.chores.logout(LogoutRequest._make(FORMS[Opcode.LOGOUT].unpack_from(source, at)))
        else:
            reason = RejectReason.SNACK if opcode == Opcode.SNACK else RejectReason.NOT_SUPPORTED
            if opcode == Opcode.LOGIN:
                reason = RejectReason.PROTOCOL_ERROR
            session.chores.refuse(reason, bytes(source[at : at + HEADER_BYTES]))

    def _log_in(self, at: int, data: memoryview) -> None:
        request = LoginRequest._make(FORMS[Opcode.LOGIN].unpack_from(self._buffer, at))
        login = self._login
        response = login.receive(request, bytes(data))
        self.emit(response.head, response.body or None)
        if login.refused:
            self.end(f"the login is refused: {login.refused}")
        elif login.identity is not None:
            self.phase = Phase.FULL_FEATURE
            self._segment_limit = RECEIVE_SEGMENT_BYTES
            self._header_digest = login.operational.header_digest
            self._data_digest = login.operational.data_digest
            self.session = self._begin(self, login, login.identity, request.command_sn)
