"""docs/variables.md says what the roles, the plugin and the playbooks say, and names every variable that can be set."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_fleet import OWN_VARIABLES, ROOT_KEYS

from .test_real_inventory import ROOT


@pytest.fixture
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "generate_variables", ROOT / "docs" / "generate_variables.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(generator: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().err


def test_every_variable_of_the_inventory_is_named(generator: ModuleType) -> None:
    assert set(generator.GIVEN) == OWN_VARIABLES | {"ansible_host"}


def test_every_key_of_the_file_is_documented(generator: ModuleType) -> None:
    path = ROOT / "collections/ansible_collections/twinhull/ha/plugins/inventory/sites.py"
    assert set(generator.plugin_options(path)) == set(ROOT_KEYS)


def test_a_variable_that_nothing_describes_is_refused(generator: ModuleType) -> None:
    with pytest.raises(generator.StaleError, match="twinhull_wait_s"):
        generator.refuse_undescribed(set())


def test_the_top_of_a_playbook_describes_its_variables(generator: ModuleType) -> None:
    head = (
        "---\n# What it is for,\n# in two lines.\n#\n#   ansible-playbook x.yml -e one_x=1   # what one is\n#\n"
        "# two_x (5), three_x (required): what both are.\n#   And more.\n# Something else: no variable.\n# four_x: last.\n"
        "- name: x\n"
    )
    purpose, pairs = generator.read_head(head)
    assert purpose == "What it is for, in two lines."
    assert dict(pairs) == {
        "two_x": "what both are. And more.\0" + "5",
        "three_x": "what both are. And more.\0required",
        "four_x": "last.\0",
        "one_x": "what one is\0",
    }
