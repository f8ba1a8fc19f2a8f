"""The worker's event loop, and the standby that takes it over when a disk call hangs.

One thread at a time *leads*: it alone touches the state of the module, so nothing in it needs a lock. A disk call of
the quiet path is made by the leader itself (`run_inline`). When such a call takes longer than `stall_s`, the standby
thread becomes the leader, and the stuck call's result reaches it later as a message. The thread that was stuck becomes
the standby.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from twinhull.clock import boot_clock_s

from .polling import READABLE, WRITABLE, Poller

Callback = Callable[[], None]
T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger(__name__)


class _DeposedError(BaseException):
    """Unwinds a thread that lost the lead while it was inside a disk call; nobody else may catch it."""


class Timer:
    """A call planned for later; `cancel()` takes it back."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callback) -> None:
        self._callback: Callback | None = callback

    def cancel(self) -> None:
        """Take the call back; harmless when it has run."""
        self._callback = None

    def fire(self) -> None:
        """Run the call once, unless it was cancelled."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Loop:
    """Files, timers and messages of other threads, served by one leading thread.

    Args:
        pump: called at the end of every turn; the only place from which `run_inline` may be called.
        stall_s: how long a disk call of the leader may take before the standby leads; may be changed at any time.
        clock: the clock that timers run on, seconds.
    """

    def __init__(self, pump: Callback, *, stall_s: float, clock: Callable[[], float] = boot_clock_s) -> None:
        self._pump = pump
        self.stall_s = stall_s
        self._clock = clock
        self._poller = Poller()
        self._watches: dict[int, tuple[Callback, Callback | None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._messages: deque[Callback] = deque()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self.watch(self._wake_receiver.fileno(), self._drain_wakes)
        self._lead_lock = threading.Lock()
        self._leader: int | None = None
        self._inline_since_s: float | None = None
        self._running = True  # until `stop`, which may come before `run`
        self._failure: BaseException | None = None
        self._finished = threading.Event()

    # ---- what the leader may call ---------------------------------------------------------------

    def watch(self, file: int, callback: Callback, *, write: Callback | None = None) -> None:
        """Call `callback` when `file` is readable, `write` (if given) when it is writable. Replaces an earlier watch."""
        self._poller.watch(file, write=write is not None)
        self._watches[file] = callback, write

    def unwatch(self, file: int) -> None:
        """Stop watching; harmless when it was not watched, or is closed already (-1)."""
        if self._watches.pop(file, None) is not None:
            self._poller.unwatch(file)

    def call_at(self, when_s: float, callback: Callback) -> Timer:
        """Call at a time of the loop's clock."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (when_s, next(self._order), timer))
        return timer

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        """Call after so many seconds."""
        return self.call_at(self._clock() + delay_s, callback)

    def run_inline(self, call: Callable[[T], R], argument: T, done: Callable[[R], None]) -> None:
        """Make a disk call in this thread and hand its result to `done`, on whichever thread leads then."""
        with self._lead_lock:
            self._inline_since_s = time.monotonic()
        result = call(argument)
        with self._lead_lock:
            leading = self._leader == threading.get_ident()
            if leading:
                self._inline_since_s = None
        if not leading:
            self.post(lambda: done(result))
            raise _DeposedError
        done(result)

    def stop(self) -> None:
        """End `run` after this turn, or before its first. From any thread."""
        self._running = False
        self._wake()

    # ---- what any thread may call ---------------------------------------------------------------

    def post(self, callback: Callback) -> None:
        """Have the leader call this soon."""
        self._messages.append(callback)
        self._wake()

    # ---- running --------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `stop`. Raises whatever a callback raised: a worker with a broken state must not go on."""
        self._leader = threading.get_ident()
        threading.Thread(target=self._stand_by, name="standby", daemon=True).start()
        try:
            self._lead()
        except _DeposedError:
            self._stand_by()
        self._finished.wait()
        if self._failure is not None:
            raise self._failure

    def _lead(self) -> None:
        try:
            while self._running:
                self._turn()
        except _DeposedError:
            raise
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits in run()
            self._failure = error
            self._running = False
        self._finished.set()

    def _stand_by(self) -> None:
        """Wait until the leader is stuck, lead, and wait again after having been stuck oneself."""
        while not self._finished.wait(self.stall_s / 2):
            if self._take_over():
                log.warning("the disk has not answered for %.1f s; decisions go on without it", self.stall_s)
                try:
                    self._lead()
                except _DeposedError:
                    continue
                return

    def _take_over(self) -> bool:
        with self._lead_lock:
            since = self._inline_since_s
            if since is None or time.monotonic() - since < self.stall_s:
                return False
            self._leader = threading.get_ident()
            self._inline_since_s = None
            return True

    def _turn(self) -> None:
        watches = self._watches
        ready = [
            (watches[file], events) for file, events in self._poller.wait(self._wait_s()) if file in watches
        ]
        for (read, write), events in ready:
            if write is not None and events & WRITABLE:
                write()
            if events & READABLE:
                read()
        messages = self._messages
        if messages:
            for _ in range(len(messages)):
                messages.popleft()()
        timers = self._timers
        if timers:
            now_s = self._clock()
            while timers and timers[0][0] <= now_s:
                heapq.heappop(timers)[2].fire()
        self._pump()

    def _wait_s(self) -> float | None:
        if self._messages:
            return 0.0
        return max(0.0, self._timers[0][0] - self._clock()) if self._timers else None

    def _wake(self) -> None:
        try:
            self._wake_sender.send(b"\0")
        except BlockingIOError:
            return  # it is full of wakes already

    def _drain_wakes(self) -> None:
        try:
            while len(self._wake_receiver.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            return
