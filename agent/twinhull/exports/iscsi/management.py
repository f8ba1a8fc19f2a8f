"""Task management: aborting commands, and telling so when they can change nothing any more (RFC 7143 section 11.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import sense as senses
from .numbers import Numbers
from .pdu import Function, FunctionResult, Opcode, TaskManagement, header
from .sense import Sense
from .task import Task


class Management:
    """Carries out the functions of one session.

    Args:
        emit: sends a PDU.
        numbers: of the session.
        tasks: the session's, by their tags.
        forget: takes a task out of the session.
        attention: has the next command end with a unit attention.
        end: ends the connection.
    """

    def __init__(
        self,
        emit: Callable[[bytes], None],
        numbers: Numbers,
        tasks: Mapping[int, Task],
        *,
        forget: Callable[[Task], object],
        attention: Callable[[Sense], None],
        end: Callable[[str], None],
    ) -> None:
        self._emit = emit
        self._numbers = numbers
        self._tasks = tasks
        self._forget = forget
        self._attention = attention
        self._end = end
        self._resets: list[tuple[set[Task], Callable[[], None]]] = []
        self._open = True

    def close(self) -> None:
        """The connection is gone: nothing is told any more."""
        self._open = False

    def request(self, request: TaskManagement) -> None:
        """A Task Management Function Request (section 11.5)."""
        self._numbers.sequenced(request.opcode, request.command_sn, lambda: self._manage(request))

    def _manage(self, request: TaskManagement) -> None:
        function = request.function & 0x7F
        tag = request.task_tag
        if function == Function.ABORT_TASK:
            task = self._tasks.get(request.referenced_tag)
            if task is None:
                self._function_done(tag, FunctionResult.NO_TASK)
            else:
                self.abort([task], lambda: self._function_done(tag, FunctionResult.COMPLETE))
            return
        whole_target = function in (Function.TARGET_WARM_RESET, Function.TARGET_COLD_RESET)
        if not whole_target and function not in (
            Function.ABORT_TASK_SET,
            Function.CLEAR_TASK_SET,
            Function.LOGICAL_UNIT_RESET,
        ):
            missing = function == Function.TASK_REASSIGN
            self._function_done(
                tag, FunctionResult.NOT_REASSIGNABLE if missing else FunctionResult.NOT_SUPPORTED
            )
            return
        if request.lun and not whole_target:
            self._function_done(tag, FunctionResult.NO_LUN)
            return
        if whole_target or function == Function.LOGICAL_UNIT_RESET:
            self._attention(senses.RESET_OCCURRED)

        def done() -> None:
            self._function_done(tag, FunctionResult.COMPLETE)
            if function == Function.TARGET_COLD_RESET:
                self._end("the initiator reset the target")

        self.abort(list(self._tasks.values()), done)

    def abort(self, tasks: list[Task], done: Callable[[], None]) -> None:
        """Answer none of these; `done` when none of them can change the volume any more."""
        changing = {task for task in tasks if task.buffer is None and task.waiting is None}
        for task in tasks:
            task.buffer = task.waiting = None
        for task in tasks:
            self._forget(task)
            task.aborted = True
        if changing:
            self._resets.append((changing, done))
        else:
            done()

    def settle(self, task: Task) -> None:
        """An aborted task has come to rest."""
        for entry in list(self._resets):
            entry[0].discard(task)
            if not entry[0]:
                self._resets.remove(entry)
                if self._open:
                    entry[1]()

    def _function_done(self, tag: int, result: FunctionResult) -> None:
        self._emit(
            header(
                Opcode.TASK_MANAGEMENT_RESPONSE,
                0x80,
                result,
                tag,
                self._numbers.next_status(),
                self._numbers.expected,
                self._numbers.maximum,
            )
        )
