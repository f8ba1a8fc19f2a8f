"""The recap at the end of a real run of `ansible-playbook`, with our own guard between the nodes of a site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]

SITES = """\
plugin: twinhull.ha.sites
defaults:
  networks: {lan: {roles: [control, heartbeat, replication]}}
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
sites:
  lyon: {nodes: {a: {addresses: {lan: 10.1.0.11}}, b: {addresses: {lan: 10.1.0.12}}}}
  basel: {nodes: {a: {addresses: {lan: 10.1.1.11}}, b: {addresses: {lan: 10.1.1.12}}}}
  turin: {nodes: {a: {addresses: {lan: 10.1.2.11}}, b: {addresses: {lan: 10.1.2.12}}}}
"""
PLAY = """\
- name: Work on every site
  hosts: HOSTS
  gather_facts: false
SERIAL
  tasks:
    - name: Fail on one node
      ansible.builtin.fail:
        msg: "{{ twinhull_site }}: {{ twinhull_node }}: the disk is full. Make room."
      when: inventory_hostname == 'lyon-b'
    - name: Repair what fails
      block:
        - name: Fail for a while
          ansible.builtin.fail:
            msg: it fails
          when: inventory_hostname == 'turin-a'
      rescue:
        - name: Repair it
          ansible.builtin.debug:
            msg: repaired
    - name: Leave the site out as a whole
      ansible.builtin.include_tasks: GUARD
    - name: Change something
      ansible.builtin.debug:
        msg: changed
      changed_when: twinhull_site != 'turin'
      no_log: true
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "sites.yml").write_text(SITES)
    return tmp_path


def play(
    directory: Path, *arguments: str, hosts: str = "twinhull", serial: str = ""
) -> subprocess.CompletedProcess[str]:
    guard = ROOT / "playbooks" / "tasks" / "guard_site.yml"
    text = PLAY.replace("HOSTS", hosts).replace("SERIAL", serial).replace("GUARD", str(guard))
    (directory / "work.yml").write_text(text)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "-i",
            directory / "sites.yml",
            directory / "work.yml",
            *arguments,
        ],
        cwd=ROOT,
        env={**environment, "NO_COLOR": "1", "TWINHULL_OUTPUT_DIR": str(directory / "reports")},
        capture_output=True,
        text=True,
        timeout=120,
    )


def recap(output: str) -> list[str]:
    lines = output.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("SITES "))
    return [line for line in lines[begin + 1 :] if line]


def test_one_site_fails_and_the_others_go_on(directory: Path) -> None:
    result = play(directory)
    assert result.returncode != 0
    assert recap(result.stdout)[:3] == [
        "left out   lyon   lyon-b (node b), task 'Fail on one node': lyon: b: the disk is full. Make room.",
        "done       basel  2 changes",
        "unchanged  turin",
    ]


def test_the_json_says_the_same(directory: Path) -> None:
    play(directory)
    (written,) = (directory / "reports").iterdir()
    content = json.loads(written.read_text())
    assert [(site["site"], site["outcome"]) for site in content["sites"]] == [
        ("lyon", "left out"), ("basel", "done"), ("turin", "unchanged"),
    ]  # fmt: skip
    assert content["playbook"] == "work"
    assert content["sites"][0]["troubles"][0]["node"] == "b"


def test_half_a_site_is_left_out_with_the_reason(directory: Path) -> None:
    result = play(directory, "--limit", "basel-a")
    assert result.returncode != 0
    assert recap(result.stdout)[0].startswith(
        "left out   basel  basel-a (node a), task 'Refuse half a site': basel: only"
    )


def test_a_run_that_stops_early_names_the_sites_that_it_never_came_to(directory: Path) -> None:
    result = play(directory, hosts="site_lyon:site_turin", serial="  serial: 2\n  any_errors_fatal: true")
    assert result.returncode != 0
    shown = recap(result.stdout)
    assert shown[0].startswith("left out   lyon   lyon-b (node b), task 'Fail on one node'")
    assert "left out   turin  the run ended before it came to this site; nothing was changed there" in shown


def test_a_run_without_our_hosts_is_quiet(directory: Path) -> None:
    (directory / "sites.yml").unlink()
    (directory / "hosts.ini").write_text("localhost ansible_connection=local\n")
    text = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.debug: {msg: hello}\n"
    (directory / "hello.yml").write_text(text)
    result = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", directory / "hosts.ini", directory / "hello.yml"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "SITES" not in result.stdout
