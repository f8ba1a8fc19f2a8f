"""The unmodified install.yml on stand-in Windows hosts: bare, again, in check mode, and after each kind of break.

The plays run once for the whole module, over several sites at a time, each with its own trouble; the tests look at what
was kept of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from tests.standin import bundle
from tests.standin.fleet import INSTALLATION, Fleet, Run, Site, default_module
from tests.standin.model import ADAPTERS, BOOTS, Fault, HostState, PlannedFault
from tests.standin.twinhull_cli import ETC

INSTALL = "playbooks/install.yml"
PASSWORD = """pass "word" $x 'y' äß"""
BROKEN = {
    "wire": PlannedFault("win_copy", Fault.CONNECTION_DIES, call=5),
    "full": PlannedFault("win_unzip", Fault.DISK_FULL, call=2),
    "power": PlannedFault("win_acl", Fault.POWER_LOST),
}
"""Site and what breaks on its second node in the first run."""
WHOLE = ("lyon", "basel")
REFUSED = "home"


@dataclass(frozen=True)
class Story:
    """What the plays left behind."""

    fleet: Fleet
    bare: dict[str, dict[str, Any]]
    after_check: dict[str, dict[str, Any]]
    check: Run
    first: Run
    after_first: dict[str, HostState]
    second: Run
    after_second: dict[str, dict[str, Any]]
    changed_check: Run
    after_changed_check: dict[str, dict[str, Any]]


def _observed(fleet: Fleet) -> dict[str, dict[str, Any]]:
    return {
        f"{name}-{node}": host.state.observable()
        for name, site in fleet.sites.items()
        for node, host in site.hosts.items()
    }


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Check mode on bare hosts, install with breaks, install again, check mode with another configuration."""
    directory = tmp_path_factory.mktemp("install")
    with Fleet(directory / "fleet", tls=False) as fleet:
        for name in (*WHOLE, REFUSED, *BROKEN):
            fleet.add_site(name, edition={"basel": "11", REFUSED: "11-home"}.get(name, "2022"))
        extra = {
            "twinhull_bundle": str(bundle.make(directory, "0.1.0")),
            "agent_part_dir": str(directory / "parts"),
            "twinhull_console_password": PASSWORD,
            "twinhull_output_dir": str(directory / "reports"),
            "twinhull_ca_dir": str(directory / "pki") + "/{{ twinhull_site }}",
            "hypervisor_reboot": True,
        }
        bare = _observed(fleet)
        check = fleet.play(
            INSTALL, "--check", "--diff", "--limit", f"site_lyon,site_basel,site_{REFUSED}", extra=extra
        )
        after_check = _observed(fleet)
        for name, fault in BROKEN.items():
            fault.seen = 0
            fleet.sites[name].b.faults.append(fault)
        first = fleet.play(INSTALL, extra=extra)
        after_first = {
            f"{name}-{node}": host.state.copy()
            for name, site in fleet.sites.items()
            for node, host in site.hosts.items()
        }
        fleet.sites["power"].b.power_on()
        second = fleet.play(INSTALL, "--limit", f"!site_{REFUSED}", extra=extra)
        after_second = _observed(fleet)
        fleet.sites["lyon"].modules = {
            "VM1": default_module(),
            "VM2": default_module("VM2", 2, "b"),
        }
        changed_check = fleet.play(
            INSTALL,
            "--check",
            "--diff",
            "--limit",
            "site_lyon,site_basel",
            "--tags",
            "cluster,firewall,service",
            extra=extra,
        )
        yield Story(
            fleet,
            bare,
            after_check,
            check,
            first,
            after_first,
            second,
            after_second,
            changed_check,
            _observed(fleet),
        )


def _site(story: Story, name: str) -> Site:
    return story.fleet.sites[name]


def test_check_mode_on_bare_hosts_says_what_would_come_and_changes_nothing(story: Story) -> None:
    assert story.after_check == story.bare
    for name in WHOLE:
        recap = story.check.recap(f"{name}-a")
        assert (recap["failed"], recap["unreachable"]) == (0, 0), story.check.text
        assert recap["changed"] > 0


@pytest.mark.parametrize("name", WHOLE)
def test_two_bare_hosts_become_a_running_cluster(story: Story, name: str) -> None:
    site = _site(story, name)
    assert story.first.recap(f"{name}-a")["failed"] == 0, story.first.text
    for node, host in site.hosts.items():
        state = host.state
        assert state.services["twinhull-agent"].state == "started"
        assert state.services["twinhull-agent"].start_mode == "auto"
        assert state.services["twinhull-agent"].dependencies == ("MSiSCSI",)
        assert yaml.safe_load(state.files.text(rf"{ETC}\node.yml"))["node"] == node
        assert site.cluster.nodes[node].version == "0.1.0"
        link = state.files.find(rf"{INSTALLATION}\current")
        assert link is not None and link.target == rf"{INSTALLATION}\versions\0.1.0"
        assert state.files.find(rf"{INSTALLATION}\incoming") is None
    texts = {host.state.files.text(rf"{ETC}\cluster.yml") for host in site.hosts.values()}
    assert len(texts) == 1


def test_a_server_gets_the_feature_and_a_client_edition_the_optional_feature(story: Story) -> None:
    lyon, basel = _site(story, "lyon").a.state, _site(story, "basel").a.state
    assert lyon.features["Hyper-V"] and not lyon.features_pending
    assert basel.optional_features["Microsoft-Hyper-V-All"]
    assert (lyon.boot.number, basel.boot.number) == (3, 3)  # for Hyper-V, and for the time-outs


