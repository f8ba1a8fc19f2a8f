"""The options of every module, as `plugins/modules/*.py` document them (a test compares the two)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Spec = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Arguments:
    """The options of one module.

    Args:
        options: as an `argument_spec`, without the common ones.
        rules: further arguments of `ActionBase.validate_argument_spec`, such as `required_if`.
    """

    options: Spec
    rules: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> Spec:
        """All options of the module."""
        return {**self.options, **COMMON}


COMMON: Spec = {
    "timeout_s": {"type": "float", "default": 3600.0},
    "poll_s": {"type": "float", "default": 1.0},
    "command": {"type": "list", "elements": "str"},
}
_MODULE: Spec = {"module": {"type": "str", "required": True}}
_WAIT_GREEN: Spec = {"wait_green": {"type": "bool", "default": False}}

CERTIFICATE_INFO = Arguments({"warn_days": {"type": "int", "default": 30}})
CHECKER = Arguments(
    {**_MODULE, "state": {"type": "str", "required": True, "choices": ["suspended", "resumed"]}}
)
CLUSTER = Arguments(
    {
        "config": {"type": "dict"},
        "state": {"type": "str", "default": "present", "choices": ["present", "gathered"]},
    },
    {"required_if": [("state", "present", ("config",))]},
)
MODULE = Arguments(
    {
        "name": {"type": "str", "required": True},
        "state": {
            "type": "str",
            "default": "present",
            "choices": ["present", "absent", "started", "stopped", "primary"],
        },
        "config": {"type": "dict"},
        "forced": {"type": "bool", "default": False},
        "mode": {"type": "str", "choices": ["stop", "save"]},
        **_WAIT_GREEN,
    },
    {"required_if": [("state", "present", ("config",))]},
)
MODULE_INFO = Arguments({"module": {"type": "str"}})
PROTECTED_VM = Arguments(
    {
        **_MODULE,
        "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
        "domain": {"type": "str"},
        "stop_vm": {"type": "bool", "default": False},
        "target": {"type": "str"},
        **_WAIT_GREEN,
    }
)
SUPPORT_SNAPSHOT = Arguments(
    {
        "dest": {"type": "path", "required": True},
        "anonymise": {"type": "bool", "default": False},
    }
)
SWAP = Arguments(
    {
        **_MODULE,
        "to": {"type": "str"},
        "mode": {"type": "str", "choices": ["stop", "save"]},
        **_WAIT_GREEN,
    }
)
VERIFY = Arguments(
    {
        **_MODULE,
        "repair": {"type": "bool", "default": False},
        "source": {"type": "str"},
        "fail_on_difference": {"type": "bool", "default": True},
    }
)
