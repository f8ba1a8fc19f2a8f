"""What is decided from the status of both nodes."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.twinhull.ha.plugins.plugin_utils import twinhull_status as goals
from ansible_collections.twinhull.ha.plugins.plugin_utils.twinhull_status import Status, read_status


def side(state: str, colour: str = "green", **differs: Any) -> dict[str, Any]:
    return {
        "state": state,
        "colour": colour,
        "uptodate": True,
        "sentence": f"It is {state}.",
        "resource_state": "running" if state in ("PRIM", "ALONE") else "off",
        "generation": "1234",
        **differs,
    }


def status(a: dict[str, Any] | None, b: dict[str, Any] | None, node: str = "a") -> Status:
    nodes = {name: {"modules": {"VM1": plain} if plain else {}} for name, plain in (("a", a), ("b", b))}
    return read_status({"cluster": "lyon", "node": node, "nodes": nodes})


def test_green_is_one_that_runs_it_and_one_that_mirrors_it() -> None:
    assert status(side("PRIM"), side("SECOND")).green("VM1")
    assert status(side("SECOND"), side("PRIM")).green("VM1")
    assert not status(side("ALONE"), None).green("VM1")
    assert not status(side("ALONE"), side("STOP", "red")).green("VM1")
    assert not status(side("PRIM"), side("SECOND", "orange")).green("VM1")
    assert not status(side("PRIM"), side("SECOND", uptodate=False)).green("VM1")
    assert not status(side("ALONE"), side("ALONE")).green("VM1")


def test_started_is_running_or_mirroring_here() -> None:
    reached = goals.started("VM1")
    assert reached(status(side("ALONE"), None))
    assert reached(status(side("SECOND", "orange"), side("PRIM")))
    assert not reached(status(side("PRIM", resource_state="starting"), None))
    assert not reached(status(side("WAIT", "red"), side("PRIM")))


def test_running_on_a_node_counts_only_when_the_resource_runs() -> None:
    assert goals.runs_on("VM1", "b")(status(None, side("PRIM")))
    assert not goals.runs_on("VM1", "b")(status(None, side("PRIM", resource_state="attaching")))
    assert goals.stopped("VM1")(status(side("STOP", "red"), side("ALONE")))
    assert not goals.stopped("VM1")(status(side("WAIT", "orange"), side("ALONE")))


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        (side("ALONE"), side("ALONE"), "runs on both nodes (split brain)"),
        (side("WAIT", "red"), side("STOP", "red"), "runs on neither node"),
        (side("ALONE"), None, "b cannot be asked."),
        (side("PRIM"), side("SECOND", "orange"), "b is not ready to take it"),
    ],
)
def test_a_swap_is_refused_with_the_reason(a: dict[str, Any], b: dict[str, Any] | None, told: str) -> None:
    assert told in goals.swap_refusal(status(a, b), "VM1", "b")


def test_a_green_module_may_be_swapped() -> None:
    assert goals.swap_refusal(status(side("PRIM"), side("SECOND")), "VM1", "b") == ""


def test_a_blank_replica_is_not_protected() -> None:
    assert status(side("SECOND"), None).side("VM1").protected
    assert not status(side("STOP", generation="-"), None).side("VM1").protected
    assert not status(None, None).side("VM1").protected


def test_the_node_that_was_asked_is_the_default() -> None:
    seen = status(side("PRIM"), side("SECOND"), node="b")
    assert (seen.side("VM1").state, seen.peer, seen.modules) == ("SECOND", "a", ("VM1",))


@pytest.mark.parametrize("answer", [[], {}, {"nodes": []}, None, {"error": "x"}])
def test_what_is_no_status_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match="names no nodes"):
        read_status(answer)
