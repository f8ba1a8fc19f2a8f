"""Heartbeats between two agents through a network that the test cuts and heals."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.integration.transport.support import PATIENCE_S, Cluster, raw_connection

from twinhull.errors import TransportError
from twinhull.transport.heartbeats import Heartbeats, Network


class Wire:
    """A proxy that is one network: while cut it takes everything and delivers nothing, like a pulled cable."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.2", target[1]))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._cut = False
        self._stop = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def cut(self) -> None:
        self._cut = True

    def heal(self) -> None:
        self._cut = False

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self._listening.close()
        for pair in self._pairs:
            for sock in pair:
                sock.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            while not self._stop:
                for key, _ in selector.select(0.05):
                    if key.fileobj is self._listening:
                        self._join(selector)
                    elif isinstance(key.fileobj, socket.socket):
                        self._copy(selector, key.fileobj, key.data)

    def _join(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._listening.accept()
        try:
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        self._pairs.append((near, far))
        selector.register(near, selectors.EVENT_READ, far)
        selector.register(far, selectors.EVENT_READ, near)

    def _copy(self, selector: selectors.BaseSelector, source: socket.socket, target: socket.socket) -> None:
        try:
            data = source.recv(65536)
            if data and not self._cut:
                target.sendall(data)
        except OSError:
            data = b""
        if not data:
            selector.unregister(source)
            if not self._cut:
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_RDWR)


