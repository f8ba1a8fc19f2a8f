"""What the files and commands of a Linux host say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.twinhull.ha.plugins.module_utils import preflight_parse as parse

MOUNTINFO = """\
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro
25 22 0:22 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=1000k
30 22 8:17 / /data rw,noatime shared:9 - ext3 /dev/sdb1 rw,barrier=0
31 22 0:40 / /mnt/with\\040space rw shared:9 - nfs4 nas:/export rw,vers=4.2
32 22 7:0 / /srv/twinhull/VM1 rw - ext4 /dev/loop0 rw
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00010A:1CF2 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:0016 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx rx tr tm retr uid timeout inode
   0: 00000000000000000000000000000000:1CF3 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4713 1 0
   1: B80D0120000000000000000001000000:1CF3 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4714 1 0
"""
DOMAIN = """\
<domain type='kvm'>
  <name>VM1</name><memory unit='MiB'>2048</memory>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <cpu mode='host-model'/>
  <devices>
    <disk type='file' device='disk'><source file='/var/lib/libvirt/images/VM1.qcow2'/></disk>
    <disk type='file' device='cdrom'><source file='/iso/debian.iso'/></disk>
    <interface type='network'><source network='default'/></interface>
    <interface type='bridge'><source bridge='br0'/></interface>
    <tpm model='tpm-crb'/>
  </devices>
</domain>
"""


def test_os_release_is_read_with_and_without_quotes() -> None:
    found = parse.parse_os_release(
        'ID=debian\nVERSION_ID="12"\n# a comment\nBROKEN="x\nPRETTY_NAME="Debian 12"\n'
    )
    assert (found["ID"], found["VERSION_ID"], found["PRETTY_NAME"]) == ("debian", "12", "Debian 12")
    assert "BROKEN" not in found


def test_the_deepest_mount_holds_a_path() -> None:
    mounts = parse.parse_mountinfo(MOUNTINFO)
    for path, point in (
        ("/var/lib/twinhull", "/"),
        ("/data/twinhull", "/data"),
        ("/database", "/"),
        ("/mnt/with space/x", "/mnt/with space"),
        ("/srv/twinhull/VM1", "/srv/twinhull/VM1"),
    ):
        mount = parse.mount_of(mounts, path)
        assert mount is not None
        assert mount.mount_point == point, path


def test_what_a_mount_is_and_whether_it_flushes() -> None:
    mounts = {mount.mount_point: mount for mount in parse.parse_mountinfo(MOUNTINFO)}
    assert parse.kind_of_file_system(mounts["/run"].file_system) == "memory"
    assert parse.kind_of_file_system(mounts["/mnt/with space"].file_system) == "network"
    assert parse.kind_of_file_system(mounts["/"].file_system) == "disk"
    assert parse.barriers_disabled(mounts["/data"].options) == "barrier=0"
    assert parse.barriers_disabled(mounts["/"].options) == ""


def test_only_listening_sockets_are_told_with_their_addresses() -> None:
    assert parse.parse_proc_net_tcp(TCP) == [("10.1.0.11", 7410, 4711)]
    assert parse.parse_proc_net_tcp(TCP6) == [("::", 7411, 4713), ("2001:db8::1", 7411, 4714)]


def test_a_domain_names_its_networks_and_disks_but_no_cdrom() -> None:
    domain = parse.parse_domain(DOMAIN)
    assert (domain["name"], domain["type"], domain["machine"], domain["cpu_mode"]) == (
        "VM1", "kvm", "pc-q35-7.2", "host-model",
    )  # fmt: skip
    assert (domain["networks"], domain["bridges"], domain["tpm"]) == (["default"], ["br0"], True)
    assert domain["disks"] == ["/var/lib/libvirt/images/VM1.qcow2"]
    assert domain["memory_bytes"] == 2 << 30


def test_what_is_no_domain_is_refused() -> None:
    with pytest.raises(ValueError, match="no XML"):
        parse.parse_domain("error: failed to get domain")


def test_libvirts_networks_are_read_by_their_columns() -> None:
    text = (
        " Name      State      Autostart   Persistent\n----\n"
        " default   active     yes         yes\n iso net   inactive   no          yes\n\n"
    )
    assert parse.parse_net_list(text) == [
        {"name": "default", "active": True, "autostart": True},
        {"name": "iso net", "active": False, "autostart": False},
    ]


def test_processor_and_memory_are_read() -> None:
    cpu = parse.parse_cpuinfo(
        "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nflags\t\t: vmx aes\n\nprocessor\t: 1\n"
    )
    assert cpu == {"vendor": "GenuineIntel", "model": "Xeon", "flags": ["aes", "vmx"], "count": 2}
    assert parse.parse_meminfo_bytes("MemTotal:       1024 kB\nHugePages_Total: 0\n") == {"MemTotal": 1 << 20}


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        ("/opt/twinhull/versions/0.1.0/bin/python3 /usr/local/bin/twinhull agent run", True),
        ("/opt/twinhull/versions/0.1.0/bin/python3 -P -m twinhull.worker.main --module VM1", True),
        ("python3 /tmp/ansible_collections/twinhull/ha/plugins/modules/preflight_network.py", False),
        ("nginx -c /srv/twinhull/nginx.conf", False),
        ("", False),
    ],
)
def test_our_own_processes_are_known_by_their_command_line(command: str, ours: bool) -> None:
    assert parse.is_ours(command) is ours


def nft(
    *, policy: str = "accept", table: str = "filter", hook: str = "input", rules: list[list[dict[str, Any]]]
) -> str:
    where = {"family": "inet", "table": table}
    chain = {"chain": {**where, "name": "c", "hook": hook, "policy": policy}}
    return json.dumps(
        {"nftables": [chain, *({"rule": {**where, "chain": "c", "expr": expr}} for expr in rules)]}
    )


@pytest.mark.parametrize(
    ("ruleset", "closed"),
    [
        (nft(policy="drop", rules=[]), True),
        (nft(rules=[[{"counter": {}}, {"reject": {}}]]), True),
        (nft(rules=[[{"match": {}}, {"drop": None}]]), False),
        (nft(policy="drop", hook="forward", rules=[]), False),
        (nft(policy="drop", table="twinhull", rules=[]), False),
        ("", False),
        ("no json", False),
    ],
)
def test_a_firewall_that_turns_away_what_it_does_not_know_is_recognised(ruleset: str, closed: bool) -> None:
    assert parse.nftables_turns_away(ruleset) is closed


def test_known_antivirus_products_are_recognised_by_their_processes() -> None:
    assert parse.antivirus_of(["systemd", "clamd", "falcon-sensor", "clamd"]) == [
        "ClamAV",
        "CrowdStrike Falcon",
    ]


@pytest.mark.parametrize(
    ("text", "version"), [("twinhull 0.1.0\n", "0.1.0"), ("twinhull 1.2.0rc1", "1.2.0rc1"), ("no", "")]
)
def test_a_version_is_found_in_a_programs_answer(text: str, version: str) -> None:
    assert parse.parse_version(text) == version
