"""Real etcd servers on loopback with mutual TLS, killed, stopped and restored by the tests."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from twinhull.checkers.witness.etcd import Endpoint, EtcdWitness, key_of, make_context

READY_S = 60.0


def programs() -> tuple[str, str]:
    """etcd and etcdctl; a machine without them says so by name."""
    found = shutil.which("etcd"), shutil.which("etcdctl")
    if found[0] is None or found[1] is None:
        pytest.fail("etcd and etcdctl are not installed (Debian packages etcd-server and etcd-client)")
    return found[0], found[1]


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def make_certificates(
    directory: Path, address: str = "127.0.0.1", lasts: datetime.timedelta = datetime.timedelta(days=90)
) -> None:
    """ca.crt, and a certificate of it for an address as server and client: one.crt, one.key."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + lasts)
        )

    ca = builder(name, ca_key).add_extension(x509.BasicConstraints(True, None), True)
    _store(directory / "ca", ca.sign(ca_key, hashes.SHA256()), ca_key)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "one")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    one = builder(subject, key).add_extension(names, False)
    _store(directory / "one", one.sign(ca_key, hashes.SHA256()), key)


def _store(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    path.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@dataclass
class Server:
    """One etcd process."""

    name: str
    data: Path
    client: int
    peer: int
    process: subprocess.Popen[bytes] | None = None


@dataclass
class EtcdCluster:
    """One or several servers.

    Args:
        directory: certificates, data and logs.
        count: how many servers.
        token: of the initial cluster, part of what its id is made of.
        address: where they listen; the certificate names it.
        enter: words in front of every command, such as those that enter a network namespace.
    """

    directory: Path
    count: int = 1
    token: str = "first"
    servers: list[Server] = field(default_factory=list)
    address: str = "127.0.0.1"
    enter: tuple[str, ...] = ()

    def prepare(self) -> None:
        """Certificates and ports, where they are not there yet."""
        if not (self.directory / "ca.crt").exists():
            make_certificates(self.directory, self.address)
        if not self.servers:
            self.servers = [
                Server(f"e{n}", self.directory / f"{self.token}-{n}", free_port(), free_port())
                for n in range(self.count)
            ]

    def start(self) -> None:
        """All of them, and wait until they answer."""
        self.prepare()
        for server in self.servers:
            self.run(server)
        self.wait()

    def run(self, server: Server) -> None:
        """Start one server."""
        etcd, _ = programs()
        d = self.directory
        peers = ",".join(f"{s.name}=https://{self.address}:{s.peer}" for s in self.servers)
        tls = [f"--{p}{what}={d / file}" for p in ("", "peer-") for what, file in TLS_FILES]
        with (d / f"{server.name}.log").open("ab") as log:
            server.process = subprocess.Popen(
                [
                    *self.enter, etcd, "--name", server.name, "--data-dir", str(server.data),
                    "--listen-client-urls", f"https://{self.address}:{server.client}",
                    "--advertise-client-urls", f"https://{self.address}:{server.client}",
                    "--listen-peer-urls", f"https://{self.address}:{server.peer}",
                    "--initial-advertise-peer-urls", f"https://{self.address}:{server.peer}",
                    "--initial-cluster", peers, "--initial-cluster-token", self.token,
                    "--heartbeat-interval", "300", "--election-timeout", "3000",
                    "--client-cert-auth", "--peer-client-cert-auth", *tls,
                ],
                stdout=log, stderr=log,
            )  # fmt: skip

    def wait(self) -> None:
        """Until a linearizable read is answered."""
        deadline_s = time.monotonic() + READY_S
        while True:
            try:
                self.witness("probe").read(5.0)
                return
            except Exception:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.2)

    def context(self) -> ssl.SSLContext:
        """Mutual TLS of a node."""
        d = self.directory
        return make_context(d / "ca.crt", d / "one.crt", d / "one.key")

    def witness(self, module: str, ports: Sequence[int] = ()) -> EtcdWitness:
        """A node's view of a module's key; `ports` instead of the servers' own."""
        endpoints = [Endpoint("127.0.0.1", port) for port in ports or [s.client for s in self.servers]]
        return EtcdWitness(endpoints, key_of("lyon", module), self.context)

    def ctl(self, *arguments: str) -> str:
        """etcdctl against the first server."""
        _, etcdctl = programs()
        d = self.directory
        return subprocess.run(
            [
                *self.enter, etcdctl, "--endpoints", f"https://{self.address}:{self.servers[0].client}",
                "--cacert", str(d / "ca.crt"), "--cert", str(d / "one.crt"), "--key", str(d / "one.key"),
                *arguments,
            ],
            env={**os.environ, "ETCDCTL_API": "3"}, check=True, capture_output=True, text=True, timeout=60,
        ).stdout  # fmt: skip

    def signal(self, server: Server, number: signal.Signals) -> None:
        """To one of our own processes."""
        if server.process is not None:
            server.process.send_signal(number)

    def kill(self, server: Server) -> None:
        """SIGKILL, and wait until it is gone."""
        if server.process is not None:
            server.process.kill()
            server.process.wait()
            server.process = None

    def stop(self) -> None:
        """Kill all."""
        for server in self.servers:
            self.kill(server)


TLS_FILES = (("trusted-ca-file", "ca.crt"), ("cert-file", "one.crt"), ("key-file", "one.key"))


@contextlib.contextmanager
def cluster(directory: Path, count: int = 1) -> Iterator[EtcdCluster]:
    """Servers that end with the block."""
    made = EtcdCluster(directory, count)
    try:
        made.start()
        yield made
    finally:
        made.stop()
