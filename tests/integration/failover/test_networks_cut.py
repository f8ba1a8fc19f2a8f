"""Networks fail, one or all, both ways or one way: traffic moves, or one node goes on and the other waits."""

from __future__ import annotations

import pytest
from tests.lab import Node
from tests.lab.network import Direction

from .pair import TIMEOUT_S, Pair, pause

pytestmark = pytest.mark.lab

NETWORKS = ("heartbeat", "replication")
ROLES = ("primary", "secondary")


def wait_replaced(pair: Pair, loser: Node) -> None:
    """Wait until the cut-off node waits and the other one writes."""
    survivor = pair.other(loser)
    pair.wait_state(survivor, "ALONE")
    pair.wait_writing(survivor)
    pair.wait_state(loser, "WAIT")
    pair.wait("the folder to be freed", lambda watch: not watch.mounted(loser.name))


def wait_moved(pair: Pair, primary: Node, network: str) -> None:
    """Wait until the pair is mirrored over this network."""
    pair.wait(
        f"the traffic to move to {network}",
        lambda _: pair.is_green() and pair.status(primary)["network"] == network,
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_one_network_cut_moves_the_traffic_and_nothing_else(pair: Pair, network: str) -> None:
    primary, run = pair.primary, pair.run_name()
    other = next(name for name in NETWORKS if name != network)
    pair.say(f"the network {network} is cut")
    pair.lab.cut(network)
    wait_moved(pair, primary, other)
    pair.wait_writing(primary)
    pair.say(f"the network {network} is healed")
    pair.lab.heal()
    pair.verify()
    assert pair.primary is primary
    assert pair.run_name() == run


def test_one_network_after_the_other_cut_interrupts_nothing(pair: Pair) -> None:
    primary, run = pair.primary, pair.run_name()
    for network, other in (NETWORKS, NETWORKS[::-1]):
        pair.say(f"the network {network} is cut, the other one is whole")
        pair.lab.heal()
        pair.lab.cut(network)
        wait_moved(pair, primary, other)
        pair.wait_writing(primary)
    pair.verify()
    assert pair.run_name() == run


@pytest.mark.parametrize("role", ROLES)
def test_a_node_cut_off_from_everything_waits_and_the_other_goes_on(pair: Pair, role: str) -> None:
    loser = pair.node_of(role)
    pair.say(f"node {loser.name} is cut off from every network")
    loser.cut_all()
    wait_replaced(pair, loser)
    survivor = pair.other(loser)
    pair.verify()
    assert pair.primary is survivor


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("direction", [Direction.IN, Direction.OUT])
def test_a_one_way_cut_leaves_one_node_writing(pair: Pair, role: str, direction: Direction) -> None:
    victim = pair.node_of(role)
    pair.say(f"node {victim.name}: nothing goes {direction.value} any more, on every network")
    victim.cut_all(direction)
    pair.wait_state(victim, "WAIT")
    survivor = pair.other(victim)
    pair.wait_state(survivor, "ALONE")
    pair.wait_writing(survivor)
    pair.verify()
    assert pair.primary is survivor


@pytest.mark.parametrize("network", NETWORKS)
def test_a_one_way_cut_of_one_network_interrupts_nothing(pair: Pair, network: str) -> None:
    primary, run = pair.primary, pair.run_name()
    pair.say(f"node {primary.name} hears nothing any more over {network}")
    primary.cut(network, Direction.IN)
    other = next(name for name in NETWORKS if name != network)
    wait_moved(pair, primary, other)
    pair.wait_writing(primary)
    pair.verify()
    assert pair.run_name() == run


def test_a_blip_shorter_than_the_time_out_is_not_noticed_by_the_writer(pair: Pair) -> None:
    primary, run = pair.primary, pair.run_name()
    pair.say(f"all networks are cut for {TIMEOUT_S / 2:g} s")
    primary.cut_all()
    pause(TIMEOUT_S / 2)
    pair.lab.heal()
    pair.wait_writing(primary)
    pair.verify()
    assert pair.primary is primary
    assert pair.run_name() == run


def test_a_cut_that_heals_while_the_loser_is_still_going_down_ends_in_one_history(pair: Pair) -> None:
    loser, survivor = pair.primary, pair.secondary
    pair.say(f"node {loser.name} is cut off until the other one goes on")
    loser.cut_all()
    pair.wait_state(survivor, "ALONE")
    pair.lab.heal()
    pair.wait_writing(survivor)
    pair.verify()
    assert pair.primary is survivor
