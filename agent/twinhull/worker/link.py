"""The worker's end of its talk with this node's agent: JSON lines over a local socket.

The worker listens, so that it survives its agent and the next agent can adopt it. Where it is reached, and how both ends
know each other, is `channel`'s. One agent at a time: a newer connection replaces the older.
"""

from __future__ import annotations

import hmac
import json
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .channel import Listening
from .loop import Loop

MAX_LINE_BYTES = 4 << 20
MAX_BACKLOG_BYTES = 16 << 20
MAX_UNPROVEN = 4

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
        path: where agents find it; replaced if a dead worker left it.
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
        self._on_message = on_message
        self._on_change = on_change
        self._peer: socket.socket | None = None
        self._lines = LineBuffer()
        self._backlog = bytearray()
        self._ending = False  # the agent takes nothing any more; what it had sent is still read
        self._listening = Listening(path)
        self._listener = self._listening.socket
        self._unproven: dict[socket.socket, bytes] = {}
        loop.watch(self._listener.fileno(), self._accept)

    @property
    def connected(self) -> bool:
        """Whether an agent is there."""
        return self._peer is not None

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand an object to the agent; dropped when there is none (it asks again when it adopts)."""
        if self._peer is None or self._ending:
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
        for connection in list(self._unproven):
            self._forget(connection)
        self._loop.unwatch(self._listener.fileno())
        self._listening.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # the caller is gone again, or there is no descriptor left
            log.warning("a connection of the agent could not be taken: %s", error)
            return
        connection.setblocking(False)
        if not self._listening.ends.asks:
            self._adopt(connection)
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self._unproven) >= MAX_UNPROVEN:
            self._forget(next(iter(self._unproven)))
        self._unproven[connection] = b""
        self._loop.watch(connection.fileno(), lambda: self._prove(connection))

    def _prove(self, connection: socket.socket) -> None:
        """Nothing of a connection counts before it has shown that it knows the token."""
        ends = self._listening.ends
        try:
            got = self._unproven[connection] + connection.recv(
                len(ends.asks) - len(self._unproven[connection])
            )
        except BlockingIOError:
            return
        except OSError:
            got = b""
        if len(got) <= len(self._unproven[connection]):
            self._forget(connection)
        elif len(got) < len(ends.asks):
            self._unproven[connection] = got
        elif not hmac.compare_digest(got, ends.asks):
            log.warning("somebody who is not the agent asked for the worker")
            self._forget(connection)
        else:
            del self._unproven[connection]
            self._loop.unwatch(connection.fileno())
            self._adopt(connection, ends.answers)

    def _forget(self, connection: socket.socket) -> None:
        del self._unproven[connection]
        self._loop.unwatch(connection.fileno())
        connection.close()

    def _adopt(self, connection: socket.socket, first: bytes = b"") -> None:
        """This is the agent from here on; it is sent `first`."""
        self._end("a newer agent connected")
        self._peer = connection
        self._lines = LineBuffer()
        self._backlog[:] = first
        self._loop.watch(connection.fileno(), self._read)
        if first:
            self._write()
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
            self._end(str(error))
            return
        del self._backlog[:sent]
        self._loop.watch(peer.fileno(), self._read, write=self._write if self._backlog else None)

    def _end(self, reason: str) -> None:
        """Drop the connection, and take what the agent had sent before: it may have been the order to end."""
        if not self._ending:
            self._ending = True
            self._read()
            self._ending = False
            self._drop(reason)

    def _drop(self, reason: str) -> None:
        if self._peer is None:
            return
        log.info("connection to the agent ended: %s", reason)
        self._loop.unwatch(self._peer.fileno())
        self._peer.close()
        self._peer = None
        self._on_change(False)


def session_at_death(beat: Mapping[str, Any]) -> str | None:
    """The session that ends with a worker, by its last sign of life: its SECOND need not wait out the silence then.

    A worker that was alone ends none: what it wrote since, no SECOND has. It names itself, which is nobody's session.
    """
    session = beat["process"] if beat.get("state") == "ALONE" else beat["session"]
    return None if session is None else str(session)