def test_disks_and_the_initiator_wait_long_enough_and_were_booted_with_that(story: Story) -> None:
    for name in WHOLE:
        state = _site(story, name).a.state
        disk = r"HKLM:\SYSTEM\CurrentControlSet\Services\Disk"
        assert state.registry_get(disk, "TimeOutValue") == 90
        assert state.registry_get(rf"{ADAPTERS}\0004\Parameters", "MaxRequestHoldTime") == 90
        seen = state.registry_get(r"HKLM:\SOFTWARE\Twinhull\InitiatorTimeouts", "SeenAtBoot")
        assert seen < state.registry_get(BOOTS, "BootId")


def test_a_client_edition_is_kept_awake_and_the_old_values_are_kept(story: Story) -> None:
    state = _site(story, "basel").a.state
    assert (state.power.standby_ac_min, state.power.hibernate_ac_min, state.power.hibernation) == (
        0,
        0,
        False,
    )
    kept = yaml.safe_load(state.files.text(rf"{ETC}\before-install.json"))["power"]
    assert (int(kept["standby_ac_min"]), int(kept["hibernate_ac_min"]), kept["hibernation"]) == (
        30,
        180,
        True,
    )


def test_only_the_peer_the_console_and_the_control_node_are_let_in(story: Story) -> None:
    site = _site(story, "lyon")
    rules = [rule for rule in site.a.state.firewall_rules.values() if rule.group == "Twinhull"]
    assert rules
    assert all(rule.direction == "in" and rule.protocol == "tcp" and rule.remoteip != "any" for rule in rules)
    data = next(rule for rule in rules if "7421" in rule.localport)
    peer = {item.address for item in site.b.state.interfaces}
    assert {part.split("/")[0] for part in data.remoteip.split(",")} <= peer


def test_the_key_is_readable_by_the_system_and_administrators_alone(story: Story) -> None:
    entry = _site(story, "lyon").a.state.files.find(rf"{ETC}\pki")
    assert entry is not None and not entry.inherits
    assert {rule[0] for rule in entry.rules} == {"s-1-5-18", "s-1-5-32-544"}


def test_the_password_is_on_no_command_line_and_in_no_output(story: Story) -> None:
    for site in story.fleet.sites.values():
        for host in site.hosts.values():
            assert not any(PASSWORD in " ".join(argv) for argv in host.records.commands)
    for run in (story.check, story.first, story.second, story.changed_check):
        assert PASSWORD not in run.text
    assert _site(story, "lyon").a.state.files.find(rf"{ETC}\console.yml") is not None


def test_defender_leaves_our_files_alone(story: Story) -> None:
    defender = _site(story, "lyon").a.state.defender
    assert any("Program Files\\Twinhull" in path for path in defender.exclusion_path)
    assert default_module()["folder"] in defender.exclusion_path
    assert rf"{ETC}\data" in defender.exclusion_path


def test_an_edition_without_hyper_v_is_refused_before_anything_is_changed(story: Story) -> None:
    assert story.first.recap(f"{REFUSED}-a")["failed"] == 1
    for node in ("a", "b"):
        host = f"{REFUSED}-{node}"
        assert story.after_second[host] == story.bare[host]


@pytest.mark.parametrize("name", BROKEN)
def test_a_site_that_breaks_is_left_out_by_name_and_the_others_go_on(story: Story, name: str) -> None:
    recaps = [story.first.recap(f"{name}-{node}") for node in ("a", "b")]
    assert any(recap["failed"] + recap["unreachable"] for recap in recaps)
    left_out = [line for line in story.first.text.splitlines() if line.startswith("left out")]
    assert any(name in line for line in left_out), story.first.text
    assert all(story.first.recap(f"{other}-a")["failed"] == 0 for other in WHOLE)
    assert story.first.exit_code != 0


@pytest.mark.parametrize("name", BROKEN)
def test_run_again_a_broken_site_reaches_the_good_end(story: Story, name: str) -> None:
    for node, host in _site(story, name).hosts.items():
        recap = story.second.recap(f"{name}-{node}")
        assert (recap["failed"], recap["unreachable"]) == (0, 0), story.second.text
        assert host.state.services["twinhull-agent"].state == "started"


@pytest.mark.parametrize("name", WHOLE)
def test_run_again_nothing_changes(story: Story, name: str) -> None:
    for node in ("a", "b"):
        assert story.second.recap(f"{name}-{node}")["changed"] == 0, story.second.text
        before = story.after_first[f"{name}-{node}"].observable()
        assert story.after_second[f"{name}-{node}"] == before


def test_check_mode_with_another_configuration_tells_the_truth_and_changes_nothing(story: Story) -> None:
    assert story.after_changed_check == story.after_second
    lyon, basel = story.changed_check.recap("lyon-a"), story.changed_check.recap("basel-a")
    assert (lyon["failed"], basel["failed"]) == (0, 0), story.changed_check.text
    assert lyon["changed"] + story.changed_check.recap("lyon-b")["changed"] > 0
    assert basel["changed"] == 0
    assert "VM2" in story.changed_check.text


def test_every_module_got_arguments_that_its_documentation_knows(story: Story) -> None:
    assert story.fleet.problems() == []
