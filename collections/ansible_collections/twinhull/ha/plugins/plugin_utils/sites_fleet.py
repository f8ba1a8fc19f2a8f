# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Reads a whole sites file: text in, typed sites and everything that is wrong out. No Ansible, no files."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_cluster import (
    check_modules,
    check_ring,
    read_addresses,
    read_keep,
    read_networks,
    read_ports,
    read_rescue,
    read_tags,
    read_witness,
)
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_model import Fleet, FleetNode, Site
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_module import (
    DEFAULT_HOMES,
    MODULE_KEYS,
    VM_KIND,
    read_module,
)
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_section import Section, merge
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import (
    FREE_KEYS,
    Entry,
    Mapping,
    Node,
    Problems,
    Scalar,
    Sequence,
    Span,
    parse,
)
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_words import (
    one_of,
    read_host_name,
    read_label,
    read_name,
    read_network,
    read_target,
    read_variable,
    suggestion,
)

PLUGIN = "twinhull.ha.sites"
PLATFORMS = tuple(VM_KIND)
NO_RING = "default"
OPTION_KEYS = ("strict", "compose", "groups", "keyed_groups", "use_extra_vars", "leading_separator")
ROOT_KEYS = ("plugin", "rings", "defaults", "sites", *OPTION_KEYS)
_SHARED_KEYS = (
    "platform", "networks", "ports", "witness", "keep", "rescue", "tags", "control_addresses", "isolated_networks", "vars",
)  # fmt: skip
DEFAULTS_KEYS = (*_SHARED_KEYS, "module")
SITE_KEYS = (*_SHARED_KEYS, "nodes", "modules")
NODE_KEYS = ("addresses", "host", "host_name", "platform", "vars")
_MERGED_BY_KEY = ("ports", "witness", "tags")
_ROOT_HOMES = dict.fromkeys(SITE_KEYS, "it is a key of a site, or of 'defaults'")
_SITE_HOMES = {
    **dict.fromkeys(MODULE_KEYS, "it is a key of a module, under 'modules'"),
    "module": "the defaults of modules stand in 'defaults' at the top",
    "addresses": "it is a key of a node, under 'nodes'",
    "ring": "it is a tag: write tags: {ring: ...}",
    "cluster": "the cluster is called as the site",
}
_DEFAULTS_HOMES = {
    "nodes": "each site has its own, write it there",
    "modules": "each site has its own; what all modules share is called 'module' here",
    "ring": "it is a tag: write tags: {ring: ...}",
    **dict.fromkeys(MODULE_KEYS, "it is a key of 'module' here"),
}
_NODE_HOMES = {
    "ansible_host": "write 'host', or put it under 'vars'",
    "tags": "tags belong to the site",
    "modules": "modules belong to the site",
}
OWN_VARIABLES = frozenset(
    f"twinhull_{word}"
    for word in (
        "site", "node", "peer", "platform", "cluster", "tags", "ring", "ring_order", "control_addresses",
    )
)  # fmt: skip
"""Variables that the inventory makes itself."""


@dataclass(frozen=True, slots=True)
class _Context:
    """What the sites of a file share."""

    problems: Problems
    rings: tuple[str, ...]
    defaults: Section
    module: Node | None


def read_fleet(text: str, problems: Problems) -> Fleet:
    """The sites of this text. When ``problems`` got any, the result must not be used.

    Args:
        text: of the sites file, without a byte order mark.
        problems: gets everything that is wrong in each site alone; `check_fleet` looks at all of them together.
    """
    tree = parse(text, problems)
    if tree is None:
        return Fleet()
    root = Section(problems, "", tree, "", ROOT_KEYS, _ROOT_HOMES)
    root.value("plugin", _read_plugin, required=True)
    rings = _read_rings(root)
    defaults = _section_of(root, "defaults", "defaults", DEFAULTS_KEYS, _DEFAULTS_HOMES)
    _check_defaults(defaults, rings)
    if defaults.entries:
        problems.close_defaults(root.line_of("defaults"), _last_line(root.entries["defaults"].value))
    context = _Context(problems, rings, defaults, defaults.node("module"))
    listed = root.section("sites", None, required=True)
    if root.has("sites") and listed.is_mapping and not listed.entries:
        root.add(listed.line, "'sites' names no site: add one")
    sites = tuple(_read_site(context, name, entry) for name, entry in listed.entries.items())
    return Fleet(sites, read_vars(defaults), _read_options(root))


def _read_plugin(text: str) -> str:
    if text != PLUGIN:
        raise ValueError(f"'{text}' is another plugin: this file needs {PLUGIN}")
    return text


