"""What a witness with a memory holds for a module, and what may be concluded from it (DESIGN.md section 3, "Witness").

One key per cluster and module; its value says which replicas may start, and in which history. Everything is
conditional on the key's revision; nothing here knows who keeps the key or how it is reached.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from .identity import ID_BYTES, Generation, Id, Relation, short

FORMAT = 1
MAX_VALUE_BYTES = 4096
MAX_REVISION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class WitnessRecord:
    """The value of a module's key.

    Args:
        generation: id of the history that may go on, and `parent`: of the one it began from, if any.
        may_start: ids of the replicas that may start; the others are refused.
        request: id of the request that wrote it.
        node: name of the node that wrote it, for people alone.
        by_person: a person ordered it (`start --as-primary`, `witness reset`), whatever stood there before.
    """

    generation: Id
    parent: Id | None
    may_start: tuple[Id, ...]
    request: Id
    node: str = ""
    by_person: bool = False

    def says(self, generation: Generation, replicas: tuple[Id, ...]) -> bool:
        """Whether it lists exactly these replicas under this history, whoever wrote it."""
        return self.generation == generation.id and set(self.may_start) == set(replicas)


class Seen(NamedTuple):
    """One linearizable look at the witness.

    Args:
        cluster: identity of the witness's own cluster (another one after a restore from a backup).
        revision: of its whole store.
        key_revision: at which the key was written last; 0: there is no such key.
        record: None when there is no key, or when its value cannot be read (`problem` says why).
    """

    cluster: Id
    revision: int
    key_revision: int
    record: WitnessRecord | None
    problem: str = ""


class WitnessMemory(NamedTuple):
    """What a node durably remembers of the witness, so that it is not deceived by one that was set back.

    `cluster` None: nothing was seen yet.
    """

    cluster: Id | None = None
    revision: int = 0
    key_revision: int = 0


NOTHING_SEEN = WitnessMemory()


class Judgement(NamedTuple):
    """Whether a replica may ask to go on alone: `refusal` is empty if it may.

    `claims`: the history that it was granted before and never began; written again, it is this node's.
    """

    refusal: str = ""
    claims: Generation | None = None


def remember(seen: Seen) -> WitnessMemory:
    """What to keep of this look."""
    return WitnessMemory(seen.cluster, seen.revision, seen.key_revision)


def strange(seen: Seen, memory: WitnessMemory) -> str:
    """Why this is not the witness that was seen before; empty if it may be."""
    if memory.cluster is None:
        return ""
    remedy = "if that is meant, run `twinhull witness reset` on the node that runs the module"
    if seen.cluster != memory.cluster:
        return (
            f"the witness is another one ({_cluster(seen.cluster)} instead of {_cluster(memory.cluster)}: "
            f"was it restored from a backup?); {remedy}"
        )
    if seen.revision < memory.revision or 0 < seen.key_revision < memory.key_revision:
        return (
            f"the witness is older than what was seen of it (revision {seen.revision} after {memory.revision}: "
            f"was it restored from a backup?); {remedy}"
        )
    return ""


def _cluster(cluster: Id) -> str:
    return f"{int.from_bytes(cluster, 'big'):x}"


def judge(seen: Seen, replica: Id, mine: Generation) -> Judgement:
    """What the record says to a replica of this history that wants to go on alone. Absence is refusal."""
    record = seen.record
    if record is None:
        what = seen.problem or "it holds no record of this module"
        return Judgement(f"{what} (twinhull witness show says more)")
    if replica not in record.may_start:
        return Judgement(f"it lists another replica alone, since {record.node or 'the other node'} went on")
    if record.generation == mine.id:
        return Judgement()
    if len(record.may_start) == 1 and record.parent == mine.id:
        return Judgement(claims=mine.child(record.generation))
    if mine.relation(_generation(record)) is Relation.NEWER:
        return Judgement()
    return Judgement(
        f"it lists this replica under another history ({short(record.generation)} instead of {short(mine.id)})"
    )


def taken(seen: Seen, replica: Id, listed_at: int | None) -> bool:
    """Whether a person took the record for another replica, so that one that runs alone must give way to it.

    Everything else that names another one alone came too late, or is older, and is written over: requests under way fail
    on the revision as soon as this replica has written the record itself.

    Args:
        replica: the one that runs alone.
        listed_at: the key's revision when this replica wrote the record; None: it has not yet, since it runs alone.
    """
    record = seen.record
    if record is None or replica in record.may_start:
        return False
    return record.by_person or (listed_at is not None and seen.key_revision > listed_at)


def _generation(record: WitnessRecord) -> Generation:
    return Generation(record.generation, (record.parent,) if record.parent is not None else ())


def encode(record: WitnessRecord) -> bytes:
    """The value as one JSON object, UTF-8 (docs/formats.md, "The witness's key")."""
    value = {
        "format": FORMAT,
        "generation": record.generation.hex(),
        "parent": record.parent.hex() if record.parent is not None else None,
        "may_start": [replica.hex() for replica in record.may_start],
        "request": record.request.hex(),
        "node": record.node,
    }
    if record.by_person:
        value["by_person"] = True
    return json.dumps(value, separators=(",", ":")).encode()


def decode(value: bytes) -> WitnessRecord:
    """The record that `encode` wrote. Raises ValueError for everything else."""
    if len(value) > MAX_VALUE_BYTES:
        raise ValueError(f"its value has {len(value)} bytes")
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its value is not JSON: {error}") from error
    if not isinstance(parsed, dict) or parsed.get("format") != FORMAT:
        raise ValueError(f"its value is not of format {FORMAT}")
    listed = parsed.get("may_start")
    node = parsed.get("node", "")
    if not isinstance(listed, list) or not 1 <= len(listed) <= 2 or not isinstance(node, str):
        raise ValueError("its value lacks members")
    parent = parsed.get("parent")
    return WitnessRecord(
        generation=_id(parsed.get("generation")),
        parent=None if parent is None else _id(parent),
        may_start=tuple(_id(replica) for replica in listed),
        request=_id(parsed.get("request")),
        node=node[:100],
        by_person=parsed.get("by_person") is True,
    )


def _id(value: Any) -> Id:
    if not isinstance(value, str) or len(value) != 2 * ID_BYTES:
        raise ValueError("its value holds something that is no id")
    return Id(bytes.fromhex(value))
