"""Filters of the role preflight: what to try between the nodes, the judgement, and its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_judge import (
    judge,
    read_hosts,
    read_limits,
)
from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_model import Collector
from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_network_rules import plan
from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_report import as_report, as_text, refusal
from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_site import read_site


def preflight_wanted(cluster: Mapping[str, Any], site: str, platform: str) -> dict[str, Any]:
    """The arguments of preflight_facts that follow from a site's configuration."""
    read = read_site(site, _need_mapping(cluster), platform, Collector(site))
    machines = [module.domain for module in read.modules if module.kind in ("libvirt", "hyperv")]
    return {
        "folders": [module.folder for module in read.modules if module.folder],
        "ports": read.all_ports()
        if read.modules
        else sorted({read.ports[key] for key in ("control", "heartbeat")}),
        "domains": machines,
    }


def preflight_plan(
    cluster: Mapping[str, Any], site: str, facts: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """For each node: `listen`, `connect` and `measure` for preflight_network."""
    platform = next((str(own.get("platform", "linux")) for own in facts.values()), "linux")
    read = read_site(site, _need_mapping(cluster), platform, Collector(site))
    if len(read.nodes) != 2 or set(read.nodes) - set(facts):
        return {node: {"listen": [], "connect": [], "measure": []} for node in facts}
    planned: dict[str, dict[str, list[dict[str, Any]]]] = plan(read, read_hosts(read, facts))
    return planned


def preflight_judge(
    cluster: Mapping[str, Any],
    site: str,
    facts: Mapping[str, Mapping[str, Any]],
    network: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report over a site."""
    try:
        read = read_limits(limits or {})
    except ValueError as error:
        raise AnsibleFilterError(f"{site}: {error}. Nothing was changed.") from error
    findings = judge(site, _need_mapping(cluster), facts, network or {}, read)
    report: dict[str, Any] = as_report(site, findings)
    return report


def preflight_text(report: Mapping[str, Any], verbose: bool = False) -> list[str]:
    """The report as lines."""
    lines: list[str] = as_text(report, verbose=verbose)
    return lines


def _need_mapping(cluster: object) -> Mapping[str, Any]:
    if isinstance(cluster, Mapping):
        return cluster
    raise AnsibleFilterError(
        f"The site's configuration (twinhull_cluster) has to be a mapping, not {type(cluster).__name__}. Use the inventory "
        "plugin twinhull.ha.sites, or give the words of docs/configuration.md."
    )


class FilterModule:
    """Offers the filters to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name of each filter and its function."""
        return {
            "preflight_wanted": preflight_wanted,
            "preflight_plan": preflight_plan,
            "preflight_judge": preflight_judge,
            "preflight_text": preflight_text,
            "preflight_refusal": refusal,
        }
