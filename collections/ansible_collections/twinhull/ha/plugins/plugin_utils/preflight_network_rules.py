"""What is to be tried between the two nodes, and what the results mean. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .preflight_model import Collector, Host, Limits, Site, listing
from .preflight_site import MAX_MODULES

_OUTCOMES = {
    "refused": (
        "the connection was refused although node {to} listens there: a firewall rejects it",
        "Allow these TCP ports from {source} to {address} in every firewall on the way.",
    ),
    "reset": (
        "the connection was cut off: a firewall in between inspects or rejects it",
        "Allow these TCP ports from {source} to {address} in every firewall on the way.",
    ),
    "timeout": (
        "nobody answered in time: a firewall drops it, or the cable, switch port or VLAN is wrong",
        "Try ping first. If that works, allow these TCP ports in every firewall on the way.",
    ),
    "no-route": (
        "there is no way to that address: no route, nobody with that address on the wire, or a firewall that says so",
        "Check cable, addresses, network masks and VLAN of this network on both nodes.",
    ),
    "blocked-here": (
        "node {from_} is not allowed to send it: its own firewall",
        "Allow outgoing connections to these TCP ports on node {from_}.",
    ),
    "error": ("it failed ({error})", "Check this network on both nodes."),
}


def plan(site: Site, hosts: Mapping[str, Host]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """For each node: where to listen, which connections to try, and where to send for the bandwidth.

    A port that our own service holds is tried without listening; one that another program holds is left alone.
    """
    return {
        node: {
            "listen": [
                {"address": target["address"], "port": target["port"]}
                for target in _ports_of(site, hosts[node])
                if target["free"]
            ],
            "connect": list(_targets(site, node, hosts[site.other(node)])),
            "measure": list(_measured(site, node, hosts[site.other(node)])),
        }
        for node in site.nodes
    }


def _ports_of(site: Site, host: Host) -> list[dict[str, Any]]:
    """The node's addresses and ports that the other node has to reach, and one spare port where none is free."""
    held = {int(entry["port"]): bool(entry.get("ours")) for entry in host.get("held_ports", [])}
    own = {str(entry["address"]) for entry in host.get("addresses", [])}
    found = []
    for network, roles in site.networks.items():
        address = site.addresses.get(host.node, {}).get(network, "")
        if not address or address not in own:
            continue
        ports = [(purpose, port) for purpose, port in _purposes(site, roles) if held.get(port, True)]
        entries = [_entry(network, address, purpose, port, port not in held) for purpose, port in ports]
        if not any(entry["free"] for entry in entries):
            used = {module.number for module in site.modules}
            spare = next(number for number in range(MAX_MODULES, 0, -1) if number not in used or number == 1)
            entries.append(_entry(network, address, "spare", site.ports["data"] + spare, True))
        found += entries
    return found


def _purposes(site: Site, roles: Sequence[str]) -> list[tuple[str, int]]:
    # The data stream takes any network when those for replication are gone.
    wanted = [("data", site.ports["data"] + module.number) for module in site.modules if module.number]
    if "control" in roles:
        wanted.append(("control", site.ports["control"]))
    if "heartbeat" in roles:
        wanted.append(("heartbeat", site.ports["heartbeat"]))
    return wanted


def _entry(network: str, address: str, purpose: str, port: int, free: bool) -> dict[str, Any]:
    return {"network": network, "address": address, "purpose": purpose, "port": port, "free": free}


def _targets(site: Site, node: str, other: Host) -> Iterator[dict[str, Any]]:
    echoed: set[str] = set()
    for entry in _ports_of(site, other):
        source = site.addresses.get(node, {}).get(entry["network"], "")
        if not source:
            continue
        echo = entry["free"] and entry["network"] not in echoed
        if echo:
            echoed.add(entry["network"])
        yield {
            "network": entry["network"],
            "purpose": entry["purpose"],
            "from_node": node,
            "to_node": other.node,
            "from": source,
            "to": entry["address"],
            "port": entry["port"],
            "echo": echo,
        }


def _measured(site: Site, node: str, other: Host) -> Iterator[dict[str, Any]]:
    for target in _targets(site, node, other):
        if target["echo"] and "replication" in site.networks[target["network"]]:
            yield {key: value for key, value in target.items() if key != "echo"}


def judge_network(
    site: Site,
    hosts: Mapping[str, Host],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    limits: Limits,
    found: Collector,
) -> None:
    """What the connections of both directions tell.

    Args:
        results: `connect`, `measure` and `bound`: the results of the module preflight_network, of both nodes together.
    """
    unbound = {
        (str(entry["address"]), int(entry["port"]))
        for entry in results.get("bound", [])
        if not entry.get("bound")
    }
    down = {
        str(entry["address"])
        for host in hosts.values()
        for entry in host.get("addresses", [])
        if not entry.get("up", True)
    }
    tried = [
        entry
        for entry in results.get("connect", [])
        if (str(entry["to"]), int(entry["port"])) not in unbound
        and (entry["outcome"] == "connected" or not down.intersection((str(entry["from"]), str(entry["to"]))))
    ]
    for node in site.nodes:
        for network in site.networks:
            own = [entry for entry in tried if entry["from_node"] == node and entry["network"] == network]
            _reach(site, hosts, own, found)
            _round_trip(site, own, limits, found)
            sent = [
                entry
                for entry in results.get("measure", [])
                if entry["from_node"] == node and entry["network"] == network
            ]
            _bandwidth(sent, limits, found)


