"""Building the witness out of the configuration, which is known here by its shape alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twinhull.core.record import WitnessKind
from twinhull.errors import ConfigError

from .base import Witness
from .none import NoWitness


class WitnessShape(Protocol):
    """The witness of the configuration."""

    @property
    def kind(self) -> WitnessKind: ...
    @property
    def addresses(self) -> Sequence[str]: ...


class AddressesShape(Protocol):
    """A node's literal addresses by network."""

    @property
    def addresses(self) -> Mapping[str, str]: ...


class ClusterShape(Protocol):
    """The configuration of the cluster."""

    @property
    def nodes(self) -> Mapping[str, AddressesShape]: ...
    @property
    def witness(self) -> WitnessShape: ...


def make_witness(cluster: ClusterShape, node: str) -> Witness:
    """The configured witness, for the node of this name. Raises ConfigError."""
    kind = cluster.witness.kind
    if kind is WitnessKind.NONE:
        return NoWitness()
    if kind is WitnessKind.PING:
        # Here, because what it asks with takes 2 MiB of every worker's memory.
        from .ping import PingWitness

        return PingWitness(
            tuple(cluster.witness.addresses),
            own=tuple(cluster.nodes[node].addresses.values()),
            peer=tuple(
                address
                for name, other in cluster.nodes.items()
                if name != node
                for address in other.addresses.values()
            ),
        )
    raise ConfigError(
        f"The witness {kind.name.lower()} has a memory: its record is read and written, it is not asked for a grant.",
        "This is a mistake in the program, not in the configuration.",
    )
