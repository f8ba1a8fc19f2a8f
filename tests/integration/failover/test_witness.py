"""A witness with a memory, a real etcd: never two, and the one that may go on does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.integration.witness.in_lab import SUBNETS
from tests.lab import Node

from .configuring import apply, take_everywhere
from .conftest import PING
from .pair import MODULE, Pair, log_of
from .test_power_lost import begin_resync
from .witnessed import WITNESS_TIMEOUT_S, WitnessedPair

pytestmark = pytest.mark.lab

ROLES = ("primary", "secondary")
ELSEWHERE = "it lists another replica alone"
UNASKED = "the witness cannot be asked"


@pytest.fixture(scope="module")
def cluster_words() -> dict[str, Any]:
    return {"keep": "ask"}


@pytest.fixture(scope="module")
def pair_kind() -> tuple[type[Pair], Mapping[str, str]]:
    return WitnessedPair, SUBNETS


def end(pair: WitnessedPair, survivor: Node) -> None:
    """Everything is made whole: all promises were kept, and this node's history is the one that went on."""
    pair.verify()
    assert pair.primary is survivor
    pair.wait_listed(*pair.lab.nodes.values())


def wait_goes_on(pair: WitnessedPair, survivor: Node) -> None:
    """Wait until this node writes alone, by a record that lists it alone."""
    pair.wait_state(survivor, "ALONE")
    pair.wait_writing(survivor)
    pair.wait_listed(survivor)


# ---- a cut network ---------------------------------------------------------------------------------------


def test_of_two_nodes_that_are_cut_apart_and_both_reach_the_witness_exactly_one_goes_on(
    pair: WitnessedPair,
) -> None:
    pair.wait_listed(*pair.lab.nodes.values())
    pair.cut_between()
    survivor = pair.wait_one_alone()
    loser = pair.other(survivor)
    wait_goes_on(pair, survivor)
    pair.wait_waits_for(loser, ELSEWHERE)
    end(pair, survivor)


@pytest.mark.parametrize("role", ROLES)
def test_a_node_cut_off_from_everything_waits_and_the_other_goes_on(pair: WitnessedPair, role: str) -> None:
    loser = pair.node_of(role)
    survivor = pair.other(loser)
    pair.say(f"node {loser.name} is cut off from every network")
    loser.cut_all()
    wait_goes_on(pair, survivor)
    pair.wait_waits_for(loser, UNASKED)
    pair.say("it reaches the witness again, but not the other node")
    loser.heal("witness")
    pair.wait_waits_for(loser, ELSEWHERE)
    end(pair, survivor)


def test_a_primary_cut_off_from_the_other_node_and_from_the_witness_is_replaced(pair: WitnessedPair) -> None:
    loser, survivor = pair.primary, pair.secondary
    pair.cut_from_witness(loser)
    pair.cut_between()
    wait_goes_on(pair, survivor)
    pair.wait_waits_for(loser, UNASKED)
    end(pair, survivor)


# ---- power -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_after_both_lost_power_in_step_a_lone_survivor_goes_on(pair: WitnessedPair, role: str) -> None:
    survivor = pair.node_of(role)
    pair.power_off(survivor, pair.other(survivor))
    pair.power_on(survivor)
    wait_goes_on(pair, survivor)
    end(pair, survivor)


def test_after_both_lost_power_a_lone_survivor_that_missed_writes_waits(pair: WitnessedPair) -> None:
    ahead, behind = pair.primary, pair.secondary
    pair.power_off(behind)
    wait_goes_on(pair, ahead)
    pair.power_off(ahead)
    pair.power_on(behind)
    pair.wait_waits_for(behind, ELSEWHERE)
    assert pair.status(behind)["uptodate"] is True
    end_after_power_on(pair, ahead)


def test_after_both_lost_power_a_half_copied_lone_survivor_does_not_even_ask(pair: WitnessedPair) -> None:
    source, target = begin_resync(pair)
    pair.power_off(source, target)
    pair.power_on(target)
    pair.wait_refusing(target)
    assert "is not uptodate (" in pair.waiting_for(target)
    end_after_power_on(pair, source)


def end_after_power_on(pair: WitnessedPair, survivor: Node) -> None:
    """The node that was ahead is back: its history goes on."""
    pair.power_on(survivor)
    pair.wait_writing(survivor)
    end(pair, survivor)


# ---- a frozen primary ------------------------------------------------------------------------------------


def test_a_frozen_primary_that_wakes_acknowledges_nothing_more(pair: WitnessedPair) -> None:
    frozen, survivor = pair.primary, pair.secondary
    with pair.frozen(frozen, ""):
        wait_goes_on(pair, survivor)
    end(pair, survivor)


def test_a_frozen_primary_that_wakes_when_its_successor_is_dead_waits_for_it(pair: WitnessedPair) -> None:
    frozen, survivor = pair.primary, pair.secondary
    with pair.frozen(frozen, ""):
        wait_goes_on(pair, survivor)
        pair.power_off(survivor)
    pair.wait_waits_for(frozen, ELSEWHERE)
    end_after_power_on(pair, survivor)


def test_a_frozen_secondary_that_wakes_cut_off_does_not_take_over(pair: WitnessedPair) -> None:
    primary, frozen, run = pair.primary, pair.secondary, pair.run_name()
    with pair.frozen(frozen, ""):
        wait_goes_on(pair, primary)
        pair.cut_between()
    pair.wait_waits_for(frozen, ELSEWHERE)
    end(pair, primary)
    assert pair.run_name() == run


