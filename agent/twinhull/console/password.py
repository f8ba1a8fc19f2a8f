"""The console's password: kept as a salted scrypt hash (RFC 7914) in `console.yml` beside the node's file.

The hash stands with its own salt and parameters, so that these may grow later while old hashes stay good. Nothing here
says, logs or returns a password.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import yaml

from twinhull.errors import ConfigError, UsageError

FILE_NAME = "console.yml"
MIN_LETTERS = 8
MAX_LETTERS = 1024
SALT_BYTES = 16
HASH_BYTES = 32
_LINE_BREAKS = frozenset("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_SLACK_BYTES = 1 << 20  # what OpenSSL needs beside the table of 128 * n * r bytes


@dataclass(frozen=True, slots=True)
class Cost:
    """scrypt's parameters: rounds `n` (a power of two), block size `r`, lanes `p`; 128 * n * r bytes of memory."""

    n: int = 1 << 15
    r: int = 8
    p: int = 3

    def sane(self) -> bool:
        """Whether a computation with them ends within seconds and takes less than 256 MiB."""
        return (
            1 < self.n <= 1 << 20
            and self.n & (self.n - 1) == 0
            and 1 <= self.r <= 32
            and 1 <= self.p <= 16
            and 128 * self.n * self.r < 256 << 20
        )


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """What is kept of a password."""

    salt: bytes
    digest: bytes
    cost: Cost

    @classmethod
    def of(cls, password: str, cost: Cost | None = None) -> PasswordHash:
        """The hash of a password under a salt of its own. Raises UsageError for what cannot be a password."""
        salt, cost = secrets.token_bytes(SALT_BYTES), cost or Cost()
        return cls(salt, _derived(prepared(password), salt, cost), cost)

    def matches(self, password: str) -> bool:
        """Whether it is this password; takes the same time for every wrong one."""
        try:
            text = prepared(password)
        except UsageError:
            return False
        return hmac.compare_digest(_derived(text, self.salt, self.cost), self.digest)


def prepared(password: str) -> bytes:
    """The password as it is hashed: composed letters (NFC), since keyboards differ in how they write the same.

    Raises UsageError: it is empty, shorter than `MIN_LETTERS` or longer than `MAX_LETTERS` letters, or has a line break.
    """
    text = unicodedata.normalize("NFC", password)
    if not text:
        raise UsageError(
            "The password is empty.", "Nothing was changed; give it on standard input, not as an argument."
        )
    if _LINE_BREAKS & set(text):
        raise UsageError("The password has a line break in it.", "Nothing was changed; use one line.")
    if not MIN_LETTERS <= len(text) <= MAX_LETTERS:
        raise UsageError(
            f"The password has {len(text)} letters, but must have {MIN_LETTERS} to {MAX_LETTERS}.",
            "Nothing was changed.",
        )
    return text.encode()


def _derived(text: bytes, salt: bytes, cost: Cost) -> bytes:
    memory_bytes = 128 * cost.r * (cost.n + cost.p + 2) + _SLACK_BYTES
    return hashlib.scrypt(
        text, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=memory_bytes, dklen=HASH_BYTES
    )


def load(path: Path) -> PasswordHash | None:
    """What is kept in the file; None when no password was set. Raises ConfigError for a file that is not ours."""
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unreadable(path) from error
    try:
        kept = plain["password"]
        cost = Cost(*(int(kept[key]) for key in ("n", "r", "p")))
        salt, digest = (base64.b64decode(kept[key], validate=True) for key in ("salt", "hash"))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise _unreadable(path) from error
    if kept.get("algorithm") != "scrypt" or not cost.sane() or len(digest) != HASH_BYTES or len(salt) < 8:
        raise _unreadable(path)
    return PasswordHash(salt, digest, cost)


def _unreadable(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is not what `twinhull console password` writes.",
        "Set the password anew: remove the file first.",
    )


def store(path: Path, kept: PasswordHash) -> None:
    """Put the hash durably in place of the former one, readable by its owner alone. Raises OSError."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(_text(kept))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _text(kept: PasswordHash) -> str:
    entry = {
        "algorithm": "scrypt",
        "n": kept.cost.n,
        "r": kept.cost.r,
        "p": kept.cost.p,
        "salt": base64.b64encode(kept.salt).decode(),
        "hash": base64.b64encode(kept.digest).decode(),
    }
    head = "# Written by `twinhull console password`. The password itself is kept nowhere.\n"
    return head + str(yaml.safe_dump({"password": entry}, sort_keys=False))


def _sync_directory(path: Path) -> None:
    if os.name == "nt":  # a directory cannot be synced there; the rename is journalled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # file systems that cannot sync a directory
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
