"""A short-lived listener on one node and measured connections from the other.

The protocol, one TCP connection each: the client sends `TWINHULL-PREFLIGHT <token> echo|sink` and a line feed, the
listener answers `OK` and a line feed. `echo` sends every byte back. `sink` reads to the end and answers with the number of
bytes. Anything else is closed. A connection that sends nothing is enough to know that the port can be reached.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

GREETING = b"TWINHULL-PREFLIGHT"
CLIENT_TIMEOUT_S = 5.0
CHUNK_BYTES = 1 << 20
ECHOES = 21
PROCESS_NAME = "twinhull-probe"
_MAX_LINE_BYTES = 256
_REASONS = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "no-route",
    errno.ENETUNREACH: "no-route",
    errno.EHOSTDOWN: "no-route",
    errno.EACCES: "blocked-here",
    errno.EPERM: "blocked-here",
    errno.EADDRNOTAVAIL: "no-address",
    errno.ECONNRESET: "reset",
}


class Listener(NamedTuple):
    """A running listener: its process and when that was started, so that no other process is taken for it."""

    pid: int
    started: str


def bind(wanted: list[dict[str, Any]]) -> tuple[list[socket.socket], list[dict[str, Any]]]:
    """Listening sockets, and for each wanted address and port whether it could be bound."""
    sockets, results = [], []
    for entry in wanted:
        address, port = str(entry["address"]), int(entry["port"])
        server = socket.socket(_family(address), socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((address, port))
            server.listen(64)
        except OSError as error:
            server.close()
            results.append(
                {"address": address, "port": port, "bound": False, "error": error.strerror or str(error)}
            )
            continue
        sockets.append(server)
        results.append({"address": address, "port": port, "bound": True, "error": ""})
    return sockets, results


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def detach(servers: list[socket.socket], token: str, lifetime_s: float) -> Listener:
    """Serve in a process of its own, which ends by itself after this many seconds, and return at once."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        _become_daemon(writer, servers)
        try:
            serve(servers, token, time.monotonic() + lifetime_s)
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    pid = int(os.read(reader, 32) or b"0")
    os.close(reader)
    for server in servers:
        server.close()
    return Listener(pid, start_time(pid))


