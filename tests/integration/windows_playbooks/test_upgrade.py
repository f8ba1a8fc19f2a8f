"""upgrade.yml and uninstall.yml on stand-in Windows hosts: one swap, refused when not green, rolled back, removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.standin import bundle
from tests.standin.cluster import Replica
from tests.standin.fleet import INSTALLATION, Fleet, Run, install_by_hand
from tests.standin.model import ADAPTERS
from tests.standin.twinhull_cli import ETC

UPGRADE, UNINSTALL = "playbooks/upgrade.yml", "playbooks/uninstall.yml"


@dataclass(frozen=True)
class Seen:
    """The VM's site after one play: where it runs, how often it stopped, versions of agents and workers."""

    runs_on: list[str]
    stops: int
    agents: list[str | None]
    workers: list[str]


@dataclass(frozen=True)
class Story:
    """What the plays left behind."""

    fleet: Fleet
    good: Run
    after_good: Seen
    orange_before: dict[str, Any]
    orange_after: dict[str, Any]
    again: Run
    bad: Run
    after_bad: Seen
    refused: Run
    after_refused: Seen
    removed: Run
    before_removal: dict[str, str]
    raised: list[tuple[int | None, int]]


def _time_outs(fleet: Fleet) -> list[tuple[int | None, int]]:
    """Of disks and of the initiator, on each host of lyon."""
    disk = r"HKLM:\SYSTEM\CurrentControlSet\Services\Disk"
    return [
        (
            host.state.registry_get(disk, "TimeOutValue"),
            host.state.registry_get(rf"{ADAPTERS}\0004\Parameters", "MaxRequestHoldTime"),
        )
        for host in fleet.sites["lyon"].hosts.values()
    ]


def _seen(fleet: Fleet) -> Seen:
    cluster = fleet.sites["lyon"].cluster
    nodes = list(cluster.nodes.values())
    return Seen(
        cluster.runs_on("VM1"),
        cluster.stops,
        [node.version for node in nodes],
        [node.replicas["VM1"].version for node in nodes],
    )


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A good upgrade, again, one to a version that does not start, a refused and a confirmed removal."""
    directory = tmp_path_factory.mktemp("upgrade")
    with Fleet(directory / "fleet", tls=False) as fleet:
        for name in ("lyon", "orange"):
            install_by_hand(fleet.add_site(name))
        mirror: Replica = fleet.sites["orange"].cluster.nodes["b"].replicas["VM1"]
        mirror.uptodate, mirror.stuck = False, True
        extra: dict[str, Any] = {"agent_part_dir": str(directory / "parts"), "agent_start_timeout_s": 4}
        new = {**extra, "twinhull_bundle": str(bundle.make(directory, "0.2.0"))}
        broken = {**extra, "twinhull_bundle": str(bundle.make(directory, "0.3.0", broken=True))}
        orange = fleet.sites["orange"].a.state
        orange_before = orange.observable()
        good = fleet.play(UPGRADE, extra=new)
        after_good, orange_after = _seen(fleet), orange.observable()
        again = fleet.play(UPGRADE, "--limit", "site_lyon", extra=new)
        bad = fleet.play(UPGRADE, "--limit", "site_lyon", extra=broken)
        after_bad = _seen(fleet)
        confirmed = {"twinhull_confirm": "lyon"}
        refused = fleet.play(UNINSTALL, "--limit", "site_lyon", extra=confirmed)
        after_refused = _seen(fleet)
        for node in fleet.sites["lyon"].cluster.nodes.values():
            node.replicas["VM1"].state = "STOP"
        kept = dict(fleet.sites["lyon"].a.state.files.tree())
        raised = _time_outs(fleet)
        removed = fleet.play(UNINSTALL, "--limit", "site_lyon", extra=confirmed)
        yield Story(
            fleet,
            good,
            after_good,
            orange_before,
            orange_after,
            again,
            bad,
            after_bad,
            refused,
            after_refused,
            removed,
            kept,
            raised,
        )


def test_an_upgrade_interrupts_the_vm_by_one_swap_alone(story: Story) -> None:
    assert story.good.recap("lyon-a")["failed"] == 0, story.good.text
    assert story.after_good == Seen(["b"], 1, ["0.2.0", "0.2.0"], ["0.2.0", "0.2.0"])


def test_a_site_that_is_not_green_is_left_as_it_is(story: Story) -> None:
    assert story.orange_after == story.orange_before
    assert any(line.startswith("left out") and "orange" in line for line in story.good.text.splitlines())
    assert story.good.exit_code != 0


def test_the_same_version_again_changes_nothing(story: Story) -> None:
    assert story.again.exit_code == 0, story.again.text
    assert [story.again.recap(f"lyon-{node}")["changed"] for node in ("a", "b")] == [0, 0]


def test_a_version_that_does_not_start_is_rolled_back_and_the_other_node_not_touched(story: Story) -> None:
    assert story.bad.exit_code != 0
    assert "runs again on this node" in " ".join(story.bad.text.split())
    assert story.after_bad.agents == ["0.2.0", "0.2.0"]
    assert story.after_bad.workers == ["0.2.0", "0.2.0"]
    assert len(story.after_bad.runs_on) == 1


def test_nothing_is_removed_while_a_module_is_active(story: Story) -> None:
    assert story.refused.exit_code != 0
    assert "VM1 is active on this node" in " ".join(story.refused.text.split())
    assert story.after_refused == story.after_bad


def test_removal_leaves_volumes_configuration_and_certificates(story: Story) -> None:
    assert story.removed.exit_code == 0, story.removed.text
    for host in story.fleet.sites["lyon"].hosts.values():
        state = host.state
        assert "twinhull-agent" not in state.services
        assert state.files.find(rf"{INSTALLATION}\current") is None
        assert state.files.find(rf"{INSTALLATION}\versions") is None
        assert not [rule for rule in state.firewall_rules.values() if rule.group == "Twinhull"]
    now = story.fleet.sites["lyon"].a.state.files.tree()
    kept = {path for path in story.before_removal if path.startswith((rf"{ETC}\data", rf"{ETC}\pki"))}
    assert kept <= set(now)


def test_time_outs_are_raised_by_the_upgrade_and_put_back_by_the_removal(story: Story) -> None:
    assert story.raised == [(90, 90), (90, 90)]
    assert _time_outs(story.fleet) == [(None, 60), (None, 60)]
    for host in story.fleet.sites["lyon"].hosts.values():
        assert not [key for key in host.state.registry if key.startswith(r"hklm:\software\twinhull")]


def test_every_module_got_arguments_that_its_documentation_knows(story: Story) -> None:
    assert story.fleet.problems() == []
