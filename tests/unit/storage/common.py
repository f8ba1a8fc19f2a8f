"""What the tests of storage share."""

from __future__ import annotations

from tests.fakes.disk import FakeDisk

from twinhull.core.identity import Generation, Id
from twinhull.core.memory import WitnessMemory
from twinhull.core.record import Record, Role, SavedState, WitnessKind
from twinhull.storage.volume import Volume

MIB = 1 << 20
GIB = 1 << 30
REPLICA = Id(b"replica-identity")
OTHER_REPLICA = Id(b"another-replica!")
VOLUME = Id(b"volume-identity!")
PEER = Id(b"peers-identity!!")


def an_id(number: int) -> Id:
    """The n-th of many ids."""
    return Id(number.to_bytes(16, "big"))


FULL_RECORD = Record(
    volume_id=VOLUME,
    replica_id=REPLICA,
    generation=Generation(an_id(1), tuple(an_id(number) for number in range(2, 34))),
    uptodate=True,
    peer_may_be_uptodate=False,
    role=Role.PRIMARY,
    outdated_reason="the disk broke: Größe",
    witness=WitnessKind.ETCD,
    peer_replica_id=PEER,
    running_ms=123_456_789_012,
    saved=SavedState(an_id(40), an_id(41), used=True),
    witness_memory=WitnessMemory(an_id(50), 2**40, 2**39),
)


def make(disk: FakeDisk, size_bytes: int = MIB, *, thick: bool = False) -> Volume:
    """A new volume on a fake disk."""
    return Volume.create(
        disk.directory(), size_bytes=size_bytes, replica_id=REPLICA, thick=thick, minimum_bytes=MIB
    )
