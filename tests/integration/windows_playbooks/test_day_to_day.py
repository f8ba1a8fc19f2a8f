"""status, swap, stop, start, snapshot and maintenance on stand-in Windows hosts."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from tests.standin.fleet import Fleet, install_by_hand


def test_swap_there_and_home_is_one_stop_each_and_the_status_tells_it(fleet: Fleet, tmp_path: Path) -> None:
    site = fleet.add_site("lyon")
    install_by_hand(site)
    planned = fleet.play("playbooks/swap.yml", "--check", "--diff", extra={"twinhull_empty": "a"})
    assert planned.exit_code == 0, planned.text
    assert (site.cluster.runs_on("VM1"), site.cluster.stops) == (["a"], 0)
    assert planned.recap("lyon-a")["changed"] == 1

    away = fleet.play("playbooks/swap.yml", extra={"twinhull_empty": "a"})
    assert away.exit_code == 0, away.text
    assert (site.cluster.runs_on("VM1"), site.cluster.stops) == (["b"], 1)

    again = fleet.play("playbooks/swap.yml", extra={"twinhull_empty": "a"})
    assert (again.exit_code, again.changed(), site.cluster.stops) == (0, 0, 1)

    home = fleet.play("playbooks/swap.yml", extra={"twinhull_restore": True})
    assert home.exit_code == 0, home.text
    assert (site.cluster.runs_on("VM1"), site.cluster.stops) == (["a"], 2)

    status = fleet.play("playbooks/status.yml", extra={"twinhull_output_dir": str(tmp_path)})
    assert status.exit_code == 0, status.text
    rows = json.loads((tmp_path / "fleet-status.json").read_text())["rows"]
    assert [(row["site"], row["runs_on"], row["mirror"], row["colour"]) for row in rows] == [
        ("lyon", "a", "b", "green")
    ]
    assert fleet.problems() == []


def test_an_abandoned_swap_leaves_the_vm_where_it_is_and_says_why(fleet: Fleet) -> None:
    site = fleet.add_site("lyon")
    install_by_hand(site)
    site.cluster.swap_fails = "The guest did not stop within 120 s, so the swap was abandoned."
    run = fleet.play("playbooks/swap.yml", extra={"twinhull_empty": "a"})
    assert run.exit_code != 0
    assert "The guest did not stop within 120 s" in " ".join(run.text.split())
    assert (site.cluster.runs_on("VM1"), site.cluster.stops) == (["a"], 0)


def test_stop_needs_a_confirmation_and_start_brings_it_back(fleet: Fleet) -> None:
    site = fleet.add_site("lyon")
    install_by_hand(site)
    refused = fleet.play("playbooks/stop.yml")
    assert refused.exit_code != 0
    assert site.cluster.runs_on("VM1") == ["a"]
    stopped = fleet.play("playbooks/stop.yml", extra={"twinhull_confirm": "lyon"})
    assert stopped.exit_code == 0, stopped.text
    assert {node.replicas["VM1"].state for node in site.cluster.nodes.values()} == {"STOP"}
    started = fleet.play("playbooks/start.yml")
    assert started.exit_code == 0, started.text
    states = sorted(node.replicas["VM1"].state for node in site.cluster.nodes.values())
    assert states == ["PRIM", "SECOND"], "whichever node was asked first runs it"
    assert fleet.problems() == []


def test_snapshots_of_both_nodes_arrive_whole_and_are_removed_from_the_hosts(
    fleet: Fleet, tmp_path: Path
) -> None:
    site = fleet.add_site("lyon")
    install_by_hand(site)
    before = {node: dict(host.state.files.tree()) for node, host in site.hosts.items()}
    run = fleet.play("playbooks/snapshot.yml", extra={"twinhull_output_dir": str(tmp_path / "out")})
    assert run.exit_code == 0, run.text
    archives = sorted((tmp_path / "out").rglob("*.tar.gz"))
    assert [path.name.rsplit("_", 1)[0] for path in archives] == ["lyon_a", "lyon_b"]
    with tarfile.open(archives[0]) as archive:
        assert "snapshot/cluster.yml" in archive.getnames()
    for node, host in site.hosts.items():
        left = {path for path in host.state.files.tree() if path not in before[node]}
        assert not [path for path in left if path.endswith(".tar.gz")]
    assert fleet.problems() == []


def test_maintenance_empties_each_node_reboots_it_and_brings_the_vm_home(
    fleet: Fleet, tmp_path: Path
) -> None:
    site = fleet.add_site("lyon")
    install_by_hand(site)
    tasks = tmp_path / "updates.yml"
    tasks.write_text(
        "- name: Reboot\n  ansible.windows.win_reboot:\n    pre_reboot_delay: 0\n    post_reboot_delay: 0\n"
    )
    run = fleet.play("playbooks/maintenance.yml", extra={"twinhull_tasks": str(tasks)})
    assert run.exit_code == 0, run.text
    assert [host.state.boot.number for host in site.hosts.values()] == [2, 2]
    assert site.cluster.runs_on("VM1") == ["a"]
    assert site.cluster.stops == 2
    assert fleet.problems() == []
