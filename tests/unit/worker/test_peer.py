"""Two workers' ends of a stream, each on its own loop, over real TLS on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.integration.transport.support import Cluster
from tests.unit.worker.worker_scene import LOG, PATIENCE_S

from twinhull.clock import boot_clock_s
from twinhull.core import events, frames
from twinhull.core.frames import DataFrame
from twinhull.core.identity import Generation, Id
from twinhull.core.messages import Leave, encode
from twinhull.core.mirror import MirrorProtocolError
from twinhull.core.pulse import HeartbeatOut
from twinhull.transport.protocol import StreamProtocol
from twinhull.worker.loop import Loop
from twinhull.worker.peer import Path, PeerStream, StreamSettings

SESSION = Id(b"session-session-")
GENERATION = Generation(Id(b"generation-gener"))
PROCESS = Id(b"process-process-")
BEAT = HeartbeatOut(PROCESS, 1, None, 0, None, "STOP")
NETWORKS = {"replication": "127.0.0.1", "heartbeat": "127.0.0.2"}


class Side:
    """One end: what it is told, in order; calls are made on its loop."""

    def __init__(self, cluster: Cluster, node: str, port: int, *, timeout_s: float = 1.0) -> None:
        self.timeout_s = self.pace_s = timeout_s
        self.told: list[object] = []
        self.networks: list[str | None] = []  # that each connection came over
        self.refuse_frames = False
        self._changed = threading.Condition()
        self.loop = Loop(self._pump, stall_s=5.0)
        peer = "b" if node == "a" else "a"
        settings = StreamSettings(
            cluster=cluster.name,
            module="VM1",
            node=node,
            peer=peer,
            connects=node == "a",
            paths=tuple(Path(name, address, address) for name, address in NETWORKS.items()),
            port=port,
            server_context=cluster.server(node),
            client_context=cluster.client(node),
        )
        self.stream = PeerStream(self.loop, settings, receiver=self, log=LOG, clock=boot_clock_s)
        self._thread = threading.Thread(target=self.loop.run, daemon=True)

    # ---- peer.Receiver
    def event(self, event: events.Event) -> None:
        if isinstance(event, events.StreamUp):
            self.networks.append(self.stream.network)
        self._note(event)

    def frame(self, frame: DataFrame) -> None:
        if self.refuse_frames:
            raise MirrorProtocolError("a frame that is not its to send")
        data = getattr(frame, "data", None)
        self._note(frame._replace(data=bytes(data)) if data is not None else frame)  # type: ignore[call-arg]

    def _note(self, what: object) -> None:
        with self._changed:
            self.told.append(what)
            self._changed.notify_all()

    # ---- for tests
    def _pump(self) -> None:
        self.stream.flush()

    def begin(self) -> None:
        started = threading.Event()
        self.loop.post(self.stream.start)
        self.loop.post(started.set)
        self._thread.start()
        assert started.wait(PATIENCE_S)

    def call(self, what: Callable[[], Any]) -> Any:
        """Call on the loop; its result."""
        done = threading.Event()
        result: list[Any] = []

        def run() -> None:
            result.append(what())
            done.set()

        self.loop.post(run)
        assert done.wait(PATIENCE_S)
        return result[0]

    def until(self, kind: type, count: int = 1) -> Any:
        """Wait until so many of this kind were told; the newest of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(kind)) >= count, PATIENCE_S), self.told
            return self.of(kind)[-1]

    def of(self, kind: type) -> list[Any]:
        return [told for told in self.told if isinstance(told, kind)]

    def connection(self) -> int:
        number: int = self.of(events.StreamUp)[-1].connection
        return number

    def close(self) -> None:
        self.loop.post(self.stream.close)
        self.loop.post(self.loop.stop)
        if self._thread.ident is not None:
            self._thread.join(PATIENCE_S)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def make_side(cluster: Cluster, port: int) -> Iterator[Callable[[str], Side]]:
    made: list[Side] = []

    def make(node: str, timeout_s: float = 20.0) -> Side:
        made.append(Side(cluster, node, port, timeout_s=timeout_s))
        return made[-1]

    yield make
    for side in made:
        side.close()


