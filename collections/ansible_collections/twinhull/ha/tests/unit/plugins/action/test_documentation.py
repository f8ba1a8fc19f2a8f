"""What the documentation promises is what the action accepts, for every module that runs `twinhull` on a host."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.twinhull.ha.plugins.plugin_utils.twinhull_arguments import Arguments

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
ROOT = "ansible_collections.twinhull.ha.plugins"
NAMES = sorted(
    path.stem
    for path in (PLUGINS / "action").glob("*.py")
    if "(TwinhullAction)" in path.read_text(encoding="utf-8")
)
COMMON: dict[str, Any] = yaml.safe_load(
    importlib.import_module(f"{ROOT}.doc_fragments.twinhull").ModuleDocFragment.DOCUMENTATION
)
COMPARED = ("type", "elements", "choices", "default", "required")
USUAL = {"required": False}


def documented(name: str) -> dict[str, Any]:
    module = importlib.import_module(f"{ROOT}.modules.{name}")
    found: dict[str, Any] = yaml.safe_load(module.DOCUMENTATION)
    assert found["module"] == name
    return found


def compared(options: dict[str, Any]) -> dict[str, Any]:
    """The options without their descriptions; what is not said and what is said to be so by default are the same."""
    return {
        name: {key: option.get(key, USUAL.get(key)) for key in COMPARED} for name, option in options.items()
    }


def arguments(name: str) -> Arguments:
    found: Arguments = importlib.import_module(f"{ROOT}.action.{name}").ActionModule.ARGUMENTS
    return found


@pytest.mark.parametrize("name", NAMES)
def test_options_are_documented_as_they_are_accepted(name: str) -> None:
    options = {**(documented(name).get("options") or {}), **COMMON["options"]}
    assert compared(options) == compared(arguments(name).spec)


@pytest.mark.parametrize("name", NAMES)
def test_check_and_diff_mode_are_documented_as_they_are_supported(name: str) -> None:
    attributes = documented(name)["attributes"]
    assert attributes["check_mode"]["support"] == "full"
    returned = importlib.import_module(f"{ROOT}.modules.{name}").RETURN
    assert (attributes["diff_mode"]["support"] == "full") == ("diff" in yaml.safe_load(returned))


@pytest.mark.parametrize("name", NAMES)
def test_examples_show_both_platforms(name: str) -> None:
    tasks = yaml.safe_load(importlib.import_module(f"{ROOT}.modules.{name}").EXAMPLES)
    ours = [task for task in tasks if f"twinhull.ha.{name}" in task]
    assert len([task for task in ours if task.get("become")]) >= 1
    assert len([task for task in ours if "become" not in task]) >= 1


def test_the_action_group_is_of_those_that_share_the_common_options() -> None:
    runtime = yaml.safe_load((PLUGINS.parent / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    assert runtime["action_groups"]["twinhull"] == NAMES
    assert len(NAMES) == 9