def _become_daemon(writer: int, servers: list[socket.socket]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")
    with open("/proc/self/comm", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(PROCESS_NAME)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    kept = {0, 1, 2, writer, *(server.fileno() for server in servers)}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                continue  # the descriptor by which the directory itself was listed
    os.write(writer, str(os.getpid()).encode())
    os.close(writer)


def start_time(pid: int) -> str:
    """When this process was started, in the kernel's ticks; empty when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def stop(listener: Listener, timeout_s: float = 5.0) -> bool:
    """End the listener; whether it still ran."""
    if not listener.pid or start_time(listener.pid) != listener.started:
        return False
    os.kill(listener.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while start_time(listener.pid) == listener.started and time.monotonic() < deadline:
        time.sleep(0.01)
    return True


def serve(servers: list[socket.socket], token: str, deadline: float) -> None:
    """Answer one connection after the other until `deadline` (CLOCK_MONOTONIC, seconds)."""
    with selectors.DefaultSelector() as selector:
        for server in servers:
            selector.register(server, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                _answer(key.fileobj, token)  # type: ignore[arg-type]


def _answer(server: socket.socket, token: str) -> None:
    try:
        client, _ = server.accept()
    except OSError:
        return  # it was closed before we came to it
    with client:
        client.settimeout(CLIENT_TIMEOUT_S)
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request = _read_line(client)
            if request == b"%s %s echo" % (GREETING, token.encode()):
                client.sendall(b"OK\n")
                _echo(client)
            elif request == b"%s %s sink" % (GREETING, token.encode()):
                client.sendall(b"OK\n")
                client.sendall(b"%d\n" % _sink(client))
        except OSError:
            return  # the client went away: the next one is waiting


def _read_line(client: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES:
        byte = client.recv(1)
        if not byte:
            break
        line += byte
    return line.strip()


def _echo(client: socket.socket) -> None:
    while True:
        data = client.recv(4096)
        if not data:
            return
        client.sendall(data)


def _sink(client: socket.socket) -> int:
    buffer, total = bytearray(CHUNK_BYTES), 0
    while True:
        count = client.recv_into(buffer)
        if not count:
            return total
        total += count


def connect_all(targets: list[dict[str, Any]], token: str, timeout_s: float) -> list[dict[str, Any]]:
    """Try every target at once, then measure the round trip where our own listener answers, one after the other."""
    if not targets:
        return []
    with ThreadPoolExecutor(max_workers=min(32, len(targets))) as pool:
        results = list(pool.map(lambda target: _reach(target, timeout_s), targets))
    for target, result in zip(targets, results):  # noqa: B905  strict came with Python 3.10
        if target.get("echo") and result["outcome"] == "connected":
            result.update(_measure(target, token, timeout_s, _round_trips))
    return results


def bandwidth_all(
    targets: list[dict[str, Any]], token: str, timeout_s: float, max_bytes: int, max_s: float
) -> list[dict[str, Any]]:
    """Send to each target's sink, one after the other, until either bound is met."""
    results = []
    for target in targets:
        result = {**target, "outcome": "connected", "error": ""}
        result.update(
            _measure(target, token, timeout_s, lambda sock: _transfer(sock, max_bytes, max_s), "sink")
        )
        results.append(result)
    return results


def _open(target: dict[str, Any], timeout_s: float) -> socket.socket:
    sock = socket.socket(_family(target["to"]), socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((target["from"], 0))
        sock.connect((target["to"], int(target["port"])))
    except OSError:
        sock.close()
        raise
    return sock


def _reach(target: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    begin = time.monotonic()
    try:
        with _open(target, timeout_s):
            elapsed_ms = (time.monotonic() - begin) * 1000
            return {**target, "outcome": "connected", "error": "", "connect_ms": round(elapsed_ms, 3)}
    except OSError as error:
        return {**target, "outcome": reason(error), "error": error.strerror or str(error)}


def reason(error: OSError) -> str:
    """One word for why a connection failed: refused, timeout, no-route, blocked-here, no-address, reset, error."""
    if isinstance(error, socket.timeout):
        return "timeout"
    return _REASONS.get(error.errno or 0, "error")


def _measure(
    target: dict[str, Any], token: str, timeout_s: float, work: Any, word: str = "echo"
) -> dict[str, Any]:
    try:
        with _open(target, timeout_s) as sock:
            sock.sendall(b"%s %s %s\n" % (GREETING, token.encode(), word.encode()))
            if _read_line(sock) != b"OK":
                return {"measured": False, "error": "another program answered on this port"}
            return {"measured": True, **work(sock)}
    except OSError as error:
        return {"measured": False, "outcome": reason(error), "error": error.strerror or str(error)}


def _round_trips(sock: socket.socket) -> dict[str, Any]:
    times_ms = []
    for _ in range(ECHOES):
        begin = time.monotonic()
        sock.sendall(b"x")
        if not sock.recv(1):
            raise ConnectionResetError(errno.ECONNRESET, "the listener closed the connection")
        times_ms.append((time.monotonic() - begin) * 1000)
    return {"rtt_ms": round(statistics.median(times_ms), 3), "rtt_worst_ms": round(max(times_ms), 3)}


def _transfer(sock: socket.socket, max_bytes: int, max_s: float) -> dict[str, Any]:
    chunk, sent = os.urandom(CHUNK_BYTES), 0
    begin = time.monotonic()
    while sent < max_bytes and time.monotonic() - begin < max_s:
        # send, not sendall: on a slow link a whole chunk could take longer than the bound allows
        sent += sock.send(chunk[: min(65536, max_bytes - sent)])
    sock.shutdown(socket.SHUT_WR)
    # What waits in buffers still has to cross a slow link before the count comes back.
    sock.settimeout(30.0)
    received = int(_read_line(sock) or b"0")
    elapsed_s = time.monotonic() - begin
    return {
        "bytes": received,
        "seconds": round(elapsed_s, 6),
        "bytes_per_s": round(received / elapsed_s) if elapsed_s > 0 else 0,
    }
