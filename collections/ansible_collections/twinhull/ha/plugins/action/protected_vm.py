"""`twinhull.ha.protected_vm`: an existing VM into the module's folder, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plugin_utils import twinhull_status as goals
from ..plugin_utils.twinhull_action import Result, TwinhullAction
from ..plugin_utils.twinhull_arguments import PROTECTED_VM
from ..plugin_utils.twinhull_host import Host
from ..plugin_utils.twinhull_status import Goal, Status


class ActionModule(TwinhullAction):
    """Protects a VM, or ends its protection."""

    ARGUMENTS = PROTECTED_VM

    def act(self, host: Host, options: Mapping[str, Any]) -> Result:
        """Raises CommandError or TaskError."""
        module, deadline = options["module"], self.deadline_s(options)
        status = self.status_of(host, options, module)
        wanted = options["state"] == "present"
        protected = _is_protected(status, module, to_its_end=wanted)
        result: Result = {"changed": protected != wanted, "diff": _diff(module, protected, wanted)}
        result["module"] = module
        if not result["changed"]:
            result["message"] = f"{module} is {'protected already' if wanted else 'not protected'}."
        elif self.check_mode:
            result["message"] = _preview(status, options)
        else:
            result["message"] = self._changed(host, options, deadline, wanted=wanted)
        if wanted and options["wait_green"] and not self.check_mode:
            self.wait_for(host, goals.green(module), options, module, f"{module}: wait for green", deadline)
        return result

    def _changed(self, host: Host, options: Mapping[str, Any], deadline_s: float, *, wanted: bool) -> str:
        words = _protect(options) if wanted else _unprotect(options)
        module = options["module"]

        def reached(status: Status) -> bool:
            return _is_protected(status, module, to_its_end=wanted) == wanted

        return self.carry_out(
            host,
            words,
            options,
            module,
            goal=reached,
            given_up=_was_cut_off(module) if wanted else None,
            deadline_s=deadline_s,
        )


def _is_protected(status: Status, module: str, *, to_its_end: bool) -> bool:
    """Whether either node has a volume with content; `to_its_end`: and no protection that was interrupted is left."""
    sides = status.sides(module)
    interrupted = any(side.unfinished == "protect" for side in sides)
    return any(side.protected for side in sides) and not (to_its_end and interrupted)


def _was_cut_off(module: str) -> Goal:
    """A protection of which nobody knows any more: nothing is moved, and the resource does not run in its folder."""

    def seen(status: Status) -> bool:
        own = status.side(module)
        at_rest = own.worker_alive and own.state in ("STOP", "WAIT")
        return at_rest and not _is_protected(status, module, to_its_end=True)

    return seen


def _protect(options: Mapping[str, Any]) -> list[str]:
    words = ["protect", options["module"], f"--yes={options['module']}"]
    if options["domain"] is not None:
        words.append(f"--domain={options['domain']}")
    return [*words, "--stop-vm"] if options["stop_vm"] else words


def _unprotect(options: Mapping[str, Any]) -> list[str]:
    words = ["unprotect", options["module"], f"--yes={options['module']}"]
    return words if options["target"] is None else [*words, f"--target={options['target']}"]


def _preview(status: Status, options: Mapping[str, Any]) -> str:
    module = options["module"]
    if options["state"] == "present":
        stop = " (it is shut down for it)" if options["stop_vm"] else ""
        vm = options["domain"] or "its VM"
        return f"{module}: {vm} would be moved into the folder on {status.node}{stop} and mirrored."
    where = f" to {options['target']}" if options["target"] else ""
    return f"{module}: its content would be moved back{where} on {status.node}, and the mirror would end."


def _diff(module: str, before: bool, after: bool) -> dict[str, str]:
    words = {False: "no", True: "yes"}
    return {
        "before": f"{module}:\n  protected: {words[before]}\n",
        "after": f"{module}:\n  protected: {words[after]}\n",
    }
