"""What is to be kept before it is overwritten, and what is done when it cannot be (promise 7)."""

from __future__ import annotations

import enum
from typing import NamedTuple

from .identity import Relation
from .messages import Hello
from .record import Record, Role


class RescueKind(enum.Enum):
    """Why old content is kept."""

    SPLIT = "split-brain"
    RESYNC = "resync"


class RescuePlan(NamedTuple):
    """What the SECOND keeps while it is copied to.

    Args:
        generation: the history that its content belongs to, first digits.
    """

    kind: RescueKind
    why: str
    generation: str


class WhenFull(enum.Enum):
    """What is done when the old content cannot be kept (the bound is reached, the disk is full)."""

    ASK = "ask"  # the SECOND leaves before it overwrites anything more; a person makes room
    GIVE_UP = "give-up"  # the whole rescue is dropped and the copy goes on


def plan_of(record: Record, theirs: Hello, reason: str) -> RescuePlan | None:
    """What a node keeps that is about to become a SECOND with something to copy. None: it is blank.

    It wrote alone when it was the primary last and nobody else could have had its writes: those exist nowhere else,
    whatever the generations say (a person's override names the other's history among its parents).
    """
    mine = record.generation
    if mine is None:
        return None
    wrote_alone = record.role is Role.PRIMARY and not record.peer_may_be_uptodate
    diverged = theirs.generation is not None and mine.relation(theirs.generation) in (
        Relation.DIVERGED,
        Relation.NEWER,
    )
    kind = RescueKind.SPLIT if wrote_alone or diverged else RescueKind.RESYNC
    return RescuePlan(kind, reason, str(mine))
