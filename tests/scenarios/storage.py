"""A fake disk and a fake data path: blocks are numbers, but the rules of marks and flushes are the real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twinhull.core import events
from twinhull.core.identity import Id

BLOCKS = 8
BLOCK_BYTES = 32 * 1024

Frame = tuple[Any, ...]


@dataclass
class Disk:
    """One node's disk: what is cached, what is durable, what is marked, and how it fails."""

    cached: dict[int, int] = field(default_factory=dict)
    durable: dict[int, int] = field(default_factory=dict)
    marks: set[int] = field(default_factory=set)
    failed: str = ""
    full: bool = False
    hung: bool = False
    record_fails: bool = False
    record_hangs: bool = False
    record_fails_once: bool = False

    def value(self, block: int) -> int:
        """What a read answers."""
        return self.cached.get(block, 0)

    def write(self, block: int, value: int) -> bool:
        """Whether it was taken."""
        if self.failed or self.full or self.hung:
            return False
        self.cached[block] = value
        return True

    def flush(self) -> bool:
        """Whether all that was written is durable now."""
        if self.failed or self.hung:
            return False
        self.durable = dict(self.cached)
        return True

    def lose_power(self, keeps: Callable[[int], bool]) -> None:
        """What was not flushed is kept or lost, block by block."""
        for block, value in self.cached.items():
            if keeps(block):
                self.durable[block] = value
        self.cached = dict(self.durable)


@dataclass
class Request:
    """One request of the client."""

    flush: bool
    block: int
    value: int
    since_s: float
    issued: bool = False
    local: bool = False
    remote: bool = False
    snapshot: set[int] = field(default_factory=set)


