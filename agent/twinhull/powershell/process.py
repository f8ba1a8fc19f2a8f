"""One PowerShell process: started, asked, killed. A thread reads its answers, so that every request has a deadline."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from twinhull.errors import PowerShellError, PowerShellGoneError, PowerShellTimeoutError

from . import framing
from .framing import Value
from .spawn import Child, spawn

HOST_SCRIPT = Path(__file__).with_name("host.ps1")
_KEPT_LINES = 20


def default_program() -> str:
    """Windows PowerShell 5.1 of this host, by its full path."""
    root = os.environ.get("SYSTEMROOT", r"C:\Windows")
    return rf"{root}\System32\WindowsPowerShell\v1.0\powershell.exe"


@dataclass(frozen=True, slots=True)
class Engine:
    """How a host is started.

    Args:
        program: the words that start the engine.
        script: the host's program; tests put one of theirs around the shipped one.
        environment: added to our own.
        start_timeout_s: seconds until it must have greeted.
    """

    program: Sequence[str] = field(default_factory=lambda: (default_program(),))
    script: Path = HOST_SCRIPT
    environment: Mapping[str, str] = field(default_factory=dict)
    start_timeout_s: float = 120.0

    def command(self, request_handle: int, reply_handle: int) -> list[str]:
        """The command line; both numbers are handles that the process inherits."""
        options = ["-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass"]
        handles = ["-RequestHandle", str(request_handle), "-ReplyHandle", str(reply_handle)]
        return [*self.program, *options, "-File", str(self.script), *handles]


class HostProcess:
    """A running host; one request at a time, the caller sees to that.

    Args:
        engine: how it is started.
        name: for messages, such as `query`.

    Raises PowerShellError when it cannot be started or does not greet in time.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._name = name
        self._numbers = itertools.count(1)
        self._answers: queue.SimpleQueue[dict[str, Value] | None] = queue.SimpleQueue()
        self._said: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._child = _start(engine)
        self._listener = self._thread(self._listen)
        self._drain = self._thread(self._drain_output)
        greeting = self._next(engine.start_timeout_s, "start")
        self.version = str(greeting.get("version", ""))

    @property
    def process_id(self) -> int:
        """The number of the process."""
        return self._child.process.pid

    def alive(self) -> bool:
        """Whether the process lives."""
        return self._child.process.poll() is None

    def ask(self, function: str, arguments: Mapping[str, Value], timeout_s: float) -> Value:
        """Call a function and wait for its value; after any error but the function's own the host is dead.

        Raises PowerShellTimeoutError (killed), PowerShellGoneError (it ended), PowerShellError (the function's own).
        """
        number = next(self._numbers)
        frame = framing.encode_request(number, function, arguments)
        try:
            self._child.requests.write(frame)
            self._child.requests.flush()
        except OSError as error:
            raise self._gone(function) from error
        reply = framing.parse_reply(self._next(timeout_s, function))
        if reply.number != number:
            self.kill()
            raise PowerShellGoneError(
                f"The PowerShell host ({self._name}) answered another question; it was killed."
            )
        if reply.error is not None:
            raise reply.error
        return reply.value

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        self._child.kill()
        self._close()

    def close(self, timeout_s: float = 5.0) -> None:
        """Let it end by closing its pipe; killed when it does not."""
        with contextlib.suppress(OSError):
            self._child.requests.close()
        try:
            self._child.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
        self._close()

    # ---- inside --------------------------------------------------------------------------------------

    def _thread(self, target: object) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"powershell-{self._name}", daemon=True)  # type: ignore[arg-type]
        thread.start()
        return thread

    def _next(self, timeout_s: float, doing: str) -> dict[str, Value]:
        try:
            message = self._answers.get(timeout=max(timeout_s, 0.001))
        except queue.Empty:
            self.kill()
            raise PowerShellTimeoutError(
                f"{doing} was not answered within {timeout_s:.3g} s by the PowerShell host ({self._name}), which was killed."
            ) from None
        if message is None:
            raise self._gone(doing)
        return message

    def _gone(self, doing: str) -> PowerShellGoneError:
        self.kill()
        said = " / ".join(self._said)
        return PowerShellGoneError(
            f"The PowerShell host ({self._name}) ended during {doing} "
            f"(exit status {self._child.process.returncode}){': ' + said if said else ''}."
        )

    def _listen(self) -> None:
        try:
            while (message := _read_message(self._child.replies)) is not None:
                self._answers.put(message)
        except (OSError, ValueError, PowerShellError) as error:
            self._said.append(str(error))
        finally:
            self._answers.put(None)

    def _drain_output(self) -> None:
        output = self._child.process.stdout
        if output is None:
            return
        with output, contextlib.suppress(OSError, ValueError):
            for line in output:
                self._said.append(line.decode("utf-8", "replace").strip())

    def _close(self) -> None:
        for thread in (self._listener, self._drain):
            if thread is not threading.current_thread():
                thread.join(5.0)
        with contextlib.suppress(OSError):
            self._child.requests.close()
        # a thread that still reads holds the file's lock: closing it would wait for ever
        if not self._listener.is_alive():
            self._child.replies.close()
        self._child.release()


def _start(engine: Engine) -> Child:
    try:
        return spawn(engine.command, engine.environment)
    except OSError as error:
        raise PowerShellError(
            f"{engine.program[0]} cannot be started: {error}.",
            "Windows PowerShell 5.1 has to be there." if sys.platform == "win32" else "",
            category="unsupported",
        ) from error


def _read_message(replies: IO[bytes]) -> dict[str, Value] | None:
    head = replies.read(framing.HEAD.size)
    if len(head) < framing.HEAD.size:
        return None
    (length_bytes,) = framing.HEAD.unpack(head)
    if length_bytes > framing.LIMIT_BYTES:
        raise PowerShellError(f"A PowerShell host announced {length_bytes} bytes.")
    body = replies.read(length_bytes)
    return framing.decode(body) if len(body) == length_bytes else None