def _way(entry: Mapping[str, Any]) -> str:
    return f"node {entry['from_node']} -> node {entry['to_node']} on network {entry['network']}"


def _reach(
    site: Site, hosts: Mapping[str, Host], entries: Sequence[Mapping[str, Any]], found: Collector
) -> None:
    wanted = [entry for entry in entries if entry["purpose"] != "spare" and entry["outcome"] != "no-address"]
    failed: dict[str, list[Mapping[str, Any]]] = {}
    for entry in wanted:
        if entry["outcome"] != "connected":
            failed.setdefault(str(entry["outcome"]), []).append(entry)
    if wanted and not failed:
        ports = ", ".join(str(entry["port"]) for entry in wanted)
        found.ok(
            "network.reachable", _nodes(wanted[0]), f"{_way(wanted[0])}: TCP ports {ports} can be reached."
        )
    for outcome, group in failed.items():
        _failed(site, hosts, outcome, group, found)


def _nodes(entry: Mapping[str, Any]) -> tuple[str, str]:
    return str(entry["from_node"]), str(entry["to_node"])


def _failed(
    site: Site,
    hosts: Mapping[str, Host],
    outcome: str,
    group: Sequence[Mapping[str, Any]],
    found: Collector,
) -> None:
    entry = group[0]
    words = {
        "to": entry["to_node"], "from_": entry["from_node"], "source": entry["from"], "address": entry["to"],
        "error": entry.get("error", ""),
    }  # fmt: skip
    why, remedy = (text.format(**words) for text in _OUTCOMES.get(outcome, _OUTCOMES["error"]))
    ports = listing([str(item["port"]) for item in group], 12)
    sentence = f"{_way(entry)} ({entry['from']} -> {entry['to']}), TCP {ports}: {why}."
    code = f"network.{outcome.replace('-', '_')}"
    managed = hosts[str(entry["to_node"])].get("firewall", [])
    only_spare_way = all(
        item["purpose"] == "data" for item in group
    ) and "replication" not in site.networks.get(str(entry["network"]), ())
    if managed and outcome in ("refused", "timeout", "no-route", "reset"):
        found.warning(
            code,
            _nodes(entry),
            f"{sentence} {listing(managed)} is active on node {entry['to_node']} and does not allow it yet.",
            "The role 'firewall' opens these ports; run preflight again afterwards to see whether something else stands "
            "in the way.",
        )
    elif only_spare_way:
        found.warning(
            code,
            _nodes(entry),
            f"{sentence} The data stream could not move here when its own network fails.",
            remedy,
        )
    else:
        found.error(code, _nodes(entry), sentence, remedy)


def _round_trip(site: Site, entries: Sequence[Mapping[str, Any]], limits: Limits, found: Collector) -> None:
    measured = next((entry for entry in entries if entry.get("rtt_ms") is not None), None)
    if measured is None:
        return
    sentence = (
        f"{_way(measured)}: the round trip takes {measured['rtt_ms']:.2f} ms "
        f"(median; the worst {measured['rtt_worst_ms']:.2f} ms)"
    )
    replicated = "replication" in site.networks.get(str(measured["network"]), ())
    if replicated and float(measured["rtt_ms"]) > limits.rtt_warning_ms:
        found.warning(
            "network.rtt",
            _nodes(measured),
            f"{sentence}, more than {limits.rtt_warning_ms:g} ms: every write of a VM waits for one.",
            "Use a direct cable or a faster path for the replication network.",
        )
    else:
        found.ok("network.rtt", _nodes(measured), f"{sentence}.")


def _bandwidth(entries: Sequence[Mapping[str, Any]], limits: Limits, found: Collector) -> None:
    for entry in entries:
        if entry.get("bytes_per_s") is None:
            found.ok(
                "network.unmeasured",
                _nodes(entry),
                f"{_way(entry)}: the bandwidth could not be measured ({entry.get('error') or 'no listener'}).",
            )
            continue
        rate = float(entry["bytes_per_s"])
        sentence = f"{_way(entry)}: {rate / 1e6:.0f} MB/s"
        if rate < limits.bandwidth_warning_bytes_per_s:
            found.warning(
                "network.bandwidth",
                _nodes(entry),
                f"{sentence}, less than {limits.bandwidth_warning_bytes_per_s / 1e6:.0f} MB/s: it bounds what the VMs "
                "can write, and how long a resynchronisation takes.",
                "Check the link's negotiated speed and its errors; use 10 Gbit/s where VMs write much.",
            )
        else:
            found.ok("network.bandwidth", _nodes(entry), f"{sentence}.")
