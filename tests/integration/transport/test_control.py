"""Commands over RPyC: what can be called, and that nothing else can."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import rpyc
from rpyc.core import consts
from rpyc.core.channel import Channel
from rpyc.core.stream import SocketStream
from tests.integration.transport.support import Cluster, raw_connection

from twinhull.errors import (
    AuthenticationError,
    ConfigError,
    PeerUnreachableError,
    ProtocolError,
    TransportError,
)
from twinhull.transport.control import (
    Arguments,
    Caller,
    ControlClient,
    ControlServer,
    Limits,
    RemoteError,
)
from twinhull.transport.rpyc_narrow import CALL
from twinhull.transport.tls import Role


class Methods:
    """What the server under test answers, and what it saw."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.release = threading.Event()
        self.entered = threading.Event()

    def echo(self, caller: Caller, arguments: Arguments) -> Arguments:
        self.callers.append(caller)
        return arguments

    def refuse(self, caller: Caller, arguments: Arguments) -> Arguments:
        raise ConfigError("Module vm1 on node b: no.", "Ask again tomorrow.")

    def crash(self, caller: Caller, arguments: Arguments) -> Arguments:
        raise ZeroDivisionError("with a secret")

    def unspeakable(self, caller: Caller, arguments: Arguments) -> Arguments:
        return {"value": object()}

    def wait(self, caller: Caller, arguments: Arguments) -> Arguments:
        self.entered.set()
        self.release.wait()
        return {}


@pytest.fixture
def methods() -> Iterator[Methods]:
    methods = Methods()
    yield methods
    methods.release.set()


def make_server(cluster: Cluster, methods: Methods, limits: Limits | None = None) -> ControlServer:
    table = {name: getattr(methods, name) for name in ("echo", "refuse", "crash", "unspeakable", "wait")}
    server = ControlServer([("127.0.0.1", 0)], cluster.server("b"), table, limits, cluster=cluster.name)
    server.start()
    return server


@pytest.fixture
def server(cluster: Cluster, methods: Methods) -> Iterator[ControlServer]:
    server = make_server(cluster, methods)
    yield server
    methods.release.set()
    server.close()


def make_client(
    cluster: Cluster, server: ControlServer, context: ssl.SSLContext | None = None, name: str | None = "b"
) -> ControlClient:
    address, port = server.addresses[0]
    context = context or cluster.client("a")
    return ControlClient(address, port, context, cluster=cluster.name, expected_name=name, timeout_s=10)


@pytest.fixture
def client(cluster: Cluster, server: ControlServer) -> Iterator[ControlClient]:
    with make_client(cluster, server) as client:
        yield client


class TestCalls:
    def test_a_named_method_gets_the_caller_and_its_arguments(
        self, client: ControlClient, methods: Methods
    ) -> None:
        arguments = {"text": "grün", "number": 1.5, "list": [1, None, True], "nested": {"a": {}}}
        assert client.call("echo", arguments) == arguments
        assert methods.callers == [Caller("a", Role.NODE, "127.0.0.1")]
        assert client.node == "b"

    def test_an_operator_is_told_from_a_node(
        self, cluster: Cluster, server: ControlServer, methods: Methods
    ) -> None:
        with make_client(cluster, server, cluster.client("op", Role.OPERATOR), None) as operator:
            operator.call("echo", {})
        assert methods.callers == [Caller("op", Role.OPERATOR, "127.0.0.1")]

    def test_large_arguments_and_answers_travel(self, client: ControlClient) -> None:
        arguments = {"data": "x" * (5 << 20)}
        assert client.call("echo", arguments) == arguments

    def test_threads_share_a_client(self, client: ControlClient) -> None:
        answers: dict[int, Arguments] = {}

        def work(number: int) -> None:
            for _ in range(20):
                answers[number] = client.call("echo", {"number": number})

        threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == {number: {"number": number} for number in range(5)}

    def test_a_call_after_the_server_came_back_makes_a_new_connection(
        self, cluster: Cluster, methods: Methods
    ) -> None:
        first = make_server(cluster, methods)
        client = make_client(cluster, first)
        client.call("echo", {})
        first.close()
        table = {"echo": methods.echo}
        second = ControlServer(first.addresses, cluster.server("b"), table, cluster=cluster.name)
        second.start()
        assert client.call("echo", {"again": True}) == {"again": True}
        client.close()
        second.close()


