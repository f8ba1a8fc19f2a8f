"""Thousands of lives in which no promise of the design is broken; and proof that broken promises are seen.

A failing seed replays exactly: `python -m tests.simulation --story SEED`, `--shrink SEED`. More of them:
`python -m tests.simulation --seeds 100000 --from 3000`. All deliberate bugs: `python -m tests.simulation --mutants`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .faults import KINDS, plan
from .life import live, story_of
from .mutants.recorded import SEEDS
from .mutants.search import ALL, by_name
from .rng import Rng
from .shrink import shrink

LIVES = int(os.environ.get("SIMULATION_SEEDS", "3000"))
ROOT = Path(__file__).resolve().parents[2]


def python(*arguments: str, **environment: str) -> str:
    """What this Python prints, started in the repository."""
    paths = os.pathsep.join((str(ROOT / "agent"), str(ROOT)))
    done = subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of thousands of them; `told` is what the command said."""
    file = tmp_path_factory.mktemp("simulation") / "simulate.json"
    jobs = str(min(2, os.cpu_count() or 1))
    told = python("-m", "tests.simulation", "--seeds", str(LIVES), "--jobs", jobs, "--result", str(file))
    return {"told": told, **json.loads(file.read_text(encoding="utf-8"))}


def test_no_promise_is_broken_in_thousands_of_lives(lives: dict[str, Any]) -> None:
    assert f"\n{LIVES} seeds, 0 violations" in lives["told"], lives["told"]


@pytest.mark.skipif(LIVES < 1000, reason="SIMULATION_SEEDS asks for too few lives to see everything")
def test_every_kind_of_fault_and_every_state_is_seen(lives: dict[str, Any]) -> None:
    coverage = lives["coverage"]
    assert {what.removeprefix("fault: ") for what in coverage if what.startswith("fault: ")} == KINDS.keys()
    states = {what.rsplit("-> ")[-1] for what in coverage if what.startswith("move: ")}
    assert {
        "PRIM green",
        "SECOND copying",
        "HOLD",
        "ALONE",
        "ASKING",
        "GIVING green",
        "WAIT",
        "STOP",
    } <= states
    assert coverage["split"] and coverage["compared-while-differing"]


def test_numbers_of_chance_are_those_of_the_reference() -> None:
    rng = Rng(1234567)
    assert [rng.bits() for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_a_seed_replays_exactly() -> None:
    assert [story_of(seed) for seed in range(20)] == [story_of(seed) for seed in range(20)]


def test_a_seed_replays_exactly_in_another_process() -> None:
    program = (
        "import hashlib; from tests.simulation.life import story_of; "
        "print(hashlib.sha256(story_of(7).encode()).hexdigest())"
    )
    assert python("-c", program, PYTHONHASHSEED="77") == hashlib.sha256(story_of(7).encode()).hexdigest()


def test_a_plan_follows_from_its_seed_and_can_leave_kinds_out() -> None:
    assert plan(Rng(5)) == plan(Rng(5))
    without = frozenset({"kill", "cut"})
    kinds = {fault.kind for seed in range(1000) for fault in plan(Rng(seed), without, remembers=True)}
    assert kinds == KINDS.keys() - without


def test_a_life_without_faults_becomes_green_and_tells_so() -> None:
    story = story_of(3, [])
    assert "the VM boots" in story
    assert not live(3, []).violation


def test_a_failing_life_is_made_shorter() -> None:
    name = "ack before the peer has it"
    seed = SEEDS[name]
    with by_name(name).at_work():
        whole = live(seed)
        short = shrink(seed)
    assert whole.violation and short.violation
    assert len(short.faults) <= len(whole.faults)
    assert "JUDGE" in short.story


def test_there_are_enough_deliberate_bugs() -> None:
    assert len(ALL) >= 28
    assert len({mutant.name for mutant in ALL}) == len(ALL)


def test_each_of_them_is_found_soon() -> None:
    assert SEEDS.keys() == {mutant.name for mutant in ALL}
    assert max(SEEDS.values()) < 20_000


@pytest.mark.parametrize("name", SEEDS)
def test_deliberate_bug_is_found(name: str) -> None:
    with by_name(name).at_work():
        assert live(SEEDS[name]).violation, f"python -m tests.simulation --mutants {name!r}"
    assert not live(SEEDS[name]).violation
