"""Commands between agents, and from the CLI and the playbooks to an agent: RPyC over mutual TLS.

Of RPyC there is one request: the name of a method and JSON bytes, answered by JSON bytes. Everything else that RPyC
can do (references to objects, attributes, pickling, compression) is refused by the connection class itself,
on both sides. Its stock streams and servers are not used: they compress, set no TCP_NODELAY, check no names, and
do not see what TLS has already decrypted.
"""

from __future__ import annotations

import json
import logging
import selectors
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import (
    AuthenticationError,
    PeerUnreachableError,
    ProtocolError,
    TransportError,
    TwinhullError,
)
from .listener import Listener, Log
from .rpyc_narrow import CALL, BoundedChannel, NarrowConnection, TlsRpycStream
from .stream import Address, TlsStream
from .tls import Role

MAX_MESSAGE_BYTES = 64 << 20
_ALL_ROLES = frozenset(Role)


class Caller(NamedTuple):
    """Who calls: the name and role in the verified certificate, and from where."""

    name: str
    role: Role
    address: str


Arguments = dict[str, Any]
Method = Callable[[Caller, Arguments], Arguments]


class RemoteError(TransportError):
    """The other side refused or failed a command; says what it said.

    Args:
        exit_code: of the error over there.
        kind: the name of its class over there.
    """

    def __init__(self, what: str, remedy: str = "", exit_code: int = 1, kind: str = "TwinhullError") -> None:
        super().__init__(what, remedy)
        self.exit_code = exit_code
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Limits:
    """What keeps one caller from mattering to others; times in seconds.

    Args:
        idle_timeout_s: a connection without a request for so long is closed.
        io_timeout_s: so long may a request or an answer take on the wire once it has begun.
    """

    max_connections: int = 48
    max_connections_each: int = 16
    max_message_bytes: int = MAX_MESSAGE_BYTES
    idle_timeout_s: float = 600.0
    io_timeout_s: float = 30.0
    handshake_timeout_s: float = 5.0


# ---- the server ----------------------------------------------------------------------------------------


