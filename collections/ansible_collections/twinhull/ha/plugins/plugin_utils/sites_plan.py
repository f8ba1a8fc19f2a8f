# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""From sites to what Ansible shall know: groups, hosts and their variables, in order. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_model import Fleet, FleetNode, Site
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import Span

ALL_GROUP = "twinhull"
PREFERRED_GROUP = "preferred_node"
SITE_PRIORITY = 10
"""`ansible_group_priority` of a site's group: its `group_vars` go before those of platform, ring and tags."""


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """A group below ``parent``, with its variables."""

    name: str
    parent: str | None
    variables: Map[str, Any]


@dataclass(frozen=True, slots=True)
class HostPlan:
    """A host, the groups it is in, the variables that are made for it, and the user's own, which go before them."""

    name: str
    groups: tuple[str, ...]
    variables: Map[str, Any]
    own_variables: Map[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is added to the inventory, in this order."""

    groups: tuple[GroupPlan, ...]
    hosts: tuple[HostPlan, ...]


def make_plan(fleet: Fleet, loaded: Map[Span, Map[str, Any]]) -> Plan:
    """What Ansible shall know of these sites.

    Args:
        fleet: a fleet without problems.
        loaded: the user's own variables, as Ansible's loader read them, by their place in the text.

    The variables of the defaults go to the group of all, so that every file of `group_vars` goes before them. Those of a
    site and of a node go to the host: there they go before all `group_vars`, and `host_vars` go before them.
    """
    sites = sorted(fleet.sites, key=lambda site: (site.ring_order, natural(site.name)))
    groups = [GroupPlan(ALL_GROUP, None, _variables(fleet.variables, loaded))]
    names = {ALL_GROUP}
    hosts: list[HostPlan] = []
    for site in sites:
        for index, name in enumerate((*fixed_groups(site), *tag_groups(site.tags))):
            if name not in names:
                names.add(name)
                priority = {} if index else {"ansible_group_priority": SITE_PRIORITY}
                groups.append(GroupPlan(name, ALL_GROUP, priority))
        hosts += _hosts(site, loaded)
    if any(PREFERRED_GROUP in host.groups for host in hosts):
        groups.append(GroupPlan(PREFERRED_GROUP, ALL_GROUP, {}))
    return Plan(tuple(groups), tuple(hosts))


def _hosts(site: Site, loaded: Map[Span, Map[str, Any]]) -> Iterator[HostPlan]:
    groups = (ALL_GROUP, *fixed_groups(site), *tag_groups(site.tags))
    preferred = {module.get("preferred") for module in site.cluster["modules"].values()}
    for node, peer in (site.nodes, site.nodes[::-1]) if _in_order(site) else (site.nodes[::-1], site.nodes):
        yield HostPlan(
            name=node.host_name,
            groups=(*groups, PREFERRED_GROUP) if node.name in preferred else groups,
            variables=_host_variables(site, node, peer),
            own_variables={**_variables(site.variables, loaded), **_variables(node.variables, loaded)},
        )


def _in_order(site: Site) -> bool:
    first, second = site.nodes
    return natural(first.name) <= natural(second.name)


def _host_variables(site: Site, node: FleetNode, peer: FleetNode) -> dict[str, Any]:
    return {
        "ansible_host": node.target,
        "twinhull_site": site.name,
        "twinhull_node": node.name,
        "twinhull_peer": peer.host_name,
        "twinhull_platform": site.platform,
        "twinhull_cluster": site.cluster,
        "twinhull_tags": dict(site.tags),
        "twinhull_ring": site.ring,
        "twinhull_ring_order": site.ring_order,
        "twinhull_control_addresses": list(site.control_addresses),
    }


def _variables(span: Span | None, loaded: Map[Span, Map[str, Any]]) -> Map[str, Any]:
    return loaded[span] if span is not None else {}


def fixed_groups(site: Site) -> tuple[str, ...]:
    """The groups of each site: its own first, then platform and ring."""
    return site_group(site.name), f"platform_{site.platform}", f"ring_{group_word(site.ring)}"


def site_group(name: str) -> str:
    """The group of the site of this name."""
    word = group_word(name)
    return word if word.startswith("site_") else f"site_{word}"


def tag_groups(tags: Map[str, str]) -> dict[str, tuple[str, str]]:
    """The tags by the name of their group."""
    return {f"tag_{group_word(key)}_{group_word(value)}": (key, value) for key, value in tags.items()}


def group_word(text: str) -> str:
    """The text as a part of a group's name: runs of anything but letters, digits and ``_`` become one ``_``."""
    return re.sub(r"\W+", "_", text).strip("_") or "_"


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """A key of order by which ``site-2`` comes before ``site-10``."""
    return tuple(
        (int(part), "") if part.isascii() and part.isdigit() else (-1, part.lower())
        for part in re.split(r"(\d+)", text)
    )