class FakeMirror:
    """The data path of one process.

    Args:
        disk: the node's disk.
        send: hands a frame to the stream.
        tell: tells the machine an event.
        done: a request was completed: (request, ok, alone).
        now: the clock, seconds.
        write_timeout_s: as configured.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        send: Callable[[Frame], None],
        tell: Callable[[events.Event], None],
        done: Callable[[Request, bool, bool], None],
        now: Callable[[], float],
        write_timeout_s: float,
    ) -> None:
        self.disk, self._send, self._tell, self._done, self._now = disk, send, tell, done, now
        self._write_timeout_s = write_timeout_s
        self.mode = "closed"  # closed, alone, prim, second
        self.session: Id | None = None
        self.serving = self.held = self.failing_up = False
        self.lease_s = 0.0
        self.requests: list[Request] = []
        self.todo: set[int] = set()
        self.copying: int | None = None
        self.copy_on = False
        self.marks_here = False
        self.resend = False
        self.clear: set[int] = set()
        self.stash: list[tuple[float, Frame]] = []
        self.ending = self.quiescing = False
        self.early: list[tuple[Id, Frame]] = []
        self.ended: set[Id] = set()
        self.copied = 0
        self._told: set[str] = set()

    # ---- what can be acknowledged ------------------------------------------------------------------

    def can_ack(self) -> bool:
        """Whether a request could be completed now."""
        if self.held or self.failing_up:
            return False
        return self.mode == "alone" or (self.mode == "prim" and self.serving and self._now() < self.lease_s)

    @property
    def quiet(self) -> bool:
        """Nothing is under way."""
        return not self.requests and not self.stash and self.copying is None

    # ---- actions ----------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """A request of the client."""
        self.requests.append(request)
        self.pump()

    def open_alone(self) -> None:
        self.mode, self.held, self.session, self.copy_on = "alone", False, None, False
        self.todo, self.copying, self.clear = set(), None, set()
        self.pump()

    def hold(self) -> None:
        self.held = True

    def close_io(self) -> None:
        self.mode, self.serving = "closed", False
        self.pump()

    def fail_up(self) -> None:
        self.failing_up = True
        self.pump()

    def serve(self) -> None:
        self.serving, self.held = True, False
        self.pump()

    def set_lease(self, until_s: float) -> None:
        self.lease_s = until_s
        self.pump()

    def begin_session(self, session: Id, *, primary: bool, resend: bool, everything: bool) -> None:
        self.session, self.mode, self.resend = session, "prim" if primary else "second", resend
        self.serving = self.marks_here = self.copy_on = False
        self.copying, self.clear, self.stash = None, set(), []
        if primary:
            self.todo = set(range(BLOCKS)) if everything else set(self.disk.marks)
            for request in self.requests:
                request.remote = False
                if request.issued:
                    self._travel(request)
        else:
            self._send(("marks", tuple(sorted(self.disk.marks))))
        early, self.early = self.early, []
        for named, frame in early:
            self.frame(named, frame)

    def start_copy(self) -> None:
        self.copy_on = True
        self._told.discard("copied")
        self.pump()

    def end_copy_flush(self, epoch: int) -> None:
        busy = {request.block for request in self.requests if request.issued and not request.flush}
        self.clear = self.disk.marks - busy
        self._send(("copy-flush", epoch))

    def finish_copy(self) -> None:
        self.disk.marks -= self.clear
        self.clear, self.copy_on = set(), False

    def end_session(self) -> None:
        if self.session is not None:
            self.ended.add(self.session)
        self.session, self.copying = None, None
        self.stash = self.stash[:1] if self.disk.hung else []
        self.ending = True
        self._end_if_done()

    def quiesce(self) -> None:
        self.quiescing = True
        if self.mode == "prim":
            self._send(("quiesce",))
        elif self._flush_here():
            self.quiescing = False
            self._tell(events.Quiesced())

    def tick(self) -> None:
        """Time-outs of writes."""
        limit_s = self._now() - self._write_timeout_s
        if self.disk.hung and any(s < limit_s for s in self._waiting_for_disk()):
            self._tell_once("local", events.LocalWriteTimeout())
        served = self.mode == "prim" and self.session is not None and self.serving
        if served and any(r.issued and not r.remote and r.since_s < limit_s for r in self.requests):
            self._tell_once("remote", events.PeerWriteTimeout())
        self.pump()

    def _waiting_for_disk(self) -> list[float]:
        mine = [r.since_s for r in self.requests if r.issued and not r.local]
        return mine + [since_s for since_s, _ in self.stash]

    def _tell_once(self, what: str, event: events.Event) -> None:
        if what not in self._told:
            self._told.add(what)
            self._tell(event)

    def _end_if_done(self) -> None:
        if self.ending and not self.stash:
            self.ending = False
            self._tell(events.SessionEnded(marks=bool(self.disk.marks)))

    # ---- requests ---------------------------------------------------------------------------------

    def pump(self) -> None:
        """Do whatever can be done."""
        if self.mode == "closed" or self.mode == "second":
            self._fail_all()
        elif self.mode == "alone":
            self._pump_alone()
        else:
            self._pump_prim()
        self._pump_stash()

    def _fail_all(self) -> None:
        if self.mode == "closed":
            requests, self.requests = self.requests, []
            for request in requests:
                self._done(request, False, False)

    def _pump_alone(self) -> None:
        while self.requests and not self.held:
            request = self.requests[0]
            if not self._local(request):
                if self.failing_up:
                    self.requests.pop(0)
                    self._done(request, False, True)
                    continue
                return
            self.requests.pop(0)
            self._done(request, True, True)

    def _pump_prim(self) -> None:
        for request in self.requests:
            if not request.issued and self.session and self.serving and not self.held:
                if request.block == self.copying and not request.flush:
                    break
                if request.flush and any(not earlier.local for earlier in self._before(request)):
                    break
                self._travel(request)
            if request.issued:
                self._local(request)
        while self.requests and self.can_ack():
            request = self.requests[0]
            if not (request.local and request.remote):
                break
            self.requests.pop(0)
            self._finish_flush(request)
            self._done(request, True, False)
        self._pump_copy()

    def _before(self, request: Request) -> list[Request]:
        return self.requests[: self.requests.index(request)]

    def _finish_flush(self, request: Request) -> None:
        clean = self.resend or (self.marks_here and not self.todo)
        if request.flush and clean and not self.copy_on and request.snapshot:
            self.disk.marks -= request.snapshot
            self._send(("clear", tuple(sorted(request.snapshot))))

    def _travel(self, request: Request) -> None:
        request.issued = True
        if request.flush:
            busy = {r.block for r in self.requests if not r.flush and r.issued and r is not request}
            request.snapshot = self.disk.marks - busy
            self._send(("flush", request.value))
        else:
            self._mark(request.block)
            self._send(("write", request.value, request.block))

    def _mark(self, block: int) -> None:
        self.disk.marks.add(block)
        self.clear.discard(block)
        for request in self.requests:
            request.snapshot.discard(block)

    def _local(self, request: Request) -> bool:
        if request.local:
            return True
        request.issued = True
        if request.flush:
            request.local = self.disk.flush()
        else:
            self._mark(request.block)
            request.local = self.disk.write(request.block, request.value)
        if not request.local and not self.disk.hung:
            self._tell_once("disk", events.DiskFailed(self.disk.failed or "no space left", self.disk.full))
        return request.local

    def _pump_copy(self) -> None:
        if not self.copy_on or not self.session or self.copying is not None:
            return
        busy = {r.block for r in self.requests if r.issued and not r.flush}
        free = sorted(self.todo - busy)
        if free:
            self.copying = free[0]
            self._send(("copy", free[0], self.disk.value(free[0])))
        elif not self.todo:
            self._tell_once("copied", events.CopyDone())

    # ---- frames -----------------------------------------------------------------------------------

    def frame(self, session: Id, frame: Frame) -> None:
        """A frame of the peer; of an ended session it is dropped, of one that did not begin yet kept."""
        if session != self.session:
            if session not in self.ended:
                self.early.append((session, frame))
            return
        if self.mode == "second":
            self.stash.append((self._now(), frame))
            self._pump_stash()
        elif self.mode == "prim":
            self._answered(frame)
            self.pump()

    def _pump_stash(self) -> None:
        while self.stash:
            _, frame = self.stash[0]
            if not self._apply(frame):
                break
            if self.stash:
                self.stash.pop(0)
        self._end_if_done()

    def _apply(self, frame: Frame) -> bool:
        kind = frame[0]
        took = True
        if kind in ("write", "copy"):
            block, value = (frame[2], frame[1]) if kind == "write" else (frame[1], frame[2])
            self._mark(block)
            took = self.disk.write(block, value)
            answer: Frame = ("ack", value) if kind == "write" else ("copied", block)
        elif kind in ("flush", "copy-flush", "quiesce"):
            took = self.disk.flush()
            answer = (f"{kind} done", *frame[1:])
            if kind == "copy-flush":
                self.clear = set(self.disk.marks)
            elif kind == "quiesce" and took:
                self.disk.marks = set()
        else:
            self.disk.marks -= set(frame[1])
            return True
        if took and self.session is not None:
            self._send(answer)
        elif not took and not self.disk.hung:
            reason = self.disk.failed or "no space left"
            if self.session is not None:
                self._send(("disk-failed", reason))
            self.stash = []
            self._tell_once("disk", events.DiskFailed(reason, self.disk.full))
        return took or not self.disk.hung

    def _answered(self, frame: Frame) -> None:
        kind = frame[0]
        if kind == "marks":
            self.todo |= set(frame[1])
            self.marks_here = True
            self._tell(events.PeerMarksComplete(len(self.todo) * BLOCK_BYTES))
            if self.resend:
                self.todo = set()
        elif kind == "copied" and frame[1] == self.copying:
            self.todo.discard(frame[1])
            self.copying = None
            self.copied += 1
        elif kind in ("ack", "flush done"):
            for request in self.requests:
                if request.value == frame[1]:
                    request.remote = True
        elif kind == "copy-flush done":
            if self._flush_here():
                self._tell(events.CopyFlushedBoth(frame[1]))
        elif kind == "quiesce done":
            if self._flush_here():
                self.disk.marks, self.quiescing = set(), False
                self._tell(events.Quiesced())
        elif kind == "disk-failed":
            self._tell(events.PeerDisk(frame[1]))

    def _flush_here(self) -> bool:
        if self.disk.flush():
            return True
        if self.disk.hung:
            self._tell_once("local", events.LocalWriteTimeout())
        else:
            self._tell_once("disk", events.DiskFailed(self.disk.failed))
        return False
