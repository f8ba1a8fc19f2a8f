"""Real certificates and what drives streams, for the tests of this folder."""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twinhull.transport import pki, tls
from twinhull.transport.listener import Listener
from twinhull.transport.stream import TlsStream
from twinhull.transport.tls import Role

LOG = logging.getLogger("twinhull.test")
PATIENCE_S = 20.0


class Cluster:
    """An authority in a directory, and contexts of its members."""

    def __init__(self, directory: Path, name: str = "c1") -> None:
        self.name = name
        self.directory = directory
        pki.init_ca(directory / "ca", name)

    def member(self, name: str, role: Role = Role.NODE, *, expired: bool = False) -> Path:
        out = self.directory / f"{role.value}-{name}{'-expired' if expired else ''}"
        if not out.exists():
            now = datetime.now(UTC) - timedelta(days=500 if expired else 0)
            pki.issue(self.directory / "ca", name, role, out, 100, now=now)
        return out

    def server(self, name: str) -> ssl.SSLContext:
        return tls.server_context(self.member(name))

    def client(self, name: str, role: Role = Role.NODE, *, expired: bool = False) -> ssl.SSLContext:
        return tls.client_context(self.member(name, role, expired=expired), role)

    def listener(self, name: str = "b", names: list[str] | None = None, **changes: float) -> Listener:
        return Listener(
            "127.0.0.1",
            0,
            context=self.server(name),
            cluster=self.name,
            names=names,
            log=LOG,
            clock=time.monotonic,
            **changes,  # type: ignore[arg-type]
        )

    def connect(
        self, listener: Listener, context: ssl.SSLContext, names: list[str] | None = None
    ) -> TlsStream:
        return TlsStream.connect("127.0.0.1", listener.port, context, cluster=self.name, names=names)


def wait_until(condition: Callable[[], bool], *waits: Callable[[float], object]) -> None:
    """Turn the given loops until the condition holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        for wait in waits:
            wait(0.02)


def wait_for(stream: TlsStream, timeout_s: float = PATIENCE_S) -> None:
    with selectors.DefaultSelector() as selector:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if stream.wants_write else 0)
        selector.register(stream, events)
        selector.select(timeout_s)


def join(cluster: Cluster, listener: Listener, stream: TlsStream) -> TlsStream:
    """Drive both ends until the connection stands; the listener's end."""
    through: list[TlsStream] = []
    done = False

    def turn(timeout_s: float) -> None:
        nonlocal done
        through.extend(listener.wait(timeout_s))
        done = stream.handshake()

    wait_until(lambda: done and bool(through), turn)
    return through[0]


def pair(cluster: Cluster) -> tuple[TlsStream, TlsStream]:
    """A stream of node a and one of node b."""
    listener = cluster.listener("b")
    a = cluster.connect(listener, cluster.client("a"))
    b = join(cluster, listener, a)
    listener.close()
    return a, b


def raw_connection(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.settimeout(PATIENCE_S)
    return sock