def _section_of(
    root: Section, key: str, subject: str, known: tuple[str, ...], homes: dict[str, str]
) -> Section:
    node = root.node(key) or Mapping({}, root.line)
    return Section(root.problems, subject, node, "", known, homes, root.line_of(key))


def _last_line(node: Node) -> int:
    children: list[Node] = []
    if isinstance(node, Mapping):
        children = [entry.value for entry in node.entries.values()]
    elif isinstance(node, Sequence):
        children = list(node.items)
    lines: list[int] = [node.line, *(_last_line(child) for child in children)]
    return max(lines)


def _read_rings(root: Section) -> tuple[str, ...]:
    rings: list[str] = root.texts("rings", read_name)
    for index, ring in enumerate(rings):
        if ring in rings[:index]:
            root.problem("rings", f"names the ring '{ring}' twice: remove one")
    return tuple(dict.fromkeys(rings))


def _read_options(root: Section) -> dict[str, Span | str]:
    options: dict[str, Span | str] = {}
    for key in OPTION_KEYS:
        node = root.node(key)
        if isinstance(node, Scalar):
            options[key] = node.text
        elif node is not None and node.span is not None:
            options[key] = node.span
        elif node is not None:
            root.problem(key, "must be a single value")
    return options


def _check_defaults(defaults: Section, rings: tuple[str, ...]) -> None:
    networks = read_networks(defaults, required=False)
    read_ports(defaults)
    read_witness(defaults, {})
    read_keep(defaults)
    read_rescue(defaults)
    tags = read_tags(defaults)
    if "ring" in tags:
        check_ring(defaults, tags, rings, defaults.section("tags", None).line_of("ring"))
    defaults.texts("control_addresses", read_network)
    if networks:
        _read_isolated(defaults, networks)
    platform = defaults.value("platform", one_of(PLATFORMS), "linux")
    if defaults.has("module"):
        module = defaults.section("module", MODULE_KEYS, homes=DEFAULT_HOMES)
        for key in ("number", "folder"):
            if key in module.entries:
                module.problem(key, f"does not belong here: {DEFAULT_HOMES[key]}")
        read_module(module, platform, (), partial=True)


def _with_defaults(context: _Context, own: Node) -> Node:
    """The site's mapping with what only the defaults say; ``vars`` are merged by Ansible, not here."""
    if not isinstance(own, Mapping):
        return own
    entries = dict(own.entries)
    for key in _SHARED_KEYS:
        default = context.defaults.entries.get(key)
        if default is None or key == "vars":
            continue
        if key not in entries:
            entries[key] = default
        elif key in _MERGED_BY_KEY:
            entries[key] = entries[key]._replace(
                value=merge(default.value, entries[key].value) or default.value
            )
    return Mapping(entries, own.line)


def _read_site(context: _Context, name: str, entry: Entry) -> Site:
    subject = f"site {name}"
    site = Section(
        context.problems,
        subject,
        _with_defaults(context, entry.value),
        "",
        SITE_KEYS,
        _SITE_HOMES,
        entry.line,
    )
    try:
        _read_own_name(name)
    except ValueError as error:
        site.add(entry.line, f"its name is wrong: {error}")
    platform = _read_platform(site)
    networks = read_networks(site, required=True)
    own_vars = read_vars(site)
    nodes = _read_nodes(site, name, networks, _port(context.defaults, site))
    tags = read_tags(site)
    tag_section = site.section("tags", None)
    check_ring(site, tags, context.rings, tag_section.line_of("ring"))
    ring = tags.get("ring", NO_RING)
    return Site(
        name=name,
        line=entry.line,
        platform=platform,
        nodes=nodes,
        cluster=_read_cluster(context, site, name, platform, networks, nodes),
        tags=tags,
        tag_lines={key: tag_section.line_of(key) for key in tags},
        ring=ring,
        ring_order=context.rings.index(ring) if ring in context.rings else 0,
        control_addresses=tuple(dict.fromkeys(site.texts("control_addresses", read_network))),
        isolated_networks=_read_isolated(site, networks),
        variables=own_vars,
    )


def _read_own_name(text: str) -> str:
    if text in FREE_KEYS:
        raise ValueError(f"'{text}' is a word of this file: choose another name")
    name: str = read_label(text)
    return name


def _read_isolated(section: Section, networks: Map[str, Any]) -> tuple[str, ...]:
    def read(text: str) -> str:
        if networks and text not in networks:
            raise ValueError(f"there is no network '{text}'{suggestion(text, networks)}")
        return text

    return tuple(section.texts("isolated_networks", read))


