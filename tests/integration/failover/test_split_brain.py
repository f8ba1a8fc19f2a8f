"""No witness: a cut network makes two histories; both nodes say so, and a person heals it as the messages say."""

from __future__ import annotations

from typing import Any

import pytest
from tests.lab import Node

from .pair import MODULE, Pair
from .watching import Watch

pytestmark = pytest.mark.lab

ROLES = ("primary", "secondary")


@pytest.fixture(scope="module")
def cluster_words() -> dict[str, Any]:
    return {"witness": {"kind": "none"}, "keep": "ask"}


@pytest.mark.parametrize("role", ROLES)
def test_a_split_brain_is_shown_and_healed_by_a_person(pair: Pair, role: str) -> None:
    loser = pair.node_of(role)
    winner = pair.other(loser)
    for node in pair.lab.nodes.values():
        assert any("no witness" in words for words in pair.status(node)["warnings"])
    pair.say("all networks are cut")
    common = pair.reports.last()
    loser.cut_all()
    for node in pair.lab.nodes.values():
        pair.wait_state(node, "ALONE")
        pair.wait_writing(node)
    pair.say("the networks are healed")
    pair.lab.heal()
    for node in pair.lab.nodes.values():
        wait_told_of_split(pair, node)
    for node in pair.lab.nodes.values():
        assert pair.watch.now(node.name).state == "ALONE"
        pair.wait_writing(node)
    pair.reports.give_up(loser.name, common)

    pair.say(f"a person gives up what node {loser.name} wrote")
    loser.twinhull("stop", MODULE)
    winner.twinhull("start", MODULE, "--as-primary", "--yes", MODULE)
    loser.twinhull("start", MODULE)
    pair.wait_green()
    assert pair.primary is winner
    pair.verify(witnessed=False)


def wait_told_of_split(pair: Pair, node: Node) -> None:
    """Wait until the node's status speaks of the split brain."""

    def told(watch: Watch) -> bool:
        words = watch.now(node.name).words
        return words is not None and any("split brain" in text for text in words["warnings"])

    pair.wait(f"node {node.name} to speak of the split brain", told)


def test_without_a_witness_the_loss_of_a_node_is_still_survived(pair: Pair) -> None:
    lost, survivor = pair.primary, pair.secondary
    pair.power_off(lost)
    pair.wait_state(survivor, "ALONE")
    pair.wait_writing(survivor)
    pair.verify()
    assert pair.primary is survivor
