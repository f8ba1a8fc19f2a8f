"""What changes from one configuration of the cluster to the next, and what may not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from ..core.settings import Keep
from ..errors import ConfigError
from .derive import to_plain
from .model import ClusterConfig, ModuleConfig
from .units import exact_size_text


class Difference(NamedTuple):
    """One value that differs between two configurations.

    Args:
        path: keys joined by dots, such as `modules.VM1.boot.delay`.
        before, after: the value as plain data; None where the key is not there.
    """

    path: str
    before: object
    after: object

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.path}: added"
        if self.after is None:
            return f"{self.path}: removed"
        return f"{self.path}: {_text(self.before)} -> {_text(self.after)}"


class Change(NamedTuple):
    """One accepted change of configuration.

    Args:
        differences: one for each value that differs.
        warnings: what the operator must know or do about it.
    """

    differences: list[Difference]
    warnings: list[str]

    @property
    def changed(self) -> list[str]:
        """One line for each difference."""
        return [str(difference) for difference in self.differences]


def check_change(
    old: ClusterConfig,
    new: ClusterConfig,
    *,
    running: Collection[str] = (),
    existing: Collection[str] | None = None,
) -> Change:
    """What differs between two configurations.

    Args:
        old, new: the configuration that holds and the one that shall.
        running: names of modules that are not in state STOP on some node.
        existing: names of modules whose volume was made; None: all of `old`.

    Raises ConfigError, with every reason, when the change is refused; nothing was applied then.
    """
    refused = _refused_cluster(old, new)
    made = set(old.modules if existing is None else existing)
    warnings = _cluster_warnings(old, new)
    for name, before in old.modules.items():
        after = new.modules.get(name)
        if after is None:
            _removed(name, name in running, refused, warnings)
            continue
        if name in made:
            refused += _refused_size(before, after)
        warnings += _module_warnings(before, after, running=name in running, made=name in made)
    if refused:
        raise ConfigError("\n".join(refused), "Nothing was applied.")
    return Change(_differences(to_plain(old), to_plain(new), ""), warnings)


def _refused_cluster(old: ClusterConfig, new: ClusterConfig) -> list[str]:
    refused = []
    if old.cluster != new.cluster:
        refused.append(
            f"The cluster cannot be renamed from '{old.cluster}' to '{new.cluster}': "
            "its certificates carry the name."
        )
    if set(old.nodes) != set(new.nodes):
        refused.append(
            f"Nodes cannot be renamed (from {_names(old.nodes)} to {_names(new.nodes)}): "
            "volumes and certificates carry their names."
        )
    return refused


def _names(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _removed(name: str, running: bool, refused: list[str], warnings: list[str]) -> None:
    if running:
        refused.append(
            f"Module {name} cannot be removed while it is not stopped: stop it on both nodes first."
        )
    else:
        warnings.append(
            f"module {name} is removed from the configuration; its volume stays in the data directory"
        )


def _refused_size(before: ModuleConfig, after: ModuleConfig) -> list[str]:
    sizes = f"from {exact_size_text(before.size_bytes)} to {exact_size_text(after.size_bytes)}"
    if after.size_bytes < before.size_bytes:
        return [
            f"The volume of module {before.name} cannot be made smaller ({sizes}): "
            "what lies at its end would be lost."
        ]
    if after.size_bytes > before.size_bytes:
        return [
            f"The volume of module {before.name} cannot be made larger ({sizes}): "
            "its size is fixed when it is made. Add a module of the new size and move the VM into it."
        ]
    return []


def _cluster_warnings(old: ClusterConfig, new: ClusterConfig) -> list[str]:
    warnings = []
    if (old.networks, old.ports) != (new.networks, new.ports) or dict(old.nodes) != dict(new.nodes):
        warnings.append(
            "addresses, networks or ports change: apply the same file on both nodes and restart both agents, "
            "the SECOND's first"
        )
    if old.witness.kind is not new.witness.kind:
        warnings.append(
            "the witness's kind changes: each node takes it when a module is stopped there and started again (the "
            "SECOND first); the old one rules until both have, and are connected"
        )
    elif old.witness != new.witness:
        warnings.append(
            "the witness changes: a module that runs takes it when it is stopped on a node and started again there "
            "(the SECOND first)"
        )
    if old.keep is not new.keep and new.keep is not Keep.ASK:
        warnings.append("the keep policy changes: while the two nodes differ, 'ask' applies")
    return warnings


def _module_warnings(before: ModuleConfig, after: ModuleConfig, *, running: bool, made: bool) -> list[str]:
    warnings = []
    name = before.name
    if before.folder != after.folder and running:
        warnings.append(
            f"module {name} runs: its folder stays {before.folder} until the module is stopped on both nodes "
            f"and started again; then it is {after.folder}, which the paths of the VM's disks must name"
        )
    if before.number != after.number:
        warnings.append(
            f"module {name}: its data port changes; the two nodes connect again when both know it"
        )
    if before.file_system != after.file_system and made:
        warnings.append(f"module {name}: its volume holds {before.file_system} and is not formatted again")
    if before != after and before.folder == after.folder and running:
        warnings.append(
            f"module {name} runs on with its old settings: each node takes the new ones when the module is stopped "
            f"there (twinhull stop {name}, then start; the SECOND first)"
        )
    if before.timeout_s != after.timeout_s:
        warnings.append(f"module {name}: while the two nodes differ, the larger time-out rules")
    return warnings


def _differences(old: object, new: object, path: str) -> list[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found: list[Difference] = []
        for key in dict.fromkeys((*old, *new)):
            inside = f"{path}.{key}" if path else str(key)
            found += _differences(old.get(key), new.get(key), inside)
        return found
    return [] if old == new else [Difference(path, old, new)]


def _text(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
    return "none" if value is None else str(value)
