"""Simulated time: what happens when, a process's share of it, and the loop and the lanes that stand for its threads."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twinhull.worker.lanes import Outcome, outcome_of
from twinhull.worker.loop import Timer

from .rng import Rng

T = TypeVar("T")
Call = Callable[[], Any]
Turner = Any
"""A `process.Process`, or None for what is no process."""

FILE, MESSAGE, TIMER = 0, 1, 2
"""In this order a loop looks at what waits for it after a pause."""


class DeposedError(BaseException):
    """Unwinds a turn that made a disk call which hangs: another thread goes on."""


class Schedule:
    """What happens next in the whole world. Entries of one time happen in the order in which they were made."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.events = 0
        self._heap: list[tuple[float, int, Turner, int, Call]] = []
        self._order = 0

    def at(self, when_s: float, call: Call, process: Turner = None, kind: int = MESSAGE) -> None:
        """Have something happen; to a process only while it lives, and after it wakes."""
        self._order += 1
        heapq.heappush(self._heap, (when_s, self._order, process, kind, call))

    def after(self, delay_s: float, call: Call, process: Turner = None, kind: int = MESSAGE) -> None:
        """The same, from now."""
        self.at(self.now_s + delay_s, call, process, kind)

    def now(self, call: Call, process: Turner, kind: int = MESSAGE) -> None:
        """Have it happen to the process at once, unless it cannot take it yet. Never call it within a turn."""
        if process.frozen:
            process.waiting.append((kind, call))
        elif not process.dead:
            self.events += 1
            process.turn(call)

    def run_until(self, end_s: float) -> None:
        """Let everything happen up to a time."""
        heap = self._heap
        while heap and heap[0][0] <= end_s:
            when_s, _, process, kind, call = heapq.heappop(heap)
            if when_s > self.now_s:
                self.now_s = when_s
            if process is None:
                call()
            else:
                self.now(call, process, kind)
        self.now_s = max(self.now_s, end_s)


class SimLoop:
    """Stands for `worker.loop.Loop`: the same methods, in simulated time.

    Args:
        process: whose loop it is.
        pump: called at the end of every turn.
    """

    def __init__(self, process: Turner, pump: Call) -> None:
        self.process = process
        self.pump = pump
        self.messages: deque[Call] = deque()
        self.watched: dict[int, Call] = {}
        self.stopped = False
        self.grain_s = process.world.settings.shortest_s / process.world.settings.grain
        self._timers: dict[int, list[Timer]] = {}

    def watch(self, file: int, callback: Call, *, write: Call | None = None) -> None:
        """Call back when there is something to read; writing never waits here."""
        self.watched[file] = callback

    def unwatch(self, file: int) -> None:
        """Stop watching."""
        self.watched.pop(file, None)

    def ready(self, file: int) -> None:
        """There is something to read."""
        self.process.world.schedule.after(0.0, self.readable(file), self.process, FILE)

    def readable(self, file: int) -> Call:
        """What the loop does when there is something to read."""

        def read() -> None:
            callback = self.watched.get(file)
            if callback is not None:
                callback()

        return read

    def call_at(self, when_s: float, callback: Call) -> Timer:
        """Call at a time of the node's clock."""
        return self._plan(self.process.node.true_time(when_s), callback)

    def call_later(self, delay_s: float, callback: Call) -> Timer:
        """Call after so many seconds of the node's clock."""
        process = self.process
        return self._plan(process.world.schedule.now_s + delay_s / process.node.rate, callback)

    def _plan(self, when_s: float, callback: Call) -> Timer:
        """Timers are late as on a busy host: all that are due are looked at together, every `grain_s`."""
        timer = Timer(callback)
        process = self.process
        slot = int((when_s - process.born_s) / self.grain_s) + 1
        due = self._timers.get(slot)
        if due is not None:
            due.append(timer)
            return timer
        self._timers[slot] = [timer]
        process.world.schedule.at(
            process.born_s + slot * self.grain_s, lambda: self._fire(slot), process, TIMER
        )
        return timer

    def _fire(self, slot: int) -> None:
        for timer in self._timers.pop(slot):
            timer.fire()

    def run_inline(self, call: Callable[[Any], Any], argument: Any, done: Callable[[Any], None]) -> None:
        """A disk call of the leader; when the disk takes its time, the standby leads meanwhile."""
        process = self.process
        delay_s = process.node.inline_delay_s()
        if not delay_s:
            done(call(argument))
            return

        def finish() -> None:
            if not process.node.wait_for_disk(finish, process):
                done(call(argument))

        process.world.schedule.after(delay_s, finish, process)
        raise DeposedError

    def post(self, callback: Call) -> None:
        """Have the leader call this soon."""
        self.messages.append(callback)
        process = self.process
        if not process.turning:
            process.world.schedule.after(0.0, _nothing, process)

    def stop(self) -> None:
        """The worker ends."""
        self.stopped = True


