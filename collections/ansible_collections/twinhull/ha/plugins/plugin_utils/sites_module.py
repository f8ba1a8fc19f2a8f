# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Reads one module of a site into what ``modules`` of cluster.yml takes; the words are those of docs/configuration.md."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_section import Section
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import Mapping, Node
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_words import (
    one_of,
    read_boolean,
    read_domain,
    read_duration,
    read_folder,
    read_name,
    read_number,
    read_path,
    read_size,
    read_vm_name,
    read_window,
    suggestion,
)

MAX_MODULES = 32
DAY_S = 24 * 3600.0
MODULE_KEYS = (
    "number", "folder", "size", "file_system", "preferred",
    "boot", "return", "timings", "resource", "checkers", "verify", "export",
)  # fmt: skip
_HOMES = {
    "timeout": "it is a key of 'timings'",
    "write_timeout": "it is a key of 'timings'",
    "delay": "it is a key of 'boot'",
    "domain": "it is a key of 'resource'",
    "kind": "it is a key of 'resource'",
    "stop": "it is a key of 'resource'",
    "forced_stop": "it is a key of 'resource'",
    "keep": "it is a key of the site",
    "rescue": "it is a key of the site",
    "witness": "it is a key of the site",
}
DEFAULT_HOMES = {
    "number": "each module has its own, write it there",
    "folder": "each module has its own, write it there",
    **_HOMES,
}
FILE_SYSTEMS = {"linux": ("ext4", "xfs"), "windows": ("ntfs", "ntfs-4k")}
EXPORT_KINDS = {"linux": ("fuse", "iscsi"), "windows": ("iscsi",)}
VM_KIND = {"linux": "libvirt", "windows": "hyperv"}
_VM_KEYS = ("kind", "domain", "stop", "forced_stop")
_HYPERV_KEYS = (*_VM_KEYS, "saved_state")
_SCRIPT_KEYS = ("kind", "start", "stop", "check", "start_timeout", "stop_timeout", "process")
RESOURCE_KEYS = {"libvirt": _VM_KEYS, "hyperv": _HYPERV_KEYS, "scripts": _SCRIPT_KEYS}
_LOOK_KEYS = ("name", "kind", "interval", "failures", "boot_time", "timeout", "action")
CHECKER_KEYS = {"guest-agent": _LOOK_KEYS, "script": (*_LOOK_KEYS, "command")}
STOP_MODES = ("stop", "save", "off")
SAVED_STATE = ("discard", "stop")


def read_module(
    section: Section, platform: str, nodes: Collection[str], *, partial: bool = False
) -> dict[str, Any]:
    """One module; what is wrong goes to the section's problems, and then the result must not be used.

    Args:
        section: the module, already made with MODULE_KEYS.
        platform: ``linux`` or ``windows``: it decides about paths, file systems and kinds of VM.
        nodes: names of the site's nodes; empty when they are not known.
        partial: these are the defaults of modules, so nothing is required.
    """
    module = section.values(
        {
            "number": read_number(1, MAX_MODULES),
            "folder": read_folder(platform),
            "size": read_size,
            "file_system": one_of(FILE_SYSTEMS[platform]),
            "preferred": lambda text: _read_preferred(text, nodes),
        },
        required=() if partial else ("number", "folder", "size"),
    )
    if not partial:
        module.setdefault("file_system", FILE_SYSTEMS[platform][0])
    boot = section.section("boot", ("mode", "delay"))
    timings = section.section("timings", ("timeout", "write_timeout"))
    module["boot"] = boot.values({"mode": one_of(("auto", "manual")), "delay": read_duration(0.0, 3600.0)})
    module["return"] = _read_return(section, "preferred" in module or partial)
    module["timings"] = timings.values(
        {"timeout": read_duration(1.0, 120.0), "write_timeout": read_duration(1.0, 120.0)}
    )
    module["resource"] = _read_resource(section, platform, required=not partial)
    module["checkers"] = _read_checkers(section, platform, module["resource"].get("kind"))
    module["verify"] = _read_verify(section)
    module["export"] = _read_export(section, platform, module["resource"].get("kind"))
    return {key: value for key, value in module.items() if value not in ({}, [], None)}


def _read_preferred(text: str, nodes: Collection[str]) -> str:
    if nodes and text not in nodes:
        raise ValueError(f"'{text}' is no node of this site{suggestion(text, nodes)}")
    return text


def _read_return(section: Section, has_preferred: bool) -> str | dict[str, Any] | None:
    node = section.entries["return"].value if section.has("return") else None
    result: str | dict[str, Any] | None
    if isinstance(node, Mapping):
        result = section.section("return", ("window",)).values({"window": read_window}, required=("window",))
    else:
        result = section.value("return", one_of(("manual", "at-once", "window")))
        if result == "window":
            section.problem("return", 'needs to say when: write {window: "Sun 02:00-04:00"}')
    if result not in (None, "manual") and not has_preferred:
        section.problem("return", "needs a preferred node: add 'preferred', or write 'manual'")
    return result


