"""A change of configuration that would lose something is refused; the rest is told value by value."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinhull.config import check_change, parse_cluster
from twinhull.errors import ConfigError

TEXT = (Path(__file__).parents[3] / "inventories" / "example" / "cluster.yml").read_text()
OLD = parse_cluster(TEXT)


def changed(*pairs: tuple[str, str]) -> str:
    text = TEXT
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def test_nothing_changes_when_nothing_does() -> None:
    assert check_change(OLD, parse_cluster("# remark\n" + TEXT)) == ([], [])


def test_each_value_that_differs_is_told() -> None:
    new = parse_cluster(changed(("timeout: 10, write_timeout: 10", "timeout: 5, write_timeout: 10")))
    change = check_change(OLD, new)
    assert change.changed == ["modules.VM1.timings.timeout: 10 -> 5"]
    assert change.warnings == ["module VM1: while the two nodes differ, the larger time-out rules"]


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (
            ("size: 40 GiB", "size: 39 GiB"),
            "The volume of module VM1 cannot be made smaller (from 40 GiB to 39 GiB): "
            "what lies at its end would be lost. Nothing was applied.",
        ),
        (
            ("size: 40 GiB", "size: 41 GiB"),
            "The volume of module VM1 cannot be made larger (from 40 GiB to 41 GiB): its size is fixed when it "
            "is made. Add a module of the new size and move the VM into it. Nothing was applied.",
        ),
        (
            ("cluster: site-042", "cluster: site-043"),
            "The cluster cannot be renamed from 'site-042' to 'site-043': its certificates carry the name. "
            "Nothing was applied.",
        ),
        (
            ("  b: {addresses", "  c: {addresses"),
            "Nodes cannot be renamed (from 'a', 'b' to 'a', 'c'): volumes and certificates carry their names. "
            "Nothing was applied.",
        ),
    ],
)
def test_what_would_lose_something_is_refused(pair: tuple[str, str], expected: str) -> None:
    text = changed(pair, ("preferred: b", "preferred: a"))
    with pytest.raises(ConfigError) as caught:
        check_change(OLD, parse_cluster(text))
    assert str(caught.value) == expected


def test_the_size_may_change_before_the_volume_is_made() -> None:
    new = parse_cluster(changed(("size: 40 GiB", "size: 2 GiB")))
    change = check_change(OLD, new, existing={"files"})
    assert change.changed == ["modules.VM1.size: 40 GiB -> 2 GiB"]


def test_another_folder_is_warned_of_while_the_module_runs() -> None:
    new = parse_cluster(changed(("folder: /srv/twinhull/VM1", "folder: /srv/twinhull/VM9")))
    assert check_change(OLD, new).warnings == []
    (warning,) = check_change(OLD, new, running={"VM1"}).warnings
    assert warning.startswith("module VM1 runs: its folder stays /srv/twinhull/VM1 until")


def test_a_running_module_says_when_it_takes_its_new_settings() -> None:
    new = parse_cluster(changed(("stop: {mode: stop, timeout: 2 min}", "stop: {mode: save, timeout: 2 min}")))
    assert check_change(OLD, new).warnings == []
    (warning,) = check_change(OLD, new, running={"VM1"}).warnings
    assert warning.startswith("module VM1 runs on with its old settings: each node takes the new ones when")


def test_a_running_module_is_not_removed() -> None:
    text = TEXT[: TEXT.index("  files:")]
    with pytest.raises(ConfigError, match="Module files cannot be removed while it is not stopped"):
        check_change(OLD, parse_cluster(text), running={"files"})
    change = check_change(OLD, parse_cluster(text))
    assert change.changed == ["modules.files: removed"]
    assert change.warnings == [
        "module files is removed from the configuration; its volume stays in the data directory"
    ]


def test_new_addresses_and_another_witness_say_what_to_do() -> None:
    witness = "witness: {kind: ping, addresses: [10.77.1.254], timeout: 5}"
    new = parse_cluster(changed((witness, "witness: {kind: none}"), ("10.77.2.2", "10.77.2.3")))
    change = check_change(OLD, new)
    assert "nodes.b.addresses.replication: 10.77.2.2 -> 10.77.2.3" in change.changed
    assert len(change.warnings) == 2
    assert "restart both agents" in change.warnings[0]
    assert "stopped there and started again" in change.warnings[1]
