"""Ten sites of stand-in hosts in one process: results, not times (those are bench/fleet.py's)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.standin.fleet import Fleet, install_by_hand

SITES = [f"site-{number:02d}" for number in range(10)]
DEAD, STUCK = SITES[3], SITES[7]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Ten installed sites; one has a node without power, in one a mirror is not uptodate."""
    with Fleet(tmp_path / "fleet") as made:
        for name in SITES:
            install_by_hand(made.add_site(name, tags={"country": "fr" if name < SITES[5] else "de"}))
        made.sites[DEAD].b.lose_power()
        stuck = made.sites[STUCK].cluster.nodes["b"].replicas["VM1"]
        stuck.uptodate, stuck.stuck = False, True
        yield made


def test_the_status_of_a_fleet_names_the_sites_that_need_somebody(fleet: Fleet, tmp_path: Path) -> None:
    run = fleet.play("playbooks/status.yml", extra={"twinhull_output_dir": str(tmp_path)})
    report = json.loads((tmp_path / "fleet-status.json").read_text())
    colours = {row["site"]: row["colour"] for row in report["rows"] if row["module"] == "VM1"}
    assert [name for name in SITES if colours[name] != "green"] == [DEAD, STUCK]
    assert colours[STUCK] == "orange"
    assert [entry["host"] for entry in report["unreachable"]] == [f"{DEAD}-b"]
    assert run.exit_code == 2, run.text
    assert fleet.problems() == []


def test_a_swap_is_planned_for_the_sites_that_are_ready_and_swaps_nothing(fleet: Fleet) -> None:
    extra = {"twinhull_empty": "a", "twinhull_sites_at_once": 10}
    run = fleet.play("playbooks/swap.yml", "--check", extra=extra)
    ready = [name for name in SITES if name not in (DEAD, STUCK)]
    assert [run.recap(f"{name}-a")["changed"] for name in ready] == [1] * len(ready), run.text
    left_out = [line for line in run.text.splitlines() if line.startswith("left out")]
    assert [name for name in SITES if any(name in line for line in left_out)] == [DEAD, STUCK]
    assert all(fleet.sites[name].cluster.runs_on("VM1") == ["a"] for name in ready)
    assert all(site.cluster.stops == 0 for site in fleet.sites.values())
    assert run.exit_code != 0
    assert fleet.problems() == []
