# Copyright: Contributors to the Twinhull project
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Which connections a node has to accept, and what that means for the firewall that is active there. Pure.

Only the peer reaches the ports of heartbeats and data; the control port is also open to the control node and the
consoles' clients. nftables: see nft(8), libnftables-json(5). firewalld: firewalld.richlanguage(5). ufw: ufw(8).
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PORTS = {"control": 7410, "heartbeat": 7411, "data": 7420}
MAX_MODULES = 32
TABLE = "twinhull"
COMMENT = "twinhull"
_CHAIN = "twinhull"
_VERDICTS = ("drop", "reject")
_NO_MATCH = frozenset({"counter", "log", "limit", "drop", "reject", "comment"})


@dataclass(frozen=True)
class Rule:
    """TCP connections that are accepted.

    Args:
        name: what they are for: `control`, `heartbeat` or `data`.
        first_port, last_port: both inclusive.
        sources: addresses and networks, IPv4 and IPv6, from which alone.
    """

    name: str
    first_port: int
    last_port: int
    sources: tuple[str, ...]

    def ports(self, between: str = "-") -> str:
        """`7410`, or `7421-7452` with another sign between."""
        if self.first_port == self.last_port:
            return str(self.first_port)
        return f"{self.first_port}{between}{self.last_port}"


@dataclass(frozen=True)
class BaseChain:
    """A chain of somebody else's that turns away what nobody accepted."""

    family: str
    table: str
    chain: str

    @property
    def by_iptables(self) -> bool:
        """Whether iptables keeps it, which cannot read rules that nft put between its own."""
        return self.chain == "INPUT" and self.family in ("ip", "ip6")


@dataclass(frozen=True)
class Plan:
    """What has to be done on a host.

    Args:
        in_effect: whether nothing has to be done.
        text: the rules as the firewall reads them (nftables), or one a line.
        commands: argv lists, in order.
        remarks: what a person has to do or to know.
    """

    in_effect: bool
    text: str
    commands: tuple[tuple[str, ...], ...] = ()
    remarks: tuple[str, ...] = ()


def wanted_rules(cluster: Mapping[str, Any], node: str, control_addresses: Iterable[str]) -> list[Rule]:
    """What the node has to accept.

    Args:
        cluster: the cluster's configuration.
        node: this node's name in it.
        control_addresses: addresses and networks of the control node and of consoles' clients.

    Raises:
        ValueError: the node is not in the cluster, or an address is none.
    """
    nodes = cluster.get("nodes", {})
    if node not in nodes:
        raise ValueError(f"the cluster has no node '{node}', it has {', '.join(nodes) or 'none'}")
    ports = {**PORTS, **(cluster.get("ports") or {})}
    peers = [
        str(address)
        for name, other in nodes.items()
        if name != node
        for address in (other.get("addresses") or {}).values()
    ]
    from_peer = _sources(peers)
    control, heartbeat, data = (int(ports[name]) for name in ("control", "heartbeat", "data"))
    rules = [
        Rule("control", control, control, _sources([*peers, *control_addresses])),
        Rule("heartbeat", heartbeat, heartbeat, from_peer),
        Rule("data", data + 1, data + MAX_MODULES, from_peer),
    ]
    return [rule for rule in rules if rule.sources]


def _sources(texts: Iterable[str]) -> tuple[str, ...]:
    networks = {ipaddress.ip_network(str(text).strip(), strict=False) for text in texts}
    ordered = sorted(networks, key=lambda net: (net.version, int(net.network_address), net.prefixlen))
    return tuple(_plain(network) for network in ordered)


