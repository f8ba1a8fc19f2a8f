"""The durable record of one replica: what a node must still know after a power loss.

The storage writes it into two checksummed slots; core decides what stands in it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .identity import Generation, Id
from .memory import NOTHING_SEEN, WitnessMemory


class Role(enum.Enum):
    """The role a node had last, durable."""

    NONE = 0
    PRIMARY = 1
    SECONDARY = 2


class WitnessKind(enum.Enum):
    """The third party asked before a node goes on alone."""

    NONE = 0
    PING = 1
    ETCD = 2


@dataclass(frozen=True, slots=True)
class SavedState:
    """A VM state saved into the folder, usable once, in its own generation and session only."""

    generation: Id
    session: Id
    used: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """Durable facts of a replica.

    Args:
        volume_id: identity of the volume, the same on both nodes; None until the volume is adopted.
        replica_id: identity of this replica; a replaced disk has a new one.
        generation: None for a blank replica, which is older than everything.
        uptodate: whether this replica holds every acknowledged write of its generation.
        peer_may_be_uptodate: whether the peer may be uptodate too.
        role: the role this node had last.
        outdated_reason: one sentence, empty while uptodate.
        witness: the kind of witness this history runs under.
        peer_replica_id: the replica this one was mirrored with last.
        running_ms: accumulated running time since the histories diverged, milliseconds.
        saved: the saved state of the VM, if there is one.
        witness_memory: what was seen of a witness with a memory; nothing under another kind.
    """

    volume_id: Id | None
    replica_id: Id
    generation: Generation | None = None
    uptodate: bool = False
    peer_may_be_uptodate: bool = True
    role: Role = Role.NONE
    outdated_reason: str = "blank"
    witness: WitnessKind = WitnessKind.NONE
    peer_replica_id: Id | None = None
    running_ms: int = 0
    saved: SavedState | None = None
    witness_memory: WitnessMemory = NOTHING_SEEN

    def takes_back(self, before: Record) -> bool:
        """Whether it says that the replica is not uptodate any more. That is true also where it could not be recorded."""
        return before.uptodate and not self.uptodate

    @property
    def blank(self) -> bool:
        """Whether this replica has never been part of any history."""
        return self.generation is None
