"""Starts, adopts and watches the worker of one module, and cleans up after a dead one.

A worker outlives its agent. A starting agent adopts the worker that answers on its socket; where none answers, it first
makes sure that nothing of the module runs on this node, and only then starts a new one. A worker that
has been silent for T is killed and treated as dead: its resource is forced off, its device freed, then the peer is told.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import json
import logging
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinhull.errors import AgentDownError, TwinhullError
from twinhull.installation import own_python
from twinhull.worker import channel
from twinhull.worker.link import LineBuffer, session_at_death

from .process import WorkerProcess, start_apart
from .view import whole_view

RESPAWN_PAUSE_S = 0.5
RESPAWN_PAUSE_MAX_S = 30.0
SETTLED_S = 5.0
LINGER_POLL_S = 0.02
CONNECT_PATIENCE_S = 10.0
END_PATIENCE_S = 5.0
MAX_WORDS_BYTES = 4096

log = logging.getLogger(__name__)


class Life(enum.Enum):
    """What became of one worker."""

    LINGERS = enum.auto()  # an old one is still dying
    NONE = enum.auto()  # none came to answer
    SHORT = enum.auto()
    SETTLED = enum.auto()


@dataclass(frozen=True)
class Death:
    """A worker process that is certainly dead, with its resource confirmed off."""

    process: str
    session: str | None


@dataclass(frozen=True)
class Launch:
    """How the worker of a module is started and what belongs to it.

    Args:
        argv: its command line (holds no secret).
        socket: where it listens for its agent.
        output: file that takes what it prints.
        silence_s: T: how long it may be silent before it counts as dead.
        clean_up: forces the resource off and frees the device; returns what it found. Raises TwinhullError
            when it cannot be sure: the peer is not told then.
    """

    module: str
    argv: tuple[str, ...]
    socket: Path
    output: Path
    silence_s: float
    clean_up: Callable[[], list[str]]


class Supervisor:
    """One module's worker, as the agent sees it. Methods may be called from any thread.

    Args:
        on_message: takes every message of the worker that is not an answer.
        on_connected: called when a worker answers, with True when it was there before (adopted), False when it is
            fresh.
        on_dead: called when `death` is known: the peer waits for that word.
    """

    def __init__(
        self,
        launch: Launch,
        on_message: Callable[[str, dict[str, Any]], None],
        on_connected: Callable[[str, bool], None],
        on_dead: Callable[[], None],
    ) -> None:
        self.launch = launch
        self._on_message = on_message
        self._on_connected = on_connected
        self._on_dead = on_dead
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._pid: int | None = None
        self._last: WorkerProcess | None = None
        self._process = ""
        self._session: str | None = None
        self._heard_s = time.monotonic()
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._running = True
        self._ending = False  # the worker was told to end, and closes the connection when it does
        self._stopped = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._owed_s = 0.0  # the pause before the next worker is started
        self._output_bytes = 0  # length of the output when the child began
        self.view: dict[str, Any] | None = None
        self.death: Death | None = None
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name=f"worker-{launch.module}", daemon=True)

    # ---- for the agent ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch; returns at once."""
        self._thread.start()

    def close(self, *, end_worker: bool = False) -> None:
        """Stop watching. The worker goes on unless `end_worker` asks it to end."""
        if end_worker:
            self.send({"op": "end"})
        self._ending, self._running = end_worker, False
        self._stopped.set()
        if end_worker:  # what is closed both ways at once may be found closed before the order is read
            self._shut(socket.SHUT_WR)
            self._join()
            self._ending = False
        self._shut(socket.SHUT_RDWR)
        self._join()

    def _shut(self, how: int) -> None:
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(how)

    def _join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join(timeout=END_PATIENCE_S)

    @property
    def alive(self) -> bool:
        """Whether a worker is connected."""
        return self._socket is not None

    @property
    def pid(self) -> int | None:
        """Process id of the worker, while connected."""
        return self._pid

    @property
    def hushed(self) -> str:
        """That the connected worker was not heard for longer than T, so that what it showed last says nothing now.

        It is dead soon, or this agent itself has slept and did not read yet what came meanwhile. Empty otherwise.
        """
        silent_s = time.monotonic() - self._heard_s
        if self._socket is None or silent_s <= self.launch.silence_s:
            return ""
        return f"it has been silent for {silent_s:.0f} s"

    @property
    def watching(self) -> bool:
        """Whether the thread that watches does so, was not begun yet, or was told to stop."""
        return not self._running or self._thread.ident is None or self._thread.is_alive()

    def send(self, message: Mapping[str, Any], *, wait: bool = True) -> bool:
        """Hand a message to the worker; False when there is none, or it takes none.

        Args:
            wait: False for what is said again soon: a worker that does not read must not hold up the caller.
        """
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if not self._lock.acquire(blocking=wait):
            return False
        try:
            if self._socket is None or not (wait or channel.writable(self._socket)):
                return False
            try:
                self._socket.sendall(data)
            except OSError:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)  # a message may have gone half-way
                return False
            return True
        finally:
            self._lock.release()

    def ask(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a message and wait for its answer. Raises AgentDownError when no worker answers in time."""
        number = next(self._numbers)
        answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._answers[number] = answers
        try:
            if not self.send({**message, "id": number}):
                raise AgentDownError(
                    f"The worker of {self.launch.module} is not running: {self.trouble or 'it is being started'}.",
                    "Try again in a few seconds; `twinhull logs` says more.",
                )
            answer = answers.get(timeout=timeout_s)
        except queue.Empty:
            raise AgentDownError(
                f"The worker of {self.launch.module} did not answer within {timeout_s:.0f} s.",
                "The command may still take effect: look at the status.",
            ) from None
        finally:
            del self._answers[number]
        if answer is None:
            raise AgentDownError(
                f"The worker of {self.launch.module} was lost before it answered.",
                "The command may still take effect: look at the status.",
            )
        return answer

    # ---- the watching thread ---------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = RESPAWN_PAUSE_S
        while self._running:
            try:
                life = self._watch_one_life()
            except Exception as error:  # whatever it was, the module must not stay unwatched
                log.exception("%s: watching its worker failed", self.launch.module)
                self.trouble = f"watching it failed: {error!r}"
                life = Life.NONE
            if life is Life.LINGERS:
                self._stopped.wait(LINGER_POLL_S)
                continue
            if life is Life.SETTLED:
                pause_s = RESPAWN_PAUSE_S
                continue
            if life is Life.NONE:
                self._stopped.wait(pause_s)
            else:
                self._owed_s = pause_s
            pause_s = min(pause_s * 2, RESPAWN_PAUSE_MAX_S)
        if self._last is not None:
            self._last.close()

    def _watch_one_life(self) -> Life:
        """From finding (or starting) a worker to losing it."""
        self._note_end()
        if (
            self._owed_s > 0 and self._lingers()
        ):  # it dies, or it lives and only its connection broke: no hurry then
            self._owed_s -= LINGER_POLL_S
            return Life.LINGERS
        found = self._connect(0.0)
        adopted = found is not None
        if found is None:
            if self._lingers():
                return Life.LINGERS
            found = self._begin_anew()
            if found is None:
                return Life.NONE
            adopted = self._somebody_else_answers(found[1])
        began_s = time.monotonic()
        self._serve(*found, adopted=adopted)
        return Life.SETTLED if time.monotonic() - began_s >= SETTLED_S else Life.SHORT

    def _somebody_else_answers(self, pid: int) -> bool:
        """Whether an older worker answers, which could not be seen before; then it stays, and ours goes."""
        child = self._child
        if child is None or child.pid == pid:
            return False
        log.warning("%s: worker %d is there already, the new one is not needed", self.launch.module, pid)
        child.kill()
        child.wait()
        self._child = None
        return True

    def _begin_anew(self) -> tuple[socket.socket, int] | None:
        """No worker answers: make sure nothing of it runs, tell, start a new one."""
        try:
            found = self.launch.clean_up()
        except (TwinhullError, OSError) as error:
            self.trouble = str(error)
            log.error("%s: cannot make sure that nothing runs here: %s", self.launch.module, error)
            return None
        for sentence in found:
            log.warning("%s: %s", self.launch.module, sentence)
        if self._process:
            self.death = Death(self._process, self._session)
            self._on_dead()
        # Whoever waits for the word that it is dead does not wait for this: one that keeps dying begins in no hurry.
        self._stopped.wait(max(0.0, self._owed_s))
        self._owed_s = 0.0
        if not self._running:
            return None
        try:
            self._child = self._spawn()
        except OSError as error:
            self.trouble = f"its process cannot be started: {error}"
            log.error("%s: the worker cannot be started: %s", self.launch.module, error)
            return None
        return self._connect(CONNECT_PATIENCE_S)

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.launch.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        child, self._output_bytes = start_apart(self.launch.argv, self.launch.output)
        log.info("%s: started worker %d", self.launch.module, child.pid)
        return child

    def _connect(self, patience_s: float) -> tuple[socket.socket, int] | None:
        deadline_s = time.monotonic() + patience_s
        while self._running:
            with contextlib.suppress(OSError):
                return channel.connect(self.launch.socket, max(self.launch.silence_s, 1.0))
            if self._note_end():
                return None
            if time.monotonic() >= deadline_s:
                return None
            time.sleep(0.02)
        return None

    def _serve(self, connection: socket.socket, pid: int, *, adopted: bool) -> None:
        """Read the worker's messages until it is gone or silent for too long."""
        self._recognise(pid)
        lines = LineBuffer()
        connection.settimeout(min(0.5, self.launch.silence_s / 4))
        with self._lock:
            self._socket, self._pid = connection, pid
        log.info("%s: %s worker %d", self.launch.module, "adopted" if adopted else "talks to", pid)
        try:
            self._on_connected(self.launch.module, adopted)
            reason = self._read_until_gone(connection, lines)
        finally:
            with self._lock:
                self._socket, self._pid, self.view = None, None, None
            connection.close()
            for answers in list(self._answers.values()):
                answers.put(None)
        if self._running:
            log.warning("%s: worker %d is lost: %s", self.launch.module, pid, reason)
            self._lingers()

    def _recognise(self, pid: int) -> None:
        """Hold on to who answers. A process that was talked to before gets no new silence by connecting anew."""
        if self._last is not None and self._last.pid == pid and self._last.alive():
            return
        if self._last is not None:
            self._last.close()
            self._last = None
        self._heard_s = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            self._last = WorkerProcess(pid)

    def _read_until_gone(self, connection: socket.socket, lines: LineBuffer) -> str:
        while self._running or self._ending:
            try:
                data = connection.recv(1 << 16)
            except TimeoutError:
                silent_s = time.monotonic() - self._heard_s
                if silent_s > self.launch.silence_s:
                    return f"it has been silent for {silent_s:.1f} s"
                continue
            except OSError as error:
                return str(error)
            if not data:
                return "its connection closed"
            self._heard_s = time.monotonic()
            if self._ending:
                continue
            try:
                for message in lines.feed(data):
                    self._take(message)
            except (ValueError, KeyError, TypeError) as error:
                return f"it sent nonsense: {error!r}"
        return "the agent ends"

    def _take(self, message: dict[str, Any]) -> None:
        op = message.get("op")
        if op == "answer":
            answers = self._answers.get(message["id"])
            if answers is not None:
                answers.put(message)
            return
        if op == "beat":
            self._process, self._session = str(message["process"]), session_at_death(message)
        elif op == "view":
            self.view, self.trouble = whole_view(message["view"]), ""
        self._on_message(self.launch.module, message)

    def _lingers(self) -> bool:
        """Whether the last worker's process still lives though nobody can talk to it; it is killed after T."""
        last = self._last
        if last is None:
            return False
        if not last.alive():
            last.close()
            self._last = None
            return False
        silent_s = time.monotonic() - self._heard_s
        if silent_s > self.launch.silence_s and not last.killed:
            log.error("%s: killing worker %d, silent for %.1f s", self.launch.module, last.pid, silent_s)
            last.kill()
        return True

    def _note_end(self) -> bool:
        """Whether our child has ended; its last words are what people are shown until a worker is at work."""
        if self._child is None or self._child.poll() is None:
            return False
        code, self._child = self._child.returncode, None
        self.trouble = last_words(self.launch.output, self._output_bytes) or (
            f"its process ended with {code}; see {self.launch.output}"
        )
        return True


def worker_argv(node_config: Path, module: str) -> tuple[str, ...]:
    """The command line of a module's worker: of this agent's own version."""
    return (
        str(own_python()),
        "-P",
        "-m",
        "twinhull.worker.main",
        "--node-config",
        str(node_config),
        "--module",
        module,
    )


def last_words(output: Path, from_bytes: int) -> str:
    """The last line in a worker's output behind `from_bytes`, without a full stop; empty if there is none."""
    try:
        with output.open("rb") as file:
            file.seek(max(from_bytes, output.stat().st_size - MAX_WORDS_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip().rstrip(".") for line in reversed(lines) if line.strip()), "")
