"""The worker's stream to the peer's worker: one live connection at a time, over whichever network carries it.

The first node of the cluster connects, the other listens. The connecting side walks through the networks in their
order of preference and moves on when one is silent; a newer connection replaces an older one. Strangers cost a socket
for a moment and one line in the log.
"""

from __future__ import annotations

import itertools
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twinhull.core import events
from twinhull.core.frames import Clear, DataFrame
from twinhull.core.identity import Generation, Id
from twinhull.core.messages import MessageError, decode
from twinhull.core.mirror import MirrorProtocolError
from twinhull.core.pulse import HeartbeatOut
from twinhull.errors import ProtocolError, TransportError
from twinhull.transport.frames import Keepalive
from twinhull.transport.listener import LOOK_S, Listener, Refusals
from twinhull.transport.protocol import (
    Closed,
    FrameReceived,
    KeepaliveReceived,
    MessageReceived,
    Opened,
    StreamProtocol,
)
from twinhull.transport.stream import TlsStream

from .loop import Loop, Timer

Log = logging.LoggerAdapter[logging.Logger]

OPENING_S = 5.0
RETURN_S = 30.0
"""How long the stream stays on a network of second choice before the first choice is tried again."""
SILENT_SHARE = 0.4  # of T: a connection silent for longer is given up for another one
KEY_BYTES = 128 << 30
"""A connection is made anew after this much: AES-GCM keys wear out (RFC 8446 section 5.5), and nobody renews them."""
DIAL_SHARE = 0.2  # of T: how long one attempt may take


@dataclass(frozen=True, slots=True)
class Path:
    """One way to the peer: a network with both ends' addresses."""

    network: str
    local_address: str
    peer_address: str


@dataclass(frozen=True)
class StreamSettings:
    """Who talks to whom, and over what.

    Args:
        connects: whether this side connects (the other listens).
        paths: the networks in their order of preference.
        port: TCP port of the listening side.
    """

    cluster: str
    module: str
    node: str
    peer: str
    connects: bool
    paths: tuple[Path, ...]
    port: int
    server_context: ssl.SSLContext
    client_context: ssl.SSLContext


class Receiver(Protocol):
    """Who is told what arrives."""

    @property
    def timeout_s(self) -> float:
        """T as it rules between both nodes, seconds."""

    @property
    def pace_s(self) -> float:
        """The shorter T of both nodes, seconds."""

    def event(self, event: events.Event) -> None:
        """Something for the machine."""

    def frame(self, frame: DataFrame) -> None:
        """A data frame of the present session, for the mirror. Raises MirrorProtocolError."""


@dataclass(eq=False)
class _Connection:
    number: int
    network: str
    stream: TlsStream
    fd: int
    protocol: StreamProtocol | None = None
    heard_s: float = 0.0
    sent_bytes: int = 0
    opened: bool = False
    deadline: Timer | None = None
    closed: bool = False


