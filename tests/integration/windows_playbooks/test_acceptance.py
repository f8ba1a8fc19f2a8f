"""acceptance_windows.yml on stand-in hosts: every step that needs no person, a failure told, and a report of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.standin import bundle
from tests.standin.fleet import Fleet, install_by_hand

PLAYBOOK = "playbooks/acceptance_windows.yml"


def _asked(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "twinhull_module": "VM1",
        "twinhull_confirm": "lyon",
        "twinhull_output_dir": str(tmp_path / "reports"),
        **more,
    }


def _report(tmp_path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((tmp_path / "reports" / "acceptance-lyon.json").read_text())
    return read


def test_a_good_pair_is_walked_through_every_step_and_the_report_says_what_was_seen(
    fleet: Fleet, tmp_path: Path
) -> None:
    site = fleet.add_site("lyon")
    install_by_hand(site)
    made = bundle.make(tmp_path, "0.2.0")
    extra = _asked(tmp_path, twinhull_bundle=str(made), agent_part_dir=str(tmp_path / "parts"))
    run = fleet.play(PLAYBOOK, extra=extra)
    assert run.exit_code == 0, run.text
    steps = [step for step in _report(tmp_path)["steps"] if step["node"] == "a"]
    assert {step["step"]: step["outcome"] for step in steps} == {
        "An existing VM is moved into the folder and copied": "not tried",
        "The VM is swapped to the other node and home": "as promised",
        "The agent's service is restarted under the running VM": "as promised",
        "The worker of the running VM is killed": "as promised",
        "The data stream between the nodes is cut and healed": "as promised",
        "The host that runs the VM is rebooted": "as promised",
        "The power of the host that runs the VM is cut": "not tried",
        "Both copies are compared": "as promised",
        "An archive for support is taken of both nodes": "as promised",
        "Both nodes are upgraded": "as promised",
    }
    found = {step["step"]: step["found"] for step in steps}
    assert found["An existing VM is moved into the folder and copied"] == "it was protected before"
    assert found["Both nodes are upgraded"].startswith("0.1.0 before, 0.2.0 now")
    assert site.a.state.boot.number + site.b.state.boot.number == 3
    assert not any(
        rule.group == "Twinhull acceptance"
        for host in site.hosts.values()
        for rule in host.state.firewall_rules.values()
    )
    text = (tmp_path / "reports" / "acceptance-lyon.md").read_text()
    assert (
        "| The worker of the running VM is killed | a | as promised | ran on a, runs on b and is green |"
        in text
    )
    assert fleet.problems() == []


def test_after_a_step_that_failed_nothing_more_is_tried_and_the_run_fails_by_its_name(
    fleet: Fleet, tmp_path: Path
) -> None:
    site = fleet.add_site("lyon")
    install_by_hand(site)
    site.cluster.swap_fails = "The guest did not stop within 120 s, so the swap was abandoned."
    run = fleet.play(PLAYBOOK, extra=_asked(tmp_path))
    assert run.exit_code != 0
    outcomes = [step["outcome"] for step in _report(tmp_path)["steps"] if step["node"] == "a"]
    assert outcomes == ["not tried", "failed", *["not tried"] * 7]
    assert "The guest did not stop within 120 s" in " ".join(run.text.split())
    assert site.cluster.runs_on("VM1") == ["a"]


def test_nothing_is_killed_without_the_sites_name(fleet: Fleet, tmp_path: Path) -> None:
    site = fleet.add_site("lyon")
    install_by_hand(site)
    run = fleet.play(PLAYBOOK, extra=_asked(tmp_path, twinhull_confirm="yes"))
    assert run.exit_code != 0
    assert "confirm with -e twinhull_confirm=lyon" in " ".join(run.text.split())
    assert site.cluster.stops == 0
