"""The export as an iSCSI target on 127.0.0.1: the shell around `Target`. Sockets and nothing else live here."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Final

from ...errors import AttachError
from ..base import Request
from .connection import Connection, Phase
from .disk import NextData
from .poll import EpollPoller, Poller
from .steps import Data
from .target import Log, Target, TargetSettings

LOOPBACK: Final = "127.0.0.1"
MAX_CONNECTIONS: Final = 8
"""Connections that are not the session's: the oldest of them goes when another comes."""
BACKLOG: Final = 16
PIECES_AT_ONCE: Final = 512
EAGER_BYTES: Final = 256 << 10
"""So much of answers is sent at once, without waiting for those of other requests that are under way."""
LOOK_AROUND: Final = 32
"""After so many turns in which the session alone was served, the other sockets get theirs."""


class _Line:
    """One socket and its connection."""

    __slots__ = ("connection", "ended", "pieces", "socket", "writing")

    def __init__(self, own: socket.socket, connection: Connection) -> None:
        self.socket = own
        self.connection = connection
        self.pieces: list[Data] = []
        self.writing = False
        self.ended = False


class IscsiExport:
    """The volume as an iSCSI disk on this host; see `exports.base.Export`. Used by one thread at a time.

    Args:
        settings: name, size, identity, secret.
        port: TCP port on 127.0.0.1; 0 for one that is free.
        log: for logins, refusals and broken connections.
        next_data: the volume's `next_data`, for GET LBA STATUS.
        poller: how its sockets are waited for; without one an epoll descriptor of its own.
        random: gives so many unpredictable bytes.

    Raises AttachError.
    """

    def __init__(
        self,
        settings: TargetSettings,
        *,
        port: int = 0,
        log: Log | None = None,
        next_data: NextData | None = None,
        poller: Poller | None = None,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        own_log = log if log is not None else Log(logging.getLogger(__name__), {})
        self._target = Target(settings, random=random, log=own_log, next_data=next_data)
        self._store = self._target.store
        self._listener = _listener(port)
        self._target.portal = self.portal
        self._poller: Poller = poller if poller is not None else EpollPoller()
        self._lines: dict[int, _Line] = {}
        self._main: _Line | None = None
        self._turns = 0
        self._corked = False
        self._closed = False
        self._poller.watch(self._listener.fileno(), read=True, write=False)

    # ---- the interface of every export -----------------------------------------------------------------

    def fileno(self) -> int:
        """What the loop waits on for reading; -1 once closed, and where the loop watches the sockets itself."""
        return -1 if self._closed else self._poller.fileno()

    def receive(self) -> Sequence[Request]:
        """Every request that can be had without waiting; logins, pings and whatever else is answered inside."""
        if self._closed:
            return ()
        main = self._main
        self._turns += 1
        if main is None or self._turns % LOOK_AROUND == 0 or not self._read(main):
            self._look_around()
        if self._corked:
            self._corked = False
            if self._main is not None:
                self._send(self._main)
        return self._target.take_requests()

    def reply(self, tag: int, error: int = 0, data: bytes | memoryview | None = None) -> None:
        """Complete a request: `error` is a positive errno or 0; `data` (all of it) for reads.

        Answers to several requests leave together: at once when this was the last one under way, else when the loop
        next calls `receive`, which it is made to do. Raises ValueError for a tag that is not under way.
        """
        if self._closed:
            return
        store = self._store
        store.reply(tag, error, data)
        main = self._main
        if main is not None and main.connection.outgoing:
            if not store.pending or main.connection.unsent_bytes > EAGER_BYTES:
                self._send(main)
            elif not self._corked:
                self._corked = True
                self._poller.ring()
        if store.requests:  # a command of several steps goes on
            self._poller.ring()

    def close(self) -> None:
        """Take the export away at once; unanswered requests fail at the host. Idempotent, waits for nobody."""
        if self._closed:
            return
        self._target.close()
        for line in list(self._lines.values()):
            self._drop(line)
        self._closed = True
        self._poller.forget(self._listener.fileno())
        self._listener.close()
        self._poller.close()

    # ---- what the worker may ask beyond that -----------------------------------------------------------

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def portal(self) -> str:
        """Address and port."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def name(self) -> str:
        """The target's iSCSI name."""
        return self._target.name

    @property
    def initiator(self) -> str:
        """Who is logged in; empty when nobody is."""
        return self._target.initiator

    @property
    def in_flight(self) -> int:
        """Requests handed out and not yet answered."""
        return self._target.in_flight

    @property
    def overlay_bytes(self) -> int:
        """How much discard mode holds."""
        return self._target.overlay_bytes

    def discard_writes(self) -> None:
        """Discard mode: from here on nothing but reads reaches the volume, until `close` (DESIGN.md section 7).

        What was handed out before is still to be answered: the volume is at rest when `in_flight` is 0.
        """
        self._target.discard_writes()

    def tell_space(self, used_bytes: int, available_bytes: int, *, warn: bool = False) -> None:
        """Room that the volume takes and has left, for LOG SENSE.

        Args:
            used_bytes: allocated.
            available_bytes: what it can still grow by.
            warn: a threshold was passed: the initiator is told with its next command (06/38/07).
        """
        self._target.tell_space(used_bytes, available_bytes)
        if warn:
            self._target.warn_of_space()

    def ping(self) -> None:
        """Ask the initiator for a sign of life, so that a connection which is broken is found out."""
        if self._main is not None and self._main.connection.session is not None:
            self._main.connection.session.chores.ping()
            self._send(self._main)

    # ---- sockets ---------------------------------------------------------------------------------------

    def _look_around(self) -> None:
        listener = self._listener.fileno()
        for file, readable, writable in self._poller.ready():
            if file == listener:
                self._accept()
                continue
            line = self._lines.get(file)
            if line is not None and writable:
                self._send(line)
            if line is not None and readable and not line.ended:
                self._read(line)

    def _accept(self) -> None:
        while True:
            try:
                own, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # it was gone before it was accepted, or there are no descriptors: others go on
                return
            self._make_room()
            own.setblocking(False)
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = _Line(own, self._target.connect())
            self._lines[own.fileno()] = line
            self._poller.watch(own.fileno(), read=True, write=False)
            self._read(line)

    def _make_room(self) -> None:
        others = [line for line in self._lines.values() if line is not self._main]
        if len(others) >= MAX_CONNECTIONS:
            others[0].connection.end("too many connections")
            self._drop(others[0])

    def _read(self, line: _Line) -> bool:
        """Take what is there. False: nothing was."""
        connection = line.connection
        if line.ended or connection.paused:
            return False
        try:
            count = line.socket.recv_into(connection.buffer())
        except BlockingIOError:
            return False
        except OSError as error:
            connection.end(f"its connection broke: {error.strerror}")
            self._drop(line)
            return True
        if not count:
            connection.end("it closed its connection")
            self._drop(line)
            return True
        connection.received(count)
        if connection.session is not None and line is not self._main:
            self._lead(line)
        if connection.outgoing or connection.phase is Phase.ENDING:
            self._send(line)
        return True

    def _lead(self, line: _Line) -> None:
        """A session began on this line: whichever was the session's before is ended already."""
        if self._target.session is line.connection.session:
            before, self._main = self._main, line
            if before is not None:
                self._drop(before)

    def _send(self, line: _Line) -> None:
        """Send as much as goes without waiting."""
        if line.ended:
            return
        connection = line.connection
        pieces = line.pieces
        if connection.outgoing:
            pieces += connection.outgoing
            connection.outgoing = []
        try:
            while pieces:
                sent = _send_some(line.socket, pieces)
                connection.unsent_bytes -= sent
                _consume(pieces, sent)
        except BlockingIOError:
            self._watch(line, True)
            return
        except OSError as error:
            connection.end(f"its connection broke: {error.strerror}")
            self._drop(line)
            return
        if connection.phase is Phase.ENDING:
            self._drop(line)
        elif line.writing:
            self._watch(line, False)

    def _watch(self, line: _Line, writing: bool) -> None:
        line.writing = writing
        self._poller.watch(line.socket.fileno(), read=not line.connection.paused, write=writing)

    def _drop(self, line: _Line) -> None:
        if line.ended:
            return
        line.ended = True
        line.connection.end("its socket is closed")
        if self._main is line:
            self._main = None
        file = line.socket.fileno()
        del self._lines[file]
        self._poller.forget(file)
        line.socket.close()


def _listener(port: int) -> socket.socket:
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows: nobody else may listen there beside us
            own.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((LOOPBACK, port))
        own.listen(BACKLOG)
        own.setblocking(False)
    except OSError as error:
        own.close()
        raise AttachError(
            f"The iSCSI target cannot listen on {LOOPBACK}:{port}: {error.strerror}.",
            "Another program has that port: end it, or configure another.",
        ) from error
    return own


_HAS_SENDMSG: Final = hasattr(socket.socket, "sendmsg")


def _send_some(own: socket.socket, pieces: list[Data]) -> int:
    """Send from the front of the pieces; how many bytes went. Raises BlockingIOError, OSError."""
    if len(pieces) == 1:
        return own.send(pieces[0])
    if _HAS_SENDMSG:
        return own.sendmsg(pieces[:PIECES_AT_ONCE])
    return own.send(b"".join(pieces[:PIECES_AT_ONCE]))


def _consume(pieces: list[Data], sent: int) -> None:
    """Take what was sent from the front."""
    done = 0
    for piece in pieces:
        if len(piece) > sent:
            break
        sent -= len(piece)
        done += 1
    del pieces[:done]
    if sent:
        pieces[0] = memoryview(pieces[0])[sent:]
