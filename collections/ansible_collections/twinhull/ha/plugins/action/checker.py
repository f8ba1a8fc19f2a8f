"""`twinhull.ha.checker`: the checkers of a module, suspended or at work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plugin_utils.twinhull_action import Result, TwinhullAction
from ..plugin_utils.twinhull_arguments import CHECKER
from ..plugin_utils.twinhull_host import Host


class ActionModule(TwinhullAction):
    """Compares with the status, and tells the agent only when it differs."""

    ARGUMENTS = CHECKER

    def act(self, host: Host, options: Mapping[str, Any]) -> Result:
        """Raises CommandError or TaskError."""
        module, state = options["module"], options["state"]
        status = self.status_of(host, options, module)
        wanted = state == "suspended"
        result: Result = {
            "changed": status.side(module).suspended != wanted,
            "message": f"{module}: the checkers are {state} on {status.node}.",
            "diff": {"before": _text(module, status.side(module).suspended), "after": _text(module, wanted)},
            "state": state,
        }
        if result["changed"] and not self.check_mode:
            self.carry_out(
                host,
                ("checker", "suspend" if wanted else "resume", module),
                options,
                module,
                goal=lambda seen: seen.side(module).suspended == wanted,
            )
        return result


def _text(module: str, suspended: bool) -> str:
    return f"{module}:\n  checkers: {'suspended' if suspended else 'resumed'}\n"
