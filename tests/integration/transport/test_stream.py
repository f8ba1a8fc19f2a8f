"""Streams over loopback TLS with real certificates, and strangers at the door."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.integration.transport.support import Cluster, join, pair, raw_connection, wait_for, wait_until

from twinhull.core import frames as core
from twinhull.core.identity import Id
from twinhull.errors import AuthenticationError, PeerUnreachableError, TransportError
from twinhull.transport import frames, pki, tls
from twinhull.transport.listener import Listener
from twinhull.transport.protocol import FrameReceived, Opened, StreamProtocol
from twinhull.transport.stream import SOCKET_BUFFER_BYTES, TlsStream
from twinhull.transport.tls import Role


@pytest.fixture
def streams(cluster: Cluster) -> Iterator[tuple[TlsStream, TlsStream]]:
    a, b = pair(cluster)
    yield a, b
    a.close()
    b.close()


def receive_all(stream: TlsStream, count: int, flush: TlsStream | None = None) -> bytes:
    data = bytearray()

    def turn(timeout_s: float) -> None:
        if flush is not None and flush.wants_write:
            flush.flush()
        data.extend(stream.receive())

    wait_until(lambda: len(data) >= count, turn, lambda timeout_s: wait_for(stream, timeout_s))
    return bytes(data)


class TestStream:
    def test_both_ends_know_who_the_other_is(self, streams: tuple[TlsStream, TlsStream]) -> None:
        a, b = streams
        assert a.identity is not None
        assert b.identity is not None
        assert (a.identity.name, b.identity.name) == ("b", "a")

    def test_bytes_arrive_in_order_through_a_network_that_refuses_more(
        self, streams: tuple[TlsStream, TlsStream]
    ) -> None:
        a, b = streams
        chooser = random.Random(1)
        buffers = [chooser.randbytes(chooser.choice([40, 5000, 16384, 1 << 20])) for _ in range(60)]
        sent = b"".join(buffers)
        assert len(sent) > 2 * SOCKET_BUFFER_BYTES
        for start in range(0, len(buffers), 3):
            a.send(buffers[start : start + 3])
        assert a.wants_write
        assert a.pending_bytes > 0
        assert receive_all(b, len(sent), flush=a) == sent
        assert a.pending_bytes == 0
        assert not a.wants_write

    def test_buffers_may_change_as_soon_as_they_were_sent(self, streams: tuple[TlsStream, TlsStream]) -> None:
        a, b = streams
        count = 3 * SOCKET_BUFFER_BYTES
        data = bytearray(b"\1" * count)
        a.send([data])
        assert a.pending_bytes > 0
        data[:] = b"\2" * count
        assert receive_all(b, count, flush=a) == b"\1" * count

    def test_what_was_received_stays_as_it_is_while_it_is_held(
        self, streams: tuple[TlsStream, TlsStream]
    ) -> None:
        a, b = streams
        a.send([b"first"])
        wait_for(b)
        first = b.receive()
        a.send([b"other"])
        wait_for(b)
        other = b.receive()
        assert (bytes(first), bytes(other)) == (b"first", b"other")

    def test_nothing_to_receive_is_no_error(self, streams: tuple[TlsStream, TlsStream]) -> None:
        assert not streams[0].receive()

    def test_what_arrived_before_the_end_is_handed_over_before_the_end_is_told(
        self, streams: tuple[TlsStream, TlsStream]
    ) -> None:
        a, b = streams
        a.send([b"last words"])
        a.close()
        assert receive_all(b, 10) == b"last words"
        wait_for(b)
        with pytest.raises(PeerUnreachableError, match="closed it"):
            b.receive()
        with pytest.raises(PeerUnreachableError):
            b.send([b"x"])

    def test_a_reset_is_told_as_a_broken_connection(self, streams: tuple[TlsStream, TlsStream]) -> None:
        a, b = streams
        socket.socket.setsockopt(a._socket, socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        a.close()
        wait_for(b)
        with pytest.raises(PeerUnreachableError):
            b.receive()

    def test_changed_bytes_on_the_wire_are_noticed(self, streams: tuple[TlsStream, TlsStream]) -> None:
        a, b = streams
        socket.socket.send(a._socket, b"\x17\x03\x03\x00\x20" + bytes(32))
        wait_for(b)
        with pytest.raises(TransportError):
            b.receive()

    def test_frames_travel_between_two_protocols(self, streams: tuple[TlsStream, TlsStream]) -> None:
        a, b = streams
        left = StreamProtocol(cluster="c1", module="vm1", node="a", peer="b")
        right = StreamProtocol(cluster="c1", module="vm1", node="b", peer="a")
        a.send(left.data_to_send())
        b.send(right.data_to_send())
        wait_for(a)
        wait_for(b)
        assert list(left.receive_data(a.receive())) == [Opened(frames.MAX_VERSION, "b")]
        assert list(right.receive_data(b.receive())) == [Opened(frames.MAX_VERSION, "a")]
        for end in (left, right):
            end.set_session(Id(b"s" * 16), Id(b"g" * 16))
        left.send_frame(core.Write(1, 4096, b"\5" * 4096))
        left.send_frame(core.Flush(1))
        a.send(left.data_to_send())
        wait_for(b)
        received = [
            event.frame for event in right.receive_data(b.receive()) if isinstance(event, FrameReceived)
        ]
        assert received == [core.Write(1, 4096, b"\5" * 4096), core.Flush(1)]


class TestConnecting:
    def test_a_port_where_nobody_listens(self, cluster: Cluster) -> None:
        with socket.create_server(("127.0.0.1", 0)) as placeholder:
            port = placeholder.getsockname()[1]
        stream = TlsStream.connect("127.0.0.1", port, cluster.client("a"), cluster="c1", names=["b"])
        wait_for(stream)
        with pytest.raises(PeerUnreachableError, match=f"127.0.0.1 port {port}"):
            stream.handshake()
        stream.close()

    def test_a_local_address_that_is_not_ours(self, cluster: Cluster) -> None:
        with pytest.raises(PeerUnreachableError, match="No connection to"):
            TlsStream.connect(
                "127.0.0.1", 1, cluster.client("a"), cluster="c1", names=None, local_address="192.0.2.1"
            )

    def test_a_port_in_use_is_named(self, cluster: Cluster) -> None:
        listener = cluster.listener()
        with pytest.raises(TransportError, match=f"port {listener.port}"):
            Listener(
                "127.0.0.1",
                listener.port,
                context=cluster.server("b"),
                cluster="c1",
                names=None,
                log=listener.refusals._log,
                clock=time.monotonic,
            )
        listener.close()

    def test_a_server_with_another_nodes_name_is_not_talked_to(self, cluster: Cluster) -> None:
        listener = cluster.listener("b")
        stream = cluster.connect(listener, cluster.client("a"), names=["c"])
        with pytest.raises(AuthenticationError, match="'b', wanted c"):
            join(cluster, listener, stream)
        stream.close()
        listener.close()

    def test_a_server_of_another_authority_is_not_talked_to(
        self, cluster: Cluster, other_cluster: Cluster
    ) -> None:
        listener = other_cluster.listener("b")
        stream = cluster.connect(listener, cluster.client("a"))
        with pytest.raises(AuthenticationError, match="certificate is not valid"):
            join(cluster, listener, stream)
        stream.close()
        listener.close()

    def test_a_client_that_is_refused_reads_that_it_was(self, cluster: Cluster) -> None:
        listener = cluster.listener("b")
        stream = cluster.connect(listener, cluster.client("a", expired=True))

        def turn(timeout_s: float) -> None:
            listener.wait(timeout_s)
            if stream.handshake():
                stream.receive()

        with pytest.raises(AuthenticationError, match="expired"):
            wait_until(lambda: False, turn)
        stream.close()
        listener.close()

    def test_a_renewed_certificate_is_used_for_new_connections(
        self, cluster: Cluster, tmp_path: Path
    ) -> None:
        ca = cluster.directory / "ca"
        pki.issue(ca, "r", Role.NODE, tmp_path / "r", 10)
        context = tls.server_context(tmp_path / "r")
        renewed = pki.renew(ca, tmp_path / "r", days=90)
        tls.reload(context, tmp_path / "r")
        listener = Listener(
            "127.0.0.1",
            0,
            context=context,
            cluster="c1",
            names=None,
            log=cluster.listener().refusals._log,
            clock=time.monotonic,
        )
        a = cluster.connect(listener, cluster.client("a"))
        b = join(cluster, listener, a)
        shown = a.detach().getpeercert()
        assert shown is not None
        assert int(str(shown["serialNumber"]), 16) == renewed.serial
        b.close()
        listener.close()

    def test_an_authority_that_is_added_is_trusted_without_a_new_context(
        self, cluster: Cluster, other_cluster: Cluster, tmp_path: Path
    ) -> None:
        pki.issue(cluster.directory / "ca", "r", Role.NODE, tmp_path / "r", 10)
        context = tls.server_context(tmp_path / "r")
        follower = (other_cluster.directory / "ca" / "ca.crt").read_text(encoding="ascii")
        with (tmp_path / "r" / "ca.crt").open("a", encoding="ascii") as authorities:
            authorities.write(follower)
        tls.reload(context, tmp_path / "r")
        listener = Listener(
            "127.0.0.1",
            0,
            context=context,
            cluster="c1",
            names=None,
            log=cluster.listener().refusals._log,
            clock=time.monotonic,
        )
        trusts_both = other_cluster.client("a")
        trusts_both.load_verify_locations(cafile=cluster.directory / "ca" / "ca.crt")
        stream = other_cluster.connect(listener, trusts_both)
        join(other_cluster, listener, stream).close()
        stream.close()
        listener.close()


def without_certificate(cluster: Cluster, other: Cluster, port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    talk(context, port)


def of_another_authority(cluster: Cluster, other: Cluster, port: int) -> None:
    context = other.client("a")
    context.verify_mode = ssl.CERT_NONE
    talk(context, port)


def with_another_name(cluster: Cluster, other: Cluster, port: int) -> None:
    talk(cluster.client("x"), port)


def as_operator(cluster: Cluster, other: Cluster, port: int) -> None:
    talk(cluster.client("a", Role.OPERATOR), port)


def with_an_expired_certificate(cluster: Cluster, other: Cluster, port: int) -> None:
    talk(cluster.client("a", expired=True), port)


def with_tls_1_2(cluster: Cluster, other: Cluster, port: int) -> None:
    context = cluster.client("a")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    talk(context, port)


def in_plain_text(cluster: Cluster, other: Cluster, port: int) -> None:
    with raw_connection(port) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while sock.recv(100):
            pass


def with_garbage(cluster: Cluster, other: Cluster, port: int) -> None:
    with raw_connection(port) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(random.Random(3).randbytes(3000))
        while sock.recv(100):
            pass


def leaving_at_once(cluster: Cluster, other: Cluster, port: int) -> None:
    raw_connection(port).close()


def talk(context: ssl.SSLContext, port: int) -> None:
    """A client that goes as far as it gets; it must not get any byte."""
    with (
        raw_connection(port) as sock,
        contextlib.suppress(ConnectionError, ssl.SSLError),
        context.wrap_socket(sock) as tls_socket,
    ):
        tls_socket.sendall(b"let me in")
        assert tls_socket.recv(100) == b""


STRANGERS: list[Callable[[Cluster, Cluster, int], None]] = [
    without_certificate,
    of_another_authority,
    with_another_name,
    as_operator,
    with_an_expired_certificate,
    with_tls_1_2,
    in_plain_text,
    with_garbage,
    leaving_at_once,
]


class TestStrangers:
    @pytest.mark.parametrize("stranger", STRANGERS, ids=lambda stranger: stranger.__name__)
    def test_a_stranger_is_refused_and_logged_once_while_the_peer_comes_in(
        self,
        cluster: Cluster,
        other_cluster: Cluster,
        stranger: Callable[[Cluster, Cluster, int], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        listener = cluster.listener("b", names=["a"])
        through: list[TlsStream] = []

        def come_three_times() -> None:
            for _ in range(3):
                stranger(cluster, other_cluster, listener.port)

        with background(come_three_times) as ended:
            wait_until(ended, lambda timeout_s: through.extend(listener.wait(timeout_s)))
        wait_until(
            lambda: listener.refusals.count == 3, lambda timeout_s: through.extend(listener.wait(timeout_s))
        )
        assert through == []
        assert len(caplog.records) == 1
        assert "127.0.0.1" in caplog.text
        a = cluster.connect(listener, cluster.client("a"))
        b = join(cluster, listener, a)
        for end in (a, b, listener):
            end.close()

    def test_silent_connections_end_after_their_time_and_leave_room_for_the_peer(
        self, cluster: Cluster
    ) -> None:
        now_s = 0.0
        listener = Listener(
            "127.0.0.1",
            0,
            context=cluster.server("b"),
            cluster="c1",
            names=["a"],
            log=cluster.listener().refusals._log,
            clock=lambda: now_s,
            max_half_open=8,
        )
        silent = [raw_connection(listener.port) for _ in range(20)]
        wait_until(lambda: listener.refusals.count == 16, listener.wait)
        a = cluster.connect(listener, cluster.client("a"))
        b = join(cluster, listener, a)
        assert listener.refusals.count == 17
        now_s = 5.1
        listener.accept()
        assert listener.refusals.count == 20
        for end in (a, b, listener):
            end.close()
        for sock in silent:
            sock.close()

    def test_a_stream_that_was_let_in_lives_on_when_the_door_closes(self, cluster: Cluster) -> None:
        a, b = pair(cluster)
        a.send([b"x"])
        wait_for(b)
        assert bytes(b.receive()) == b"x"
        a.close()
        b.close()


@contextlib.contextmanager
def background(work: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        yield future.done
        future.result()
