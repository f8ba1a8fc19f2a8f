# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Looks at all sites of a file together: what two of them must not share."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_model import Fleet, FleetNode, Site
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_plan import fixed_groups, tag_groups
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import Problems

_RESERVED = frozenset({"all", "ungrouped", "localhost", "twinhull", "preferred_node"})


def check_fleet(fleet: Fleet, problems: Problems) -> None:
    """Names, addresses and hosts of all sites against each other; what is wrong goes to ``problems``."""
    _check_names(fleet, problems)
    _check_host_names(fleet, problems)
    _check_addresses(fleet, problems)
    _check_targets(fleet, problems)
    _check_tag_groups(fleet, problems)


def _nodes(fleet: Fleet) -> Iterator[tuple[Site, FleetNode]]:
    for site in fleet.sites:
        for node in site.nodes:
            yield site, node


def _subject(site: Site) -> str:
    return f"site {site.name}"


def _check_names(fleet: Fleet, problems: Problems) -> None:
    names: dict[str, Site] = {}
    groups: dict[str, Site] = {}
    for site in fleet.sites:
        other = names.setdefault(site.name.lower(), site)
        group = fixed_groups(site)[0]
        same_group = groups.setdefault(group.lower(), site)
        if other is not site:
            problems.add(
                site.line,
                _subject(site),
                f"has the name of site {other.name} (line {other.line}) but for capitals",
            )
        elif same_group is not site:
            problems.add(
                site.line,
                _subject(site),
                f"has the group '{group}' of site {same_group.name} (line {same_group.line}): rename one of them",
            )


def _check_host_names(fleet: Fleet, problems: Problems) -> None:
    groups = {
        name for site in fleet.sites for name in (*fixed_groups(site), *tag_groups(site.tags))
    } | _RESERVED
    seen: dict[str, tuple[Site, FleetNode]] = {}
    for site, node in _nodes(fleet):
        line = node.lines["host_name"]
        if node.host_name in groups:
            problems.add(
                line,
                _subject(site),
                f"node {node.name} would be the host '{node.host_name}', "
                "which is the name of a group: give it another host_name",
            )
        other_site, other = seen.setdefault(node.host_name.lower(), (site, node))
        if other is not node:
            problems.add(
                line,
                _subject(site),
                f"node {node.name} would be the host '{node.host_name}', as node {other.name} of site {other_site.name} "
                f"(line {other.lines['host_name']}): give one of them another host_name",
            )


def _check_addresses(fleet: Fleet, problems: Problems) -> None:
    seen: dict[str, tuple[Site, FleetNode, str]] = {}
    for site, node in _nodes(fleet):
        for network, address in node.addresses.items():
            if network in site.isolated_networks:
                continue
            other_site, other, other_network = seen.setdefault(address, (site, node, network))
            if other_site is site:
                continue
            problems.add(
                node.lines[network],
                _subject(site),
                f"{address} of node {node.name} on '{network}' is node {other.name} of site {other_site.name} already "
                f"(line {other.lines[other_network]}). Correct one of them; if '{network}' only joins the two nodes of a "
                f"site, such as a cable between them, say so by isolated_networks: [{network}]",
            )


def _check_targets(fleet: Fleet, problems: Problems) -> None:
    """No two nodes are reached at one place; of a node that is reached at its own address, `_check_addresses` tells."""
    seen: dict[tuple[str, str], tuple[Site, FleetNode]] = {}
    owners = {address: (site, node) for site, node in _nodes(fleet) for address in _own_addresses(site, node)}
    for site, node in _nodes(fleet):
        if not node.target:
            continue
        other_site, other = seen.setdefault((node.target.lower(), node.port), (site, node))
        if other is node and not node.port:
            other_site, other = owners.get(node.target, (site, node))
        if other is node or node.target in _own_addresses(site, node):
            continue
        problems.add(
            node.lines["host"],
            _subject(site),
            f"node {node.name} is reached at {node.target}, which is node {other.name} of site {other_site.name} "
            f"(line {other.lines['host']}). Write the right 'host' (or another ansible_port under 'vars')",
        )


def _own_addresses(site: Site, node: FleetNode) -> list[str]:
    return [address for network, address in node.addresses.items() if network not in site.isolated_networks]


def _check_tag_groups(fleet: Fleet, problems: Problems) -> None:
    seen: dict[str, tuple[str, str, Site]] = {}
    for site in fleet.sites:
        for group, (key, value) in tag_groups(site.tags).items():
            first_key, first_value, other = seen.setdefault(group, (key, value, site))
            if (first_key, first_value) != (key, value):
                problems.add(
                    site.tag_lines[key],
                    _subject(site),
                    f"the tag {key}: '{value}' makes the group '{group}', as the tag {first_key}: '{first_value}' of site "
                    f"{other.name} (line {other.tag_lines[first_key]}): write both alike, or more differently",
                )
