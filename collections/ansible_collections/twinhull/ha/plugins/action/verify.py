"""`twinhull.ha.verify`: compare both nodes' copies of a module on-line, and repair if told to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plugin_utils.twinhull_action import Host, JobLostError, Result, TaskError, TwinhullAction, known_module
from ..plugin_utils.twinhull_arguments import VERIFY


class ActionModule(TwinhullAction):
    """Reads both copies; changes something only with `repair`, where they differ."""

    ARGUMENTS = VERIFY
    PREVIEWS = False

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raises TaskError."""
        super().check_options(options)
        if options["source"] is not None and not options["repair"]:
            raise TaskError("The option source names the copy to repair from: it needs repair=true.")

    def act(self, host: Host, options: Mapping[str, Any]) -> Result:
        """Raises CommandError, or TaskError when differences stay."""
        module = options["module"]
        known_module(host.status(), module)
        repair = options["repair"] and not self.check_mode
        found, message = self._compared(host, options, repair=repair)
        differing, repaired = _count(found, "differing_bytes"), _count(found, "repaired_bytes")
        left = differing - repaired
        values = {
            "module": module,
            "result": found,
            "differing_bytes": differing,
            "repaired_bytes": repaired,
        }
        if self.check_mode and options["repair"]:
            return {
                "changed": differing > 0,
                "message": f"{message} Check mode: {differing} blocks would be repaired.",
                "diff": _diff(module, differing, 0),
                **values,
            }
        if left and options["fail_on_difference"]:
            raise TaskError(
                f"{message} {left} blocks of {module} differ between the nodes and were not repaired. "
                "Look at the disks and the memory of both nodes, then run this with repair=true.",
                **{**values, "changed": repaired > 0},
            )
        return {
            "changed": repaired > 0,
            "message": message,
            "diff": _diff(module, differing, left),
            **values,
        }

    def _compared(
        self, host: Host, options: Mapping[str, Any], *, repair: bool
    ) -> tuple[Mapping[str, Any], str]:
        module = options["module"]
        words = ["verify", module]
        if repair:
            words.append("--repair")
            words += [] if options["source"] is None else [f"--source={options['source']}"]
        deadline = self.deadline_s(options)
        job = host.start_job(*words)
        try:
            answer = self.wait_for_job(host, job, options, f"{module}: verify", deadline)
        except JobLostError as lost:
            raise TaskError(
                f"{module}: the agent was restarted during the comparison, so its result is not known. "
                "Run this again."
            ) from lost
        found = answer.get("result")
        return (found if isinstance(found, Mapping) else {}), str(answer.get("message") or "")


def _count(found: Mapping[str, Any], key: str) -> int:
    value = found.get(key)
    return value if isinstance(value, int) else 0


def _diff(module: str, before: int, after: int) -> dict[str, str]:
    return {
        "before": f"{module}:\n  differing blocks: {before}\n",
        "after": f"{module}:\n  differing blocks: {after}\n",
    }
