"""Fifteen rounds of real faults, one of each kind at least; `make chaos` plays as many as one likes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.integration.failover.pair import TIMEOUT_S
from tests.lab.console import say
from tests.lab.fixtures import REPOSITORY

from .plan import KINDS, draw
from .run import Chaos, told

pytestmark = pytest.mark.lab

SEEDS = range(15)
UNUSED_BYTES = 4096


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    made = Chaos(REPOSITORY / "build", TIMEOUT_S, say)
    yield made
    made.close()


def test_the_rounds_go_through_every_kind_of_fault() -> None:
    assert {fault.kind for seed in SEEDS for fault in draw(seed, TIMEOUT_S).faults} == set(KINDS)


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
