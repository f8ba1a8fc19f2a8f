"""Chapter 4: hosts are rebooted and agents upgraded while the applications write."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import bundles
from .host import Host
from .test_3_protect import assert_nothing_lost
from .town import PROGRAM, SITES, Town, protected

WAIT_S = 120
LIVING = ("--limit", "site_lyon,site_basel")
TASKS = """\
---
- name: Bring the host up to date
  ansible.builtin.copy:
    dest: /etc/maintained
    content: "by us\\n"
    mode: "0644"

- name: Reboot the host
  ansible.builtin.reboot:
    reboot_timeout: 120
"""


def current_version(host: Host) -> str:
    """The version that the installation's link names, read from the disk."""
    return host.run(["readlink", "/opt/twinhull/current"]).stdout.strip().rpartition("/")[2]


def test_maintenance_reboots_every_host_and_is_run_again_where_the_power_was_lost(
    town: Town, tmp_path: Path
) -> None:
    protected(town)
    tasks = tmp_path / "updates.yml"
    tasks.write_text(TASKS, encoding="utf-8")
    boot_ids = {host.name: host.boot_id() for host in town.fleet.living}
    lines = {site: town.applications[site].lines for site in SITES}
    arguments = ("-e", f"twinhull_tasks={tasks}", "-e", f"twinhull_wait_s={WAIT_S}")

    def rebooting(text: str) -> bool:
        return "TASK [Reboot the host]" in text

    def lose_power_for_a_moment() -> None:
        town["basel-b"].power_loss()
        town["basel-b"].boot()

    first = town.stage.play_and("maintenance", *arguments, when=rebooting, do=lose_power_for_a_moment)
    assert first.outcome("lyon") == "done", first.tail
    assert first.outcome("oslo") == "left out", first.tail
    town.wait_green("lyon")
    assert town.primary("lyon").node == "a"
    assert town.applications["lyon"].told(lines["lyon"]).boots == 2, "away from a, and home from b"
    for host in town.fleet.hosts_of("basel"):
        host.wait_booted()
    town.wait_green("basel")
    again = town.stage.play("maintenance", "--limit", "site_basel", *arguments)
    assert again.outcome("basel") == "done", again.tail
    town.wait_green("basel")
    for host in town.fleet.living:
        assert host.boot_id() != boot_ids[host.name], host.name
        assert host.path("/etc/maintained").exists()
    assert_nothing_lost(town)


@pytest.fixture(scope="module")
def newer() -> Path:
    """A bundle of the same source under the next number."""
    return bundles.make(bundles.later(bundles.own_version(), 1))


@pytest.fixture(scope="module")
def broken() -> Path:
    """A bundle of a version whose agent does not start."""
    return bundles.make_broken(bundles.later(bundles.own_version(), 2))


def upgraded(town: Town, newer: Path) -> None:
    """The first run: lyon is upgraded, and the first node of basel loses its power once it has the new version."""
    protected(town)
    version = bundles.later(bundles.own_version(), 1)

    def switched(_: str) -> bool:
        links = [host.directory / "upper/opt/twinhull/current" for host in town.fleet.hosts_of("basel")]
        return any(link.is_symlink() and link.readlink().name == version for link in links)

    def lose_power_for_a_moment() -> None:
        link = town["basel-a"].directory / "upper/opt/twinhull/current"
        host = town["basel-a" if link.readlink().name == version else "basel-b"]
        host.power_loss()
        host.boot()

    def play() -> object:
        lines = {site: town.applications[site].lines for site in SITES}
        arguments = ("-e", f"twinhull_bundle={newer}", "-e", f"twinhull_wait_s={WAIT_S}")
        first = town.stage.play_and("upgrade", *arguments, when=switched, do=lose_power_for_a_moment)
        assert first.outcome("lyon") == "done", first.tail
        assert first.outcome("oslo") == "left out", first.tail
        assert town.applications["lyon"].told(lines["lyon"]).boots == 1, "no stop but the swap"
        for host in town.fleet.hosts_of("basel"):
            host.wait_booted()
        town.wait_green("basel")
        again = town.stage.play("upgrade", *arguments)
        assert again.outcome("lyon") == "unchanged", again.tail
        assert again.outcome("basel") in {"done", "unchanged"}, again.tail
        return again

    town.reached("upgraded", play)  # type: ignore[arg-type]


def test_an_upgrade_stops_an_application_for_its_swap_alone_and_survives_a_power_loss(
    town: Town, newer: Path
) -> None:
    upgraded(town, newer)
    version = bundles.later(bundles.own_version(), 1)
    for site in SITES:
        town.wait_green(site)
        for host in town.fleet.hosts_of(site):
            assert current_version(host) == version
            for words in host.status()["nodes"].values():
                assert words["version"] == version
                assert {module["worker_version"] for module in words["modules"].values()} == {version}
    assert_nothing_lost(town)


def test_a_version_that_does_not_start_is_taken_back_and_stops_the_later_rings(
    town: Town, newer: Path, broken: Path
) -> None:
    upgraded(town, newer)
    version = bundles.later(bundles.own_version(), 1)
    lines = {site: town.applications[site].lines for site in SITES}
    outcome = town.stage.play(
        "upgrade", *LIVING, "-e", f"twinhull_bundle={broken}", "-e", "agent_start_timeout_s=15",
        "-e", f"twinhull_wait_s={WAIT_S}",
    )  # fmt: skip
    assert outcome.status != 0
    assert outcome.outcome("lyon") == "left out", outcome.tail
    assert version in outcome.sentences("lyon"), outcome.sentences("lyon")
    assert outcome.outcome("basel") == "left out", outcome.tail
    assert "lyon" in outcome.sentences("basel"), outcome.sentences("basel")
    for site in SITES:
        town.wait_green(site)
        for host in town.fleet.hosts_of(site):
            assert current_version(host) == version
            assert all(words["version"] == version for words in host.status()["nodes"].values())
    assert town.applications["lyon"].told(lines["lyon"]).boots <= 1
    assert town.applications["basel"].told(lines["basel"]).boots == 0
    assert_nothing_lost(town)


def test_an_upgrade_is_refused_while_a_module_is_not_green(town: Town, newer: Path, broken: Path) -> None:
    upgraded(town, newer)
    mirror = town.other(town.primary("basel"))
    mirror.twinhull("stop", PROGRAM)
    try:
        outcome = town.stage.play("upgrade", "--limit", "site_basel", "-e", f"twinhull_bundle={broken}")
        assert outcome.status != 0
        assert PROGRAM in outcome.sentences("basel"), outcome.sentences("basel")
        assert outcome.changes("basel") == []
    finally:
        mirror.twinhull("start", PROGRAM)
    town.wait_green("basel")
