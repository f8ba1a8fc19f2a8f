"""What the witness with a memory holds for a module, as people are shown it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinhull.config import ClusterConfig
from twinhull.core.memory import Seen, WitnessRecord
from twinhull.errors import UsageError
from twinhull.worker.parts import build_memory


def show(cluster: ClusterConfig, node: str, module: str, view: Mapping[str, Any]) -> dict[str, Any]:
    """Read the record and put the nodes' names to it.

    Args:
        node: this node's name.
        view: what the module's worker told last; empty when none is connected.

    Raises:
        UsageError: no witness with a memory is configured, or there is no such module.
        WitnessError: it cannot be asked.
    """
    cluster.module(module)
    memory = build_memory(cluster, module)
    if memory is None:
        kind = cluster.witness.kind.name.lower()
        raise UsageError(
            f"Cluster {cluster.cluster} has no witness with a memory: its kind is {kind}.",
            "Configure one with `witness: {kind: etcd, ...}`.",
        )
    seen = memory.read(cluster.witness.timeout_s)
    names = {str(view.get("replica") or ""): node, str(view.get("peer_replica") or ""): cluster.peer_of(node)}
    names.pop("", None)
    record = seen.record
    return {
        "module": module,
        "node": node,
        "kind": "etcd",
        "rules": str(view.get("witness") or ""),
        "endpoints": list(cluster.witness.endpoints),
        "key": f"/twinhull/{cluster.cluster}/{module}",
        "etcd_cluster": f"{int.from_bytes(seen.cluster, 'big'):x}",
        "revision": seen.revision,
        "key_revision": seen.key_revision,
        "record": record and plain_record(record, names),
        "sentence": sentence(seen, names, str(view.get("history") or ""), node),
    }


def plain_record(record: WitnessRecord, names: Mapping[str, str]) -> dict[str, Any]:
    """The record as plain data; `names`: of nodes by their replicas' ids. Pure."""
    return {
        "generation": record.generation.hex(),
        "parent": record.parent.hex() if record.parent else None,
        "may_start": [
            {"replica": replica.hex(), "node": names.get(replica.hex(), "")} for replica in record.may_start
        ],
        "node": record.node,
    }


def sentence(seen: Seen, names: Mapping[str, str], history: str, node: str) -> str:
    """What the record means to this node, for people. Pure.

    Args:
        names: of nodes by their replicas' ids.
        history: id of this node's generation, hexadecimal; empty when it is not known.
    """
    if seen.record is None:
        what = seen.problem or "there is no record"
        return f"{what}; nobody may go on alone by it until the node that runs the module has written one."
    listed = sorted(
        names.get(replica.hex(), "a replica that is not known here") for replica in seen.record.may_start
    )
    told = f"it lists {' and '.join(listed)}" if listed else "it lists nobody"
    if history and seen.record.generation.hex() != history:
        return f"{told}, under another history than that of {node}."
    return f"{told}."
