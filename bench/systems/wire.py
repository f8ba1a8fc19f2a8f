"""The raw wire: TLS 1.3 between the two ends of a lab's network, with nothing of ours but the certificates.

python -m bench.systems.wire serve PKI ADDRESS
python -m bench.systems.wire WHAT PKI ADDRESS SECONDS
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab.commands import LabError, run
from tests.lab.install import NODE_PATHS, write_certificates
from tests.lab.lab import Lab
from tests.lab.node import Node
from tests.lab.waiting import wait_until

from bench.cell import environment
from bench.rows import Sample
from twinhull.transport import tls

PORT = 7499
MESSAGE_BYTES, ACK_BYTES, CHUNK_BYTES = 4096 + 48, 40, 1 << 20
BUFFER_BYTES = 4 << 20
DEPTH = 16
NETWORK = "replication"
PATIENCE_S = 30.0
ROUND, PIPELINE, STREAM = "round", "pipeline", "stream"
SIZES = {ROUND: MESSAGE_BYTES, PIPELINE: MESSAGE_BYTES, STREAM: CHUNK_BYTES}


class Wire:
    """Two nodes without agents; measures what their network gives."""

    def __init__(self, directory: Path, name: str) -> None:
        self.lab = Lab(directory, name)
        self.lab.up()
        try:
            write_certificates(self.lab)
            address = self.lab.fabric.address("b", NETWORK)
            near, far = self.lab["a"], self.lab["b"]
            self._near = _command(near, address)
            log = directory / "wire.log"
            with log.open("ab") as file:
                argv = [sys.executable, "-m", "bench.systems.wire", "serve", NODE_PATHS["pki_dir"], address]
                self._server = far.popen(argv, stdout=file, stderr=file, env=environment())
            wait_until("the TLS server", lambda: "ready" in log.read_text(encoding="utf-8"), PATIENCE_S)
        except BaseException:
            self.lab.down()
            raise

    def measure(self, what: str, seconds: float) -> Sample:
        """One figure: ms of a round trip, messages a second 16 at a time, or MB/s of a stream."""
        output = run(
            self._near(what, seconds), timeout_s=seconds + PATIENCE_S, env=environment(), cwd="/"
        ).stdout
        return Sample(float(json.loads(output)))

    def close(self) -> None:
        """Take the nodes away."""
        self.lab.down()
        self._server.wait()


def _command(node: Node, address: str) -> Callable[[str, float], list[str]]:
    words = [sys.executable, "-m", "bench.systems.wire"]
    return lambda what, seconds: node.enter([*words, what, NODE_PATHS["pki_dir"], address, f"{seconds:g}"])


# -- the two ends ----------------------------------------------------------------------------------


def _exactly(sock: socket.socket, view: memoryview) -> bool:
    """Fill the view; False at the end of the stream."""
    while view:
        count = sock.recv_into(view)
        if not count:
            return False
        view = view[count:]
    return True


def _tuned(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    return sock


def serve(pki: Path, address: str) -> None:
    """Take one connection after the other; its first byte says what to answer."""
    context = tls.server_context(pki)
    with socket.create_server((address, PORT)) as listening:
        print("ready", flush=True)
        while True:
            plain, _ = listening.accept()
            # Who measures many at a time leaves with answers unread, which resets the connection.
            with contextlib.suppress(OSError), context.wrap_socket(_tuned(plain), server_side=True) as sock:
                _answer(sock)


def _answer(sock: socket.socket) -> None:
    what = {b"r": ROUND, b"p": PIPELINE, b"s": STREAM}[sock.recv(1)]
    room, ack = memoryview(bytearray(SIZES[what])), bytes(ACK_BYTES)
    while _exactly(sock, room):
        if what != STREAM or room[0]:
            sock.sendall(ack)


def measure(what: str, pki: Path, address: str, seconds: float) -> float:
    """The other end; see `Wire.measure`."""
    plain = _tuned(socket.create_connection((address, PORT)))
    ack = memoryview(bytearray(ACK_BYTES))
    message = bytes(SIZES[what])
    with tls.client_context(pki).wrap_socket(plain) as sock:
        sock.sendall(what[:1].encode())
        begun_s = time.perf_counter()
        count, times_s = 0, []
        if what == PIPELINE:
            for _ in range(DEPTH):
                sock.sendall(message)
        while (now_s := time.perf_counter()) < begun_s + seconds:
            sock.sendall(message)
            if what != STREAM:
                _exactly(sock, ack)
            times_s.append(time.perf_counter() - now_s)
            count += 1
        if what == STREAM:
            sock.sendall(b"\1" + message[1:])
            _exactly(sock, ack)
            return (count + 1) * CHUNK_BYTES / (time.perf_counter() - begun_s) / 1e6
        if what == PIPELINE:
            return count / (time.perf_counter() - begun_s)
        return statistics.median(times_s) * 1e3


def main() -> None:
    """One end of the wire."""
    what, pki, address, *rest = sys.argv[1:]
    if what == "serve":
        serve(Path(pki), address)
    elif what in SIZES:
        print(json.dumps(measure(what, Path(pki), address, float(rest[0]))))
    else:
        raise LabError(f"there is no {what}")


if __name__ == "__main__":
    main()
