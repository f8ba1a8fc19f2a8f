"""The configuration of a cluster as plain data: what is sent, and what a change looks like. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import yaml

Plain = dict[str, Any]
_PATH = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", re.ASCII)


def plain(value: Any) -> Any:
    """Dictionaries, lists and plain scalars, without the templating engine's own types.

    Raises ValueError for what no configuration can hold.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    raise ValueError(f"a configuration holds no {type(value).__name__}: {value!r}")


def to_input(config: Mapping[str, Any]) -> bytes:
    """The configuration for a command's standard input: one line of ASCII, which is JSON and so YAML too.

    It passes through any code page of a console unharmed.
    """
    return (json.dumps(plain(config), ensure_ascii=True) + "\n").encode("ascii")


def from_text(text: str) -> Plain:
    """The configuration that an agent wrote. Raises ValueError when it is none."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"the agent's configuration is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("the agent's configuration has no keys")
    return found


def to_text(config: object) -> str:
    """The configuration as YAML for people; nothing for no configuration."""
    if not config:
        return ""
    return str(
        yaml.safe_dump(config, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110)
    )


def changed_tree(before: Mapping[str, Any], changes: Iterable[Mapping[str, Any]]) -> Plain:
    """The configuration after the changes that an agent told.

    Args:
        before: the configuration as it is.
        changes: `path` (keys joined by dots), `before`, `after`; None where the key is not there.
    """
    after = deepcopy(dict(before))
    for change in changes:
        path = str(change.get("path") or "")
        # What is no path of keys is told of the other node, which has another configuration as a whole.
        _set(after, path.split(".") if _PATH.fullmatch(path) else [path], change.get("after"))
    return after


def _set(tree: Plain, keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    if value is None:
        tree.pop(keys[-1], None)
    else:
        tree[keys[-1]] = value


def change_lines(changes: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line for each change."""
    return [_change_line(change) for change in changes]


def _change_line(change: Mapping[str, Any]) -> str:
    path, before, after = change.get("path"), change.get("before"), change.get("after")
    if before is None:
        return f"{path}: added"
    if after is None:
        return f"{path}: removed"
    return f"{path}: {before} -> {after}"


def with_module(config: Mapping[str, Any], name: str, module: Mapping[str, Any] | None) -> Plain:
    """The configuration with this module in the place of the present one; None: without it."""
    new = deepcopy(dict(config))
    modules = dict(new.get("modules") or {})
    if module is None:
        modules.pop(name, None)
    else:
        modules[name] = plain(module)
    new["modules"] = modules
    return new
