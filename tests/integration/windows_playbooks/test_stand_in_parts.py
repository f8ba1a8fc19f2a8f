"""The stand-in's own parts, without Ansible: paths, files, arguments, command lines, the CLI over the model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.standin import commands, paths, scripts, twinhull_cli, windows_config
from tests.standin.argspec import ArgumentsError, Documentation, check
from tests.standin.files import DiskFullError, FileSystemError, MemoryFiles, Volume
from tests.standin.fleet import REPOSITORY, Fleet, Site, default_module, install_by_hand
from tests.standin.handlers import HANDLERS, Call
from tests.standin.machine import ModelMachine
from tests.standin.model import new_host


def test_paths_of_any_spelling_are_one_path() -> None:
    assert paths.key("c:/Program Files\\Twinhull\\") == paths.key(r"C:\program files\twinhull")
    assert paths.expand("%programdata%\\x", {"ProgramData": r"C:\ProgramData"}) == r"C:\ProgramData\x"
    with pytest.raises(ValueError, match="no absolute Windows path"):
        paths.normal("relative\\path")


@pytest.fixture
def files() -> MemoryFiles:
    """A small empty drive."""
    return MemoryFiles(volumes={"C": Volume("C", 1000, 100)})


def test_a_junction_leads_to_its_directory_and_is_removed_alone(files: MemoryFiles) -> None:
    files.make_directory(r"C:\versions\1")
    files.write(r"C:\versions\1\x.txt", b"one")
    files.link(r"C:\current", r"C:\versions\1")
    assert files.read(r"c:\CURRENT\X.txt") == b"one"
    files.remove(r"C:\current")
    assert files.read(r"C:\versions\1\x.txt") == b"one"
    assert files.find(r"C:\current") is None


def test_a_full_drive_refuses_and_removing_makes_room(files: MemoryFiles) -> None:
    files.write(r"C:\a", b"x" * 60)
    with pytest.raises(DiskFullError):
        files.write(r"C:\b", b"x" * 60)
    files.remove(r"C:\a")
    files.write(r"C:\b", b"x" * 60)


def test_a_file_needs_its_directory(files: MemoryFiles) -> None:
    with pytest.raises(FileSystemError, match="part of the path"):
        files.write(r"C:\nowhere\a", b"")


def test_changing_a_copy_of_a_host_leaves_the_host_alone() -> None:
    host = new_host("one")
    before = host.observable()
    copy = host.copy()
    copy.files.make_directory(r"C:\new")
    copy.registry_set(r"HKLM:\SOFTWARE\x", "a", "dword", 1)
    copy.defender.exclusion_path.append("x")
    copy.power.plan = "power saver"
    copy.services.pop("msiscsi")
    copy.pending_reboot = True
    assert host.observable() == before


OPTIONS: dict[str, Any] = {
    "name": {"required": True, "aliases": ["title"]},
    "state": {"choices": ["present", "absent"], "default": "present"},
    "count": {"type": "int"},
    "items": {"type": "list", "elements": "dict", "suboptions": {"kind": {"required": True}}},
}


def test_arguments_are_converted_and_completed() -> None:
    checked = check("a.b.c", OPTIONS, {"title": "x", "count": "3", "items": [{"kind": "k"}]})
    assert checked == {"name": "x", "state": "present", "count": 3, "items": [{"kind": "k"}]}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"name": "x", "nam": 1},
        {"name": "x", "state": "gone"},
        {"name": "x", "count": "many"},
        {"name": "x", "items": [{}]},
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentsError, match=r"a\.b\.c"):
        check("a.b.c", OPTIONS, arguments)


def test_command_lines_are_split_as_windows_programs_do() -> None:
    line = r'"C:\Program Files\x.exe" a "b c" "d\"e" f\\g "h\\" ""'
    assert commands.split(line) == (r"C:\Program Files\x.exe", "a", "b c", 'd"e', r"f\\g", "h\\", "")


def test_literals_of_powershell_are_read() -> None:
    assert scripts.literal("'it''s'") == "it's"
    assert scripts.literal("(''+'a '+[char]39+[char]8217+'b')") == "a '’b"
    with pytest.raises(ValueError, match="no string literal"):
        scripts.literal("$(Get-Date)")


def test_windows_folders_survive_the_parser_of_today() -> None:
    text = windows_config.to_posix(r"D:\Twinhull\VM1")
    assert windows_config.to_windows(text) == r"D:\Twinhull\VM1"


def test_the_preflights_facts_have_the_parts_that_the_real_powershell_reads() -> None:
    utils = REPOSITORY / "collections/ansible_collections/twinhull/ha/plugins/module_utils"
    real = (utils / "PreflightFacts.psm1").read_text()
    parts = set(re.findall(r"Read-PreflightPart \$facts '(\w+)'", real))
    host = new_host("one")
    machine = ModelMachine(host, Documentation(REPOSITORY))
    names = ("data_dir", "install_dir")
    args: dict[str, Any] = dict.fromkeys(names, r"C:\x") | {"folders": [], "ports": [], "domains": []}
    call = Call(host, args, frozenset(), check_mode=False, diff=False, machine=machine)
    facts = HANDLERS["twinhull.ha.win_preflight_facts"](call)["ansible_facts"]["twinhull_preflight"]
    assert parts
    assert parts - set(facts) == set()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An installed, protected site."""
    with Fleet(tmp_path / "fleet", tls=False) as fleet:
        made = fleet.add_site("lyon", modules={"VM1": default_module()})
        install_by_hand(made)
        yield made


