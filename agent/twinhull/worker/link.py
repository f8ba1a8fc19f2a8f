"""The worker's end of its talk with this node's agent: JSON lines over a local socket.

The worker listens, so that it survives its agent and the next agent can adopt it. The socket lies in the runtime
directory, readable by root alone; it carries no secret. One agent at a time: a newer connection replaces the older.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .loop import Loop

MAX_LINE_BYTES = 4 << 20
MAX_BACKLOG_BYTES = 16 << 20

log = logging.getLogger(__name__)


class LineBuffer:
    """Cuts a byte stream into JSON objects. Pure.

    Raises ValueError from `feed` for a line that is too long or is not one JSON object.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The objects that are complete now."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE_BYTES:
            raise ValueError("a line is longer than 4 MiB")
        objects = []
        for line in lines:
            try:
                value = json.loads(line)
            except RecursionError as error:
                raise ValueError("a line is nested too deeply") from error
            if not isinstance(value, dict):
                raise ValueError("a line is not a JSON object")
            objects.append(value)
        return objects


class AgentLink:
    """Listens for the agent.

    Args:
        path: of the Unix socket; replaced if a dead worker left it.
        on_message: called for each object that the agent sends.
        on_change: called with True when an agent connects, with False when it is gone.
    """

    def __init__(
        self,
        loop: Loop,
        path: Path,
        on_message: Callable[[dict[str, Any]], None],
        on_change: Callable[[bool], None],
    ) -> None:
        self._loop = loop
        self._path = path
        self._on_message = on_message
        self._on_change = on_change
        self._peer: socket.socket | None = None
        self._lines = LineBuffer()
        self._backlog = bytearray()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(4)
        loop.watch(self._listener.fileno(), self._accept)

    @property
    def connected(self) -> bool:
        """Whether an agent is there."""
        return self._peer is not None

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand an object to the agent; dropped when there is none (it asks again when it adopts)."""
        if self._peer is None:
            return
        self._backlog += json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if len(self._backlog) > MAX_BACKLOG_BYTES:
            self._drop("the agent does not read")
            return
        self._write()

    def read_all(self) -> None:
        """Hand over everything that has arrived."""
        self._read()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._drop("the worker ends")
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # the caller is gone again, or there is no descriptor left
            log.warning("a connection of the agent could not be taken: %s", error)
            return
        if self._peer is not None:
            self._drop("a newer agent connected")
        connection.setblocking(False)
        self._peer = connection
        self._lines = LineBuffer()
        self._backlog.clear()
        self._loop.watch(connection.fileno(), self._read)
        self._on_change(True)

    def _read(self) -> None:
        while self._peer is not None:
            try:
                data = self._peer.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                self._drop(str(error))
                return
            if not data:
                self._drop("the agent is gone")
                return
            try:
                messages = self._lines.feed(data)
            except ValueError as error:
                self._drop(f"it sent nonsense: {error}")
                return
            for message in messages:
                self._on_message(message)

    def _write(self) -> None:
        peer = self._peer
        if peer is None:
            return
        try:
            sent = peer.send(self._backlog)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._drop(str(error))
            return
        del self._backlog[:sent]
        self._loop.watch(peer.fileno(), self._read, write=self._write if self._backlog else None)

    def _drop(self, reason: str) -> None:
        if self._peer is None:
            return
        log.info("connection to the agent ended: %s", reason)
        self._loop.unwatch(self._peer.fileno())
        self._peer.close()
        self._peer = None
        self._on_change(False)
