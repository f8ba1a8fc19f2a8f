"""The status says in words and colours what matters, of both nodes."""

from __future__ import annotations

import json

import pytest
from tests.unit.cli.conftest import Console
from tests.unit.cli.fake_agent import green_status, module_side, node_side

from twinhull.cli.shell import terminal_shell
from twinhull.cli.status_view import render
from twinhull.config.derive import SPLIT_WARNINGS
from twinhull.errors import PeerUnreachableError

GREEN = """\
cluster site-042, seen from node a at 2026-11-22T18:00:00+00:00
  node a  agent 0.1.0, heartbeat up, replication up, certificate 824 days
  node b  agent 0.1.0, heartbeat up, replication up, certificate 824 days

module VM1  /srv/twinhull/VM1, 40 GiB, preferred node a
  a  PRIM   green   uptodate      resource running
     Every write is on both nodes.
     disk: the volume takes 12 GiB; 60 GiB free of 100 GiB
     checkers: guest ok
  b  SECOND green   uptodate      resource off
     Mirrors node a.
     disk: the volume takes 12 GiB; 60 GiB free of 100 GiB
     checkers: guest ok
"""


def test_both_nodes_are_shown(console: Console) -> None:
    assert console.run("status", "--check") == 0
    assert console.out == GREEN


def test_json_is_what_the_agent_said(console: Console) -> None:
    assert console.run("status", "--json") == 0
    assert json.loads(console.out) == green_status()


def test_a_worker_of_another_version_than_its_agent_is_shown() -> None:
    assert "worker of version 0.0.9" in shown(worker_version="0.0.9")
    assert "worker of version" not in shown(worker_version="0.1.0")


@pytest.mark.parametrize(
    ("verify", "expected"),
    [
        (
            {"running": {"done_bytes": 1 << 30, "total_bytes": 4 << 30, "rate_bytes_s": 100 << 20, "eta_s": 31,
                         "differing_bytes": 65536}},
            "verify: 25 %, 3 GiB of 4 GiB left, 100 MiB/s, 31 s to go, 64 KiB differ",
        ),
        (
            {"running": None, "last": {"ended": "2026-11-22T02:14:00+01:00", "message": "Nothing differs."}},
            "verified 2026-11-22 02:14:00: Nothing differs.",
        ),
    ],
)  # fmt: skip
def test_comparisons_are_shown(verify: dict[str, object], expected: str) -> None:
    assert f"     {expected}\n" in shown(verify=verify)


def shown(**differs: object) -> str:
    status = green_status()
    status["nodes"]["a"]["modules"]["VM1"] = module_side(**differs)
    return render(status, colour=False)


@pytest.mark.parametrize(
    ("differs", "expected"),
    [
        (
            {"sync": {"left_bytes": 3 << 30, "total_bytes": 4 << 30, "rate_bytes_s": 50 << 20, "eta_s": 62}},
            "resync: 25 %, 3 GiB of 4 GiB left, 50 MiB/s, 1 min 2 s to go",
        ),
        (
            {"sync": {"left_bytes": 1 << 30, "total_bytes": 1 << 30, "rate_bytes_s": 0, "eta_s": None,
                      "losing_ground": True}},
            "resync: 0 %, 1 GiB of 1 GiB left, 0 B/s, losing ground: the VM writes faster than this copies",
        ),
        (
            {"unprotected": {"since_s": 3725, "bytes": 5 << 20}},
            "UNPROTECTED for 1 h 2 min: 5 MiB are on this node only",
        ),
        ({"holding": True, "waiting_for": "the witness"}, "holding I/O, waiting for the witness"),
        ({"uptodate": False}, "NOT uptodate"),
        ({"worker": {"alive": False, "pid": None}}, "worker process DEAD"),
        ({"restarts": 2}, "restarts in the last 24 h: 2"),
        ({"warnings": ["the disk is 86 % full"]}, "warning: the disk is 86 % full"),
        (
            {"checkers": {"suspended": True, "items": {"app": {"ok": False, "detail": "no answer"},
                                                       "guest": {"ok": None, "detail": ""}}}},
            "checkers: app FAILING: no answer, guest waits for its first success, SUSPENDED",
        ),
        ({"sentence": "bad\x1b[2Jguest"}, "bad [2Jguest"),
    ],
)  # fmt: skip
def test_what_matters_of_a_module_is_said(differs: dict[str, object], expected: str) -> None:
    assert expected in shown(**differs)


def test_an_unreachable_node_is_red(console: Console) -> None:
    status = console.agent.status
    down = {
        "heartbeat": {"up": False, "last_heard_s": 75.0},
        "replication": {"up": False, "last_heard_s": None},
    }
    status["nodes"]["b"] = {"reachable": False, "networks": down, "modules": {}}
    assert console.run("status", "--check") == 21
    assert (
        "node b  not reachable, heartbeat DOWN (last heard 1 min 15 s ago), replication DOWN" in console.out
    )
    assert "  b  unknown: the node is not reachable" in console.out


