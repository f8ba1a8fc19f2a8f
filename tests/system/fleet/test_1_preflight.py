"""Chapter 1: before anything is installed, everything that would stop it is said, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from .host import Host
from .story import Outcome, differences, fingerprint
from .town import GUEST, PROGRAM, Town

BOTH_SITES = ("lyon", "basel")
BOTH = ("--limit", "site_lyon,site_basel")
HOLDER = "import socket, time; s = socket.create_server(('0.0.0.0', 7410)); print('held', flush=True); time.sleep(3600)"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
FOREIGN_MACHINE = f"""\
<domain type='qemu'><name>{GUEST}</name><memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os>
<devices><interface type='network'><source network='nowhere'/></interface></devices></domain>
"""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong on one host.

    Args:
        host: where.
        make: makes it wrong.
        undo: makes it right again.
        level: of the finding that is expected.
        code: of the finding.
        words: what its sentence says.
    """

    host: str
    make: Callable[[Host], object]
    undo: Callable[[Host], object]
    level: str
    code: str
    words: tuple[str, ...]


def sh(script: str) -> Callable[[Host], object]:
    """A shell script run inside a host."""
    return lambda host: host.run(["sh", "-ec", script])


def hold_port(host: Host) -> None:
    """Another program listens on our control port."""
    unit = ["systemd-run", "--quiet", "--unit=port-holder", "--service-type=exec", "python3", "-c", HOLDER]
    host.run(unit)
    host.run(["sh", "-c", "until ss -Hltn sport = :7410 | grep -q .; do sleep 0.05; done"])


def turn_clock(host: Host) -> None:
    """Every program started from now on sees a clock that is 90 s ahead."""
    host.run(
        [
            "sh",
            "-ec",
            f"apt-get install -y -q libfaketime; echo '+90s' > /etc/faketimerc; echo {FAKETIME} > /etc/ld.so.preload",
        ]
    )


ROUNDS = {
    "a port is held, a folder is full, a clock is wrong, the data lies in memory": (
        Fault("lyon-a", hold_port, sh("systemctl stop port-holder"), "error", "port.held", ("7410", "python3")),
        Fault(
            "basel-b",
            sh(f"mkdir -p /srv/twinhull/{PROGRAM}; echo x > /srv/twinhull/{PROGRAM}/forgotten.txt"),
            sh("rm -r /srv/twinhull"),
            "error",
            "folder.not_empty",
            (PROGRAM, "forgotten.txt"),
        ),
        Fault(
            "lyon-b", turn_clock, sh("rm -f /etc/ld.so.preload /etc/faketimerc; apt-get purge -y -q libfaketime"),
            "error", "clock.difference", ("90",),
        ),
        Fault(
            "basel-a",
            sh("mkdir /var/lib/twinhull; mount -t tmpfs tmpfs /var/lib/twinhull"),
            sh("umount /var/lib/twinhull; rmdir /var/lib/twinhull"),
            "error",
            "disk.memory",
            ("node a", "/var/lib/twinhull", "tmpfs"),
        ),
    ),
    "a cable is out, a firewall is in the way, a reboot is due, the system is unknown": (
        Fault(
            "lyon-b",
            lambda host: host.cut("direct"),
            lambda host: host.heal("direct"),
            "error",
            "address.down",
            ("node b", "direct"),
        ),
        Fault(
            "basel-a",
            sh("nft add table inet foreign; nft 'add chain inet foreign in { type filter hook input priority 0; }';"
               " nft add rule inet foreign in tcp dport 7421 drop"),
            sh("nft delete table inet foreign"),
            "error",
            "network.timeout",
            ("node b -> node a", "7421"),
        ),
        Fault(
            "lyon-b", sh("touch /run/reboot-required"), sh("rm /run/reboot-required"),
            "warning", "reboot.pending", ("node b",),
        ),
        Fault(
            "basel-a",
            sh("rm -f /etc/os-release; printf 'ID=plan9\\nVERSION_ID=4\\nPRETTY_NAME=\"Plan 9\"\\n' > /etc/os-release"),
            sh("rm /etc/os-release; ln -s ../usr/lib/os-release /etc/os-release"),
            "error",
            "os.unsupported",
            ("node a", "Plan 9"),
        ),
    ),
    "a VM needs a switch, the folder is a foreign mount, a network is slow, an address is missing": (
        Fault(
            "lyon-a",
            lambda host: host.run(["virsh", "define", "/dev/stdin"], input_text=FOREIGN_MACHINE),
            sh(f"virsh undefine {GUEST}"),
            "error",
            "switch.missing",
            ("node b", "nowhere", GUEST),
        ),
        Fault(
            "basel-b",
            sh(f"mkdir -p /srv/twinhull/{PROGRAM}; mount -t tmpfs tmpfs /srv/twinhull/{PROGRAM}"),
            sh(f"umount /srv/twinhull/{PROGRAM}; rm -r /srv/twinhull"),
            "error",
            "folder.mounted",
            ("node b", PROGRAM),
        ),
        Fault(
            "lyon-a",
            sh("tc qdisc add dev direct root tbf rate 200mbit burst 256k latency 50ms"),
            sh("tc qdisc del dev direct root"),
            "warning",
            "network.bandwidth",
            ("node a -> node b", "direct"),
        ),
        Fault(
            "basel-b",
            sh("ip address del 10.78.2.12/24 dev direct"),
            sh("ip address add 10.78.2.12/24 dev direct"),
            "error",
            "address.missing",
            ("node b", "10.78.2.12"),
        ),
    ),
}  # fmt: skip


