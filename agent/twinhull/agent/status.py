"""The status of one node as plain data, and of the cluster as both nodes see it. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from twinhull.core import verify

KNOWN = "the witness is configured as"
"""How the worker's own warning begins."""


def module_status(
    view: Mapping[str, Any] | None,
    facts: Mapping[str, Any],
    worker: Mapping[str, Any],
) -> dict[str, Any]:
    """One module's status.

    Args:
        view: what its worker last told, or None when no worker is connected.
        facts: what the configuration says (folder, size_bytes, preferred, witness), and `unfinished`: the command of
            several steps that was interrupted here, or nothing.
        worker: alive, pid, trouble.
    """
    if view is None:
        trouble = worker.get("trouble") or "it is being started"
        doubt = (
            "The worker of this module does not answer"
            if worker.get("alive")
            else "No worker runs for this module"
        )
        return {
            **facts,
            "state": "STOP",
            "colour": "red",
            "uptodate": False,
            "holding": False,
            "sentence": f"{doubt} on this node: {trouble}.",
            "waiting_for": "",
            "resource": "unknown",
            "generation": "-",
            "peer_may_be_uptodate": True,
            "sync": None,
            "unprotected": None,
            "checkers": {"suspended": False, "items": {}},
            "restarts": 0,
            "warnings": [],
            "allocated_bytes": None,
            "disk_free_bytes": None,
            "disk_total_bytes": None,
            "worker": dict(worker),
            "worker_version": None,
            "verify": None,
        }
    alone_s = view.get("alone_since_s")
    return {
        **facts,
        **{key: view.get(key) for key in VIEW_KEYS},
        "sentence": _sentence(view, str(facts.get("unfinished", ""))),
        "sync": view["sync"] if _is_source_of_resync(view) else None,
        "last_sync": view["sync"],
        "witness": view.get("witness") or facts.get("witness", ""),
        "unprotected": None if alone_s is None else {"since_s": alone_s, "bytes": view["marked_bytes"]},
        "checkers": {"suspended": view["checkers_suspended"], "items": view["checker_items"]},
        "warnings": [
            *view["warnings"],
            *_witness_warnings(view, facts),
            *view.get("space_warnings", []),
            *_verify_warnings(view),
        ],
        "worker": dict(worker),
        "worker_version": view.get("version") or "unknown",
    }


def _witness_warnings(view: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Said until the worker knows the new configuration itself, and tells what it waits for."""
    rules, configured = view.get("witness") or "", facts.get("witness") or ""
    if not rules or not configured or rules == configured or any(KNOWN in text for text in view["warnings"]):
        return []
    module, node = view.get("module"), view.get("node")
    return [
        f"{KNOWN} {configured}, and {rules} rules until {module} is stopped and started again on both nodes, the SECOND "
        f"first; {node} has not taken it yet"
    ]


def _sentence(view: Mapping[str, Any], unfinished: str) -> str:
    """What the worker says of the state, and what a person has to bring to its end."""
    said = str(view.get("sentence") or "")
    if not unfinished or view["state"] != "STOP" or view.get("moving"):
        return said
    module, node = view.get("module"), view.get("node")
    left = f"`twinhull {unfinished} {module}` was interrupted on {node}: run it again there"
    return f"{said.rstrip('.')}; {left}" if said else left


def _is_source_of_resync(view: Mapping[str, Any]) -> bool:
    """Whether this node copies to the other one now."""
    return bool(view["state"] == "PRIM" and view["phase"] == "resynchronising")


VIEW_KEYS = (
    "state",
    "colour",
    "uptodate",
    "holding",
    "sentence",
    "waiting_for",
    "resource",
    "resource_state",
    "generation",
    "peer_may_be_uptodate",
    "restarts",
    "network",
    "allocated_bytes",
    "disk_free_bytes",
    "disk_total_bytes",
    "verify",
)


def _verify_warnings(view: Mapping[str, Any]) -> list[str]:
    """What must be said while differences between the replicas are known."""
    told = verify.warning(str(view.get("module")), (view.get("verify") or {}).get("last"))
    return [told] if told else []


def only_newest_verify(nodes: Mapping[str, Mapping[str, Any]]) -> None:
    """A comparison on the one node says more than an older one on the other, whose warnings go. Changes `nodes`.

    The times are those of the nodes' clocks: nothing but the picture hangs on them.
    """
    ended: dict[str, str] = {}
    for node in nodes.values():
        for name, module in node["modules"].items():
            ended[name] = max(ended.get(name, ""), _verified_at(module))
    for node in nodes.values():
        for name, module in node["modules"].items():
            if "" != _verified_at(module) < ended[name]:
                stale = verify.warning(name, module["verify"]["last"])
                module["warnings"] = [told for told in module["warnings"] if told != stale]


def _verified_at(module: Mapping[str, Any]) -> str:
    last = (module.get("verify") or {}).get("last") or {}
    try:
        return dt.datetime.fromisoformat(str(last.get("ended"))).astimezone(dt.UTC).isoformat()
    except ValueError:
        return ""


def unreachable_node(reason: str) -> dict[str, Any]:
    """What stands for a node whose agent does not answer."""
    return {
        "reachable": False,
        "version": "",
        "networks": {},
        "certificate": None,
        "warnings": [reason],
        "config_digest": "",
        "modules": {},
    }


def cluster_warnings(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What only the comparison of the two nodes shows."""
    digests = {node["config_digest"] for node in nodes.values() if node["reachable"]}
    if len(digests) > 1:
        return [
            "The two nodes have different configurations: run `twinhull config show` on both, "
            "then `twinhull config apply` the right one on the other."
        ]
    return []
