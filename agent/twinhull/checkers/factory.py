"""Building a module's checkers out of its configuration, which is known here by its shape alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Protocol

from twinhull.errors import ConfigError

from .base import Checker
from .runner import CheckerRunner, OnFailed
from .schedule import CheckerSettings
from .script import ScriptChecker


class _Word(Protocol):
    """A member of an enumeration of the configuration."""

    @property
    def value(self) -> str: ...


class CheckerShape(Protocol):
    """One checker of the configuration; times in seconds."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> _Word: ...
    @property
    def action(self) -> _Word: ...
    @property
    def interval_s(self) -> float: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def boot_time_s(self) -> float: ...
    @property
    def failures(self) -> int: ...
    @property
    def command(self) -> tuple[str, ...]: ...


class ModuleShape(Protocol):
    """One module of the configuration."""

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> PurePath: ...
    @property
    def resource(self) -> object: ...
    @property
    def checkers(self) -> Sequence[CheckerShape]: ...


class NodeShape(Protocol):
    """The configuration of this node."""

    @property
    def node(self) -> str: ...


MakeGuestChecker = Callable[[float], Checker]
"""Makes what looks whether the guest of a VM is well; is told its boot time in seconds."""


def make_checkers(
    module: ModuleShape,
    node: NodeShape,
    on_failed: OnFailed,
    launcher: Sequence[str] = (),
    guest: MakeGuestChecker | None = None,
) -> CheckerRunner:
    """The module's checkers, resting until they are armed.

    Args:
        module, node: the configuration.
        on_failed: told name, action (`restart` or `stopstart`) and reason, on a thread of its own.
        launcher: put before the operator's commands: it becomes the command.
        guest: makes the checker of the guest, by its hypervisor; None where the resource is no VM.

    Raises ConfigError for a checker that does not fit the module's resource.
    """
    return CheckerRunner(
        [(_make(module, node, item, launcher, guest), _settings(item)) for item in module.checkers], on_failed
    )


def _make(
    module: ModuleShape,
    node: NodeShape,
    item: CheckerShape,
    launcher: Sequence[str],
    guest: MakeGuestChecker | None,
) -> Checker:
    if item.kind.value == "guest-agent":
        if guest is None:
            raise ConfigError(
                f"Checker {item.name} of module {module.name} asks a guest's agent, but the module runs no VM.",
                "Use a script checker.",
            )
        return guest(item.boot_time_s)
    if item.kind.value == "script" and item.command:
        return ScriptChecker(item.command, environment=_environment(module, node), launcher=launcher)
    raise ConfigError(f"Checker {item.name} of module {module.name} is of no known kind or has no command.")


def _environment(module: ModuleShape, node: NodeShape) -> Mapping[str, str]:
    return {
        "TWINHULL_MODULE": module.name,
        "TWINHULL_NODE": node.node,
        "TWINHULL_FOLDER": str(module.folder),
    }


def _settings(item: CheckerShape) -> CheckerSettings:
    return CheckerSettings(
        name=item.name,
        action=item.action.value,
        interval_s=item.interval_s,
        timeout_s=item.timeout_s,
        failures=item.failures,
        boot_time_s=item.boot_time_s,
    )
