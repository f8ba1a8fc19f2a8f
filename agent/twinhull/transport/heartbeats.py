"""Heartbeats between the two agents, on every configured network, each over its own mutually authenticated TLS link.

The node with the lower name connects, the other listens. Since TCP backs off after a cut, a link that is
silent is given up early and made anew. A beat is a header and a payload (JSON bytes that the agent makes):

    magic "TB" | version 1 | 0 | payload length u32 | counter u64 | echo u64 | echo age in microseconds u64

`counter` goes up by one within a connection, `echo` is the newest counter received: TLS authenticates and orders,
so whatever does not fit is nonsense and ends the connection.
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import AuthenticationError, ProtocolError, TransportError
from .listener import LOOK_S, Listener, Log, Refusals
from .stream import Stage, TlsStream

MAX_BEAT_BYTES = 1 << 18
MIN_SILENCE_S = 0.5
SILENT_INTERVALS = 3
MIN_HANDSHAKE_S = 1.0
MAX_HANDSHAKE_S = 5.0
_MAGIC = b"TB"
_VERSION = 1
_HEADER = struct.Struct("!2sBBIQQQ")
_REMEMBERED_BEATS = 64
_MAX_PENDING_BYTES = 1 << 16


class Network(NamedTuple):
    """One network between the nodes; the addresses are numeric, the port is the same on both."""

    name: str
    local_address: str
    peer_address: str
    port: int


class NetworkStatus(NamedTuple):
    """How a network is.

    Args:
        up: whether the peer's agent was heard on it recently.
        last_heard_s: seconds since then, None if never.
        rtt_s: newest measured round trip, None if never.
        detail: why it is not up, for people; empty while it is.
    """

    network: str
    up: bool
    last_heard_s: float | None
    rtt_s: float | None
    detail: str


class Beat(NamedTuple):
    """One beat as it came in."""

    counter: int
    echo: int
    echo_age_us: int
    payload: bytes


class BeatCodec:
    """The bytes of one connection's beats, both ways, without a socket or a clock."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._last_received = 0
        self.sent = 0

    def encode(self, payload: bytes, echo: int, echo_age_us: int) -> bytes:
        """The next beat. Raises ValueError if the payload is too long."""
        if len(payload) > MAX_BEAT_BYTES:
            raise ValueError(f"a heartbeat of {len(payload)} bytes is too long")
        self.sent += 1
        return _HEADER.pack(_MAGIC, _VERSION, 0, len(payload), self.sent, echo, echo_age_us) + payload

    def decode(self, data: bytes | memoryview) -> list[Beat]:
        """The beats that are complete with these bytes. Raises ProtocolError."""
        self._received += data
        beats: list[Beat] = []
        while len(self._received) >= _HEADER.size:
            magic, version, zero, length, counter, echo, age_us = _HEADER.unpack_from(self._received)
            if magic != _MAGIC or version != _VERSION or zero or length > MAX_BEAT_BYTES:
                raise ProtocolError("bytes that are no heartbeat of this version")
            if counter != self._last_received + len(beats) + 1 or echo > self.sent:
                raise ProtocolError("a heartbeat out of order")
            end = _HEADER.size + length
            if len(self._received) < end:
                break
            beats.append(Beat(counter, echo, age_us, bytes(self._received[_HEADER.size : end])))
            del self._received[:end]
        self._last_received += len(beats)
        return beats


