"""The etcd witness against real etcd servers."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.witness.servers import EtcdCluster, cluster, make_certificates, programs

from twinhull.checkers.witness.etcd import OutcomeUnknownError
from twinhull.core import memory
from twinhull.core.identity import Generation, Id
from twinhull.core.memory import WitnessRecord
from twinhull.errors import WitnessError

A, B, GENERATION = Id(b"replica-a" + bytes(7)), Id(b"replica-b" + bytes(7)), Id(b"generation" + bytes(6))
MINE = Generation(GENERATION)


def record(*replicas: Id, request: int = 1) -> WitnessRecord:
    """A record that lists these."""
    return WitnessRecord(GENERATION, None, replicas, Id(request.to_bytes(16, "big")), "a")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One server."""
    with cluster(tmp_path_factory.mktemp("etcd")) as made:
        yield made


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Three servers."""
    with cluster(tmp_path_factory.mktemp("etcd3"), 3) as made:
        yield made


def test_absent_key_is_seen_as_absent_and_is_written_once(one: EtcdCluster) -> None:
    a, b = one.witness("absent"), one.witness("absent")
    seen = a.read(5.0)
    assert seen.record is None and seen.key_revision == 0
    assert a.write(0, record(A, B), 5.0)[0]
    done, found = b.write(0, record(B), 5.0)
    assert not done and found.record == record(A, B)
    assert found.key_revision == b.read(5.0).key_revision > 0


def test_of_two_that_read_the_same_revision_one_alone_is_granted(one: EtcdCluster) -> None:
    a, b = one.witness("race"), one.witness("race")
    a.write(0, record(A, B), 5.0)
    revision = a.read(5.0).key_revision
    granted: list[Id] = []

    def ask(replica: Id) -> None:
        if (a if replica == A else b).write(revision, record(replica), 10.0)[0]:
            granted.append(replica)

    threads = [threading.Thread(target=ask, args=(replica,)) for replica in (A, B)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 1
    seen = a.read(5.0)
    assert seen.record is not None and seen.record.may_start == tuple(granted)


def test_record_deleted_by_hand_is_absent_and_a_write_upon_it_fails(one: EtcdCluster) -> None:
    a = one.witness("deleted")
    _, seen = a.write(0, record(A, B), 5.0)
    one.ctl("del", "/twinhull/lyon/deleted")
    assert not a.write(seen.key_revision, record(A), 5.0)[0]
    found = a.read(5.0)
    assert found.record is None and memory.judge(found, A, MINE).refusal


def test_value_that_is_not_ours_is_a_refusal_and_can_be_replaced(one: EtcdCluster) -> None:
    a = one.witness("foreign")
    one.ctl("put", "/twinhull/lyon/foreign", "hello")
    seen = a.read(5.0)
    assert seen.record is None and "cannot be read" in memory.judge(seen, A, MINE).refusal
    assert a.write(seen.key_revision, record(A), 5.0)[0]


def test_server_whose_certificate_is_of_another_authority_is_not_asked(
    one: EtcdCluster, tmp_path: Path
) -> None:
    make_certificates(tmp_path)
    stranger = EtcdCluster(tmp_path, servers=one.servers)
    with pytest.raises(WitnessError, match="cannot be reached"):
        stranger.witness("absent").read(5.0)


def test_without_a_client_certificate_nothing_is_answered(one: EtcdCluster) -> None:
    context = ssl.create_default_context(cafile=str(one.directory / "ca.crt"))
    request = b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", one.servers[0].client), 10.0) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as sock,
        pytest.raises(OSError, match=r"certificate required|bad certificate|reset"),
    ):
        sock.sendall(request)
        sock.recv(1)


def test_frozen_server_is_an_unknown_outcome_and_the_late_write_fails_by_its_revision(
    one: EtcdCluster,
) -> None:
    """The write of a question that was given up may land; whoever wrote meanwhile is not overwritten."""
    a = one.witness("late")
    _, seen = a.write(0, record(A, B), 5.0)
    server = one.servers[0]
    one.signal(server, signal.SIGSTOP)
    try:
        with pytest.raises((OutcomeUnknownError, WitnessError)):
            a.write(seen.key_revision, record(A, request=2), 1.0)
    finally:
        one.signal(server, signal.SIGCONT)
    one.wait()
    now = a.read(5.0)
    assert now.record in (record(A, B), record(A, request=2))
    assert a.write(now.key_revision, record(A, B, request=3), 5.0)[0]
    again = a.read(5.0)
    assert again.record == record(A, B, request=3)


def test_answer_that_is_lost_is_an_unknown_outcome_and_is_found_by_reading_again(one: EtcdCluster) -> None:
    a = one.witness("lost")
    _, seen = a.write(0, record(A, B), 5.0)
    relay = _LosesAnswers(one)
    with relay as port, pytest.raises(OutcomeUnknownError):
        one.witness("lost", [port]).write(seen.key_revision, record(A, request=2), 20.0)
    assert b'"succeeded":true' in relay.answer
    found = a.read(5.0)
    assert found.record == record(A, request=2)
    assert a.write(found.key_revision, record(A, request=3), 5.0)[0]


class _LosesAnswers:
    """A stand in front of a server: the request is passed on and answered there; the answer goes nowhere."""

    def __init__(self, etcd: EtcdCluster) -> None:
        self._etcd = etcd
        directory = etcd.directory
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(directory / "one.crt", directory / "one.key")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.answer = b""

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        raw, _ = self._listener.accept()
        port = self._etcd.servers[0].client
        with (
            self._context.wrap_socket(raw, server_side=True) as client,
            socket.create_connection(("127.0.0.1", port), 30.0) as plain,
            self._etcd.context().wrap_socket(plain, server_hostname="127.0.0.1") as server,
        ):
            server.sendall(client.recv(65_536))
            while data := server.recv(65_536):
                self.answer += data


def test_two_of_three_servers_answer_and_one_alone_does_not(three: EtcdCluster) -> None:
    a = three.witness("majority")
    a.write(0, record(A, B), 10.0)
    three.kill(three.servers[0])
    found = a.read(20.0)
    assert found.record == record(A, B)
    assert a.write(found.key_revision, record(A), 20.0)[0]
    three.kill(three.servers[1])
    with pytest.raises(WitnessError):
        a.read(3.0)
    for server in three.servers[:2]:
        three.run(server)
    three.wait()
    assert three.witness("majority").read(10.0).record == record(A)


def test_restore_from_a_backup_is_told_by_the_cluster_or_by_the_revision(tmp_path: Path) -> None:
    with cluster(tmp_path) as etcd:
        a = etcd.witness("restored")
        a.write(0, record(A, B), 5.0)
        backup = str(tmp_path / "backup.db")
        etcd.ctl("snapshot", "save", backup)
        _, last = a.write(a.read(5.0).key_revision, record(B), 5.0)
        known = memory.remember(last)
        for token, words in (("second", "another one"), ("first", "older")):
            etcd.stop()
            server = etcd.servers[0]
            server.data = tmp_path / f"restored-{token}"
            peer = f"https://127.0.0.1:{server.peer}"
            subprocess.run(
                [
                    programs()[1], "snapshot", "restore", backup, "--name", server.name,
                    "--data-dir", str(server.data), "--initial-cluster", f"{server.name}={peer}",
                    "--initial-cluster-token", token, "--initial-advertise-peer-urls", peer,
                ],
                env={"ETCDCTL_API": "3", "PATH": "/usr/bin"}, check=True, capture_output=True, timeout=60,
            )  # fmt: skip
            etcd.token = token
            etcd.start()
            seen = etcd.witness("restored").read(5.0)
            assert seen.record == record(A, B), "the backup is from before the grant"
            assert words in memory.strange(seen, known)


def test_value_is_what_a_person_can_read(one: EtcdCluster) -> None:
    one.witness("plain").write(0, record(A), 5.0)
    value = one.ctl("get", "--print-value-only", "/twinhull/lyon/plain").strip()
    assert memory.decode(value.encode()) == record(A)
