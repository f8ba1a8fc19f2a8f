"""config, snapshot, pki, completion and anonymising: what reads and writes files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.unit.cli.conftest import EXAMPLE, Console

from twinhull.cli import completion
from twinhull.cli.parser import build_parser
from twinhull.config import parse_cluster

SCRIPT = Path(completion.__file__).with_name("completion.bash")


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = EXAMPLE.read_text()
    assert old in text
    path = tmp_path / "new.yml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_config_check_asks_no_agent_and_tells_the_warnings(console: Console, cluster_file: Path) -> None:
    assert console.run("config", "check") == 0
    digest = parse_cluster(EXAMPLE.read_text()).digest()
    assert console.out.splitlines() == [
        f"{cluster_file}: valid; digest {digest[:16]}",
        "warning: ping witness: a cut network can split this cluster while both sides reach a ping address",
    ]
    assert console.agent.asked == []


def test_config_check_tells_every_problem(console: Console, tmp_path: Path) -> None:
    path = changed(tmp_path, "keep: longest-running", "kep: longest-running")
    assert console.run("config", "check", str(path)) == 3
    assert console.err == f"twinhull: {path}:15: unknown key 'kep': did you mean 'keep'?\n"
    assert console.run("config", "check", str(path), "--json") == 3
    (problem,) = json.loads(console.out)["problems"]
    assert (problem["file"], problem["line"]) == (str(path), 15)


def test_config_check_compares_with_the_present_file(console: Console, tmp_path: Path) -> None:
    assert console.run("config", "check", str(changed(tmp_path, "size: 40 GiB", "size: 4 GiB"))) == 3
    assert "cannot be made smaller" in console.err
    assert console.run("config", "check", str(changed(tmp_path, "delay: 0", "delay: 9"))) == 0
    assert "would change: modules.VM1.boot.delay: 0 -> 9" in console.out


def test_config_check_works_where_no_node_is(console: Console, cluster_file: Path) -> None:
    console.node_config.unlink()
    assert console.run("config", "check", str(cluster_file)) == 0


def test_config_show_tells_what_the_agent_runs_with(console: Console) -> None:
    assert console.run("config", "show") == 0
    assert parse_cluster(console.out) == console.agent.config


def test_config_apply_shows_and_applies(console: Console, tmp_path: Path) -> None:
    path = str(changed(tmp_path, "delay: 0", "delay: 9"))
    before = console.agent.config
    assert console.run("config", "apply", path, "--dry-run") == 0
    assert console.out == ("would change: modules.VM1.boot.delay: 0 -> 9\nNothing was applied.\n")
    assert console.agent.config == before
    assert console.run("config", "apply", path) == 0
    assert console.out == ("changed: modules.VM1.boot.delay: 0 -> 9\nApplied.\n")
    assert console.agent.config.modules["VM1"].boot.delay_s == 9
    assert console.run("config", "apply", path) == 0
    assert console.out.startswith("Nothing changes")


def test_config_apply_takes_standard_input_and_tells_each_change_as_json(console: Console) -> None:
    console.stdin = EXAMPLE.read_text().replace("delay: 0", "delay: 9").replace("    preferred: a\n", "", 1)
    assert console.run("config", "apply", "-", "--json", "--dry-run") == 0
    planned = json.loads(console.out)
    assert (planned["ok"], planned["changed"], planned["applied"]) == (True, True, False)
    assert planned["changes"] == [
        {"path": "modules.VM1.preferred", "before": "a", "after": None},
        {"path": "modules.VM1.boot.delay", "before": 0, "after": 9},
    ]
    assert console.run("config", "apply", "-", "--json") == 0
    done = json.loads(console.out)
    assert (done["changes"], done["applied"], done["message"]) == (planned["changes"], True, "Applied.")
    assert console.run("config", "apply", "-", "--json") == 0
    again = json.loads(console.out)
    assert (again["changed"], again["changes"], again["applied"]) == (False, [], False)
    console.stdin = "cluster: ["
    assert console.run("config", "apply", "-", "--json") == 3
    assert "standard input:" in json.loads(console.out)["error"]


def test_config_apply_reaches_a_node_that_was_away_when_the_file_was_applied_first(console: Console) -> None:
    console.stdin = EXAMPLE.read_text()
    console.agent.peer_digest = "0123"
    assert console.run("config", "apply", "-", "--dry-run", "--json") == 0
    (change,) = json.loads(console.out)["changes"]
    assert (change["path"], change["before"]) == ("configuration of b", "0123")
    assert console.run("config", "apply", "-") == 0
    assert console.out == "b has another configuration and takes this one\nApplied.\n"
    assert console.run("config", "apply", "-") == 0
    assert console.out.startswith("Nothing changes")


def test_config_apply_refuses_what_is_wrong_before_the_agent_sees_it(
    console: Console, tmp_path: Path
) -> None:
    assert console.run("config", "apply", str(changed(tmp_path, "size: 40 GiB", "size: 4"))) == 3
    assert console.agent.asked == []


def test_config_normalise_writes_every_default(console: Console) -> None:
    assert console.run("config", "normalise", str(EXAMPLE)) == 0
    assert parse_cluster(console.out) == parse_cluster(EXAMPLE.read_text())


def test_a_snapshot_is_fetched_whole_and_private(console: Console, tmp_path: Path) -> None:
    target = tmp_path / "s.tar.gz"
    assert console.run("snapshot", "--anonymise", "-o", str(target)) == 0
    assert target.read_bytes() == console.agent.archive
    assert target.stat().st_mode & 0o777 == 0o600
    assert console.agent.asked[0] == ("snapshot", {"anonymise": True})
    assert "names and addresses were replaced" in console.out
    assert console.run("snapshot", "-o", str(target)) == 2
    assert console.run("snapshot", "-o", str(tmp_path / "none" / "s")) == 1
    assert "cannot be written" in console.err


def test_a_snapshot_that_ends_early_leaves_nothing(console: Console, tmp_path: Path) -> None:
    console.agent.chunk_bytes = 0
    assert console.run("snapshot", "-o", str(tmp_path / "s")) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("s")] == []


def test_pki_makes_issues_renews_and_shows(console: Console, tmp_path: Path) -> None:
    ca, out = str(tmp_path / "ca"), str(tmp_path / "pki")
    assert console.run("pki", "init", "--cluster", "site-042", "--ca", ca) == 0
    assert console.run("pki", "issue", "a", "--ca", ca, "--days", "20") == 0
    assert (tmp_path / "pki" / "node.key").stat().st_mode & 0o777 == 0o600
    assert console.run("pki", "issue", "jane", "--role", "operator", "--ca", ca, "--out", out) == 0
    assert console.run("pki", "show") == 0
    assert "node     a of cluster site-042: valid until" in console.out
    assert "20 days left: renew it" in console.out or "19 days left: renew it" in console.out
    assert console.run("pki", "renew", "--ca", ca) == 0
    assert console.run("pki", "show", out, "--json") == 0
    kinds = [(info["kind"], info["name"], info["expiring"]) for info in json.loads(console.out)]
    assert kinds == [("ca", "site-042", False), ("node", "a", False), ("operator", "jane", False)]
    assert console.run("pki", "init", "--cluster", "site-042", "--ca", ca) == 10
    assert console.run("pki", "issue", "b", "--days", "x") == 2
    assert console.run("pki", "show", str(tmp_path / "none")) == 0
    assert "There are no certificates" in console.out


def test_the_shipped_completion_is_the_generated_one() -> None:
    assert SCRIPT.read_text() == completion.bash(build_parser())


def complete(tmp_path: Path, *words: str) -> list[str]:
    fake = tmp_path / "bin"
    fake.mkdir(exist_ok=True)
    (fake / "twinhull").write_text("#!/bin/sh\necho VM1\necho files\n")
    (fake / "twinhull").chmod(0o755)
    script = f'source "{SCRIPT}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _twinhull; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", "twinhull", *words],
        env={"PATH": f"{fake}:/usr/bin:/bin"}, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sta",), {"status", "start"}),
        (("checker", ""), {"suspend", "resume"}),
        (("swap", ""), {"VM1", "files", "--mode"}),
        (("swap", "V"), {"VM1"}),
        (("swap", "VM1", "--mode", ""), {"stop", "save"}),
        (("start", "VM1", "--yes", ""), {"VM1", "files"}),
        (("pki", "issue", "a", "--role", ""), {"node", "operator"}),
        (("--json", "config", "ch"), {"check"}),
    ],
)
def test_bash_completes_commands_options_values_and_modules(
    tmp_path: Path, words: tuple[str, ...], expected: set[str]
) -> None:
    found = set(complete(tmp_path, *words))
    assert expected <= found
    if len(expected) == 1 or words[-2:-1] == ("--mode",):
        assert found == expected


def test_bash_completes_files(tmp_path: Path) -> None:
    (tmp_path / "new.yml").touch()
    assert complete(tmp_path, "config", "apply", f"{tmp_path}/n") == [f"{tmp_path}/new.yml"]


def test_completion_is_printed_and_names_modules_without_an_agent(console: Console) -> None:
    assert console.run("completion", "bash") == 0
    assert console.out == SCRIPT.read_text()
    assert console.run("completion", "modules") == 0
    assert console.out.split() == ["VM1", "files"]
    console.node_config.unlink()
    assert console.run("completion", "modules") == 0
    assert console.out == ""


@pytest.mark.parametrize("command", [("issue", "a"), ("renew",)])
def test_a_missing_authority_is_said_with_where_to_look(
    console: Console, tmp_path: Path, command: tuple[str, ...]
) -> None:
    missing = str(tmp_path / "ca")
    assert console.run("pki", *command, "--ca", missing, "--out", str(tmp_path / "out")) == 10
    assert f"There is no authority in {missing}: it is kept away from the nodes." in console.err
    assert not (tmp_path / "out").exists()


def test_a_missing_file_of_this_node_says_how_to_write_it(console: Console, tmp_path: Path) -> None:
    assert console.run("status", "--node-config", str(tmp_path / "absent.yml")) == 3
    assert "Write it (at least `node: NAME`" in console.err
