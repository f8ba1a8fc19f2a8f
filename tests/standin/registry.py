"""The registry of a stand-in host for code of ours that reads and writes Windows' own."""

from __future__ import annotations

from collections.abc import Sequence

from .model import HostState


class ModelRegistry:
    """Implements `twinhull.attach.windows_timers.Registry`.

    Args:
        host: whose registry.
    """

    def __init__(self, host: HostState) -> None:
        self._host = host

    def number(self, key: str, name: str) -> int | None:
        """A value; None when it is not there."""
        found = self._host.registry_get(_path(key), name)
        return found if isinstance(found, int) else None

    def text(self, key: str, name: str) -> str | None:
        """A value; None when it is not there."""
        found = self._host.registry_get(_path(key), name)
        return found if isinstance(found, str) else None

    def children(self, key: str) -> Sequence[str]:
        """Names of the keys below."""
        above = _path(key).casefold() + "\\"
        below = {
            path.removeprefix(above).partition("\\")[0]
            for path in self._host.registry
            if path.startswith(above)
        }
        return sorted(below)

    def put(self, key: str, name: str, number: int) -> None:
        """Set a value."""
        self._host.registry_set(_path(key), name, "dword", number)

    def remove(self, key: str, name: str) -> None:
        """Take a value away."""
        self._host.registry.get(_path(key).casefold(), {}).pop(name.casefold(), None)


def _path(key: str) -> str:
    return rf"HKLM:\{key}"
