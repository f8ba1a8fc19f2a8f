"""The cost of the wire: our stream with frames beside raw TLS on the same machine in the same run.

    python bench/wire.py [--json FILE]

Two processes over loopback TCP. Round trip: a 4 KiB write there, its acknowledgement back, one at a time. Throughput: 1 MiB
writes one way. "Raw TLS" is a blocking SSLSocket that sends the same number of bytes without frames.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import selectors
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from twinhull.core import frames as core
from twinhull.core.identity import Id
from twinhull.transport import pki, tls
from twinhull.transport.frames import HEADER_BYTES
from twinhull.transport.protocol import Event, FrameReceived, StreamProtocol
from twinhull.transport.stream import TlsStream
from twinhull.transport.tls import Role

CLUSTER, MODULE = "bench", "vm1"
SESSION, GENERATION = Id(b"s" * 16), Id(b"g" * 16)
BLOCK_BYTES = 4096
CHUNK_BYTES = 1 << 20
ROUND_TRIPS = 5000
CHUNKS = 512
FRAME_BYTES = HEADER_BYTES + 8 + BLOCK_BYTES


class End:
    """One end of our stream, driven by one thread."""

    def __init__(self, sock: socket.socket, pki_dir: Path, node: str, peer: str) -> None:
        server_side = node == "b"
        context = tls.server_context(pki_dir) if server_side else tls.client_context(pki_dir)
        self.stream = TlsStream(sock, context, server_side=server_side, cluster=CLUSTER, names=[peer])
        self.protocol = StreamProtocol(cluster=CLUSTER, module=MODULE, node=node, peer=peer)
        self.selector = selectors.DefaultSelector()
        while not self.stream.handshake():
            time.sleep(0.001)
        self.selector.register(self.stream, selectors.EVENT_READ)
        self.push()
        while self.protocol.version is None:
            self.turn()
        self.protocol.set_session(SESSION, GENERATION)

    def push(self) -> None:
        self.stream.send(self.protocol.data_to_send())

    def turn(self) -> list[Event]:
        self.selector.select()
        return list(self.protocol.receive_data(self.stream.receive()))

    def drain(self) -> None:
        """Wait until the network has taken everything."""
        while self.stream.wants_write:
            self.selector.modify(self.stream, selectors.EVENT_WRITE)
            self.selector.select()
            self.stream.flush()
        self.selector.modify(self.stream, selectors.EVENT_READ)


def serve_frames(sock: socket.socket, pki_dir: Path) -> None:
    end = End(sock, pki_dir, "b", "a")
    seen = 0
    while seen < ROUND_TRIPS + CHUNKS:
        for event in end.turn():
            if isinstance(event, FrameReceived) and isinstance(event.frame, core.Write):
                seen = event.frame.seq
                if seen <= ROUND_TRIPS or seen == ROUND_TRIPS + CHUNKS:
                    end.protocol.send_frame(core.Ack(seen))
        end.push()


def measure_frames(sock: socket.socket, pki_dir: Path) -> tuple[list[float], float]:
    end = End(sock, pki_dir, "a", "b")
    block, chunk = bytes(BLOCK_BYTES), bytes(CHUNK_BYTES)

    def wait_ack() -> None:
        while not any(isinstance(event, FrameReceived) for event in end.turn()):
            pass

    times_s = []
    for seq in range(1, ROUND_TRIPS + 1):
        began_s = time.perf_counter()
        end.protocol.send_frame(core.Write(seq, seq * BLOCK_BYTES, block))
        end.push()
        wait_ack()
        times_s.append(time.perf_counter() - began_s)
    began_s = time.perf_counter()
    for number in range(1, CHUNKS + 1):
        end.protocol.send_frame(core.Write(ROUND_TRIPS + number, number * CHUNK_BYTES, chunk))
        end.push()
        end.drain()
    wait_ack()
    return times_s, CHUNKS * CHUNK_BYTES / (time.perf_counter() - began_s)


def receive_exactly(sock: ssl.SSLSocket, view: memoryview) -> None:
    while view:
        view = view[sock.recv_into(view) :]


def serve_raw(sock: socket.socket, pki_dir: Path) -> None:
    sock.setblocking(True)
    raw = tls.server_context(pki_dir).wrap_socket(sock, server_side=True)
    small, large = memoryview(bytearray(FRAME_BYTES)), memoryview(bytearray(CHUNK_BYTES))
    for _ in range(ROUND_TRIPS):
        receive_exactly(raw, small)
        raw.sendall(bytes(HEADER_BYTES))
    for _ in range(CHUNKS):
        receive_exactly(raw, large)
    raw.sendall(bytes(HEADER_BYTES))


def measure_raw(sock: socket.socket, pki_dir: Path) -> tuple[list[float], float]:
    sock.setblocking(True)
    raw = tls.client_context(pki_dir).wrap_socket(sock)
    small, large = bytes(FRAME_BYTES), bytes(CHUNK_BYTES)
    answer = memoryview(bytearray(HEADER_BYTES))
    times_s = []
    for _ in range(ROUND_TRIPS):
        began_s = time.perf_counter()
        raw.sendall(small)
        receive_exactly(raw, answer)
        times_s.append(time.perf_counter() - began_s)
    began_s = time.perf_counter()
    for _ in range(CHUNKS):
        raw.sendall(large)
    receive_exactly(raw, answer)
    return times_s, CHUNKS * CHUNK_BYTES / (time.perf_counter() - began_s)


def run(
    directory: Path,
    serve: Callable[[socket.socket, Path], None],
    measure: Callable[[socket.socket, Path], tuple[list[float], float]],
) -> dict[str, float]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    for sock in (near, far):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    other = multiprocessing.get_context("fork").Process(target=serve, args=(far, directory / "b"))
    other.start()
    far.close()
    times_s, bytes_per_s = measure(near, directory / "a")
    other.join()
    cuts = statistics.quantiles(times_s, n=100)
    return {
        "round_trip_p50_us": round(cuts[49] * 1e6, 1),
        "round_trip_p99_us": round(cuts[98] * 1e6, 1),
        "throughput_mib_per_s": round(bytes_per_s / (1 << 20), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        pki.init_ca(directory / "ca", CLUSTER)
        for node in ("a", "b"):
            pki.issue(directory / "ca", node, Role.NODE, directory / node)
        figures["frames over TlsStream"] = run(directory, serve_frames, measure_frames)
        figures["raw TLS"] = run(directory, serve_raw, measure_raw)
    print(f"{'':24}{'4 KiB p50':>12}{'4 KiB p99':>12}{'1 MiB blocks':>16}")
    for what, figure in figures.items():
        print(
            f"{what:24}{figure['round_trip_p50_us']:>9} us{figure['round_trip_p99_us']:>9} us"
            f"{figure['throughput_mib_per_s']:>10} MiB/s"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