@pytest.fixture
def pair(make_side: Callable[..., Side]) -> tuple[Side, Side]:
    """A connected pair: a connects, b listens."""
    b, a = make_side("b", 1.0), make_side("a", 1.0)
    b.begin()
    a.begin()
    a.until(events.StreamUp)
    b.until(events.StreamUp)
    keep_alive(a, b)
    return a, b


def keep_alive(*sides: Side) -> None:
    """Signs of life on both sides, as a worker sends them."""
    for side in sides:

        def again(side: Side = side) -> None:
            side.stream.send_keepalive(BEAT)
            side.loop.call_later(0.1, again)

        side.loop.post(again)


def join_session(side: Side, generation: Generation = GENERATION) -> list[DataFrame]:
    """Enter the session; what had arrived early."""
    connection = side.connection()
    early: list[DataFrame] = side.call(lambda: side.stream.set_session(connection, SESSION, generation))
    return early


def write(number: int) -> frames.Write:
    return frames.Write(number, number * 512, b"%08d" % number * 64)


def test_both_sides_are_connected_over_the_preferred_network(pair: tuple[Side, Side]) -> None:
    a, b = pair
    assert a.stream.network == b.stream.network == "replication"
    a.until(events.Heartbeat)
    assert b.until(events.Heartbeat) == events.Heartbeat(PROCESS, 1, None, 0, None, "STOP")


def test_messages_and_frames_arrive_in_the_order_in_which_they_were_sent(pair: tuple[Side, Side]) -> None:
    a, b = pair
    join_session(a)
    join_session(b)
    leave = Leave(SESSION, "in order")

    def send() -> None:
        a.stream.send_frame(write(1))
        a.stream.send_message(a.connection(), encode(leave))
        a.stream.send_frame(write(2))

    a.call(send)
    b.until(frames.Write, 2)
    kept = [told for told in b.told if isinstance(told, frames.Write | events.Received)]
    assert kept == [write(1), events.Received(b.connection(), leave), write(2)]


def test_nobody_waits_for_a_clear_so_it_travels_with_the_next_frame(pair: tuple[Side, Side]) -> None:
    a, b = pair
    join_session(a)
    join_session(b)
    b.call(lambda: b.stream.send_frame(frames.Clear(1)))
    queued = b.call(lambda: list(b.stream._live.protocol._out))  # type: ignore[union-attr]
    assert len(queued) == 1, "it is still there after a turn of the loop, which flushes at its end"
    b.call(lambda: b.stream.send_frame(frames.Flushed(2)))
    a.until(frames.Flushed)
    assert a.of(frames.Clear) == [frames.Clear(1)]
    assert a.told.index(frames.Clear(1)) < a.told.index(frames.Flushed(2))


def test_a_sign_of_life_takes_a_clear_along(pair: tuple[Side, Side]) -> None:
    a, b = pair
    join_session(a)
    join_session(b)
    b.call(lambda: b.stream.send_frame(frames.Clear(1)))
    b.call(lambda: b.stream.send_keepalive(BEAT))
    a.until(frames.Clear)


def test_frames_that_come_before_the_session_begins_here_are_handed_over_when_it_does(
    pair: tuple[Side, Side],
) -> None:
    a, b = pair
    join_session(a)
    a.call(lambda: _send_both(a))
    b.until(events.Received)
    assert b.of(frames.Write) == []
    (early,) = join_session(b)
    assert bytes(early.data) == write(1).data  # type: ignore[union-attr]


def test_early_frames_of_another_generation_end_the_connection_and_nothing_else(
    pair: tuple[Side, Side],
) -> None:
    a, b = pair
    join_session(a, Generation(Id(b"another-generati")))
    a.call(lambda: _send_both(a))
    b.until(events.Received)
    assert join_session(b) == []
    assert "another generation" in b.until(events.StreamDown).reason
    b.until(events.StreamUp, 2)


