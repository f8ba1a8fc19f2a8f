"""`twinhull.ha.swap`: exchange the roles of the nodes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..plugin_utils import twinhull_status as goals
from ..plugin_utils.twinhull_action import Result, TaskError, TwinhullAction
from ..plugin_utils.twinhull_answer import JobFailedError
from ..plugin_utils.twinhull_arguments import SWAP
from ..plugin_utils.twinhull_host import Host
from ..plugin_utils.twinhull_status import Status

NOT_BEGUN = "nothing was swapped"
"""What the agent says of a swap that it refused before it did anything."""
SETTLE_S = 30.0


class ActionModule(TwinhullAction):
    """Swaps where needed; nothing is resynchronised."""

    ARGUMENTS = SWAP

    def act(self, host: Host, options: Mapping[str, Any]) -> Result:
        """Raises CommandError or TaskError."""
        module, deadline = options["module"], self.deadline_s(options)
        status = self.status_of(host, options, module)
        to = _target(status, module, options["to"])
        at = status.runs_on(module)
        if at == (to,):
            result = self._unchanged(host, options, to, deadline)
        else:
            result = self._swapped(host, options, status, to, deadline)
        return {"module": module, "from": at[0] if at else None, "to": to, **result}

    def _unchanged(self, host: Host, options: Mapping[str, Any], to: str, deadline_s: float) -> Result:
        module = options["module"]
        if options["wait_green"] and not self.check_mode:
            self.wait_for(host, goals.green(module), options, module, f"{module}: wait for green", deadline_s)
        return {"changed": False, "message": f"{module} runs on {to} already.", "diff": _diff(module, to, to)}

    def _swapped(
        self, host: Host, options: Mapping[str, Any], status: Status, to: str, deadline_s: float
    ) -> Result:
        module = options["module"]
        refusal = goals.swap_refusal(status, module, to)
        if refusal:
            raise TaskError(f"{refusal} Nothing was swapped; wait until it is green, then run this again.")
        before = status.runs_on(module)[0]
        result: Result = {"changed": True, "diff": _diff(module, before, to)}
        if self.check_mode:
            return {**result, "message": f"{module} would be swapped from {before} to {to}."}
        mode = () if options["mode"] is None else (f"--mode={options['mode']}",)

        def as_before(seen: Status) -> bool:
            return seen.green(module) and seen.runs_on(module) == (before,)

        def swap() -> str:
            goal, words = goals.runs_on(module, to), ("swap", module, *mode)
            return self.carry_out(
                host, words, options, module, goal=goal, given_up=as_before, deadline_s=deadline_s
            )

        try:
            said = swap()
        except JobFailedError as refused:
            # It was green a moment ago: the data may just have moved to another network.
            if NOT_BEGUN not in str(refused):
                raise
            settled_s = min(deadline_s, time.monotonic() + SETTLE_S)
            self.wait_for(host, as_before, options, module, f"{module}: wait for green", settled_s)
            said = swap()
        if options["wait_green"]:
            self.wait_for(host, goals.green(module), options, module, f"{module}: wait for green", deadline_s)
        return {**result, "message": said or f"{module} runs on {to}."}


def _target(status: Status, module: str, to: str | None) -> str:
    """The node that shall run the module. Raises TaskError."""
    if to is not None:
        if to not in status.nodes:
            raise TaskError(
                f"There is no node {to} in cluster {status.cluster} (nodes: {', '.join(status.nodes)}). "
                "The option to is a node's name in the cluster, not a host of the inventory."
            )
        return to
    running = status.runs_on(module)
    return next((node for node in status.nodes if node not in running), status.peer)


def _diff(module: str, before: str, after: str) -> dict[str, str]:
    return {"before": f"{module}:\n  runs on: {before}\n", "after": f"{module}:\n  runs on: {after}\n"}