# ---- the witness is down ---------------------------------------------------------------------------------


def test_while_both_nodes_stand_a_dead_witness_stops_nothing(pair: WitnessedPair) -> None:
    primary, secondary, run = pair.primary, pair.secondary, pair.run_name()
    pair.stop_etcd()
    pair.wait_warning(primary, UNASKED)
    shown = primary.twinhull("witness", "show", MODULE, check=False)
    assert shown.returncode == WITNESS_CANNOT_BE_ASKED, shown.stdout + shown.stderr
    pair.wait_writing(primary)
    assert [pair.watch.now(node.name).state for node in (primary, secondary)] == ["PRIM", "SECOND"]
    assert pair.run_name() == run
    pair.say("a clean leave needs no witness: the record is written later")
    secondary.twinhull("stop", MODULE)
    pair.wait_state(primary, "ALONE")
    pair.wait_writing(primary)
    assert pair.run_name() == run
    pair.start_etcd()
    pair.wait_listed(primary)
    secondary.twinhull("start", MODULE)
    end(pair, primary)
    assert pair.run_name() == run


WITNESS_CANNOT_BE_ASKED = 8


@pytest.mark.parametrize("role", ROLES)
def test_with_a_dead_witness_a_lost_peer_is_held_for_and_only_a_person_goes_on(
    pair: WitnessedPair, role: str
) -> None:
    lost = pair.node_of(role)
    left = pair.other(lost)
    pair.stop_etcd()
    pair.power_off(lost)
    if role == "secondary":
        pair.wait("the primary to hold its I/O", lambda watch: pair.status(left)["holding"])
    pair.wait_waits_for(left, UNASKED)
    refused = left.twinhull("start", MODULE, "--as-primary", "--yes", MODULE, check=False)
    assert refused.returncode != 0
    assert UNASKED in refused.stdout + refused.stderr
    pair.wait_waits_for(left, UNASKED)
    pair.say(f"a person starts node {left.name} without the witness")
    left.twinhull("start", MODULE, "--as-primary", "--without-witness", "--yes", MODULE)
    pair.wait_state(left, "ALONE")
    pair.wait_writing(left)
    assert "without the witness" in log_of(left)
    pair.start_etcd()
    pair.wait_listed(left)
    end(pair, left)


def test_a_witness_that_accepts_and_never_answers_is_not_waited_for_longer_than_its_time(
    pair: WitnessedPair,
) -> None:
    primary, lost = pair.primary, pair.secondary
    pair.say("etcd is frozen")
    pair.etcd.freeze()
    pair.power_off(lost)
    pair.wait_waits_for(primary, UNASKED)
    pair.start_etcd()
    wait_goes_on(pair, primary)
    end(pair, primary)


# ---- another kind of witness -----------------------------------------------------------------------------


def wait_rules(pair: WitnessedPair, kind: str) -> None:
    """Wait until this kind rules on both nodes, as their status says, and none of them speaks of another one."""
    pair.wait(
        f"the witness {kind} to rule",
        lambda _: all(
            pair.status(node)["witness"] == kind
            and not any("rules until" in text for text in pair.warnings(node))
            for node in pair.lab.nodes.values()
        ),
    )


def change(pair: WitnessedPair, kind: str) -> None:
    """Both nodes take what was applied; this kind rules then."""
    take_everywhere(pair)
    wait_rules(pair, kind)


def test_the_kind_of_a_running_cluster_changes_when_both_nodes_have_taken_it(pair: WitnessedPair) -> None:
    told = apply(pair, pair.primary, witness=PING)
    assert any("stopped" in words and "started" in words for words in told["warnings"]), told
    for node in pair.lab.nodes.values():
        pair.wait_warning(node, "the witness is configured as ping, and etcd rules until")
        assert pair.status(node)["witness"] == "etcd"
    change(pair, "ping")
    pair.verify()

    pair.say("from ping to etcd: it rules, so a cut between the nodes does not split them")
    apply(pair, pair.secondary, witness=pair.etcd.words(WITNESS_TIMEOUT_S))
    change(pair, "etcd")
    pair.wait_listed(*pair.lab.nodes.values())
    pair.cut_between()
    survivor = pair.wait_one_alone()
    pair.wait_waits_for(pair.other(survivor), ELSEWHERE)
    end(pair, survivor)

    pair.say("from etcd to none, told to one node alone: etcd rules until the other one knows it, too")
    primary, secondary = pair.primary, pair.secondary
    pair.power_off(secondary)
    wait_goes_on(pair, primary)
    told = apply(pair, primary, witness={"kind": "none"})
    assert any("did not take the configuration" in words for words in told["warnings"]), told
    pair.power_on(secondary)
    pair.wait_green()
    primary.twinhull("stop", MODULE)
    primary.twinhull("start", MODULE)
    pair.wait_green()
    pair.wait_warning(primary, "the witness is configured as none, and etcd rules until")
    for node in (primary, secondary):
        assert pair.status(node)["witness"] == "etcd"
    apply(pair, primary, witness={"kind": "none"})
    change(pair, "none")
    pair.stop_etcd()
    pair.power_off(pair.secondary)
    pair.wait_writing(pair.primary)
    pair.verify()
