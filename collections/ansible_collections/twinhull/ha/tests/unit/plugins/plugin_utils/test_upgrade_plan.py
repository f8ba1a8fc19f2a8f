# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""An upgrade takes the emptier node first, moves no more than it must, and goes on from wherever it was interrupted."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.twinhull.ha.plugins.filter import upgrade
from ansible_collections.twinhull.ha.plugins.plugin_utils import upgrade_plan as plan

OLD, NEW = "1.0.0", "1.1.0"


def answer(agents: dict[str, str], **modules: dict[str, tuple[str, str | None]]) -> dict[str, Any]:
    """What twinhull.ha.module_info returns: agents by node, and by module each node's state and worker's version."""
    return {
        "nodes": {node: {"reachable": True, "version": version} for node, version in agents.items()},
        "modules": {
            name: {
                "nodes": {
                    node: {"state": state, "worker_version": worker}
                    for node, (state, worker) in sides.items()
                }
            }
            for name, sides in modules.items()
        },
    }


def pair(primary: str, a: str = OLD, b: str = OLD) -> dict[str, tuple[str, str | None]]:
    return {
        "a": ("PRIM" if primary == "a" else "SECOND", a),
        "b": ("PRIM" if primary == "b" else "SECOND", b),
    }


def test_the_node_that_runs_fewer_modules_is_first() -> None:
    told = answer({"a": OLD, "b": OLD}, m1=pair("a"), m2=pair("a"), m3=pair("b"))
    assert plan.upgrade_order(told) == ["b", "a"]
    assert plan.upgrade_order(answer({"b": OLD, "a": OLD})) == ["a", "b"]


def test_everything_that_an_old_node_runs_leaves_it_first() -> None:
    told = answer({"a": OLD, "b": OLD}, m1=pair("a"), m2=pair("b"))
    assert plan.upgrade_plan(told, "a", NEW) == {
        "needed": True, "restart": True, "leaving": ["m1"], "renewing": ["m2"], "version": OLD,
    }  # fmt: skip


def test_a_node_of_the_version_is_left_alone_with_all_that_it_runs() -> None:
    told = answer({"a": NEW, "b": OLD}, m1=pair("a", a=NEW), m2=pair("b", a=NEW))
    assert not plan.upgrade_plan(told, "a", NEW)["needed"]
    assert plan.upgrade_plan(told, "a", NEW)["leaving"] == []


def test_only_old_workers_are_renewed_when_the_agent_is_new_already() -> None:
    told = answer({"a": NEW, "b": OLD}, m1=pair("b", a=OLD), m2=pair("b", a=NEW), m3=pair("a", a=OLD))
    found = plan.upgrade_plan(told, "a", NEW)
    assert (found["needed"], found["restart"]) == (True, False)
    assert (found["leaving"], found["renewing"]) == (["m3"], ["m1"])


def test_a_worker_that_says_no_version_counts_as_old() -> None:
    told = answer({"a": NEW, "b": NEW}, m1={"a": ("SECOND", None), "b": ("PRIM", NEW)})
    assert plan.upgrade_plan(told, "a", NEW)["renewing"] == ["m1"]


def test_only_what_the_other_node_runs_counts_as_left_stopped() -> None:
    told = answer(
        {"a": OLD, "b": OLD},
        m1={"a": ("STOP", OLD), "b": ("ALONE", OLD)},
        m2={"a": ("STOP", OLD), "b": ("STOP", OLD)},
        m3=pair("b"),
    )
    assert plan.left_stopped(told, "a") == ["m1"]
    assert plan.left_stopped(told, "b") == []


def hosts(*sites: tuple[str, int]) -> list[dict[str, Any]]:
    return [
        {"host": f"{site}-{node}", "site": site, "ring_order": ring} for site, ring in sites for node in "ab"
    ]


def test_rings_follow_one_another_and_a_batch_has_sites_of_one_ring() -> None:
    found = plan.upgrade_batches(hosts(("e", 1), ("a", 0), ("b", 0), ("c", 0), ("d", 1)), 2)
    assert {host[0]: batch for host, batch in found.items()} == {"a": 0, "b": 0, "c": 1, "e": 2, "d": 2}
    assert found["a-a"] == found["a-b"]


@pytest.mark.parametrize(("at_once", "batches"), [(1, 4), (2, 2), (3, 2), (100, 1), (0, 4)])
def test_a_batch_has_at_most_as_many_sites_as_were_allowed(at_once: int, batches: int) -> None:
    found = plan.upgrade_batches(hosts(("a", 0), ("b", 0), ("c", 0), ("d", 0)), at_once)
    assert max(found.values()) + 1 == batches


def test_a_host_without_a_ring_belongs_to_the_first() -> None:
    told = upgrade.upgrade_host(
        {"inventory_hostname": "x-a", "twinhull_site": "x", "twinhull_ring_order": None}
    )
    assert told == {"host": "x-a", "site": "x", "ring_order": 0}


@pytest.mark.parametrize(
    ("installed", "keep", "used", "removed"),
    [
        (["1.9.0", "1.10.0", "1.2.0"], 2, ["1.10.0"], ["1.2.0"]),
        (["1.9.0", "1.10.0", "1.2.0"], 1, ["1.10.0"], ["1.9.0", "1.2.0"]),
        (["1.0.0", "1.1.0", "1.2.0"], 2, ["1.1.0"], ["1.0.0"]),
        (["1.0.0", "1.1.0", "1.2.0"], 2, ["1.2.0", "1.0.0"], ["1.1.0"]),
        (["1.0.0", "1.1.0", "1.2.0"], 1, ["1.2.0", "1.0.0"], ["1.1.0"]),
        (["1.0.0", "mine", ".tmp"], 1, ["2.0.0"], ["1.0.0"]),
        ([], 2, ["1.0.0"], []),
    ],
)
def test_the_oldest_versions_go_and_never_one_in_use(
    installed: list[str], keep: int, used: list[str], removed: list[str]
) -> None:
    assert plan.superfluous_versions(installed, keep, used) == removed


@pytest.mark.parametrize("told", [None, [], {}, {"nodes": {}}, {"failed": True, "msg": "no"}])
def test_what_is_no_answer_is_refused(told: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="no answer"):
        upgrade.upgrade_order(told)


def test_a_node_that_the_site_has_not_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="has no node 'c'; it has a, b"):
        upgrade.upgrade_plan(answer({"a": OLD, "b": OLD}), "c", NEW)
