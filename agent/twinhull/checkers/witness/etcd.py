"""A witness with a memory: one key of an etcd cluster, read and written through etcd's own API, version 3.

Requests are JSON over HTTPS (the gateway that every etcd server brings: /v3/kv/range and /v3/kv/txn of
https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/), because it is etcd's real API and needs nothing that Python
lacks. Reads and transactions are linearizable: a server that has lost its majority cannot answer them.
What an answer means is decided in core (`core.memory`, `core.witness`); here is only asked.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from twinhull.core import memory
from twinhull.core.identity import ID_BYTES, Id
from twinhull.core.memory import Seen, WitnessRecord
from twinhull.errors import ConfigError, WitnessError

MAX_ANSWER_BYTES = 65_536
DEFAULT_PORT = 2379
MIN_ATTEMPT_S = 0.1


class Endpoint(NamedTuple):
    """One server of the etcd cluster."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class OutcomeUnknownError(WitnessError):
    """The transaction was sent and no answer came: it may have been applied, or may be applied yet."""


def parse_endpoint(text: str) -> Endpoint:
    """`https://HOST[:PORT]`. Raises ValueError for everything else: nothing is asked without TLS."""
    parts = urlsplit(text)
    if parts.scheme != "https":
        raise ValueError(f"'{text}' does not begin with https://, and a witness is only asked over TLS")
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError(f"'{text}' is not of the form https://HOST:PORT")
    return Endpoint(parts.hostname, parts.port or DEFAULT_PORT)


