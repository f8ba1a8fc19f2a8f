"""The one judgement over a site: facts of both nodes and the site's configuration in, findings out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from .preflight_disk_rules import judge_disks
from .preflight_host_rules import judge_host
from .preflight_linux_rules import judge_linux
from .preflight_model import Collector, Finding, Host, Limits, Site
from .preflight_network_rules import judge_network
from .preflight_pair_rules import judge_pair, site_vms
from .preflight_site import read_site
from .preflight_windows_rules import judge_windows

_ORDER = {"error": 0, "warning": 1, "ok": 2}


def read_hosts(site: Site, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Host]:
    """Both nodes, each with the site's virtual machines as `site_vms` beside its own facts."""
    machines = site_vms(site, facts)
    return {
        node: Host(node, str(found.get("platform", "")), {**found, "site_vms": machines})
        for node, found in facts.items()
    }


def read_limits(given: Mapping[str, Any]) -> Limits:
    """Limits from the role's variables; what is not given is as by default.

    Numbers may come as text: templates of ansible-core before 2.19 make text of them.

    Raises:
        ValueError: one is no number; names it.
    """
    kinds = {field.name: type(field.default) for field in fields(Limits)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key == "accept" and value is not None:
            values[key] = tuple(str(code) for code in value)
        elif key in kinds and value is not None:
            try:
                values[key] = kinds[key](value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"preflight_{key} is no number: {value!r}") from error
    return Limits(**values)


def judge(
    site_name: str,
    cluster: Mapping[str, Any],
    facts: Mapping[str, Mapping[str, Any]],
    network: Mapping[str, Sequence[Mapping[str, Any]]],
    limits: Limits,
) -> list[Finding]:
    """Everything that was found about the site, errors first.

    Args:
        site_name: the site's name.
        cluster: its configuration (`twinhull_cluster`).
        facts: node -> `twinhull_preflight` of that node.
        network: `bound`, `connect` and `measure` of both nodes together; empty where nothing was tried.
        limits: where warnings and errors begin, and what was accepted.
    """
    found = Collector(site_name)
    platform = next((str(own.get("platform", "linux")) for own in facts.values()), "linux")
    site = read_site(site_name, cluster, platform, found)
    hosts = read_hosts(site, facts)
    missing = [node for node in site.nodes if node not in hosts]
    if missing or len(site.nodes) != 2:
        for node in missing:
            sentence = f"node {node} gave no facts, so the site cannot be judged."
            found.error("host.facts", (node,), sentence, "Its own message says why; run preflight again.")
        return _sorted(found.findings, limits)
    for host in (hosts[node] for node in site.nodes):
        judge_one = judge_windows if host.platform == "windows" else judge_linux
        judge_one(site, host, found)
        judge_host(site, host, limits, found)
        judge_disks(site, host, limits, found)
    judge_pair(site, hosts, limits, found)
    judge_network(site, hosts, network, limits, found)
    return _sorted(found.findings, limits)


def _sorted(findings: Sequence[Finding], limits: Limits) -> list[Finding]:
    accepted = [_accept(finding, limits) for finding in findings]
    return sorted(accepted, key=lambda finding: _ORDER[finding.level])


def _accept(finding: Finding, limits: Limits) -> Finding:
    if finding.level != "error" or finding.code not in limits.accept:
        return finding
    return replace(finding, level="warning", sentence=f"{finding.sentence} (Accepted by preflight_accept.)")
