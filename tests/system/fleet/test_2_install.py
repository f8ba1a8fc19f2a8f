"""Chapter 2: from hosts as they are delivered to running clusters, without internet, through a power loss."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import yaml
from tests.lab.commands import run

from . import bundles
from .host import Host
from .inventory import CONSOLE_PASSWORD
from .story import Outcome, differences, fingerprint
from .town import GUEST, PROGRAM, SITES, Town, installed, installed_again

NEW_TIMEOUT_S = 13
CONTROL_PORT = 7410
LOW_MODES = re.compile(r"-rw-------")


def words_of(host: Host, path: str) -> str:
    """A text file of a host."""
    return host.path(path).read_text(encoding="utf-8", errors="replace")


def reaches(town: Town, source: str, address: str, port: int) -> bool:
    """Whether a TCP connection can be made from an address of the control node's namespace."""
    script = f"import socket; socket.create_connection(('{address}', {port}), 2, ('{source}', 0))"
    told = run(town.fleet.control_command(["python3", "-c", script]), check=False)
    return told.returncode == 0


def test_a_bundle_with_a_wrong_checksum_is_refused_before_the_first_change(
    town: Town, tmp_path: Path
) -> None:
    before = {host.name: fingerprint(host) for host in town.fleet.living}
    good = town.fleet.root / "bundle/twinhull-bundle.tar.gz"
    shutil.unpack_archive(good, tmp_path)
    [top] = tmp_path.glob("twinhull-bundle-*")
    wheel = next((top / "wheels/linux").glob("rpyc-*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    bad = tmp_path / f"{top.name}.tar.gz"
    with tarfile.open(bad, "w:gz") as archive:
        archive.add(top, top.name)
    outcome = town.stage.play("install", "--limit", "site_basel", "-e", f"twinhull_bundle={bad}")
    assert outcome.status != 0
    assert f"{bad}: wheels/linux/{wheel.name} has a wrong checksum" in " ".join(outcome.text.split()), (
        outcome.tail
    )
    assert outcome.changes("basel") == []
    for host in town.fleet.living:
        assert differences(before[host.name], fingerprint(host)) == [], host.name


def test_power_lost_while_installing_leaves_out_that_site_alone(town: Town) -> None:
    outcome = installed(town)
    assert outcome.status != 0
    assert outcome.outcome("lyon") == "done", outcome.tail
    assert outcome.outcome("basel") == "left out", outcome.tail
    assert outcome.outcome("oslo") == "left out", outcome.tail
    assert "basel-b" in {trouble["host"] for trouble in outcome.sites["basel"]["troubles"]}, outcome.tail
    for host in town.fleet.hosts_of("lyon"):
        assert host.run(["systemctl", "is-active", "twinhull-agent"]).stdout.strip() == "active"


def test_installing_again_finishes_that_site_and_changes_nothing_at_the_other(town: Town) -> None:
    outcome = installed_again(town)
    assert outcome.outcome("basel") == "done", outcome.tail
    assert outcome.outcome("lyon") == "unchanged", outcome.tail
    assert outcome.changes("lyon") == []
    assert town.unchanged_by_second_install == {"lyon-a": [], "lyon-b": []}
    for site in SITES:
        for host in town.fleet.hosts_of(site):
            nodes = host.status()["nodes"]
            assert sorted(nodes) == ["a", "b"]
            assert all(words.get("version") == bundles.own_version() for words in nodes.values()), nodes


def test_what_is_installed_starts_at_boot_and_keeps_its_keys_to_itself(town: Town) -> None:
    installed_again(town)
    for host in town.fleet.living:
        assert host.run(["systemctl", "is-enabled", "twinhull-agent"]).stdout.strip() == "enabled"
        keys = host.run(["find", "/etc/twinhull", "-name", "*.key", "-printf", "%M %u %p\n"]).stdout
        assert keys.strip(), host.name
        assert all(line.startswith("-rw------- root ") for line in keys.splitlines()), keys
        authority_keys = host.run(["find", "/etc/twinhull", "/root", "/tmp", "-name", "ca*.key"]).stdout
        assert authority_keys == "", "the authority's key stays on the control node"
        target = host.run(["readlink", "-f", "/opt/twinhull/current"]).stdout.strip()
        assert target == f"/opt/twinhull/versions/{bundles.own_version()}"


def test_the_console_password_works_on_both_nodes_and_stands_nowhere(town: Town) -> None:
    outcome = installed_again(town)
    for host in town.fleet.living:
        for candidate, status in ((CONSOLE_PASSWORD, 0), (CONSOLE_PASSWORD + "x", 1)):
            told = host.run(
                ["/usr/local/bin/twinhull", "console", "password", "--check"],
                check=False,
                input_text=candidate + "\n",
            )
            assert (told.returncode != 0) == (status != 0), told.stdout + told.stderr
        fragment = "horse \"staple'"
        found = host.run(
            ["grep", "-rlaF", "--", fragment, "/etc", "/var/log", "/root", "/opt/twinhull"], check=False
        ).stdout
        assert found == "", f"{host.name}: {found}"
        journal = host.run(["journalctl", "--no-pager", "-q"]).stdout
        assert fragment not in journal
    assert fragment not in outcome.text
    assert fragment not in installed(town).text


def test_an_active_firewall_lets_in_the_peer_and_the_control_node_and_nobody_else(town: Town) -> None:
    installed_again(town)
    for host in town.fleet.hosts_of("lyon"):
        states = host.status()["nodes"]
        assert all("version" in words for words in states.values()), "the nodes talk through the firewall"
        assert not reaches(town, "10.77.1.254", host.place.address("lan"), CONTROL_PORT)
        peer = town.other(host)
        script = (
            f"import socket; socket.create_connection(('{peer.place.address('lan')}', {CONTROL_PORT}), 2)"
        )
        host.run(["python3", "-c", script])


def changed_inventory(town: Town) -> Path:
    """The fleet's inventory with another time-out for one module of each site."""
    words = yaml.safe_load(town.fleet.inventory.read_text(encoding="utf-8"))
    for site, module in (("lyon", GUEST), ("basel", PROGRAM)):
        words["sites"][site]["modules"][module]["timings"] = {
            "timeout": NEW_TIMEOUT_S,
            "write_timeout": NEW_TIMEOUT_S,
        }
    changed = town.fleet.inventory.with_name("changed-sites.yml")
    changed.write_text(yaml.safe_dump(words, sort_keys=False), encoding="utf-8")
    return changed


def test_check_and_diff_tell_what_a_change_would_do_and_do_nothing(town: Town) -> None:
    installed_again(town)
    inventory = changed_inventory(town)
    before = {host.name: fingerprint(host) for host in town.fleet.living}
    told = town.stage.play("install", "--check", "--diff", inventory=inventory)
    for host in town.fleet.living:
        assert differences(before[host.name], fingerprint(host)) == [], host.name
    assert re.search(rf"^\s*\+.*timeout: {NEW_TIMEOUT_S}\b", told.text, re.MULTILINE), told.tail
    done = town.stage.play(
        "install", "--tags", "cluster", "--limit", "site_lyon,site_basel", inventory=inventory
    )
    assert done.status == 0, done.tail
    assert changes_by_site(done) == changes_by_site(told)
    for site in SITES:
        assert told.changes(site), "check mode says that something would change"
        for host in town.fleet.hosts_of(site):
            shown = yaml.safe_load(host.twinhull("config", "show").stdout)
            assert shown["modules"][town.module_of(site)]["timings"]["timeout"] == NEW_TIMEOUT_S


def changes_by_site(outcome: Outcome) -> set[tuple[str, str]]:
    """(task, site) of what changed: which of the two nodes carries a change to both is decided by the run."""
    return {(task, host.rpartition("-")[0]) for task, host in outcome.changes(*SITES)}
