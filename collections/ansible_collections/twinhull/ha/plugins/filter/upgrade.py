# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the playbook upgrade.yml and the role agent ask of plugin_utils/upgrade_plan.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import upgrade_plan as plan


def upgrade_order(answer: Any) -> list[str]:
    """See plugin_utils/upgrade_plan.py. Raises AnsibleFilterError when that is no answer of the module."""
    return plan.upgrade_order(_checked(answer))


def upgrade_plan(answer: Any, node: str, version: str) -> dict[str, Any]:
    """See plugin_utils/upgrade_plan.py. Raises AnsibleFilterError when that is no answer of the module."""
    checked = _checked(answer)
    if node not in checked["nodes"]:
        raise AnsibleFilterError(
            f"The site has no node {node!r}; it has {', '.join(sorted(checked['nodes']))}."
        )
    return plan.upgrade_plan(checked, node, version)


def left_stopped(answer: Any, node: str) -> list[str]:
    """See plugin_utils/upgrade_plan.py. Raises AnsibleFilterError when that is no answer of the module."""
    return plan.left_stopped(_checked(answer), node)


def upgrade_host(variables: Mapping[str, Any]) -> dict[str, Any]:
    """What `upgrade_batches` wants to know of a host.

    Args:
        variables: the host's variables, as the inventory `twinhull.ha.sites` makes them.
    """
    return {
        "host": str(variables["inventory_hostname"]),
        "site": str(variables["twinhull_site"]),
        "ring_order": int(variables.get("twinhull_ring_order") or 0),
    }


def _checked(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping) or not isinstance(answer.get("nodes"), Mapping):
        raise AnsibleFilterError("This is no answer of twinhull.ha.module_info: it has no nodes.")
    if not isinstance(answer.get("modules"), Mapping):
        raise AnsibleFilterError("This is no answer of twinhull.ha.module_info: it has no modules.")
    return answer


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Their names."""
        return {
            "left_stopped": left_stopped,
            "superfluous_versions": plan.superfluous_versions,
            "upgrade_batches": plan.upgrade_batches,
            "upgrade_host": upgrade_host,
            "upgrade_order": upgrade_order,
            "upgrade_plan": upgrade_plan,
        }