def _read_verify(section: Section) -> dict[str, Any]:
    verify: dict[str, Any] = section.section("verify", ("window", "repair")).values(
        {"window": read_window, "repair": read_boolean}
    )
    if verify.get("repair") and "window" not in verify:
        section.problem("verify", 'needs to say when: write {window: "Sun 02:00-04:00", repair: true}')
    return verify


def _read_export(section: Section, platform: str, resource_kind: str | None) -> dict[str, Any]:
    export = section.section("export", ("kind", "attach"))
    read: dict[str, Any] = export.values(
        {"kind": one_of(EXPORT_KINDS[platform]), "attach": one_of(("folder", "none"))}
    )
    if read.get("attach") == "none" and read.get("kind") != "iscsi":
        export.problem("attach", "is 'none', which needs 'kind: iscsi'")
    if read.get("attach") == "none" and resource_kind not in (None, "scripts"):
        export.problem("attach", "is 'none', but a VM needs its folder: write 'folder'")
    return read


def _typed(
    section: Section, node: Node, where: str, keys: dict[str, tuple[str, ...]], line: int | None
) -> tuple[str, Section] | None:
    """A mapping whose key `kind` says which other keys it has; None when the kind is not known."""
    probe = Section(section.problems, section.subject, node, where, None, line=line)
    kind = probe.value("kind", one_of(keys), required=True)
    if kind is None:
        return None
    return kind, Section(section.problems, section.subject, node, where, keys[kind], line=line)


def _read_resource(section: Section, platform: str, *, required: bool) -> dict[str, Any]:
    node = section.node("resource", required=required)
    if node is None:
        return {}
    keys = {kind: RESOURCE_KEYS[kind] for kind in (VM_KIND[platform], "scripts")}
    found = _typed(section, node, section.path("resource"), keys, section.line_of("resource"))
    if found is None:
        return {}
    kind, resource = found
    if kind == "scripts":
        return {"kind": kind} | _read_scripts(resource, platform)
    if kind == "hyperv":
        words = {"domain": read_vm_name, "saved_state": one_of(SAVED_STATE)}
    else:
        words = {"domain": read_domain}
    result: dict[str, Any] = {"kind": kind} | resource.values(words)
    for key in ("stop", "forced_stop"):
        stop = resource.section(key, ("mode", "timeout"))
        if resource.has(key):
            result[key] = stop.values({"mode": one_of(STOP_MODES), "timeout": read_duration(0.0, DAY_S)})
    return result


def _read_scripts(resource: Section, platform: str) -> dict[str, Any]:
    process = resource.value("process", read_boolean, False)
    commands = {
        key: _read_command(resource, key, platform, required=key == "start" or not process)
        for key in ("start", "stop", "check")
    }
    result: dict[str, Any] = {key: command for key, command in commands.items() if command}
    waits = {"start_timeout": read_duration(1.0, DAY_S), "stop_timeout": read_duration(1.0, DAY_S)}
    result |= resource.values(waits)
    return result | ({"process": True} if process else {})


def _read_command(section: Section, key: str, platform: str, *, required: bool) -> list[str]:
    command: list[str] = section.texts(key, str, required=required)
    if section.has(key) and not section.items(key):
        section.problem(key, "is empty: write the program's absolute path, then its arguments")
    if command:
        try:
            read_path(platform)(command[0])
        except ValueError as error:
            section.problem(key, f"must begin with the program's absolute path: {error}")
    return command


def _read_checkers(section: Section, platform: str, resource_kind: str | None) -> list[dict[str, Any]]:
    checkers: list[dict[str, Any]] = []
    for index, node in enumerate(section.items("checkers")):
        where = f"{section.where}.checkers[{index}]"
        found = _typed(section, node, where, CHECKER_KEYS, node.line)
        if found is None:
            continue
        checker = _read_checker(found[0], found[1], platform)
        if any(other.get("name") == checker.get("name") for other in checkers):
            section.add(
                node.line, f"'{where}.name' is wrong: the checker '{checker.get('name')}' is there twice"
            )
        if checker["kind"] == "guest-agent" and resource_kind == "scripts":
            section.add(node.line, f"'{where}.kind' is wrong: 'guest-agent' needs a resource that is a VM")
        checkers.append(checker)
    return checkers


def _read_checker(kind: str, section: Section, platform: str) -> dict[str, Any]:
    checker: dict[str, Any] = section.values({"name": read_name}, required=("name",)) | {"kind": kind}
    checker |= section.values(
        {
            "interval": read_duration(1.0, 3600.0),
            "failures": read_number(1, 100),
            "boot_time": read_duration(0.0, 3600.0),
            "timeout": read_duration(0.1, 3600.0),
            "action": one_of(("restart", "stopstart")),
        }
    )
    if kind == "script":
        checker["command"] = _read_command(section, "command", platform, required=True)
    return checker