def _plain(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(network)


def _of_version(sources: Iterable[str], version: int) -> list[str]:
    return [source for source in sources if ipaddress.ip_network(source).version == version]


# ---- Windows -------------------------------------------------------------------------------------------


def windows_sources(rule: Rule) -> str:
    """The sources as the Windows firewall gives them back: IPv4 with a mask, IPv6 as it is."""
    found = []
    for source in rule.sources:
        network = ipaddress.ip_network(source)
        found.append(f"{network.network_address}/{network.netmask}" if network.version == 4 else source)
    return ",".join(found)


# ---- nftables ------------------------------------------------------------------------------------------


def nftables_text(rules: Sequence[Rule], chains: Sequence[BaseChain]) -> str:
    """A file for `nft -f` that puts the rules in force, whatever was there of ours before."""
    body = _own_table(rules) + "".join(_accepting_chain(rules, chain) for chain in chains)
    return body.replace("@MARK@", f"{COMMENT} {digest(rules, chains)}")


def digest(rules: Sequence[Rule], chains: Sequence[BaseChain]) -> str:
    """By which rules in force are known to be these."""
    return hashlib.sha256(repr((tuple(rules), tuple(chains))).encode()).hexdigest()[:12]


def _own_table(rules: Sequence[Rule]) -> str:
    ours = ", ".join(rule.ports() for rule in rules)
    lines = [f"\t\t{line} accept" for rule in rules for line in _matches(rule, "inet")]
    return "\n".join(
        [
            f"table inet {TABLE}",
            f"delete table inet {TABLE}",
            f"table inet {TABLE} {{",
            "\tchain input {",
            "\t\ttype filter hook input priority -10; policy accept;",
            '\t\tiifname "lo" accept comment "@MARK@"',
            *lines,
            f"\t\ttcp dport {{ {ours} }} counter drop",
            "\t}",
            "}",
            "",
        ]
    )


def _accepting_chain(rules: Sequence[Rule], chain: BaseChain) -> str:
    where = f"{chain.family} {chain.table} {_CHAIN}"
    matches = [line for rule in rules for line in _matches(rule, chain.family)]
    # The table may be gone at the next boot; then ours must not fail for it.
    lines = [f"add table {chain.family} {chain.table}", f"add chain {where}", f"flush chain {where}"]
    lines.append(f'add rule {where} counter comment "@MARK@"')
    return "\n".join([*lines, *(f"add rule {where} {line} accept" for line in matches), ""])


def _matches(rule: Rule, family: str) -> list[str]:
    found = []
    for version, word in ((4, "ip"), (6, "ip6")):
        sources = _of_version(rule.sources, version)
        if sources and family in ("inet", word):
            found.append(f"{word} saddr {{ {', '.join(sources)} }} tcp dport {rule.ports()}")
    return found


def nftables_jump(chain: BaseChain) -> tuple[str, ...]:
    """The command that has a chain of somebody else's ask ours first."""
    return ("nft", "insert", "rule", chain.family, chain.table, chain.chain, "jump", _CHAIN)


def blocking_chains(ruleset: Mapping[str, Any]) -> list[BaseChain]:
    """The base chains at the hook `input`, not ours, that turn away what nothing in them accepted.

    Args:
        ruleset: what `nft -j list ruleset` says.
    """
    objects = [entry for entry in ruleset.get("nftables", []) if isinstance(entry, Mapping)]
    closed = {
        (rule["family"], rule["table"], rule["chain"])
        for rule in (entry["rule"] for entry in objects if "rule" in entry)
        if _turns_all_away(rule.get("expr", []))
    }
    found = []
    for chain in (entry["chain"] for entry in objects if "chain" in entry):
        if (
            chain.get("hook") != "input"
            or chain["table"] == TABLE
            or chain["family"] not in ("inet", "ip", "ip6")
        ):
            continue
        key = (chain["family"], chain["table"], chain["name"])
        if chain.get("policy") == "drop" or key in closed:
            found.append(BaseChain(*key))
    return sorted(found, key=lambda seen: (seen.family, seen.table, seen.chain))


def _turns_all_away(expressions: Sequence[Mapping[str, Any]]) -> bool:
    words = {word for expression in expressions for word in expression}
    return bool(words & set(_VERDICTS)) and words <= _NO_MATCH


def has_input_chain(ruleset: Mapping[str, Any]) -> bool:
    """Whether anybody but us and iptables filters what comes in."""
    return any(
        entry["chain"].get("hook") == "input"
        and entry["chain"]["table"] != TABLE
        and entry["chain"]["name"] != "INPUT"
        for entry in ruleset.get("nftables", [])
        if isinstance(entry, Mapping) and "chain" in entry
    )


def nftables_plan(rules: Sequence[Rule], ruleset_json: str) -> Plan:
    """What has to be loaded. Raises ValueError when nft's answer is no JSON."""
    ruleset = json.loads(ruleset_json or "{}")
    blocking = blocking_chains(ruleset)
    chains = [chain for chain in blocking if not chain.by_iptables]
    text = nftables_text(rules, chains)
    mark = f"{COMMENT} {digest(rules, chains)}"
    marked, jumps = _in_force(ruleset, mark)
    missing = [chain for chain in chains if chain not in jumps]
    places = {("inet", TABLE), *((chain.family, chain.table) for chain in chains)}
    return Plan(
        in_effect=not missing and places <= marked,
        text=text,
        commands=tuple(nftables_jump(chain) for chain in chains),
        remarks=tuple(_iptables_remark(chain, rules) for chain in blocking if chain.by_iptables),
    )


def _in_force(ruleset: Mapping[str, Any], mark: str) -> tuple[set[tuple[str, str]], set[BaseChain]]:
    marked: set[tuple[str, str]] = set()
    jumps: set[BaseChain] = set()
    for entry in ruleset.get("nftables", []):
        rule = entry.get("rule") if isinstance(entry, Mapping) else None
        if rule is None:
            continue
        if rule.get("comment") == mark:
            marked.add((rule["family"], rule["table"]))
        if any(seen.get("jump", {}).get("target") == _CHAIN for seen in rule.get("expr", [])):
            jumps.add(BaseChain(rule["family"], rule["table"], rule["chain"]))
    return marked, jumps


def _iptables_remark(chain: BaseChain, rules: Sequence[Rule]) -> str:
    program, version = ("iptables", 4) if chain.family == "ip" else ("ip6tables", 6)
    lines = [
        f"{program} -I INPUT -p tcp -s {source} --dport {rule.ports(':')} -j ACCEPT"
        for rule in rules
        for source in _of_version(rule.sources, version)
    ]
    if not lines:
        return ""
    return f"{program} turns away what it does not know, and only its owner may change it. Add: {'; '.join(lines)}"


def nftables_removal(ruleset_json: str) -> list[list[str]]:
    """The commands that take everything of ours out of nftables again."""
    ruleset = json.loads(ruleset_json or "{}")
    commands: list[list[str]] = []
    chains: list[list[str]] = []
    for entry in ruleset.get("nftables", []):
        if not isinstance(entry, Mapping):
            continue
        rule, chain, table = entry.get("rule"), entry.get("chain"), entry.get("table")
        if rule and any(seen.get("jump", {}).get("target") == _CHAIN for seen in rule.get("expr", [])):
            where = [rule["family"], rule["table"], rule["chain"]]
            commands.append(["nft", "delete", "rule", *where, "handle", str(rule["handle"])])
        if chain and chain["name"] == _CHAIN and chain["table"] != TABLE:
            where = [chain["family"], chain["table"], chain["name"]]
            chains += [["nft", "flush", "chain", *where], ["nft", "delete", "chain", *where]]
        if table and table["name"] == TABLE and table["family"] == "inet":
            chains.append(["nft", "delete", "table", "inet", TABLE])
    return commands + chains


# ---- firewalld -----------------------------------------------------------------------------------------


def firewalld_rules(rules: Sequence[Rule]) -> list[str]:
    """As rich rules."""
    return [
        f'rule family="ipv{ipaddress.ip_network(source).version}" source address="{source}" '
        f'port port="{rule.ports()}" protocol="tcp" accept'
        for rule in rules
        for source in rule.sources
    ]


def firewalld_plan(rules: Sequence[Rule], present: str, recorded: str) -> Plan:
    """What has to be added and removed.

    Args:
        present: a line `ZONE permanent|runtime` for each zone and kind, each followed by its rich rules.
        recorded: rules that we added earlier, one a line.
    """
    wanted = firewalld_rules(rules)
    stale = [line for line in recorded.splitlines() if line and line not in wanted]
    commands = []
    for zone, kind, lines in _firewalld_zones(present):
        base = ("firewall-cmd", f"--zone={zone}", *(("--permanent",) if kind == "permanent" else ()))
        commands += [(*base, f"--add-rich-rule={line}") for line in wanted if line not in lines]
        commands += [(*base, f"--remove-rich-rule={line}") for line in stale if line in lines]
    return Plan(not commands, "".join(f"{line}\n" for line in wanted), tuple(commands))


def _firewalld_zones(present: str) -> list[tuple[str, str, list[str]]]:
    zones: list[tuple[str, str, list[str]]] = []
    for line in (raw.strip() for raw in present.splitlines()):
        head = re.fullmatch(r"(\S+) (permanent|runtime)", line)
        if head:
            zones.append((head[1], head[2], []))
        elif line and zones:
            zones[-1][2].append(line)
    return zones


# ---- ufw -----------------------------------------------------------------------------------------------


def ufw_rules(rules: Sequence[Rule]) -> list[str]:
    """As `ufw show added` lists them."""
    return [
        f"allow from {source} to any port {rule.ports(':')} proto tcp comment '{COMMENT} {rule.name}'"
        for rule in rules
        for source in rule.sources
    ]


def ufw_plan(rules: Sequence[Rule], added: str) -> Plan:
    """What has to be added and removed; ours are known by their comment.

    Args:
        added: what `ufw show added` says.
    """
    present = [line.strip().removeprefix("ufw ") for line in added.splitlines()]
    wanted = ufw_rules(rules)
    ours = [line for line in present if f" comment '{COMMENT} " in line]
    commands = [("ufw", *_ufw_words(line)) for line in wanted if line not in present]
    commands += [("ufw", "delete", *_ufw_words(line)[:-2]) for line in ours if line not in wanted]
    return Plan(not commands, "".join(f"{line}\n" for line in wanted), tuple(commands))


def _ufw_words(line: str) -> list[str]:
    rule, _, comment = line.partition(" comment ")
    return [*rule.split(), "comment", comment.strip("'")]