def _nothing() -> None:
    """Only the messages are wanted."""


WITNESS_LANES = frozenset({"witness", "witness-record"})
DISK_LANES = frozenset({"log", "flush", "read", "digest", "keep"})


class SimLane:
    """Stands for `worker.lanes.Lane`: calls in order, each taking its time.

    A flush covers only what was written when it began.
    """

    def __init__(self, loop: SimLoop, name: str, *, threads: int = 1) -> None:
        self._loop = loop
        self._name = name
        self._free = threads
        self._queue: deque[tuple[Callable[[], Any], Callable[[Outcome[Any]], None]]] = deque()
        self._uses_disk = name in DISK_LANES

    def submit(self, call: Callable[[], T], done: Callable[[Outcome[T]], None]) -> None:
        """Make `call` on the lane, then `done` on the loop."""
        self._queue.append((call, done))
        if self._free:
            self._begin()

    def _begin(self) -> None:
        self._free -= 1
        call, done = self._queue.popleft()
        process = self._loop.process
        if self._name in WITNESS_LANES and process.unit.memory is not None:
            self._ask(call, done)
            return
        limit = process.node.disk.order if self._name == "flush" else None
        delay_s = process.node.lane_delay_s(self._name)
        early: list[Outcome[Any]] = []
        if self._name == "witness":  # asked now, answered in the middle, heard of at the end
            process.world.schedule.after(delay_s / 2, lambda: early.append(outcome_of(call)))

        due_s = process.world.schedule.now_s + delay_s

        def finish() -> None:
            slept = due_s < process.thawed_s == process.world.schedule.now_s
            if slept and process.node.rng.chance(50):  # its thread was stopped before the call, too
                process.world.schedule.after(delay_s, finish, process)
                return
            if self._uses_disk and process.node.wait_for_disk(finish, process):
                return
            disk = process.node.disk
            disk.sync_limit, disk.early_s = limit, delay_s if limit is not None else 0.0
            try:
                outcome = early[0] if early else outcome_of(call)
            finally:
                disk.sync_limit, disk.early_s = None, 0.0
            process.hook("lane")
            self._free += 1
            if self._queue:
                self._begin()
            done(outcome)

        process.world.schedule.after(delay_s, finish, process)

    def _ask(self, call: Callable[[], Any], done: Callable[[Outcome[Any]], None]) -> None:
        """The call puts a question, which is on its way until its answer comes or its time is over."""
        process = self._loop.process

        def finish(outcome: Outcome[Any]) -> None:
            process.hook("lane")
            self._free += 1
            if self._queue:
                self._begin()
            done(outcome)

        asked = call()
        asked.heard(lambda outcome: process.world.schedule.after(0.0, lambda: finish(outcome), process))

    def close(self) -> None:
        """End; nothing to be done."""


def jitter_s(rng: Rng, typical_s: float, *, calm: bool = False) -> float:
    """A time around the typical one, now and then much longer; never when it is `calm`."""
    draw = rng.bits()
    factor = (draw & 1023) / 512.0
    return typical_s * (factor * 8 if (draw >> 10) & 31 == 0 and not calm else factor)
