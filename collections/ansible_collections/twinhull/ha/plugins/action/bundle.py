# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Makes or checks a bundle, on the control node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase

from ..plugin_utils.bundle import Bundle, BundleError, top_folder, verify, write_part
from ..plugin_utils.bundle_collections import needed, versions
from ..plugin_utils.bundle_make import (
    WINDOWS_PYTHON_SHA256,
    Recipe,
    check_version,
    inputs_sha256,
    is_current,
    make,
    source_version,
)

SPEC: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "verified"], "default": "verified"},
    "path": {"type": "path"},
    "part_dir": {"type": "path"},
    "part_platforms": {"type": "list", "elements": "str", "default": []},
    "source": {"type": "path"},
    "output_dir": {"type": "path"},
    "locks": {"type": "path"},
    "cache": {"type": "path"},
    "version": {"type": "str", "default": ""},
    "platforms": {
        "type": "list",
        "elements": "str",
        "choices": ["linux", "windows"],
        "default": ["linux", "windows"],
    },
    "python_windows": {"type": "path"},
    "python_windows_sha256": {"type": "str", "default": WINDOWS_PYTHON_SHA256},
}
REQUIRED_IF = [
    ("state", "present", ["source", "output_dir", "locks", "cache"]),
    ("state", "verified", ["path"]),
]


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action behind `twinhull.ha.bundle`; no connection is used."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Make or check, and return what the bundle is."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, tagged = self.validate_argument_spec(SPEC, required_if=REQUIRED_IF)
        arguments = json.loads(json.dumps(tagged))
        try:
            if arguments["state"] == "present":
                return {**result, **self._make(arguments)}
            return {**result, **self._verify(arguments)}
        except BundleError as error:
            return {**result, "failed": True, "msg": str(error)}

    def _verify(self, arguments: dict[str, Any]) -> dict[str, Any]:
        bundle = verify(Path(arguments["path"]))
        parts = {
            platform: str(write_part(bundle, platform, Path(arguments["part_dir"])))
            for platform in arguments["part_platforms"]
        }
        return {"changed": False, "parts": parts, **_facts(bundle)}

    def _make(self, arguments: dict[str, Any]) -> dict[str, Any]:
        python_windows = arguments["python_windows"]
        recipe = Recipe(
            source=Path(arguments["source"]),
            locks=Path(arguments["locks"]),
            cache=Path(arguments["cache"]),
            collection=Path(__file__).resolve().parents[2],
            platforms=tuple(sorted(set(arguments["platforms"]))),
            version=arguments["version"],
            python_windows=Path(python_windows) if python_windows else None,
            python_windows_sha256=arguments["python_windows_sha256"].lower(),
        )
        version = check_version(recipe.version) if recipe.version else source_version(recipe.source)
        archive = Path(arguments["output_dir"]) / f"{top_folder(version)}.tar.gz"
        inputs = inputs_sha256(recipe, version, versions(needed(recipe.collection)))
        before = _contents(archive)
        if is_current(archive, inputs):
            return {"changed": False, **_facts(verify(archive))}
        after = {"version": version, "inputs": inputs, "platforms": list(recipe.platforms)}
        if self._task.check_mode:
            facts: dict[str, Any] = {"path": str(archive), "version": version}
        else:
            bundle = make(recipe, archive, version, inputs)
            facts, after = _facts(bundle), _described(bundle)
        return {"changed": True, "diff": _diff(archive, before, after), **facts}


def _facts(bundle: Bundle) -> dict[str, Any]:
    return {
        "path": str(bundle.path),
        "version": bundle.version,
        "created": bundle.created,
        "platforms": list(bundle.platforms),
        "pythons": {name: list(pythons) for name, pythons in bundle.pythons.items()},
        "sha256": bundle.archive_sha256,
        "wheel_sha256": {name: bundle.wheel_sha256(name) for name in bundle.platforms},
    }


def _described(bundle: Bundle) -> dict[str, Any]:
    return {
        "version": bundle.version,
        "inputs": bundle.inputs,
        "platforms": list(bundle.platforms),
        "files": dict(sorted(bundle.files.items())),
    }


def _contents(archive: Path) -> dict[str, Any]:
    if not archive.is_file():
        return {}
    try:
        return _described(verify(archive))
    except BundleError as error:
        return {"problem": str(error)}


def _diff(archive: Path, before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    return {
        "before_header": str(archive),
        "after_header": str(archive),
        "before": yaml.safe_dump(before, sort_keys=False) if before else "",
        "after": yaml.safe_dump(after, sort_keys=False),
    }
