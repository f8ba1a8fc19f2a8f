"""The network between two nodes: connections with order inside and none between them, each direction with a will of its own.

What is sent while a direction is cut waits (TCP sends it again) and arrives after the cut, if anybody is still there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from twinhull.errors import PeerUnreachableError

from .clock import FILE, Schedule, jitter_s
from .rng import Rng

END, RESET, HELLO = object(), object(), object()


@dataclass(frozen=True)
class Identity:
    """Who the certificate names."""

    name: str


class Direction:
    """One way over one network."""

    __slots__ = ("cut", "delay_s", "held")

    def __init__(self, delay_s: float) -> None:
        self.cut = False
        self.delay_s = delay_s
        self.held: list[tuple[SimStream, object]] = []


class Network:
    """All ways between the nodes.

    Args:
        names: of the networks.
        nodes: names of the nodes.
        delay_s: one way, typically.
    """

    def __init__(
        self, schedule: Schedule, rng: Rng, names: tuple[str, ...], nodes: tuple[str, ...], delay_s: float
    ) -> None:
        self.schedule = schedule
        self.names = names
        self._rng = rng
        self.ways = {(name, node): Direction(delay_s) for name in names for node in nodes}
        self.listeners: dict[tuple[str, int], SimListener] = {}
        self.streams: list[SimStream] = []
        self._fds = 100
        self.longest_s = 0.0  # that anything was under way
        self.calm = False  # nothing takes much longer than usual

    def fd(self) -> int:
        """A number for a file."""
        self._fds += 1
        return self._fds

    def split_draw(self) -> int:
        """Where a piece of a stream is cut in two; mostly nowhere."""
        draw = self._rng.bits()
        return 1 + (draw >> 4) % 4096 if not draw & 15 else 1 << 30

    def passes(self, source: str) -> bool:
        """Whether a datagram from this node reaches the other over any network."""
        return any(not self.ways[name, source].cut for name in self.names)

    def delay_s(self, name: str, source: str) -> float:
        """How long the next thing takes."""
        delay_s = jitter_s(self._rng, self.ways[name, source].delay_s, calm=self.calm)
        self.longest_s = max(self.longest_s, delay_s)
        return delay_s

    def datagram_delay_s(self, source: str) -> float:
        """The same for a datagram on the first network that is open."""
        name = next(name for name in self.names if not self.ways[name, source].cut)
        return self.delay_s(name, source)

    def send(self, way: Direction, target: SimStream, what: object) -> None:
        """One direction of one connection: in order."""
        if way.cut:
            way.held.append((target, what))
            return
        delay_s = jitter_s(self._rng, way.delay_s, calm=self.calm)
        when_s = max(target.arrives_s, self.schedule.now_s + delay_s)
        target.arrives_s = when_s
        self.schedule.at(when_s, lambda: target.arrive(what))

    def cut(self, name: str, source: str) -> None:
        """Nothing gets through from this node on this network."""
        self.ways[name, source].cut = True

    def heal(self, name: str, source: str) -> None:
        """It does again; what was held back follows."""
        way = self.ways[name, source]
        way.cut = False
        held, way.held = way.held, []
        for target, what in held:
            self.send(way, target, what)

    def reset(self) -> None:
        """Some box on the way resets the connections."""
        for stream in list(self.streams):
            if stream.alive:
                stream.arrive(RESET)

    def vanish(self, process: Any, *, silent: bool) -> None:
        """A process is gone; its kernel closes its connections, or went with it (`silent`)."""
        for key, listener in list(self.listeners.items()):
            if listener.process is process:
                del self.listeners[key]
        for stream in list(self.streams):
            if stream.process is process:
                stream.vanish(silent=silent)


class SimStream:
    """One end of a connection (stands for `transport.stream.TlsStream`)."""

    def __init__(self, network: Network, process: Any, name: str, node: str, peer_node: str) -> None:
        self.network = network
        self.process = process
        self.name = name
        self.node = node
        self.identity = Identity(peer_node)
        self.peer_address = (f"{peer_node}.{name}", 0)
        self.peer: SimStream | None = None
        self.inbox: deque[object] = deque()
        self.arrives_s = 0.0
        self.alive = True
        self.wants_write = False
        self._fd = network.fd()
        self._greeted = False
        self._secured = False
        self._way = network.ways[name, node]
        network.streams.append(self)

    @classmethod
    def connect(
        cls,
        address: str,
        port: int,
        context: Any,
        *,
        cluster: str,
        names: tuple[str, ...],
        local_address: str | None = None,
    ) -> SimStream:
        """Begin to connect; the other side learns of it when the network lets it."""
        process = context
        peer, _, name = address.partition(".")
        network: Network = process.world.network
        stream = cls(network, process, name, process.node.name, peer)
        way_back = network.ways[name, peer]
        if not stream._way.cut and not way_back.cut:
            delay_s = network.delay_s(name, stream.node)
            network.schedule.after(delay_s, lambda: stream._arrived(address, port))
        return stream

    def _arrived(self, address: str, port: int) -> None:
        listener = self.network.listeners.get((address, port))
        if not self.alive:
            return
        if listener is None or listener.process.dead:
            if self.process.world.nodes[self.identity.name].powered:
                self.network.send(self.network.ways[self.name, self.identity.name], self, RESET)
            return
        other = SimStream(self.network, listener.process, self.name, self.identity.name, self.node)
        other.peer, self.peer = self, other
        listener.backlog.append(other)
        listener.process.loop.ready(listener.fileno())
        self._ready()

    def fileno(self) -> int:
        """What the loop watches; -1 once closed."""
        return self._fd if self.alive else -1

    def handshake(self) -> bool:
        """Whether both sides know each other."""
        if self._secured:
            return True
        if self.peer is not None and not self._greeted:
            self._greeted = True
            self.network.send(self._way, self.peer, HELLO)
        if self.inbox:
            first = self.inbox.popleft()
            if first is not HELLO:
                raise PeerUnreachableError(f"{self.identity.name} ended the connection.")
            self._secured = True
            self._ready()
        return self._secured

    def receive(self) -> bytes:
        """What has arrived; raises when the connection is over."""
        if not self.inbox:
            return b""
        first = self.inbox.popleft()
        if isinstance(first, bytes):
            draw = self.network.split_draw()
            if draw < len(first):  # TCP keeps no boundaries
                self.inbox.appendleft(first[draw:])
                first = first[:draw]
            if self.inbox:
                self._ready()
            return first
        raise PeerUnreachableError(
            f"{self.identity.name} {'closed' if first is END else 'reset'} the connection."
        )

    def send(self, buffers: Iterable[Any]) -> None:
        """Hand it to the network."""
        data = b"".join(buffers)
        if not self.alive:
            raise PeerUnreachableError(f"The connection to {self.identity.name} is closed.")
        if not data or self.peer is None:
            return
        self.process.hook("send")
        self.network.send(self._way, self.peer, data)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """End it; the other side hears of it."""
        self.vanish(silent=False)

    def vanish(self, *, silent: bool) -> None:
        """This end is gone."""
        if not self.alive:
            return
        self.alive = False
        self.network.streams.remove(self)
        self.inbox.clear()
        if self.peer is not None and self.peer.alive and not silent:
            self.network.send(self._way, self.peer, END)

    def arrive(self, what: object) -> None:
        """Something came over the network."""
        if not self.alive:
            if isinstance(what, bytes) and self.peer is not None and self.peer.alive:
                self._refuse()
            return
        if what is RESET:
            self.inbox.clear()
        self.inbox.append(what)
        if len(self.inbox) == 1:
            self._read()

    def _refuse(self) -> None:
        """Data for a connection that this node's kernel does not know any more."""
        node = self.process.world.nodes[self.node]
        if node.powered and self.peer is not None:
            self.network.send(self._way, self.peer, RESET)

    def _ready(self) -> None:
        self.process.loop.ready(self._fd)

    def _read(self) -> None:
        """The same, where no process has its turn."""
        process = self.process
        process.world.schedule.now(process.loop.readable(self._fd), process, FILE)


class SimListener:
    """Stands for `transport.listener.Listener`."""

    nests = True  # its descriptor tells of everything beneath it, as on Linux

    def __init__(
        self,
        address: str,
        port: int,
        *,
        context: Any,
        cluster: str,
        names: tuple[str, ...],
        log: Any,
        clock: Any,
    ) -> None:
        self.process = context
        self.backlog: list[SimStream] = []
        network: Network = self.process.world.network
        self._fd = network.fd()
        self._key = (address, port)
        network.listeners[self._key] = self

    def fileno(self) -> int:
        """What the loop watches."""
        return self._fd

    def accept(self) -> list[SimStream]:
        """Connections that arrived."""
        new, self.backlog = self.backlog, []
        return [stream for stream in new if stream.alive]

    def close(self) -> None:
        """Listen no more."""
        self.process.world.network.listeners.pop(self._key, None)
