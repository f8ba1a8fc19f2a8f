"""The cluster's own authority and the certificates of its nodes and operators, as files.

    CA directory    ca.crt ca.key                      where `twinhull pki` runs; not needed on a node
    node            ca.crt node.crt node.key           pki_dir of a node
    operator        ca.crt operator.crt operator.key

ECDSA P-256 throughout. Keys are files of mode 0600 in a directory of mode 0700; nothing is ever overwritten but a
certificate by its renewal, and a file is there whole or not at all. The wall clock is used for validity only.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import PkiError
from ..secrets_file import make_private_directory
from .tls import CA_FILE, PeerIdentity, Role, parse_dns_name, valid_name

CA_KEY_FILE = "ca.key"
CA_DAYS = 3650
LEAF_DAYS = 825
EXPIRING_DAYS = 30
_BACKDATED = timedelta(hours=1)
"""Clocks differ: a certificate must be valid on the other node at once."""


class CertificateInfo(NamedTuple):
    """One certificate file.

    Args:
        kind: `ca`, `node` or `operator`.
        days_left: whole days until it expires; negative once it has.
        expiring: whether less than `EXPIRING_DAYS` are left.
        fingerprint: SHA-256 of the certificate, hexadecimal.
        key_present: whether its private key lies beside it.
    """

    path: Path
    kind: str
    name: str
    cluster: str
    not_before: datetime
    not_after: datetime
    days_left: int
    expiring: bool
    serial: int
    fingerprint: str
    key_present: bool

    @property
    def expired(self) -> bool:
        """Whether it is not valid any more."""
        return self.days_left < 0


def init_ca(
    directory: Path, cluster: str, days: int = CA_DAYS, *, now: datetime | None = None
) -> CertificateInfo:
    """Make the authority of a cluster: `ca.crt` and `ca.key`.

    Raises:
        PkiError: there is one already, the cluster's name is not possible, or the directory is open to others.
    """
    _check_name("cluster", cluster)
    _check_days(days)
    certificate_path, key_path = directory / CA_FILE, directory / CA_KEY_FILE
    for path in (certificate_path, key_path):
        if path.exists():
            raise PkiError(
                f"{path} exists: there is an authority already, nothing was changed.",
                "Use another directory; replacing an authority means new certificates for every node.",
            )
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _distinguished_name(cluster, "authority", f"{cluster} authority")
    builder = _builder(name, name, key.public_key(), now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    )
    certificate = builder.sign(key, hashes.SHA256())
    _make_directory(directory)
    _write(key_path, _key_bytes(key), 0o600)
    _write(certificate_path, _pem(certificate), 0o644)
    return _info(certificate_path, certificate, now)


def issue(
    directory: Path,
    name: str,
    role: Role,
    out_dir: Path,
    days: int = LEAF_DAYS,
    *,
    now: datetime | None = None,
) -> CertificateInfo:
    """Make key and certificate of a node or an operator in `out_dir`, with a copy of `ca.crt`.

    Args:
        directory: of the authority.

    Raises:
        PkiError: no authority there, an impossible name, or files in `out_dir` that would be overwritten.
    """
    _check_name(role.value, name)
    _check_days(days)
    authority, authority_key = _load_authority(directory)
    certificate_path, key_path = out_dir / f"{role.value}.crt", out_dir / f"{role.value}.key"
    for path in (certificate_path, key_path):
        if path.exists():
            raise PkiError(
                f"{path} exists, nothing was changed.",
                "Renew it with `twinhull pki renew`, or move it away to issue a new key.",
            )
    authority_copy = out_dir / CA_FILE
    if authority_copy.exists() and _load_certificate(authority_copy) != authority:
        raise PkiError(
            f"{authority_copy} is another cluster's authority, nothing was changed.", "Use another directory."
        )
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    identity = PeerIdentity(name, role, _cluster_of(directory / CA_FILE, authority))
    certificate = _sign(identity, key.public_key(), authority, authority_key, now, days)
    _make_directory(out_dir)
    if not authority_copy.exists():
        _write(authority_copy, _pem(authority), 0o644)
    _write(key_path, _key_bytes(key), 0o600)
    _write(certificate_path, _pem(certificate), 0o644)
    return _info(certificate_path, certificate, now)


def renew(
    directory: Path,
    out_dir: Path,
    role: Role = Role.NODE,
    days: int = LEAF_DAYS,
    *,
    now: datetime | None = None,
) -> CertificateInfo:
    """Replace the certificate in `out_dir` by one that is valid longer, for the same name and key.

    The key stays, so that one rename replaces all that changes; a new key comes from `issue`.

    Raises:
        PkiError: no certificate there, or it is not of this authority.
    """
    _check_days(days)
    authority, authority_key = _load_authority(directory)
    path = out_dir / f"{role.value}.crt"
    old = _load_certificate(path)
    try:
        old.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise PkiError(
            f"{path} was not issued by the authority in {directory}, nothing was changed.",
            "Name the directory of the cluster's own authority.",
        ) from error
    identity = _identity_of(path, old)
    public_key = old.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise PkiError(f"{path} has a key of a kind that is not used here.", "Issue a new one.")
    now = now or datetime.now(UTC)
    certificate = _sign(identity, public_key, authority, authority_key, now, days)
    _write(path, _pem(certificate), 0o644, replace=True)
    return _info(path, certificate, now)


def show(directory: Path, *, now: datetime | None = None) -> list[CertificateInfo]:
    """Every certificate of ours in a directory, the authority first; none if there is none.

    Raises:
        PkiError: a file is there and cannot be read.
    """
    now = now or datetime.now(UTC)
    paths = [directory / f"{stem}.crt" for stem in ("ca", Role.NODE.value, Role.OPERATOR.value)]
    return [_info(path, _load_certificate(path), now) for path in paths if path.exists()]


# ---- certificates --------------------------------------------------------------------------------------


def _sign(
    identity: PeerIdentity,
    public_key: ec.EllipticCurvePublicKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    days: int,
) -> x509.Certificate:
    subject = _distinguished_name(identity.cluster, identity.role.value, identity.name)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if identity.role is Role.NODE:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    days_of_authority = max(1, (authority.not_valid_after_utc - now).days)
    builder = _builder(subject, authority.subject, public_key, now, min(days, days_of_authority))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.DNSName(identity.dns_name())]), critical=False
    )
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
    )
    return builder.sign(authority_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _distinguished_name(cluster: str, unit: str, name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
        ]
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _cluster_of(path: Path, authority: x509.Certificate) -> str:
    organisations = authority.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if len(organisations) == 1 and isinstance(organisations[0].value, str):
        return organisations[0].value
    raise PkiError(
        f"{path} is not the authority of a Twinhull cluster.", "Make one with `twinhull pki init`."
    )


def _identity_of(path: Path, certificate: x509.Certificate) -> PeerIdentity:
    identity = None
    with contextlib.suppress(x509.ExtensionNotFound):
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
        identity = parse_dns_name(names[0]) if len(names) == 1 else None
    if identity is None:
        raise PkiError(
            f"{path} carries no name of a Twinhull cluster.", "Issue one with `twinhull pki issue`."
        )
    return identity


def _info(path: Path, certificate: x509.Certificate, now: datetime) -> CertificateInfo:
    if path.name == CA_FILE:
        cluster = _cluster_of(path, certificate)
        kind, name = "ca", cluster
    else:
        identity = _identity_of(path, certificate)
        kind, name, cluster = identity.role.value, identity.name, identity.cluster
    left = certificate.not_valid_after_utc - now
    return CertificateInfo(
        path=path,
        kind=kind,
        name=name,
        cluster=cluster,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        days_left=left.days,
        expiring=left < timedelta(days=EXPIRING_DAYS),
        serial=certificate.serial_number,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        key_present=path.with_suffix(".key").exists(),
    )


# ---- files ---------------------------------------------------------------------------------------------


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PkiError(
            f"The certificate {path} cannot be read: {error}.", "Make it with `twinhull pki init` or `issue`."
        ) from error


def _load_authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = _load_certificate(directory / CA_FILE)
    path = directory / CA_KEY_FILE
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise PkiError(
            f"The authority's key {path} cannot be read: {error}.",
            "Run this where `twinhull pki init` was run, as the same user.",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise PkiError(
            f"{path} is not the key of {directory / CA_FILE}.", "Restore both from the same backup."
        )
    return certificate, key


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise PkiError(f"The directory {directory} cannot be made: {error.strerror}.") from error
    if sys.platform == "win32":
        make_private_directory(directory)
        return
    if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
        raise PkiError(
            f"The directory {directory} is open to others or belongs to another user.",
            f"Run `chmod 700 {directory}` as its owner; keys lie only where nobody else can look.",
        )


def _write(path: Path, content: bytes, mode: int, *, replace: bool = False) -> None:
    """The file is there whole and durable, or not at all; without `replace` never in the place of another."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            elif os.name == "posix":
                os.link(temporary, path)
            else:
                temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise PkiError(f"{path} cannot be written: {error.strerror}.", "Nothing was overwritten.") from error


def _sync_directory(directory: Path) -> None:
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _check_name(what: str, name: str) -> None:
    if not valid_name(name):
        raise PkiError(
            f"{name!r} cannot be the name of a {what}.", "Use letters, digits and inner hyphens, at most 63."
        )


def _check_days(days: int) -> None:
    if not 1 <= days <= 36500:
        raise PkiError(f"A certificate cannot be valid for {days} days.", "Say 1 to 36500 days.")