class TestErrors:
    def test_an_error_of_ours_arrives_with_its_words_and_exit_code(self, client: ControlClient) -> None:
        with pytest.raises(RemoteError) as caught:
            client.call("refuse", {})
        error = caught.value
        assert (error.what, error.remedy) == ("Module vm1 on node b: no.", "Ask again tomorrow.")
        assert (error.exit_code, error.kind) == (ConfigError.exit_code, "ConfigError")
        assert isinstance(error, TransportError)

    def test_an_unexpected_error_is_logged_there_and_says_little_here(
        self, client: ControlClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(RemoteError, match="unexpected ZeroDivisionError") as caught:
            client.call("crash", {})
        assert "secret" not in str(caught.value)
        assert "with a secret" in caplog.text
        assert client.call("echo", {"after": 1}) == {"after": 1}

    def test_an_answer_that_cannot_travel_is_an_error(self, client: ControlClient) -> None:
        with pytest.raises(RemoteError):
            client.call("unspeakable", {})

    def test_an_unknown_method_is_refused_by_name(self, client: ControlClient) -> None:
        with pytest.raises(RemoteError, match="'nothing'"):
            client.call("nothing", {})

    def test_a_method_that_takes_too_long_is_a_timeout_and_the_next_call_is_not_confused(
        self, client: ControlClient, methods: Methods
    ) -> None:
        with pytest.raises(PeerUnreachableError, match="did not answer 'wait' within"):
            client.call("wait", {}, timeout_s=0.2)
        assert client.call("echo", {"after": 2}) == {"after": 2}

    def test_a_server_that_closes_during_a_call_is_a_broken_connection(
        self, cluster: Cluster, methods: Methods
    ) -> None:
        server = make_server(cluster, methods)
        client = make_client(cluster, server)
        errors: list[Exception] = []

        def work() -> None:
            try:
                client.call("wait", {})
            except PeerUnreachableError as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert methods.entered.wait(20)
        methods.release.set()
        server.close()
        thread.join()
        assert all("broke" in str(error) for error in errors)

    def test_nobody_listening(self, cluster: Cluster) -> None:
        with socket.create_server(("127.0.0.1", 0)) as placeholder:
            port = placeholder.getsockname()[1]
        client = ControlClient("127.0.0.1", port, cluster.client("a"), cluster="c1", expected_name="b")
        with pytest.raises(PeerUnreachableError, match=f"port {port}"):
            client.call("echo", {})

    def test_a_node_of_another_name_is_not_asked(self, cluster: Cluster, server: ControlServer) -> None:
        with pytest.raises(AuthenticationError, match="'b', wanted c"):
            make_client(cluster, server, name="c").call("echo", {})

    def test_a_silent_server_is_a_timeout(self, cluster: Cluster) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            client = ControlClient(
                "127.0.0.1",
                silent.getsockname()[1],
                cluster.client("a"),
                cluster="c1",
                expected_name="b",
                timeout_s=0.2,
            )
            with pytest.raises(PeerUnreachableError, match="Nothing answers"):
                client.call("echo", {})


@pytest.fixture
def stock(cluster: Cluster, server: ControlServer) -> Iterator[rpyc.Connection]:
    """A stock RPyC connection with a good certificate: what it can do, a bad operator could do."""
    sock = cluster.client("a").wrap_socket(raw_connection(server.addresses[0][1]))
    connection = rpyc.connect_stream(SocketStream(sock), config={"sync_request_timeout": 10})
    yield connection
    connection._cleanup()


class TestNothingElse:
    @pytest.mark.parametrize(
        "handler", [value for name, value in vars(consts).items() if name[:6] == "HANDLE"]
    )
    def test_no_request_of_rpycs_own_is_answered(self, stock: rpyc.Connection, handler: int) -> None:
        with pytest.raises(KeyError):
            stock.sync_request(handler, "x", "y")

    def test_there_is_no_root_object(self, stock: rpyc.Connection) -> None:
        with pytest.raises(KeyError):
            _ = stock.root

    def test_references_to_objects_are_refused(self, stock: rpyc.Connection) -> None:
        with pytest.raises(ValueError, match="plain values"):
            stock.sync_request(CALL, "echo", object())

    @pytest.mark.parametrize("arguments", [("echo",), (b"echo", b"{}"), ("echo", "{}"), ("__class__", {})])
    def test_only_a_name_with_bytes_is_taken(
        self, stock: rpyc.Connection, arguments: tuple[object, ...]
    ) -> None:
        with pytest.raises((TypeError, ValueError)):
            stock.sync_request(CALL, *arguments)

    @pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 2900, b"1"])
    def test_bytes_that_are_no_json_object_are_answered_with_an_error(
        self, stock: rpyc.Connection, data: bytes
    ) -> None:
        assert b'"error"' in stock.sync_request(CALL, "echo", data)

    def test_no_traceback_leaves_the_node(self, stock: rpyc.Connection) -> None:
        with pytest.raises(KeyError) as caught:
            stock.sync_request(consts.HANDLE_GETATTR, "x", "y")
        assert "protocol.py" not in str(getattr(caught.value, "_remote_tb", ""))

    def test_a_compressed_or_oversized_packet_ends_the_connection(
        self, cluster: Cluster, server: ControlServer, client: ControlClient
    ) -> None:
        for header in (Channel.FRAME_HEADER.pack(10, 1), Channel.FRAME_HEADER.pack(2**32 - 1, 0)):
            with cluster.client("a").wrap_socket(raw_connection(server.addresses[0][1])) as sock:
                sock.sendall(header)
                assert sock.recv(1) == b""
        assert client.call("echo", {}) == {}

    def test_packets_that_make_no_sense_end_their_connection_alone(
        self, cluster: Cluster, server: ControlServer, client: ControlClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.CRITICAL)
        for packet in (b"\x01\xff\xff", b"\x09", b"\x01" + b"\x10" * 50000, b"\x02\x10\x51\x00"):
            with cluster.client("a").wrap_socket(raw_connection(server.addresses[0][1])) as sock:
                sock.sendall(Channel.FRAME_HEADER.pack(len(packet), 0) + packet + b"\n")
                assert sock.recv(1) == b""
        assert client.call("echo", {}) == {}

    def test_a_client_answers_no_requests_of_a_server(self, cluster: Cluster) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        refused: list[type[BaseException]] = []

        def serve() -> None:
            sock, _ = listening.accept()
            connection = rpyc.connect_stream(
                SocketStream(cluster.server("b").wrap_socket(sock, server_side=True)),
                config={"sync_request_timeout": 10},
            )
            try:
                connection.sync_request(consts.HANDLE_GETROOT)
            except KeyError as error:
                refused.append(type(error))
            connection._cleanup()

        thread = threading.Thread(target=serve)
        thread.start()
        client = ControlClient(
            "127.0.0.1", listening.getsockname()[1], cluster.client("a"), cluster="c1", expected_name="b"
        )
        with pytest.raises((PeerUnreachableError, ProtocolError)):
            client.call("echo", {})
        thread.join()
        listening.close()
        assert len(refused) == 1


