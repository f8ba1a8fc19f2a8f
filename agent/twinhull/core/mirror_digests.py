"""Digests of blocks, by which two replicas are compared.

Nodes that both speak protocol version 3 use GMAC (NIST SP 800-38D) with a key that is made of the session's id: an eighth
of what BLAKE2b costs where the processor has AES instructions, and whoever writes to the volume does not know the key. Two
different blocks have one digest with a probability of 2^-116 at most.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable

from .frames import Buffer
from .identity import Id
from .marks import BLOCK_BYTES

DIGEST_BYTES = 16
_NONCE = bytes(12)  # one for all, because only equality counts and no digest leaves the two nodes


def key_of(session: Id) -> bytes:
    """The key of a session's digests (16 bytes)."""
    return hashlib.blake2b(session, digest_size=16, person=b"twinhull-compare").digest()


def digests_of(data: Buffer, key: bytes = b"") -> bytes:
    """The digests (16 bytes each) of consecutive 32 KiB blocks, the last of which may be shorter.

    Args:
        data: what the blocks hold.
        key: see `key_of`; empty: BLAKE2b.
    """
    digest = _gmac(key) if key else _blake2b
    view = memoryview(data)
    return b"".join(digest(view[at : at + BLOCK_BYTES]) for at in range(0, len(view), BLOCK_BYTES))


@functools.lru_cache(maxsize=4)
def zero_digest(key: bytes = b"") -> bytes:
    """The digest of a block of zeros."""
    return digests_of(bytes(BLOCK_BYTES), key)


def _blake2b(block: memoryview) -> bytes:
    return hashlib.blake2b(block, digest_size=DIGEST_BYTES).digest()


@functools.lru_cache(maxsize=4)
def _gmac(key: bytes) -> Callable[[memoryview], bytes]:
    # Here, because it takes 7 MiB that a worker which never compares can do without.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    encrypt = AESGCM(key).encrypt
    return lambda block: encrypt(_NONCE, b"", block)
