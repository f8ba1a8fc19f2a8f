"""Chapter 3: an existing VM becomes protected, is looked at, moved and brought home, through power losses."""

from __future__ import annotations

import json
import re

from .story import Outcome
from .town import GUEST, SITES, Town, protected


def assert_nothing_lost(town: Town) -> None:
    """Each start of each application found all that was acknowledged before."""
    for site in SITES:
        assert town.applications[site].told().lost_at_a_boot == (), site


def swap(town: Town, *arguments: str) -> Outcome:
    """Move modules at the living sites."""
    return town.stage.play("swap", "-e", "twinhull_wait_s=120", *arguments)


def test_a_vm_is_protected_although_the_power_was_lost_during_its_move(town: Town) -> None:
    outcome = protected(town)
    assert outcome.status == 0, outcome.tail
    assert outcome.outcome("lyon") == "done", outcome.tail
    assert town.primary("lyon").name == "lyon-a"
    xml = town["lyon-a"].run(["virsh", "dumpxml", GUEST]).stdout
    assert f"/srv/twinhull/{GUEST}/" in xml
    assert "/var/lib/libvirt/images" not in xml
    mounts = town["lyon-a"].run(["findmnt", "-n", "-o", "FSTYPE", f"/srv/twinhull/{GUEST}"]).stdout
    assert mounts.strip() == "ext4"
    assert_nothing_lost(town)


def test_protecting_again_changes_nothing(town: Town) -> None:
    protected(town)
    boots = town.applications["lyon"].told().boots
    outcome = town.stage.play("protect_vm", "--limit", "site_lyon", "-e", f"twinhull_module={GUEST}")
    assert outcome.status == 0, outcome.tail
    assert outcome.changes("lyon") == []
    assert town.applications["lyon"].told().boots == boots


def test_what_the_move_left_behind_goes_when_a_person_says_so(town: Town) -> None:
    protected(town)
    host = town["lyon-a"]
    told = json.loads(host.twinhull("originals", GUEST, "--json").stdout)
    assert told["files"] and told["keeps"] == "", told
    assert all(file.startswith("/var/lib/libvirt/images/") for file in told["files"])
    host.twinhull("originals", GUEST, "--remove", "--yes", GUEST)
    assert host.run(["test", "-e", told["files"][0]], check=False).returncode == 1
    assert json.loads(host.twinhull("originals", GUEST, "--json").stdout)["files"] == []
    other = json.loads(town["lyon-b"].twinhull("originals", GUEST, "--json").stdout)
    assert other["files"] == []
    assert_nothing_lost(town)


def test_the_status_tells_each_module_and_the_dead_site_and_its_exit_status_is_for_monitoring(
    town: Town,
) -> None:
    protected(town)
    all_sites = town.stage.play("status")
    assert all_sites.status == 2, all_sites.tail
    report = json.loads((town.fleet.root / "reports/fleet-status.json").read_text(encoding="utf-8"))
    assert report["worst"] == "red"
    text = all_sites.text
    for row in (
        r"lyon +pilot +lyon-vm +a +b +green",
        r"basel +broad +basel-data +a +b +green",
        r"oslo +broad +- +- +- +red +oslo-a gives no answer: ssh: connect to host",
    ):
        assert re.search(row, text), all_sites.tail
    living = town.stage.play("status", "--limit", "site_lyon,site_basel")
    assert living.status == 0, living.tail
    assert living.outcome("lyon") == living.outcome("basel") == "unchanged", living.tail


def test_a_checked_swap_moves_nothing(town: Town) -> None:
    protected(town)
    boots = {site: town.applications[site].told().boots for site in SITES}
    outcome = swap(town, "-e", "twinhull_empty=a", "--check", "--limit", "site_lyon,site_basel")
    assert outcome.status == 0, outcome.tail
    assert outcome.changes("lyon")
    assert outcome.changes("basel")
    for site in SITES:
        assert town.primary(site).node == "a"
        assert town.applications[site].told().boots == boots[site]


def test_a_swap_in_which_the_power_is_lost_is_run_again_to_its_end(town: Town) -> None:
    protected(town)
    taker = town["basel-b"]

    def swapping(text: str) -> bool:
        return "TASK [Swap to the other node]" in text

    first = town.stage.play_and(
        "swap", "-e", "twinhull_wait_s=60", "-e", "twinhull_empty=a", when=swapping, do=taker.power_loss
    )
    assert first.status != 0
    assert first.outcome("lyon") == "done", first.tail
    assert first.outcome("basel") == "left out", first.tail
    assert town.primary("lyon").name == "lyon-b"
    town.power_back(taker)
    town.wait_green("basel")
    again = swap(town, "-e", "twinhull_empty=a")
    assert again.outcome("lyon") == "unchanged", again.tail
    assert again.outcome("basel") in {"done", "unchanged"}, again.tail
    for site in SITES:
        town.wait_green(site)
        assert town.primary(site).node == "b"
    assert_nothing_lost(town)


def test_the_modules_are_brought_home_with_one_start_each(town: Town) -> None:
    protected(town)
    lines = {site: town.applications[site].lines for site in SITES}
    away = {site: town.primary(site).node == "b" for site in SITES}
    outcome = swap(town, "-e", "twinhull_restore=true", "--limit", "site_lyon,site_basel")
    assert outcome.status == 0, outcome.tail
    for site in SITES:
        town.wait_green(site)
        assert town.primary(site).node == "a"
        assert town.applications[site].told(lines[site]).boots == int(away[site])
    assert_nothing_lost(town)


def test_a_module_is_stopped_only_when_confirmed_and_starts_again(town: Town) -> None:
    protected(town)
    refused = town.stage.play("stop", "--limit", "site_basel")
    assert refused.status != 0
    assert "twinhull_confirm=basel" in refused.sentences("basel")
    assert town.is_green("basel")
    stopped = town.stage.play("stop", "--limit", "site_basel", "-e", "twinhull_confirm=basel")
    assert stopped.status == 0, stopped.tail
    assert {words["state"] for words in town.states("basel").values()} == {"STOP"}
    started = town.stage.play("start", "--limit", "site_basel")
    assert started.status == 0, started.tail
    town.wait_green("basel")
    assert_nothing_lost(town)


def test_both_copies_are_verified_beside_the_running_applications(town: Town) -> None:
    protected(town)
    boots = {site: town.applications[site].told().boots for site in SITES}
    outcome = town.stage.play("verify", "--limit", "site_lyon,site_basel")
    assert outcome.status == 0, outcome.tail
    assert outcome.changes(*SITES) == []
    assert {site: town.applications[site].told().boots for site in SITES} == boots
