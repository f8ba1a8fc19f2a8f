# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Reads networks, addresses, ports and witness of a site into what cluster.yml takes."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from collections.abc import Mapping as Map
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_module import MAX_MODULES
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_section import Section, describe
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import Scalar
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_words import (
    one_of,
    overlap,
    path_parts,
    read_duration,
    read_ip,
    read_name,
    read_number,
    read_path,
    suggestion,
)

ROLES = ("heartbeat", "replication", "control")
DEFAULT_PORTS = {"control": 7410, "heartbeat": 7411, "data": 7420}
_MAX_PORT = 65_535


def read_networks(root: Section, *, required: bool) -> dict[str, Any]:
    """The networks between the nodes, in the order of preference, each with its roles."""
    section = root.section("networks", None, required=required)
    networks: dict[str, Any] = {}
    for name in section.entries:
        section.name(name, "network", read_name)
        network = section.section(name, ("roles",))
        networks[name] = {"roles": list(dict.fromkeys(network.texts("roles", one_of(ROLES), required=True)))}
    if root.has("networks") and section.is_mapping and not networks:
        section.add(section.line, f"'{section.where}' must name at least one network")
    taken = {role for network in networks.values() for role in network["roles"]}
    for role in ROLES:
        if networks and role not in taken:
            section.add(
                section.line, f"no network has the role '{role}': give it to one of {', '.join(networks)}"
            )
    return networks


def read_addresses(node: Section, networks: Collection[str]) -> dict[str, str]:
    """The node's address on each network; a network without one is told."""
    section = node.section("addresses", networks or None, required=True)
    addresses: dict[str, str] = {}
    for network in networks:
        if not section.has(network) and network not in section.entries and node.has("addresses"):
            if section.is_mapping:
                section.add(
                    section.line, f"'{section.where}' has no address on the network '{network}': add it"
                )
            continue
        address = section.value(network, read_ip)
        if address in addresses.values():
            section.problem(network, f"is wrong: {address} is the node's address on another network already")
        elif address:
            addresses[network] = address
    return addresses


def read_ports(root: Section) -> dict[str, int]:
    """All three ports, the usual ones where nothing is said."""
    section = root.section("ports", tuple(DEFAULT_PORTS))
    ports: dict[str, int] = DEFAULT_PORTS | section.values(
        {
            "control": read_number(1024, _MAX_PORT),
            "heartbeat": read_number(1024, _MAX_PORT),
            "data": read_number(1024, _MAX_PORT - MAX_MODULES),
        }
    )
    if ports["control"] == ports["heartbeat"]:
        section.problem("heartbeat", f"is wrong: {ports['heartbeat']} is 'ports.control' already")
    first, last = ports["data"] + 1, ports["data"] + MAX_MODULES
    for key in ("control", "heartbeat"):
        if first <= ports[key] <= last:
            section.problem(key, f"is wrong: {ports[key]} lies in {first} to {last}, which the modules use")
    return ports


WITNESS_KEYS: Map[str, tuple[str, ...]] = {
    "none": (), "ping": ("addresses",), "etcd": ("endpoints", "ca", "cert", "key"),
}  # fmt: skip
MAX_ENDPOINTS = 9
_WITNESS_NEEDS = {
    "addresses": "such as the gateway's",
    "endpoints": "such as [https://10.77.9.1:2379]",
    "ca": "the file of the authority of etcd's certificates",
    "cert": "the file of the certificate that etcd knows this site by",
    "key": "the file of that certificate's key",
}


def read_witness(root: Section, own: Map[str, str], platform: str | None = None) -> dict[str, Any]:
    """The witness; ``kind: none`` where nothing is said.

    Args:
        own: names of the site's nodes by each of their addresses: none of them can be the witness.
        platform: of the nodes, whose paths the files' are; None: either (defaults of several sites).
    """
    keys = tuple(key for of_kind in WITNESS_KEYS.values() for key in of_kind)
    section = root.section("witness", ("kind", *keys, "timeout"))
    witness: dict[str, Any] = section.values(
        {"kind": one_of(WITNESS_KEYS), "timeout": read_duration(0.5, 60.0)},
        required=("kind",) if root.has("witness") else (),
    )
    kind = witness.setdefault("kind", "none")
    if section.has("kind") or not root.has("witness"):
        _check_witness_keys(section, kind)
    lists = {
        "addresses": list(
            dict.fromkeys(section.texts("addresses", lambda text: _read_third_party(text, own)))
        ),
        "endpoints": list(dict.fromkeys(section.texts("endpoints", read_endpoint))),
    }
    _check_endpoints(section, lists["endpoints"], own)
    files = section.values({key: _read_file(platform) for key in ("ca", "cert", "key")})
    return witness | {key: found for key, found in lists.items() if found} | files


def _check_witness_keys(section: Section, kind: str) -> None:
    for of_kind, keys in WITNESS_KEYS.items():
        for key in keys:
            if of_kind != kind and section.has(key):
                section.problem(
                    key, f"has no meaning with the kind '{kind}': did you mean 'kind: {of_kind}'?"
                )
            elif of_kind == kind and not section.has(key):
                section.problem("kind", f"is '{kind}', which needs '{key}', {_WITNESS_NEEDS[key]}")
    for key, what in (("addresses", "address"), ("endpoints", "endpoint")):
        if key in WITNESS_KEYS[kind] and section.has(key) and not section.items(key):
            section.problem(key, f"must name at least one {what}")


