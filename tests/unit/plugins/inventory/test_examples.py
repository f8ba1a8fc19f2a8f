"""The inventories that we ship are right, and the generated one is what its generator makes."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_check import check_fleet
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_fleet import read_fleet
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_model import Fleet
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import Problems

from .test_real_inventory import ROOT, run

INVENTORIES = ROOT / "inventories"
GROUP_VARS = sorted(INVENTORIES.glob("*/group_vars/*"))
NAMES = ("demo", "single-site", "two-sites", "fleet")


def load(name: str) -> Fleet:
    problems = Problems()
    fleet = read_fleet((INVENTORIES / name / "sites.yml").read_text(encoding="utf-8"), problems)
    check_fleet(fleet, problems)
    assert [problem.text(name) for problem in problems.found] == []
    return fleet


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", INVENTORIES / "fleet" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_read_without_a_word_of_complaint(name: str) -> None:
    result = run("ansible-inventory", "-i", f"inventories/{name}", "--list")
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    hosts = json.loads(result.stdout)["_meta"]["hostvars"]
    assert len(hosts) == 2 * len(load(name).sites)


def test_the_fleet_is_what_its_generator_makes() -> None:
    assert (INVENTORIES / "fleet" / "sites.yml").read_text(encoding="utf-8") == generator().make_fleet()


def test_the_fleet_has_a_hundred_sites_of_both_platforms_in_three_rings() -> None:
    sites = load("fleet").sites
    assert len(sites) == 100
    assert {site.platform for site in sites} == {"linux", "windows"}
    assert {site.ring for site in sites} == {"pilot", "early", "broad"}


def test_two_sites_show_both_platforms() -> None:
    assert {site.platform for site in load("two-sites").sites} == {"linux", "windows"}


def test_every_example_is_explained() -> None:
    for name in NAMES:
        lines = (INVENTORIES / name / "sites.yml").read_text(encoding="utf-8").splitlines()
        assert any(line.lstrip().startswith("#") for line in lines), name


@pytest.mark.parametrize("path", GROUP_VARS, ids=lambda path: str(path.relative_to(INVENTORIES)))
def test_no_password_is_shipped(path: Path) -> None:
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    secrets = {key: value for key, value in values.items() if re.search(r"password|passphrase|secret", key)}
    if path.suffix == ".example":
        assert all("change me" in value for value in secrets.values())
    else:
        assert secrets == {}


def test_the_policy_of_local_accounts_is_explained_and_set_nowhere() -> None:
    told = (INVENTORIES / "two-sites/group_vars/platform_windows.yml").read_text(encoding="utf-8")
    assert "LocalAccountTokenFilterPolicy" in told
    listed = subprocess.run(
        ["grep", "-rlE", "LocalAccountTokenFilterPolicy", "playbooks", "collections", "inventories"],
        cwd=ROOT, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    for name in listed:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"win_regedit:(?:\n.*){0,8}LocalAccountTokenFilterPolicy", text), name
