"""A Windows site's configuration for the parser of today's agent, which knows Linux folders only. Pure.

Folders and the kind of the resource are translated there and back; all else is checked by the real parser, so that the
stand-in refuses what an agent refuses.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import yaml

from twinhull.config import ClusterConfig, parse_cluster
from twinhull.errors import ConfigError

_ROOT = "/@windows"
_THERE = re.compile(r"^([A-Za-z]):[\\/](.*)$")
_BACK = re.compile(_ROOT + r"/([A-Z])((?:/[^/\"\s,;:]+)*)")


def to_posix(folder: str) -> str:
    """`D:\\x\\y` as `/@windows/D/x/y`; another text stays."""
    match = _THERE.match(folder)
    if match is None:
        return folder
    return f"{_ROOT}/{match[1].upper()}/" + match[2].replace("\\", "/")


def to_windows(text: str, *, json: bool = False) -> str:
    """All translated folders of a text written as Windows writes them (`json`: with escaped backslashes)."""
    slash = "\\\\" if json else "\\"
    return _BACK.sub(lambda match: match[1] + ":" + match[2].replace("/", slash), text)


def parse(text: str, name: str) -> ClusterConfig:
    """The configuration. Raises ConfigError with every problem."""
    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {error}") from error
    try:
        return parse_cluster(yaml.safe_dump(_translated(plain), sort_keys=False), name)
    except ConfigError as error:
        raise ConfigError(to_windows(error.what), error.remedy) from error


def _translated(plain: Any) -> Any:
    made = copy.deepcopy(plain)
    modules = made.get("modules") if isinstance(made, dict) else None
    for module in (modules or {}).values() if isinstance(modules, dict) else ():
        if not isinstance(module, dict):
            continue
        if isinstance(module.get("folder"), str):
            module["folder"] = to_posix(module["folder"])
        if module.get("file_system") in ("ntfs", "ntfs-4k"):
            del module["file_system"]
        resource = module.get("resource")
        if isinstance(resource, dict) and resource.get("kind") == "hyperv":
            resource["kind"] = "libvirt"
            if "vm" in resource:
                resource["domain"] = resource.pop("vm")
    return made