class _Link:
    """One network's connection and what is known about it. Used by the heartbeat thread alone."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.listener: Listener | None = None
        self.stream: TlsStream | None = None
        self.codec = BeatCodec()
        self.began_s = 0.0
        self.retry_s = 0.0
        self.handshake_s = MIN_HANDSHAKE_S
        self.connection_heard_s: float | None = None
        self.heard_s: float | None = None
        self.heard_counter = 0
        self.sent_s: OrderedDict[int, float] = OrderedDict()
        self.rtt_s: float | None = None
        self.detail = "not connected yet"

    def adopt(self, stream: TlsStream, now_s: float) -> None:
        """Take a new connection."""
        self.stream = stream
        self.codec = BeatCodec()
        self.began_s = now_s
        self.connection_heard_s = None
        self.heard_counter = 0
        self.sent_s.clear()


class Heartbeats:
    """Sends and receives heartbeats in a thread of its own.

    Args:
        node, peer, cluster: names of this node, of the other, and of their cluster.
        networks: every configured network.
        server_context, client_context: of `tls`.
        interval_s: pause between two beats.
        payload: makes what every beat carries; called in the heartbeat thread, once an interval for all networks.
        on_beat: told the network's name and the payload of every beat of the peer, in the heartbeat thread. It
            must not wait for anything.
        clock: monotonic seconds that count suspend.
        log: adapter with the node's name.
    """

    def __init__(
        self,
        node: str,
        peer: str,
        cluster: str,
        networks: Sequence[Network],
        server_context: ssl.SSLContext,
        client_context: ssl.SSLContext,
        interval_s: float,
        payload: Callable[[], bytes],
        on_beat: Callable[[str, bytes], None],
        clock: Callable[[], float],
        log: Log | None = None,
    ) -> None:
        self._node, self._peer, self._cluster = node, peer, cluster
        self._server_context, self._client_context = server_context, client_context
        self._interval_s, self._payload, self._on_beat, self._clock = interval_s, payload, on_beat, clock
        self._logger: Log = log or logging.getLogger(__name__)
        self._refusals = Refusals(self._logger, clock)
        self._silence_s = max(SILENT_INTERVALS * interval_s, MIN_SILENCE_S)
        self._links = [_Link(network) for network in networks]
        self._connects = node < peer
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._stopping = threading.Event()
        self._beat_due_s = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin. Raises TransportError if a heartbeat port is in use."""
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        try:
            for link in self._links:
                if not self._connects:
                    self._listen(link)
        except TransportError:
            self._release()
            raise
        self._beat_due_s = self._clock()
        self._thread = threading.Thread(target=self._run, name="heartbeats", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, with every connection closed. Stopping twice is fine."""
        self._stopping.set()
        if self._thread is not None:
            self.beat_now()
            self._thread.join()
            self._thread = None
        else:
            self._release()

    @property
    def alive(self) -> bool:
        """Whether the thread that beats runs."""
        return self._thread is not None and self._thread.is_alive()

    def beat_now(self) -> None:
        """Send a beat at once (something that the peer should know has changed). From any thread."""
        try:
            self._wake_writer.send(b"\0")
        except (BlockingIOError, OSError):
            return  # woken already, or stopped

    def status(self) -> dict[str, NetworkStatus]:
        """Every network by its name, as of now. From any thread."""
        return {link.network.name: self._status(link, self._clock()) for link in self._links}

    def _status(self, link: _Link, now_s: float) -> NetworkStatus:
        heard_s, detail = link.heard_s, link.detail
        ago_s = None if heard_s is None else max(0.0, now_s - heard_s)
        up = ago_s is not None and ago_s <= self._silence_s and not self._stopping.is_set()
        return NetworkStatus(link.network.name, up, ago_s, link.rtt_s, "" if up else detail)

    # ---- the thread ------------------------------------------------------------------------------------

    def _listen(self, link: _Link) -> None:
        link.listener = Listener(
            link.network.local_address,
            link.network.port,
            context=self._server_context,
            cluster=self._cluster,
            names=[self._peer],
            log=self._logger,
            clock=self._clock,
        )
        if link.listener.nests:
            self._selector.register(link.listener, selectors.EVENT_READ, link)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._release()

    def _turn(self) -> None:
        wait_s = max(0.0, min(self._beat_due_s - self._clock(), self._interval_s))
        looked_at = [link for link in self._links if link.listener is not None and not link.listener.nests]
        events = self._selector.select(min(wait_s, LOOK_S) if looked_at else wait_s)
        # What has arrived is read before anybody's silence is judged, also after this host slept.
        for key, mask in events:
            if key.fileobj is self._wake_reader:
                self._woken()
            elif isinstance(key.fileobj, Listener):
                self._accept(key.data, key.fileobj)
            elif key.data.stream is key.fileobj:
                self._drive(key.data, mask)
        for link in looked_at:
            if link.listener is not None:
                self._accept(link, link.listener)
        now_s = self._clock()
        for link in self._links:
            self._look_after(link, now_s)
        if now_s >= self._beat_due_s:
            self._beat_due_s = now_s + self._interval_s
            self._beat(now_s)

    def _woken(self) -> None:
        try:
            self._wake_reader.recv(4096)
        except BlockingIOError:
            return
        self._beat_due_s = self._clock()

    def _accept(self, link: _Link, listener: Listener) -> None:
        for stream in listener.accept():
            if link.stream is not None:
                self._drop(link, "the peer made a new connection")
            self._adopt(link, stream, selectors.EVENT_READ)
            self._beat_due_s = self._clock()
            self._drive(link, selectors.EVENT_READ)

    def _adopt(self, link: _Link, stream: TlsStream, events: int) -> None:
        link.adopt(stream, self._clock())
        self._selector.register(stream, events, link)

    def _drive(self, link: _Link, mask: int) -> None:
        """Go on with a connection that can do something."""
        stream = link.stream
        if stream is None:
            return
        try:
            if stream.stage is not Stage.OPEN:
                if stream.handshake():
                    self._beat_due_s = self._clock()
            else:
                if mask & selectors.EVENT_WRITE:
                    stream.flush()
                if mask & selectors.EVENT_READ:
                    self._receive(link, stream)
            self._wait_for(link)
        except TransportError as error:
            self._lost(link, error)

    def _receive(self, link: _Link, stream: TlsStream) -> None:
        while data := stream.receive():
            for beat in link.codec.decode(data):
                self._heard(link, beat)

    def _heard(self, link: _Link, beat: Beat) -> None:
        now_s = self._clock()
        link.heard_s = link.connection_heard_s = now_s
        link.heard_counter = beat.counter
        sent_s = link.sent_s.get(beat.echo)
        if sent_s is not None:
            link.rtt_s = max(0.0, now_s - sent_s - beat.echo_age_us / 1e6)
            while link.sent_s and next(iter(link.sent_s)) <= beat.echo:
                link.sent_s.popitem(last=False)
        try:
            self._on_beat(link.network.name, beat.payload)
        except Exception:
            self._logger.exception(
                "Node %s: a heartbeat of node %s was not understood.", self._node, self._peer
            )

    def _wait_for(self, link: _Link) -> None:
        stream = link.stream
        if stream is None:
            return
        events = selectors.EVENT_READ
        if stream.stage is Stage.CONNECTING:
            events = selectors.EVENT_WRITE
        elif stream.wants_write:
            events |= selectors.EVENT_WRITE
        if self._selector.get_key(stream).events != events:
            self._selector.modify(stream, events, link)

    def _look_after(self, link: _Link, now_s: float) -> None:
        """Give up what is silent, and connect anew where that is our part."""
        if link.listener is not None:
            self._accept(link, link.listener)
        stream = link.stream
        if stream is not None:
            since_s = now_s - (link.began_s if link.connection_heard_s is None else link.connection_heard_s)
            shaking = stream.stage is Stage.HANDSHAKE
            if since_s > (link.handshake_s if shaking else self._silence_s):
                # Longer next time: the network works, the hosts are slow. A cut network begins anew, with patience
                # for no packet that TCP would repeat only after seconds.
                link.handshake_s = min(2 * link.handshake_s, MAX_HANDSHAKE_S) if shaking else MIN_HANDSHAKE_S
                self._drop(link, f"nothing heard for {since_s:.1f} s")
        if link.stream is None and self._connects and now_s >= link.retry_s:
            self._connect(link, now_s)

    def _connect(self, link: _Link, now_s: float) -> None:
        link.retry_s = now_s + min(self._interval_s, 1.0)
        network = link.network
        try:
            stream = TlsStream.connect(
                network.peer_address,
                network.port,
                self._client_context,
                cluster=self._cluster,
                names=[self._peer],
                local_address=network.local_address,
            )
        except TransportError as error:
            link.detail = error.what
            return
        self._adopt(link, stream, selectors.EVENT_WRITE)

    def _make_payload(self) -> bytes | None:
        """None if it cannot be made: an agent that is ill must look silent to its peer."""
        try:
            return self._payload()
        except Exception:
            self._logger.exception("Node %s: no heartbeat could be made.", self._node)
            return None

    def _beat(self, now_s: float) -> None:
        ready = [link for link in self._links if link.stream is not None and link.stream.stage is Stage.OPEN]
        if not ready:
            return
        payload = self._make_payload()
        if payload is None:
            return
        for link in ready:
            try:
                self._send(link, payload, now_s)
                self._wait_for(link)
            except TransportError as error:
                self._lost(link, error)

    def _send(self, link: _Link, payload: bytes, now_s: float) -> None:
        stream = link.stream
        if stream is None or stream.pending_bytes > _MAX_PENDING_BYTES:
            return
        heard_s = link.connection_heard_s
        age_us = 0 if heard_s is None else max(0, int((now_s - heard_s) * 1e6))
        data = link.codec.encode(payload, link.heard_counter, age_us)
        link.sent_s[link.codec.sent] = now_s
        if len(link.sent_s) > _REMEMBERED_BEATS:
            link.sent_s.popitem(last=False)
        stream.send([data])

    def _lost(self, link: _Link, error: TransportError) -> None:
        if isinstance(error, AuthenticationError | ProtocolError):
            where = f"network {link.network.name} ({link.network.peer_address})"
            self._refusals.note(
                link.network.peer_address, f"Node {self._node}: heartbeats on {where}: {error.what}"
            )
        self._drop(link, error.what)

    def _drop(self, link: _Link, why: str) -> None:
        if link.stream is not None:
            self._selector.unregister(link.stream)
            link.stream.close()
            link.stream = None
        link.detail = why

    def _release(self) -> None:
        for link in self._links:
            self._drop(link, "heartbeats are stopped")
            if link.listener is not None:
                if link.listener.nests:
                    self._selector.unregister(link.listener)
                link.listener.close()
                link.listener = None
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()
