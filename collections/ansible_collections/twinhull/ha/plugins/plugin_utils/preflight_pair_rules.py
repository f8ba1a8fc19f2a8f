"""Judges the two nodes of a site against each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .preflight_model import Collector, Host, Limits, Site, listing

_SAME_CPU_MODES = ("host-passthrough", "host-model", "maximum")


def judge_pair(site: Site, hosts: Mapping[str, Host], limits: Limits, found: Collector) -> None:
    """Platform, clocks, processors, versions and switches of both nodes."""
    first, second = (hosts[node] for node in site.nodes)
    if first.platform != second.platform:
        found.error(
            "site.platform",
            site.nodes,
            f"node {first.node} is a {first.platform} host and node {second.node} a {second.platform} host.",
            "Both nodes of a site have to run the same platform.",
        )
        return
    _clocks(first, second, limits, found)
    _processors(site, first, second, found)
    _versions(first, second, found)
    _releases(first, second, found)
    for host in (first, second):
        _switches(site, host, found)
    _machines(site, first, second, found)


def site_vms(site: Site, facts: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The site's virtual machines as either node describes them, each once; the preferred node's word goes first."""
    wanted = {
        module.domain: module.preferred for module in site.modules if module.kind in ("libvirt", "hyperv")
    }
    seen: dict[str, Mapping[str, Any]] = {}
    for node, found in facts.items():
        for vm in found.get("vms", []):
            name = str(vm.get("name", ""))
            if name in wanted and (name not in seen or wanted[name] == node):
                seen[name] = {**vm, "node": node}
    return list(seen.values())


def _clocks(first: Host, second: Host, limits: Limits, found: Collector) -> None:
    offsets = [host.get("clock.offset_s") for host in (first, second)]
    if None in offsets:
        found.warning(
            "clock.unmeasured",
            (first.node, second.node),
            "the clocks of the two nodes could not be compared.",
            "Compare them by hand: more than 30 s apart, certificates are refused.",
        )
        return
    uncertainty_s = sum(float(host.get("clock.uncertainty_s", 0.0)) for host in (first, second))
    apart_s = abs(float(offsets[0]) - float(offsets[1]))
    sure_s = max(0.0, apart_s - uncertainty_s)
    sentence = f"the clocks of nodes {first.node} and {second.node} are {apart_s:.1f} s apart (±{uncertainty_s:.1f} s)"
    remedy = (
        "Set the clocks and enable a time service (chrony, systemd-timesyncd, Windows Time) on both nodes."
    )
    nodes = (first.node, second.node)
    if sure_s > limits.clock_error_s:
        found.error("clock.difference", nodes, f"{sentence}: certificates would be refused.", remedy)
    elif sure_s > limits.clock_warning_s:
        found.warning("clock.difference", nodes, f"{sentence}.", remedy)
    else:
        found.ok("clock.difference", nodes, f"{sentence}.")
    for host, offset_s in zip((first, second), offsets, strict=True):
        if abs(float(offset_s)) - float(host.get("clock.uncertainty_s", 0.0)) > limits.clock_error_s:
            found.warning(
                "clock.control",
                (host.node,),
                f"node {host.node}: the clock is {float(offset_s):+.0f} s off the control node's, "
                "on which certificates are made.",
                "Set the clock that is wrong, the host's or the control node's.",
            )