def make_context(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """Mutual TLS, this CA alone, the server's name or address verified. Raises ConfigError."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cafile=str(ca))
        context.load_cert_chain(str(cert), str(key))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"The certificates of the etcd witness cannot be used ({ca}, {cert}, {key}): {error}.",
            "Check witness.ca, witness.cert and witness.key; they must be readable by the agent.",
        ) from error
    return context


def key_of(cluster: str, module: str) -> str:
    """The key of a module."""
    return f"/twinhull/{cluster}/{module}"


class EtcdWitness:
    """One module's key.

    Args:
        endpoints: servers of the etcd cluster; the one that answered last is asked first.
        key: the module's key.
        make_context: gives the TLS context; called for every connection, so that renewed files are taken.
        clock: monotonic seconds.
    """

    has_memory = True

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        key: str,
        make_context: Callable[[], ssl.SSLContext],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not endpoints:
            raise ConfigError("The etcd witness has no endpoint to ask.", "Name witness.endpoints.")
        self._endpoints = tuple(endpoints)
        self._first = 0
        self._lock = threading.Lock()
        self._key = base64.b64encode(key.encode()).decode()
        self._make_context = make_context
        self._clock = clock

    def read(self, timeout_s: float) -> Seen:
        """The record, linearizably, within `timeout_s`. Raises WitnessError."""
        answer = self._anywhere("/v3/kv/range", {"key": self._key}, timeout_s, again=True)
        return _seen(answer, answer.get("kvs"))

    def write(self, key_revision: int, record: WitnessRecord, timeout_s: float) -> tuple[bool, Seen]:
        """Whether it was written, and what stands there now.

        Written if the key's mod revision is `key_revision` (0: there is no key), within `timeout_s`.

        Raises:
            OutcomeUnknownError: it may have been written, or be written later.
            WitnessError: it was not sent to any server.
        """
        value = base64.b64encode(memory.encode(record)).decode()
        body = {
            "compare": [
                {"key": self._key, "target": "MOD", "result": "EQUAL", "mod_revision": str(key_revision)}
            ],
            "success": [{"request_put": {"key": self._key, "value": value}}],
            "failure": [{"request_range": {"key": self._key}}],
        }
        answer = self._anywhere("/v3/kv/txn", body, timeout_s, again=False)
        cluster, revision = _header(answer)
        if answer.get("succeeded") is True:
            return True, Seen(cluster, revision, revision, record)
        responses = answer.get("responses")
        found = responses[0].get("response_range", {}) if isinstance(responses, list) and responses else None
        if not isinstance(found, dict):
            raise OutcomeUnknownError("etcd answered a transaction without saying what it found")
        return False, _seen(answer, found.get("kvs"))

    # ---- servers ---------------------------------------------------------------------------------

    def _anywhere(
        self, path: str, body: Mapping[str, Any], timeout_s: float, *, again: bool
    ) -> dict[str, Any]:
        """Ask one server after the other, each for its share of the time.

        `again`: asking twice does no harm. Otherwise only a server that never got the request is followed
        by another.
        """
        deadline_s = self._clock() + timeout_s
        with self._lock:
            first = self._first
        count = len(self._endpoints)
        problems: list[str] = []
        for turn in range(count):
            number = (first + turn) % count
            left_s = deadline_s - self._clock()
            if left_s < MIN_ATTEMPT_S and turn:
                break
            share_s = max(MIN_ATTEMPT_S, left_s / (count - turn))
            try:
                answer = self._ask(self._endpoints[number], path, body, share_s)
            except WitnessError as error:
                problems.append(str(error))
                with self._lock:
                    self._first = (number + 1) % count
                if isinstance(error, OutcomeUnknownError) and not again:
                    raise
                continue
            with self._lock:
                self._first = number
            return answer
        raise WitnessError("; ".join(problems) or "no etcd server could be asked in time")

    def _ask(
        self, endpoint: Endpoint, path: str, body: Mapping[str, Any], timeout_s: float
    ) -> dict[str, Any]:
        deadline_s = self._clock() + timeout_s
        sock = self._connect(endpoint, timeout_s)
        # The socket's own time-out counts each piece anew; a server that trickles is cut off by this one.
        cut = threading.Timer(max(0.0, deadline_s - self._clock()), _shut, (sock,))
        cut.daemon = True
        cut.start()
        try:
            sock.settimeout(max(MIN_ATTEMPT_S, deadline_s - self._clock()))
            return _exchange(sock, endpoint, path, json.dumps(body).encode())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise OutcomeUnknownError(
                f"{endpoint} did not answer: {error or type(error).__name__}"
            ) from error
        finally:
            cut.cancel()
            sock.close()

    def _connect(self, endpoint: Endpoint, timeout_s: float) -> ssl.SSLSocket:
        """A connection on which nothing was asked yet. Raises WitnessError."""
        raw: socket.socket | None = None
        try:
            raw = socket.create_connection((endpoint.host, endpoint.port), timeout_s)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._make_context().wrap_socket(raw, server_hostname=endpoint.host)
        except (OSError, ConfigError) as error:
            if raw is not None:
                raw.close()
            raise WitnessError(f"{endpoint} cannot be reached: {error}") from error


def _shut(sock: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _exchange(sock: ssl.SSLSocket, endpoint: Endpoint, path: str, body: bytes) -> dict[str, Any]:
    host = f"[{endpoint.host}]" if _is_v6(endpoint.host) else endpoint.host
    sock.sendall(
        f"POST {path} HTTP/1.1\r\nHost: {host}:{endpoint.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    response = http.client.HTTPResponse(sock, method="POST")
    response.begin()
    data = response.read(MAX_ANSWER_BYTES + 1)
    if len(data) > MAX_ANSWER_BYTES:
        raise ValueError("its answer is too long")
    if response.status != http.client.OK:
        raise ValueError(f"HTTP {response.status}: {data[:200].decode(errors='replace')}")
    answer = json.loads(data)
    if not isinstance(answer, dict):
        raise ValueError("its answer is no JSON object")
    _header(answer)
    return answer


def _is_v6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


# ---- answers -----------------------------------------------------------------------------------------


def _header(answer: Mapping[str, Any]) -> tuple[Id, int]:
    """Identity of the etcd cluster, and the revision of its store. Raises ValueError."""
    header = answer.get("header")
    if not isinstance(header, dict):
        raise ValueError("its answer has no header")
    return Id(_number(header, "cluster_id").to_bytes(ID_BYTES, "big")), _number(header, "revision")


def _number(values: Mapping[str, Any], name: str) -> int:
    """A 64-bit number, which the gateway writes as text. Raises ValueError."""
    value = int(str(values.get(name, "")))
    if not 0 < value < 1 << 64:
        raise ValueError(f"its answer has a wrong {name}")
    return value


def _seen(answer: Mapping[str, Any], pairs: object) -> Seen:
    """What was read. Raises WitnessError for an answer that is not etcd's."""
    try:
        cluster, revision = _header(answer)
        if not pairs:
            return Seen(cluster, revision, 0, None)
        if not isinstance(pairs, list) or not isinstance(pairs[0], dict):
            raise ValueError("its answer holds no pairs")
        key_revision = _number(pairs[0], "mod_revision")
        value = base64.b64decode(str(pairs[0].get("value", "")), validate=True)
    except ValueError as error:
        raise WitnessError(f"The answer of etcd cannot be read: {error}") from error
    try:
        return Seen(cluster, revision, key_revision, memory.decode(value))
    except ValueError as error:
        return Seen(cluster, revision, key_revision, None, f"its record cannot be read: {error}")
