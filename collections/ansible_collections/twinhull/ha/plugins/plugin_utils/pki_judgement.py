# Copyright: Contributors to the Twinhull project
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the certificates found on a node, and the authority found on the control node, are worth. Pure.

The shape of a certificate is the agent's: exactly one DNS name, `NODE.CLUSTER.twinhull`, ECDSA, signed by the
cluster's own authority, whose subject's organisation is the cluster.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DOMAIN = "twinhull"
ABSENT, GOOD, RENEW, REFUSED = "absent", "good", "renew", "refused"
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Verdict:
    """What was found, and what follows.

    Args:
        state: `absent` (make it), `good`, `renew` (replace it), or `refused` (touch nothing).
        sentence: what it is and why, without site and node.
        remedy: what to do when refused.
        days_left: whole days until it expires; negative once it has; None when there is none.
        fingerprint: SHA-256, hexadecimal; empty when there is none.
    """

    state: str
    sentence: str
    remedy: str = ""
    days_left: int | None = None
    fingerprint: str = ""


@dataclass(frozen=True)
class Found:
    """The files of a pki directory.

    Args:
        ca: text of `ca.crt`, empty when there is none; it may hold several certificates.
        certificate: text of `node.crt`, empty when there is none.
        key_present: whether `node.key` exists.
    """

    ca: str
    certificate: str
    key_present: bool


@dataclass(frozen=True)
class Holder:
    """Whose certificate it should be.

    Args:
        node, cluster: names as the agent knows them.
        directory: where the files lie on the node, for messages.
        separator: of paths there.
    """

    node: str
    cluster: str
    directory: str
    separator: str = "/"

    def path(self, name: str) -> str:
        """The file's path on the node."""
        return f"{self.directory}{self.separator}{name}"

    @property
    def dns_name(self) -> str:
        """What the certificate has to say."""
        return f"{self.node}.{self.cluster}.{DOMAIN}"


@dataclass(frozen=True)
class Authorities:
    """What the control node holds.

    Args:
        trusted: texts of the authorities under which a certificate may be now.
        known: texts of all that were ever this site's, also one that was replaced.
        directory: on the control node, for messages.
    """

    trusted: Sequence[str]
    known: Sequence[str]
    directory: str


def certificates_in(text: str) -> list[x509.Certificate]:
    """The certificates of a PEM text. Raises ValueError when one cannot be read, or text without any."""
    blocks = _BLOCK.findall(text)
    if not blocks and text.strip():
        raise ValueError("it holds no certificate")
    return [x509.load_pem_x509_certificate(block.encode()) for block in blocks]


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256, hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def days_left(certificate: x509.Certificate, now: dt.datetime) -> int:
    """Whole days until it expires; negative once it has."""
    return (certificate.not_valid_after_utc - now).days


def judge_authority(
    certificate_text: str, key_present: bool, cluster: str, directory: str, now: dt.datetime
) -> Verdict:
    """Whether the control node's authority can issue for this cluster."""
    path = f"{directory}/ca.crt"
    if not certificate_text:
        # The key is made first: one that lies alone is of a run that was cut off, which goes on with it.
        return Verdict(ABSENT, f"There is no authority in {directory} yet.")
    if not key_present:
        return Verdict(
            REFUSED,
            f"{directory} lacks ca.key.",
            "Restore the whole directory from its backup, or name the right one with twinhull_ca_dir.",
        )
    try:
        authority = certificates_in(certificate_text)[0]
    except ValueError as error:
        return Verdict(REFUSED, f"{path} cannot be read: {error}.", "Restore it from its backup.")
    names = authority.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    name = str(names[0].value) if len(names) == 1 else ""
    left = days_left(authority, now)
    if name != cluster:
        return Verdict(
            REFUSED,
            f"{path} is the authority of {name or 'something else'}, not of {cluster}.",
            "Name this site's own directory with twinhull_ca_dir.",
        )
    if left < 0:
        return Verdict(
            REFUSED,
            f"{path} expired on {authority.not_valid_after_utc:%Y-%m-%d}.",
            "Stop the site's modules, move this directory and the pki directory of both nodes away, then run install.yml.",
            left,
        )
    return Verdict(GOOD, f"{path} is valid for {left} days.", "", left, fingerprint(authority))


def judge_node(
    found: Found,
    holder: Holder,
    authorities: Authorities,
    *,
    renew_before_days: int,
    accept_expired: bool,
    now: dt.datetime,
) -> Verdict:
    """Whether what lies on a node may stay, has to be renewed, or must be refused.

    Args:
        renew_before_days: with fewer days left it is renewed.
        accept_expired: whether an expired certificate of our own is renewed in place of refused.
    """
    try:
        trusted = [certificate for text in authorities.trusted for certificate in certificates_in(text)]
        known = [certificate for text in authorities.known for certificate in certificates_in(text)]
    except ValueError as error:
        return Verdict(
            REFUSED, f"An authority in {authorities.directory} cannot be read: {error}.", "Restore it."
        )
    refusal = _foreign_authority(found, holder, authorities, known)
    if refusal is not None:
        return refusal
    if not found.certificate:
        return Verdict(ABSENT, f"There is no {holder.path('node.crt')} yet.")
    try:
        certificate = certificates_in(found.certificate)[0]
    except (ValueError, IndexError) as error:
        return Verdict(
            REFUSED,
            f"{holder.path('node.crt')} cannot be read: {error}.",
            f"Move it away and run this again: {holder.node} gets a new certificate.",
        )
    return _judge_certificate(
        certificate, found, holder, authorities, trusted, renew_before_days, accept_expired, now
    )


