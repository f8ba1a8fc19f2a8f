"""Action of preflight_facts: the module of the host's platform, and its clock against the control node's."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.twinhull.ha.plugins.plugin_utils import preflight_clock


class ActionModule(ActionBase):  # type: ignore[misc]
    """One task for both platforms."""

    TRANSFERS_FILES = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the platform's module and add `clock.offset_s` and `clock.uncertainty_s` to its facts."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        windows = bool(getattr(self._connection._shell, "_IS_WINDOWS", False))
        arguments = dict(self._task.args)
        if windows:
            arguments.pop("libvirt_uri", None)
        name = "twinhull.ha.win_preflight_facts" if windows else "twinhull.ha.preflight_facts"
        result.update(self._execute_module(module_name=name, module_args=arguments, task_vars=task_vars))
        facts = result.get("ansible_facts", {}).get("twinhull_preflight")
        if facts is None or result.get("failed"):
            return result
        command = preflight_clock.WINDOWS_COMMAND if windows else preflight_clock.POSIX_COMMAND
        measured = preflight_clock.measure(
            lambda: str(self._low_level_execute_command(command).get("stdout", ""))
        )
        if measured is not None:
            facts["clock"].update(
                offset_s=round(measured.offset_s, 3), uncertainty_s=round(measured.uncertainty_s, 3)
            )
        return result
