# Copyright: (c) Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
# ruff: noqa: E402 - imports stand below the documentation, as ansible-test wants it
"""Inventory plugin: one short file of sites becomes hosts, groups and variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sites
short_description: Sites of two nodes, from one short file
version_added: 0.1.0
author: Twinhull contributors (@twinhull)
description:
  - Reads a file of sites. Each site has two nodes, the networks between them, its modules (protected VMs or
    applications) and tags of your own, such as country, customer and ring.
  - Every site becomes two hosts, called C(SITE-NODE), with everything the playbooks of this collection need.
  - The whole file is checked before anything is made of it. Everything that is wrong is told at once, each with its
    line and site, and then there are no hosts at all.
  - The name of the file must end in C(sites.yml) or C(sites.yaml). It can be encrypted with Ansible Vault as a whole.
  - "Groups: C(twinhull) (all hosts, in the order of the rings, then of the sites, the two nodes of a site side by
    side), C(site_NAME) (a name that begins with C(site-) is not prefixed again), C(platform_linux),
    C(platform_windows), C(ring_RING), C(tag_KEY_VALUE), and C(preferred_node) (hosts that at least one module
    prefers). In names of groups, everything but letters and digits becomes C(_)."
  - "Variables of each host: C(twinhull_site), C(twinhull_node), C(twinhull_peer) (the other node's name in the
    inventory), C(twinhull_platform), C(twinhull_cluster) (the whole configuration of the cluster), C(twinhull_tags),
    C(twinhull_ring), C(twinhull_ring_order), C(twinhull_control_addresses), C(ansible_host)."
  - Values are taken as they are written, so V(off) is a stop mode and V(02:00) a time. Anchors and aliases are refused.
    Templates and C(!vault) values work under C(vars).
notes:
  - The result is not cached. Five hundred sites are read in less time than a cache would need.
options:
  plugin:
    description: Marks the file as one for this plugin.
    type: str
    required: true
    choices: [twinhull.ha.sites]
  rings:
    description:
      - Names of the rings, in the order in which changes reach them. An upgrade goes ring by ring.
      - When it is there, each site needs the tag C(ring) with one of them, of its own or from the defaults.
    type: list
    elements: str
    default: []
  defaults:
    description:
      - What holds for every site that does not say otherwise. C(ports), C(witness), C(tags) and C(module) are merged key
        by key, C(vars) as variables of the group C(twinhull); any other key of a site replaces the default.
    type: dict
    suboptions:
      platform:
        description: Of both nodes. A site cannot mix platforms.
        type: str
        choices: [linux, windows]
        default: linux
      networks:
        description:
          - The networks between the two nodes, in the order of preference, each with C(roles) out of C(heartbeat),
            C(replication) and C(control).
        type: dict
      ports:
        description: C(control), C(heartbeat) and C(data). A module's data port is C(data) plus its number.
        type: dict
      witness:
        description:
          - C(kind) V(none), V(ping) with C(addresses), or V(etcd) with C(endpoints) and the files C(ca), C(cert) and
            C(key) on both hosts; C(timeout).
        type: dict
      keep:
        description:
          - Who wins a split brain, V(longest-running) unless it is said. The losing side's changes go to its rescue.
          - With V(ask) both sides stay as they are until a person decides.
        type: str
        choices: [longest-running, preferred-node, ask]
      rescue:
        description:
          - What is kept of what a copy overwrites. C(share) of the disk, C(expire_after), and what happens when there
            is no room, C(split_brain_full) and C(resync_full), V(ask) or V(give-up).
        type: dict
      tags:
        description: Words of your own, each one value. They become groups.
        type: dict
      control_addresses:
        description: Addresses and networks from which the control node and the console's users come, for the firewall.
        type: list
        elements: str
      isolated_networks:
        description:
          - Networks that only join the two nodes of a site, such as a cable between them. Sites may use the same
            addresses on them.
        type: list
        elements: str
      vars:
        description:
          - Variables of all hosts; all C(group_vars) go before them. The C(vars) of a site and of a node go before all
            C(group_vars), and C(host_vars) before these.
        type: dict
      module:
        description: What the modules of all sites share, such as C(boot), C(timings) or C(resource).
        type: dict
  sites:
    description:
      - The sites by name (letters, digits and inner hyphens; it is the name of the cluster, too).
      - Each takes the keys of O(defaults) except C(module), and C(nodes) and C(modules).
      - C(nodes) has exactly two, each with C(addresses) (one on each network), and, where needed, C(host) (what Ansible
        connects to; else the first address), C(host_name) (the name in the inventory; else C(SITE-NODE)) and C(vars).
      - The words of C(modules) are those of the agent's configuration.
    type: dict
    required: true
  strict:
    description: Whether a template of O(compose), O(groups) or O(keyed_groups) that fails is an error.
    type: bool
    default: false
  compose:
    description: Further variables of each host, as Jinja2 expressions.
    type: dict
    default: {}
  groups:
    description: Further groups by name, each with a Jinja2 condition.
    type: dict
    default: {}
  keyed_groups:
    description: Further groups made of the values of variables, as in P(ansible.builtin.constructed#inventory).
    type: list
    elements: dict
    default: []
  use_extra_vars:
    description: Whether extra variables (C(-e)) can be used in O(compose).
    type: bool
    default: false
  leading_separator:
    description: Whether a keyed group without a prefix begins with its separator.
    type: bool
    default: true
"""

