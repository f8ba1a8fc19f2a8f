"""Twinhull's certificates and configuration on the lab's nodes, made as an operator would make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from twinhull.transport import pki
from twinhull.transport.tls import Role

if TYPE_CHECKING:
    from .lab import Lab

PORTS = {"control": 7410, "heartbeat": 7411, "data": 7420}
ROLES = {"heartbeat": ["heartbeat", "control"], "replication": ["replication", "heartbeat"]}
WITNESS_NETWORK = "witness"
"""A network of this name is for a witness alone: the cluster does not know of it."""
OTHER_ROLES = ["replication", "heartbeat", "control"]
NODE_PATHS = {
    "data_dir": "/var/lib/twinhull",
    "run_dir": "/run/twinhull",
    "log_dir": "/var/log/twinhull",
    "pki_dir": "/etc/twinhull/pki",
    "cluster_config": "/etc/twinhull/cluster.yml",
    "libvirt_uri": "qemu:///system",
}


def cluster_words(lab: Lab, modules: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The content of cluster.yml for a lab.

    Args:
        lab: the lab.
        modules: its modules.
        changes: top-level keys that replace the lab's own.
    """
    fabric = lab.fabric
    networks = [network for network in fabric.subnets if network != WITNESS_NETWORK]
    return {
        "cluster": lab.name,
        "nodes": {
            node: {"addresses": {network: fabric.address(node, network) for network in networks}}
            for node in lab.nodes
        },
        "networks": {network: {"roles": ROLES.get(network, OTHER_ROLES)} for network in networks},
        "ports": PORTS,
        "witness": {"kind": "none"},
        "keep": "ask",
        "modules": dict(modules),
        **changes,
    }


def write_configuration(lab: Lab, modules: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """cluster.yml and node.yml on every node."""
    cluster = yaml.safe_dump(cluster_words(lab, modules, changes), sort_keys=False)
    for name, node in lab.nodes.items():
        directory = node.disk("/etc/twinhull")
        (directory / "cluster.yml").write_text(cluster, encoding="utf-8")
        own = yaml.safe_dump({"node": name, **NODE_PATHS}, sort_keys=False)
        (directory / "node.yml").write_text(own, encoding="utf-8")


def write_certificates(lab: Lab) -> None:
    """An authority of the lab, and each node's certificate in its `pki_dir`."""
    authority = lab.root / "nodes" / "authority"
    pki.init_ca(authority, lab.name)
    for name, node in lab.nodes.items():
        pki.issue(authority, name, Role.NODE, node.disk(NODE_PATHS["pki_dir"]))


def write_files(lab: Lab, modules: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Certificates and configuration on every node."""
    write_certificates(lab)
    write_configuration(lab, modules, changes)
