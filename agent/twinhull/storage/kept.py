"""Content that repairs of `twinhull verify` overwrite, kept in the rescue store (promise 7)."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..core.marks import BLOCK_BYTES
from .rescue import Rescue, RescueFullError, Store
from .rescue_format import MAX_ENTRY_BYTES, Kind, Piece

IDLE_S = 60.0
TRIES = 3
WHY = "overwritten by a repair of twinhull verify"


class Keeper:
    """Keeps what is overwritten by repairs of one module on this node. One thread uses it, and the store.

    Args:
        store: of the module.
        clock: monotonic seconds: a pause of `IDLE_S` ends a rescue, the next block begins another.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._rescue: Rescue | None = None
        self._number = 0
        self._used_s = 0.0

    def keep(self, offset_bytes: int, data: bytes) -> None:
        """Have the content of whole blocks durable; it may be overwritten then.

        Raises RescueFullError when the bound is reached, DiskError (DiskFullError) when the disk does not take it.
        """
        pieces = [
            Piece((offset_bytes + at) // BLOCK_BYTES, len(part) // BLOCK_BYTES, part)
            for at in range(0, len(data), MAX_ENTRY_BYTES)
            for part in (data[at : at + MAX_ENTRY_BYTES],)
        ]
        if self._clock() - self._used_s > IDLE_S or self._has_any(pieces):
            self.close()
        for _ in range(TRIES):
            if self._rescue is None:
                self._number, self._rescue = self._store.begin(Kind.VERIFY, WHY, "")
            self._used_s = self._clock()
            self._store.make_room(len(data) + 4096)
            self._rescue.keep(pieces)
            if self._store.holds(self._number, self._rescue):
                return
            self.close()  # a person dropped it meanwhile, or it made room: what went into it is nowhere
        raise RescueFullError(
            "What a repair would overwrite is removed from the rescue store as soon as it is there.",
            "Make room on that disk, or raise rescue.share.",
        )

    def _has_any(self, pieces: list[Piece]) -> bool:
        """Whether a block is kept already: a rescue has one content of each, and room for no more."""
        if self._rescue is None:
            return False
        kept = self._rescue.kept
        return any(block in kept for first, blocks, _ in pieces for block in range(first, first + blocks))

    def close(self) -> None:
        """End the rescue. Idempotent."""
        rescue, self._rescue = self._rescue, None
        if rescue is not None:
            rescue.close()
