# Copyright: Contributors to the Twinhull project
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A firewall lets in the peer, and to the control port also the control node and consoles; nobody else, and only once."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.twinhull.ha.plugins.plugin_utils.firewall_plan import (
    BaseChain,
    Rule,
    blocking_chains,
    firewalld_plan,
    firewalld_rules,
    has_input_chain,
    nftables_plan,
    nftables_removal,
    ufw_plan,
    ufw_rules,
    wanted_rules,
    windows_sources,
)

CLUSTER = {
    "nodes": {
        "a": {"addresses": {"lan": "10.0.0.1", "direct": "fd00::1"}},
        "b": {"addresses": {"lan": "10.0.0.2", "direct": "fd00::2"}},
    },
    "ports": {"data": 8000},
}
RULES = wanted_rules(CLUSTER, "a", ["10.9.0.0/24"])


def test_the_peer_reaches_everything_and_consoles_the_control_port_alone() -> None:
    assert list(RULES) == [
        Rule("control", 7410, 7410, ("10.0.0.2", "10.9.0.0/24", "fd00::2")),
        Rule("heartbeat", 7411, 7411, ("10.0.0.2", "fd00::2")),
        Rule("data", 8001, 8032, ("10.0.0.2", "fd00::2")),
    ]


def test_a_node_is_never_let_in_by_its_own_address() -> None:
    for rule in RULES:
        assert not {"10.0.0.1", "fd00::1"} & set(rule.sources)


@pytest.mark.parametrize("wrong", ["10.9.0.0/33", "console.example", "10.9.0"])
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        wanted_rules(CLUSTER, "a", [wrong])


def test_a_node_that_is_not_in_the_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="no node 'c', it has a, b"):
        wanted_rules(CLUSTER, "c", [])


def test_windows_gets_addresses_as_it_gives_them_back() -> None:
    assert windows_sources(RULES[0]) == "10.0.0.2/255.255.255.255,10.9.0.0/255.255.255.0,fd00::2"


# ---- ufw and firewalld -------------------------------------------------------------------------------------


def test_ufw_gets_what_is_missing_and_loses_what_was_ours() -> None:
    kept, *_ = ufw_rules(RULES)
    stale = "ufw allow from 10.0.0.7 to any port 7411 proto tcp comment 'twinhull heartbeat'"
    foreign = "ufw allow from 10.0.0.7 to any port 22 proto tcp comment 'ssh'"
    plan = ufw_plan(RULES, f"Added user rules (see 'ufw status'):\nufw {kept}\n{stale}\n{foreign}\n")
    assert len([command for command in plan.commands if command[1] == "allow"]) == len(ufw_rules(RULES)) - 1
    assert [command for command in plan.commands if command[1] == "delete"] == [
        ("ufw", "delete", "allow", "from", "10.0.0.7", "to", "any", "port", "7411", "proto", "tcp")
    ]


def test_ufw_is_left_alone_when_all_is_there() -> None:
    added = "".join(f"ufw {line}\n" for line in ufw_rules(RULES))
    assert ufw_plan(RULES, added).in_effect


def test_a_range_of_ports_is_written_as_each_firewall_writes_it() -> None:
    assert any("to any port 8001:8032 proto tcp" in line for line in ufw_rules(RULES))
    assert any('port port="8001-8032" protocol="tcp"' in line for line in firewalld_rules(RULES))


def test_firewalld_gets_the_rules_in_every_zone_now_and_at_boot() -> None:
    wanted = firewalld_rules(RULES)
    present = "public permanent\npublic runtime\n" + "\n".join(wanted) + "\n"
    plan = firewalld_plan(RULES, present, "")
    assert plan.commands == tuple(
        ("firewall-cmd", "--zone=public", "--permanent", f"--add-rich-rule={line}") for line in wanted
    )


def test_firewalld_loses_only_what_was_written_down_as_ours() -> None:
    wanted = firewalld_rules(RULES)
    ours = 'rule family="ipv4" source address="10.0.0.7" port port="7411" protocol="tcp" accept'
    foreign = 'rule family="ipv4" source address="10.0.0.8" port port="22" protocol="tcp" accept'
    present = "\n".join(["internal permanent", *wanted, ours, foreign, "internal runtime", *wanted, foreign])
    plan = firewalld_plan(RULES, present, ours + "\n")
    assert plan.commands == (
        ("firewall-cmd", "--zone=internal", "--permanent", f"--remove-rich-rule={ours}"),
    )


