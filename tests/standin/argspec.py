"""Arguments of a module against its own documentation (`ansible-doc -j`). What the documentation does not know fails.

Windows modules coerce in PowerShell; the rules here are those of Ansible.Basic: aliases, required, choices, types,
suboptions. An unknown argument fails although older modules ignore it: it is a mistake in a playbook all the same.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ACTION_ARGUMENTS: dict[str, frozenset[str]] = {
    "ansible.windows.win_copy": frozenset({"files", "directories", "symlinks"}),
}
"""What action plugins add for their own module; arguments that begin with `_` are theirs, too."""

COMBINED = frozenset({("ansible.windows.win_acl", "inherit")})
"""Strings of which the documentation lists the choices but the module takes several, joined by commas (see its examples)."""

_TRUE = frozenset({"y", "yes", "on", "1", "true", "t"})
_FALSE = frozenset({"n", "no", "off", "0", "false", "f"})


class ArgumentsError(Exception):
    """The module would refuse these arguments, or its documentation does not know them."""


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in _TRUE:
        return True
    if str(value).lower() in _FALSE:
        return False
    raise ValueError("is no boolean")


def _int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
        raise ValueError("is no whole number")
    return int(value)


def _str(value: Any) -> str:
    if isinstance(value, dict | list):
        raise ValueError("is no string")
    return str(value)


def _list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        raise ValueError("is no list")
    return str(value).split(",") if isinstance(value, str) else [value]


def _dict(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, str) and value.startswith("{"):
        return dict(json.loads(value))
    if isinstance(value, str) and "=" in value:
        return dict(part.split("=", 1) for part in shlex.split(value.replace(",", " ")))
    raise ValueError("is no dictionary")


_TYPES: dict[str, Callable[[Any], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": float,
    "str": _str,
    "path": _str,
    "list": _list,
    "dict": _dict,
    "raw": lambda value: value,
    "any": lambda value: value,
    "json": lambda value: value if isinstance(value, str) else json.dumps(value),
    "jsonarg": lambda value: value if isinstance(value, str) else json.dumps(value),
}


def check(module: str, options: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with aliases resolved, types converted and defaults filled in.

    Raises ArgumentsError, naming the module and the argument.
    """
    return _level(module, "", options, arguments, ACTION_ARGUMENTS.get(module, frozenset()))


def _level(
    module: str, where: str, options: Mapping[str, Any], arguments: Mapping[str, Any], more: frozenset[str]
) -> dict[str, Any]:
    names = {alias: name for name, option in options.items() for alias in (name, *option.get("aliases", ()))}
    checked: dict[str, Any] = {}
    for given, value in arguments.items():
        name = names.get("free_form" if given == "_raw_params" and "_raw_params" not in names else given)
        if name is None:
            if where == "" and (given.startswith("_") or given in more):
                checked[given] = value
                continue
            raise ArgumentsError(
                f"{module}: unsupported argument '{where}{given}'; supported: {', '.join(sorted(names))}"
            )
        if name in checked and checked[name] is not None:
            raise ArgumentsError(f"{module}: '{where}{name}' is given twice, once by an alias")
        checked[name] = None if value is None else _value(module, f"{where}{name}", options[name], value)
    for name, option in options.items():
        if checked.get(name) is None:
            if option.get("required"):
                raise ArgumentsError(f"{module}: missing required argument '{where}{name}'")
            default = option.get("default")
            checked[name] = None if default is None else _value(module, f"{where}{name}", option, default)
    return checked


def _value(module: str, name: str, option: Mapping[str, Any], value: Any) -> Any:
    kind = option.get("type", "str")
    convert = _TYPES.get(kind)
    if convert is None:
        raise ArgumentsError(f"{module}: the documentation gives '{name}' the unknown type '{kind}'")
    try:
        made = convert(value)
        elements = option.get("elements")
        if kind == "list" and elements:
            made = [_TYPES[elements](item) for item in made]
    except (ValueError, TypeError) as error:
        raise ArgumentsError(f"{module}: argument '{name}' with value {value!r} {error}") from error
    _check_choices(module, name, option, made)
    below = option.get("suboptions")
    if below and isinstance(made, dict):
        return _level(module, f"{name}.", below, made, frozenset())
    if below and isinstance(made, list):
        return [_level(module, f"{name}.", below, item, frozenset()) for item in made]
    return made


def _check_choices(module: str, name: str, option: Mapping[str, Any], made: Any) -> None:
    choices = option.get("choices")
    if not choices:
        return
    if (module, name) in COMBINED:
        made = [part.strip() for part in str(made).split(",")]
    for item in made if isinstance(made, list) else [made]:
        if item not in choices:
            allowed = ", ".join(map(str, choices))
            raise ArgumentsError(f"{module}: value of '{name}' must be one of: {allowed}; got: {item}")


@dataclass(slots=True)
class Documentation:
    """Options of modules, asked of `ansible-doc` once each.

    Args:
        directory: where `ansible-doc` is run, so that its ansible.cfg is taken.
        cache: a file that keeps the answers of packaged collections between processes; None keeps none.
    """

    directory: Path
    cache: Path | None = None
    _options: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def options(self, module: str) -> Mapping[str, Any]:
        """Options of one module. Raises ArgumentsError when it has no documentation."""
        with self._lock:
            if not self._options and self.cache is not None and self.cache.exists():
                self._options = json.loads(self.cache.read_text())
            if module not in self._options:
                self._load([module])
                self._keep()
            return self._options[module]

    def load(self, modules: Iterable[str]) -> None:
        """Ask for many at once: one process in place of one for each."""
        with self._lock:
            if self.cache is not None and self.cache.exists():
                self._options = json.loads(self.cache.read_text())
            missing = [module for module in modules if module not in self._options]
            if missing:
                self._load(missing)
                self._keep()

    def _load(self, modules: list[str]) -> None:
        command = [str(Path(sys.executable).with_name("ansible-doc")), "-t", "module", "-j", *modules]
        run = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False)
        found = json.loads(run.stdout) if run.stdout.strip() else {}
        for module in modules:
            if "doc" not in found.get(module, {}):
                raise ArgumentsError(f"{module}: ansible-doc knows no such module: {run.stderr.strip()}")
            self._options[module] = found[module]["doc"].get("options") or {}

    def _keep(self) -> None:
        if self.cache is None:
            return
        packaged = {
            name: options for name, options in self._options.items() if not name.startswith("twinhull.")
        }
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.cache.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        temporary.write_text(json.dumps(packaged))
        temporary.replace(self.cache)