EXAMPLES = r"""
# sites.yml
plugin: twinhull.ha.sites
rings: [pilot, broad]
defaults:
  networks:
    lan: {roles: [control, heartbeat]}
    direct: {roles: [replication, heartbeat]}
  isolated_networks: [direct]
  tags: {ring: broad}
sites:
  lyon:
    tags: {country: fr, ring: pilot}
    nodes:
      a: {addresses: {lan: 10.1.0.11, direct: 192.168.1.11}}
      b: {addresses: {lan: 10.1.0.12, direct: 192.168.1.12}}
    modules:
      VM1: {number: 1, size: 64 GiB, folder: /srv/twinhull/VM1, preferred: a, resource: {kind: libvirt}}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable

from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_check import check_fleet
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_fleet import read_fleet
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_model import Fleet
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_plan import HostPlan, Plan, make_plan
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import Problems, Span, free_document

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19
    trust_as_template = None


ENDINGS = ("sites.yml", "sites.yaml")
MAX_TOLD = 60


class InventoryModule(BaseInventoryPlugin, Constructable):  # type: ignore[misc]
    """Hosts, groups and variables of the sites in a file."""

    NAME = "twinhull.ha.sites"

    def verify_file(self, path: str) -> bool:
        """Whether this file is worth a look: it is there, and its name ends as that of a sites file."""
        return bool(super().verify_file(path)) and path.endswith(ENDINGS)

    def parse(self, inventory: Any, loader: DataLoader, path: str, cache: bool = True) -> None:
        """Adds what the file says to the inventory.

        Raises AnsibleParserError with everything that is wrong with the file; then nothing was added.
        """
        super().parse(inventory, loader, path, cache)
        text = read_text(loader, path)
        fleet, mistakes = checked_fleet(text, short_path(path))
        if mistakes:
            # Said once, however many plugins Ansible tries after this one; their own complaints stay short.
            self.display.error(mistakes, wrap_text=False)
            raise AnsibleParserError(
                f"{short_path(path)} has mistakes (listed above), so no host of it was read"
            )
        loaded = load_spans(loader, text, fleet.spans(), path)
        options = {
            key: loaded[value] if isinstance(value, Span) else value for key, value in fleet.options.items()
        }
        self.set_options(direct={"plugin": self.NAME, "sites": {}, **options}, var_options=self._vars)
        self._add(make_plan(fleet, loaded))

    def _add(self, plan: Plan) -> None:
        for group in plan.groups:
            self.inventory.add_group(group.name)
            if group.parent is not None:
                self.inventory.add_child(group.parent, group.name)
            for key, value in group.variables.items():
                self.inventory.set_variable(group.name, key, value)
        for host in plan.hosts:
            self._add_host(host)
        self._construct(plan)

    def _add_host(self, host: HostPlan) -> None:
        self.inventory.add_host(host.name)
        for group in host.groups:
            self.inventory.add_child(group, host.name)
        for key, value in {**trusted(host.variables), **host.own_variables}.items():
            self.inventory.set_variable(host.name, key, value)

    def _construct(self, plan: Plan) -> None:
        compose, groups, keyed = (self.get_option(key) for key in ("compose", "groups", "keyed_groups"))
        if not (compose or groups or keyed):
            return
        strict = self.get_option("strict")
        for host in plan.hosts:
            variables = self.inventory.get_host(host.name).get_vars()
            self._set_composite_vars(compose, variables, host.name, strict=strict)
            self._add_host_to_composed_groups(groups, variables, host.name, strict=strict)
            self._add_host_to_keyed_groups(keyed, variables, host.name, strict=strict)


def read_text(loader: DataLoader, path: str) -> str:
    """The file's text, decrypted where needed. Raises AnsibleParserError when it is not UTF-8."""
    content, _show = loader._get_file_contents(path)
    try:
        return str(bytes(content).decode("utf-8")).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = bytes(content)[: error.start].count(b"\n") + 1
        raise AnsibleParserError(
            f"{short_path(path)}:{line}: this is not UTF-8 text: save the file as UTF-8"
        ) from error


def short_path(path: str) -> str:
    """The path from here, where that is shorter."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def checked_fleet(text: str, file: str) -> tuple[Fleet, str]:
    """The sites of this text, and everything that is wrong with them, for people; empty when nothing is."""
    problems = Problems()
    fleet = read_fleet(text, problems)
    check_fleet(fleet, problems)
    lines = [problem.text(file) for problem in problems.sorted()]
    if not lines:
        return fleet, ""
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    more = [f"... and {len(lines) - MAX_TOLD} more"] if len(lines) > MAX_TOLD else []
    return fleet, "\n".join([f"{file} has {count}, no host of it was read:", *lines[:MAX_TOLD], *more])


def load_spans(loader: DataLoader, text: str, spans: list[Span], path: str) -> dict[Span, Any]:
    """These pieces of the text, read by Ansible's loader: templates and vault values work in them."""
    if not spans:
        return {}
    values = loader.load(trusted(free_document(text, spans)), file_name=path)
    return dict(zip(spans, values, strict=True))


def trusted(value: Any) -> Any:
    """The value with every text in it marked as no foreign one (ansible-core 2.19; earlier versions need no mark).

    The values that we make hold no templates: they are refused when the file is read.
    """
    if trust_as_template is None:
        return value
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, Mapping):
        return {key: trusted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [trusted(inner) for inner in value]
    return value
