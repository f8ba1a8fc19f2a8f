"""The shell: real sockets on the loopback, the worker's loop, several connections, initiators that do not behave."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.exports.iscsi.conftest import GIB
from tests.integration.exports.iscsi.serving import Serving, settings_for
from tests.unit.exports.iscsi.initiator import Initiator, Pdu, read10, write10

from twinhull.errors import AttachError
from twinhull.exports.base import Op, Request
from twinhull.exports.iscsi import IscsiExport, LoopPoller
from twinhull.exports.iscsi.export import MAX_CONNECTIONS
from twinhull.worker.loop import Loop

MIB = 1 << 20
TIMEOUT_S = 30.0


class _Volume:
    """The volume is behind the socket."""

    def work(self) -> None:
        return


class _Far:
    """What the initiator thinks is the connection: a socket."""

    def __init__(self, own: socket.socket) -> None:
        self.own = own
        self.outgoing: list[bytes] = []

    def receive_data(self, data: bytes) -> None:
        self.own.sendall(data)


class _FarTarget:
    """What the initiator thinks is the target."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.own = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)

    def connect(self) -> _Far:
        return _Far(self.own)


class SocketInitiator(Initiator):
    """The unit tests' initiator over TCP: each answer is waited for."""

    def __init__(self, serving: Serving, **options: object) -> None:
        self.far = _FarTarget(serving.settings.name, serving.port)
        self.socket = self.far.own
        super().__init__(self.far, _Volume(), **options)  # type: ignore[arg-type]

    def heard(self) -> list[Pdu]:
        """Everything up to one whole PDU at least; nothing more when the connection has ended."""
        while True:
            found = super().heard()
            if found:
                return found
            got = self.socket.recv(1 << 20)
            if not got:
                return []
            self._in += got

    def tell(self, cdb: bytes, **options: object) -> int:
        """Send a command without waiting for its answer; its tag."""
        heard, self.heard = self.heard, list  # type: ignore[method-assign]
        try:
            tag, _ = self.command_pdu(cdb, **options)  # type: ignore[arg-type]
        finally:
            self.heard = heard  # type: ignore[method-assign]
        return tag

    def ended(self) -> bool:
        """Whether the target has closed the connection, or does now."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65536):
                pass
        return True


@pytest.fixture
def serving(backing: Path) -> Iterator[Serving]:
    """A served volume without a secret."""
    with Serving(backing, settings_for(GIB, chap=None)) as serving:
        yield serving


def logged_in(serving: Serving, **options: object) -> SocketInitiator:
    """An initiator with a session."""
    initiator = SocketInitiator(serving, **options)
    assert initiator.login(chap=None) == 0
    initiator.settle()
    return initiator


def test_it_listens_on_the_loopback_alone(serving: Serving) -> None:
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{serving.port:04X}")
    ]
    assert listening == [f"0100007F:{serving.port:04X}"]


def test_a_port_that_is_taken_is_an_error_that_says_so(serving: Serving) -> None:
    with pytest.raises(AttachError, match="cannot listen"):
        IscsiExport(serving.settings, port=serving.port)


def test_what_is_written_is_read_back(serving: Serving, backing: Path) -> None:
    initiator = logged_in(serving)
    data = os.urandom(MIB)
    assert initiator.run(write10(0, 2048), out=data).status == 0
    assert initiator.run(read10(0, 2048), room=MIB).data == data
    assert backing.read_bytes()[:MIB] == data
    assert serving.export.initiator == initiator.name


def test_pings_are_answered_while_the_volume_holds_its_io_and_then_all_is_answered(serving: Serving) -> None:
    initiator = logged_in(serving)
    serving.take(lambda _: False)
    for index in range(8):
        initiator.tell(write10(8 * index, 8), flags=0xA1, expected=4096, data=b"x" * 4096)
    [pong] = initiator.nop(b"there?")
    assert pong.data == b"there?"
    assert serving.export.in_flight == 8
    serving.release()
    answered: list[Pdu] = []
    while len(answered) < 8:
        answered += initiator.heard()
    assert [pdu.head[3] for pdu in answered] == [0] * 8


def test_an_answer_never_waits_for_another_request(serving: Serving) -> None:
    """Answers are sent together, but not at the cost of one that is ready."""
    initiator = logged_in(serving)
    serving.take(lambda request: request.op is not Op.FLUSH)
    initiator.tell(bytes((0x35,)))
    assert initiator.run(write10(0, 1), out=bytes(512)).status == 0
    assert initiator.run(read10(0, 1), room=512).status == 0
    assert serving.export.in_flight == 1
    serving.release()
    assert [pdu.opcode for pdu in initiator.heard()] == [0x21]


def test_our_ping_reaches_the_initiator(serving: Serving) -> None:
    initiator = logged_in(serving)
    serving.ask(serving.export.ping)
    [ping] = initiator.heard()
    assert ping.opcode == 0x20
    assert ping.word(16) == 0xFFFFFFFF


def test_a_second_session_is_refused_until_the_first_is_gone(serving: Serving) -> None:
    first = logged_in(serving)
    other = SocketInitiator(serving, name="iqn.2005-03.org.example:other")
    assert other.login(chap=None) == 0x0302
    assert other.ended()
    assert first.run(bytes(6)).status == 0
    first.logout()
    assert first.ended()
    logged_in(serving, name="iqn.2005-03.org.example:other")


def test_the_same_initiator_comes_back_before_its_broken_connection_is_noticed(serving: Serving) -> None:
    first = logged_in(serving)
    serving.take(lambda _: False)
    first.tell(write10(0, 1), flags=0xA1, expected=512, data=b"1" * 512)
    first.nop()
    second = logged_in_without_attention(serving)
    assert first.ended()
    serving.release()
    second.settle()
    assert second.run(read10(0, 1), room=512).data == b"1" * 512


def logged_in_without_attention(serving: Serving) -> SocketInitiator:
    """An initiator with a session that has sent no command."""
    initiator = SocketInitiator(serving)
    assert initiator.login(chap=None) == 0
    return initiator


def test_connections_that_never_log_in_are_bounded_and_the_session_stays(serving: Serving) -> None:
    first = logged_in(serving)
    idle = [SocketInitiator(serving) for _ in range(MAX_CONNECTIONS + 3)]
    assert SocketInitiator(serving, name="iqn.2005-03.org.example:other").login(chap=None) == 0x0302
    assert all(old.ended() for old in idle[:3])
    assert first.run(bytes(6)).status == 0


def test_an_initiator_that_does_not_read_is_held_up_and_loses_nothing(serving: Serving) -> None:
    initiator = logged_in(serving)
    data = os.urandom(MIB)
    assert initiator.run(write10(0, 2048), out=data).status == 0
    tags = [initiator.tell(read10(0, 2048), flags=0xC1, expected=MIB) for _ in range(48)]
    got: dict[int, bytes] = {}
    done: list[int] = []
    while len(done) < len(tags):
        for pdu in initiator.heard():
            got[pdu.word(16)] = got.get(pdu.word(16), b"") + pdu.data
            if pdu.head[1] & 1:
                done.append(pdu.word(16))
    assert sorted(done) == sorted(tags)
    assert all(content == data for content in got.values())


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_connection_that_breaks_in_the_middle_of_a_write_leaves_the_volume_alone(
    serving: Serving, how: str
) -> None:
    initiator = logged_in(serving)
    _, [r2t] = initiator.command_pdu(write10(0, 2048), flags=0xA1, expected=MIB)
    assert r2t.opcode == 0x31
    initiator.socket.sendall(struct.pack(">BBHI40x", 0x05, 0, 0, 65536) + b"x" * 1000)
    if how == "reset":
        initiator.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    initiator.socket.close()
    again = SocketInitiator(serving)
    assert again.login(chap=None) == 0
    again.settle()
    assert Op.WRITE not in {op for op, *_ in serving.seen}
    assert again.run(read10(0, 1), room=512).data == bytes(512)


def test_a_session_that_is_lost_frees_its_place(serving: Serving) -> None:
    first = logged_in(serving)
    first.socket.close()
    while True:
        other = SocketInitiator(serving, name="iqn.2005-03.org.example:other")
        if other.login(chap=None) == 0:
            break
    other.settle()


def test_closing_the_export_ends_its_connections_at_once(backing: Path) -> None:
    with Serving(backing, settings_for(GIB, chap=None)) as serving:
        initiator = logged_in(serving)
        serving.take(lambda _: False)
        initiator.tell(write10(0, 1), flags=0xA1, expected=512, data=b"1" * 512)
        initiator.nop()
        held = serving.held[0]
        serving.ask(serving.export.close)
        assert initiator.ended()
        assert serving.export.fileno() == -1
        serving.export.reply(held.tag)
        serving.export.close()
        assert held.data is not None
        assert bytes(held.data) == b"1" * 512, "what was not answered stays readable"
        with pytest.raises(ConnectionRefusedError):
            SocketInitiator(serving)


def test_a_reply_to_what_is_not_under_way_is_refused(serving: Serving) -> None:
    failures: list[str] = []

    def wrong() -> None:
        try:
            serving.export.reply(4711)
        except ValueError as error:
            failures.append(str(error))

    serving.ask(wrong)
    assert failures == ["request 4711 is not under way"]


class LoopServing:
    """The export on the worker's own loop: by its descriptor, or with each socket watched by the loop."""

    def __init__(self, *, each_socket: bool) -> None:
        self.loop = Loop(lambda: None, stall_s=10.0)
        self.settings = settings_for(64 * MIB, chap=None)
        self.content = bytearray(64 * MIB)
        poller = LoopPoller(self.loop, self._serve) if each_socket else None
        self.export = IscsiExport(self.settings, poller=poller)
        self.port = self.export.port
        if not each_socket:
            self.loop.watch(self.export.fileno(), self._serve)
        self._thread = threading.Thread(target=self.loop.run, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for request in self.export.receive():
            self._answer(request)

    def _answer(self, request: Request) -> None:
        here = slice(request.offset_bytes, request.offset_bytes + request.length_bytes)
        if request.op is Op.WRITE:
            assert request.data is not None
            self.content[here] = request.data
        # Later, and one by one: as a mirror's answers come.
        data = bytes(self.content[here]) if request.op is Op.READ else None
        self.loop.post(lambda: self.export.reply(request.tag, 0, data))

    def end(self) -> None:
        """Close the export on the loop, and end it."""

        def close() -> None:
            self.export.close()
            self.loop.stop()

        self.loop.post(close)
        self._thread.join(TIMEOUT_S)


@pytest.mark.parametrize("each_socket", [False, True])
def test_it_is_served_by_the_loop_of_the_worker(each_socket: bool) -> None:
    serving = LoopServing(each_socket=each_socket)
    try:
        initiator = logged_in(serving)  # type: ignore[arg-type]
        data = os.urandom(8 * MIB)
        for index in range(8):
            piece = data[index * MIB : (index + 1) * MIB]
            assert initiator.run(write10(2048 * index, 2048), out=piece).status == 0
        tags = [initiator.tell(read10(2048 * index, 2048), flags=0xC1, expected=MIB) for index in range(8)]
        got: dict[int, bytes] = {}
        done = 0
        while done < len(tags):
            for pdu in initiator.heard():
                got[pdu.word(16)] = got.get(pdu.word(16), b"") + pdu.data
                done += pdu.head[1] & 1
        assert b"".join(got[tag] for tag in tags) == data
        assert initiator.run(bytes((0x35,))).status == 0
    finally:
        serving.end()
    assert initiator.ended()