def _read_platform(site: Section) -> str:
    """The platform that the site and its nodes agree on."""
    own: str = site.value("platform", one_of(PLATFORMS), PLATFORMS[0])
    listed = site.section("nodes", None) if site.has("nodes") else None
    said = {}
    if listed is not None:
        for name in listed.entries:
            said[name] = listed.section(name, None).value("platform", one_of(PLATFORMS), own)
    if len(set(said.values())) > 1:
        mixed = ", ".join(f"{node} is {platform}" for node, platform in said.items())
        site.problem(
            "nodes",
            f"mixes platforms ({mixed}): a VM cannot move between Hyper-V and KVM, so both nodes must be of one platform",
        )
    return next(iter(said.values()), own)


def read_vars(section: Section) -> Span | None:
    """Where the user's own variables stand in the text, after a look at their names."""
    if "vars" not in section.entries:
        return None
    found = section.section("vars", None)
    for key in found.entries:
        found.name(key, "variable", read_variable)
        if key in OWN_VARIABLES:
            found.problem(key, "is made by the inventory itself: remove it here")
    node = section.entries["vars"].value
    return node.span if isinstance(node, Mapping) else None


def _port(*sections: Section) -> str:
    """``ansible_port`` of the last of these that says one."""
    port = ""
    for section in sections:
        node = section.entries["vars"].value if "vars" in section.entries else None
        entry = node.entries.get("ansible_port") if isinstance(node, Mapping) else None
        if entry is not None and isinstance(entry.value, Scalar):
            port = entry.value.text
    return port


def _read_nodes(site: Section, name: str, networks: Map[str, Any], port: str) -> tuple[FleetNode, ...]:
    section = site.section("nodes", None, required=True)
    if site.has("nodes") and section.is_mapping and len(section.entries) != 2:
        names = ", ".join(section.entries) or "none"
        site.problem("nodes", f"must name exactly two nodes, not {len(section.entries)} ({names})")
    seen: set[str] = set()
    nodes = []
    for node_name in section.entries:
        section.name(node_name, "node", _read_own_name)
        if node_name.lower() in seen:
            section.problem(node_name, "is wrong: the other node has this name already")
        seen.add(node_name.lower())
        nodes.append(_read_node(section, f"{name}-{node_name}", node_name, networks, port))
    return tuple(nodes)


def _read_node(section: Section, default: str, name: str, networks: Map[str, Any], port: str) -> FleetNode:
    node = section.section(name, NODE_KEYS, homes=_NODE_HOMES)
    addresses = read_addresses(node, tuple(networks))
    place = node.section("addresses", None)
    return FleetNode(
        name=name,
        host_name=node.value("host_name", read_host_name, default),
        target=node.value("host", read_target, next(iter(addresses.values()), "")),
        addresses=addresses,
        port=_port(node) or port,
        variables=read_vars(node),
        lines={
            "name": section.line_of(name),
            "host": node.line_of("host"),
            "host_name": node.line_of("host_name"),
            **{network: place.line_of(network) for network in addresses},
        },
    )


def _read_cluster(
    context: _Context,
    site: Section,
    name: str,
    platform: str,
    networks: Map[str, Any],
    nodes: tuple[FleetNode, ...],
) -> dict[str, Any]:
    own: dict[str, str] = {}
    for node in nodes:
        for network, address in node.addresses.items():
            if address in own:
                message = f"is wrong: {address} is the node '{own[address]}' already; each node has its own"
                site.add(node.lines[network], f"'nodes.{node.name}.addresses.{network}' {message}")
            own.setdefault(address, node.name)
    section = site.section("modules", None)
    modules = dict(_read_modules(context, section, platform, [node.name for node in nodes]))
    check_modules(section, modules, platform)
    return {
        "cluster": name,
        "nodes": {node.name: {"addresses": dict(node.addresses)} for node in nodes},
        "networks": dict(networks),
        "ports": read_ports(site),
        "witness": read_witness(site, own, platform),
        "keep": read_keep(site),
        **({"rescue": rescue} if (rescue := read_rescue(site)) else {}),
        "modules": modules,
    }


def _read_modules(
    context: _Context, section: Section, platform: str, nodes: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, entry in section.entries.items():
        section.name(name, "module", read_name)
        node = merge(context.module, entry.value) or entry.value
        module = Section(
            section.problems,
            section.subject,
            node,
            section.path(name),
            MODULE_KEYS,
            DEFAULT_HOMES,
            entry.line,
        )
        yield name, read_module(module, platform, nodes)
