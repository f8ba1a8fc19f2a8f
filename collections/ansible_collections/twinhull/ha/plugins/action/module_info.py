"""`twinhull.ha.module_info`: the status of one or all modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plugin_utils.twinhull_action import Result, TwinhullAction, known_module
from ..plugin_utils.twinhull_arguments import MODULE_INFO
from ..plugin_utils.twinhull_host import Host
from ..plugin_utils.twinhull_status import Status


class ActionModule(TwinhullAction):
    """Asks, and changes nothing."""

    ARGUMENTS = MODULE_INFO
    PREVIEWS = False

    def act(self, host: Host, options: Mapping[str, Any]) -> Result:
        """Raises CommandError, or TaskError for an unknown module."""
        status = host.status()
        wanted = options["module"]
        if wanted is not None:
            known_module(status, wanted)
        names = status.modules if wanted is None else (wanted,)
        modules = {name: _module(status, name) for name in names}
        green = [name for name in names if status.green(name)]
        return {
            "changed": False,
            "message": f"{len(green)} of {len(names)} modules are green and uptodate on both nodes.",
            "cluster": status.cluster,
            "node": status.node,
            "nodes": {name: _node(status, name) for name in status.nodes},
            "modules": modules,
            "green": len(green) == len(names),
            "warnings_of_cluster": list(status.plain.get("warnings") or []),
        }


def _node(status: Status, name: str) -> Result:
    plain = status.plain["nodes"].get(name) or {}
    return {key: value for key, value in plain.items() if key != "modules"}


def _module(status: Status, name: str) -> Result:
    plain = {node: ((status.plain["nodes"].get(node) or {}).get("modules") or {}) for node in status.nodes}
    running = status.runs_on(name)
    return {
        "green": status.green(name),
        "runs_on": running[0] if len(running) == 1 else None,
        "split_brain": len(running) > 1,
        "sentence": status.says(name),
        "nodes": {node: modules[name] for node, modules in plain.items() if name in modules},
    }
