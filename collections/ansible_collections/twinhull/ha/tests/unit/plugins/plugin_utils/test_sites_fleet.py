# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A sites file is read whole, and everything that is wrong is told by line and site."""

from __future__ import annotations

import pytest

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_check import check_fleet
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_fleet import read_fleet
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_model import Fleet
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import Problems

GOOD = """\
plugin: twinhull.ha.sites
rings: [pilot, broad]
defaults:
  networks:
    lan: {roles: [control, heartbeat]}
    direct: {roles: [replication]}
  tags: {ring: broad}
sites:
  lyon:
    tags: {country: fr, ring: pilot}
    nodes:
      a: {addresses: {lan: 10.1.0.11, direct: 192.168.1.11}}
      b: {addresses: {lan: 10.1.0.12, direct: 192.168.1.12}}
    modules:
      VM1:
        number: 1
        size: 64 GiB
        folder: /srv/twinhull/VM1
        preferred: a
        resource: {kind: libvirt}
  basel:
    nodes:
      a: {addresses: {lan: 10.2.0.11, direct: 192.168.2.11}}
      b: {addresses: {lan: 10.2.0.12, direct: 192.168.2.12}}
"""


def read(text: str) -> tuple[Fleet, list[str]]:
    problems = Problems()
    fleet = read_fleet(text, problems)
    check_fleet(fleet, problems)
    return fleet, [problem.text("sites.yml") for problem in problems.sorted()]


def changed(old: str, new: str) -> str:
    assert old in GOOD, f"the good file has no {old!r}"
    return GOOD.replace(old, new, 1)


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_a_good_file_has_no_problems() -> None:
    fleet, told = read(GOOD)
    assert told == []
    assert [site.name for site in fleet.sites] == ["lyon", "basel"]


def test_the_defaults_reach_each_site() -> None:
    fleet, _told = read(GOOD)
    basel = fleet.sites[1]
    assert basel.ring == "broad"
    assert basel.ring_order == 1
    assert list(basel.cluster["networks"]) == ["lan", "direct"]
    assert basel.cluster["ports"] == {"control": 7410, "heartbeat": 7411, "data": 7420}


def test_a_site_goes_before_the_defaults_key_by_key_where_that_is_said() -> None:
    text = changed("  tags: {ring: broad}", "  tags: {ring: broad, team: night}\n  ports: {control: 8410}")
    fleet, told = read(text.replace("    modules:\n", "    ports: {data: 9000}\n    modules:\n", 1))
    assert told == []
    assert fleet.sites[0].cluster["ports"] == {"control": 8410, "heartbeat": 7411, "data": 9000}
    assert fleet.sites[0].tags == {"ring": "pilot", "team": "night", "country": "fr"}


def test_the_defaults_of_modules_are_merged_deep_but_not_over_another_kind() -> None:
    module = "  module: {timings: {timeout: 12}, resource: {kind: libvirt, stop: {mode: save}}}\n"
    scripts = "{kind: scripts, process: true, start: [/opt/run]}"
    text = changed("  tags: {ring: broad}\n", "  tags: {ring: broad}\n" + module).replace(
        "resource: {kind: libvirt}",
        "timings: {write_timeout: 5}\n        resource: {kind: libvirt, stop: {timeout: 60}}",
    )
    fleet, told = read(text)
    assert told == []
    vm = fleet.sites[0].cluster["modules"]["VM1"]
    assert vm["timings"] == {"timeout": 12, "write_timeout": 5}
    assert vm["resource"]["stop"] == {"mode": "save", "timeout": 60}
    fleet, told = read(text.replace("{kind: libvirt, stop: {timeout: 60}}", scripts))
    assert told == []
    assert fleet.sites[0].cluster["modules"]["VM1"]["resource"] == {
        "kind": "scripts", "start": ["/opt/run"], "process": True,
    }  # fmt: skip


def test_words_are_taken_as_they_are_written() -> None:
    text = changed("{kind: libvirt}", "{kind: libvirt, forced_stop: {mode: off}}").replace("lyon:", "no:")
    fleet, told = read(text)
    assert told == []
    assert fleet.sites[0].name == "no"
    assert fleet.sites[0].cluster["modules"]["VM1"]["resource"]["forced_stop"] == {"mode": "off"}


