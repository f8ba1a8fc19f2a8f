"""Fifteen rounds of real faults, one of each kind at least, some with a ping witness and some with an etcd.

`make chaos` plays as many as one likes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.integration.failover.pair import TIMEOUT_S
from tests.lab.console import say
from tests.lab.fixtures import REPOSITORY

from .plan import KINDS, SPLITTING, WITNESS_KINDS, Kind, Witness, draw
from .run import Chaos, told

pytestmark = pytest.mark.lab

SEEDS = (*range(8), *range(53, 60))
UNUSED_BYTES = 4096


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    made = Chaos(REPOSITORY / "build", TIMEOUT_S, say)
    yield made
    made.close()


def test_the_rounds_go_through_every_kind_of_fault() -> None:
    plans = [draw(seed, TIMEOUT_S) for seed in SEEDS]
    seen = {fault.kind for plan in plans for fault in plan.faults}
    assert set(KINDS) <= seen
    assert {plan.witness for plan in plans} == set(Witness)
    assert len(seen & set(WITNESS_KINDS)) >= 3


def test_with_a_witness_that_remembers_only_a_person_can_make_two_histories() -> None:
    plans = [draw(seed, TIMEOUT_S) for seed in range(2000)]
    assert {kind for plan in plans for fault in plan.faults for kind in [fault.kind]} == set(Kind)
    for plan in plans:
        meddled = any(fault.kind in SPLITTING for fault in plan.faults)
        assert plan.witness is Witness.PING or plan.may_split is meddled


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_holds_in_a_round_of_faults(chaos: Chaos, seed: int) -> None:
    outcome = chaos.round(seed)
    assert not outcome.failed, told(outcome, REPOSITORY / "build" / "chaos-failed" / str(seed))
    assert outcome.acknowledged > 0


def test_a_byte_changed_behind_the_back_of_a_node_is_found(chaos: Chaos) -> None:
    pair = chaos.pair()
    file = pair.protected.data_file(pair.secondary.name)
    with file.open("r+b") as data:
        last = os.fstat(data.fileno()).st_size - UNUSED_BYTES
        os.pwrite(data.fileno(), b"not of ours", last)
    assert pair.violations(split=False)["replicas_differing"]
    chaos.close()
