"""Puts a half-copied volume back to what it held when its rescue began."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..core.marks import BLOCK_BYTES, PAGE_BLOCKS
from ..errors import UsageError
from .rescue import Rescue, Store
from .rescue_format import Stage
from .volume import Volume


def roll_back(
    volume: Volume,
    store: Store,
    rescue: Rescue,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Write the old content back. May be cut off anywhere: done again it comes to the same end.

    Every block is marked durably before it is written (promise 3): a peer that comes back later does not know that it
    differs again. The replica stays recorded as not uptodate: only a person may start it (promise 5).

    Args:
        progress: told bytes done and bytes in all.

    Raises UsageError: the rescue is not that of a copy that was cut off. StorageError, DiskError.
    """
    about = rescue.about
    if about.stage is not Stage.OPEN:
        raise UsageError(
            f"The rescue of {about.module} on {about.node} is {about.stage.value}: there is nothing to roll back to.",
            "Only a copy that was cut off can be rolled back.",
        )
    if volume.record.uptodate:
        raise UsageError(f"{about.module} is uptodate on {about.node}; nothing was changed.")
    bits = volume.bits()
    for entry in rescue.entries():
        bits.set_range(entry.first, entry.blocks)
    numbers = {
        page
        for entry in rescue.entries()
        for page in range(entry.first // PAGE_BLOCKS, (entry.first + entry.blocks - 1) // PAGE_BLOCKS + 1)
    }
    volume.store_bits([(number, bits.page(number) or b"") for number in sorted(numbers)])
    done, total = 0, rescue.kept_bytes
    for entry in rescue.entries():
        data = rescue.content(entry)
        if data is None:
            volume.discard(entry.first * BLOCK_BYTES, entry.blocks * BLOCK_BYTES)
        else:
            volume.write(entry.first * BLOCK_BYTES, data)
        done += entry.blocks * BLOCK_BYTES
        progress(done, total)
    volume.flush()
    reason = f"it was rolled back to what it held at {about.began}"
    volume.write_record(
        dataclasses.replace(volume.record, uptodate=False, outdated_reason=reason, saved=None)
    )
    store.end(rescue, Stage.ROLLED_BACK)
