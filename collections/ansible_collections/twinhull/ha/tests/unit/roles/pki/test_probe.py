# Copyright: Contributors to the Twinhull project
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The probe tells a listener that took a certificate from one that did not, and from one that keeps silent."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROBE = Path(__file__).resolve().parents[4] / "roles" / "pki" / "files" / "probe.py"
PEM = serialization.Encoding.PEM


class Authority:
    """A real authority.

    Args:
        directory: where certificates of it are put.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.name = directory, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.file = directory / f"{name}.crt"
        self.file.write_bytes(self._signed(self.key, name).public_bytes(PEM))

    def issue(self, name: str) -> Path:
        """A file with key and certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = self.directory / f"{self.name}-{name}.pem"
        path.write_bytes(private + self._signed(key, name).public_bytes(PEM))
        return path

    def _signed(self, key: ec.EllipticCurvePrivateKey, name: str) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == self.name, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )


@contextmanager
def listener(own: Path, *trusted: Path) -> Iterator[int]:
    """Accepts whoever has a certificate of a trusted authority, until he ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(own)
    for authority in trusted:
        context.load_verify_locations(authority)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, context), daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(server: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            plain, _ = server.accept()
        except OSError:
            return
        with plain:
            try:
                with context.wrap_socket(plain, server_side=True) as tls:
                    while tls.recv(100):
                        pass
            except OSError:
                continue


def probe(certificate: Path, *ports: int) -> list[dict[str, Any]]:
    arguments = [
        sys.executable,
        "-c",
        PROBE.read_text(),
        json.dumps({"ports": [["127.0.0.1", port] for port in ports]}),
    ]
    ran = subprocess.run(
        arguments, input=certificate.read_text(), capture_output=True, text=True, timeout=60, check=True
    )
    told: list[dict[str, Any]] = json.loads(ran.stdout)["ports"]
    return told


def test_a_listener_that_knows_the_authority_trusts_and_shows_its_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "old")
    own = authority.issue("a")
    with listener(own, authority.file) as port:
        (told,) = probe(authority.issue("probe"), port)
    shown = x509.load_pem_x509_certificate(own.read_bytes()[own.read_bytes().index(b"-----BEGIN CERT") :])
    assert told == {
        "address": "127.0.0.1",
        "port": port,
        "listens": True,
        "trusts": True,
        "fingerprint": shown.fingerprint(hashes.SHA256()).hex(),
    }


def test_a_listener_that_does_not_know_the_authority_is_never_taken_for_one_that_does(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    with listener(old.issue("a"), old.file) as port:
        (told,) = probe(new.issue("probe"), port)
    assert told["listens"]
    assert told["trusts"] is not True


def test_a_listener_that_was_told_of_both_authorities_trusts_both(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    with listener(old.issue("a"), old.file, new.file) as port:
        assert [probe(authority.issue("probe"), port)[0]["trusts"] for authority in (old, new)] == [
            True,
            True,
        ]


def test_a_port_where_nobody_listens_is_told_as_such(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (told,) = probe(Authority(tmp_path, "old").issue("probe"), port)
    assert not told["listens"]


def test_a_process_that_hangs_is_not_taken_for_one_that_trusts(tmp_path: Path) -> None:
    script = (
        "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\ntime.sleep(600)"
    )
    hanging = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert hanging.stdout is not None
        port = int(hanging.stdout.readline())
        (told,) = probe(Authority(tmp_path, "old").issue("probe"), port)
    finally:
        os.kill(hanging.pid, signal.SIGKILL)
        hanging.communicate()
    assert told["listens"]
    assert told["trusts"] is None