class TestLimits:
    def test_one_caller_cannot_take_every_connection(self, cluster: Cluster, methods: Methods) -> None:
        server = make_server(cluster, methods, Limits(max_connections=4, max_connections_each=2))
        operator = cluster.client("op", Role.OPERATOR)
        greedy = [make_client(cluster, server, operator, None) for _ in range(3)]
        for client in greedy[:2]:
            client.call("echo", {})
        with pytest.raises(PeerUnreachableError):
            greedy[2].call("echo", {})
        with make_client(cluster, server) as client:
            client.call("echo", {})
        for client in greedy:
            client.close()
        server.close()

    def test_a_request_that_stalls_half_way_is_given_up(self, cluster: Cluster, methods: Methods) -> None:
        server = make_server(cluster, methods, Limits(io_timeout_s=0.2))
        with cluster.client("a").wrap_socket(raw_connection(server.addresses[0][1])) as sock:
            sock.sendall(b"\0\0")
            assert sock.recv(1) == b""
        server.close()

    def test_an_idle_connection_is_closed_and_made_anew_when_it_is_needed(
        self, cluster: Cluster, methods: Methods
    ) -> None:
        server = make_server(cluster, methods, Limits(idle_timeout_s=0.1))
        with cluster.client("a").wrap_socket(raw_connection(server.addresses[0][1])) as sock:
            assert sock.recv(1) == b""
        server.close()

    def test_a_stranger_delays_nobody(
        self, cluster: Cluster, server: ControlServer, client: ControlClient
    ) -> None:
        silent = [raw_connection(server.addresses[0][1]) for _ in range(12)]
        assert client.call("echo", {}) == {}
        for sock in silent:
            sock.close()

    def test_a_closed_server_leaves_no_thread_and_no_port(self, cluster: Cluster, methods: Methods) -> None:
        server = make_server(cluster, methods)
        with make_client(cluster, server) as client:
            client.call("echo", {})
            server.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("control-")]
        socket.create_server(server.addresses[0]).close()
