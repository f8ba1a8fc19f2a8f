"""Checks that the modules of a cluster fit together, and that they fit a node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath, PurePosixPath, PureWindowsPath

from .model import MAX_MODULES, ClusterConfig, ModuleConfig, NodeConfig
from .paths import HERE, platform_of
from .reader import Section, suggestion
from .tree import Mapping

SYSTEM_FOLDERS = tuple(
    PurePosixPath("/", name)
    for name in ("dev", "proc", "sys", "run", "boot", "bin", "sbin", "lib", "lib64", "usr", "etc")
)
"""No folder may be one of these or lie below."""
SHARED_FOLDERS = tuple(
    PurePosixPath("/", name)
    for name in ("", "home", "media", "mnt", "opt", "root", "srv", "tmp", "var", "var/lib", "var/tmp")
)
"""No folder may be one of these; below them is fine."""
WINDOWS_SYSTEM_FOLDERS = frozenset(
    {
        "$recycle.bin",
        "program files",
        "program files (x86)",
        "programdata",
        "recovery",
        "system volume information",
        "windows",
    }
)
"""The same below any drive."""
WINDOWS_SHARED_FOLDERS = frozenset({"users", "temp"})
UNSET = PurePosixPath()


def overlap(first: PurePath, second: PurePath) -> bool:
    """Whether one of the paths is the other or lies below it."""
    return first == second or first in second.parents or second in first.parents


def check_modules(section: Section, modules: dict[str, ModuleConfig]) -> None:
    """Names, numbers and folders of all modules, each alone and against the others."""
    if len(modules) > MAX_MODULES:
        section.problem_here(f"'modules' names {len(modules)} modules; a cluster has at most {MAX_MODULES}")
    seen: list[ModuleConfig] = []
    for module in modules.values():
        for message in _folder_problems(module.folder):
            _problem(section, module, "folder", message)
        for other in seen:
            _check_pair(section, module, other)
        seen.append(module)


def check_node(root: Section, modules: Section, config: ClusterConfig, node: NodeConfig) -> None:
    """The node is of the cluster, and no folder touches the node's own directories."""
    if config.nodes and node.node not in config.nodes:
        root.problem("nodes", f"does not name this node '{node.node}'{suggestion(node.node, config.nodes)}")
    for module in config.modules.values():
        if module.folder != UNSET and platform_of(module.folder) is not HERE:
            _problem(
                modules,
                module,
                "folder",
                f"{module.folder} is a folder of {platform_of(module.folder).value}, and node '{node.node}' runs "
                f"{HERE.value}: both nodes of a cluster run the same",
            )
            continue
        for key, directory in node.directories().items():
            if overlap(module.folder, PurePath(directory)):
                _problem(
                    modules,
                    module,
                    "folder",
                    f"{module.folder} overlaps {directory}, the '{key}' of node '{node.node}'",
                )


def _problem(section: Section, module: ModuleConfig, key: str, message: str) -> None:
    entry = section.entries[module.name]
    entries = entry.value.entries if isinstance(entry.value, Mapping) else {}
    line = entries[key].line if key in entries else entry.line
    section.problems.add(line, f"'modules.{module.name}.{key}' is wrong: {message}")


def _check_pair(section: Section, module: ModuleConfig, other: ModuleConfig) -> None:
    if module.number and module.number == other.number:
        _problem(section, module, "number", f"{module.number} is module '{other.name}' already")
    if module.name.lower() == other.name.lower():
        section.problem(module.name, f"is wrong: module '{other.name}' has this name already")
    if UNSET not in (module.folder, other.folder) and platform_of(module.folder) is not platform_of(
        other.folder
    ):
        _problem(
            section,
            module,
            "folder",
            f"{module.folder} is a folder of {platform_of(module.folder).value}, and {other.folder} of module "
            f"'{other.name}' one of {platform_of(other.folder).value}: both nodes of a cluster run the same",
        )
    if UNSET not in (module.folder, other.folder) and overlap(module.folder, other.folder):
        _problem(
            section, module, "folder", f"{module.folder} overlaps {other.folder} of module '{other.name}'"
        )


def _folder_problems(folder: PurePath) -> Iterator[str]:
    if isinstance(folder, PureWindowsPath):
        yield from _windows_folder_problems(folder)
        return
    if any(folder == system or system in folder.parents for system in SYSTEM_FOLDERS):
        yield f"{folder} belongs to the system; use for example /srv/twinhull/NAME"
    if folder in SHARED_FOLDERS:
        yield f"{folder} is used by others; use a folder of its own below it"


def _windows_folder_problems(folder: PureWindowsPath) -> Iterator[str]:
    below = [part.lower() for part in folder.parts[1:]]
    if not below:
        yield f"{folder} is a whole drive; use a folder below it, for example {folder}Twinhull\\NAME"
    elif below[0] in WINDOWS_SYSTEM_FOLDERS:
        yield f"{folder} belongs to the system; use for example D:\\Twinhull\\NAME"
    elif len(below) == 1 and below[0] in WINDOWS_SHARED_FOLDERS:
        yield f"{folder} is used by others; use a folder of its own below it"
