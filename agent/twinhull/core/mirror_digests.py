"""Digests of blocks, by which two replicas are compared."""

from __future__ import annotations

import hashlib

from .frames import Buffer
from .marks import BLOCK_BYTES

DIGEST_BYTES = 16


def digests_of(data: Buffer) -> bytes:
    """The digests (16 bytes each, BLAKE2b) of consecutive 32 KiB blocks."""
    view = memoryview(data)
    return b"".join(
        hashlib.blake2b(view[at : at + BLOCK_BYTES], digest_size=DIGEST_BYTES).digest()
        for at in range(0, len(view), BLOCK_BYTES)
    )


ZERO_DIGEST = digests_of(bytes(BLOCK_BYTES))
