"""The WinRM server: one listening socket for each host, all of them served by one event loop in a thread of its own.

Commands run on a small pool of threads, because some start real processes; what a host does is serialised by the host.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import struct
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from . import wsman

THREADS = 8
MAX_BODY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Output:
    """What a command left behind; `cut` means that the connection dies in place of the answer."""

    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0
    cut: bool = False


class Host(Protocol):
    """What the endpoint asks of a host."""

    def accepts(self) -> bool:
        """Asked at each new connection: False refuses it (the host boots, or is off)."""

    def execute(self, command_line: str, stdin: bytes) -> Output:
        """Run one command of a remote shell to its end. Called from several threads."""


@dataclass(slots=True)
class _Command:
    line: str
    stdin: bytearray = field(default_factory=bytearray)
    future: Future[Output] | None = None


@dataclass(slots=True)
class _Listener:
    host: Host
    authorization: bytes
    shells: set[str] = field(default_factory=set)
    commands: dict[str, _Command] = field(default_factory=dict)
    server: asyncio.Server | None = None
    port: int = 0


class Endpoint:
    """Serves WinRM for any number of hosts on 127.0.0.1.

    Args:
        tls: for HTTPS; None serves plain HTTP.
        threads: how many commands run at once.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, threads: int = THREADS) -> None:
        self._tls = tls
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="standin")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="standin-endpoint", daemon=True)
        self._listeners: list[_Listener] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread.start()

    def add(self, host: Host, user: str, password: str) -> int:
        """Listen for one host; returns its port."""
        token = b"Basic " + base64.b64encode(f"{user}:{password}".encode())
        listener = _Listener(host, token)
        asyncio.run_coroutine_threadsafe(self._listen(listener), self._loop).result()
        self._listeners.append(listener)
        return listener.port

    def close(self) -> None:
        """Stop listening and end the threads."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._pool.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self, listener: _Listener) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(listener, reader, writer)

        bound = socket.create_server(("127.0.0.1", listener.port), backlog=256)
        listener.port = bound.getsockname()[1]
        listener.server = await asyncio.start_server(
            connected,
            sock=bound,
            ssl=self._tls,
            limit=MAX_BODY_BYTES,
            ssl_handshake_timeout=60.0 if self._tls else None,
        )

    async def _stop(self) -> None:
        for listener in self._listeners:
            if listener.server is not None:
                listener.server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(
        self, listener: _Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if not listener.host.accepts():
            _reset(writer)
            return
        self._writers.add(writer)
        try:
            while await self._one_request(listener, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client went away, which is its right
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one_request(
        self, listener: _Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Serve one request of a kept connection; False when it ends."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return False
        headers = _headers(head)
        body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
        if headers.get(b"authorization") != listener.authorization:
            _answer(writer, 401, b"", b'WWW-Authenticate: Basic realm="WSMAN"\r\n')
            await writer.drain()
            return True
        answer = await self._soap(listener, body)
        if answer is None:
            _reset(writer)
            return False
        _answer(writer, *answer)
        await writer.drain()
        return True

    async def _soap(self, listener: _Listener, body: bytes) -> tuple[int, bytes] | None:
        """HTTP status and answer; None when the connection dies instead."""
        try:
            request = wsman.parse(body)
        except wsman.ProtocolError as error:
            return 500, wsman.fault("", 2150858817, str(error))
        if not listener.host.accepts():
            return None
        if request.action == "create":
            shell = str(uuid.uuid4()).upper()
            listener.shells.add(shell)
            return 200, wsman.created(request, shell)
        if request.shell not in listener.shells:
            return 500, wsman.fault(
                request.message_id, wsman.SHELL_GONE, "The shell was not found on the server."
            )
        return await self._in_shell(listener, request)

    async def _in_shell(self, listener: _Listener, request: wsman.Request) -> tuple[int, bytes] | None:
        if request.action == "command":
            name = str(uuid.uuid4()).upper()
            command = listener.commands[name] = _Command(request.command_line)
            if request.last:
                self._start(listener, command)
            return 200, wsman.started(request, name)
        if request.action == "delete":
            listener.shells.discard(request.shell)
            return 200, wsman.done(request)
        if request.action == "signal":
            listener.commands.pop(request.command, None)
            return 200, wsman.done(request)
        found = listener.commands.get(request.command)
        if found is None:
            return 500, wsman.fault(
                request.message_id, wsman.SHELL_GONE, "The command was not found in the shell."
            )
        if request.action == "send":
            found.stdin += request.data
            if request.last:
                self._start(listener, found)
            return 200, wsman.done(request)
        return await self._receive(request, found)

    def _start(self, listener: _Listener, command: _Command) -> None:
        run: Callable[[str, bytes], Output] = listener.host.execute
        command.future = self._pool.submit(run, command.line, bytes(command.stdin))

    async def _receive(self, request: wsman.Request, command: _Command) -> tuple[int, bytes] | None:
        if command.future is None:
            waiting: asyncio.Future[Output] = self._loop.create_future()
        else:
            waiting = asyncio.wrap_future(command.future)
        try:
            result = await asyncio.wait_for(asyncio.shield(waiting), request.timeout_s)
        except TimeoutError:
            return 500, wsman.fault(request.message_id, wsman.TIMED_OUT, "The operation timed out.")
        if result.cut:
            return None
        return 200, wsman.output(request, result.stdout, result.stderr, result.exit_code)


def _headers(head: bytes) -> dict[bytes, bytes]:
    lines = head.split(b"\r\n")[1:]
    pairs = (line.split(b":", 1) for line in lines if b":" in line)
    return {name.strip().lower(): value.strip() for name, value in pairs}


def _answer(writer: asyncio.StreamWriter, status: int, body: bytes, more: bytes = b"") -> None:
    reason = {200: b"OK", 401: b"Unauthorized", 500: b"Internal Server Error"}[status]
    writer.write(
        b"HTTP/1.1 %d %s\r\nServer: Microsoft-HTTPAPI/2.0\r\n%sContent-Type: application/soap+xml;charset=UTF-8\r\n"
        b"Content-Length: %d\r\n\r\n" % (status, reason, more, len(body)) + body
    )


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a host that goes down does."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