# ---- nftables ----------------------------------------------------------------------------------------------


def chain(table: str, name: str = "input", policy: str = "accept", family: str = "inet") -> dict[str, Any]:
    return {"chain": {"family": family, "table": table, "name": name, "hook": "input", "policy": policy}}


def rule(table: str, *expressions: dict[str, Any], name: str = "input") -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": table, "chain": name, "handle": 7, "expr": list(expressions)}}


def test_a_chain_blocks_by_its_policy_or_by_a_rule_that_matches_all() -> None:
    ruleset = {
        "nftables": [
            chain("closed", policy="drop"),
            chain("ends"),
            rule("ends", {"counter": {}}, {"reject": {}}),
            chain("open"),
            rule("open", {"match": {}}, {"drop": None}),
            chain("twinhull", policy="drop"),
        ]
    }
    assert blocking_chains(ruleset) == [
        BaseChain("inet", "closed", "input"),
        BaseChain("inet", "ends", "input"),
    ]


def test_chains_of_iptables_are_told_to_their_owner_and_not_written_to() -> None:
    ruleset = {"nftables": [chain("filter", "INPUT", "drop", "ip")]}
    plan = nftables_plan(RULES, json.dumps(ruleset))
    assert plan.commands == ()
    assert "iptables -I INPUT -p tcp -s 10.0.0.2 --dport 8001:8032 -j ACCEPT" in plan.remarks[0]
    assert "fd00::2" not in plan.remarks[0]
    assert not has_input_chain(ruleset)


requires_nft = pytest.mark.skipif(
    shutil.which("nft") is None
    or subprocess.run(["unshare", "--net", "nft", "list", "ruleset"]).returncode != 0,
    reason="nft needs root and the kernel's nf_tables",
)


class Nft:
    """A network namespace with its own rules, for as long as its process lives."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def run(self, *command: str, text: str | None = None) -> str:
        inside = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *command]
        return subprocess.run(inside, input=text, capture_output=True, text=True, check=True).stdout

    def ruleset(self) -> str:
        return self.run("nft", "--json", "list", "ruleset")

    def load(self, text: str) -> None:
        self.run("nft", "-f", "-", text=text)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def nft() -> Iterator[Nft]:
    namespace = Nft()
    yield namespace
    namespace.end()


FOREIGN = """table inet filter {
  chain input { type filter hook input priority 0; policy drop; tcp dport 22 accept; }
}
"""


@requires_nft
def test_nft_takes_the_rules_and_then_nothing_is_left_to_do(nft: Nft) -> None:
    nft.load(FOREIGN)
    plan = nftables_plan(RULES, nft.ruleset())
    assert not plan.in_effect
    nft.load(plan.text)
    for command in plan.commands:
        nft.run(*command)
    again = nftables_plan(RULES, nft.ruleset())
    assert again.in_effect
    assert again.text == plan.text


@requires_nft
def test_nft_takes_changed_rules_over_the_former_and_a_reload_of_the_others_is_noticed(nft: Nft) -> None:
    nft.load(FOREIGN)
    plan = nftables_plan(RULES, nft.ruleset())
    nft.load(plan.text)
    nft.run(*plan.commands[0])
    changed = wanted_rules(CLUSTER, "a", [])
    assert not nftables_plan(changed, nft.ruleset()).in_effect
    nft.load(nftables_plan(changed, nft.ruleset()).text)
    assert nftables_plan(changed, nft.ruleset()).in_effect
    nft.load("flush ruleset\n" + FOREIGN)
    assert not nftables_plan(changed, nft.ruleset()).in_effect


@requires_nft
def test_nothing_of_ours_is_left_in_nft_after_a_removal(nft: Nft) -> None:
    nft.load(FOREIGN)
    before = nft.run("nft", "list", "ruleset")
    plan = nftables_plan(RULES, nft.ruleset())
    nft.load(plan.text)
    nft.run(*plan.commands[0])
    for command in nftables_removal(nft.ruleset()):
        nft.run(*command)
    assert nft.run("nft", "list", "ruleset") == before


def test_sources_are_networks() -> None:
    for found in RULES:
        for source in found.sources:
            ipaddress.ip_network(source)
