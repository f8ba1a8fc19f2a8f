# Copyright: Contributors to the Twinhull project
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The state of a fleet is told from what its hosts say, and silence is never green."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.twinhull.ha.plugins.filter.fleet import (
    fleet_report,
    fleet_table,
    modules_run_by,
    nodes_that_run,
    not_ready,
)


def side(state: str, colour: str = "green", **differs: Any) -> dict[str, Any]:
    return {
        "state": state,
        "colour": colour,
        "uptodate": True,
        "sentence": f"It is {state}.",
        "warnings": [],
        **differs,
    }


def node(reachable: bool = True, **modules: Any) -> dict[str, Any]:
    return {"reachable": reachable, "version": "1.0.0", "warnings": [], "modules": modules}


def status(a: dict[str, Any], b: dict[str, Any], warnings: list[str] | None = None) -> dict[str, Any]:
    """What twinhull.ha.module_info returns of these two nodes."""
    nodes = {"a": a, "b": b}
    modules = sorted({name for told in nodes.values() for name in told["modules"]})
    return {
        "cluster": "lyon",
        "warnings_of_cluster": warnings or [],
        "nodes": {
            name: {key: value for key, value in told.items() if key != "modules"}
            for name, told in nodes.items()
        },
        "modules": {
            name: {
                "nodes": {
                    own: told["modules"][name] for own, told in nodes.items() if name in told["modules"]
                }
            }
            for name in modules
        },
    }


GREEN = status(node(VM1=side("PRIM"), VM2=side("SECOND")), node(VM1=side("SECOND"), VM2=side("PRIM")))


def fleet(**answers: dict[str, Any]) -> dict[str, Any]:
    hostvars = {}
    for name, answer in answers.items():
        site, own = name.split("_")
        hostvars[f"{site}-{own}"] = {
            "twinhull_site": site, "twinhull_node": own, "twinhull_ring": "pilot", "answer": answer,
        }  # fmt: skip
    return fleet_report(hostvars, list(hostvars), "answer")


def test_a_node_runs_what_is_primary_or_alone_on_it() -> None:
    alone = status(node(VM1=side("ALONE"), VM2=side("STOP")), node(False))
    assert modules_run_by(GREEN, "a") == ["VM1"]
    assert modules_run_by(GREEN, "b") == ["VM2"]
    assert modules_run_by(alone, "a") == ["VM1"]
    assert modules_run_by(alone, "b") == []


def test_a_module_is_found_where_it_runs() -> None:
    split = status(node(VM1=side("ALONE")), node(VM1=side("ALONE")))
    assert nodes_that_run(GREEN, "VM2") == ["b"]
    assert nodes_that_run(GREEN, "VM3") == []
    assert nodes_that_run(split, "VM1") == ["a", "b"]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (GREEN, []),
        (status(node(VM1=side("ALONE")), node(False)), ["node b cannot be reached"]),
        (
            status(
                node(VM1=side("PRIM")),
                node(VM1=side("SECOND", "orange", uptodate=False, sentence="It copies.")),
            ),
            ["module VM1 is orange on b: It copies."],
        ),
        (
            status(node(VM1=side("ALONE", "red")), node(VM1=side("ALONE", "red"))),
            ["module VM1 is not mirrored: a is ALONE, b is ALONE"],
        ),
        (
            status(node(VM1=side("STOP", "red")), node(VM1=side("STOP", "red"))),
            ["module VM1 is not mirrored: a is STOP, b is STOP"],
        ),
        (status(node(VM1=side("PRIM")), node()), ["module VM1 is not mirrored: a is PRIM, b is unknown"]),
    ],
)
def test_what_is_not_mirrored_and_green_is_not_ready(told: dict[str, Any], expected: list[str]) -> None:
    assert not_ready(told) == expected


def test_a_module_stopped_on_both_nodes_is_ready_only_where_asked() -> None:
    stopped = status(node(VM1=side("STOP", "red")), node(VM1=side("STOP", "red")))
    assert not_ready(stopped, stopped_is_ready=True) == []


def test_a_green_site_is_one_row_a_module() -> None:
    told = fleet(lyon_a=GREEN, lyon_b=GREEN)
    assert [(row["module"], row["runs_on"], row["mirror"], row["colour"]) for row in told["rows"]] == [
        ("VM1", "a", "b", "green"),
        ("VM2", "b", "a", "green"),
    ]
    assert (told["sites"], told["modules"], told["worst"], told["unreachable"]) == (1, 2, "green", [])


def test_a_host_that_does_not_answer_makes_its_site_red_and_is_named() -> None:
    told = fleet(
        lyon_a=GREEN,
        lyon_b={"unreachable": True, "msg": "Connection timed out"},
        bern_a=GREEN,
        bern_b=GREEN,
    )
    assert told["worst"] == "red"
    assert {row["site"] for row in told["rows"] if row["colour"] == "red"} == {"lyon"}
    assert told["unreachable"] == [{"site": "lyon", "host": "lyon-b", "error": "Connection timed out"}]
    assert "lyon-b gives no answer: Connection timed out" in fleet_table(told)


def test_a_site_of_which_nobody_answers_is_still_told() -> None:
    told = fleet(lyon_a={"failed": True, "msg": "no agent"}, lyon_b={"failed": True, "msg": "no agent"})
    assert [(row["site"], row["module"], row["colour"]) for row in told["rows"]] == [("lyon", "-", "red")]


def test_two_nodes_that_both_run_a_module_are_red_whatever_each_thinks_of_itself() -> None:
    a_says = status(node(VM1=side("ALONE")), node(False))
    b_says = status(node(False), node(VM1=side("ALONE")))
    told = fleet(lyon_a=a_says, lyon_b=b_says)
    assert [(row["runs_on"], row["colour"]) for row in told["rows"]] == [("a and b", "red")]


def test_a_warning_makes_a_module_orange_but_the_standing_one_does_not() -> None:
    standing = status(
        node(VM1=side("PRIM")), node(VM1=side("SECOND")), ["no witness: a cut network can split this cluster"]
    )
    full = status(node(VM1=side("PRIM", warnings=["the disk is 86 % full"])), node(VM1=side("SECOND")))
    told = fleet(lyon_a=standing, bern_a=full)
    assert {row["site"]: row["colour"] for row in told["rows"]} == {"lyon": "green", "bern": "orange"}
    assert "the disk is 86 % full" in fleet_table(told)


def test_the_table_shows_the_worst_first_and_counts() -> None:
    told = fleet(
        zug_a={"failed": True, "msg": "no agent answers"}, bern_a=GREEN, bern_b=GREEN,
    )  # fmt: skip
    lines = fleet_table(told, 200).splitlines()
    assert lines[1].startswith("zug")
    assert lines[-1] == "2 sites, 2 modules: 2 green, 0 orange, 1 red; 1 hosts gave no answer"


@pytest.mark.parametrize("nonsense", [None, [], {}, {"nodes": []}, "text"])
def test_what_is_no_status_is_refused(nonsense: Any) -> None:
    with pytest.raises(AnsibleFilterError, match=r"twinhull\.ha\.module_info"):
        not_ready(nonsense)
