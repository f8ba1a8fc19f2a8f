# Copyright: Contributors to the Twinhull project
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the playbooks ask about the status of sites."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.twinhull.ha.plugins.plugin_utils import fleet_status


def modules_run_by(answer: Any, node: str) -> list[str]:
    """See plugin_utils/fleet_status.py. Raises AnsibleFilterError when that is no answer of the module."""
    return fleet_status.modules_run_by(_checked(answer), node)


def nodes_that_run(answer: Any, module: str) -> list[str]:
    """See plugin_utils/fleet_status.py. Raises AnsibleFilterError when that is no answer of the module."""
    return fleet_status.nodes_that_run(_checked(answer), module)


def not_ready(answer: Any, stopped_is_ready: bool = False) -> list[str]:
    """See plugin_utils/fleet_status.py. Raises AnsibleFilterError when that is no answer of the module."""
    return fleet_status.not_ready(_checked(answer), stopped_is_ready)


def fleet_report(hostvars: Mapping[str, Any], hosts: Iterable[str], register: str) -> dict[str, Any]:
    """What the hosts' registered answers of `twinhull.ha.module_info` say together.

    Args:
        hostvars: Ansible's variable of this name.
        hosts: the inventory names of the hosts that were asked.
        register: the name under which each host's answer was registered.
    """
    return fleet_status.report(_answer(host, hostvars[host], register) for host in hosts)


def fleet_table(told: Any, width_columns: int = 160) -> str:
    """See plugin_utils/fleet_status.py."""
    return fleet_status.table(told, width_columns)


def _answer(host: str, variables: Mapping[str, Any], register: str) -> fleet_status.Answer:
    result = variables.get(register)
    told = result if isinstance(result, Mapping) else {}
    failed = not told or told.get("failed") or told.get("unreachable")
    return fleet_status.Answer(
        site=str(variables.get("twinhull_site", host)),
        ring=str(variables.get("twinhull_ring") or fleet_status.UNKNOWN),
        host=host,
        node=str(variables.get("twinhull_node", host)),
        status=None if failed else _checked(told),
        error=str(told.get("msg") or "it was not asked") if failed else "",
    )


def _checked(answer: Any) -> dict[str, Any]:
    """The agent's status as `twinhull status --json` told it, from what the module made of it."""
    if not isinstance(answer, Mapping) or not all(
        isinstance(answer.get(key), Mapping) for key in ("nodes", "modules")
    ):
        raise AnsibleFilterError(
            f"This is no answer of twinhull.ha.module_info: a {type(answer).__name__} without 'nodes' and 'modules'."
        )
    modules = answer["modules"]
    return {
        "warnings": list(answer.get("warnings_of_cluster") or []),
        "nodes": {
            name: {
                **node,
                "modules": {
                    module: told["nodes"][name] for module, told in modules.items() if name in told["nodes"]
                },
            }
            for name, node in answer["nodes"].items()
        },
    }


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """What Ansible asks for."""
        return {
            "modules_run_by": modules_run_by,
            "nodes_that_run": nodes_that_run,
            "not_ready": not_ready,
            "fleet_report": fleet_report,
            "fleet_table": fleet_table,
        }
