"""From a site's configuration and facts to what is tried between its nodes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugin_utils"))

from preflight_sites import LINUX_CLUSTER, linux_facts

from ansible_collections.twinhull.ha.plugins.filter.preflight import (
    preflight_judge,
    preflight_plan,
    preflight_wanted,
)


def facts() -> dict[str, dict[str, Any]]:
    return {node: linux_facts(node) for node in ("a", "b")}


def test_what_is_looked_at_follows_from_the_configuration() -> None:
    assert preflight_wanted(LINUX_CLUSTER, "lyon", "linux") == {
        "folders": ["/srv/twinhull/VM1"],
        "ports": [7410, 7411, 7421],
        "domains": ["VM1"],
    }


def test_a_configuration_that_is_none_is_refused_with_a_remedy() -> None:
    with pytest.raises(AnsibleFilterError, match=r"twinhull\.ha\.sites"):
        preflight_wanted("lyon", "lyon", "linux")


def test_each_role_of_a_network_has_its_ports_tried_from_the_other_node() -> None:
    planned = preflight_plan(LINUX_CLUSTER, "lyon", facts())
    ways = {(entry["network"], entry["purpose"], entry["port"]) for entry in planned["a"]["connect"]}
    assert ways == {
        ("lan", "data", 7421), ("lan", "control", 7410), ("lan", "heartbeat", 7411),
        ("direct", "data", 7421), ("direct", "heartbeat", 7411),
    }  # fmt: skip
    assert {(entry["from"], entry["to"]) for entry in planned["a"]["connect"]} == {
        ("10.1.0.11", "10.1.0.12"),
        ("192.168.1.11", "192.168.1.12"),
    }
    listens = {(entry["address"], entry["port"]) for entry in planned["b"]["listen"]}
    assert listens == {(entry["to"], entry["port"]) for entry in planned["a"]["connect"]}


def test_the_round_trip_is_measured_once_on_each_network_and_bandwidth_only_where_replication_is() -> None:
    planned = preflight_plan(LINUX_CLUSTER, "lyon", facts())
    assert [entry["network"] for entry in planned["a"]["connect"] if entry["echo"]] == ["lan", "direct"]
    assert [entry["network"] for entry in planned["a"]["measure"]] == ["direct"]


def test_ports_of_our_running_service_are_tried_without_listening_and_measured_on_a_spare_one() -> None:
    found = facts()
    found["b"]["held_ports"] = [
        {"port": port, "address": "0.0.0.0", "pid": 7, "process": "twinhull", "ours": True}
        for port in (7410, 7411, 7421)
    ]
    planned = preflight_plan(LINUX_CLUSTER, "lyon", found)
    assert {entry["port"] for entry in planned["b"]["listen"]} == {7452}
    echoed = [(entry["purpose"], entry["port"]) for entry in planned["a"]["connect"] if entry["echo"]]
    assert echoed == [("spare", 7452), ("spare", 7452)]
    assert {entry["port"] for entry in planned["a"]["connect"] if not entry["echo"]} == {7410, 7411, 7421}


def test_a_port_that_another_program_holds_is_left_alone() -> None:
    found = facts()
    found["b"]["held_ports"] = [
        {"port": 7410, "address": "0.0.0.0", "pid": 7, "process": "nginx", "ours": False}
    ]
    planned = preflight_plan(LINUX_CLUSTER, "lyon", found)
    assert 7410 not in {entry["port"] for entry in (*planned["a"]["connect"], *planned["b"]["listen"])}


def connection(**words: Any) -> dict[str, Any]:
    return {
        "network": "direct", "purpose": "data", "from_node": "a", "to_node": "b", "from": "192.168.1.11",
        "to": "192.168.1.12", "port": 7421, "echo": False, "outcome": "connected", "error": "", **words,
    }  # fmt: skip


def findings(found: dict[str, dict[str, Any]], connect: list[dict[str, Any]]) -> list[tuple[str, str]]:
    report = preflight_judge(LINUX_CLUSTER, "lyon", found, {"connect": connect})
    return [(entry["level"], entry["code"]) for entry in report["findings"] if entry["level"] != "ok"]


@pytest.mark.parametrize("outcome", ["refused", "timeout", "no-route", "blocked-here", "reset", "error"])
def test_a_port_that_cannot_be_reached_is_an_error(outcome: str) -> None:
    assert findings(facts(), [connection(outcome=outcome)]) == [
        ("error", f"network.{outcome.replace('-', '_')}")
    ]


def test_a_port_that_only_our_firewall_role_has_yet_to_open_is_a_warning() -> None:
    found = facts()
    found["b"]["firewall"] = ["ufw"]
    assert findings(found, [connection(outcome="timeout")]) == [("warning", "network.timeout")]


def test_the_data_stream_missing_its_second_way_is_a_warning() -> None:
    other = connection(network="lan", **{"from": "10.1.0.11", "to": "10.1.0.12"}, outcome="timeout")
    assert findings(facts(), [other]) == [("warning", "network.timeout")]


def test_what_the_other_node_could_not_bind_is_not_blamed_on_the_network() -> None:
    report = preflight_judge(
        LINUX_CLUSTER,
        "lyon",
        facts(),
        {
            "connect": [connection(outcome="refused")],
            "bound": [{"address": "192.168.1.12", "port": 7421, "bound": False, "error": "in use"}],
        },
    )
    assert report["passed"]


@pytest.mark.parametrize(("rtt_ms", "expected"), [(1.9, []), (2.1, [("warning", "network.rtt")])])
def test_a_round_trip_above_two_milliseconds_is_a_warning(
    rtt_ms: float, expected: list[tuple[str, str]]
) -> None:
    assert findings(facts(), [connection(rtt_ms=rtt_ms, rtt_worst_ms=9.0)]) == expected
