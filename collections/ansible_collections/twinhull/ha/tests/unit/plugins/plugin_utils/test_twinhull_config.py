"""A configuration travels unharmed, and its change is shown as it will be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.twinhull.ha.plugins.plugin_utils.twinhull_config import (
    change_lines,
    changed_tree,
    from_text,
    plain,
    to_input,
    to_text,
    with_module,
)

CONFIG: dict[str, Any] = {"cluster": "lyon", "modules": {"VM1": {"number": 1, "boot": {"delay": 0}}}}


class TaggedStr(str):
    """As the templating engine wraps strings."""

    __slots__ = ()


def test_it_is_one_line_of_ascii_whatever_is_in_it() -> None:
    sent = to_input({"folder": "/srv/Größe 😀", "lines": "a\nb", "on": True, "none": None, "t": (1, 2.5)})
    assert sent.isascii()
    assert sent.count(b"\n") == 1
    assert json.loads(sent) == {
        "folder": "/srv/Größe 😀",
        "lines": "a\nb",
        "on": True,
        "none": None,
        "t": [1, 2.5],
    }


def test_types_of_the_templating_engine_do_not_leak() -> None:
    found = plain({TaggedStr("a"): [TaggedStr("b")]})
    assert found == {"a": ["b"]}
    assert not [value for value in (*found, *found["a"]) if isinstance(value, TaggedStr)]


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()])
def test_what_no_configuration_holds_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a configuration holds no"):
        plain({"x": value})


def test_changes_are_set_where_their_paths_lead() -> None:
    changes = [
        {"path": "modules.VM1.boot.delay", "before": 0, "after": 60},
        {"path": "modules.VM2", "before": None, "after": {"number": 2}},
        {"path": "witness.kind", "before": None, "after": "ping"},
    ]
    after = changed_tree(CONFIG, changes)
    assert after == {
        "cluster": "lyon",
        "modules": {"VM1": {"number": 1, "boot": {"delay": 60}}, "VM2": {"number": 2}},
        "witness": {"kind": "ping"},
    }
    assert CONFIG["modules"]["VM1"]["boot"]["delay"] == 0
    assert change_lines(changes) == [
        "modules.VM1.boot.delay: 0 -> 60",
        "modules.VM2: added",
        "witness.kind: added",
    ]


def test_what_is_removed_is_gone() -> None:
    assert changed_tree(CONFIG, [{"path": "modules.VM1", "before": {}, "after": None}]) == {
        "cluster": "lyon",
        "modules": {},
    }


def test_the_other_nodes_configuration_is_shown_as_a_whole() -> None:
    after = changed_tree(CONFIG, [{"path": "configuration of b", "before": "aa", "after": "bb"}])
    assert after["configuration of b"] == "bb"


def test_a_module_takes_the_place_of_the_one_of_its_name() -> None:
    assert with_module(CONFIG, "VM1", {"number": 3})["modules"] == {"VM1": {"number": 3}}
    assert with_module(CONFIG, "VM1", None)["modules"] == {}
    assert with_module({"cluster": "x"}, "VM1", {"number": 1})["modules"] == {"VM1": {"number": 1}}
    assert CONFIG["modules"]["VM1"]["number"] == 1


@pytest.mark.parametrize("text", ["- a", "", "a: [", "word"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the agent's configuration"):
        from_text(text)


def test_yaml_words_stay_words_on_the_way_to_people_and_back() -> None:
    config = {"modules": {"VM1": {"stop": {"mode": "off"}, "window": "02:00"}}}
    assert from_text(to_text(config)) == config
    assert to_text({}) == ""
