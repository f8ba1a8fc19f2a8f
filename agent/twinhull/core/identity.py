"""Identities that outlive a process: ids and generations.

A generation is one unbroken history of writes. Generations are compared by equality and descent,
never by number: a clock or a counter could be turned back, a random id cannot be met twice.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NewType

Id = NewType("Id", bytes)
"""A random 128-bit identity (16 bytes): of a volume, a replica, a generation, a process or a session."""

ID_BYTES = 16
MAX_PARENTS = 32
NO_ID = Id(bytes(ID_BYTES))


def short(identity: Id | None) -> str:
    """The first 8 hexadecimal digits of an id, for people; `-` for none."""
    return identity.hex()[:8] if identity else "-"


class Relation(enum.Enum):
    """How one generation stands to another."""

    EQUAL = "equal"
    OLDER = "older"  # the first is an ancestor of the second
    NEWER = "newer"  # the first descends from the second
    DIVERGED = "diverged"  # both descend from a common one: split brain
    UNRELATED = "unrelated"  # nothing in common that is still known


@dataclass(frozen=True, slots=True)
class Generation:
    """One history of writes.

    Args:
        id: its own random id.
        parents: ids of its ancestors, the nearest first, at most `MAX_PARENTS`.
    """

    id: Id
    parents: tuple[Id, ...] = ()

    def child(self, new_id: Id) -> Generation:
        """The generation with `new_id` that begins where this one ends."""
        return Generation(new_id, (self.id, *self.parents)[:MAX_PARENTS])

    def descends_from(self, other: Generation) -> bool:
        """Whether `other` is a known ancestor of this one (equality does not count)."""
        return other.id in self.parents

    def relation(self, other: Generation) -> Relation:
        """How this generation stands to `other`."""
        if self.id == other.id:
            return Relation.EQUAL
        if other.descends_from(self):
            return Relation.OLDER
        if self.descends_from(other):
            return Relation.NEWER
        if set(self.parents) & set(other.parents):
            return Relation.DIVERGED
        return Relation.UNRELATED

    def __str__(self) -> str:
        return short(self.id)
