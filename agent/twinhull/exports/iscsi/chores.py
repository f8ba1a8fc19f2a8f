"""What a session answers beside commands: pings, text, logout, and what it does not serve (RFC 7143 section 11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .numbers import Numbers
from .pdu import NO_TAG, LogoutRequest, NopOut, Opcode, RejectReason, TextRequest, header
from .steps import Data
from .text import MAX_TEXT_BYTES, RULES, Negotiation, TextError, build, parse


class Wire(Protocol):
    """What a session needs of its connection."""

    def emit(self, head: bytes, data: Data | None = None) -> None: ...
    def end(self, why: str) -> None: ...


class ProtocolError(Exception):
    """The initiator sent what nothing sensible can follow; its connection ends."""


class Chores:
    """Answers them.

    Args:
        wire: the connection.
        numbers: of the session.
        connection_id: of the connection.
        send_targets: answers SendTargets, given the name that is asked for; None: that may not be asked.
    """

    def __init__(
        self,
        wire: Wire,
        numbers: Numbers,
        connection_id: int,
        send_targets: Callable[[str], list[tuple[str, str]] | None],
    ) -> None:
        self._wire = wire
        self._emit = wire.emit
        self._numbers = numbers
        self._connection_id = connection_id
        self._send_targets = send_targets
        self._transfer_tag = 0
        self._text = b""

    def nop(self, request: NopOut, data: Data) -> None:
        """A NOP-Out: a ping of the initiator's, or its answer to ours (section 11.18)."""
        if request.task_tag == NO_TAG:
            if not request.opcode & 0x40:
                self._numbers.sequenced(request.opcode, request.command_sn, _nothing)
            return
        kept = bytes(data[: self._numbers.segment_bytes])

        def answer() -> None:
            self._nop_in(request.lun, request.task_tag, NO_TAG, self._numbers.next_status(), kept)

        self._numbers.sequenced(request.opcode, request.command_sn, answer)

    def ping(self) -> None:
        """Ask the initiator for a sign of life; it answers, or its connection will be seen to be broken."""
        self._transfer_tag = (self._transfer_tag + 1) % NO_TAG
        self._nop_in(0, NO_TAG, self._transfer_tag, self._numbers.status, b"")

    def _nop_in(self, lun: int, tag: int, transfer_tag: int, status_sn: int, data: bytes) -> None:
        head = header(
            Opcode.NOP_IN,
            0x80,
            lun,
            tag,
            transfer_tag,
            status_sn,
            self._numbers.expected,
            self._numbers.maximum,
            length=len(data),
        )
        self._emit(head, data or None)

    def text(self, request: TextRequest, data: Data) -> None:
        """A Text Request (section 11.10). Raises ProtocolError."""
        kept = bytes(data)
        self._numbers.sequenced(request.opcode, request.command_sn, lambda: self._text_arrived(request, kept))

    def _text_arrived(self, request: TextRequest, data: bytes) -> None:
        self._text = self._text + data if request.transfer_tag != NO_TAG else data
        if len(self._text) > MAX_TEXT_BYTES:
            raise ProtocolError("too much text")
        if request.flags & 0x40:
            self._text_answer(request, b"", more=True)
            return
        try:
            pairs, self._text = parse(self._text), b""
        except TextError as error:
            raise ProtocolError(str(error)) from error
        answers: list[tuple[str, str]] = []
        for key, value in pairs:
            answers += self._text_key(key, value)
        self._text_answer(request, build(answers), more=False)

    def _text_key(self, key: str, value: str) -> list[tuple[str, str]]:
        if key == "SendTargets":
            found = self._send_targets(value)
            return [(key, "Reject")] if found is None else found
        if key == "MaxRecvDataSegmentLength":
            negotiation = Negotiation()
            answer = negotiation.answer(key, value)
            if answer is not None and answer[1] != "Reject":
                self._numbers.segment_bytes = negotiation.outcome().send_segment_bytes
            return [answer] if answer is not None else []
        return [(key, "Reject" if key in RULES else "NotUnderstood")]

    def _text_answer(self, request: TextRequest, body: bytes, *, more: bool) -> None:
        head = header(
            Opcode.TEXT_RESPONSE,
            0 if more else 0x80,
            request.lun,
            request.task_tag,
            1 if more else NO_TAG,
            self._numbers.next_status(),
            self._numbers.expected,
            self._numbers.maximum,
            length=len(body),
        )
        self._emit(head, body or None)

    def logout(self, request: LogoutRequest) -> None:
        """A Logout Request (section 11.14)."""
        self._numbers.sequenced(request.opcode, request.command_sn, lambda: self._logout(request))

    def _logout(self, request: LogoutRequest) -> None:
        reason = request.reason & 0x7F
        response = 0
        if reason == 1 and request.connection_id != self._connection_id:
            response = 1  # no such connection
        elif reason > 1:
            response = 2  # connections are not recovered here
        self._emit(
            header(
                Opcode.LOGOUT_RESPONSE,
                0x80,
                response,
                request.task_tag,
                self._numbers.next_status(),
                self._numbers.expected,
                self._numbers.maximum,
                0,
                0,
            )
        )
        if not response:
            self._wire.end("")

    def refuse(self, reason: RejectReason, refused: bytes) -> None:
        """A PDU (its header) that is not served: say so, and go on (section 11.17)."""
        head = header(
            Opcode.REJECT,
            0x80,
            reason,
            NO_TAG,
            self._numbers.next_status(),
            self._numbers.expected,
            self._numbers.maximum,
            length=len(refused),
        )
        self._emit(head, refused)


def _nothing() -> None:
    return
