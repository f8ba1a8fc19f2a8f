"""The networks between two nodes are judged by what really happens on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.twinhull.ha.plugins.filter.preflight import (
    preflight_judge,
    preflight_plan,
)

from .pair import CLUSTER, Pair, gather, try_networks

pytestmark = pytest.mark.lab


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    try:
        made.up()
        yield made
    finally:
        made.down()


def judged(pair: Pair, *, bandwidth: bool = False) -> list[dict[str, Any]]:
    facts = gather(pair)
    planned = preflight_plan(CLUSTER, "lyon", facts)
    network = try_networks(pair, planned, bandwidth=bandwidth)
    findings: list[dict[str, Any]] = preflight_judge(CLUSTER, "lyon", facts, network)["findings"]
    return [finding for finding in findings if finding["code"].startswith(("network.", "address.", "port."))]


def wrong(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [finding for finding in findings if finding["level"] != "ok"]


def test_two_nodes_that_reach_each_other_pass_and_leave_nothing_behind(pair: Pair) -> None:
    findings = judged(pair, bandwidth=True)
    assert wrong(findings) == []
    assert {finding["code"] for finding in findings} == {
        "network.reachable", "network.rtt", "network.bandwidth", "address.present", "port.free",
    }  # fmt: skip
    assert "7410" not in pair.inside("a", "ss", "-Hltn")


def test_a_firewall_that_drops_is_told_apart_from_one_that_rejects(pair: Pair) -> None:
    rules = {
        "a": "tcp dport 7421 drop",
        "b": "tcp dport 7411 reject with tcp reset",
    }
    for node, rule in rules.items():
        pair.inside(
            node, "nft", "add table inet t; add chain inet t c { type filter hook input priority 0; }"
        )
        pair.inside(node, "nft", f"add rule inet t c ip daddr 10.91.2.0/24 {rule}")
    findings = wrong(judged(pair))
    assert [(finding["level"], finding["code"], finding["nodes"]) for finding in findings] == [
        ("error", "network.refused", ["a", "b"]),
        ("error", "network.timeout", ["b", "a"]),
    ]
    refused, timeout = findings
    assert (
        "on network direct (10.91.2.11 -> 10.91.2.12), TCP 7411: the connection was refused"
        in refused["sentence"]
    )
    assert "on network direct (10.91.2.12 -> 10.91.2.11), TCP 7421: nobody answered" in timeout["sentence"]
    assert "10.91.2.12" in refused["remedy"]


def test_a_cable_that_is_not_plugged_in_is_told_once_for_each_end(pair: Pair) -> None:
    pair.ip("b", "link", "set", "direct", "down")
    assert [(finding["level"], finding["code"], finding["nodes"]) for finding in wrong(judged(pair))] == [
        ("error", "address.down", ["a"]),
        ("error", "address.down", ["b"]),
    ]


def test_a_closed_nftables_firewall_is_what_the_role_will_open(pair: Pair) -> None:
    pair.inside("b", "nft", "add table inet t")
    pair.inside("b", "nft", "add chain inet t c { type filter hook input priority 0; policy drop; }")
    pair.inside("b", "nft", "add rule inet t c ct state established accept")
    findings = wrong(judged(pair))
    assert {(finding["level"], finding["code"]) for finding in findings} == {("warning", "network.timeout")}
    assert {tuple(finding["nodes"]) for finding in findings} == {("a", "b")}
    assert "nftables is active on node b" in findings[0]["sentence"]


def test_exchanged_addresses_are_told_by_address_and_not_as_a_dead_network(pair: Pair) -> None:
    pair.ip("b", "address", "flush", "dev", "direct")
    pair.ip("b", "address", "add", "10.91.2.99/24", "dev", "direct")
    findings = wrong(judged(pair))
    missing = [finding for finding in findings if finding["code"] == "address.missing"]
    assert [finding["nodes"] for finding in missing] == [["b"]]
    assert "10.91.2.12 (network direct)" in missing[0]["sentence"]
    assert not [finding for finding in findings if finding["nodes"] == ["b", "a"]]


def test_a_slow_link_warns_with_its_rate(pair: Pair) -> None:
    for node in ("a", "b"):
        words = "add dev direct root tbf rate 80mbit burst 64kb latency 50ms"
        pair.inside(node, "tc", "qdisc", *words.split())
    findings = wrong(judged(pair, bandwidth=True))
    assert {finding["code"] for finding in findings} == {"network.bandwidth"}
    assert {finding["level"] for finding in findings} == {"warning"}
    assert [finding["nodes"] for finding in findings] == [["a", "b"], ["b", "a"]]


def test_a_distant_node_warns_with_its_round_trip(pair: Pair) -> None:
    with pair.delayed("direct", 0.003):
        findings = wrong(judged(pair))
    assert [(finding["level"], finding["code"], finding["nodes"]) for finding in findings] == [
        ("warning", "network.rtt", ["a", "b"]),
        ("warning", "network.rtt", ["b", "a"]),
    ]


def test_a_port_that_another_program_holds_is_told_with_that_program(pair: Pair) -> None:
    holder = pair.module(
        "b", "preflight_network", state="listening", listen=[{"address": "10.91.1.12", "port": 7410}]
    )["listener"]
    try:
        findings = wrong(judged(pair))
    finally:
        pair.module("b", "preflight_network", state="stopped", listener=holder)
    assert [(finding["level"], finding["code"], finding["nodes"]) for finding in findings] == [
        ("error", "port.held", ["b"])
    ]
    assert "TCP port 7410 on 10.91.1.12 is held by" in findings[0]["sentence"]
    assert f"twinhull-probe (process {holder['pid']})" in findings[0]["sentence"]
    assert "ends by itself" in findings[0]["remedy"]
