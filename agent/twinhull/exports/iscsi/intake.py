"""The initiator's data on its way to the commands that it belongs to (RFC 7143 sections 4.2.4 and 11.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from . import sense as senses
from .numbers import Numbers
from .pdu import FORMS, NO_TAG, CommandFlag, DataOut, Opcode
from .sense import Sense
from .steps import Data
from .task import Task
from .text import Operational

SPARE_BUFFERS: Final = 16
_DATA_OUT: Final = FORMS[Opcode.DATA_OUT].unpack_from
_R2T: Final = FORMS[Opcode.R2T].pack


class Intake:
    """Gathers data: what came with the command, what comes unasked, what is asked for.

    Args:
        emit: sends a PDU.
        numbers: of the session.
        agreed: how data may come.
        tasks: the session's, by their tags.
        complete: takes a task and all of its data.
        fail: ends a task with a sense.
    """

    def __init__(
        self,
        emit: Callable[[bytes], None],
        numbers: Numbers,
        agreed: Operational,
        tasks: Mapping[int, Task],
        *,
        complete: Callable[[Task, Data], None],
        fail: Callable[[Task, Sense], None],
    ) -> None:
        self._emit = emit
        self._numbers = numbers
        self._agreed = agreed
        self._tasks = tasks
        self._complete = complete
        self._fail = fail
        self._transfer_tag = 0
        self._spare: list[bytearray] = []  # of one length

    def reuse(self, buffer: bytearray) -> None:
        """Nobody needs this buffer any more."""
        if len(self._spare) < SPARE_BUFFERS:
            self._spare.append(buffer)

    def collect(self, task: Task, data: Data) -> None:
        """Take (a copy of) the immediate data; then wait for what comes unasked, or ask (section 4.2.4)."""
        agreed = self._agreed
        final = task.flags & CommandFlag.FINAL
        if (
            len(data) > task.expected
            or (data and not agreed.immediate_data)
            or len(data) > agreed.first_burst_bytes
        ):
            self._fail(task, senses.UNEXPECTED_DATA)
            return
        if not final and agreed.initial_r2t:
            self._fail(task, senses.UNEXPECTED_DATA)
            return
        wanted = task.out_bytes
        if len(data) >= wanted and final:
            self._complete(task, bytes(data[:wanted]))
            return
        task.buffer = buffer = self._room(wanted)
        task.received = len(data)
        buffer[: min(len(data), wanted)] = data[:wanted]
        if final:
            self._ask(task)
        else:
            task.transfer_tag = NO_TAG
            task.burst_end = min(task.expected, agreed.first_burst_bytes)

    def _room(self, length: int) -> bytearray:
        """A buffer of this length, one that was used before if there is one."""
        spare = self._spare
        if spare and len(spare[-1]) == length:
            return spare.pop()
        spare.clear()
        return bytearray(length)

    def place_for(self, source: bytearray, at: int, length: int) -> memoryview | None:
        """Where the data of a Data-Out that is just coming may be received to at once; None: nowhere special."""
        request = DataOut._make(_DATA_OUT(source, at))
        task = self._tasks.get(request.task_tag)
        if task is None or task.buffer is None or task.transfer_tag != request.transfer_tag:
            return None
        end = request.offset_bytes + length
        if request.offset_bytes != task.received or end > len(task.buffer):
            return None
        return memoryview(task.buffer)[request.offset_bytes : end]

    def _ask(self, task: Task) -> None:
        """Send an R2T for the next burst."""
        self._transfer_tag = task.transfer_tag = (self._transfer_tag + 1) % NO_TAG
        length = min(self._agreed.burst_bytes, task.out_bytes - task.received)
        task.burst_end = task.received + length
        task.data_sn = 0
        self._emit(
            _R2T(
                Opcode.R2T,
                0x80,
                0,
                task.lun,
                task.tag,
                task.transfer_tag,
                self._numbers.status,
                self._numbers.expected,
                self._numbers.maximum,
                task.r2t_sn,
                task.received,
                length,
            )
        )
        task.r2t_sn += 1

    def data_out(self, source: bytearray, at: int, data: Data, *, placed: bool = False) -> None:
        """A Data-Out. What belongs to no task (any more) is ignored: it may have crossed with its end.

        Args:
            source, at: where its header is.
            data: its data.
            placed: whether that was received to where `place_for` said.
        """
        request = DataOut._make(_DATA_OUT(source, at))
        task = self._tasks.get(request.task_tag)
        if task is None or task.buffer is None or task.transfer_tag != request.transfer_tag:
            return
        end = request.offset_bytes + len(data)
        final = request.flags & 0x80
        complete = end == task.burst_end or (request.transfer_tag == NO_TAG and bool(final))
        if (
            request.data_sn != task.data_sn
            or request.offset_bytes != task.received
            or end > task.burst_end
            or bool(final) != complete
        ):
            # Error recovery level 0 asks for nothing again (section 7.8): the command fails.
            self._fail(task, senses.WRONG_AMOUNT_OF_DATA)
            return
        task.data_sn += 1
        task.received = end
        if not placed and request.offset_bytes < task.out_bytes:
            task.buffer[request.offset_bytes : min(end, task.out_bytes)] = data[
                : task.out_bytes - request.offset_bytes
            ]
        if not final:
            return
        if end < task.out_bytes:
            self._ask(task)
        else:
            buffer, task.buffer = task.buffer, None
            if task.shortly:
                task.spare = buffer
            self._complete(task, memoryview(buffer))