class PeerStream:
    """The connection to the peer's worker, on the loop."""

    def __init__(
        self,
        loop: Loop,
        settings: StreamSettings,
        receiver: Receiver,
        log: Log,
        clock: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._receiver = receiver
        self._log = log
        self._clock = clock
        self._numbers = itertools.count(1)
        self._live: _Connection | None = None
        self._half_open: set[_Connection] = set()
        self._listeners: list[Listener] = []
        self._refusals = Refusals(log, clock)
        self._next_path = 0
        self._returned_s = 0.0  # when the network of first choice was tried last
        self._running = False
        self._hurry = False  # something waits to be sent that the peer waits for

    @property
    def network(self) -> str | None:
        """The network that carries the stream now."""
        return self._live.network if self._live is not None else None

    @property
    def version(self) -> int | None:
        """The protocol version that both agreed on; None without a connection."""
        live = self._live
        return live.protocol.version if live is not None and live.protocol is not None else None

    # ---- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen or connect, and go on doing so. Raises TransportError when a port is taken."""
        self._running = True
        if not self._settings.connects:
            for path in self._settings.paths:
                self._listen(path)
        self._look_after()

    def close(self) -> None:
        """End everything."""
        self._running = False
        for listener in self._listeners:
            if listener.nests:
                self._loop.unwatch(listener.fileno())
            listener.close()
        for connection in [*self._half_open, *([self._live] if self._live else [])]:
            self._drop(connection, "the worker ends")

    def _look_after(self) -> None:
        """Give up a silent connection, and see to it that there is one."""
        if not self._running:
            return
        live, timeout_s = self._live, self._receiver.timeout_s
        if live is not None and self._clock() - live.heard_s > SILENT_SHARE * timeout_s:
            self._drop(live, f"nothing came over {live.network} for {SILENT_SHARE * timeout_s:.1f} s")
        elif live is not None and live.sent_bytes > KEY_BYTES:
            self.close_connection(live.number, "its keys have served their time")
        if self._settings.connects and not self._half_open and (self._live is None or self._return_due()):
            self._dial()
        for listener, path in zip(self._listeners, self._settings.paths, strict=False):
            self._accept(listener, path)
        self._loop.call_later(self._receiver.pace_s / 20, self._look_after)

    def _return_due(self) -> bool:
        """Whether the stream rides a network of second choice and the first is to be tried again now."""
        live, now_s = self._live, self._clock()
        if live is None or live.network == self._settings.paths[0].network:
            return False
        if now_s - self._returned_s < RETURN_S:
            return False
        self._returned_s, self._next_path = now_s, 0
        return True

    def _dial(self) -> None:
        paths = self._settings.paths
        path = paths[self._next_path % len(paths)]
        settings = self._settings
        try:
            stream = TlsStream.connect(
                path.peer_address,
                settings.port,
                settings.client_context,
                cluster=settings.cluster,
                names=(settings.peer,),
                local_address=path.local_address,
            )
        except TransportError as error:
            self._next_path += 1
            self._log.debug("no connection over %s: %s", path.network, error)
            return
        self._begin(stream, path.network, min(OPENING_S, max(0.2, DIAL_SHARE * self._receiver.pace_s)))

    def _listen(self, path: Path) -> None:
        settings = self._settings
        listener = Listener(
            path.local_address,
            settings.port,
            context=settings.server_context,
            cluster=settings.cluster,
            names=(settings.peer,),
            log=self._log,
            clock=self._clock,
        )
        self._listeners.append(listener)
        if listener.nests:
            self._loop.watch(listener.fileno(), lambda: self._accept(listener, path))
        else:
            self._keep_looking(listener, path)

    def _keep_looking(self, listener: Listener, path: Path) -> None:
        if self._running:
            self._accept(listener, path)
            self._loop.call_later(LOOK_S, lambda: self._keep_looking(listener, path))

    def _accept(self, listener: Listener, path: Path) -> None:
        for stream in listener.accept():
            self._readable(self._begin(stream, path.network, OPENING_S))

    def _begin(self, stream: TlsStream, network: str, limit_s: float) -> _Connection:
        connection = _Connection(next(self._numbers), network, stream, stream.fileno())
        connection.deadline = self._loop.call_later(
            limit_s, lambda: self._drop(connection, f"it was not made within {limit_s:.1f} s")
        )
        self._half_open.add(connection)
        self._watch(connection)
        return connection

    # ---- reading ---------------------------------------------------------------------------------

    def _watch(self, connection: _Connection) -> None:
        stream = connection.stream
        self._loop.watch(
            stream.fileno(),
            lambda: self._readable(connection),
            write=(lambda: self._writable(connection)) if stream.wants_write else None,
        )

    def _readable(self, connection: _Connection, *, everything: bool = False) -> None:
        if connection.closed:
            return
        try:
            if connection.protocol is None and not self._handshake(connection):
                return
            while self._read(connection) and everything:
                pass
        except ProtocolError as error:
            self._say_goodbye(connection)
            self._refuse(connection, str(error))
        except (MirrorProtocolError, MessageError) as error:
            if connection.protocol is not None:
                connection.protocol.close(str(error))
            self._say_goodbye(connection)
            self._refuse(connection, str(error))
        except TransportError as error:
            if connection.opened:
                self._drop(connection, str(error))
            else:
                self._refuse(connection, str(error))

    def _handshake(self, connection: _Connection) -> bool:
        stream, settings = connection.stream, self._settings
        done = stream.handshake()
        if done and stream.identity is not None:
            connection.protocol = StreamProtocol(
                cluster=settings.cluster,
                module=settings.module,
                node=settings.node,
                peer=stream.identity.name,
            )
            stream.send(connection.protocol.data_to_send())
        self._watch(connection)
        return done

    def _read(self, connection: _Connection) -> bool:
        """Handle what one look brings; whether there was anything. The selector tells of what is left."""
        protocol = connection.protocol
        if protocol is None or connection.closed:
            return False
        data = connection.stream.receive()
        if not data:
            return False
        connection.heard_s = self._clock()
        for event in protocol.receive_data(data):
            if not connection.closed:  # an event before it may have ended the connection
                self._take(connection, event)
        if not connection.closed and not connection.opened:
            connection.stream.send(protocol.data_to_send())
            self._watch(connection)
        return True

    def _take(
        self,
        connection: _Connection,
        event: Opened | MessageReceived | FrameReceived | KeepaliveReceived | Closed,
    ) -> None:
        if type(event) is FrameReceived:
            self._receiver.frame(event.frame)
        elif type(event) is KeepaliveReceived:
            self._receiver.event(events.Heartbeat(*event.keepalive))
        elif type(event) is MessageReceived:
            self._receiver.event(events.Received(connection.number, decode(event.data)))
        elif type(event) is Opened:
            self._open(connection)
        elif type(event) is Closed:
            self._drop(connection, f"{self._settings.peer} closed it: {event.reason}")

    def _open(self, connection: _Connection) -> None:
        if self._live is not None:
            self._drop(self._live, f"a newer connection over {connection.network} replaces it")
        self._half_open.discard(connection)
        if connection.deadline is not None:
            connection.deadline.cancel()
        connection.opened = True
        self._live = connection
        self._returned_s = self._clock()
        self._log.info("connected to %s over %s", self._settings.peer, connection.network)
        self._receiver.event(events.StreamUp(connection.number))

    def read_all(self) -> None:
        """Hand over everything that has arrived."""
        if self._live is not None:
            self._readable(self._live, everything=True)

    # ---- writing ---------------------------------------------------------------------------------

    def send_message(self, number: int, data: bytes) -> None:
        """A control message on this connection; dropped when it is gone (`StreamDown` says so)."""
        live = self._live
        if live is not None and live.protocol is not None and live.number == number:
            live.protocol.send_message(data)
            self._hurry = True

    def send_frame(self, frame: DataFrame) -> None:
        """A data frame of the present session; dropped when there is none (the mirror keeps what counts).

        Nobody waits for a `Clear` (a later resync is shorter by it): it travels with whatever is sent next.
        """
        live = self._live
        if live is not None and live.protocol is not None and live.protocol.in_session:
            live.protocol.send_frame(frame)
            if type(frame) is not Clear:
                self._hurry = True

    def send_keepalive(self, beat: HeartbeatOut) -> None:
        """A sign of life; waits for nothing."""
        live = self._live
        if live is not None and live.protocol is not None:
            live.protocol.send_keepalive(
                Keepalive(beat.process, beat.counter, beat.echo_process, beat.echo, beat.session, beat.state)
            )
            self._hurry = True
            self.flush()

    def flush(self) -> None:
        """Give the network what was queued, if somebody waits for any of it."""
        live = self._live
        if not self._hurry or live is None or live.protocol is None:
            return
        self._hurry = False
        buffers = live.protocol.data_to_send()
        if not buffers:
            return
        live.sent_bytes += sum(map(len, buffers))
        try:
            live.stream.send(buffers)
        except TransportError as error:
            self._broken(live, str(error))
            return
        if live.stream.wants_write:
            self._watch(live)

    def _writable(self, connection: _Connection) -> None:
        if connection.closed:
            return
        if connection.protocol is None:
            self._readable(connection)
            return
        try:
            connection.stream.flush()
        except TransportError as error:
            self._broken(connection, str(error))
            return
        self._watch(connection)

    def _broken(self, connection: _Connection, reason: str) -> None:
        """Nothing can be sent any more; what the peer had said before (a clean leave, say) is still read first."""
        self._readable(connection, everything=True)
        self._drop(connection, reason)

    # ---- sessions --------------------------------------------------------------------------------

    def set_session(self, number: int, session: Id, generation: Generation) -> list[DataFrame]:
        """Frames carry this session from here on; returns those of it that had arrived already."""
        live = self._live
        if live is None or live.protocol is None or live.number != number:
            return []
        try:
            return [event.frame for event in live.protocol.set_session(session, generation.id)]
        except ProtocolError as error:  # a frame that came early and carries another generation
            self._say_goodbye(live)
            self._refuse(live, str(error))
            return []

    def clear_session(self) -> None:
        """No frame of a session is sent or taken any more."""
        if self._live is not None and self._live.protocol is not None:
            self._live.protocol.set_session(None, None)

    # ---- endings ---------------------------------------------------------------------------------

    def close_connection(self, number: int, reason: str) -> None:
        """Close this connection if it is still the live one, telling the peer why."""
        live = self._live
        if live is not None and live.number == number:
            if live.protocol is not None:
                live.protocol.close(reason)
            self._say_goodbye(live)
            self._drop(live, reason)

    def _say_goodbye(self, connection: _Connection) -> None:
        if connection.protocol is None:
            return
        try:
            connection.stream.send(connection.protocol.data_to_send())
        except TransportError as error:
            self._log.debug("the peer could not be told why: %s", error)

    def _refuse(self, connection: _Connection, reason: str) -> None:
        self._refusals.note(connection.stream.peer_address[0], reason)
        self._drop(connection, reason)

    def _drop(self, connection: _Connection, reason: str) -> None:
        if connection.closed:
            return
        connection.closed = True
        if connection.deadline is not None:
            connection.deadline.cancel()
        self._half_open.discard(connection)
        self._loop.unwatch(connection.fd)
        connection.stream.close()
        if connection is self._live:
            self._live = None
            preferred = self._settings.paths[0].network
            self._next_path = 1 if connection.network == preferred else 0
            self._log.info("the connection to %s ended: %s", self._settings.peer, reason)
            self._receiver.event(events.StreamDown(connection.number, reason))
        elif self._settings.connects:
            self._next_path += 1