@pytest.mark.parametrize(
    ("days", "expected"),
    [(29, "node b: the certificate ends in 29 days: renew it"), (-1, "node b: the certificate has expired")],
)
def test_certificates_that_end_are_warned_of(console: Console, days: int, expected: str) -> None:
    console.agent.status["nodes"]["b"]["certificate"]["days_left"] = days
    console.run("status")
    assert expected in console.out


def test_a_warning_that_stands_as_long_as_the_configuration_is_no_alarm(console: Console) -> None:
    for kind, text in SPLIT_WARNINGS.items():
        console.agent.status["nodes"]["a"]["warnings"] = [text]
        assert console.run("status", "--check") == 0, kind
        assert f"warning: {text}" in console.out


def test_a_warning_of_the_cluster_is_not_repeated_for_its_modules() -> None:
    status = green_status()
    status["nodes"]["a"]["warnings"] = ["ping witness: a cut network can split this cluster"]
    side = module_side(
        sentence="VM1 stays: it is full.", warnings=["ping witness: both", "it is full", "new"]
    )
    status["nodes"]["a"]["modules"]["VM1"] = side
    text = render(status, colour=False)
    assert text.count("ping witness") == 1
    assert text.count("it is full") == 1
    assert "     warning: new" in text


def test_what_is_waited_for_is_said_once() -> None:
    text = shown(waiting_for="a person: it is blank", sentence="VM1 stays WAIT on a: it is blank.")
    assert "waiting for a person\n" in text
    assert "waiting for a person: it is lost\n" in shown(waiting_for="a person: it is lost")


def test_sentences_are_wrapped_to_the_terminal() -> None:
    status = green_status()
    status["nodes"]["a"]["modules"]["VM1"] = module_side(sentence="word " * 60)
    lines = render(status, colour=False, width=80).splitlines()
    assert len([line for line in lines if "word word" in line]) == 5
    assert all(len(line) <= 80 for line in lines if "word" in line)


def test_a_network_that_is_down_is_told_on_the_line_of_its_node(console: Console) -> None:
    node = console.agent.status["nodes"]["a"]
    node["networks"]["heartbeat"] = {"up": False, "last_heard_s": 3.5}
    node["warnings"] = ["the network heartbeat is down"]
    assert console.run("status", "--check") == 20
    assert "heartbeat DOWN (last heard 3.5 s ago)" in console.out
    assert "warning" not in console.out


def test_different_configurations_are_warned_of(console: Console) -> None:
    console.agent.status["nodes"]["b"]["config_digest"] = "decaf"
    assert console.run("status", "--check") == 20
    assert "warning: the two nodes' configurations differ" in console.out


def test_a_warning_of_both_nodes_is_told_once(console: Console) -> None:
    warning = "no witness: a cut network can split this cluster"
    for node in console.agent.status["nodes"].values():
        node["warnings"] = [warning]
    console.run("status")
    assert console.out.count(warning) == 1
    assert f"  warning: {warning}\n" in console.out


@pytest.mark.parametrize(("colour", "code"), [("orange", 20), ("red", 21)])
def test_the_exit_code_tells_the_worst_colour(console: Console, colour: str, code: int) -> None:
    console.agent.status["nodes"]["b"]["modules"]["VM1"]["colour"] = colour
    assert console.run("status", "--check") == code
    assert console.run("status") == 0


def test_colours_are_used_on_a_terminal_and_the_words_stay(console: Console) -> None:
    console.colour = True
    console.run("status")
    assert "\x1b[32mPRIM   green \x1b[0m" in console.out


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert terminal_shell().colour
    monkeypatch.setenv(*variable)
    assert not terminal_shell().colour


def test_watching_draws_again_until_ctrl_c_and_survives_a_lost_agent(console: Console) -> None:
    console.pauses = 2
    console.colour = True
    assert console.run("status", "--watch") == 0
    assert console.out.count("\x1b[H\x1b[J") == 3
    console.pauses, console.colour = 1, False
    console.agent.down = PeerUnreachableError("The connection broke.")
    assert console.run("status", "--watch", "--check") == 21
    assert console.out.count("The connection broke.") == 2


def test_watching_as_json_gives_one_object_a_line(console: Console) -> None:
    console.pauses = 2
    assert console.run("status", "--watch", "--json") == 0
    assert [json.loads(line)["node"] for line in console.out.splitlines()] == ["a", "a", "a"]


def test_a_status_with_little_in_it_is_still_shown() -> None:
    text = render({"nodes": {"a": node_side({"VM1": {}})}}, colour=False)
    assert "module VM1" in text
