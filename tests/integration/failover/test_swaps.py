"""The roles are exchanged under load, and nodes lose their power in the middle of that."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .pair import Pair
from .watching import Watch

pytestmark = pytest.mark.lab

SWAPS = 4
Moment = Callable[[Pair, Watch, str, str], bool]


def copied_bytes(pair: Pair) -> list[int]:
    """What each node counts as copied by it in its last resync."""
    return [int(pair.status(node)["last_sync"]["copied_bytes"]) for node in pair.lab.nodes.values()]


def test_swapping_back_and_forth_under_load_copies_nothing(pair: Pair) -> None:
    before = copied_bytes(pair)
    for _ in range(SWAPS):
        pair.swap()
    assert all(after <= first for after, first in zip(copied_bytes(pair), before, strict=True))
    pair.verify()


def test_a_swap_may_be_asked_for_on_the_secondary(pair: Pair) -> None:
    giver, taker = pair.primary, pair.secondary
    answer = pair.job_done(taker, pair.command(taker, "swap"))
    assert answer["ok"], answer
    pair.wait_state(taker, "PRIM", colour="green")
    pair.wait_writing(taker)
    pair.verify()
    assert pair.primary is taker
    assert pair.secondary is giver


MOMENTS: dict[str, Moment] = {
    "asked": lambda pair, watch, giver, taker: True,
    "stopping": lambda pair, watch, giver, taker: (
        "is being stopped" in str((watch.now(giver).words or {}).get("resource"))
    ),
    "unmounted": lambda pair, watch, giver, taker: not watch.mounted(giver),
    "given": lambda pair, watch, giver, taker: watch.now(giver).state != "PRIM",
    "taken": lambda pair, watch, giver, taker: watch.now(taker).state in ("PRIM", "ALONE"),
    "mounted": lambda pair, watch, giver, taker: watch.mounted(taker),
}


@pytest.mark.parametrize("victim", ["giver", "taker"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_power_loss_during_a_swap_leaves_one_node_writing(pair: Pair, moment: str, victim: str) -> None:
    giver, taker = pair.primary, pair.secondary
    lost = giver if victim == "giver" else taker
    pair.command(giver, "swap")
    reached = MOMENTS[moment]
    pair.wait_closely(moment, lambda: reached(pair, pair.watch, giver.name, taker.name))
    pair.power_off(lost)
    survivor = pair.other(lost)
    pair.wait_writing(survivor)
    pair.verify()


@pytest.mark.parametrize("moment", ["stopping", "unmounted", "mounted"])
@pytest.mark.parametrize("victim", ["giver", "taker"])
def test_a_worker_killed_during_a_swap_leaves_one_node_writing(pair: Pair, moment: str, victim: str) -> None:
    giver, taker = pair.primary, pair.secondary
    pair.command(giver, "swap")
    reached = MOMENTS[moment]
    pair.wait_closely(moment, lambda: reached(pair, pair.watch, giver.name, taker.name))
    pair.kill_worker(giver if victim == "giver" else taker)
    pair.wait_one_writing()
    pair.verify()


def test_a_swap_during_a_cut_is_refused_or_ends_with_one_node_writing(pair: Pair) -> None:
    giver = pair.primary
    pair.command(giver, "swap")
    giver.cut_all()
    pair.wait_one_writing()
    pair.verify()


@pytest.mark.parametrize("role", ["primary", "secondary"])
def test_a_clean_stop_moves_or_frees_the_module_at_once(pair: Pair, role: str) -> None:
    leaving = pair.node_of(role)
    other = pair.other(leaving)
    answer = pair.job_done(leaving, pair.command(leaving, "stop"))
    assert answer["ok"], answer
    pair.wait_state(leaving, "STOP")
    pair.wait_state(other, "ALONE", colour="green")
    pair.wait_writing(other)
    pair.command(leaving, "start")
    pair.verify()
    assert pair.primary is other