def test_frames_of_an_ended_session_are_not_handed_over(pair: tuple[Side, Side]) -> None:
    a, b = pair
    join_session(a)
    join_session(b)
    b.call(b.stream.clear_session)
    a.call(lambda: _send_both(a))
    b.until(events.Received)
    assert b.of(frames.Write) == []


def test_nothing_is_sent_for_a_connection_that_is_gone(pair: tuple[Side, Side]) -> None:
    a, b = pair
    assert a.call(lambda: a.stream.set_session(999, SESSION, GENERATION)) == []
    a.call(lambda: a.stream.send_message(999, encode(_leave())))
    a.call(lambda: a.stream.send_frame(write(1)))
    a.call(lambda: a.stream.close_connection(999, "no such"))
    a.until(events.Heartbeat, len(a.of(events.Heartbeat)) + 2)
    assert b.of(events.Received) == b.of(frames.Write) == []
    assert a.of(events.StreamDown) == []


def test_a_connection_that_is_closed_tells_the_peer_why_and_is_made_anew(pair: tuple[Side, Side]) -> None:
    a, b = pair
    a.call(lambda: a.stream.close_connection(a.connection(), "the facts changed"))
    assert "the facts changed" in b.until(events.StreamDown).reason
    a.until(events.StreamUp, 2)
    b.until(events.StreamUp, 2)


def test_what_was_said_last_is_read_also_when_sending_fails_first(pair: tuple[Side, Side]) -> None:
    a, b = pair
    reading, go_on = threading.Event(), threading.Event()

    def say_and_go() -> None:
        b.stream.send_message(b.connection(), encode(_leave()))
        b.stream.close_connection(b.connection(), "it leaves")

    def stay_away() -> None:
        reading.set()
        assert go_on.wait(PATIENCE_S)
        for _ in range(100):  # the peer is gone: its system answers with a reset
            a.stream.send_keepalive(BEAT)

    a.loop.post(stay_away)
    assert reading.wait(PATIENCE_S)
    b.call(say_and_go)
    go_on.set()
    a.until(events.StreamDown)
    kinds = [type(told) for told in a.told if not isinstance(told, events.Heartbeat)]
    assert kinds[:3] == [events.StreamUp, events.Received, events.StreamDown]


def test_a_silent_connection_moves_to_the_other_network(make_side: Callable[..., Side]) -> None:
    b, a = make_side("b", 1.0), make_side("a", 1.0)
    b.begin()
    a.begin()
    a.until(events.StreamUp)
    reasons = a.until(events.StreamDown).reason + b.until(events.StreamDown).reason
    assert "nothing came over" in reasons
    connections = 1
    while set(a.networks) != set(NETWORKS):  # on a busy machine an attempt may fail; the next one follows
        connections += 1
        a.until(events.StreamUp, connections)


def test_a_newer_connection_replaces_the_older(
    cluster: Cluster, make_side: Callable[..., Side], port: int
) -> None:
    b = make_side("b")
    b.begin()
    b.call(lambda: None)
    first, second = (_client(cluster, port) for _ in range(2))
    _open(first, "a")
    b.until(events.StreamUp)
    _open(second, "a")
    b.until(events.StreamUp, 2)
    assert "newer connection" in b.until(events.StreamDown).reason
    order = [type(told) for told in b.told]
    assert order == [events.StreamUp, events.StreamDown, events.StreamUp]
    first.close()
    second.close()


