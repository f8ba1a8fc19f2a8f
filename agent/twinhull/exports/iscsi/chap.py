"""One-way CHAP: the initiator proves that it knows the secret (RFC 1994; RFC 7143 section 12.1.3)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from typing import Final, NamedTuple

from ...errors import AttachError

SECRET_CHARACTERS: Final = range(12, 17)
CHALLENGE_BYTES: Final = 16
MAX_BINARY_BYTES: Final = 1024

ALGORITHMS: Final[dict[str, tuple[str, int]]] = {
    "8": ("sha3_256", 32),
    "7": ("sha256", 32),
    "6": ("sha1", 20),
    "5": ("md5", 16),
}
"""Number as it travels: hash and length of its answer in bytes; the strongest first (IANA's PPP registry)."""


class Chap(NamedTuple):
    """What an initiator must know.

    Args:
        user: its name.
        secret: 12 to 16 printable ASCII characters: what the Windows initiator takes.
    """

    user: str
    secret: str

    def checked(self) -> Chap:
        """Itself. Raises AttachError for what no initiator could be configured with."""
        printable = all(" " < character <= "~" for character in self.secret)
        if len(self.secret) not in SECRET_CHARACTERS or not printable:
            raise AttachError("An iSCSI secret must have 12 to 16 printable ASCII characters without spaces.")
        if not self.user or len(self.user) > 255 or not self.user.isascii() or not self.user.isprintable():
            raise AttachError("An iSCSI user must have 1 to 255 printable ASCII characters.")
        return self


def new_secret(random: Callable[[int], bytes]) -> str:
    """A secret of 16 characters; `random` gives so many unpredictable bytes."""
    return base64.urlsafe_b64encode(random(12)).decode()


class ChapError(Exception):
    """The initiator did not prove what it had to."""


class Challenge:
    """One question and its answer; asked once.

    Args:
        chap: what must be known.
        identifier: 0 to 255, another for each question.
        challenge: unpredictable bytes.
    """

    def __init__(self, chap: Chap, identifier: int, challenge: bytes) -> None:
        self._chap = chap
        self._identifier = identifier & 0xFF
        self._challenge = challenge
        self._algorithm = ""

    def ask(self, offered: str) -> list[tuple[str, str]]:
        """The keys that answer CHAP_A, its value being `offered`. Raises ChapError."""
        wanted = offered.split(",")
        self._algorithm = next((number for number in ALGORITHMS if number in wanted), "")
        if not self._algorithm:
            raise ChapError(f"none of the CHAP algorithms {offered[:40]} is known")
        return [
            ("CHAP_A", self._algorithm),
            ("CHAP_I", str(self._identifier)),
            ("CHAP_C", "0x" + self._challenge.hex()),
        ]

    def check(self, name: str, response: str) -> None:
        """Compare what the initiator says with what it must say. Raises ChapError."""
        if not self._algorithm:
            raise ChapError("an answer came before the question")
        hash_name, length = ALGORITHMS[self._algorithm]
        given = binary(response, length)
        text = bytes((self._identifier,)) + self._chap.secret.encode() + self._challenge
        wanted = hashlib.new(hash_name, text, usedforsecurity=False).digest()
        self._algorithm = ""  # never twice
        same_name = hmac.compare_digest(name.encode(), self._chap.user.encode())
        if not hmac.compare_digest(given, wanted) or not same_name:
            raise ChapError("wrong user or secret")


def binary(text: str, length_bytes: int) -> bytes:
    """A large binary value (RFC 7143 section 6.1) of exactly so many bytes. Raises ChapError."""
    if len(text) > 2 * MAX_BINARY_BYTES:
        raise ChapError("a binary value is too long")
    try:
        if text[:2] in ("0x", "0X"):
            value = bytes.fromhex(text[2:].rjust(2 * length_bytes, "0"))
        elif text[:2] in ("0b", "0B"):
            value = base64.b64decode(text[2:], validate=True)
        else:
            raise ChapError("a binary value is neither hexadecimal nor base 64")
    except (ValueError, binascii.Error) as error:
        raise ChapError("a binary value cannot be read") from error
    if len(value) != length_bytes:
        raise ChapError(f"a value of {len(value)} bytes instead of {length_bytes}")
    return value
