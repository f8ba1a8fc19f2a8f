# Copyright: Contributors to the Twinhull project
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What role firewall asks on the control node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import firewall_plan as plan


def firewall_rules(
    cluster: Mapping[str, Any], node: str, control_addresses: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """See plugin_utils/firewall_plan.py. Raises AnsibleFilterError for a node or an address that is none."""
    return [
        {
            "name": rule.name,
            "ports": rule.ports(),
            "sources": list(rule.sources),
            "windows_sources": plan.windows_sources(rule),
        }
        for rule in _rules(cluster, node, control_addresses)
    ]


def firewall_plan(
    cluster: Mapping[str, Any],
    node: str,
    control_addresses: Iterable[str],
    kind: str,
    present: str,
    recorded: str = "",
) -> dict[str, Any]:
    """See plugin_utils/firewall_plan.py.

    Args:
        kind: `nftables`, `firewalld`, `ufw`; anything else needs nothing.
        present: what the firewall said of its rules.
        recorded: the rules that were written down when they were last put in force.

    Raises:
        AnsibleFilterError: the firewall's answer cannot be read, or as `firewall_rules`.
    """
    rules = _rules(cluster, node, control_addresses)
    try:
        if kind == "nftables":
            found = plan.nftables_plan(rules, present)
        elif kind == "firewalld":
            found = plan.firewalld_plan(rules, present, recorded)
        elif kind == "ufw":
            found = plan.ufw_plan(rules, present)
        else:
            found = plan.Plan(True, "")
    except ValueError as error:
        raise AnsibleFilterError(f"What {kind} says of its rules cannot be read: {error}.") from error
    return {
        "in_effect": found.in_effect,
        "text": found.text,
        "commands": [list(command) for command in found.commands],
        "remarks": [remark for remark in found.remarks if remark],
    }


def nftables_filters_input(ruleset: str) -> bool:
    """Whether anybody but us and iptables filters what comes in. Raises AnsibleFilterError when it is no JSON."""
    try:
        return plan.has_input_chain(json.loads(ruleset or "{}"))
    except ValueError as error:
        raise AnsibleFilterError(f"What nft says of its rules cannot be read: {error}.") from error


def nftables_removal(ruleset: str) -> list[list[str]]:
    """The commands that take everything of ours out again. Raises AnsibleFilterError when it is no JSON."""
    try:
        return plan.nftables_removal(ruleset)
    except ValueError as error:
        raise AnsibleFilterError(f"What nft says of its rules cannot be read: {error}.") from error


def _rules(cluster: Mapping[str, Any], node: str, control_addresses: Iterable[str]) -> list[plan.Rule]:
    try:
        return plan.wanted_rules(cluster, node, control_addresses)
    except ValueError as error:
        raise AnsibleFilterError(f"The firewall's rules of node {node} cannot be made: {error}.") from error


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as templates use them."""
        return {
            "firewall_rules": firewall_rules,
            "firewall_plan": firewall_plan,
            "nftables_filters_input": nftables_filters_input,
            "nftables_removal": nftables_removal,
        }
