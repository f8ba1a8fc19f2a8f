"""A node loses its power, in every state of the module."""

from __future__ import annotations

import pytest
from tests.lab import Node

from .pair import Pair

pytestmark = pytest.mark.lab

BALLAST_MB = 24


def begin_resync(pair: Pair) -> tuple[Node, Node]:
    """Source and target of a resync that is under way and takes a while."""
    source, target = pair.primary, pair.secondary
    pair.power_off(target)
    pair.wait_state(source, "ALONE")
    pair.write_ballast(source, BALLAST_MB)
    pair.slow_down()
    pair.power_on(target)
    pair.wait_copying(target)
    return source, target


def test_when_the_primary_loses_power_the_other_node_goes_on(pair: Pair) -> None:
    lost, survivor = pair.primary, pair.secondary
    pair.power_off(lost)
    pair.wait_state(survivor, "ALONE")
    pair.wait_writing(survivor)
    pair.verify()
    assert pair.primary is survivor


def test_when_the_secondary_loses_power_the_writer_is_not_interrupted(pair: Pair) -> None:
    primary, run = pair.primary, pair.run_name()
    pair.power_off(pair.secondary)
    pair.wait_state(primary, "ALONE")
    pair.wait_writing(primary)
    pair.verify()
    assert pair.run_name() == run


def test_a_resync_whose_target_loses_power_begins_again(pair: Pair) -> None:
    run = pair.run_name()
    source, target = begin_resync(pair)
    pair.power_off(target)
    pair.wait_state(source, "ALONE")
    pair.wait_writing(source)
    pair.verify()
    assert pair.run_name() == run


def test_a_half_copied_replica_waits_for_its_source(pair: Pair) -> None:
    source, target = begin_resync(pair)
    pair.power_off(source)
    pair.wait_refusing(target)
    pair.power_on(source)
    pair.wait_writing(source)
    pair.verify()
    assert pair.primary is source


def test_a_half_copied_replica_restarted_alone_waits_too(pair: Pair) -> None:
    source, target = begin_resync(pair)
    pair.power_off(source, target)
    pair.power_on(target)
    pair.wait_refusing(target)
    pair.power_on(source)
    pair.wait_writing(source)
    pair.verify()
    assert pair.primary is source


def test_a_resync_whose_source_worker_dies_goes_on_afterwards(pair: Pair) -> None:
    source, _ = begin_resync(pair)
    pair.kill_worker(source)
    pair.wait_writing(source)
    pair.verify()
    assert pair.primary is source


def test_a_node_that_was_alone_goes_on_alone_after_its_own_power_loss(pair: Pair) -> None:
    lone, outdated = pair.primary, pair.secondary
    pair.power_off(outdated)
    pair.wait_state(lone, "ALONE")
    pair.wait_writing(lone)
    pair.power_off(lone)
    pair.power_on(lone)
    pair.wait_state(lone, "ALONE")
    pair.wait_writing(lone)
    pair.verify()
    assert pair.primary is lone


def test_an_outdated_node_waits_for_the_one_that_was_alone(pair: Pair) -> None:
    lone, outdated = pair.primary, pair.secondary
    pair.power_off(outdated)
    pair.wait_state(lone, "ALONE")
    pair.wait_writing(lone)
    pair.power_off(lone)
    pair.power_on(outdated)
    pair.wait_refusing(outdated)
    pair.power_on(lone)
    pair.wait_writing(lone)
    pair.verify()
    assert pair.primary is lone


@pytest.mark.parametrize("first", ["primary", "secondary"])
def test_after_both_lost_power_the_first_one_back_waits_for_the_other(pair: Pair, first: str) -> None:
    early = pair.node_of(first)
    late = pair.other(early)
    pair.power_off(early, late)
    pair.power_on(early)
    pair.wait_refusing(early)
    pair.power_on(late)
    pair.wait_one_writing()
    pair.verify()


def test_a_waiting_node_that_loses_power_changes_nothing(pair: Pair) -> None:
    waiting, other = pair.secondary, pair.primary
    pair.power_off(waiting, other)
    pair.power_on(waiting)
    pair.wait_refusing(waiting)
    pair.power_off(waiting)
    pair.power_on(other)
    pair.wait_refusing(other)
    pair.power_on(waiting)
    pair.wait_one_writing()
    pair.verify()


def test_both_nodes_come_back_together(pair: Pair) -> None:
    nodes = list(pair.lab.nodes.values())
    pair.power_off(*nodes)
    for node in nodes:
        pair.power_on(node)
    pair.wait_one_writing()
    pair.verify()
