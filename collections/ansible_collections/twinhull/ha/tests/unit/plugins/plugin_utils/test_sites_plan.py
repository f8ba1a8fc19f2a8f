# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Sites become hosts, groups and variables, in the order in which a fleet is worked on."""

from __future__ import annotations

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_fleet import read_fleet
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_plan import (
    Plan,
    make_plan,
    natural,
    site_group,
)
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import Problems

TEXT = """\
plugin: twinhull.ha.sites
rings: [pilot, broad]
defaults:
  networks: {lan: {roles: [control, heartbeat, replication]}}
  tags: {ring: broad}
  control_addresses: [10.0.0.0/24]
  vars: {ansible_user: root}
sites:
  site-10:
    tags: {customer: Acme & Co}
    vars: {rack: 7}
    nodes:
      b: {addresses: {lan: 10.1.0.12}}
      a: {addresses: {lan: 10.1.0.11}, host: ten-a.example, vars: {rack: 8}}
    modules:
      VM1: {number: 1, size: 1 GiB, folder: /srv/VM1, preferred: b, resource: {kind: libvirt}}
  site-2:
    nodes: {a: {addresses: {lan: 10.2.0.11}}, b: {addresses: {lan: 10.2.0.12}, host_name: two-b}}
  last:
    tags: {ring: pilot}
    nodes: {x: {addresses: {lan: 10.3.0.11}}, y: {addresses: {lan: 10.3.0.12}}}
"""


def plan() -> Plan:
    problems = Problems()
    fleet = read_fleet(TEXT, problems)
    assert problems.found == []
    names = ({"ansible_user": "root"}, {"rack": 7}, {"rack": 8})
    return make_plan(fleet, dict(zip(fleet.spans(), names, strict=True)))


def host(name: str) -> dict[str, object]:
    found = next(host for host in plan().hosts if host.name == name)
    return {**found.variables, **found.own_variables}


def test_hosts_come_by_ring_then_site_then_node() -> None:
    names = [host.name for host in plan().hosts]
    assert names == ["last-x", "last-y", "site-2-a", "two-b", "site-10-a", "site-10-b"]


def test_each_host_knows_its_site_its_node_and_its_peer() -> None:
    variables = host("two-b")
    assert variables["twinhull_site"] == "site-2"
    assert variables["twinhull_node"] == "b"
    assert variables["twinhull_peer"] == "site-2-a"
    assert variables["twinhull_platform"] == "linux"
    assert host("site-2-a")["twinhull_peer"] == "two-b"


def test_each_host_has_ring_tags_and_control_addresses() -> None:
    variables = host("last-x")
    assert (variables["twinhull_ring"], variables["twinhull_ring_order"]) == ("pilot", 0)
    assert variables["twinhull_tags"] == {"ring": "pilot"}
    assert variables["twinhull_control_addresses"] == ["10.0.0.0/24"]


def test_ansible_connects_to_the_host_that_is_named_else_to_the_first_address() -> None:
    assert host("site-10-a")["ansible_host"] == "ten-a.example"
    assert host("site-10-b")["ansible_host"] == "10.1.0.12"


def test_the_cluster_is_called_as_the_site_and_is_whole() -> None:
    cluster = host("site-10-a")["twinhull_cluster"]
    assert isinstance(cluster, dict)
    assert cluster["cluster"] == "site-10"
    assert list(cluster) == ["cluster", "nodes", "networks", "ports", "witness", "keep", "modules"]
    assert cluster["nodes"] == {
        "a": {"addresses": {"lan": "10.1.0.11"}},
        "b": {"addresses": {"lan": "10.1.0.12"}},
    }
    assert cluster == host("site-10-b")["twinhull_cluster"]


def test_groups_are_made_per_site_platform_ring_tag_and_preference() -> None:
    groups = {host.name: host.groups for host in plan().hosts}
    assert groups["site-10-b"] == (
        "twinhull", "site_10", "platform_linux", "ring_broad",
        "tag_ring_broad", "tag_customer_Acme_Co", "preferred_node",
    )  # fmt: skip
    assert "preferred_node" not in groups["site-10-a"]


def test_every_group_but_the_first_is_below_it() -> None:
    first, *others = plan().groups
    assert (first.name, first.parent) == ("twinhull", None)
    assert {group.parent for group in others} == {"twinhull"}


def test_the_users_variables_go_to_all_or_to_the_hosts_of_the_site() -> None:
    groups = {group.name: dict(group.variables) for group in plan().groups}
    assert groups["twinhull"] == {"ansible_user": "root"}
    assert host("site-10-b")["rack"] == 7
    assert host("site-10-a")["rack"] == 8


def test_names_are_ordered_as_people_count() -> None:
    assert sorted(["site-10", "site-9", "Site-1", "site"], key=natural) == [
        "site",
        "Site-1",
        "site-9",
        "site-10",
    ]


def test_a_name_that_begins_with_site_is_not_prefixed_again() -> None:
    assert [site_group(name) for name in ("lyon", "site-042", "sitex")] == [
        "site_lyon",
        "site_042",
        "site_sitex",
    ]
