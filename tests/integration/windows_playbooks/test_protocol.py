"""The endpoint against Ansible's own WinRM connection: who is let in, what is refused, what breaks."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.standin.fleet import Fleet, Site
from tests.standin.model import Fault, PlannedFault

PING = "ansible.windows.win_ping:"


def _play(directory: Path, *tasks: str) -> Path:
    """A play over all hosts with these tasks."""
    lines = "".join(f"    - {task}\n" for task in tasks)
    path = directory / "play.yml"
    path.write_text(f"- hosts: all\n  gather_facts: false\n  tasks:\n{lines}")
    return path


def _changed(inventory: Path, **variables: object) -> Path:
    """The same inventory with other variables of the connection."""
    plain = yaml.safe_load(inventory.read_text())
    plain["all"]["vars"] |= variables
    other = inventory.with_name("other.yml")
    other.write_text(yaml.safe_dump(plain))
    return other


def test_a_wrong_password_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    fleet.add_site("lyon")
    inventory = _changed(fleet.plain_inventory(), ansible_password="wrong")
    run = fleet.play(_play(tmp_path, PING), inventory=inventory)
    assert run.recap("lyon-a")["unreachable"] == 1
    assert "credentials were rejected" in run.text


def test_a_certificate_of_another_authority_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    fleet.add_site("lyon")
    with Fleet(tmp_path / "other") as other:
        inventory = _changed(fleet.plain_inventory(), ansible_winrm_ca_trust_path=str(other.ca))
        run = fleet.play(_play(tmp_path, PING), inventory=inventory)
    assert run.recap("lyon-a")["unreachable"] == 1
    assert "CERTIFICATE_VERIFY_FAILED" in run.text.replace("\n", "").replace(" ", "")


def test_a_module_without_a_handler_fails_loudly(fleet: Fleet, tmp_path: Path) -> None:
    fleet.add_site("lyon")
    play = _play(tmp_path, "community.windows.win_say: {msg: hello}")
    run = fleet.play(play, "--limit", "lyon-a", inventory=fleet.plain_inventory())
    assert run.recap("lyon-a")["failed"] == 1
    assert fleet.problems() == ["lyon-a: module community.windows.win_say"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("ansible.windows.win_file: {path: 'C:\\x', stat: directory}", "unsupported argument 'stat'"),
        ("ansible.windows.win_file: {state: directory}", "missing required argument 'path'"),
        ("ansible.windows.win_service: {name: WinRM, start_mode: never}", "'start_mode' must be one of"),
        (
            "ansible.windows.win_service: {name: WinRM, failure_actions: [{type: sing}]}",
            "failure_actions.type",
        ),
        ("ansible.windows.win_stat: {path: 'C:\\x', follow: perhaps}", "is no boolean"),
    ],
    ids=["unknown", "missing", "choice", "inner choice", "type"],
)
def test_arguments_that_no_documentation_knows_fail_the_task(
    fleet: Fleet, tmp_path: Path, task: str, message: str
) -> None:
    site = fleet.add_site("lyon")
    run = fleet.play(_play(tmp_path, task), "--limit", "lyon-a", inventory=fleet.plain_inventory())
    assert run.recap("lyon-a")["failed"] == 1
    assert any(message in problem for problem in site.problems()), site.problems()


def test_the_nth_call_of_a_module_fails_and_the_host_is_as_before(fleet: Fleet, tmp_path: Path) -> None:
    site = fleet.add_site("lyon")
    site.a.faults.append(PlannedFault("win_file", Fault.FAILS, call=2, message="the disk hums"))
    tasks = [f"ansible.windows.win_file: {{path: 'C:\\{name}', state: directory}}" for name in ("one", "two")]
    run = fleet.play(_play(tmp_path, *tasks), inventory=fleet.plain_inventory())
    assert "the disk hums" in run.text
    assert (run.recap("lyon-a")["failed"], run.recap("lyon-b")["failed"]) == (1, 0)
    assert site.a.state.files.find(r"C:\one") is not None
    assert site.a.state.files.find(r"C:\two") is None


@pytest.mark.parametrize(
    ("fault", "done"),
    [(Fault.CONNECTION_DIES, True), (Fault.CONNECTION_DIES_BEFORE, False)],
    ids=["after", "before"],
)
def test_a_connection_that_dies_fails_the_task_of_that_host_alone(
    fleet: Fleet, tmp_path: Path, fault: Fault, done: bool
) -> None:
    site = fleet.add_site("lyon")
    site.a.faults.append(PlannedFault("win_file", fault))
    play = _play(tmp_path, r"ansible.windows.win_file: {path: 'C:\one', state: directory}")
    run = fleet.play(play, inventory=fleet.plain_inventory())
    assert run.recap("lyon-a")["failed"] + run.recap("lyon-a")["unreachable"] == 1
    assert run.recap("lyon-b")["ok"] == 1
    assert (site.a.state.files.find(r"C:\one") is not None) == done


def test_a_full_disk_fails_the_copy_and_leaves_room_as_it_was(fleet: Fleet, tmp_path: Path) -> None:
    site = fleet.add_site("lyon")
    site.a.faults.append(PlannedFault("win_copy", Fault.DISK_FULL, call=2))
    room = site.a.state.files.volumes["C"].free_bytes
    play = _play(tmp_path, r"ansible.windows.win_copy: {content: hello, dest: 'C:\one.txt'}")
    run = fleet.play(play, inventory=fleet.plain_inventory())
    assert "not enough space" in run.text
    assert site.a.state.files.find(r"C:\one.txt") is None
    assert site.a.state.files.volumes["C"].free_bytes == room


def test_a_host_that_is_off_is_unreachable_and_the_others_go_on(fleet: Fleet, tmp_path: Path) -> None:
    site = fleet.add_site("lyon")
    site.b.lose_power()
    run = fleet.play(_play(tmp_path, PING), inventory=fleet.plain_inventory())
    assert (run.recap("lyon-a")["ok"], run.recap("lyon-b")["unreachable"]) == (1, 1)


def test_a_reboot_refuses_connections_then_comes_back_with_another_boot_time(
    fleet: Fleet, tmp_path: Path
) -> None:
    site = fleet.add_site("lyon")
    site.a.state.pending_reboot = True
    boot = site.a.state.boot.number
    tasks = ["ansible.windows.win_reboot: {pre_reboot_delay: 0, post_reboot_delay: 0}", PING]
    run = fleet.play(_play(tmp_path, *tasks), "--limit", "lyon-a", inventory=fleet.plain_inventory())
    assert run.recap("lyon-a")["ok"] == 2, run.text
    assert site.a.state.boot.number == boot + 1
    assert not site.a.state.pending_reboot
    assert not _problems(site)


def _problems(site: Site) -> list[str]:
    return site.problems()
