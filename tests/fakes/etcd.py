"""A witness with a memory: one key, conditional on its revision, as etcd keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.core.identity import Id
from twinhull.core.memory import Seen, WitnessRecord

FIRST_CLUSTER = Id(b"an-etcd-cluster!")


@dataclass
class FakeEtcd:
    """One module's key in a store whose revision only grows.

    Args:
        cluster: identity of the etcd cluster.
        revision, key_revision, record: as etcd has them; no key: 0 and None.
    """

    cluster: Id = FIRST_CLUSTER
    revision: int = 1
    key_revision: int = 0
    record: WitnessRecord | None = None

    def read(self) -> Seen:
        """A linearizable look."""
        return Seen(self.cluster, self.revision, self.key_revision, self.record)

    def write(self, key_revision: int, record: WitnessRecord) -> tuple[bool, Seen]:
        """One transaction: whether the revision was still the expected one, and what stands there now."""
        if key_revision != self.key_revision:
            return False, self.read()
        self.revision += 1
        self.key_revision, self.record = self.revision, record
        return True, self.read()

    def delete(self) -> None:
        """Somebody deletes the key by hand."""
        self.revision += 1
        self.key_revision, self.record = 0, None

    def copy(self) -> FakeEtcd:
        """A backup."""
        return FakeEtcd(self.cluster, self.revision, self.key_revision, self.record)

    def restore(self, backup: FakeEtcd, cluster: Id) -> None:
        """The backup is restored: as a new cluster, or (same id) as one that does not tell."""
        self.cluster = cluster
        self.revision, self.key_revision, self.record = backup.revision, backup.key_revision, backup.record
