"""Content that repairs of `twinhull verify` overwrite, kept in the rescue store (promise 7)."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..core.marks import BLOCK_BYTES
from .rescue import Rescue, Store
from .rescue_format import MAX_ENTRY_BYTES, Kind, Piece

IDLE_S = 60.0
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
        self._used_s = 0.0

    def keep(self, offset_bytes: int, data: bytes) -> None:
        """Have the content of whole blocks durable; it may be overwritten then.

        Raises RescueFullError when the bound is reached, DiskError (DiskFullError) when the disk does not take it.
        """
        if self._rescue is None or self._clock() - self._used_s > IDLE_S:
            self.close()
            _, self._rescue = self._store.begin(Kind.VERIFY, WHY, "")
        self._used_s = self._clock()
        self._store.make_room(len(data) + 4096)
        self._rescue.keep(
            Piece((offset_bytes + at) // BLOCK_BYTES, len(part) // BLOCK_BYTES, part)
            for at in range(0, len(data), MAX_ENTRY_BYTES)
            for part in (data[at : at + MAX_ENTRY_BYTES],)
        )

    def close(self) -> None:
        """End the rescue. Idempotent."""
        rescue, self._rescue = self._rescue, None
        if rescue is not None:
            rescue.close()
