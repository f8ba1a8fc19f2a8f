"""What every handler gets and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..model import HostState

if TYPE_CHECKING:
    from ..seam import Machine

Result = dict[str, Any]


class ModuleFailedError(Exception):
    """The module ends with a failure.

    Args:
        message: its `msg`.
        values: more members of the result.
    """

    def __init__(self, message: str, **values: Any) -> None:
        super().__init__(message)
        self.values = values


@dataclass(slots=True)
class Call:
    """One call of a module.

    Args:
        host: the model; in check mode a copy, so that handlers do not ask for the mode to leave things alone.
        args: checked arguments, with defaults.
        given: names of the arguments that the task gave.
        check_mode, diff: as asked for.
        environment: of the task.
        machine: carries out commands and starts services.
        now_s: the model's time.
    """

    host: HostState
    args: dict[str, Any]
    given: frozenset[str]
    check_mode: bool
    diff: bool
    machine: Machine
    now_s: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Result]


def with_diff(call: Call, result: Result, before: Any, after: Any) -> Result:
    """The result with a diff, when one was asked for."""
    if call.diff:
        result["diff"] = {"before": before, "after": after}
    return result
