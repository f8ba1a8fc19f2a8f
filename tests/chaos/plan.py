"""What happens in a round: drawn from its seed alone, so that the same seed makes the same trouble again.

Where the trouble meets the module is not fixed by the seed: real processes run at their own pace.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, field
from typing import Any


class Kind(enum.Enum):
    """What can go wrong, in words for the report."""

    KILL = "kill"
    FREEZE = "freeze"
    CUT = "cut"
    CUT_OFF = "cut off"
    SPLIT = "split"
    SLOW = "slow link"
    DISK_FULL = "disk full"
    DISK_ERRORS = "disk errors"
    DISK_SLOW = "disk slow"
    DISK_STALL = "disk stalls"
    POWER = "power loss"
    POWER_BOTH = "power loss of both"
    RESTART = "agent restarted"
    UPGRADE = "upgraded in place"
    COMMAND = "command"
    WITNESS_DOWN = "witness down"
    WITNESS_FROZEN = "witness frozen"
    WITNESS_CUT = "witness cut off"
    WITNESS_RESET = "witness reset"
    WITNESS_CHANGED = "another kind of witness"
    OVERRIDE = "started by name"


class Witness(enum.Enum):
    """Who stands between the nodes."""

    PING = "ping"
    ETCD = "etcd"


WITNESS_KINDS = (
    Kind.WITNESS_DOWN,
    Kind.WITNESS_FROZEN,
    Kind.WITNESS_CUT,
    Kind.WITNESS_RESET,
    Kind.WITNESS_CHANGED,
    Kind.OVERRIDE,
)
"""Only where the witness is an etcd, beside what else happens there."""
SPLITTING = frozenset({Kind.WITNESS_CHANGED, Kind.OVERRIDE})
"""What takes the memory out of the decision: a witness of another kind, or a person."""
KINDS = tuple(kind for kind in Kind if kind not in WITNESS_KINDS)
NETWORK_KINDS = frozenset({Kind.CUT, Kind.CUT_OFF, Kind.SPLIT, Kind.SLOW})
ROLES = ("primary", "secondary")
PROCESSES = ("agent", "worker", "agent and worker")
NETWORKS = ("heartbeat", "replication")
DIRECTIONS = ("both", "in", "out")
COMMANDS = ("swap", "stop", "stop forced", "restart", "verify", "verify repair", "stopstart", "start")
FAILING = (("WRITE",), ("FLUSH",), ("READ",), ("READ", "WRITE", "FLUSH"))
SECOND_FAULT_SHARE = 0.4
WITNESS_FAULT_SHARE = 0.7
OTHER_WITNESSES = ("none", "ping")
SEEDS_OF_A_WITNESS = 40


@dataclass(frozen=True)
class Fault:
    """One trouble.

    Args:
        kind: which.
        role: whose, at the moment when it begins.
        lasts_s: from its begin to its end, seconds; a trouble of one moment has 0.
        details: what else its kind needs, by name.
    """

    kind: Kind
    role: str
    lasts_s: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """For the story."""
        words = [
            self.kind.value,
            f"({self.role})",
            *(f"{name}={value}" for name, value in self.details.items()),
        ]
        return " ".join([*words, *([f"for {self.lasts_s:.1f} s"] if self.lasts_s else [])])


@dataclass(frozen=True)
class Plan:
    """The trouble of a round, in order.

    Args:
        seed: it was drawn from.
        faults: each begins `pauses_s` after the one before began, and ends when its time is over.
        pauses_s: before each.
        ballast_mb: what is written beside the load, so that a resync takes a while.
        witness: of the pair that it is played on.
    """

    seed: int
    faults: tuple[Fault, ...]
    pauses_s: tuple[float, ...]
    ballast_mb: int
    witness: Witness = Witness.PING

    @property
    def may_split(self) -> bool:
        """Whether there may be two histories.

        A ping witness has no memory: it grants to both when each reaches it while they do not reach each other, as
        every status warns. With etcd only a person can make two, or another kind that was configured meanwhile.
        """
        if self.witness is Witness.ETCD:
            return any(fault.kind in SPLITTING for fault in self.faults)
        cuts = [fault for fault in self.faults if fault.kind in NETWORK_KINDS - {Kind.SLOW}]
        return len(cuts) > 1 or any(fault.kind is Kind.SPLIT for fault in cuts)

    def __str__(self) -> str:
        """For the story."""
        return ", then ".join(str(fault) for fault in self.faults)


def witness_of(seed: int) -> Witness:
    """Who stands between the nodes in the round of a seed: for some seeds one, for as many the other."""
    return tuple(Witness)[seed // SEEDS_OF_A_WITNESS % len(Witness)]


def draw(seed: int, timeout_s: float) -> Plan:
    """The plan of a seed. Seeds that follow each other go through all kinds.

    Args:
        seed: any whole number.
        timeout_s: the module's time-out T, which lengths are measured by.
    """
    chance = random.Random(seed)
    faults = [_fault(KINDS[seed % len(KINDS)], chance, timeout_s)]
    if chance.random() < SECOND_FAULT_SHARE:
        other = _fault(chance.choice(KINDS), chance, timeout_s)
        faults.insert(chance.randrange(2), other)
    witness = witness_of(seed)
    if witness is Witness.ETCD and chance.random() < WITNESS_FAULT_SHARE:
        extra = _witness_fault(chance, timeout_s)
        faults.insert(chance.randrange(len(faults) + 1), extra)
    pauses = (0.0, *(chance.uniform(0.0, 2 * timeout_s) for _ in faults[1:]))
    return Plan(seed, tuple(faults), pauses, chance.choice((0, 0, 4, 16)), witness)


def _witness_fault(chance: random.Random, timeout_s: float) -> Fault:
    kind, role = chance.choice(WITNESS_KINDS), chance.choice(ROLES)
    if kind is Kind.WITNESS_CHANGED:
        return Fault(kind, role, 0.0, {"to": chance.choice(OTHER_WITNESSES)})
    if kind is Kind.OVERRIDE:
        return Fault(kind, role, 0.0, {"without_witness": chance.random() < 0.5})
    if kind is Kind.WITNESS_RESET:
        return Fault(kind, role)
    return Fault(kind, role, timeout_s * chance.choice((0.5, 1.2, 2.0, 4.0)))


def _fault(kind: Kind, chance: random.Random, timeout_s: float) -> Fault:
    role = chance.choice(ROLES)
    lasts_s = timeout_s * chance.choice((0.3, 0.8, 1.2, 2.0))
    if kind is Kind.KILL:
        return Fault(kind, role, 0.0, {"what": chance.choice(PROCESSES)})
    if kind is Kind.FREEZE:
        return Fault(kind, role, lasts_s, {"what": chance.choice((*PROCESSES, "everything"))})
    if kind is Kind.CUT:
        details: dict[str, Any] = {"network": chance.choice(NETWORKS), "direction": chance.choice(DIRECTIONS)}
        return Fault(kind, role, lasts_s, details)
    if kind is Kind.CUT_OFF:
        return Fault(kind, role, lasts_s, {"direction": chance.choice(DIRECTIONS)})
    if kind is Kind.SLOW:
        return Fault(kind, role, 2 * lasts_s, {"rate": chance.choice(("2mbit", "20mbit", "60mbit"))})
    if kind is Kind.DISK_ERRORS:
        details = {"ops": chance.choice(FAILING), "share": chance.choice((0.3, 1.0))}
        return Fault(kind, role, lasts_s, details)
    if kind is Kind.DISK_SLOW:
        return Fault(kind, role, 2 * lasts_s, {"delay_s": round(timeout_s * chance.choice((0.02, 0.2)), 3)})
    if kind in (Kind.POWER, Kind.POWER_BOTH):
        return Fault(
            kind, role, timeout_s * chance.choice((0.0, 0.5, 2.0)), {"seed": chance.randrange(1 << 30)}
        )
    if kind is Kind.UPGRADE:
        return Fault(kind, role, 0.0, {"module_too": chance.random() < 0.5})
    if kind is Kind.COMMAND:
        return Fault(kind, role, 0.0, {"command": chance.choice(COMMANDS)})
    return Fault(kind, role, 0.0 if kind is Kind.RESTART else lasts_s)
