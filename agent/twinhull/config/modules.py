"""Reads the `modules` of a cluster's configuration."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePath

from ..core.settings import Boot, Return, StopMode
from .model import (
    MAX_MODULES,
    AttachKind,
    BootConfig,
    CheckerAction,
    CheckerConfig,
    CheckerKind,
    ExportConfig,
    ExportKind,
    HyperVConfig,
    LibvirtConfig,
    ModuleConfig,
    ResourceConfig,
    ResourceKind,
    ReturnConfig,
    ScriptsConfig,
    StopConfig,
    Unrestorable,
    VerifyConfig,
)
from .paths import Platform, platform_of, read_absolute_path
from .reader import Section, read_choice, read_name, suggestion, typed_section
from .tree import Mapping, Node
from .units import GIB, KIB, TIB, Window, parse_window

FILE_SYSTEMS = {Platform.LINUX: ("ext4", "xfs"), Platform.WINDOWS: ("ntfs", "ntfs-4k")}
"""The first one is the default."""
MIN_TIMEOUT_S, MAX_TIMEOUT_S = 1.0, 120.0
MAX_WAIT_S = 24 * 3600.0
SIZE_STEP_BYTES = 4 * KIB
MAX_VM_NAME_LETTERS = 100

MODULE_KEYS = (
    "number", "folder", "size", "file_system", "preferred",
    "boot", "return", "timings", "resource", "checkers", "verify", "export",
)  # fmt: skip
_TIMING_HOMES = {
    "timeout": "it is a key of 'timings'",
    "write_timeout": "it is a key of 'timings'",
    "delay": "it is a key of 'boot'",
    "domain": "it is a key of 'resource'",
    "kind": "it is a key of 'resource'",
    "stop": "it is a key of 'resource'",
    "forced_stop": "it is a key of 'resource'",
    "keep": "it is a key of the whole file",
    "rescue": "it is a key of the whole file",
    "witness": "it is a key of the whole file",
}
_STOP_KEYS = ("mode", "timeout")
_RESOURCE_KEYS = {
    ResourceKind.LIBVIRT: ("kind", "domain", "stop", "forced_stop"),
    ResourceKind.HYPERV: ("kind", "domain", "stop", "forced_stop", "saved_state"),
    ResourceKind.SCRIPTS: ("kind", "start", "stop", "check", "start_timeout", "stop_timeout", "process"),
}
_CHECKER_KEYS = {
    CheckerKind.GUEST_AGENT: ("name", "kind", "interval", "failures", "boot_time", "timeout", "action"),
    CheckerKind.SCRIPT: ("name", "kind", "interval", "failures", "boot_time", "timeout", "action", "command"),
}
_DOMAIN = re.compile(r"[A-Za-z0-9_.+:][A-Za-z0-9_.+: -]{0,254}", re.ASCII)


def read_module(modules: Section, name: str, nodes: Collection[str]) -> ModuleConfig:
    """One module; what is wrong goes to the section's problems, and then the result must not be used."""
    try:
        read_name(name)
    except ValueError as error:
        modules.problems.add(modules.line_of(name), f"the module's name is wrong: {error}")
    module = modules.section(name, MODULE_KEYS, homes=_TIMING_HOMES)
    timings = module.section("timings", ("timeout", "write_timeout"))
    timeout_s = timings.duration_s("timeout", 10.0, MIN_TIMEOUT_S, MAX_TIMEOUT_S)
    preferred = _preferred(module, nodes)
    folder = module.absolute_path("folder", required=True)
    platform = platform_of(folder)
    resource = _read_resource(module, name)
    _check_platform(module, resource, platform)
    return ModuleConfig(
        name=name,
        number=module.integer("number", 0, 1, MAX_MODULES, required=True),
        folder=folder,
        size_bytes=module.size_bytes("size", GIB, 64 * TIB, SIZE_STEP_BYTES, "4 KiB"),
        resource=resource,
        file_system=_read_file_system(module, platform),
        preferred=preferred,
        boot=_read_boot(module),
        give_back=_read_return(module, preferred),
        timeout_s=timeout_s,
        write_timeout_s=timings.duration_s("write_timeout", timeout_s, MIN_TIMEOUT_S, MAX_TIMEOUT_S),
        checkers=_read_checkers(module, resource),
        verify=_read_verify(module),
        export=_read_export(module, resource, platform),
    )