class ControlServer:
    """Answers named methods, each connection in its own thread (their number is bounded).

    Args:
        addresses: (numeric address, port) of each network to listen on; port 0: any, see `addresses`.
        context: of `tls.server_context`.
        methods: the table of all that can be called. A method gets the caller and its arguments (plain JSON
            values), answers a dict of the same, raises TwinhullError for what the caller shall read, and
            decides itself which roles it serves. Methods of several connections run at the same time.
        cluster: whose nodes and operators may call.
        log: where refusals and failures of methods go.

    Raises:
        TransportError: a port is in use.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        context: ssl.SSLContext,
        methods: Mapping[str, Method],
        limits: Limits | None = None,
        *,
        cluster: str,
        log: Log | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._methods = dict(methods)
        self._limits = limits or Limits()
        self._logger: Log = log or logging.getLogger(__name__)
        self._lock = threading.Lock()
        self._connections: dict[NarrowConnection, Caller] = {}
        self._threads: set[threading.Thread] = set()
        self._stopping = threading.Event()
        self._listeners: list[Listener] = []
        try:
            for address, port in addresses:
                self._listeners.append(
                    Listener(
                        address,
                        port,
                        context=context,
                        cluster=cluster,
                        names=None,
                        roles=_ALL_ROLES,
                        log=self._logger,
                        clock=clock,
                        handshake_timeout_s=self._limits.handshake_timeout_s,
                    )
                )
        except TransportError:
            for listener in self._listeners:
                listener.close()
            raise

    @property
    def addresses(self) -> list[Address]:
        """Where it listens."""
        return [(listener.address, listener.port) for listener in self._listeners]

    def start(self) -> None:
        """Begin to answer."""
        for listener in self._listeners:
            self._spawn(self._accept, listener, name=f"control-accept-{listener.port}")

    def close(self) -> None:
        """Stop listening, close every connection, wait (bounded) for methods that are under way."""
        self._stopping.set()
        with self._lock:
            connections = list(self._connections)
            threads = list(self._threads)
        for connection in connections:
            connection._channel.stream.abort()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(self._limits.handshake_timeout_s)

    def _spawn(self, target: Callable[..., None], *arguments: object, name: str) -> None:
        def run() -> None:
            try:
                target(*arguments)
            finally:
                with self._lock:
                    self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, name=name, daemon=True)
        with self._lock:
            self._threads.add(thread)
            thread.start()  # within the lock: `close` joins only threads that run

    def _accept(self, listener: Listener) -> None:
        while not self._stopping.is_set():
            for stream in listener.wait(0.25):
                self._welcome(listener, stream)
        listener.close()

    def _welcome(self, listener: Listener, stream: TlsStream) -> None:
        identity = stream.identity
        if identity is None:
            raise ValueError("a listener let in somebody without a name")
        caller = Caller(identity.name, identity.role, stream.peer_address[0])
        with self._lock:
            each = Counter((one.name, one.role) for one in self._connections.values())
            full = len(self._connections) >= self._limits.max_connections
        if full or each[caller.name, caller.role] >= self._limits.max_connections_each:
            listener.refusals.note(
                caller.address, f"Control: too many connections, refused one of {caller.name}."
            )
            stream.close()
            return
        channel = BoundedChannel(
            TlsRpycStream(stream.detach(), self._limits.io_timeout_s), self._limits.max_message_bytes
        )
        connection = NarrowConnection(channel, lambda name, data: self._answer(caller, name, data))
        with self._lock:
            self._connections[connection] = caller
        self._spawn(self._serve, connection, caller, name=f"control-{caller.name}")

    def _serve(self, connection: NarrowConnection, caller: Caller) -> None:
        try:
            while not self._stopping.is_set() and connection.serve(self._limits.idle_timeout_s):
                pass
        except EOFError:
            pass
        except Exception:  # RPyC raises all sorts of things for packets that make no sense
            if not self._stopping.is_set():
                self._logger.exception("Control: connection of %s at %s ended.", caller.name, caller.address)
        finally:
            with self._lock:
                del self._connections[connection]
            connection.close()

    def _answer(self, caller: Caller, name: str, data: bytes) -> bytes:
        method = self._methods.get(name)
        try:
            arguments = json.loads(data)
            if method is None or not isinstance(arguments, dict):
                self._logger.warning(
                    "Control: %s at %s asked for what is not there.", caller.name, caller.address
                )
                raise ProtocolError(
                    f"This node knows no command {name!r} with such arguments.",
                    "Check that both nodes run the same version.",
                )
            return _dump({"result": method(caller, arguments)})
        except TwinhullError as error:
            return _dump({"error": _describe(error)})
        except (ValueError, RecursionError) as error:
            self._logger.exception("Control: %s of %s failed.", name, caller.name)
            return _dump({"error": _describe(TwinhullError(f"The command {name} failed: {error}."))})
        except Exception as error:
            self._logger.exception("Control: %s of %s failed.", name, caller.name)
            what = f"The command {name} failed over there with an unexpected {type(error).__name__}."
            return _dump({"error": _describe(TwinhullError(what, "See that node's log."))})


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _describe(error: TwinhullError) -> Arguments:
    return {
        "kind": getattr(error, "kind", type(error).__name__),
        "what": error.what,
        "remedy": error.remedy,
        "exit_code": error.exit_code,
    }


# ---- the client ----------------------------------------------------------------------------------------


class ControlClient:
    """Calls named methods of one node. Connects when needed, keeps the connection; may be shared by threads, whose
    calls then wait for each other.

    Args:
        address, port: where the node's agent listens (numeric address).
        context: of `tls.client_context`.
        cluster: the cluster that the node must belong to.
        expected_name: the node's name, or names; None for any node of the cluster.
        timeout_s: for connecting, and for the answer of a call that names no other.
        local_address: leave through this address.
    """

    def __init__(
        self,
        address: str,
        port: int,
        context: ssl.SSLContext,
        *,
        cluster: str,
        expected_name: str | Collection[str] | None,
        timeout_s: float = 10.0,
        local_address: str | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._address, self._port, self._context = address, port, context
        self._cluster, self._local_address = cluster, local_address
        self._names = [expected_name] if isinstance(expected_name, str) else expected_name
        self._timeout_s, self._max_message_bytes = timeout_s, max_message_bytes
        self._lock = threading.Lock()
        self._connection: NarrowConnection | None = None
        self.node: str | None = None
        """The name of the node that answered last."""

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self, method: str, arguments: Arguments | None = None, timeout_s: float | None = None
    ) -> Arguments:
        """Call a method and wait for its answer.

        Args:
            arguments: plain JSON values.
            timeout_s: for this call alone.

        Raises:
            RemoteError: the node refused or failed it.
            PeerUnreachableError: no answer in time; whether it was carried out is unknown.
            AuthenticationError: somebody else answers there, or does not take our certificate.
            ProtocolError: it answered nonsense.
        """
        data = _dump(arguments or {})
        with self._lock:
            answer = self._exchange(method, data, self._timeout_s if timeout_s is None else timeout_s)
        return self._result(answer)

    def close(self) -> None:
        """Close the connection. A later call would make a new one."""
        with self._lock:
            self._drop()

    def _exchange(self, method: str, data: bytes, timeout_s: float) -> object:
        connection = self._connected(min(timeout_s, self._timeout_s))
        try:
            connection._channel.stream.io_timeout_s = timeout_s
            pending = connection.async_request(CALL, method, data, timeout=timeout_s)
            return pending.value
        except TimeoutError as error:
            self._drop()
            raise PeerUnreachableError(
                f"{self._who()} did not answer {method!r} within {timeout_s:g} s.",
                "Look at its status before asking again: it may still carry it out.",
            ) from error
        except (EOFError, OSError) as error:
            self._drop()
            raise PeerUnreachableError(
                f"The connection to {self._who()} broke during {method!r}: {error}.",
                "Look at its status before asking again: it may still carry it out.",
            ) from error
        except Exception as error:  # RPyC rebuilds the other side's exceptions as it likes
            self._drop()
            raise ProtocolError(
                f"{self._who()} did not understand {method!r}: {type(error).__name__}.",
                "Check that both nodes run compatible versions.",
            ) from error

    def _result(self, answer: object) -> Arguments:
        try:
            members = json.loads(answer if isinstance(answer, bytes) else b"")
            if "error" in members:
                error = members["error"]
                raise RemoteError(
                    str(error["what"]), str(error["remedy"]), int(error["exit_code"]), str(error["kind"])
                )
            result = members["result"]
            if isinstance(result, dict):
                return result
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ProtocolError(f"{self._who()} sent an answer that cannot be read.") from error
        raise ProtocolError(f"{self._who()} sent an answer that cannot be read.")

    def _who(self) -> str:
        where = f"{self._address} port {self._port}"
        return f"node {self.node} at {where}" if self.node else f"the node at {where}"

    def _connected(self, timeout_s: float) -> NarrowConnection:
        # Something to read between two calls is the other side's farewell.
        if self._connection is not None and (self._connection.closed or self._connection._channel.poll(0)):
            self._drop()
        if self._connection is None:
            stream = self._handshake(timeout_s)
            self.node = stream.identity.name if stream.identity else None
            channel = BoundedChannel(TlsRpycStream(stream.detach(), timeout_s), self._max_message_bytes)
            self._connection = NarrowConnection(channel, None)
        return self._connection

    def _handshake(self, timeout_s: float) -> TlsStream:
        deadline_s = time.monotonic() + timeout_s
        stream = TlsStream.connect(
            self._address,
            self._port,
            self._context,
            cluster=self._cluster,
            names=self._names,
            local_address=self._local_address,
        )
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(stream, selectors.EVENT_WRITE)
                while not stream.handshake():
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0:
                        raise PeerUnreachableError(
                            f"Nothing answers at {self._address} port {self._port} within {timeout_s:g} s.",
                            "Check that the node runs, its agent too, and that no firewall is in between.",
                        )
                    events = selectors.EVENT_WRITE if stream.wants_write else selectors.EVENT_READ
                    selector.modify(stream, events)
                    selector.select(left_s)
        except (TransportError, AuthenticationError):
            stream.close()
            raise
        return stream

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
