"""What the inventory lets through is what the agent takes: the same words, the same limits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.twinhull.ha.plugins.plugin_utils import (
    sites_cluster,
    sites_fleet,
    sites_module,
    sites_words,
)
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_check import check_fleet
from ansible_collections.twinhull.ha.plugins.plugin_utils.sites_tree import (
    Mapping,
    Node,
    Problems,
    Span,
    free_document,
    parse,
)
from twinhull.config import cluster as agent_cluster
from twinhull.config import fit, model, modules, units
from twinhull.config import witness as agent_witness
from twinhull.config.tree import InvalidConfigError

from .test_examples import NAMES, load

SITE = """\
plugin: twinhull.ha.sites
sites:
  lyon:
    networks: {{lan: {{roles: [control, heartbeat, replication]}}}}
    nodes: {{a: {{addresses: {{lan: 10.1.0.11}}}}, b: {{addresses: {{lan: 10.1.0.12}}}}}}
    {site}
    modules:
      VM1: {{number: 1, size: {size}, folder: {folder}, resource: {resource}, {module}}}
"""
GOOD = {
    "site": "witness: {kind: none}", "size": "64 GiB", "folder": "/srv/twinhull/VM1",
    "resource": "{kind: libvirt}", "module": "preferred: a",
}  # fmt: skip
VARIANTS = [
    ("site", "witness: {kind: ping, addresses: [10.1.0.1], timeout: 2 s}"),
    ("site", "witness: {kind: ping}"),
    ("site", "witness: {kind: etcd}"),
    ("site", "witness: {kind: etcd, endpoints: ['https://10.9.0.1:2379'], ca: /p/a, cert: /p/c, key: /p/k, timeout: 3}"),
    ("site", "witness: {kind: etcd, endpoints: ['https://10.9.0.1', 'https://10.1.0.11'], ca: /p/a, cert: /p/c, key: /p/k}"),
    ("site", "witness: {kind: etcd, endpoints: ['https://10.1.0.11'], ca: /p/a, cert: /p/c, key: /p/k}"),
    ("site", "witness: {kind: etcd, endpoints: ['http://10.9.0.1'], ca: /p/a, cert: /p/c, key: /p/k}"),
    ("site", "witness: {kind: etcd, endpoints: ['https://etcd.lan'], ca: /p/a, cert: /p/c, key: /p/k}"),
    ("site", "witness: {kind: etcd, endpoints: ['https://127.0.0.1'], ca: /p/a, cert: /p/c, key: /p/k}"),
    ("site", "witness: {kind: etcd, endpoints: [], ca: /p/a, cert: /p/c, key: /p/k}"),
    ("site", "witness: {kind: etcd, endpoints: ['https://10.9.0.1'], ca: a, cert: /p/c, key: /p/k}"),
    ("site", "witness: {kind: none, ca: /p/a}"),
    ("site", "witness: {timeout: 3}"),
    ("site", "witness: {kind: ping, addresses: [10.1.0.11]}"),
    ("site", "ports: {control: 8410, heartbeat: 8411, data: 9000}"),
    ("site", "ports: {control: 7430}"),
    ("site", "ports: {control: 80}"),
    ("site", "ports: {heartbeat: 7410}"),
    ("site", "keep: ask"),
    ("site", "keep: longest-running"),
    ("site", "keep: newest"),
    ("site", "rescue: {share: 35 %, expire_after: 48 h, resync_full: ask}"),
    ("site", "rescue: {share: 0 %}"),
    ("site", "rescue: {expire_after: 1 min}"),
    ("site", "rescue: {split_brain_full: never}"),
    ("size", "500 GB"),
    ("size", "1.5 TiB"),
    ("size", "64"),
    ("size", "1 MiB"),
    ("size", "65 TiB"),
    ("folder", "/srv/twinhull/VM1/"),
    ("folder", "/srv"),
    ("folder", "/usr/VM1"),
    ("folder", "relative"),
    ("folder", "/srv/../VM1"),
    ("resource", "{kind: libvirt, domain: VM 1, stop: {mode: save, timeout: 2 min}, forced_stop: {mode: off}}"),
    ("resource", "{kind: libvirt, stop: {mode: destroy}}"),
    ("resource", "{kind: libvirt, start: [/bin/true]}"),
    ("resource", "{kind: scripts, start: [/opt/a], stop: [/opt/b], check: [/opt/c, -v], start_timeout: 5 min}"),
    ("resource", "{kind: scripts, start: [/opt/a], process: yes}"),
    ("resource", "{kind: scripts, start: [/opt/a]}"),
    ("resource", "{kind: scripts, start: [], process: true}"),
    ("resource", "{kind: scripts, start: [run], process: true}"),
    ("resource", "{kind: vmware}"),
    ("module", "file_system: xfs"),
    ("module", "file_system: ntfs"),
    ("module", "preferred: c"),
    ("module", "boot: {mode: manual, delay: 30}"),
    ("module", "boot: {delay: 2 h}"),
    ("module", "timings: {timeout: 500 ms}"),
    ("module", "timings: {timeout: 1.5 s, write_timeout: 120}"),
    ("module", "return: at-once"),
    ("module", "preferred: a, return: at-once"),
    ("module", "preferred: a, return: {window: 'Mon-Fri 22:00-02:00'}"),
    ("module", "preferred: a, return: {window: 'Mon-Fri'}"),
    ("module", "preferred: a, return: window"),
    ("module", "checkers: [{name: guest, kind: guest-agent, interval: 5, failures: 3, boot_time: 300, action: stopstart}]"),
    ("module", "checkers: [{name: x, kind: script, command: [/opt/x], timeout: 0.5}, {name: x, kind: guest-agent}]"),
    ("module", "checkers: [{name: x, kind: script}]"),
    ("module", "checkers: [{kind: guest-agent}]"),
    ("module", "checkers: [{name: x, kind: guest-agent, failures: 0}]"),
    ("module", "verify: {window: 'Sun 02:00-04:00', repair: yes}"),
    ("module", "verify: {repair: false}"),
    ("module", "verify: {repair: true}"),
    ("module", "verify: {window: never}"),
    ("module", "colour: green"),
]  # fmt: skip


WINDOWS = {
    "site": "platform: windows", "size": "64 GiB", "folder": r"D:\Twinhull\VM1", "resource": "{kind: hyperv}",
    "module": "preferred: a",
}  # fmt: skip
WINDOWS_VARIANTS = [
    ("folder", r"D:\Twinhull\VM1"),
    ("folder", "/srv/twinhull/VM1"),
    ("folder", "'D:/'"),
    ("resource", "{kind: hyperv, domain: 仮想マシン, stop: {mode: save, timeout: 2 min}, saved_state: stop}"),
    ("resource", "{kind: hyperv, domain: \"O'Brien \\\"x\\\"; $(1)\"}"),
    ("resource", '{kind: hyperv, domain: "  "}'),
    ("resource", '{kind: hyperv, domain: "a\\tb"}'),
    ("resource", "{kind: hyperv, domain: " + 101 * "x" + "}"),
    ("resource", "{kind: hyperv, saved_state: keep}"),
    ("resource", "{kind: hyperv, vm: VM1}"),
    ("resource", "{kind: hyperv, start: [/bin/true]}"),
    ("resource", "{kind: libvirt}"),
    ("resource", r"{kind: scripts, start: ['C:\a.exe'], stop: ['C:\b.exe'], check: ['C:\c.exe']}"),
    ("module", "file_system: ntfs"),
    ("module", "file_system: ntfs-4k"),
    ("module", "file_system: xfs"),
    ("module", "checkers: [{name: guest, kind: guest-agent, action: stopstart}]"),
    ("module", "export: {kind: iscsi}"),
    ("module", "export: {kind: fuse}"),
    ("module", "export: {kind: iscsi, attach: none}"),
]  # fmt: skip


def clusters(text: str) -> Iterator[dict[str, object]]:
    """The clusters of a file; none when it is refused."""
    problems = Problems()
    fleet = sites_fleet.read_fleet(text, problems)
    check_fleet(fleet, problems)
    if not problems.found:
        for site in fleet.sites:
            yield dict(site.cluster)


def agent_takes(cluster: dict[str, object]) -> bool:
    try:
        agent_cluster.parse_cluster(yaml.safe_dump(cluster, sort_keys=False))
    except InvalidConfigError:
        return False
    return True


def refused_by_agent(text: str) -> bool:
    """Whether the agent refuses the same words, taken as they were written."""
    tree = yaml.load(text, Loader=yaml.BaseLoader)
    site = tree["sites"]["lyon"]
    cluster = {"cluster": "lyon", **site}
    cluster.pop("platform", None)  # the agent sees it by the folders
    return not agent_takes(cluster)


def test_the_words_are_the_same() -> None:
    assert sites_module.MODULE_KEYS == modules.MODULE_KEYS
    assert {
        platform.name.lower(): kinds for platform, kinds in modules.FILE_SYSTEMS.items()
    } == sites_module.FILE_SYSTEMS
    for kind, keys in modules._RESOURCE_KEYS.items():
        assert sites_module.RESOURCE_KEYS[kind.value] == keys
    for checker, keys in modules._CHECKER_KEYS.items():
        assert sites_module.CHECKER_KEYS[checker.value] == keys
    assert set(agent_cluster.CLUSTER_KEYS) - {"cluster"} <= set(sites_fleet.SITE_KEYS)


def test_the_limits_are_the_same() -> None:
    assert sites_cluster.MAX_ENDPOINTS == agent_witness.MAX_ENDPOINTS
    kinds = {kind.name.lower(): keys for kind, keys in agent_witness.KIND_KEYS.items()}
    assert kinds == sites_cluster.WITNESS_KEYS
    assert sites_module.MAX_MODULES == model.MAX_MODULES
    assert sites_words.MAX_VM_NAME_LETTERS == modules.MAX_VM_NAME_LETTERS
    assert set(sites_module.SAVED_STATE) == {word.value for word in model.Unrestorable}
    assert sites_words.SIZE_UNITS_BYTES == units.SIZE_UNITS_BYTES
    assert sites_words.DURATION_UNITS_S == units.DURATION_UNITS_S
    assert sites_words.SIZE_STEP_BYTES == modules.SIZE_STEP_BYTES
    ports = model.Ports()
    assert {
        "control": ports.control, "heartbeat": ports.heartbeat, "data": ports.data,
    } == sites_cluster.DEFAULT_PORTS  # fmt: skip
    assert {folder.parts[1:] for folder in fit.SYSTEM_FOLDERS} == sites_words.SYSTEM_FOLDERS
    assert {folder.parts[1:] for folder in fit.SHARED_FOLDERS} == sites_words.SHARED_FOLDERS


@pytest.mark.parametrize("name", NAMES)
def test_the_agent_takes_the_sites_of_our_examples(name: str) -> None:
    for site in load(name).sites:
        agent_cluster.parse_cluster(yaml.safe_dump(dict(site.cluster), sort_keys=False))


@pytest.mark.parametrize(("key", "value"), VARIANTS, ids=[f"{key} {value}" for key, value in VARIANTS])
def test_inventory_and_agent_judge_alike(key: str, value: str) -> None:
    text = SITE.format(**{**GOOD, key: value})
    found = list(clusters(text))
    assert bool(found) is not refused_by_agent(text)
    assert all(agent_takes(cluster) for cluster in found)


@pytest.mark.parametrize(
    ("key", "value"), WINDOWS_VARIANTS, ids=[f"{key} {value}" for key, value in WINDOWS_VARIANTS]
)
def test_inventory_and_agent_judge_windows_sites_alike(key: str, value: str) -> None:
    text = SITE.format(**{**WINDOWS, key: value})
    found = list(clusters(text))
    assert bool(found) is not refused_by_agent(text)
    assert all(agent_takes(cluster) for cluster in found)


WORDS = st.sampled_from(
    [
        *sites_fleet.ROOT_KEYS, *sites_fleet.SITE_KEYS, *sites_fleet.NODE_KEYS, *sites_module.MODULE_KEYS,
        "lyon", "a", "b", "lan", "kind", "libvirt", "10.1.0.11", "10.1.0.12", "64 GiB", "/srv/VM1", "heartbeat",
    ]
)  # fmt: skip
SCALARS = st.one_of(WORDS, st.none(), st.booleans(), st.integers(-5, 70000), st.text(max_size=12))
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(WORDS | st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=40,
)


def read_anything(text: str) -> None:
    problems = Problems()
    fleet = sites_fleet.read_fleet(text, problems)
    check_fleet(fleet, problems)
    last = (
        text.count("\n")
        + text.count("\r")
        + text.count("\x85")
        + text.count("\u2028")
        + text.count("\u2029")
        + 2
    )
    assert all(1 <= problem.line <= last and problem.message for problem in problems.found)
    if not problems.found:
        assert fleet.sites
        assert all(len(site.nodes) == 2 for site in fleet.sites)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_no_tree_of_yaml_makes_it_stumble(tree: object) -> None:
    read_anything(yaml.safe_dump(tree, allow_unicode=True))


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sites_fleet.ROOT_KEYS), TREES), st.dictionaries(WORDS, TREES, max_size=3)
)
def test_no_site_makes_it_stumble(root: dict[str, object], site: dict[str, object]) -> None:
    read_anything(
        yaml.safe_dump({**root, "plugin": "twinhull.ha.sites", "sites": {"lyon": site}}, allow_unicode=True)
    )


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>#'\"\n ?,%@\t\r\x85", max_size=60))
def test_no_text_makes_it_stumble(text: str) -> None:
    read_anything(text)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.integers(1, 30), st.text(alphabet="ab:-[]{}&*!|>#'\"\n ", max_size=4))
def test_no_damage_of_a_good_file_makes_it_stumble(start: int, length: int, put: str) -> None:
    text = SITE.format(**GOOD)
    read_anything(text[:start] + put + text[start + length :])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet="ab: #-\n'\"{}é", max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=12,
)


OWN_VARS = st.dictionaries(st.sampled_from("uvw"), VALUES, min_size=1, max_size=3)


@settings(max_examples=200, deadline=None)
@given(st.lists(OWN_VARS, min_size=1, max_size=4), st.booleans())
def test_whatever_stands_under_vars_is_cut_out_whole(values: list[dict[str, object]], flow: bool) -> None:
    document = {f"s{index}": {"vars": value, "z": 1} for index, value in enumerate(values)}
    text = yaml.safe_dump(
        document, default_flow_style=True if flow else None, allow_unicode=True, sort_keys=False
    )
    problems = Problems()
    tree = parse(text, problems)
    assert tree is not None
    if any("anchors" in problem.message for problem in problems.found):
        return
    spans = sorted(_span(entry.value) for entry in tree.entries.values())
    assert yaml.safe_load(free_document(text, spans)) == values


def _span(site: Node) -> Span:
    assert isinstance(site, Mapping)
    variables = site.entries["vars"].value
    assert isinstance(variables, Mapping)
    assert variables.span is not None
    return variables.span