def _read_file_system(module: Section, platform: Platform) -> str:
    known = FILE_SYSTEMS[platform]

    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"'{text}' is not one of them{suggestion(text, known)}")
        return text

    return module.value("file_system", read, known[0])


def _check_platform(module: Section, resource: ResourceConfig, platform: Platform) -> None:
    """VMs and programs that are of the other platform than the folder."""
    if not isinstance(resource, ScriptsConfig):
        home = Platform.LINUX if isinstance(resource, LibvirtConfig) else Platform.WINDOWS
        if platform is not home and module.has("resource"):
            module.problem(
                "resource", f"is of kind '{resource.kind.value}', and the folder is one of {platform.value}"
            )
        return
    for command in (resource.start, resource.stop, resource.check):
        if command and platform_of(_program(command)) is not platform:
            module.problem(
                "resource", f"names {command[0]}, which is no path of {platform.value} as the folder is"
            )


def _program(command: tuple[str, ...]) -> PurePath:
    """The program's path; one that is none was told already."""
    try:
        return read_absolute_path(command[0])
    except ValueError:
        return PurePath()


def _preferred(module: Section, nodes: Collection[str]) -> str | None:
    preferred = module.value("preferred", str, "")
    if preferred and nodes and preferred not in nodes:
        module.problem(
            "preferred", f"names the node '{preferred}', which there is not{suggestion(preferred, nodes)}"
        )
    return preferred or None


def _read_boot(module: Section) -> BootConfig:
    boot = module.section("boot", ("mode", "delay"))
    return BootConfig(boot.choice("mode", Boot, Boot.AUTO), boot.duration_s("delay", 0.0, 0.0, 3600.0))


def _read_verify(module: Section) -> VerifyConfig:
    verify = module.section("verify", ("window", "repair"))
    window: Window | None = verify.value("window", parse_window, None)
    repair = verify.boolean("repair", False)
    if repair and window is None:
        module.problem("verify", 'needs to say when: write {window: "Sun 02:00-04:00", repair: true}')
    return VerifyConfig(window, repair)


def _read_export(module: Section, resource: ResourceConfig, platform: Platform) -> ExportConfig:
    section = module.section("export", ("kind", "attach"))
    kind: ExportKind | None = section.value("kind", lambda text: read_choice(text, ExportKind), None)
    if kind is ExportKind.FUSE and platform is Platform.WINDOWS:
        section.problem("kind", "is 'fuse', which Windows has not got: write 'iscsi'")
    attach = section.choice("attach", AttachKind, AttachKind.FOLDER)
    if attach is AttachKind.NONE:
        if kind is not ExportKind.ISCSI:
            section.problem("attach", "is 'none', which needs 'kind: iscsi'")
        if resource.kind is not ResourceKind.SCRIPTS:
            section.problem("attach", "is 'none', but a VM needs its folder: write 'folder'")
    return ExportConfig(kind, attach)


def _read_return(module: Section, preferred: str | None) -> ReturnConfig:
    node = module.entries["return"].value if module.has("return") else None
    if isinstance(node, Mapping):
        section = module.section("return", ("window",))
        section.node("window", required=True)
        window: Window | None = section.value("window", parse_window, None)
        result = ReturnConfig(Return.WINDOW, window)
    else:
        result = ReturnConfig(module.choice("return", Return, Return.MANUAL))
        if result.mode is Return.WINDOW:
            module.problem("return", 'needs to say when: write {window: "Sun 02:00-04:00"}')
    if result.mode is not Return.MANUAL and preferred is None:
        module.problem("return", "needs a preferred node: add 'preferred', or write 'manual'")
    return result


