"""The local connection between an agent and its workers.

Linux: a Unix socket that root alone may open. Windows: Python has no Unix sockets there and the loop can wait for
nothing but sockets, so it is TCP on 127.0.0.1, which every account of the host can reach; a private file therefore names
the port and two random tokens. Whoever connects sends the first, and gets the second back: both ends have then shown
that they can read
the file.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import socket
import struct
import sys
import time
from pathlib import Path
from typing import NamedTuple

from twinhull.secrets_file import make_private_directory, write_private

TOKEN_BYTES = 32
LOOPBACK = "127.0.0.1"
BACKLOG = 4


class Ends(NamedTuple):
    """What both ends of a TCP connection must know; empty tokens where the socket itself is private."""

    asks: bytes = b""
    answers: bytes = b""


class Listening:
    """A worker's listening socket. Raises OSError.

    Args:
        path: of the Unix socket, or of the private file; replaced if a dead worker left it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ends = Ends()
        path.unlink(missing_ok=True)
        if sys.platform == "win32":
            self.socket = socket.create_server((LOOPBACK, 0), backlog=BACKLOG)
            self.ends = Ends(secrets.token_bytes(TOKEN_BYTES), secrets.token_bytes(TOKEN_BYTES))
            make_private_directory(path.parent)
            words = {
                "port": self.socket.getsockname()[1],
                "pid": os.getpid(),
                "asks": self.ends.asks.hex(),
                "answers": self.ends.answers.hex(),
            }
            write_private(path, json.dumps(words).encode())
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.bind(str(path))
            path.chmod(0o600)
            self.socket.listen(BACKLOG)
        self.socket.setblocking(False)

    def close(self) -> None:
        """Stop listening; nobody finds it any more."""
        self.socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def connect(path: Path, timeout_s: float) -> tuple[socket.socket, int]:
    """A connection to the worker that listens at `path`, and the id of its process.

    Raises OSError when nobody does, or somebody who is not the worker.
    """
    if sys.platform == "win32":
        return _connect_by_token(path, timeout_s)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        connection.close()
        raise
    return connection, int(struct.unpack("3i", credentials)[0])


def _connect_by_token(path: Path, timeout_s: float) -> tuple[socket.socket, int]:
    try:
        words = json.loads(path.read_bytes())
        port, pid = int(words["port"]), int(words["pid"])
        asks, answers = bytes.fromhex(words["asks"]), bytes.fromhex(words["answers"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConnectionError(f"{path} cannot be read: {error!r}") from error
    deadline_s = time.monotonic() + timeout_s
    connection = socket.create_connection((LOOPBACK, port), timeout=timeout_s)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(asks)
        got = b""
        while len(got) < len(answers):
            connection.settimeout(max(0.01, deadline_s - time.monotonic()))
            more = connection.recv(len(answers) - len(got))
            if not more:
                raise ConnectionError("it closed the connection")
            got += more
        if not hmac.compare_digest(got, answers):
            raise ConnectionError("somebody else listens there")
        connection.settimeout(timeout_s)
    except OSError:
        connection.close()
        raise
    return connection, pid


def writable(connection: socket.socket) -> bool:
    """Whether something can be sent without waiting."""
    import select

    if sys.platform == "win32":
        return bool(select.select([], [connection], [], 0)[1])
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    return bool(poll.poll(0))
