"""Checks that the modules of a cluster fit together, and that they fit a node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath, PurePosixPath, PureWindowsPath

from .model import MAX_MODULES, ClusterConfig, ModuleConfig, NodeConfig
from .reader import Section, as_path, suggestion
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
    {"", "windows", "program files", "program files (x86)", "programdata", "users", "$recycle.bin"}
)
"""No folder may be the root of a drive, one of these, or lie below."""
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
    windows = isinstance(as_path(str(node.data_dir)), PureWindowsPath)
    for module in config.modules.values():
        if isinstance(module.folder, PureWindowsPath) is not windows and module.folder != UNSET:
            _problem(
                modules,
                module,
                "folder",
                f"{module.folder} is a path of {'Linux' if windows else 'Windows'}, but this node runs "
                f"{'Windows' if windows else 'Linux'}: both nodes of a cluster must run the same",
            )
        for key, directory in node.directories().items():
            if overlap(module.folder, as_path(str(directory))):
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
    if UNSET not in (module.folder, other.folder) and overlap(module.folder, other.folder):
        _problem(
            section, module, "folder", f"{module.folder} overlaps {other.folder} of module '{other.name}'"
        )


def _folder_problems(folder: PurePath) -> Iterator[str]:
    if isinstance(folder, PureWindowsPath):
        first = folder.parts[1].lower() if len(folder.parts) > 1 else ""
        if first in WINDOWS_SYSTEM_FOLDERS:
            yield f"{folder} belongs to Windows; use for example D:\\Twinhull\\NAME"
        return
    if any(folder == system or system in folder.parents for system in SYSTEM_FOLDERS):
        yield f"{folder} belongs to the system; use for example /srv/twinhull/NAME"
    if folder in SHARED_FOLDERS:
        yield f"{folder} is used by others; use a folder of its own below it"
