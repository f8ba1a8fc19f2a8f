"""Reads the configuration of the cluster and of the node, and checks that the whole fits together."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path

from ..core.rescue import WhenFull
from ..core.settings import Keep
from .fit import check_modules, check_node
from .model import (
    MAX_MODULES,
    ClusterConfig,
    NetworkConfig,
    NetworkRole,
    NodeAddresses,
    NodeConfig,
    Ports,
    RescueConfig,
)
from .modules import MODULE_KEYS, read_module
from .paths import HERE, Platform, platform_of
from .reader import Section, read_ip, read_label, read_name, suggestion
from .tree import Mapping, Problems, Scalar, parse, read_text
from .witness import check_hold, file_problems, read_witness

CLUSTER_KEYS = ("cluster", "nodes", "networks", "ports", "witness", "keep", "rescue", "modules")
NODE_KEYS = ("node", "data_dir", "run_dir", "log_dir", "pki_dir", "cluster_config", "libvirt_uri")
_CLUSTER_HOMES = {
    **dict.fromkeys(MODULE_KEYS, "it is a key of a module, under 'modules'"),
    **dict.fromkeys(NODE_KEYS, "it is a key of the node's own file (node.yml)"),
}
_DYNAMIC_PORT = 49152
_MAX_PORT = 65_535


def load_cluster(path: Path, node: NodeConfig | None = None) -> ClusterConfig:
    """The cluster's configuration in this file; see `parse_cluster`. Raises ConfigError."""
    return parse_cluster(read_text(path), str(path), node)


def load_node(path: Path) -> NodeConfig:
    """The node's configuration in this file. Raises ConfigError."""
    remedy = (
        f"Write it (at least `node: NAME`, this node's name in the cluster) to {path}, run this as root, "
        "or name another file with --node-config."
    )
    return parse_node(read_text(path, remedy), str(path))


def parse_node(text: str, file: str = "node.yml") -> NodeConfig:
    """The node's configuration. Raises InvalidConfigError with everything that is wrong."""
    problems = Problems(file)
    root = parse(text, problems)
    if root is None:
        problems.raise_if_any()
    homes = dict.fromkeys(CLUSTER_KEYS, "it is a key of the cluster's file (cluster.yml)")
    section = Section(problems, root or Mapping({}, 1), "", NODE_KEYS, homes)
    default = NodeConfig("")
    config = NodeConfig(
        node=section.value("node", read_label, "", required=True),
        data_dir=_own_path(section, "data_dir", default.data_dir),
        run_dir=_own_path(section, "run_dir", default.run_dir),
        log_dir=_own_path(section, "log_dir", default.log_dir),
        pki_dir=_own_path(section, "pki_dir", default.pki_dir),
        cluster_config=_own_path(section, "cluster_config", default.cluster_config),
        libvirt_uri=section.value("libvirt_uri", _read_uri, default.libvirt_uri),
    )
    seen: dict[Path, str] = {}
    for key, directory in config.directories().items():
        if directory in seen:
            section.problem(key, f"is {directory}, which is '{seen[directory]}' already")
        seen.setdefault(directory, key)
    problems.raise_if_any()
    return config


def _own_path(section: Section, key: str, default: Path) -> Path:
    """A path on this host."""
    path = section.absolute_path(key, default)
    if platform_of(path) is not HERE:
        section.problem(key, f"is wrong: {path} is no path of {HERE.value}, which this host runs")
    return Path(path)


def _read_uri(text: str) -> str:
    if "://" not in text or any(letter.isspace() for letter in text):
        raise ValueError(f"'{text}' is no libvirt URI such as qemu:///system")
    return text


def parse_cluster(text: str, file: str = "cluster.yml", node: NodeConfig | None = None) -> ClusterConfig:
    """The cluster's configuration.

    Args:
        text: YAML.
        file: its name for messages.
        node: when given, the configuration must also fit this node (its name, its directories).

    Raises InvalidConfigError with everything that is wrong, each with its line.
    """
    problems = Problems(file)
    tree = parse(text, problems)
    if tree is None:
        problems.raise_if_any()
    root = Section(problems, tree or Mapping({}, 1), "", CLUSTER_KEYS, _CLUSTER_HOMES)
    networks = _read_networks(root)
    nodes = _read_nodes(root, networks)
    modules_section = root.section("modules", None)
    modules = {name: read_module(modules_section, name, nodes) for name in modules_section.entries}
    config = ClusterConfig(
        cluster=root.value("cluster", read_label, "", required=True),
        nodes=nodes,
        networks=networks,
        modules=modules,
        ports=_read_ports(root),
        witness=read_witness(root, nodes),
        keep=root.choice("keep", Keep, Keep.LONGEST_RUNNING),
        rescue=_read_rescue(root),
    )
    check_modules(modules_section, modules)
    check_hold(root, config.witness, modules)
    _check_dynamic_ports(root, config)
    if node is not None:
        for key, problem in file_problems(config.witness, HERE):
            root.section("witness", None).problem(key, problem)
        check_node(root, modules_section, config, node)
    problems.raise_if_any()
    return config