def _check_endpoints(section: Section, endpoints: list[str], own: Map[str, str]) -> None:
    if len(endpoints) > MAX_ENDPOINTS:
        section.problem("endpoints", f"names {len(endpoints)} servers; at most {MAX_ENDPOINTS} are asked")
    hosts = [str(urlsplit(endpoint).hostname) for endpoint in endpoints]
    if hosts and all(host in own for host in hosts):
        clash = f"{hosts[0]} is the node '{own[hosts[0]]}' itself, and no other server is named"
        section.problem("endpoints", f"is wrong: {clash}; name a third party")


def read_endpoint(text: str) -> str:
    """``https://ADDRESS[:PORT]`` in its usual spelling, or ValueError."""
    form = f"'{text}' is not of the form https://ADDRESS:PORT"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(form) from None
    if parts.scheme != "https":
        raise ValueError(f"'{text}' does not begin with https://, and a witness is only asked over TLS")
    if not parts.hostname or parts.path not in ("", "/") or "?" in text or "#" in text or "@" in text:
        raise ValueError(form)
    if port == 0:
        raise ValueError(f"'{text}' has no port from 1 to 65535")
    address = read_ip(parts.hostname)
    if ipaddress.ip_address(address).is_loopback:
        raise ValueError(f"{address} is a loopback address: each node would ask another server")
    return f"https://{f'[{address}]' if ':' in address else address}:{port or 2379}"


def _read_file(platform: str | None) -> Any:
    def read(text: str) -> str:
        of = platform or ("linux" if text.startswith("/") else "windows")
        return str(read_path(of)(text))

    return read


def _read_third_party(text: str, own: Map[str, str]) -> str:
    address: str = read_ip(text)
    if address in own:
        raise ValueError(f"{address} is the node '{own[address]}' itself; name a third party")
    return address


def read_keep(root: Section) -> str:
    """Who wins a split brain."""
    keep: str = root.value("keep", one_of(("longest-running", "preferred-node", "ask")), "longest-running")
    return keep


def read_rescue(root: Section) -> dict[str, Any]:
    """How much is kept of what a copy overwrites; only what was said."""
    full = one_of(("ask", "give-up"))
    section = root.section("rescue", ("share", "expire_after", "split_brain_full", "resync_full"))
    return section.values(
        {
            "share": _read_share,
            "expire_after": _read_expiry,
            "split_brain_full": full,
            "resync_full": full,
        }
    )


def _read_share(text: str) -> str:
    digits = text.removesuffix("%").strip()
    if not digits.isascii() or not digits.isdigit() or not 1 <= int(digits) <= 90:
        raise ValueError(f"'{text}' is no share of the disk from 1 % to 90 %")
    return f"{int(digits)} %"


def _read_expiry(text: str) -> str:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|min|h)?", text.strip(), re.ASCII)
    if match is None:
        raise ValueError(f"'{text}' is no duration: write seconds, or a unit, such as '720 h'")
    seconds = float(match[1]) * {"ms": 0.001, "s": 1, "min": 60, "h": 3600}[match[2] or "s"]
    if not 3600 <= seconds <= 3650 * 86_400:
        raise ValueError(f"{seconds:g} s is outside 3600 s to {3650 * 86_400} s")
    return text.strip()


def check_modules(section: Section, modules: Map[str, Map[str, Any]], platform: str) -> None:
    """Numbers, names and folders of the modules against each other."""
    if len(modules) > MAX_MODULES:
        section.add(
            section.line, f"'{section.where}' names {len(modules)} modules; a site has at most {MAX_MODULES}"
        )
    seen: list[str] = []
    for name, module in modules.items():
        for other in seen:
            _check_pair(section, (name, module), (other, modules[other]), platform)
        seen.append(name)


def _check_pair(
    section: Section, one: tuple[str, Map[str, Any]], two: tuple[str, Map[str, Any]], platform: str
) -> None:
    (name, module), (other, before) = one, two
    own = section.section(name, None)
    if name.lower() == other.lower():
        section.problem(name, f"is wrong: module '{other}' has this name already")
    if module.get("number") is not None and module.get("number") == before.get("number"):
        own.problem("number", f"is wrong: {module['number']} is module '{other}' already; take another one")
    if "folder" not in module or "folder" not in before:
        return
    if overlap(path_parts(module["folder"], platform), path_parts(before["folder"], platform)):
        clash = f"{module['folder']} overlaps {before['folder']} of module '{other}'"
        own.problem("folder", f"is wrong: {clash}; take another one")


def read_tags(root: Section) -> dict[str, str]:
    """Tags of a site: words of the user, texts as they were written."""
    section = root.section("tags", None)
    tags: dict[str, str] = {}
    for key, entry in section.entries.items():
        section.name(key, "tag", read_name)
        if not isinstance(entry.value, Scalar) or entry.value.null:
            section.problem(key, f"must be a single value, not {describe(entry.value)}")
        elif not any(letter.isalnum() for letter in entry.value.text):
            section.problem(
                key, f"is wrong: '{entry.value.text}' has no letter or digit to make a group's name of"
            )
        else:
            tags[key] = entry.value.text
    return tags


def check_ring(root: Section, tags: Map[str, str], rings: Collection[str], ring_line: int) -> None:
    """The site's ring is one of the rings that the file names."""
    ring = tags.get("ring")
    if ring is None and rings:
        root.add(
            root.line,
            f"has no ring: write tags: {{ring: ...}} with one of {', '.join(rings)}, here or in defaults",
        )
    elif ring is not None and not rings:
        root.add(
            ring_line, f"has the ring '{ring}', but the file has no 'rings:': add it, such as rings: [{ring}]"
        )
    elif ring is not None and ring not in rings:
        root.add(ring_line, f"has the unknown ring '{ring}'{suggestion(ring, rings)}")
