"""A process of Twinhull dies or freezes: the module goes on or moves, and nothing acknowledged is lost."""

from __future__ import annotations

import pytest

from .pair import WORKER, Pair

pytestmark = pytest.mark.lab

ROLES = ("primary", "secondary")


def test_when_the_primarys_worker_dies_the_other_node_goes_on(pair: Pair) -> None:
    lost, survivor = pair.primary, pair.secondary
    pair.kill_worker(lost)
    pair.wait_state(survivor, "ALONE", "PRIM")
    pair.wait_writing(survivor)
    pair.verify()
    assert pair.primary is survivor


def test_when_the_secondarys_worker_dies_the_writer_is_not_interrupted(pair: Pair) -> None:
    primary, run = pair.primary, pair.run_name()
    old = pair.worker_pid(pair.secondary)
    pair.kill_worker(pair.secondary)
    pair.wait(
        "a new worker",
        lambda watch: (
            (watch.now(pair.other(primary).name).words or {}).get("worker", {}).get("pid") not in (None, old)
        ),
    )
    pair.verify()
    assert pair.run_name() == run


@pytest.mark.parametrize("role", ROLES)
def test_a_worker_survives_its_agent_and_is_adopted(pair: Pair, role: str) -> None:
    node, run = pair.node_of(role), pair.run_name()
    worker = pair.worker_pid(node)
    pair.kill_agent(node)
    pair.wait("the new agent", lambda watch: watch.now(node.name).words is None)
    pair.wait("the new agent", lambda watch: watch.now(node.name).words is not None)
    pair.verify()
    assert pair.worker_pid(node) == worker
    assert pair.run_name() == run


def test_a_stuck_worker_of_the_primary_is_killed_and_the_other_node_goes_on(pair: Pair) -> None:
    stuck, survivor = pair.primary, pair.secondary
    worker = pair.worker_pid(stuck)
    with pair.frozen(stuck, WORKER):
        pair.wait_state(survivor, "ALONE", "PRIM")
        pair.wait_writing(survivor)
    pair.verify()
    assert pair.primary is survivor
    assert pair.worker_pid(stuck) != worker
