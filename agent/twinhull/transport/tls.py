"""TLS contexts and names: 1.3 only, our own authority alone, both sides verified.

A certificate carries its holder's name as one DNS name, made here and nowhere else:

    NODE.CLUSTER.twinhull                 a node
    NAME.operator.CLUSTER.twinhull        an operator (may only connect, never be connected to)

The name is checked by `peer_identity` and `require_peer` after the handshake, on both sides, before anything
else is read or sent. No context here knows the system's authorities.
"""

from __future__ import annotations

import enum
import os
import re
import ssl
import stat
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from ..errors import AuthenticationError, PkiError

DOMAIN = "twinhull"
CA_FILE = "ca.crt"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class Role(enum.Enum):
    """What the holder of a certificate is. The value names its files: `node.crt`, `operator.key`."""

    NODE = "node"
    OPERATOR = "operator"


class PeerIdentity(NamedTuple):
    """Who a verified certificate belongs to."""

    name: str
    role: Role
    cluster: str

    def dns_name(self) -> str:
        """The DNS name in the certificate."""
        middle = "" if self.role is Role.NODE else f".{self.role.value}"
        return f"{self.name}{middle}.{self.cluster}.{DOMAIN}"


def valid_name(name: str) -> bool:
    """Whether a node, an operator or a cluster can be called so: letters, digits, inner hyphens, at most 63."""
    return _NAME.fullmatch(name) is not None


def parse_dns_name(dns_name: str) -> PeerIdentity | None:
    """The identity that a certificate's DNS name says, or None if it is none of ours."""
    labels = dns_name.split(".")
    if labels[-1] != DOMAIN or not all(valid_name(label) for label in labels):
        return None
    match labels[:-1]:
        case [name, cluster]:
            return PeerIdentity(name, Role.NODE, cluster)
        case [name, Role.OPERATOR.value, cluster]:
            return PeerIdentity(name, Role.OPERATOR, cluster)
    return None


def server_context(pki_dir: Path) -> ssl.SSLContext:
    """The context with which a node accepts connections.

    Args:
        pki_dir: holds `ca.crt`, `node.crt`, `node.key`.

    Raises:
        PkiError: a file is missing, cannot be read, does not fit, or its key is open to others.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A resumed session would skip the look at the certificate, which may have expired since.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    return _fill(context, pki_dir, Role.NODE)


def client_context(pki_dir: Path, role: Role = Role.NODE) -> ssl.SSLContext:
    """The context with which a node or an operator connects to a node. As `server_context`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # OpenSSL's own check knows one expected host; `require_peer` is stricter (whole identity, exact case).
    context.check_hostname = False
    return _fill(context, pki_dir, role)


def reload(context: ssl.SSLContext, pki_dir: Path, role: Role = Role.NODE) -> None:
    """Take renewed files from `pki_dir` for all further connections: authority, certificate and key.

    `ca.crt` may hold several authorities, so that one can follow another without a stop. An authority that is no longer in
    the file stays trusted until the process ends: OpenSSL adds to a context and takes nothing back.

    Raises PkiError.
    """
    certificate, key = pki_dir / f"{role.value}.crt", pki_dir / f"{role.value}.key"
    _check_key_mode(key)
    _trust(context, pki_dir / CA_FILE)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        raise PkiError(
            f"The certificate {certificate} with its key cannot be used: {error}.",
            "Issue it anew with `twinhull pki issue`.",
        ) from error


def _fill(context: ssl.SSLContext, pki_dir: Path, role: Role) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    reload(context, pki_dir, role)
    return context


def _trust(context: ssl.SSLContext, authority: Path) -> None:
    try:
        context.load_verify_locations(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise PkiError(
            f"The cluster's authority {authority} cannot be used: {error}.",
            "Copy it from where `twinhull pki init` made it.",
        ) from error


def _no_password() -> str:
    """OpenSSL would ask the terminal for the password of an encrypted key."""
    raise PkiError("A private key is encrypted; twinhull uses keys that only their file's mode protects.")


def _check_key_mode(key: Path) -> None:
    try:
        status = key.stat()
    except OSError as error:
        raise PkiError(
            f"The private key {key} cannot be read: {error.strerror}.", "Issue it with `twinhull pki issue`."
        ) from error
    if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
        raise PkiError(
            f"The private key {key} can be read by others than its owner.",
            f"Run `chmod 600 {key}`; if others may have read it, issue a new one.",
        )


def peer_identity(tls: ssl.SSLSocket | ssl.SSLObject) -> PeerIdentity:
    """Who the verified other side is.

    Args:
        tls: an SSLSocket or SSLObject after its handshake.

    Raises:
        AuthenticationError: it showed no certificate, or one without exactly one name of ours.
    """
    certificate = tls.getpeercert() or {}
    names = certificate.get("subjectAltName", ())
    identity = None
    if len(names) == 1 and names[0][0] == "DNS":
        identity = parse_dns_name(str(names[0][1]))
    if identity is None:
        raise AuthenticationError("its certificate carries no name of a Twinhull cluster")
    return identity


def peer_name(tls: ssl.SSLSocket | ssl.SSLObject) -> str:
    """The name alone; as `peer_identity`."""
    return peer_identity(tls).name


def require_peer(
    identity: PeerIdentity, *, cluster: str, names: Collection[str] | None, roles: Collection[Role]
) -> None:
    """Refuse whoever is not wanted.

    Args:
        names: the names that are wanted, None for any of the cluster.

    Raises:
        AuthenticationError: another cluster, role or name.
    """
    if identity.cluster != cluster:
        raise AuthenticationError(f"its certificate is of cluster {identity.cluster!r}, not {cluster!r}")
    if identity.role not in roles:
        raise AuthenticationError(f"its certificate is of the {identity.role.value} {identity.name!r}")
    if names is not None and identity.name not in names:
        raise AuthenticationError(
            f"its certificate says {identity.name!r}, wanted {' or '.join(sorted(names))}"
        )
