"""The endpoint against Ansible's own WinRM connection: who is let in, what is refused, what breaks."""

from __future__ import annotations

from pathlib import Path

import yaml
from tests.standin.fleet import Fleet
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


MISTAKES = {
    "ansible.windows.win_file: {path: 'C:\\x', stat: directory}": "unsupported argument 'stat'",
    "ansible.windows.win_file: {state: directory}": "missing required argument 'path'",
    "ansible.windows.win_service: {name: WinRM, start_mode: never}": "'start_mode' must be one of",
    "ansible.windows.win_service: {name: WinRM, failure_actions: [{type: sing}]}": "failure_actions.type",
    "ansible.windows.win_stat: {path: 'C:\\x', follow: perhaps}": "is no boolean",
    "community.windows.win_say: {msg: hello}": "module community.windows.win_say",
}
"""A task, and what the test sees of it."""


def test_wrong_arguments_and_unknown_modules_fail_the_task_and_are_seen(fleet: Fleet, tmp_path: Path) -> None:
    site = fleet.add_site("lyon")
    tasks = [f"{{{task}, ignore_errors: true}}" for task in MISTAKES]
    run = fleet.play(_play(tmp_path, *tasks), "--limit", "lyon-a", inventory=fleet.plain_inventory())
    assert run.recap("lyon-a")["ignored"] == len(MISTAKES), run.text
    seen = site.problems()
    assert [message for message in MISTAKES.values() if not any(message in text for text in seen)] == []


def test_the_nth_call_of_a_module_fails_and_the_host_is_as_before(fleet: Fleet, tmp_path: Path) -> None:
    site = fleet.add_site("lyon")
    site.a.faults.append(PlannedFault("win_file", Fault.FAILS, call=2, message="the disk hums"))
    tasks = [f"ansible.windows.win_file: {{path: 'C:\\{name}', state: directory}}" for name in ("one", "two")]
    run = fleet.play(_play(tmp_path, *tasks), inventory=fleet.plain_inventory())
    assert "the disk hums" in run.text
    assert (run.recap("lyon-a")["failed"], run.recap("lyon-b")["failed"]) == (1, 0)
    assert site.a.state.files.find(r"C:\one") is not None
    assert site.a.state.files.find(r"C:\two") is None


def test_faults_hit_the_host_that_they_were_planned_for_and_no_other(fleet: Fleet, tmp_path: Path) -> None:
    cut, early, full, off = (fleet.add_site(name) for name in ("cut", "early", "full", "off"))
    cut.a.faults.append(PlannedFault("win_copy", Fault.CONNECTION_DIES, call=2))
    early.a.faults.append(PlannedFault("win_copy", Fault.CONNECTION_DIES_BEFORE, call=2))
    full.a.faults.append(PlannedFault("win_copy", Fault.DISK_FULL, call=2))
    off.a.lose_power()
    room = full.a.state.files.volumes["C"].free_bytes
    path = r"C:\one.txt"
    play = _play(tmp_path, f"ansible.windows.win_copy: {{content: hello, dest: '{path}'}}")

    run = fleet.play(play, inventory=fleet.plain_inventory())

    for site in (cut, early, full):
        recap = run.recap(f"{site.name}-a")
        assert recap["failed"] + recap["unreachable"] == 1, run.text
    assert run.recap("off-a")["unreachable"] == 1
    assert [run.recap(f"{name}-b")["ok"] for name in fleet.sites] == [1, 1, 1, 1]
    assert [site.a.state.files.find(path) is not None for site in (cut, early, full)] == [True, False, False]
    assert "not enough space" in run.text
    assert full.a.state.files.volumes["C"].free_bytes == room
    assert all(site.b.state.files.text(path) == "hello" for site in fleet.sites.values())


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
    assert site.problems() == []