def _read_networks(root: Section) -> dict[str, NetworkConfig]:
    section = root.section("networks", None, required=True)
    networks = {}
    for name in section.entries:
        _check_name(section, name, "network", read_name)
        network = section.section(name, ("roles",))
        roles: list[NetworkRole] = []
        for item in network.items("roles"):
            text = item.text if isinstance(item, Scalar) else ""
            found = next((role for role in NetworkRole if role.value == text), None)
            if found is None:
                hint = suggestion(text, [role.value for role in NetworkRole])
                section.problems.add(item.line, f"'networks.{name}.roles' has no role '{text}'{hint}")
            elif found not in roles:
                roles.append(found)
        if not network.has("roles"):
            network.node("roles", required=True)
        networks[name] = NetworkConfig(tuple(roles))
    for role in NetworkRole:
        if networks and not any(role in network.roles for network in networks.values()):
            section.problems.add(section.line, f"no network has the role '{role.value}'")
    if not networks and section.is_mapping and root.has("networks"):
        section.problems.add(section.line, "'networks' must name at least one network")
    return networks


def _check_name(section: Section, name: str, what: str, read: Callable[[str], str]) -> None:
    try:
        read(name)
    except ValueError as error:
        section.problems.add(section.line_of(name), f"the {what}'s name is wrong: {error}")


def _read_nodes(root: Section, networks: dict[str, NetworkConfig]) -> dict[str, NodeAddresses]:
    section = root.section("nodes", None, required=True)
    if root.has("nodes") and section.is_mapping and len(section.entries) != 2:
        section.problem_here(f"'nodes' must name exactly two nodes, not {len(section.entries)}")
    nodes: dict[str, NodeAddresses] = {}
    owners: dict[str, str] = {}
    for name in section.entries:
        _check_name(section, name, "node", read_label)
        if name.lower() in (other.lower() for other in nodes):
            section.problems.add(section.line_of(name), f"two nodes are called '{name}'")
        addresses = section.section(name, ("addresses",)).section("addresses", tuple(networks), required=True)
        found: dict[str, str] = {}
        for network in networks:
            address = addresses.value(network, read_ip, "", required=True)
            if address and ipaddress.ip_address(address).is_loopback:
                addresses.problem(
                    network, f"is wrong: {address} is a loopback address, the peer cannot reach it"
                )
            elif address in owners:
                addresses.problem(network, f"is wrong: {address} is '{owners[address]}' already")
            elif address:
                owners[address] = addresses.path(network)
            found[network] = address
        nodes[name] = NodeAddresses(found)
    return nodes


def _read_ports(root: Section) -> Ports:
    section = root.section("ports", ("control", "heartbeat", "data", "export"))
    default = Ports()
    ports = Ports(
        control=section.integer("control", default.control, 1024, _MAX_PORT),
        heartbeat=section.integer("heartbeat", default.heartbeat, 1024, _MAX_PORT),
        data=section.integer("data", default.data, 1024, _MAX_PORT - MAX_MODULES),
        export=section.integer("export", default.export, 1024, _MAX_PORT - MAX_MODULES),
    )
    if ports.control == ports.heartbeat:
        section.problem("heartbeat", f"is wrong: {ports.heartbeat} is 'ports.control' already")
    for key, port in (("control", ports.control), ("heartbeat", ports.heartbeat)):
        if ports.data < port <= ports.data + MAX_MODULES:
            section.problem(
                key,
                f"is wrong: {port} lies in {ports.data + 1} to {ports.data + MAX_MODULES}, which modules use",
            )
        if ports.export < port <= ports.export + MAX_MODULES:
            section.problem(
                key,
                f"is wrong: {port} lies in {ports.export + 1} to {ports.export + MAX_MODULES}, which the disks of "
                "modules use on 127.0.0.1",
            )
    if abs(ports.export - ports.data) < MAX_MODULES:
        section.problem(
            "export", f"is wrong: it must be at least {MAX_MODULES} away from {ports.data} ('data')"
        )
    return ports


def _check_dynamic_ports(root: Section, config: ClusterConfig) -> None:
    """Windows gives ports from 49152 on to whoever connects outwards: one of ours could be taken just when it is needed.

    Source: "The default dynamic port range for TCP/IP" (learn.microsoft.com, windows-server/networking).
    """
    if not any(platform_of(module.folder) is Platform.WINDOWS for module in config.modules.values()):
        return
    ports = config.ports
    for key, first, count in (
        ("control", ports.control, 0),
        ("heartbeat", ports.heartbeat, 0),
        ("data", ports.data, MAX_MODULES),
        ("export", ports.export, MAX_MODULES),
    ):
        if first + count >= _DYNAMIC_PORT:
            root.section("ports", None).problem(
                key,
                f"is wrong: {first} reaches into the ports from {_DYNAMIC_PORT} on, which Windows gives to outgoing "
                f"connections: write {_DYNAMIC_PORT - 1 - count} or less",
            )


def _read_rescue(root: Section) -> RescueConfig:
    section = root.section("rescue", ("share", "expire_after", "split_brain_full", "resync_full"))
    default = RescueConfig()
    return RescueConfig(
        share_percent=section.value("share", _read_percent, default.share_percent),
        expire_after_s=section.duration_s("expire_after", default.expire_after_s, 3600.0, 3650 * 86_400.0),
        split_brain_full=section.choice("split_brain_full", WhenFull, default.split_brain_full),
        resync_full=section.choice("resync_full", WhenFull, default.resync_full),
    )


def _read_percent(text: str) -> int:
    digits = text.removesuffix("%").strip()
    if not digits.isascii() or not digits.isdigit() or not 1 <= int(digits) <= 90:
        raise ValueError(f"'{text}' is no share of the disk from 1 % to 90 %")
    return int(digits)