def test_strangers_are_refused_and_nobody_else_suffers(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, make_side: Callable[..., Side], port: int
) -> None:
    b, a = make_side("b"), make_side("a")
    b.begin()
    b.call(lambda: None)
    stranger = Cluster(tmp_path_factory.mktemp("other"))
    for context in (stranger.client("a"), cluster.client("c")):
        with contextlib.suppress(OSError), _tcp(port) as raw:
            tls = context.wrap_socket(raw)
            assert tls.recv(100) == b""
    with _tcp(port) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(OSError):
            while raw.recv(1000):
                pass
    silent = _tcp(port)
    a.begin()
    b.until(events.StreamUp)
    silent.close()
    assert [told for told in b.told if not isinstance(told, events.StreamUp)] == []


@pytest.mark.parametrize("garbage", [b"\0" * 200, b"\xff" * 200, os.urandom(300)], ids=["0", "ff", "random"])
def test_an_authenticated_peer_that_sends_garbage_is_told_and_dropped(
    cluster: Cluster, make_side: Callable[..., Side], port: int, garbage: bytes
) -> None:
    b = make_side("b")
    b.begin()
    b.call(lambda: None)
    client = _client(cluster, port)
    _open(client, "a")
    b.until(events.StreamUp)
    client.sendall(garbage)
    b.until(events.StreamDown)
    with contextlib.suppress(OSError):
        while client.recv(10_000):
            pass
    client.close()


def test_garbage_in_place_of_an_opening_is_refused_before_anybody_is_told(
    cluster: Cluster, make_side: Callable[..., Side], port: int
) -> None:
    b, a = make_side("b"), make_side("a")
    b.begin()
    b.call(lambda: None)
    client = _client(cluster, port)
    client.sendall(b"\0" * 100)
    with contextlib.suppress(OSError):
        while client.recv(10_000):
            pass
    client.close()
    a.begin()
    b.until(events.StreamUp)
    assert len(b.told) == 1


@pytest.mark.parametrize("data", [b"no json", b'{"kind": "Begin"}', b"{}"])
def test_a_message_that_cannot_be_read_ends_the_connection(pair: tuple[Side, Side], data: bytes) -> None:
    a, b = pair
    a.call(lambda: a.stream.send_message(a.connection(), data))
    b.until(events.StreamDown)
    assert "message" in a.until(events.StreamDown).reason
    assert b.of(events.Received) == []


def test_a_frame_that_the_mirror_refuses_ends_the_connection(pair: tuple[Side, Side]) -> None:
    a, b = pair
    join_session(a)
    join_session(b)
    b.refuse_frames = True
    a.call(lambda: a.stream.send_frame(write(1)))
    b.until(events.StreamDown)
    assert "not its to send" in a.until(events.StreamDown).reason


def test_everything_that_has_arrived_is_handed_over_on_demand(pair: tuple[Side, Side]) -> None:
    a, b = pair
    join_session(a)
    join_session(b)
    a.call(lambda: _send_writes(a, 200))
    b.until(frames.Write)
    b.call(b.stream.read_all)
    b.until(frames.Write, 200)
    assert b.of(frames.Write) == [write(number) for number in range(200)]


def test_keys_that_have_served_their_time_are_replaced(
    pair: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair
    monkeypatch.setattr("twinhull.worker.peer.KEY_BYTES", 10)
    assert "keys have served" in a.until(events.StreamDown).reason + b.until(events.StreamDown).reason
    a.until(events.StreamUp, 2)


def _send_both(side: Side) -> None:
    side.stream.send_frame(write(1))
    side.stream.send_message(side.connection(), encode(_leave()))


def _send_writes(side: Side, count: int) -> None:
    for number in range(count):
        side.stream.send_frame(write(number))


def _leave() -> Leave:
    return Leave(SESSION, "a test")


def _tcp(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.settimeout(PATIENCE_S)
    return sock


def _client(cluster: Cluster, port: int) -> Any:
    """A connection with a's certificate, whose handshake is done."""
    return cluster.client("a").wrap_socket(_tcp(port))


def _open(client: Any, node: str) -> None:
    protocol = StreamProtocol(cluster="c1", module="VM1", node=node, peer="b")
    client.sendall(b"".join(bytes(buffer) for buffer in protocol.data_to_send()))
