"""Reads a site's configuration for the preflight and tells what is wrong with it. Pure.

The full check is the agent's (`twinhull config check`); here stands what can be told before an agent is installed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from .preflight_model import GIB, KIB, Collector, Module, Site, parse_size_bytes

DEFAULT_PORTS = {"control": 7410, "heartbeat": 7411, "data": 7420}
MAX_MODULES = 32
ROLES = ("heartbeat", "replication", "control")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_LINUX_SYSTEM = ("/dev", "/proc", "/sys", "/run", "/boot", "/bin", "/sbin", "/lib", "/lib64", "/usr", "/etc")
_LINUX_SHARED = (
    "/",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/srv",
    "/tmp",  # noqa: S108
    "/var",
    "/var/lib",
    "/var/tmp",  # noqa: S108
)
_WINDOWS_SYSTEM = ("windows", "program files", "program files (x86)", "programdata", "users", "$recycle.bin")
_FIX = "Correct it in the inventory (sites.yml)."


def read_site(name: str, cluster: Mapping[str, Any], platform: str, found: Collector) -> Site:
    """The site's configuration; what is wrong goes to `found`, and is left out of the result.

    Args:
        name: the site's name.
        cluster: the words of docs/configuration.md (`twinhull_cluster`).
        platform: `linux` or `windows`, by which folders are judged.
    """
    nodes = _mapping(cluster.get("nodes"))
    networks = {
        str(key): tuple(str(role) for role in _mapping(value).get("roles") or ())
        for key, value in _mapping(cluster.get("networks")).items()
    }
    if len(nodes) != 2:
        found.error(
            "site.nodes", (), f"the site has {len(nodes)} nodes, but a cluster has exactly two.", _FIX
        )
    for node in nodes:
        if _LABEL.fullmatch(str(node)) is None:
            found.error(
                "site.name",
                (str(node),),
                f"'{node}' is no name of a node (letters, digits, inner '-').",
                _FIX,
            )
    _check_roles(networks, found)
    site = Site(
        name=name,
        nodes=tuple(str(node) for node in nodes),
        networks=networks,
        addresses=_addresses(nodes, networks, found),
        ports=_ports(_mapping(cluster.get("ports")), found),
        modules=tuple(_modules(_mapping(cluster.get("modules")), tuple(nodes), platform, found)),
    )
    _check_pairs(site, platform, found)
    if not any(finding.level == "error" for finding in found.findings):
        count = len(site.modules)
        found.ok(
            "site.config",
            site.nodes,
            f"the site's configuration fits together ({count} module{'s' * (count != 1)}).",
        )
    return site


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _check_roles(networks: Mapping[str, tuple[str, ...]], found: Collector) -> None:
    for role in ROLES:
        if not any(role in roles for roles in networks.values()):
            found.error("site.networks", (), f"no network has the role '{role}'.", _FIX)
    for network, roles in networks.items():
        for role in roles:
            if role not in ROLES:
                found.error("site.networks", (), f"network '{network}' has the unknown role '{role}'.", _FIX)
    if sum("heartbeat" in roles for roles in networks.values()) == 1:
        found.warning(
            "site.networks",
            (),
            "only one network carries heartbeats: its loss looks like the loss of the other node.",
            "Give a second network, on another switch or a direct cable, the role 'heartbeat'.",
        )


def _addresses(
    nodes: Mapping[str, Any], networks: Mapping[str, tuple[str, ...]], found: Collector
) -> dict[str, dict[str, str]]:
    owners: dict[str, str] = {}
    result: dict[str, dict[str, str]] = {}
    for node, value in nodes.items():
        given = _mapping(_mapping(value).get("addresses"))
        result[str(node)] = {}
        for network in networks:
            address = _address(str(given.get(network, "")), str(node), network, found)
            if address in owners:
                found.error(
                    "site.address",
                    (str(node),),
                    f"{address} of node {node} on network {network} is {owners[address]} already.",
                    _FIX,
                )
            elif address:
                owners[address] = f"node {node}'s address on network {network}"
                result[str(node)][network] = address
    return result


def _address(text: str, node: str, network: str, found: Collector) -> str:
    if not text:
        found.error("site.address", (node,), f"node {node} has no address on network {network}.", _FIX)
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        found.error(
            "site.address", (node,), f"'{text}' of node {node} on network {network} is no IP address.", _FIX
        )
        return ""
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        found.error(
            "site.address",
            (node,),
            f"{text} of node {node} on network {network} cannot be reached from the other node.",
            _FIX,
        )
        return ""
    return str(address)


def _ports(given: Mapping[str, Any], found: Collector) -> dict[str, int]:
    ports = dict(DEFAULT_PORTS)
    for key, value in given.items():
        if key not in ports or not str(value).isdigit() or not 1024 <= int(value) <= 65535 - MAX_MODULES:
            found.error(
                "site.port", (), f"'ports.{key}: {value}' is no port that can be used (1024 to 65503).", _FIX
            )
        else:
            ports[key] = int(value)
    taken = range(ports["data"] + 1, ports["data"] + MAX_MODULES + 1)
    if ports["control"] == ports["heartbeat"] or ports["control"] in taken or ports["heartbeat"] in taken:
        found.error(
            "site.port",
            (),
            f"the ports overlap: control {ports['control']}, heartbeat {ports['heartbeat']}, "
            f"data {taken[0]} to {taken[-1]}.",
            _FIX,
        )
    return ports


def _modules(
    given: Mapping[str, Any], nodes: tuple[str, ...], platform: str, found: Collector
) -> list[Module]:
    if len(given) > MAX_MODULES:
        found.error(
            "site.modules",
            (),
            f"the site has {len(given)} modules; a cluster has at most {MAX_MODULES}.",
            _FIX,
        )
    modules = []
    for name, value in given.items():
        module = _module(str(name), _mapping(value), platform, found)
        if module.preferred and module.preferred not in nodes:
            sentence = f"module {name} prefers node '{module.preferred}', which there is not."
            found.error("site.preferred", (), sentence, _FIX, module.name)
        modules.append(module)
    return modules


def _module(name: str, given: Mapping[str, Any], platform: str, found: Collector) -> Module:
    if _NAME.fullmatch(name) is None:
        found.error(
            "site.name", (), f"'{name}' is no name of a module (letters, digits, '-', '_').", _FIX, name
        )
    resource = _mapping(given.get("resource"))
    kind = str(resource.get("kind", ""))
    if not kind:
        found.error("site.resource", (), f"module {name} has no 'resource.kind'.", _FIX, name)
    folder = str(given.get("folder", ""))
    problem = folder_problem(folder, platform)
    if problem:
        found.error("site.folder", (), f"the folder of module {name}, '{folder}', {problem}.", _FIX, name)
    return Module(
        name=name,
        number=_number(name, given.get("number"), found),
        folder="" if problem else folder,
        size_bytes=_size(name, given.get("size"), found),
        thick=bool(given.get("thick", False)),
        kind=kind,
        domain=str(resource.get("domain") or resource.get("vm") or name),
        preferred=str(given.get("preferred") or ""),
        stop_mode=str(_mapping(resource.get("stop")).get("mode", "stop")),
    )


def _number(name: str, value: object, found: Collector) -> int:
    if not str(value).isdigit() or not 1 <= int(str(value)) <= MAX_MODULES:
        found.error(
            "site.number",
            (),
            f"the number of module {name}, '{value}', is not 1 to {MAX_MODULES}.",
            _FIX,
            name,
        )
        return 0
    return int(str(value))


def _size(name: str, value: object, found: Collector) -> int:
    try:
        size_bytes = parse_size_bytes(value)
    except ValueError as error:
        found.error("site.size", (), f"the size of module {name} is wrong: {error}.", _FIX, name)
        return 0
    if not GIB <= size_bytes <= 64 * 1024 * GIB or size_bytes % (4 * KIB):
        found.error(
            "site.size",
            (),
            f"the size of module {name}, '{value}', is not 1 GiB to 64 TiB in whole blocks of 4 KiB.",
            _FIX,
            name,
        )
        return 0
    return size_bytes


def folder_problem(folder: str, platform: str) -> str:
    """What is wrong with this path as a module's folder; empty when nothing is."""
    if platform == "windows":
        path = PureWindowsPath(folder)
        if re.fullmatch(r"[A-Za-z]:", path.drive) is None or not path.root:
            return "is no absolute path on a drive, such as D:\\Twinhull\\VM1"
        if ".." in path.parts or len(path.parts) < 2:
            return "is no folder of its own below a drive"
        return "belongs to the system" if path.parts[1].lower() in _WINDOWS_SYSTEM else ""
    if not folder.startswith("/") or ".." in PurePosixPath(folder).parts:
        return "is no absolute path, such as /srv/twinhull/VM1"
    posix = PurePosixPath(folder)
    if str(posix) in _LINUX_SHARED:
        return "is used by others; use a folder of its own below it"
    system = any(str(parent) in _LINUX_SYSTEM for parent in (posix, *posix.parents))
    return "belongs to the system" if system else ""


def path_of(text: str, platform: str) -> PurePath:
    """The path in the words of the platform; Windows paths compare without regard to case."""
    return PureWindowsPath(text) if platform == "windows" else PurePosixPath(text)


def overlap(first: PurePath, second: PurePath) -> bool:
    """Whether one of the paths is the other or lies below it."""
    return first == second or first in second.parents or second in first.parents


def _check_pairs(site: Site, platform: str, found: Collector) -> None:
    for index, module in enumerate(site.modules):
        for other in site.modules[:index]:
            if module.number and module.number == other.number:
                sentence = f"modules {other.name} and {module.name} both have the number {module.number}."
                found.error("site.number", (), sentence, _FIX, module.name)
            if module.name.lower() == other.name.lower():
                found.error("site.name", (), f"two modules are called '{module.name}'.", _FIX, module.name)
            if not module.folder or not other.folder:
                continue
            if overlap(path_of(module.folder, platform), path_of(other.folder, platform)):
                sentence = (
                    f"{module.folder} of module {module.name} overlaps {other.folder} of module {other.name}."
                )
                found.error("site.folder", (), sentence, _FIX, module.name)