def findings(town: Town, site: str) -> list[dict[str, Any]]:
    """What the last preflight found at a site."""
    report = json.loads((town.fleet.root / f"reports/preflight-{site}.json").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = report["findings"]
    return found


def fingerprints(town: Town) -> dict[str, dict[str, str]]:
    """Of all hosts that live."""
    return {host.name: fingerprint(host) for host in town.fleet.living}


def assert_untouched(before: dict[str, dict[str, str]], town: Town, outcome: Outcome) -> None:
    """Nothing on any host differs, and the playbook claims no change."""
    for name, now in fingerprints(town).items():
        assert differences(before[name], now) == [], name
    assert outcome.changes("lyon", "basel", "oslo") == []


def test_good_hosts_pass_and_a_dead_site_is_named_and_stops_nobody(town: Town) -> None:
    before = fingerprints(town)
    outcome = town.stage.play("preflight")
    assert outcome.status != 0, outcome.tail
    assert outcome.outcome("oslo") == "left out", outcome.tail
    assert outcome.outcome("lyon") == outcome.outcome("basel") == "unchanged", outcome.tail
    for site in BOTH_SITES:
        assert [finding for finding in findings(town, site) if finding["level"] == "error"] == []
    assert_untouched(before, town, outcome)


@pytest.mark.parametrize("faults", ROUNDS.values(), ids=ROUNDS.keys())
def test_each_thing_wrong_is_said_with_a_remedy_and_nothing_is_changed(
    town: Town, faults: tuple[Fault, ...]
) -> None:
    made: list[Fault] = []
    try:
        for fault in faults:
            made.append(fault)
            fault.make(town[fault.host])
        before = fingerprints(town)
        outcome = town.stage.play("preflight", *BOTH)
        assert_untouched(before, town, outcome)
    finally:
        for fault in made:
            fault.undo(town[fault.host])
    for fault in faults:
        site = town[fault.host].site
        found = [f for f in findings(town, site) if (f["code"], f["level"]) == (fault.code, fault.level)]
        assert found, f"{fault.code} was not found at {site}: {outcome.tail}"
        told = " ".join(finding["sentence"] for finding in found)
        assert all(word in told for word in fault.words), told
        assert all(finding["remedy"] for finding in found)
    for site in BOTH_SITES:
        wrong = any(fault.level == "error" and town[fault.host].site == site for fault in faults)
        assert (outcome.outcome(site) == "left out") == wrong, outcome.tail
    assert (outcome.status != 0) == any(fault.level == "error" for fault in faults)
