"""The table of modules that a stand-in host knows. One that is missing here fails its task, and the test sees it."""

from __future__ import annotations

from . import filesystem, preflight, running, services, system
from .base import Call, Handler, ModuleFailedError, Result

__all__ = ["HANDLERS", "NO_CHECK_MODE", "Call", "Handler", "ModuleFailedError", "Result"]

HANDLERS: dict[str, Handler] = {
    **filesystem.HANDLERS,
    **preflight.HANDLERS,
    **running.HANDLERS,
    **services.HANDLERS,
    **system.HANDLERS,
}
NO_CHECK_MODE = frozenset(
    {"ansible.windows.win_acl", "ansible.windows.win_command", "ansible.windows.win_shell"}
)
"""Modules whose PowerShell says that they do not support check mode: they are skipped in it."""
