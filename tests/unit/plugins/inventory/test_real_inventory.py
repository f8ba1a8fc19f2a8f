"""The real `ansible-inventory` with the plugin: what comes out, what is refused, and how it is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[4]
BIN = Path(sys.executable).parent

SITES = """\
plugin: twinhull.ha.sites
rings: [pilot, broad]
defaults:
  networks:
    lan: {roles: [control, heartbeat]}
    direct: {roles: [replication]}
  isolated_networks: [direct]
  tags: {ring: broad}
  vars:
    ansible_user: root
    greeting: "{{ twinhull_site }} and {{ twinhull_peer }}"
sites:
  lyon:
    tags: {country: fr, ring: pilot}
    vars:
      strength: site
      literal: !unsafe "{{ not a template }}"
    nodes:
      a: {addresses: {lan: 10.1.0.11, direct: 192.168.1.11}, vars: {strength: node}}
      b: {addresses: {lan: 10.1.0.12, direct: 192.168.1.12}}
    modules:
      VM1: {number: 1, size: 64 GiB, folder: /srv/twinhull/VM1, preferred: a, resource: {kind: libvirt}}
  basel:
    nodes:
      a: {addresses: {lan: 10.2.0.11, direct: 192.168.1.11}}
      b: {addresses: {lan: 10.2.0.12, direct: 192.168.1.12}}
