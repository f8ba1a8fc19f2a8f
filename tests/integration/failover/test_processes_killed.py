"""A process of Twinhull dies or freezes: the module goes on or moves, and nothing acknowledged is lost."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .pair import MODULE, Pair
from .watching import WORKER

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
    run = pair.run_name()
    old = pair.worker_pid(pair.secondary)
    pair.kill_worker(pair.secondary)
    other = pair.secondary
    pair.wait("a new worker", lambda _: pair.has_worker(other) and pair.worker_pid(other) != old)
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


def test_a_stuck_worker_of_the_secondary_is_replaced_and_the_writer_goes_on(pair: Pair) -> None:
    primary, stuck, run = pair.primary, pair.secondary, pair.run_name()
    worker = pair.worker_pid(stuck)
    with pair.frozen(stuck, WORKER):
        pair.wait_state(primary, "ALONE")
        pair.wait_writing(primary)
        pair.wait("a new worker", lambda _: pair.has_worker(stuck) and pair.worker_pid(stuck) != worker)
    pair.verify()
    assert pair.run_name() == run


def test_a_frozen_node_that_wakes_after_it_was_replaced_turns_its_writer_off(pair: Pair) -> None:
    frozen, survivor = pair.primary, pair.secondary
    with pair.frozen(frozen, ""):
        pair.wait_state(survivor, "ALONE")
        pair.wait_writing(survivor)
    pair.verify()
    assert pair.primary is survivor


def test_a_primary_whose_agent_and_worker_are_frozen_acknowledges_nothing_once_replaced(pair: Pair) -> None:
    frozen, survivor = pair.primary, pair.secondary
    with pair.frozen(frozen, "twinhull agent run"), pair.frozen(frozen, WORKER):
        pair.wait_state(survivor, "ALONE")
        pair.wait_writing(survivor)
    pair.verify()
    assert pair.primary is survivor


def test_a_frozen_secondary_comes_back_in_step(pair: Pair) -> None:
    primary, frozen, run = pair.primary, pair.secondary, pair.run_name()
    with pair.frozen(frozen, ""):
        pair.wait_state(primary, "ALONE")
        pair.wait_writing(primary)
    pair.verify()
    assert pair.run_name() == run


def test_a_secondary_without_its_agent_does_not_take_over(pair: Pair) -> None:
    primary, deaf = pair.primary, pair.secondary
    pair.say(f"the agent of node {deaf.name} stops")
    deaf.stop_service("agent")
    pair.wait("the agent to be gone", lambda watch: watch.now(deaf.name).words is None)
    pair.wait_writing(primary)
    pair.power_off(primary)
    pair.outlast()
    assert not pair.watch.mounted(deaf.name)
    pair.power_on(primary)
    pair.say(f"the agent of node {deaf.name} starts")
    deaf.start_service("agent")
    pair.wait_one_writing()
    pair.verify()


def test_everything_killed_at_once_on_both_nodes_comes_back(pair: Pair) -> None:
    for node in pair.lab.nodes.values():
        pair.say(f"SIGKILL to the agent and the worker on node {node.name}")
        node.send_signal("twinhull agent run", signal.SIGKILL)
        node.send_signal(WORKER, signal.SIGKILL)
    pair.wait(
        "the agents to be gone", lambda watch: not any(watch.now(name).words for name in pair.lab.nodes)
    )
    pair.wait_one_writing()
    pair.verify()


def test_agent_and_worker_of_the_primary_killed_at_once(pair: Pair) -> None:
    node = pair.primary
    pair.say(f"SIGKILL to the agent and the worker on node {node.name}")
    node.send_signal("twinhull agent run", signal.SIGKILL)
    node.send_signal(WORKER, signal.SIGKILL)
    pair.wait("the agent to be gone", lambda watch: watch.now(node.name).words is None)
    pair.wait_one_writing()
    pair.verify()


def test_both_nodes_stopped_by_command_start_again(pair: Pair) -> None:
    primary, secondary = pair.primary, pair.secondary
    for node in (secondary, primary):
        assert pair.job_done(node, pair.command(node, "stop"))["ok"]
        pair.wait_state(node, "STOP")
    for node in (secondary, primary):
        pair.command(node, "start")
    pair.wait_one_writing()
    pair.verify()


def inode(path: Path) -> int | None:
    """The inode of a file that may vanish at any moment."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


@pytest.mark.parametrize("moment", ["spawned", "answering"])
def test_an_agent_that_dies_while_it_replaces_a_worker_leaves_that_to_the_next_one(
    pair: Pair, moment: str
) -> None:
    node, run = pair.secondary, pair.run_name()
    old = node.processes(WORKER)
    socket = node.path(f"/run/twinhull/workers/{MODULE}.sock")
    before = socket.stat().st_ino
    pair.kill_worker(node)
    if moment == "spawned":
        pair.wait_closely("a new worker", lambda: bool({*node.processes(WORKER)} - {*old}))
    else:
        pair.wait_closely("a new worker", lambda: inode(socket) not in (None, before))
    pair.kill_agent(node)
    pair.wait("the agent to be gone", lambda watch: watch.now(node.name).words is None)
    pair.verify()
    assert pair.run_name() == run
