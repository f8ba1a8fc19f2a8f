"""Lives of a pair, chosen by a seed: whatever happens, the promises of the data path hold after every step."""

from __future__ import annotations

import pytest
from tests.unit.core.mirror_world import World


@pytest.mark.parametrize("seed", range(15))
def test_a_life_with_crashes_and_cuts_loses_nothing(seed: int) -> None:
    world = World(seed, ((4, 4), (7, 4), (4, 7))[seed % 3])
    world.connect(resend=False)
    world.settle()
    for _ in range(700):
        world.step()
    world.heal()
    assert world.counts["answers"] > 0