WRONG = {
    "a missing node": (
        "      b: {addresses: {lan: 10.1.0.12, direct: 192.168.1.12}}\n    modules",
        "    modules",
        "nodes:",
        "site lyon: 'nodes' must name exactly two nodes, not 1 (a)",
    ),
    "three nodes": (
        "    modules:",
        "      c: {addresses: {lan: 10.1.0.13, direct: 192.168.1.13}}\n    modules:",
        "nodes:",
        "site lyon: 'nodes' must name exactly two nodes, not 3 (a, b, c)",
    ),
    "an address that another site has": (
        "10.2.0.12",
        "10.1.0.11",
        "lan: 10.1.0.11, direct: 192.168.2.12",
        "site basel: 10.1.0.11 of node b on 'lan' is node a of site lyon already (line 12)",
    ),
    "an address that the other node has": (
        "10.1.0.12",
        "10.1.0.11",
        "direct: 192.168.1.12",
        "site lyon: 'nodes.b.addresses.lan' is wrong: 10.1.0.11 is the node 'a' already",
    ),
    "an address that is none": (
        "10.1.0.12",
        "lyon-b",
        "lan: lyon-b",
        "site lyon: 'nodes.b.addresses.lan' is wrong: 'lyon-b' is no IP address",
    ),
    "a node without an address on a network": (
        ", direct: 192.168.1.12",
        "",
        "lan: 10.1.0.12",
        "site lyon: 'nodes.b.addresses' has no address on the network 'direct'",
    ),
    "an address on a network that there is not": (
        "direct: 192.168.1.12",
        "directt: 192.168.1.12",
        "directt",
        "site lyon: unknown key 'directt' in 'nodes.b.addresses': did you mean 'direct'?",
    ),
    "a size without a unit": (
        "64 GiB",
        "64",
        "size:",
        "site lyon: 'modules.VM1.size' is wrong: '64' has no unit: write for example '64 GiB'",
    ),
    "a size that is no number of blocks": (
        "64 GiB",
        "64.0000001 GB",
        "size:",
        "site lyon: 'modules.VM1.size' is wrong: 64.0000001 GB is 64000000100 bytes, no whole number of 4 KiB blocks",
    ),
    "a preferred node that there is not": (
        "preferred: a",
        "preferred: c",
        "preferred",
        "site lyon: 'modules.VM1.preferred' is wrong: 'c' is no node of this site",
    ),
    "an unknown key": (
        "preferred: a",
        "prefered: a",
        "prefered",
        "site lyon: unknown key 'prefered' in 'modules.VM1': did you mean 'preferred'?",
    ),
    "a key in the wrong place": (
        "        preferred: a",
        "        timeout: 10",
        "timeout",
        "site lyon: the key 'timeout' does not belong here in 'modules.VM1': it is a key of 'timings'",
    ),
    "the same key twice": (
        "        number: 1",
        "        number: 1\n        number: 2",
        "number: 2",
        "the key 'number' stands here twice (first in line 16)",
    ),
    "the same site twice": (
        "  basel:",
        "  lyon:",
        "\u0000",
        "the key 'lyon' stands here twice (first in line 9)",
    ),
    "names that differ in capitals only": (
        "  basel:",
        "  Lyon:",
        "Lyon",
        "site Lyon: has the name of site lyon (line 9) but for capitals",
    ),
    "a name that cannot be a site's": (
        "  basel:",
        "  site_7:",
        "site_7",
        "site site_7: its name is wrong: 'site_7' is no name: use letters, digits and '-' inside, at most 63 "
        "(certificates carry it), such as 'site-7'",
    ),
    "an unknown ring": (
        "ring: pilot",
        "ring: pilott",
        "pilott",
        "site lyon: has the unknown ring 'pilott': did you mean 'pilot'?",
    ),
    "a folder of the other platform": (
        "/srv/twinhull/VM1",
        r"D:\Twinhull\VM1",
        "folder",
        r"site lyon: 'modules.VM1.folder' is wrong: 'D:\Twinhull\VM1' is a path of Windows",
    ),
    "a folder of the system": (
        "/srv/twinhull/VM1",
        "/usr/share/VM1",
        "folder",
        "site lyon: 'modules.VM1.folder' is wrong: /usr/share/VM1 belongs to the system",
    ),
    "a folder where Twinhull itself lives": (
        "/srv/twinhull/VM1",
        "/var/lib/twinhull/VM1",
        "folder",
        "site lyon: 'modules.VM1.folder' is wrong: /var/lib/twinhull/VM1 overlaps a directory of Twinhull itself",
    ),
    "mixed platforms": (
        "      b: {addresses: {lan: 10.1.0.12",
        "      b: {platform: windows, addresses: {lan: 10.1.0.12",
        "    nodes",
        "site lyon: 'nodes' mixes platforms (a is linux, b is windows): a VM cannot move between Hyper-V and KVM",
    ),
    "a VM of the other platform": (
        "kind: libvirt",
        "kind: hyperv",
        "resource",
        "site lyon: 'modules.VM1.resource.kind' is wrong: 'hyperv' is not one of them: use libvirt, scripts",
    ),
    "a host that is reached like another": (
        "      b: {addresses: {lan: 10.1.0.12",
        "      b: {host: 10.2.0.11, addresses: {lan: 10.1.0.12",
        "host:",
        "site lyon: node b is reached at 10.2.0.11, which is node a of site basel",
    ),
    "a host's name that another has": (
        "      b: {addresses: {lan: 10.2.0.12",
        "      b: {host_name: lyon-a, addresses: {lan: 10.2.0.12",
        "host_name",
        "site basel: node b would be the host 'lyon-a', as node a of site lyon (line 12)",
    ),
    "a host's name that is a group's": (
        "      b: {addresses: {lan: 10.2.0.12",
        "      b: {host_name: site_lyon, addresses: {lan: 10.2.0.12",
        "host_name",
        "site basel: node b would be the host 'site_lyon', which is the name of a group",
    ),
    "a variable that is the inventory's own": (
        "    modules:",
        "    vars: {twinhull_site: x}\n    modules:",
        "vars",
        "site lyon: 'vars.twinhull_site' is made by the inventory itself: remove it here",
    ),
    "another plugin": (
        "plugin: twinhull.ha.sites",
        "plugin: twinhull.ha.cites",
        "plugin",
        "'plugin' is wrong: 'twinhull.ha.cites' is another plugin: this file needs twinhull.ha.sites",
    ),
    "an alias": (
        "lan: {roles: [control, heartbeat]}",
        "lan: &x {roles: [control, heartbeat]}\n    other: *x",
        "other: *x",
        "anchors and aliases (&, *) are not supported: write the value out, or use 'defaults'",
    ),
    "a tag of Python": (
        "size: 64 GiB",
        "size: !!python/object/apply:os.system [id]",
        "python",
        "the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not supported here",
    ),
    "a site without anything": (
        "  basel:\n",
        "  paris:\n  basel:\n",
        "paris",
        "site paris: it must have keys of its own",
    ),
    "a role that no network has": (
        "[replication]",
        "[heartbeat]",
        "  networks:",
        "defaults: no network has the role 'replication'",
    ),
    "a witness that is a node": (
        "    modules:",
        "    witness: {kind: ping, addresses: [10.1.0.12]}\n    modules:",
        "witness",
        "site lyon: 'witness.addresses' is wrong: 10.1.0.12 is the node 'b' itself; name a third party",
    ),
    "the whole world as control address": (
        "    modules:",
        "    control_addresses: [0.0.0.0/0]\n    modules:",
        "control_addresses",
        "site lyon: 'control_addresses' is wrong: '0.0.0.0/0' would let the whole world in",
    ),
    "two texts of a tag that make one group": (
        "  basel:\n",
        "  basel:\n    tags: {country: 'f r'}\n  paris:\n    tags: {country: f-r}\n    nodes:\n"
        "      a: {addresses: {lan: 10.3.0.11, direct: 192.168.3.11}}\n"
        "      b: {addresses: {lan: 10.3.0.12, direct: 192.168.3.12}}\n  turin:\n",
        "\u0000",
        "makes the group 'tag_country_f_r', as the tag country: 'f r' of site basel",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_with_line_site_and_remedy(name: str) -> None:
    old, new, marker, sentence = WRONG[name]
    text = changed(old, new)
    if name == "two texts of a tag that make one group":
        text = text.replace("  turin:\n", "  turin:\n    tags: {country: it}\n")
    _fleet, told = read(text)
    matching = [line for line in told if sentence in line]
    assert matching, "\n".join(told)
    if marker != "\u0000":
        assert matching[0].startswith(f"sites.yml:{line_of(text, marker)}: ")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    text = (
        GOOD.replace("64 GiB", "64").replace("10.2.0.12", "10.1.0.11").replace("preferred: a", "preferred: c")
    )
    _fleet, told = read(text)
    assert len(told) == 3
    assert [line.split(":")[1] for line in told] == sorted((line.split(":")[1] for line in told), key=int)


def test_what_is_wrong_with_a_default_is_told_once_and_not_for_each_site() -> None:
    text = changed(
        "  tags: {ring: broad}\n", "  tags: {ring: broad}\n  ports: {control: 80}\n  keep: newest\n"
    )
    _fleet, told = read(text)
    assert len(told) == 2
    assert all(": defaults: " in line for line in told)


def test_two_modules_of_a_site_share_neither_number_nor_folder() -> None:
    second = "      VM2: {number: 1, size: 1 GiB, folder: /srv/twinhull/VM1/x, resource: {kind: libvirt}}\n"
    _fleet, told = read(changed("  basel:\n", second + "  basel:\n"))
    assert [line.split(": ", 1)[1] for line in told] == [
        "site lyon: 'modules.VM2.number' is wrong: 1 is module 'VM1' already; take another one",
        "site lyon: 'modules.VM2.folder' is wrong: /srv/twinhull/VM1/x overlaps /srv/twinhull/VM1 of module 'VM1'; "
        "take another one",
    ]


def test_folders_of_windows_differ_by_more_than_capitals() -> None:
    windows = changed(
        "    tags: {country: fr, ring: pilot}\n", "    platform: windows\n    tags: {ring: pilot}\n"
    )
    text = windows.replace("/srv/twinhull/VM1", r"d:\Twinhull\VM1").replace("kind: libvirt", "kind: hyperv")
    fleet, told = read(text)
    assert told == []
    assert fleet.sites[0].cluster["modules"]["VM1"]["folder"] == r"D:\Twinhull\VM1"
    assert fleet.sites[0].cluster["modules"]["VM1"]["file_system"] == "ntfs"
    second = r"      VM2: {number: 2, size: 1 GiB, folder: D:\twinhull\vm1, resource: {kind: hyperv}}" + "\n"
    _fleet, told = read(text.replace("  basel:\n", second + "  basel:\n"))
    assert len(told) == 1
    assert "overlaps" in told[0]


def test_a_cable_may_have_the_same_addresses_at_every_site() -> None:
    text = GOOD.replace("192.168.2.", "192.168.1.")
    _fleet, told = read(text)
    assert len(told) == 2
    assert "isolated_networks: [direct]" in told[0]
    _fleet, told = read(
        text.replace("  tags: {ring: broad}", "  tags: {ring: broad}\n  isolated_networks: [direct]")
    )
    assert told == []


def test_two_hosts_behind_one_address_need_different_ports() -> None:
    behind = GOOD.replace(
        "{addresses: {lan: 10.1", "{host: gate.example, vars: {ansible_port: PORT}, addresses: {lan: 10.1"
    )
    _fleet, told = read(behind.replace("PORT", "2201", 1).replace("PORT", "2202", 1))
    assert told == []
    _fleet, told = read(behind.replace("PORT", "2201"))
    assert len(told) == 1
    assert "is reached at gate.example" in told[0]


def test_without_rings_every_site_is_in_the_same_one() -> None:
    text = (
        GOOD.replace("rings: [pilot, broad]\n", "")
        .replace(", ring: pilot", "")
        .replace("  tags: {ring: broad}\n", "")
    )
    fleet, told = read(text)
    assert told == []
    assert {(site.ring, site.ring_order) for site in fleet.sites} == {("default", 0)}


def test_a_ring_without_rings_is_refused() -> None:
    _fleet, told = read(GOOD.replace("rings: [pilot, broad]\n", ""))
    assert any("has the ring 'pilot', but the file has no 'rings:'" in line for line in told)
