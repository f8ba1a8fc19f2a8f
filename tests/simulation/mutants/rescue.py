"""Bugs in keeping what a copy overwrites, and in healing a split brain."""

from __future__ import annotations

import dataclasses
from typing import Any

from twinhull.core import decide, heal, mirror_rescue, session
from twinhull.core import rescue as plans
from twinhull.storage import rescue as store
from twinhull.storage.rescue_format import Stage, encode_batch
from twinhull.worker import rescue as worker

from .kit import Mutant

Rescuer, Rescues = mirror_rescue.Rescuer, worker.Rescues
_want, _plan_of, _choose, _fill_step = Rescuer.want, plans.plan_of, heal.choose, Rescues._fill_step
_finish = Rescues.finish


def _ready_at_once(self: Any, offset_bytes: int, length_bytes: int) -> bool:
    if self._state is mirror_rescue.Keeping.ON:
        _want(self, offset_bytes, length_bytes)
        return True
    return self._state is mirror_rescue.Keeping.OFF


def _not_synced(self: Any, pieces: Any) -> None:
    content, batch = encode_batch(pieces, self._key, self._number, self._end_bytes)
    self._file.write(self._end_bytes, content)
    self._took(batch)


def _never_planned(_record: Any, _theirs: Any, _reason: str) -> None:
    """Nothing is kept."""


def _always_resync(record: Any, theirs: Any, reason: str) -> Any:
    plan = _plan_of(record, theirs, reason)
    return None if plan is None else plan._replace(kind=plans.RescueKind.RESYNC)


def _wrong_side(mine: Any, theirs: Any, me: str, peer: str) -> Any:
    choice = _choose(mine, theirs, me, peer)
    return dataclasses.replace(choice, mine=not choice.mine) if isinstance(choice, heal.Choice) else choice


def _over_when_copied(self: Any) -> None:
    _finish(self)
    self._answers.rescue_over(self._clock())


def _complete_at_once(self: Any, from_bytes: int) -> int | None:
    rescue = self._rescue
    if rescue is not None and rescue.about.stage is Stage.FOLLOWING:
        self._store.end(rescue, Stage.COMPLETE)
        self._rescue = None
        rescue.close()
    return None


def _kept_as_it_is_now(self: Any, rescue: Any, offset_bytes: int, length_bytes: int) -> Any:
    for piece in _pieces(self, rescue, offset_bytes, length_bytes):
        yield piece._replace(data=None) if piece.blocks == 1 else piece


_pieces = Rescues._pieces

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
    Mutant(
        "nothing is kept",
        "A SECOND with something to copy begins no rescue.",
        ((session, "plan_of", _never_planned),),
    ),
    Mutant(
        "the rescue of a split brain thrown away",
        "What the losing side wrote is kept only until the copy is complete.",
        ((session, "plan_of", _always_resync),),
    ),
    Mutant(
        "split brain healed in favour of the wrong side",
        "Both nodes take the loser for the winner.",
        ((heal, "choose", _wrong_side), (decide, "choose", _wrong_side)),
    ),
    Mutant(
        "a rescue ends with the copy",
        "What is overwritten while the rest of a rescue is filled in is not kept.",
        ((Rescues, "finish", _over_when_copied),),
    ),
    Mutant(
        "a rescue complete before it is",
        "The rest of what the losing side held is not filled in.",
        ((Rescues, "_fill_step", _complete_at_once),),
    ),
    Mutant(
        "holes kept instead of blocks",
        "A single block goes to the rescue as if it held zeros.",
        ((Rescues, "_pieces", _kept_as_it_is_now),),
    ),
)
