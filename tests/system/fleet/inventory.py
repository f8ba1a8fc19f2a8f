"""The inventory of a fleet, as an integrator would write it for `twinhull.ha.sites`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from . import tree
from .fabric import CONTROL, CONTROL_ADDRESS, SITE_NETWORKS

if TYPE_CHECKING:
    from .fleet import Fleet

RINGS = ("pilot", "broad")
CONSOLE_PASSWORD = "corect horse \"staple' $HOME {{ no }} \\ é"
NETWORKS = {
    "lan": {"roles": ["heartbeat", "control"]},
    "direct": {"roles": ["replication", "heartbeat"]},
}


def default_modules(site: str) -> dict[str, Any]:
    """One module that protects the libvirt VM of the site's own name."""
    return {
        f"{site}-vm": {
            "number": 1,
            "size": "2 GiB",
            "folder": f"/srv/twinhull/{site}-vm",
            "preferred": "a",
            "resource": {"kind": "libvirt"},
        }
    }


def sites_yml(fleet: Fleet, modules: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The content of sites.yml.

    Args:
        fleet: whose hosts it names.
        modules: site -> its modules, in the words of the cluster's configuration.
    """
    sites: dict[str, Any] = {}
    for number, site in enumerate(fleet.sites, 1):
        nodes = {}
        for host in fleet.hosts_of(site):
            addresses = {network: host.place.address(network) for network in SITE_NETWORKS}
            nodes[host.node] = {"addresses": addresses, "host": host.place.address(CONTROL)}
        sites[site] = {
            "tags": {"country": "fr" if number % 2 else "ch", "ring": RINGS[min(number, len(RINGS)) - 1]},
            # Every second site is worked on by an operator with sudo instead of root.
            "vars": {"ansible_user": "root" if number % 2 else tree.OPERATOR},
            "nodes": nodes,
            "modules": dict(modules[site]),
        }
    defaults = {
        "platform": "linux",
        "networks": NETWORKS,
        "witness": {"kind": "none"},
        "control_addresses": [f"{CONTROL_ADDRESS}/32"],
    }
    return {"plugin": "twinhull.ha.sites", "rings": list(RINGS), "defaults": defaults, "sites": sites}


def group_vars(fleet: Fleet) -> dict[str, Any]:
    """What all hosts share: how they are reached, and what the playbooks are told."""
    return {
        "ansible_ssh_common_args": f"-F {fleet.ssh_config}",
        "ansible_control_path_dir": str(fleet.sockets),
        "ansible_python_interpreter": "/usr/bin/python3",
        "twinhull_bundle": str(fleet.root / "bundle" / "twinhull-bundle.tar.gz"),
        "twinhull_ca_dir": str(fleet.root / "pki") + "/{{ twinhull_site }}",
        "twinhull_output_dir": str(fleet.root / "reports"),
        "twinhull_wait_s": 300,
    }


def static_hosts(fleet: Fleet, words: Mapping[str, Any]) -> dict[str, Any]:
    """The same hosts, groups and variables without the plugin."""
    groups: dict[str, Any] = {}
    for number, (site, own) in enumerate(words["sites"].items(), 1):
        cluster = {
            "cluster": site,
            "nodes": {node: {"addresses": entry["addresses"]} for node, entry in own["nodes"].items()},
            "networks": NETWORKS,
            "ports": {"control": 7410, "heartbeat": 7411, "data": 7420},
            "witness": {"kind": "none"},
            "keep": "ask",
            "modules": own["modules"],
        }
        hosts = {}
        for host in fleet.hosts_of(site):
            hosts[host.name] = {
                "ansible_host": host.place.address(CONTROL),
                "twinhull_node": host.node,
                "twinhull_peer": next(other.name for other in fleet.hosts_of(site) if other is not host),
            }
        groups[f"site_{site}"] = {
            "hosts": hosts,
            "vars": {
                **own["vars"],
                "twinhull_site": site,
                "twinhull_platform": "linux",
                "twinhull_cluster": cluster,
                "twinhull_tags": own["tags"],
                "twinhull_ring": own["tags"]["ring"],
                "twinhull_ring_order": min(number, len(RINGS)) - 1,
                "twinhull_control_addresses": words["defaults"]["control_addresses"],
            },
        }
    everybody: dict[str, Any] = {name: {} for name in groups}
    return {"all": {"children": {"twinhull": {"children": everybody}, **groups}}}


def write(fleet: Fleet, modules: Mapping[str, Mapping[str, Any]]) -> None:
    """Both inventories with their group_vars, and the configuration of ssh."""
    words = sites_yml(fleet, modules)
    for directory, file, content in (
        (fleet.inventory.parent, "sites.yml", words),
        (fleet.static_inventory.parent, "hosts.yml", static_hosts(fleet, words)),
    ):
        (directory / "group_vars").mkdir(parents=True, exist_ok=True)
        _write(directory / file, content)
        _write(directory / "group_vars/all.yml", group_vars(fleet))
        unsafe = (
            "twinhull_console_password: !unsafe "
            + yaml.safe_dump(CONSOLE_PASSWORD, default_style='"').strip()
        )
        with (directory / "group_vars/all.yml").open("a", encoding="utf-8") as target:
            target.write(unsafe + "\n")
    fleet.ssh_config.write_text(_ssh_config(fleet), encoding="utf-8")


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _ssh_config(fleet: Fleet) -> str:
    settings = {
        "IdentityFile": fleet.key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": fleet.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": 5,
        # A connection to a host that lost its power ends by itself.
        "ServerAliveInterval": 3,
        "ServerAliveCountMax": 3,
    }
    lines = [f"  {word} {value}" for word, value in settings.items()]
    hosts = []
    for host in fleet.hosts.values():
        hosts.append(f"Host {host.name}\n  HostName {host.place.address(CONTROL)}\n  User root")
    return "\n".join([*hosts, "Host *", *lines]) + "\n"
