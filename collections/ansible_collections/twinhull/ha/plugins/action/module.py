"""`twinhull.ha.module`: one module, configured or not, started or stopped on this node, or run by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plugin_utils import twinhull_status as goals
from ..plugin_utils.twinhull_action import Result, TaskError, TwinhullAction
from ..plugin_utils.twinhull_apply import apply_config, shown_config
from ..plugin_utils.twinhull_arguments import MODULE
from ..plugin_utils.twinhull_config import with_module
from ..plugin_utils.twinhull_host import Host
from ..plugin_utils.twinhull_status import Goal, Side, Status


class ActionModule(TwinhullAction):
    """Brings one module to the state wanted."""

    ARGUMENTS = MODULE

    def act(self, host: Host, options: Mapping[str, Any]) -> Result:
        """Raises CommandError or TaskError."""
        if options["state"] in ("present", "absent"):
            return self._configured(host, options)
        deadline = self.deadline_s(options)
        status = self.status_of(host, options, options["name"])
        work = {"started": self._started, "stopped": self._stopped, "primary": self._primary}
        result = work[options["state"]](host, options, status, deadline)
        if options["wait_green"] and options["state"] != "stopped" and not self.check_mode:
            name = options["name"]
            status = self.wait_for(
                host, goals.green(name), options, name, f"{name}: wait for green", deadline
            )
        elif result["changed"] and not self.check_mode:
            status = host.status()
        return {"module": options["name"], "state": _state(status, options["name"]), **result}

    def _configured(self, host: Host, options: Mapping[str, Any]) -> Result:
        name = options["name"]
        before = shown_config(host)
        config = options["config"] if options["state"] == "present" else None
        if config is None and name not in (before.get("modules") or {}):
            return {
                "changed": False,
                "message": f"{name} is in no configuration.",
                "diff": {"before": "", "after": ""},
                "module": name,
            }
        try:
            wanted = with_module(before, name, config)
        except ValueError as error:
            raise TaskError(f"The option config cannot be sent: {error}. Nothing was applied.") from error
        return {"module": name, **apply_config(host, before, wanted, check_mode=self.check_mode)}

    def _started(self, host: Host, options: Mapping[str, Any], status: Status, deadline_s: float) -> Result:
        name, goal = options["name"], goals.started(options["name"])
        side = status.side(name)
        if goal(status):
            return {
                "changed": False,
                "message": _told(name, side),
                "diff": _diff(name, side.state, side.state),
            }
        if side.state != goals.STOP:
            return self._already_starting(host, options, side, deadline_s)
        if not side.protected:
            raise TaskError(
                f"{name} cannot be started: nothing was protected yet. "
                "Protect its VM first, with twinhull.ha.protected_vm (playbook protect_vm.yml)."
            )
        return self._command(host, ("start", name), options, side, "started", goal, deadline_s)

    def _already_starting(
        self, host: Host, options: Mapping[str, Any], side: Side, deadline_s: float
    ) -> Result:
        """It was started before, and waits for something."""
        name = options["name"]
        result = {"changed": False, "diff": _diff(name, side.state, side.state)}
        if self.check_mode:
            return {**result, "message": side.says}
        subject = f"{name}: start"
        status = self.wait_for(host, goals.started(name), options, name, subject, deadline_s)
        return {**result, "message": _told(name, status.side(name))}

    def _stopped(self, host: Host, options: Mapping[str, Any], status: Status, deadline_s: float) -> Result:
        name, side = options["name"], status.side(options["name"])
        if side.state == goals.STOP:
            return {
                "changed": False,
                "message": _told(name, side),
                "diff": _diff(name, side.state, side.state),
            }
        forced = ("--forced", f"--yes={name}") if options["forced"] else ()
        goal = goals.stopped(name)
        return self._command(host, ("stop", name, *forced), options, side, "stopped", goal, deadline_s)

    def _primary(self, host: Host, options: Mapping[str, Any], status: Status, deadline_s: float) -> Result:
        name, side = options["name"], status.side(options["name"])
        if status.runs_on(name) == (side.node,):
            return {
                "changed": False,
                "message": _told(name, side),
                "diff": _diff(name, side.state, side.state),
            }
        refusal = goals.swap_refusal(status, name, side.node)
        if refusal:
            raise TaskError(f"{refusal} Nothing was swapped; wait until it is green, then run this again.")
        mode = () if options["mode"] is None else (f"--mode={options['mode']}",)
        goal = goals.runs_on(name, side.node)
        return self._command(host, ("swap", name, *mode), options, side, "PRIM", goal, deadline_s)

    def _command(
        self,
        host: Host,
        arguments: tuple[str, ...],
        options: Mapping[str, Any],
        side: Side,
        after: str,
        goal: Goal,
        deadline_s: float,
    ) -> Result:
        name = options["name"]
        result: Result = {"changed": True, "diff": _diff(name, side.state, after)}
        if self.check_mode:
            return {**result, "message": f"{name} would be {after} on {side.node}; now: {side.says}"}
        said = self.carry_out(host, arguments, options, name, goal=goal, deadline_s=deadline_s)
        return {**result, "message": said}


def _state(status: Status, name: str) -> Result:
    sides = status.sides(name)
    return {
        side.node: {"state": side.state, "colour": side.colour, "uptodate": side.uptodate} for side in sides
    }


def _told(name: str, side: Side) -> str:
    """The agent's sentence, or the state where it has none."""
    return side.sentence or f"{name} is {side.state} on {side.node}."


def _diff(name: str, before: str, after: str) -> dict[str, str]:
    return {"before": f"{name}:\n  state: {before}\n", "after": f"{name}:\n  state: {after}\n"}
