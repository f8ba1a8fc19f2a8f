"""A healthy site of each platform, as the modules describe it; each test breaks one thing."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_judge import judge
from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_model import Finding, Limits

FIXTURES = Path(__file__).resolve().parents[1] / "modules" / "fixtures"
GIB = 1 << 30

LINUX_CLUSTER: dict[str, Any] = {
    "cluster": "lyon",
    "nodes": {
        "a": {"addresses": {"lan": "10.1.0.11", "direct": "192.168.1.11"}},
        "b": {"addresses": {"lan": "10.1.0.12", "direct": "192.168.1.12"}},
    },
    "networks": {
        "lan": {"roles": ["heartbeat", "control"]},
        "direct": {"roles": ["replication", "heartbeat"]},
    },
    "modules": {
        "VM1": {
            "number": 1,
            "size": "64 GiB",
            "folder": "/srv/twinhull/VM1",
            "preferred": "a",
            "resource": {"kind": "libvirt"},
        }
    },
}
WINDOWS_CLUSTER: dict[str, Any] = {
    **LINUX_CLUSTER,
    "modules": {
        "VM1": {
            "number": 1,
            "size": "64 GiB",
            "folder": "D:\\Twinhull\\VM1",
            "preferred": "a",
            "resource": {"kind": "hyperv", "vm": "web"},
        }
    },
}


def cluster_of(base: Mapping[str, Any], **module: Any) -> dict[str, Any]:
    """The cluster with some words of its module VM1 replaced."""
    changed: dict[str, Any] = copy.deepcopy(dict(base))
    changed["modules"]["VM1"].update(module)
    return changed


def linux_facts(node: str) -> dict[str, Any]:
    """What preflight_facts told of a healthy Debian host."""
    return _host(json.loads((FIXTURES / "linux_facts.json").read_text()), node)


def windows_facts(node: str) -> dict[str, Any]:
    """What win_preflight_facts told in the PowerShell engine, with what that engine cannot know filled in."""
    facts = _host(json.loads((FIXTURES / "windows_facts.json").read_text()), node)
    facts["account"] = {"name": "LYON\\ops", "local": False, "administrator": True, "filter_policy": None}
    facts["names"] = {
        "hostname": f"lyon-{node}",
        "resolves_to": ["10.1.0.1" + "12"["ab".index(node)]],
        "timed_out": False,
    }
    facts["clock"].update(offset_s=0.1, uncertainty_s=0.3)
    facts["unreadable"] = []
    return facts


def _host(facts: dict[str, Any], node: str) -> dict[str, Any]:
    for entry in facts["addresses"]:
        if node == "b" and entry["address"].endswith(".11"):
            entry["address"] = entry["address"][:-1] + "2"
    for entry in facts.get("network_profiles", []):
        entry["addresses"] = [
            text[:-1] + "2" if node == "b" and text.endswith(".11") else text for text in entry["addresses"]
        ]
    if node == "b":
        facts["vms"] = []
    return facts


def judged(
    change: Callable[[dict[str, dict[str, Any]]], object] | None = None,
    *,
    platform: str = "linux",
    cluster: Mapping[str, Any] | None = None,
    network: Mapping[str, list[dict[str, Any]]] | None = None,
    limits: Limits | None = None,
) -> list[Finding]:
    """The findings over a healthy site after `change` was applied to the facts of both nodes."""
    of = windows_facts if platform == "windows" else linux_facts
    facts = {node: of(node) for node in ("a", "b")}
    if change is not None:
        change(facts)
    base = WINDOWS_CLUSTER if platform == "windows" else LINUX_CLUSTER
    site = cluster if cluster is not None else base
    findings: list[Finding] = judge("lyon", site, facts, network or {}, limits or Limits())
    return findings


def told(findings: list[Finding]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Level, code and nodes of everything that is not ok."""
    return [(finding.level, finding.code, finding.nodes) for finding in findings if finding.level != "ok"]