def _processors(site: Site, first: Host, second: Host, found: Collector) -> None:
    nodes = (first.node, second.node)
    vendors = [host.get("cpu.vendor", "") for host in (first, second)]
    models = [host.get("cpu.model", "") for host in (first, second)]
    flags = [set(host.get("cpu.flags", [])) for host in (first, second)]
    saves = [module.name for module in site.modules if module.stop_mode == "save"]
    exact = [vm["name"] for vm in first.get("site_vms", []) if vm.get("cpu_mode") in _SAME_CPU_MODES]
    signatures = [host.get("cpu.signature", "") for host in (first, second)]
    if vendors[0] == vendors[1] and flags[0] == flags[1] and signatures[0] == signatures[1]:
        found.ok("cpu.same", nodes, f"the processors of both nodes are alike ({models[0] or vendors[0]}).")
        return
    if vendors[0] != vendors[1]:
        sentence = (
            f"node {first.node} has a processor of {vendors[0]}, node {second.node} one of {vendors[1]}"
        )
    else:
        only = listing(sorted(flags[0] ^ flags[1]))
        sentence = f"the processors differ: {models[0]} and {models[1]}" + (
            f"; only one node has {only}" if only else ""
        )
    if saves:
        found.error(
            "cpu.different",
            nodes,
            f"{sentence}. Module {listing(saves)} saves its VM's state at a stop, which resumes only on a like processor.",
            "Use stop mode 'stop', or (Hyper-V) the processor's compatibility mode, or like hosts.",
        )
        return
    tail = f" VM {listing(exact)} takes its processor from the host." if exact else ""
    found.warning(
        "cpu.different",
        nodes,
        f"{sentence}.{tail} A VM boots on either node, but a saved state may not resume on the other.",
        "Give the VMs a processor model that both nodes have (or, Hyper-V, the compatibility mode).",
    )


def _versions(first: Host, second: Host, found: Collector) -> None:
    versions = [host.get("agent.version", "") for host in (first, second)]
    if all(versions) and versions[0] != versions[1]:
        found.warning(
            "agent.different",
            (first.node, second.node),
            f"node {first.node} has agent {versions[0]}, node {second.node} has {versions[1]}.",
            "Fine during an upgrade; finish it with upgrade.yml.",
        )


def _releases(first: Host, second: Host, found: Collector) -> None:
    names = [host.get("os.name", "") for host in (first, second)]
    if names[0] != names[1]:
        found.warning(
            "os.different",
            (first.node, second.node),
            f"node {first.node} runs {names[0]}, node {second.node} runs {names[1]}.",
            "It works, but a VM's machine type or version that only one of them knows does not start on the other.",
        )


def _switches(site: Site, host: Host, found: Collector) -> None:
    modules = {module.domain: module.name for module in site.modules}
    bridges = set(host.get("switches.bridges", []))
    networks = {entry["name"]: entry for entry in host.get("switches.networks", [])}
    for vm in host.get("site_vms", []):
        module = modules.get(str(vm["name"]), "")
        for kind, names in (("network", vm.get("networks", [])), ("bridge", vm.get("bridges", []))):
            have = set(networks) if kind == "network" else bridges
            word = (
                "switch"
                if host.platform == "windows"
                else ("libvirt network" if kind == "network" else "bridge")
            )
            for name in names:
                if name not in have:
                    found.error(
                        "switch.missing",
                        (host.node,),
                        f"node {host.node} has no {word} '{name}', which VM {vm['name']} uses: it would not start here.",
                        f"Make it on node {host.node} under the same name.",
                        module,
                    )
                elif kind == "network" and networks[name].get("active") is False:
                    found.error(
                        "switch.inactive",
                        (host.node,),
                        f"node {host.node}: the {word} '{name}', which VM {vm['name']} uses, is not active.",
                        f"virsh net-start {name}; virsh net-autostart {name}",
                        module,
                    )


def _machines(site: Site, first: Host, second: Host, found: Collector) -> None:
    known = {str(vm["name"]) for vm in first.get("site_vms", [])}
    for module in site.modules:
        if module.kind not in ("libvirt", "hyperv"):
            continue
        if module.domain in known:
            vm = next(vm for vm in first.get("site_vms", []) if vm["name"] == module.domain)
            found.ok(
                "vm.found", (str(vm["node"]),), f"VM {module.domain} is on node {vm['node']}.", module.name
            )
        else:
            found.ok(
                "vm.absent",
                (first.node, second.node),
                f"VM {module.domain} is on neither node yet: its switches and memory could not be looked at.",
                module.name,
            )
