"""The door: accepts connections, lets in who proves who it is, and keeps everyone else from mattering.

A stranger (no certificate, another authority's, a wrong name, an expired one, plain text, silence) costs one slot
of a bounded number for a bounded time, is logged once with its address, and delays nobody else.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import ssl
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Collection

from ..errors import TransportError
from .stream import Address, TlsStream, listen, tune
from .tls import Role

HANDSHAKE_TIMEOUT_S = 5.0
MAX_HALF_OPEN = 16
_ACCEPTS_AT_ONCE = 32
_NODES = frozenset({Role.NODE})

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

AGAIN_S = 1.0
"""How often an address that is not there is tried again."""
LOOK_S = 0.05
"""How often a listener that does not nest is looked at."""


class Refusals:
    """Logs whom we refused: one line for each address and reason, then silence for a while.

    Args:
        log: where to.
        clock: monotonic seconds.
        quiet_s: how long the same address is not logged again; the next line says how many were left out.
        max_addresses: of how many addresses this is remembered.
    """

    def __init__(
        self, log: Log, clock: Callable[[], float], quiet_s: float = 60.0, max_addresses: int = 256
    ) -> None:
        self._log, self._clock, self._quiet_s, self._max_addresses = log, clock, quiet_s, max_addresses
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self.count = 0
        """All refusals, logged or not."""

    def note(self, address: str, sentence: str) -> None:
        """Somebody at `address` (without port) was refused."""
        self.count += 1
        now_s = self._clock()
        logged_s, left_out = self._seen.get(address, (None, 0))
        if logged_s is not None and now_s - logged_s < self._quiet_s:
            self._seen[address] = (logged_s, left_out + 1)
            return
        self._seen[address] = (now_s, 0)
        self._seen.move_to_end(address)
        if len(self._seen) > self._max_addresses:
            self._seen.popitem(last=False)
        more = f" ({left_out} more from there were not logged)" if left_out else ""
        self._log.warning("%s%s", sentence, more)


class Listener:
    """Accepts and authenticates connections without ever waiting (or, with `wait`, only as long as told).

    Windows takes a network's address away while its cable is out: then it listens as soon as the address is back, so that
    an agent can start while its peer, at the other end of that cable, has no power.

    Args:
        address, port: numeric address of one network, and port (0: any free one, see `port`).
        context: of `tls.server_context`.
        cluster, names, roles: who may come in; names None for any of the cluster.
        log: for refusals.
        clock: monotonic seconds.
        handshake_timeout_s: who is not through by then is refused.
        max_half_open: how many may be under way at once, from one address at most half of them; beyond that the
            oldest is refused.

    Raises:
        TransportError: the port is in use.
    """

    def __init__(
        self,
        address: str,
        port: int,
        *,
        context: ssl.SSLContext,
        cluster: str,
        names: Collection[str] | None,
        log: Log,
        clock: Callable[[], float],
        roles: Collection[Role] = _NODES,
        handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
        max_half_open: int = MAX_HALF_OPEN,
    ) -> None:
        self._context, self._cluster, self._names, self._roles = context, cluster, names, roles
        self._clock, self._handshake_timeout_s = clock, handshake_timeout_s
        self._max_half_open = max_half_open
        self.refusals = Refusals(log, clock)
        self._half_open: OrderedDict[TlsStream, float] = OrderedDict()
        self._selector = selectors.DefaultSelector()
        self._socket: socket.socket | None = None
        self._tried_s = clock()
        self.address = address
        self.port = port
        self._listen()

    @property
    def nests(self) -> bool:
        """Whether an outer selector can wait for it (Linux: an epoll inside an epoll). Elsewhere it is looked at every
        `LOOK_S`, or waited for with `wait` in a thread."""
        return sys.platform == "linux"

    def fileno(self) -> int:
        """What an outer selector waits on. Raises OSError where it does not nest."""
        if sys.platform == "linux" and isinstance(self._selector, selectors.EpollSelector):
            return self._selector.fileno()
        raise OSError("this system's selectors cannot be nested; use Listener.wait in a thread")

    def accept(self) -> list[TlsStream]:
        """Everyone who is through by now. To be called when `fileno()` can be read, and every second or so, so
        that slow handshakes end."""
        return self.wait(0)

    def wait(self, timeout_s: float | None) -> list[TlsStream]:
        """As `accept`, after waiting until something happens (which need not be that somebody came through)."""
        through: list[TlsStream] = []
        if self._half_open and timeout_s != 0:
            left_s = max(0.0, min(self._half_open.values()) - self._clock())
            timeout_s = left_s if timeout_s is None else min(timeout_s, left_s)
        if self._socket is None:
            self._listen_again()
            timeout_s = AGAIN_S if timeout_s is None else min(timeout_s, AGAIN_S)
            if not self._selector.get_map():
                time.sleep(timeout_s)  # Windows' select takes no empty list
                return []
        ready = [key.fileobj for key, _ in self._selector.select(timeout_s)]
        for fileobj in ready:
            if isinstance(fileobj, TlsStream):
                self._advance(fileobj, through)
        now_s = self._clock()
        for stream in [stream for stream, deadline_s in self._half_open.items() if deadline_s <= now_s]:
            self._refuse(stream, f"no handshake within {self._handshake_timeout_s:g} s")
        if self._socket is not None and self._socket in ready:
            self._accept_all(self._socket, through)
        return through

    def close(self) -> None:
        """Take the door away; those who were let in stay."""
        for stream in list(self._half_open):
            self._forget(stream)
            stream.close()
        self._selector.close()
        if self._socket is not None:
            self._socket.close()

    def _listen(self) -> None:
        try:
            self._socket = listen(self.address, self.port)
        except TransportError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno != errno.EADDRNOTAVAIL:
                raise
            self.refusals.note(
                "listen", f"{self.address} is not there now (is its cable out?); it is tried again."
            )
            return
        self._selector.register(self._socket, selectors.EVENT_READ)
        self.port = self._socket.getsockname()[1]

    def _listen_again(self) -> None:
        """What happens is noted; nothing is raised."""
        if self._clock() - self._tried_s < AGAIN_S:
            return
        self._tried_s = self._clock()
        try:
            self._listen()
        except TransportError as error:
            self.refusals.note("listen", str(error))

    def _accept_all(self, door: socket.socket, through: list[TlsStream]) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                sock, address = door.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of file descriptors, or the caller is gone again
                self.refusals.note("accept", f"A connection to port {self.port} was lost: {error.strerror}.")
                return
            self._begin(sock, (address[0], address[1]), through)

    def _begin(self, sock: socket.socket, address: Address, through: list[TlsStream]) -> None:
        same = [stream for stream in self._half_open if stream.peer_address[0] == address[0]]
        # The oldest goes, not the newest: whoever is known here needs milliseconds.
        if len(same) >= max(1, self._max_half_open // 2):
            self._refuse(same[0], "too many connections from there that do not say who they are")
        elif len(self._half_open) >= self._max_half_open:
            self._refuse(next(iter(self._half_open)), "too many connections that do not say who they are")
        try:
            tune(sock)
        except OSError as error:
            sock.close()
            self._note(address, error.strerror or str(error))
            return
        stream = TlsStream(
            sock, self._context, server_side=True, cluster=self._cluster, names=self._names, roles=self._roles
        )
        self._half_open[stream] = self._clock() + self._handshake_timeout_s
        self._selector.register(stream, selectors.EVENT_READ)
        self._advance(stream, through)

    def _advance(self, stream: TlsStream, through: list[TlsStream]) -> None:
        try:
            done = stream.handshake()
        except TransportError as error:
            self._refuse(stream, error.what)
            return
        if done:
            self._forget(stream)
            through.append(stream)
        else:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(stream, both if stream.wants_write else selectors.EVENT_READ)

    def _refuse(self, stream: TlsStream, why: str) -> None:
        self._forget(stream)
        self._note(stream.peer_address, why)
        stream.close()

    def _note(self, address: Address, why: str) -> None:
        self.refusals.note(
            address[0], f"Port {self.port} refused a connection from {address[0]} port {address[1]}: {why}"
        )

    def _forget(self, stream: TlsStream) -> None:
        del self._half_open[stream]
        self._selector.unregister(stream)
