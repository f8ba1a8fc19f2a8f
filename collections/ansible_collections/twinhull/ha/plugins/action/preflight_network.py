"""Action of preflight_network: the module of the host's platform."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]
    """One task for both platforms."""

    TRANSFERS_FILES = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the platform's module with the task's arguments as they are."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        windows = bool(getattr(self._connection._shell, "_IS_WINDOWS", False))
        name = "twinhull.ha.win_preflight_network" if windows else "twinhull.ha.preflight_network"
        result.update(
            self._execute_module(module_name=name, module_args=dict(self._task.args), task_vars=task_vars)
        )
        return result