def _foreign_authority(
    found: Found, holder: Holder, authorities: Authorities, known: Sequence[x509.Certificate]
) -> Verdict | None:
    present = found.ca or found.certificate
    if present and not known:
        file = holder.path("ca.crt" if found.ca else "node.crt")
        return Verdict(
            REFUSED,
            f"{file} exists, but there is no authority of {holder.cluster} in {authorities.directory}.",
            "Name the directory that holds it with twinhull_ca_dir, or restore it from its backup. To begin "
            f"anew, stop the site's modules and move {holder.directory} away on both nodes.",
        )
    try:
        on_host = certificates_in(found.ca)
    except ValueError as error:
        return Verdict(
            REFUSED,
            f"{holder.path('ca.crt')} cannot be read: {error}.",
            f"Move it away and run this again: {holder.node} gets the cluster's own.",
        )
    prints = {fingerprint(certificate) for certificate in known}
    foreign = next((seen for seen in on_host if fingerprint(seen) not in prints), None)
    if foreign is None:
        return None
    return Verdict(
        REFUSED,
        f"{holder.path('ca.crt')} is a foreign authority ({foreign.subject.rfc4514_string()}), not the one in "
        f"{authorities.directory}.",
        "If this node belongs to the site, name the directory of its authority with twinhull_ca_dir; "
        f"otherwise move {holder.directory} away on it.",
    )


def _judge_certificate(
    certificate: x509.Certificate,
    found: Found,
    holder: Holder,
    authorities: Authorities,
    trusted: Sequence[x509.Certificate],
    renew_before_days: int,
    accept_expired: bool,
    now: dt.datetime,
) -> Verdict:
    path = holder.path("node.crt")
    left = days_left(certificate, now)
    mark = fingerprint(certificate)
    away = f"Move it away on {holder.node} and run this again: it gets a new certificate."
    names = _dns_names(certificate)
    if not any(_issued_by(certificate, authority) for authority in trusted):
        own = certificate.issuer == certificate.subject
        how = "is signed by itself" if own else f"was issued by {certificate.issuer.rfc4514_string()}"
        return Verdict(
            REFUSED, f"{path} {how}, not by the authority in {authorities.directory}.", away, left, mark
        )
    if names != [holder.dns_name]:
        said = ", ".join(names) or "no name"
        return Verdict(REFUSED, f"{path} says {said}, not {holder.dns_name}.", away, left, mark)
    if certificate.not_valid_before_utc > now:
        return Verdict(
            REFUSED,
            f"{path} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC.",
            "Set the clock of the control node, or of the machine that issued it.",
            left,
            mark,
        )
    if left < 0 and not accept_expired:
        return Verdict(
            REFUSED,
            f"{path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}.",
            "Renew it with playbooks/rotate_certificates.yml, limited to this site.",
            left,
            mark,
        )
    if not found.key_present:
        return Verdict(RENEW, f"{path} is without its key.", "", left, mark)
    if left < renew_before_days:
        return Verdict(RENEW, f"{path} has {left} days left, fewer than {renew_before_days}.", "", left, mark)
    return Verdict(GOOD, f"{path} is valid for {left} days.", "", left, mark)


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in extension.value]


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)


# ---- where certificates are used -----------------------------------------------------------------------


def tls_listeners(cluster: Mapping[str, Any], node: str) -> list[list[Any]]:
    """Where the processes of a node listen: pairs of address and port.

    Args:
        cluster: the cluster's configuration.
    """
    addresses: Mapping[str, str] = cluster["nodes"][node]["addresses"]
    networks: Mapping[str, Any] = cluster.get("networks") or {}
    ports = {"control": 7410, "heartbeat": 7411, "data": 7420, **(cluster.get("ports") or {})}
    found: list[list[Any]] = [["127.0.0.1", int(ports["control"])]]
    for network, address in addresses.items():
        roles = (networks.get(network) or {}).get("roles") or ()
        if "heartbeat" in roles:
            found.append([address, int(ports["heartbeat"])])
        if "replication" in roles:
            modules: Mapping[str, Any] = cluster.get("modules") or {}
            found += [[address, int(ports["data"]) + int(module["number"])] for module in modules.values()]
    return found


def late_listeners(answer: str, proof: str, expected: str) -> list[str]:
    """Which listeners have not taken what is new; one that does not listen takes it when it starts.

    Args:
        answer: what the probe on the node printed; empty when it did not run.
        proof: `trust` (the authority of the probe is known) or `certificate` (the one expected is shown).
        expected: its fingerprint.
    """
    try:
        ports = json.loads(answer)["ports"]
    except (ValueError, KeyError, TypeError):
        return ["the node's ports could not be asked; something"]

    def late(seen: Mapping[str, Any]) -> bool:
        return not seen["trusts"] if proof == "trust" else seen["fingerprint"] != expected

    return [
        f"the process at {seen['address']} port {seen['port']}"
        for seen in ports
        if seen["listens"] and late(seen)
    ]