def _read_resource(module: Section, name: str) -> ResourceConfig:
    node = module.node("resource", required=True)
    if node is None:
        return LibvirtConfig(name)
    line = module.line_of("resource")
    found = typed_section(module.problems, node, module.path("resource"), _RESOURCE_KEYS, line)
    if found is None:
        return LibvirtConfig(name)
    kind, section = found
    if kind is ResourceKind.SCRIPTS:
        return _read_scripts(section)
    if kind is ResourceKind.HYPERV:
        return HyperVConfig(
            domain=section.value("domain", _read_vm, name),
            stop=_read_stop(section, "stop", StopMode.STOP, 120.0),
            forced_stop=_read_stop(section, "forced_stop", StopMode.OFF, 30.0),
            saved_state=section.choice("saved_state", Unrestorable, Unrestorable.DISCARD),
        )
    return LibvirtConfig(
        domain=section.value("domain", _read_domain, name),
        stop=_read_stop(section, "stop", StopMode.STOP, 120.0),
        forced_stop=_read_stop(section, "forced_stop", StopMode.OFF, 30.0),
    )


def _read_domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text):
        raise ValueError(f"'{text}' is no name of a libvirt domain that is accepted here")
    return text


def _read_vm(text: str) -> str:
    if not text.strip() or len(text) > MAX_VM_NAME_LETTERS or any(ord(letter) < 32 for letter in text):
        raise ValueError(f"a VM's name has 1 to {MAX_VM_NAME_LETTERS} letters and no control characters")
    return text


def _read_stop(section: Section, key: str, mode: StopMode, timeout_s: float) -> StopConfig:
    stop = section.section(key, _STOP_KEYS)
    return StopConfig(
        stop.choice("mode", StopMode, mode), stop.duration_s("timeout", timeout_s, 0.0, MAX_WAIT_S)
    )


def _read_scripts(section: Section) -> ScriptsConfig:
    process = section.boolean("process", False)
    return ScriptsConfig(
        start=_command(section, "start", required=True),
        stop=_command(section, "stop", required=not process),
        check=_command(section, "check", required=not process),
        start_timeout_s=section.duration_s("start_timeout", 60.0, 1.0, MAX_WAIT_S),
        stop_timeout_s=section.duration_s("stop_timeout", 60.0, 1.0, MAX_WAIT_S),
        process=process,
    )


def _command(section: Section, key: str, *, required: bool) -> tuple[str, ...]:
    command = section.texts(key, required=required)
    if section.has_empty_list(key):
        section.problem(key, "is empty: write the program's absolute path, then its arguments")
    if command:
        try:
            read_absolute_path(command[0])
        except ValueError:
            section.problem(key, f"must begin with the program's absolute path, not '{command[0]}'")
    return command


def _read_checkers(module: Section, resource: ResourceConfig) -> tuple[CheckerConfig, ...]:
    checkers: list[CheckerConfig] = []
    for index, node in enumerate(module.items("checkers")):
        where = f"{module.where}.checkers[{index}]"
        checker = _read_checker(module, node, where)
        if checker is None:
            continue
        if any(other.name == checker.name for other in checkers):
            module.problems.add(
                node.line, f"'{where}.name' is wrong: the checker '{checker.name}' is there twice"
            )
        if checker.kind is CheckerKind.GUEST_AGENT and resource.kind is ResourceKind.SCRIPTS:
            module.problems.add(
                node.line, f"'{where}.kind' is wrong: 'guest-agent' needs a resource that is a VM"
            )
        checkers.append(checker)
    return tuple(checkers)


def _read_checker(module: Section, node: Node, where: str) -> CheckerConfig | None:
    found = typed_section(module.problems, node, where, _CHECKER_KEYS)
    if found is None:
        return None
    kind, section = found
    script = kind is CheckerKind.SCRIPT
    checker = CheckerConfig(
        name=section.value("name", read_name, "", required=True),
        kind=kind,
        interval_s=section.duration_s("interval", 10.0 if script else 5.0, 1.0, 3600.0),
        failures=section.integer("failures", 3, 1, 100),
        boot_time_s=section.duration_s("boot_time", 300.0, 0.0, 3600.0),
        timeout_s=section.duration_s("timeout", 5.0, 0.1, 3600.0),
        action=section.choice("action", CheckerAction, CheckerAction.RESTART),
        command=_command(section, "command", required=True) if script else (),
    )
    return checker if checker.name else None
