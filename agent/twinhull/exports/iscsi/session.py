"""The full-feature phase of a session's one connection (RFC 7143 sections 4 and 11): commands, their data, their ends.

Everything that arrives is handed over by `connection`; everything that goes out is emitted through it. Reads and writes of
the usual sizes take a short way through this file; whatever else there is goes by `LogicalUnit.plan`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Final

from . import sense as senses
from .cdb import find
from .chores import Chores, ProtocolError, Wire
from .disk import LogicalUnit
from .intake import Intake
from .management import Management
from .numbers import WINDOW, Numbers
from .pages import MAX_TRANSFER_BLOCKS, absent_inquiry
from .pdu import FORMS, MASK32, NO_TAG, Attribute, CommandFlag, DataInFlag, Opcode, RejectReason
from .sense import ScsiError, Sense, Status, fixed, sense_of_error
from .steps import Data, Plan, Runner, Steps, checked
from .store import Store
from .task import Task
from .text import Operational

MAX_PENDING: Final = 4 * WINDOW
"""Requests that the volume may have, those of sessions that are gone included: each keeps its data."""
MAX_IMMEDIATE: Final = 16
BLOCK_SHIFT: Final = 9

_COMMAND: Final = FORMS[Opcode.SCSI_COMMAND].unpack_from
_RESPONSE: Final = FORMS[Opcode.SCSI_RESPONSE].pack
_DATA_IN: Final = FORMS[Opcode.DATA_IN].pack
_TEN: Final = Struct(">xBIxHB6x").unpack
_SIXTEEN: Final = Struct(">xBQIxB").unpack
_SHORT_WAY: Final = {0x28: _TEN, 0x2A: _TEN, 0x88: _SIXTEEN, 0x8A: _SIXTEEN}
_IMMEDIATE_WRITE: Final = int(CommandFlag.FINAL | CommandFlag.WRITE)
_READ_FLAGS: Final = int(CommandFlag.FINAL | CommandFlag.READ)
_SIMPLE: Final = int(Attribute.SIMPLE)
_FINAL: Final = int(CommandFlag.FINAL)
_WRITE: Final = int(CommandFlag.WRITE)
_KIND: Final = int(CommandFlag.FINAL | CommandFlag.READ | CommandFlag.WRITE)
_LAST_DATA: Final = int(DataInFlag.FINAL | DataInFlag.STATUS)


class Session:
    """One session: a normal one, or one of discovery, which sees no disk.

    Args:
        wire: its connection.
        unit: the disk.
        operational: what the login agreed upon.
        discovery: which of the two.
        command_sn: CmdSN that the first command will have.
        status_sn: StatSN of the first response.
        connection_id: of its connection.
        send_targets: answers SendTargets, given the name that is asked for.
    """

    def __init__(
        self,
        wire: Wire,
        unit: LogicalUnit,
        operational: Operational,
        *,
        discovery: bool,
        command_sn: int,
        status_sn: int,
        connection_id: int,
        send_targets: Callable[[str], list[tuple[str, str]] | None],
    ) -> None:
        self._emit = wire.emit
        self._unit = unit
        self._store = unit.store
        self._discovery = discovery
        self._size_blocks = 0 if discovery else unit.identity.size_bytes >> BLOCK_SHIFT
        self._agreed = operational
        self._numbers = Numbers(command_sn, status_sn, operational.send_segment_bytes)
        self._tasks: dict[int, Task] = {}
        self._ordered = 0
        self._immediate = 0
        self._attentions: list[Sense] = [] if discovery else [senses.POWER_ON]
        self.chores = Chores(wire, self._numbers, connection_id, send_targets)
        """What it answers beside commands."""
        self.intake = Intake(
            wire.emit, self._numbers, operational, self._tasks, complete=self._complete, fail=self.finish
        )
        """Where the initiator's data goes."""
        self.management = Management(
            wire.emit,
            self._numbers,
            self._tasks,
            forget=self._forget,
            attention=self.attention,
            end=wire.end,
        )
        """What aborts commands."""

    # ---- looking -------------------------------------------------------------------------------------

    @property
    def under_way(self) -> int:
        """Commands that are not answered."""
        return len(self._tasks)

    def attention(self, sense: Sense) -> None:
        """Have the next command end with this unit attention; one that waits already is not doubled."""
        if sense not in self._attentions:
            self._attentions.append(sense)

    def end(self) -> None:
        """The connection is gone: nothing is answered any more."""
        self.management.close()
        for task in self._tasks.values():
            task.aborted = True
        self._tasks.clear()
        self._numbers.early.clear()

    # ---- what arrives --------------------------------------------------------------------------------

    def command(self, source: bytearray, at: int, data: Data) -> None:
        """A SCSI Command with its immediate data, which is the caller's again afterwards. Raises ProtocolError."""
        opcode, flags, _, lun, tag, expected, command_sn, _, cdb = _COMMAND(source, at)
        numbers = self._numbers
        if opcode == 1 and command_sn == numbers.expected and numbers.maximum - command_sn & MASK32 < WINDOW:
            numbers.expected = command_sn + 1 & MASK32
            self._accept(flags, lun, tag, expected, cdb, data, False)
            if numbers.early:
                numbers.go_on()
        elif opcode & 0x40:
            if self._immediate >= MAX_IMMEDIATE:
                self.chores.refuse(RejectReason.TOO_MANY_IMMEDIATE, bytes(source[at : at + 48]))
                return
            self._accept(flags, lun, tag, expected, cdb, data, True)
        else:
            kept = bytes(data)
            self._numbers.later(command_sn, lambda: self._accept(flags, lun, tag, expected, cdb, kept, False))

    def _accept(
        self, flags: int, lun: int, tag: int, expected: int, cdb: bytes, data: Data, immediate: bool
    ) -> None:
        if tag in self._tasks or tag == NO_TAG:
            raise ProtocolError(f"the task tag {tag:#x} is used twice, or reserved")
        task = Task(self, tag, lun, flags, expected, immediate)
        self._tasks[tag] = task
        if immediate:
            self._immediate += 1
        if len(self._store.pending) >= MAX_PENDING:
            self._forget(task)
            self._status(task, Status.TASK_SET_FULL, b"", 0, 0)
            return
        form = _SHORT_WAY.get(cdb[0])
        if form is None or lun or self._attentions or not self._shortly(task, form, cdb, data):
            self._long_way(task, cdb, data)

    def _shortly(self, task: Task, form: Callable[[bytes], tuple[int, ...]], cdb: bytes, data: Data) -> bool:
        """The reads and writes that nearly all are. False: it is another, nothing was done."""
        bits, lba, count, control = form(cdb)
        length = count << BLOCK_SHIFT
        flags = task.flags
        if (
            length != task.expected
            or not 0 < count <= MAX_TRANSFER_BLOCKS
            or lba + count > self._size_blocks
            or bits & 0xE0
            or control
            or flags & 7 > _SIMPLE
            or self._ordered
        ):
            return False
        task.offset = lba << BLOCK_SHIFT
        task.fua = bits & 8 != 0
        kind = flags & _KIND
        if not cdb[0] & 2:
            if kind != _READ_FLAGS or data:
                return False
            self._store.read(task.offset, length, task.was_read)
        elif kind == _IMMEDIATE_WRITE and len(data) == length and self._agreed.immediate_data:
            self._store.write(task.offset, length, bytes(data), task.fua, task.written)
        elif kind & ~_FINAL == _WRITE:
            task.out_bytes = length
            task.shortly = True
            self.intake.collect(task, data)
        else:
            return False
        return True

    # ---- commands of every kind ------------------------------------------------------------------------

    def _long_way(self, task: Task, cdb: bytes, data: Data) -> None:
        try:
            plan = self._plan(task, cdb)
        except ScsiError as error:
            self.finish(task, error.sense)
            return
        attribute = task.flags & 7
        if attribute == Attribute.ORDERED:
            task.ordered = True
            self._ordered += 1
        task.plan = plan
        sent = task.expected if task.flags & CommandFlag.WRITE else 0
        task.wanted = plan.out_bytes
        if cdb[0] in _WHOLE_DATA and plan.out_bytes != sent:
            self.finish(task, senses.INVALID_CDB_FIELD)
            return
        if plan.out_bytes > sent:
            if plan.part is None:
                self.finish(task, senses.INVALID_INFORMATION_UNIT)
                return
            task.plan = plan._replace(out_bytes=sent, work=plan.part)
        task.out_bytes = min(sent, plan.out_bytes)
        if task.out_bytes:
            self.intake.collect(task, data)
        else:
            self._start(task, b"")

    def _plan(self, task: Task, cdb: bytes) -> Plan:
        """Raises ScsiError."""
        if self._discovery:
            raise ScsiError(senses.NO_SUCH_UNIT)
        command = find(cdb)
        if task.lun:
            if cdb[0] == 0x12 and not cdb[1] & 1 and not cdb[2]:
                return Plan(answer=absent_inquiry()[: int.from_bytes(cdb[3:5], "big")])
            if cdb[0] not in (0xA0, 0x03):
                raise ScsiError(senses.NO_SUCH_UNIT)
            if cdb[0] == 0x03:
                return Plan(answer=fixed(senses.NO_SUCH_UNIT)[: cdb[4]])
        elif self._attentions and not (command is not None and command.without_attention):
            raise ScsiError(self._attentions.pop(0))
        elif self._attentions and cdb[0] == 0x03:
            return Plan(answer=fixed(self._attentions.pop(0))[: cdb[4]])
        return self._unit.plan(cdb)

    def _start(self, task: Task, data: Data) -> None:
        """Carry a task out, as soon as its attribute allows (SAM-5 8.5)."""
        if self._ordered and not self._may_start(task):
            task.waiting = data
            return
        plan = task.plan
        if plan.work is None:
            self._answered(task, plan.answer)
            return

        def finished(answer: Data | None, error: ScsiError | None) -> None:
            if error is not None:
                self.finish(task, error.sense)
            else:
                self._answered(task, answer if answer is not None else b"")

        Runner(plan.work(data), finished).start()

    def _may_start(self, task: Task) -> bool:
        for other in self._tasks.values():
            if other is task:
                return True
            if task.ordered or other.ordered:
                return False
        return True

    def _start_waiting(self) -> None:
        for task in list(self._tasks.values()):
            if task.waiting is not None and self._may_start(task):
                data, task.waiting = task.waiting, None
                self._start(task, data)

    def _complete(self, task: Task, data: Data) -> None:
        """All data of a command is here."""
        if not task.shortly:
            self._start(task, data)
        elif self._ordered and not self._may_start(task):
            task.plan = Plan(work=lambda own: _write_steps(self._store, task, own))
            task.waiting = data
        else:
            self._store.write(task.offset, len(data), data, task.fua, task.written)

    # ---- ends of commands ----------------------------------------------------------------------------------

    def _forget(self, task: Task) -> bool:
        """The task is over. False: it was aborted, nothing may be said."""
        if task.aborted:
            self.management.settle(task)
            return False
        del self._tasks[task.tag]
        if task.immediate:
            self._immediate -= 1
        else:
            self._numbers.maximum = self._numbers.maximum + 1 & MASK32
        if self._ordered:
            if task.ordered:
                self._ordered -= 1
            self._start_waiting()
        return True

    def written(self, task: Task, error: int) -> None:
        """The volume answered a write of the short way."""
        if error:
            self.finish(task, sense_of_error(error, senses.WRITE_ERROR))
            return
        if task.spare is not None:
            self.intake.reuse(task.spare)
        if not self._forget(task):
            return
        status_sn = self._numbers.status
        self._numbers.status = status_sn + 1 & MASK32
        self._emit(
            _RESPONSE(
                0x21,
                0x80,
                0,
                0,
                0,
                task.tag,
                status_sn,
                self._numbers.expected,
                self._numbers.maximum,
                task.r2t_sn,
                0,
            )
        )

    def was_read(self, task: Task, error: int, data: Data | None) -> None:
        """The volume answered a read of the short way."""
        if error or data is None:
            self.finish(task, sense_of_error(error, senses.READ_ERROR))
            return
        length = len(data)
        if length > self._numbers.segment_bytes or length & 3 or length != task.expected:
            self._answered(task, data)
            return
        if not self._forget(task):
            return
        status_sn = self._numbers.status
        self._numbers.status = status_sn + 1 & MASK32
        self._emit(
            _DATA_IN(
                0x25,
                _LAST_DATA,
                0,
                length,
                task.lun,
                task.tag,
                NO_TAG,
                status_sn,
                self._numbers.expected,
                self._numbers.maximum,
                0,
                0,
                0,
            ),
            data,
        )

    def _answered(self, task: Task, data: Data) -> None:
        """A command ended well: its data, if any, with the status in the last piece (section 11.7.3)."""
        if not self._forget(task):
            return
        room = task.expected if task.flags & CommandFlag.READ else 0
        flags, residual = _residual(task, len(data), room)
        if not data or not room:
            self._status(task, Status.GOOD, b"", flags, residual)
            return
        self._send_data(task, memoryview(data)[:room], flags, residual)

    def _send_data(self, task: Task, data: memoryview, flags: int, residual: int) -> None:
        segment, burst = self._numbers.segment_bytes & ~3, self._agreed.burst_bytes
        at, data_sn, in_burst = 0, 0, 0
        while at < len(data):
            length = min(segment, len(data) - at, burst - in_burst)
            end = at + length
            last = end == len(data)
            in_burst = 0 if in_burst + length == burst else in_burst + length
            status_sn = self._numbers.status if last else 0
            self._emit(
                _DATA_IN(
                    0x25,
                    _LAST_DATA | flags if last else 0 if in_burst else 0x80,
                    Status.GOOD,
                    length,
                    task.lun,
                    task.tag,
                    NO_TAG,
                    status_sn,
                    self._numbers.expected,
                    self._numbers.maximum,
                    data_sn,
                    at,
                    residual if last else 0,
                ),
                data[at:end],
            )
            at, data_sn = end, data_sn + 1
        self._numbers.status = self._numbers.status + 1 & MASK32

    def finish(self, task: Task, sense: Sense) -> None:
        """A command ended with CHECK CONDITION."""
        task.buffer = None
        if not self._forget(task):
            return
        flags, residual = _residual(task, 0, task.expected)
        body = fixed(sense)
        self._status(task, Status.CHECK_CONDITION, len(body).to_bytes(2, "big") + body, flags, residual)

    def _status(self, task: Task, status: Status, data: bytes, flags: int, residual: int) -> None:
        head = _RESPONSE(
            0x21,
            0x80 | flags,
            0,
            status,
            len(data),
            task.tag,
            self._numbers.next_status(),
            self._numbers.expected,
            self._numbers.maximum,
            task.r2t_sn,
            residual,
        )
        self._emit(head, data or None)


_WHOLE_DATA: Final = frozenset({0x41, 0x89, 0x93})
"""Commands whose data is one thing: more of it than they take is as wrong as less."""


def _residual(task: Task, moved: int, room: int) -> tuple[int, int]:
    """Flag and count of what was not transferred, or would have been too much (section 11.4.5.1).

    Args:
        task: which knows what it took of the initiator's data, if any.
        moved: bytes that answer it.
        room: bytes that the initiator has room for.
    """
    wanted = task.wanted or moved
    available = task.expected if task.wanted else room
    if wanted > available:
        return int(DataInFlag.OVERFLOW), wanted - available
    if task.expected > wanted:
        return int(DataInFlag.UNDERFLOW), task.expected - wanted
    return 0, 0


def _write_steps(store: Store, task: Task, data: Data) -> Steps[Data]:
    outcome = yield partial(store.write, task.offset, len(data), data, task.fua)
    return checked(outcome, lambda error: sense_of_error(error, senses.WRITE_ERROR))
