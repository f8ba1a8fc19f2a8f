"""Bugs in keeping what a copy overwrites."""

from __future__ import annotations

from typing import Any

from twinhull.core import mirror_rescue
from twinhull.storage import rescue as store
from twinhull.storage.rescue_format import encode_batch

from .kit import Mutant

Rescuer = mirror_rescue.Rescuer
_want = Rescuer.want


def _ready_at_once(self: Any, offset_bytes: int, length_bytes: int) -> bool:
    if self._state is mirror_rescue.Keeping.ON:
        _want(self, offset_bytes, length_bytes)
        return True
    return self._state is mirror_rescue.Keeping.OFF


def _not_synced(self: Any, pieces: Any) -> None:
    content, batch = encode_batch(pieces, self._key, self._number, self._end_bytes)
    self._file.write(self._end_bytes, content)
    self._took(batch)


MUTANTS = (
    Mutant(
        "rescue block written after the overwrite",
        "What a copy overwrites goes to the rescue when it gets there, not before.",
        ((Rescuer, "ready", _ready_at_once),),
    ),
    Mutant(
        "rescue not synced",
        "A block counts as kept as soon as it is written, not when it is durable.",
        ((store.Rescue, "_append", _not_synced),),
    ),
)
