"""`twinhull.ha.verify`: compare both nodes' copies of a module on-line, and repair if told to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plugin_utils.twinhull_action import Result, TaskError, TwinhullAction
from ..plugin_utils.twinhull_answer import JobFailedError, joined
from ..plugin_utils.twinhull_arguments import VERIFY
from ..plugin_utils.twinhull_host import Host, JobLostError
from ..plugin_utils.twinhull_progress import size_text

COMPLETE = "complete"
"""The state of a comparison that saw everything."""


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
        self.status_of(host, options, module)
        found, message = self._compared(host, options, repair=options["repair"] and not self.check_mode)
        differing, repaired = _count(found, "differing_bytes"), _count(found, "repaired_bytes")
        left = differing - repaired
        values = {
            "module": module,
            "result": dict(found),
            "differing_bytes": differing,
            "repaired_bytes": repaired,
            "changed": repaired > 0,
        }
        if self.check_mode and options["repair"]:
            would = f"Check mode: {size_text(differing)} would be repaired."
            told = {"changed": differing > 0, "message": joined(message, would)}
            return {**values, **told, "diff": _diff(module, differing, 0)}
        if left and options["fail_on_difference"]:
            raise TaskError(message, **values)
        return {**values, "message": message, "diff": _diff(module, differing, left)}

    def _compared(
        self, host: Host, options: Mapping[str, Any], *, repair: bool
    ) -> tuple[Mapping[str, Any], str]:
        """What the comparison found, and the agent's sentence. Raises CommandError when it did not come to its end."""
        module = options["module"]
        words = ["verify", module]
        if repair:
            words.append("--repair")
            words += [] if options["source"] is None else [f"--source={options['source']}"]
        deadline = self.deadline_s(options)
        job = host.start_job(*words)
        try:
            answer = self.wait_for_job(host, job, options, f"{module}: verify", deadline)
        except JobFailedError as failure:
            found = _result(failure.answer)
            if found.get("state") != COMPLETE:
                raise
            return found, str(failure)
        except JobLostError as lost:
            raise TaskError(
                f"{module}: the agent was restarted during the comparison, so its result is not known. "
                "Look with: twinhull status; then run this again."
            ) from lost
        return _result(answer), str(answer.get("message") or "")


def _result(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    found = answer.get("result")
    return found if isinstance(found, Mapping) else {}


def _count(found: Mapping[str, Any], key: str) -> int:
    value = found.get(key)
    return value if isinstance(value, int) else 0


def _diff(module: str, before_bytes: int, after_bytes: int) -> dict[str, str]:
    return {
        "before": f"{module}:\n  differs: {size_text(before_bytes)}\n",
        "after": f"{module}:\n  differs: {size_text(after_bytes)}\n",
    }
