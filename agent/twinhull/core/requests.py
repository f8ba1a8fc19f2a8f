"""What the host's block layer asks of a module's disk. Exports make these; the mirror answers them."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Op(enum.IntEnum):
    """What a request wants. A discard reads as zeros afterwards, at any alignment."""

    READ = 0
    WRITE = 1
    FLUSH = 2
    DISCARD = 3


class Request(NamedTuple):
    """One request of the host's block layer.

    `data` of a write belongs to the receiver until `reply` was called for `tag`: it never changes under
    it. `fua`: durable before it is answered.
    """

    tag: int
    op: Op
    offset_bytes: int
    length_bytes: int
    data: memoryview | bytes | None = None
    fua: bool = False
