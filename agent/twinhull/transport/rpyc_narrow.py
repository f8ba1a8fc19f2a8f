"""What RPyC is allowed to do: one request with values, over a TLS stream of its own, in packets of a bounded size."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rpyc.core import brine, consts
from rpyc.core.channel import Channel
from rpyc.core.protocol import Connection
from rpyc.core.service import VoidService
from rpyc.core.stream import Stream

CALL = 100
"""The number of our only request, outside of RPyC's own."""


class TlsRpycStream(Stream):  # type: ignore[misc]
    """RPyC's stream interface over a TLS socket; a side that stalls in the middle of a packet is given up."""

    __slots__ = ("_sock", "io_timeout_s")
    MAX_IO_CHUNK = 1 << 16

    def __init__(self, sock: ssl.SSLSocket, io_timeout_s: float) -> None:
        self._sock = sock
        self.io_timeout_s = io_timeout_s

    def close(self) -> None:
        self.abort()
        self._sock.close()

    def abort(self) -> None:
        """Wake whoever reads or writes, from any thread: it finds the end and closes."""
        with contextlib.suppress(OSError):
            # Not SSLSocket's own: that takes TLS away, and a reader would see the bare bytes.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    @property
    def closed(self) -> bool:
        return self._sock.fileno() < 0

    def fileno(self) -> int:
        return self._sock.fileno()

    def poll(self, timeout: Any) -> bool:
        """Whether something can be read within `timeout` (an `rpyc.lib.Timeout`, or seconds)."""
        timeout_s = timeout.timeleft() if hasattr(timeout, "timeleft") else timeout
        if self.closed:
            raise EOFError("the connection is closed")
        if self._sock.pending():
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            return bool(selector.select(timeout_s))

    def read(self, count: int) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        deadline_s = time.monotonic() + self.io_timeout_s
        while view:
            received = self._within(deadline_s, partial(self._sock.recv_into, view))
            if not received:
                self.close()
                raise EOFError("the connection was closed")
            view = view[received:]
        return bytes(data)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        deadline_s = time.monotonic() + self.io_timeout_s
        while view:
            view = view[self._within(deadline_s, partial(self._sock.send, view)) :]

    def _within(self, deadline_s: float, operation: Callable[[], int]) -> int:
        try:
            self._sock.settimeout(max(0.001, deadline_s - time.monotonic()))
            return operation()
        except OSError as error:
            self.close()
            raise EOFError(str(error)) from error


class BoundedChannel(Channel):  # type: ignore[misc]
    """Packets of a bounded size, never compressed."""

    __slots__ = ("_max_bytes",)

    def __init__(self, stream: TlsRpycStream, max_bytes: int) -> None:
        super().__init__(stream, compress=False)
        self._max_bytes = max_bytes

    def recv(self) -> bytes:
        length, compressed = self.FRAME_HEADER.unpack(self.stream.read(self.FRAME_HEADER.size))
        if compressed or length > self._max_bytes:
            self.stream.close()
            raise EOFError(f"a packet that is compressed or too long ({length} bytes)")
        data: bytes = self.stream.read(length + len(self.FLUSHER))
        return data[: -len(self.FLUSHER)]

    def send(self, data: bytes) -> None:
        self.stream.write(b"".join((self.FRAME_HEADER.pack(len(data), 0), data, self.FLUSHER)))


class NarrowConnection(Connection):  # type: ignore[misc]
    """An RPyC connection that knows one request, and values instead of references."""

    def __init__(self, channel: BoundedChannel, call: Callable[[str, bytes], bytes] | None) -> None:
        self.answer = call
        super().__init__(VoidService(), channel, _CONFIG)

    @classmethod
    def _request_handlers(cls) -> dict[int, Callable[..., bytes]]:
        return {CALL: cls._handle_named}

    def _handle_named(self, name: object, arguments: object) -> bytes:
        if self.answer is None or type(name) is not str or type(arguments) is not bytes:
            raise ValueError("only named methods with bytes can be called, and only on a server")
        return self.answer(name, arguments)

    def _box(self, obj: object) -> tuple[int, object]:
        if not brine.dumpable(obj):
            raise TypeError("only plain values travel")
        return consts.LABEL_VALUE, obj

    def _unbox(self, package: tuple[int, object]) -> object:
        label, value = package
        if label != consts.LABEL_VALUE:
            raise ValueError("only plain values travel")
        return value

    def close(self) -> None:
        """Close at once, without RPyC's farewell, which waits for an answer."""
        if not self._closed:
            self._cleanup(_anyway=True)


_CONFIG = {
    "allow_safe_attrs": False,
    "allow_exposed_attrs": False,
    "allow_getattr": False,
    "allow_pickle": False,
    "include_local_traceback": False,
    "include_local_version": False,
    "propagate_KeyboardInterrupt_locally": False,
    "bind_threads": False,
    "log_exceptions": False,
}