"""


def run(
    command: str, *arguments: str | Path, config: Path = ROOT / "ansible.cfg"
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return subprocess.run(
        [BIN / command, *arguments],
        cwd=ROOT,
        env={**environment, "ANSIBLE_CONFIG": str(config), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def listed(directory: Path, *arguments: str | Path) -> dict[str, Any]:
    result = run("ansible-inventory", "-i", directory / "sites.yml", "--list", *arguments)
    assert result.returncode == 0, result.stderr
    inventory: dict[str, Any] = json.loads(result.stdout)
    return inventory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "sites.yml").write_text(SITES)
    return tmp_path


def evaluated(directory: Path, host: str, expression: str, *arguments: str | Path) -> Any:
    message = "result={{ " + expression + " | to_json }}"
    command = [
        "-i",
        directory / "sites.yml",
        host,
        "-m",
        "ansible.builtin.debug",
        "-a",
        f"msg='{message}'",
        *arguments,
    ]
    result = run("ansible", *command)
    assert result.returncode == 0, result.stdout + result.stderr
    line = next(line for line in result.stdout.splitlines() if "result=" in line)
    return json.loads(line.split("result=", 1)[1].strip().removesuffix("'").removesuffix(","))


def test_hosts_groups_and_variables_come_out(directory: Path) -> None:
    inventory = listed(directory)
    assert inventory["site_lyon"]["hosts"] == ["lyon-a", "lyon-b"]
    assert inventory["platform_linux"]["hosts"] == ["lyon-a", "lyon-b", "basel-a", "basel-b"]
    assert inventory["preferred_node"]["hosts"] == ["lyon-a"]
    assert inventory["tag_country_fr"]["hosts"] == ["lyon-a", "lyon-b"]
    variables = inventory["_meta"]["hostvars"]["lyon-b"]
    assert variables["twinhull_peer"] == "lyon-a"
    assert variables["twinhull_cluster"]["modules"]["VM1"]["size"] == "64 GiB"


def test_a_play_works_pair_by_pair_in_the_order_of_the_rings(directory: Path) -> None:
    result = run("ansible", "-i", directory / "sites.yml", "twinhull", "--list-hosts")
    assert result.stdout.split()[2:] == ["lyon-a", "lyon-b", "basel-a", "basel-b"]


def test_templates_work_under_vars_and_the_nearest_value_wins(directory: Path) -> None:
    assert evaluated(directory, "lyon-a", "[greeting, strength]") == ["lyon and lyon-b", "node"]
    assert evaluated(directory, "lyon-b", "strength") == "site"
    assert evaluated(directory, "lyon-b", "literal") == "{{ not a template }}"


def test_group_vars_go_before_the_defaults_and_the_site_before_group_vars(directory: Path) -> None:
    (directory / "group_vars").mkdir()
    (directory / "group_vars" / "all.yml").write_text("ansible_user: operator\nstrength: group\nwhich: all\n")
    (directory / "group_vars" / "site_lyon.yml").write_text("which: site\n")
    (directory / "group_vars" / "tag_country_fr.yml").write_text("which: tag\n")
    (directory / "host_vars").mkdir()
    (directory / "host_vars" / "lyon-a.yml").write_text("strength: own file\n")
    assert evaluated(directory, "lyon-a", "[ansible_user, strength]") == ["operator", "own file"]
    assert evaluated(directory, "lyon-b", "[strength, which]") == ["site", "site"]
    assert evaluated(directory, "basel-a", "strength") == "group"


def test_values_encrypted_with_vault_work_under_vars(directory: Path) -> None:
    password = directory / "password"
    password.write_text("correct horse\n")
    secret = run(
        "ansible-vault", "encrypt_string", "--vault-password-file", password, "s3cret", "--name", "secret"
    )
    head, *body = secret.stdout.splitlines()
    block = "\n".join([f"      {head}", *(f"        {line.strip()}" for line in body)])
    text = SITES.replace("      strength: site\n", f"      strength: site\n{block}\n")
    (directory / "sites.yml").write_text(text)
    assert evaluated(directory, "lyon-b", "secret", "--vault-password-file", password) == "s3cret"


def test_the_whole_file_may_be_encrypted(directory: Path) -> None:
    password = directory / "password"
    password.write_text("correct horse\n")
    assert (
        run("ansible-vault", "encrypt", "--vault-password-file", password, directory / "sites.yml").returncode
        == 0
    )
    inventory = listed(directory, "--vault-password-file", password)
    assert inventory["site_basel"]["hosts"] == ["basel-a", "basel-b"]


def test_it_composes_with_another_inventory(directory: Path) -> None:
    (directory / "more.ini").write_text("[monitoring]\nwatch ansible_host=10.9.9.9\n")
    inventory = listed(directory, "-i", directory / "more.ini")
    assert inventory["monitoring"]["hosts"] == ["watch"]
    assert "watch" not in inventory["twinhull"].get("hosts", [])


def test_own_groups_and_variables_can_be_constructed(directory: Path) -> None:
    more = (
        "compose:\n  twice: twinhull_site ~ twinhull_site\n"
        "groups:\n  first_nodes: twinhull_node == 'a'\n"
        "keyed_groups:\n  - {prefix: land, key: twinhull_tags.country}\n"
    )
    (directory / "sites.yml").write_text(SITES + more)
    inventory = listed(directory)
    assert inventory["first_nodes"]["hosts"] == ["lyon-a", "basel-a"]
    assert inventory["land_fr"]["hosts"] == ["lyon-a", "lyon-b"]
    assert evaluated(directory, "basel-a", "twice") == "baselbasel"


def test_an_inventory_with_mistakes_has_no_hosts_and_ends_the_run(directory: Path) -> None:
    wrong = SITES.replace("64 GiB", "64").replace("preferred: a", "prefered: a")
    (directory / "sites.yml").write_text(wrong)
    result = run("ansible-inventory", "-i", directory / "sites.yml", "--list")
    line = next(number for number, text in enumerate(wrong.splitlines(), 1) if "VM1" in text)
    assert result.returncode != 0
    assert "lyon-a" not in result.stdout
    assert (
        f"sites.yml:{line}: site lyon: 'modules.VM1.size' is wrong: '64' has no unit: write" in result.stderr
    )
    assert (
        f"sites.yml:{line}: site lyon: unknown key 'prefered' in 'modules.VM1': did you mean" in result.stderr
    )
    assert result.stderr.count("'64' has no unit") == 1


def test_no_task_runs_for_an_inventory_with_mistakes(directory: Path) -> None:
    (directory / "sites.yml").write_text(SITES.replace("64 GiB", "64"))
    (directory / "play.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.debug: {msg: it ran}\n"
    )
    result = run("ansible-playbook", "-i", directory / "sites.yml", directory / "play.yml")
    assert result.returncode != 0
    assert "it ran" not in result.stdout


def test_the_good_sites_of_another_file_do_not_hide_the_mistakes(directory: Path) -> None:
    (directory / "b-sites.yml").write_text(SITES.replace("64 GiB", "64").replace("lyon", "oslo"))
    result = run("ansible-inventory", "-i", directory, "--list")
    assert result.returncode != 0
    assert "b-sites.yml:" in result.stderr


@pytest.mark.parametrize(
    ("kind", "name"), [("inventory", "twinhull.ha.sites"), ("callback", "twinhull.ha.recap")]
)
def test_the_documentation_of_the_plugins_is_shown(kind: str, name: str) -> None:
    result = run("ansible-doc", "-t", kind, "-j", name)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)[name]["doc"]
    assert document["short_description"]
    assert all(option["description"] for option in document["options"].values())