def _ask(site: Site, *argv: str, node: str = "a", stdin: bytes = b"") -> tuple[int, Any]:
    ran = twinhull_cli.run(site.hosts[node].state, site.cluster, [*argv, "--json"], stdin)
    return ran.exit_code, json.loads(ran.stdout)


def test_the_status_has_the_agents_own_shape(site: Site) -> None:
    code, answer = _ask(site, "status")
    assert code == 0
    side = answer["nodes"]["a"]["modules"]["VM1"]
    assert (side["state"], side["colour"], side["folder"]) == ("PRIM", "green", r"D:\Twinhull\VM1")
    assert side["worker_version"] == answer["nodes"]["a"]["version"] == "0.1.0"


def test_a_command_that_the_real_one_does_not_know_is_refused(site: Site) -> None:
    code, answer = _ask(site, "status", "--everything")
    assert (code, answer["ok"]) == (2, False)


def test_a_swap_is_a_job_that_ends(site: Site) -> None:
    _, started = _ask(site, "swap", "VM1", "--no-wait")
    states = [_ask(site, "job", started["id"], "--no-wait")[1]["state"] for _ in range(3)]
    assert states[-1] == "done"
    assert site.cluster.runs_on("VM1") == ["b"]


def test_a_module_of_an_older_version_gets_a_new_worker_when_it_stops(site: Site) -> None:
    node = site.cluster.nodes["b"]
    assert node.config is not None
    site.cluster.agent_started("b", "0.2.0", node.config)
    assert node.replicas["VM1"].version == "0.1.0"
    _ask(site, "stop", "VM1", node="b")
    assert node.replicas["VM1"].version == "0.2.0"


def test_a_changed_configuration_is_told_value_by_value_and_stored_on_both_nodes(site: Site) -> None:
    text = site.a.state.files.text(rf"{twinhull_cli.ETC}\cluster.yml").replace("preferred: a", "preferred: b")
    code, planned = _ask(site, "config", "apply", "-", "--dry-run", stdin=text.encode())
    assert (code, planned["changed"]) == (0, True)
    assert [change["path"] for change in planned["changes"]] == ["modules.VM1.preferred"]
    assert "preferred: a" in site.a.state.files.text(rf"{twinhull_cli.ETC}\cluster.yml")
    _, applied = _ask(site, "config", "apply", "-", stdin=text.encode())
    assert applied["changed"]
    for host in site.hosts.values():
        assert "preferred: b" in host.state.files.text(rf"{twinhull_cli.ETC}\cluster.yml")
    assert _ask(site, "config", "apply", "-", stdin=text.encode())[1]["changed"] is False


def test_a_stopped_agent_is_told_as_such(site: Site) -> None:
    site.a.stop_service(site.a.state, "twinhull-agent")
    code, answer = _ask(site, "status")
    assert (code, answer["exit_code"]) == (9, 9)


def test_a_node_that_loses_power_leaves_its_vm_to_the_other(site: Site) -> None:
    site.a.lose_power()
    assert site.cluster.runs_on("VM1") == ["b"]
    assert not site.a.accepts()
    site.a.power_on()
    _, answer = _ask(site, "status", node="b")
    assert {name: node["modules"]["VM1"]["state"] for name, node in answer["nodes"].items()} == {
        "a": "SECOND",
        "b": "PRIM",
    }