class Agent:
    """One side's heartbeats with what it heard."""

    def __init__(
        self, cluster: Cluster, node: str, peer: str, networks: list[Network], **changes: object
    ) -> None:
        self.changed = threading.Condition()
        self.heard: list[tuple[str, bytes]] = []
        self.payload = b'{"node":"%s"}' % node.encode()
        members: dict[str, object] = {"interval_s": 0.1, "clock": time.monotonic, **changes}
        self.heartbeats = Heartbeats(
            node,
            peer,
            cluster.name,
            networks,
            cluster.server(node),
            cluster.client(node),
            payload=lambda: self.payload,
            on_beat=self._on_beat,
            **members,  # type: ignore[arg-type]
        )

    def _on_beat(self, network: str, payload: bytes) -> None:
        with self.changed:
            self.heard.append((network, payload))
            self.changed.notify_all()

    def wait_heard(self, condition: Callable[[list[tuple[str, bytes]]], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self.heard), PATIENCE_S)

    def wait_count(self, beat: tuple[str, bytes], count: int) -> None:
        self.wait_heard(lambda heard: heard.count(beat) >= count)

    def wait_beat(self, network: str) -> None:
        """A beat on this network from now on."""
        with self.changed:
            since = len(self.heard)
        self.wait_heard(lambda heard: any(name == network for name, _ in heard[since:]))

    def wait_status(self, network: str, up: bool) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        with self.changed:
            while self.heartbeats.status()[network].up is not up:
                assert time.monotonic() < deadline_s
                self.changed.wait(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port: int = placeholder.getsockname()[1]
        return port


class Pair:
    """Nodes a and b with two networks, each through a wire."""

    def __init__(self, cluster: Cluster) -> None:
        ports = [free_port(), free_port()]
        self.wires = [Wire(("127.0.0.1", port)) for port in ports]
        self.ports = ports
        names = ["front", "back"]
        pairs = list(zip(names, ports, strict=True))
        # Only a connects, so only a's peer address is used: the wire's.
        self.a = Agent(
            cluster, "a", "b", [Network(name, "127.0.0.3", "127.0.0.2", port) for name, port in pairs]
        )
        self.b = Agent(
            cluster, "b", "a", [Network(name, "127.0.0.1", "127.0.0.3", port) for name, port in pairs]
        )
        self.b.heartbeats.start()
        self.a.heartbeats.start()

    def close(self) -> None:
        self.a.heartbeats.stop()
        self.b.heartbeats.stop()
        for wire in self.wires:
            wire.close()


@pytest.fixture
def two(cluster: Cluster) -> Iterator[Pair]:
    pair = Pair(cluster)
    yield pair
    pair.close()


def test_both_hear_each_other_on_every_network(two: Pair) -> None:
    for agent, payload in ((two.a, b'{"node":"b"}'), (two.b, b'{"node":"a"}')):
        for network in ("front", "back"):
            agent.wait_count((network, payload), 3)
            status = agent.heartbeats.status()[network]
            assert status.up
            assert status.last_heard_s is not None
            assert status.rtt_s is not None
            assert status.detail == ""


def test_a_cut_network_goes_down_alone_and_comes_back_when_it_heals(two: Pair) -> None:
    for agent in (two.a, two.b):
        agent.wait_beat("front")
        agent.wait_beat("back")
    two.wires[0].cut()
    for agent in (two.a, two.b):
        agent.wait_status("front", up=False)
        assert agent.heartbeats.status()["front"].detail
        agent.wait_beat("back")
        assert agent.heartbeats.status()["back"].up
    two.wires[0].heal()
    for agent in (two.a, two.b):
        agent.wait_status("front", up=True)
        agent.wait_beat("front")


def test_a_node_that_comes_back_is_heard_again(two: Pair, cluster: Cluster) -> None:
    two.a.wait_beat("front")
    two.b.heartbeats.stop()
    two.a.wait_status("front", up=False)
    networks = [
        Network(name, "127.0.0.1", "127.0.0.3", port)
        for name, port in zip(["front", "back"], two.ports, strict=True)
    ]
    returned = Agent(cluster, "b", "a", networks)
    returned.heartbeats.start()
    two.a.wait_status("front", up=True)
    returned.wait_beat("back")
    returned.heartbeats.stop()


def test_a_beat_can_be_sent_before_its_time(cluster: Cluster) -> None:
    port = free_port()
    a = Agent(cluster, "a", "b", [Network("front", "127.0.0.1", "127.0.0.1", port)], interval_s=3600.0)
    b = Agent(cluster, "b", "a", [Network("front", "127.0.0.1", "127.0.0.1", port)], interval_s=3600.0)
    b.heartbeats.start()
    a.heartbeats.start()
    b.wait_heard(lambda heard: len(heard) >= 1)
    a.payload = b'{"news":1}'
    a.heartbeats.beat_now()
    b.wait_heard(lambda heard: ("front", b'{"news":1}') in heard)
    a.heartbeats.stop()
    b.heartbeats.stop()


def test_another_node_of_the_cluster_is_not_taken_for_the_peer(cluster: Cluster) -> None:
    port = free_port()
    b = Agent(cluster, "b", "a", [Network("front", "127.0.0.1", "127.0.0.1", port)])
    b.heartbeats.start()
    sock = cluster.client("x").wrap_socket(raw_connection(port))
    assert sock.recv(100) == b""
    sock.close()
    assert b.heard == []
    assert not b.heartbeats.status()["front"].up
    b.heartbeats.stop()


def test_nonsense_of_an_authenticated_peer_ends_its_connection_and_is_logged(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    b = Agent(cluster, "b", "a", [Network("front", "127.0.0.1", "127.0.0.1", port)])
    b.heartbeats.start()
    sock = cluster.client("a").wrap_socket(raw_connection(port))
    sock.sendall(b"x" * 100)
    while sock.recv(4096):
        pass
    sock.close()
    b.heartbeats.stop()
    assert b.heard == []
    assert "no heartbeat of this version" in caplog.text


def test_a_listener_that_is_not_understood_does_not_end_the_heartbeats(cluster: Cluster) -> None:
    port = free_port()
    a = Agent(cluster, "a", "b", [Network("front", "127.0.0.1", "127.0.0.1", port)])
    b = Agent(cluster, "b", "a", [Network("front", "127.0.0.1", "127.0.0.1", port)])
    b.heartbeats._on_beat = lambda network, payload: b._on_beat(network, payload) or 1 // 0  # type: ignore
    b.heartbeats.start()
    a.heartbeats.start()
    b.wait_heard(lambda heard: len(heard) >= 3)
    a.heartbeats.stop()
    b.heartbeats.stop()


def test_a_port_in_use_is_told_at_the_start(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        b = Agent(cluster, "b", "a", [Network("front", "127.0.0.1", "127.0.0.1", port)])
        with pytest.raises(TransportError, match=f"port {port}"):
            b.heartbeats.start()
