"""A configuration is told everything that is wrong with it, at once, with the line, and what was meant."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from twinhull.config import (
    CheckerAction,
    ClusterConfig,
    InvalidConfigError,
    LibvirtConfig,
    NetworkRole,
    NodeConfig,
    ScriptsConfig,
    Window,
    derive,
    load_cluster,
    load_node,
    parse_cluster,
    parse_node,
)
from twinhull.config.model import RescueConfig
from twinhull.core.record import WitnessKind
from twinhull.core.rescue import WhenFull
from twinhull.core.settings import Boot, Keep, Return, StopMode
from twinhull.errors import ConfigError, UsageError

EXAMPLE = Path(__file__).parents[3] / "inventories" / "example"

GOOD = """\
cluster: site-042
nodes:
  a: {addresses: {heartbeat: 10.77.1.1, replication: 10.77.2.1}}
  b: {addresses: {heartbeat: 10.77.1.2, replication: 10.77.2.2}}
networks:
  heartbeat: {roles: [heartbeat, control]}
  replication: {roles: [replication, heartbeat]}
ports: {control: 7410, heartbeat: 7411, data: 7420}
witness: {kind: none}
keep: ask
modules:
  VM1:
    number: 1
    folder: /srv/twinhull/VM1
    size: 2 GiB
    file_system: ext4
    preferred: a
    boot: {mode: auto, delay: 0}
    return: manual
    timings: {timeout: 10, write_timeout: 10}
    resource: {kind: libvirt, domain: VM1, forced_stop: {mode: off, timeout: 30}}
    checkers: [{name: guest, kind: guest-agent, boot_time: 300, action: restart}]
"""


def complaints(text: str, node: NodeConfig | None = None) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        parse_cluster(text, "c.yml", node)
    return str(caught.value).splitlines()


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_the_example_is_valid_and_read_in_full() -> None:
    node = load_node(EXAMPLE / "node.yml")
    config = load_cluster(EXAMPLE / "cluster.yml", node)
    machine, files = config.modules["VM1"], config.modules["files"]
    assert node == NodeConfig("a")
    assert (config.cluster, config.witness.kind, config.witness.addresses) == (
        "site-042",
        WitnessKind.PING,
        ("10.77.1.254",),
    )
    assert machine.size_bytes == 40 << 30
    assert machine.boot.mode is Boot.AUTO
    assert isinstance(machine.resource, LibvirtConfig)
    assert (machine.resource.stop.timeout_s, machine.resource.forced_stop.mode) == (120.0, StopMode.OFF)
    assert isinstance(files.resource, ScriptsConfig)
    assert files.resource.check == ("/opt/files/check",)
    assert (files.give_back.mode, files.give_back.window) == (Return.WINDOW, Window((6,), 120, 240))
    assert files.checkers[0].action is CheckerAction.STOPSTART


def test_a_short_configuration_gets_the_defaults() -> None:
    config = parse_cluster(
        "cluster: c\nnodes: {a: {addresses: {n: 10.0.0.1}}, b: {addresses: {n: 10.0.0.2}}}\n"
        "networks: {n: {roles: [heartbeat, control, replication]}}\n"
        "modules: {m: {number: 3, folder: /srv/m, size: 1 GiB, resource: {kind: libvirt},"
        " timings: {timeout: 3}}}\n"
    )
    module = config.modules["m"]
    assert (module.timeout_s, module.write_timeout_s) == (3.0, 3.0)
    assert module.folder == PurePosixPath("/srv/m")
    assert isinstance(module.resource, LibvirtConfig)
    assert (module.resource.domain, module.resource.forced_stop.mode) == ("m", StopMode.OFF)
    assert config.data_port("m") == 7423
    assert config.addresses("b", NetworkRole.CONTROL) == {"n": "10.0.0.2"}
    assert config.peer_of("a") == "b"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "cluster: site-042",
            "cluster: site 042",
            "1: 'cluster' is wrong: 'site 042' is no name: use letters, digits and '-' inside, "
            "at most 63 (certificates carry it)",
        ),
        ("cluster: site-042", "cluster:", "1: 'cluster' has no value"),
        ("cluster: site-042\n", "", "1: the key 'cluster' is missing"),
        ("keep: ask", "kep: ask", "10: unknown key 'kep': did you mean 'keep'?"),
        (
            "keep: ask",
            "keep: asks",
            "10: 'keep' is wrong: 'asks' is not one of them: did you mean 'ask'?",
        ),
        (
            "keep: ask",
            "folder: /srv",
            "10: the key 'folder' does not belong here: it is a key of a module, under 'modules'",
        ),
        (
            "keep: ask",
            "data_dir: /srv",
            "10: the key 'data_dir' does not belong here: it is a key of the node's own file (node.yml)",
        ),
        (
            "heartbeat: 10.77.1.2",
            "heartbeat: server-b",
            "4: 'nodes.b.addresses.heartbeat' is wrong: 'server-b' is no IP address: "
            "host names are not looked up, write the address",
        ),
        (
            "heartbeat: 10.77.1.2",
            "heartbeat: 127.0.0.1",
            "4: 'nodes.b.addresses.heartbeat' is wrong: 127.0.0.1 is a loopback address, the peer cannot reach it",
        ),
        (
            "heartbeat: 10.77.1.2",
            "heartbeat: 10.77.1.1",
            "4: 'nodes.b.addresses.heartbeat' is wrong: 10.77.1.1 is 'nodes.a.addresses.heartbeat' already",
        ),
        (
            "heartbeat: 10.77.1.2, ",
            "",
            "4: the key 'heartbeat' is missing in 'nodes.b.addresses'",
        ),
        ("  b: {", "  b b: {", "4: the node's name is wrong: 'b b' is no name: use letters, digits and '-' inside, "
         "at most 63 (certificates carry it)"),
        (
            "replication: {roles: [replication, heartbeat]}",
            "replication: {roles: [replicate, replication]}",
            "7: 'networks.replication.roles' has no role 'replicate': did you mean 'replication'?",
        ),
        (
            "roles: [heartbeat, control]",
            "roles: [heartbeat]",
            "5: no network has the role 'control'",
        ),
        ("control: 7410", "control: 80", "8: 'ports.control' is wrong: 80 is outside 1024 to 65535"),
        (
            "heartbeat: 7411",
            "heartbeat: 7410",
            "8: 'ports.heartbeat' is wrong: 7410 is 'ports.control' already",
        ),
        (
            "heartbeat: 7411",
            "heartbeat: 7421",
            "8: 'ports.heartbeat' is wrong: 7421 lies in 7421 to 7452, which modules use",
        ),
        (
            "data: 7420",
            "data: 65535",
            "8: 'ports.data' is wrong: 65535 is outside 1024 to 65503",
        ),
        (
            "kind: none",
            "kind: zookeeper",
            "9: 'witness.kind' is wrong: 'zookeeper' is not one of them: use none, ping, etcd",
        ),
        (
            "kind: none",
            "kind: ping",
            "9: 'witness.kind' is 'ping', which needs 'addresses', such as the gateway's",
        ),
        (
            "kind: none",
            "kind: ping, addresses: [10.77.1.2]",
            "9: 'witness.addresses' is wrong: 10.77.1.2 is the node 'b' itself; name a third party",
        ),
        (
            "kind: none",
            "kind: ping, addresses: [127.0.0.9]",
            "9: 'witness.addresses' is wrong: 127.0.0.9 is a loopback address, which always answers",
        ),
        (
            "kind: none",
            "kind: ping, addresses: [224.0.0.1]",
            "9: 'witness.addresses' is wrong: '224.0.0.1' is no address of one host",
        ),
        (
            "kind: none",
            "addresses: [10.77.1.254]",
            "9: the key 'kind' is missing in 'witness'",
        ),
        (
            "size: 2 GiB",
            "size: 2",
            "15: 'modules.VM1.size' is wrong: '2' has no unit: write for example '2 GiB'",
        ),
        (
            "size: 2 GiB",
            "size: 512 MiB",
            "15: 'modules.VM1.size' is wrong: 512 MiB is outside 1 GiB to 64 TiB",
        ),
        (
            "size: 2 GiB",
            "size: 65 TiB",
            "15: 'modules.VM1.size' is wrong: 65 TiB is outside 1 GiB to 64 TiB",
        ),
        (
            "size: 2 GiB",
            "size: 500GB",
            "15: 'modules.VM1.size' is wrong: 500GB is 500000000000 bytes, no whole number of 4 KiB blocks; "
            "write '476837 MiB', or use GiB (1024^3) in place of GB (1000^3)",
        ),
        (
            "size: 2 GiB",
            "size: 2 gibs",
            "15: 'modules.VM1.size' is wrong: 'gibs' is no unit of size: "
            "use B, KiB, MiB, GiB, TiB, KB, MB, GB, TB",
        ),
        (
            "folder: /srv/twinhull/VM1",
            "folder: twinhull/VM1",
            "14: 'modules.VM1.folder' is wrong: 'twinhull/VM1' is no absolute path: begin with '/'",
        ),
        (
            "folder: /srv/twinhull/VM1",
            "folder: /srv/../etc",
            "14: 'modules.VM1.folder' is wrong: '/srv/../etc' must be written without '//', '.' and '..'",
        ),
        (
            "folder: /srv/twinhull/VM1",
            "folder: /",
            "14: 'modules.VM1.folder' is wrong: / is used by others; use a folder of its own below it",
        ),
        (
            "folder: /srv/twinhull/VM1",
            "folder: /usr/VM1",
            "14: 'modules.VM1.folder' is wrong: /usr/VM1 belongs to the system; "
            "use for example /srv/twinhull/NAME",
        ),
        ("number: 1", "number: 33", "13: 'modules.VM1.number' is wrong: 33 is outside 1 to 32"),
        ("number: 1", "number: one", "13: 'modules.VM1.number' is wrong: 'one' is no whole number"),
        ("number: 1", "nummer: 1", "13: unknown key 'nummer' in 'modules.VM1': did you mean 'number'?"),
        (
            "file_system: ext4",
            "file_system: ext3",
            "16: 'modules.VM1.file_system' is wrong: 'ext3' is not one of them: did you mean 'ext4'?",
        ),
        (
            "preferred: a",
            "preferred: c",
            "17: 'modules.VM1.preferred' names the node 'c', which there is not: use a, b",
        ),
        (
            "mode: auto",
            "mode: automatic",
            "18: 'modules.VM1.boot.mode' is wrong: 'automatic' is not one of them: did you mean 'auto'?",
        ),
        (
            "return: manual",
            "verify: {repair: true}",
            "19: 'modules.VM1.verify' needs to say when: write {window: \"Sun 02:00-04:00\", repair: true}",
        ),
        (
            "return: manual",
            "return: window",
            "19: 'modules.VM1.return' needs to say when: write {window: \"Sun 02:00-04:00\"}",
        ),
        (
            "return: manual",
            'return: {window: "Son 02:00-04:00"}',
            "19: 'modules.VM1.return.window' is wrong: 'Son' is no day: "
            "use Mon, Tue, Wed, Thu, Fri, Sat, Sun or daily",
        ),
        (
            "timeout: 10,",
            "timeout: 121,",
            "20: 'modules.VM1.timings.timeout' is wrong: 121 s is outside 1 s to 120 s",
        ),
        (
            "timeout: 10,",
            "timeout: 100 ms,",
            "20: 'modules.VM1.timings.timeout' is wrong: 0.1 s is outside 1 s to 120 s",
        ),
        (
            "timeout: 10,",
            "timeout: 10 sec,",
            "20: 'modules.VM1.timings.timeout' is wrong: 'sec' is no unit of time: use ms, s, min, h",
        ),
        (
            "timings: {timeout: 10, write_timeout: 10}",
            "timeout: 10",
            "20: the key 'timeout' does not belong here in 'modules.VM1': it is a key of 'timings'",
        ),
        (
            "kind: libvirt",
            "kind: libvrt",
            "21: 'modules.VM1.resource.kind' is wrong: 'libvrt' is not one of them: did you mean 'libvirt'?",
        ),
        (
            "resource: {kind: libvirt, domain: VM1, forced_stop: {mode: off, timeout: 30}}",
            "resource: libvirt",
            "21: 'modules.VM1.resource' must have keys of its own, not 'libvirt'",
        ),
        (
            "domain: VM1",
            "domain: --all",
            "21: 'modules.VM1.resource.domain' is wrong: '--all' is no name of a libvirt domain that is accepted here",
        ),
        (
            "mode: off",
            "mode: pull",
            "21: 'modules.VM1.resource.forced_stop.mode' is wrong: 'pull' is not one of them: use stop, save, off",
        ),
        (
            "name: guest",
            "nam: guest",
            "22: unknown key 'nam' in 'modules.VM1.checkers[0]': did you mean 'name'?",
        ),
        (
            "kind: guest-agent",
            "kind: script, command: [probe]",
            "22: 'modules.VM1.checkers[0].command' must begin with the program's absolute path, not 'probe'",
        ),
        ("keep: ask", "keep: ask\nkeep: ask", "11: the key 'keep' stands here twice (first in line 10)"),
        (
            "timings: {timeout: 10, write_timeout: 10}",
            "timings: &t {timeout: 10}\n    timing: *t",
            "21: this is not valid YAML: anchors and aliases are not supported: write the value out",
        ),
        (
            "keep: ask", "rescue: {share: 95 %}",
            "10: 'rescue.share' is wrong: '95 %' is no share of the disk from 1 % to 90 %",
        ),
        (
            "keep: ask", "rescue: {resync_full: no}",
            "10: 'rescue.resync_full' is wrong: 'no' is not one of them: use ask, give-up",
        ),
        (
            "keep: ask",
            "keep: !!python/name:os.system x",
            "10: the tag 'tag:yaml.org,2002:python/name:os.system' is not supported: write a plain value",
        ),
        ("keep: ask", "keep: [", "11: this is not valid YAML: expected the node content, but found '-'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, expected: str) -> None:
    text = changed(old, new)
    if new == "keep: [":
        text = text.replace("modules:", "- x", 1)
    assert f"c.yml:{expected}" in complaints(text)


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("{kind: scripts}", "the key 'start' is missing in 'modules.VM1.resource'"),
        (
            "{kind: scripts, start: /opt/start, stop: [/x], check: [/x]}",
            "'modules.VM1.resource.start' must be a list, not '/opt/start'",
        ),
        (
            "{kind: scripts, start: [], stop: [/x], check: [/x]}",
            "'modules.VM1.resource.start' is empty: write the program's absolute path, then its arguments",
        ),
        (
            "{kind: scripts, start: [/x], stop: [/x], check: [/x], process: perhaps}",
            "'modules.VM1.resource.process' is wrong: 'perhaps' is neither true nor false",
        ),
        (
            "{kind: scripts, start: [/x], process: true}",
            "'modules.VM1.checkers[0].kind' is wrong: 'guest-agent' needs a resource that is a VM",
        ),
    ],
)
def test_scripts_are_checked(resource: str, expected: str) -> None:
    text = changed("{kind: libvirt, domain: VM1, forced_stop: {mode: off, timeout: 30}}", resource)
    assert any(line.endswith(expected) for line in complaints(text)), complaints(text)


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file() -> None:
    text = changed("cluster: site-042", "cluster: -x").replace("keep: ask", "keep: x").replace("2 GiB", "2")
    lines = complaints(text)
    assert [line.split(":")[1] for line in lines] == ["1", "10", "15"]


SECOND = """\
  {name}:
    number: {number}
    folder: {folder}
    size: 1 GiB
    resource: {{kind: libvirt}}
"""


@pytest.mark.parametrize(
    ("name", "number", "folder", "expected"),
    [
        ("VM2", 1, "/srv/twinhull/VM2", "24: 'modules.VM2.number' is wrong: 1 is module 'VM1' already"),
        (
            "VM2",
            2,
            "/srv/twinhull/VM1/inner",
            "25: 'modules.VM2.folder' is wrong: /srv/twinhull/VM1/inner overlaps /srv/twinhull/VM1 of module 'VM1'",
        ),
        (
            "VM2",
            2,
            "/srv/twinhull",
            "25: 'modules.VM2.folder' is wrong: /srv/twinhull overlaps /srv/twinhull/VM1 of module 'VM1'",
        ),
        (
            "vm1",
            2,
            "/srv/twinhull/VM2",
            "23: 'modules.vm1' is wrong: module 'VM1' has this name already",
        ),
    ],
)
def test_modules_must_not_collide(name: str, number: int, folder: str, expected: str) -> None:
    text = GOOD + SECOND.format(name=name, number=number, folder=folder)
    assert complaints(text) == [f"c.yml:{expected}"]


def test_folders_beside_each_other_are_fine() -> None:
    config = parse_cluster(GOOD + SECOND.format(name="VM2", number=2, folder="/srv/twinhull/VM10"))
    assert list(config.modules) == ["VM1", "VM2"]


def test_a_folder_may_not_touch_the_nodes_own_directories() -> None:
    node = NodeConfig("a", data_dir=Path("/srv/twinhull/VM1/data"))
    assert complaints(GOOD, node) == [
        "c.yml:14: 'modules.VM1.folder' is wrong: /srv/twinhull/VM1 overlaps /srv/twinhull/VM1/data, "
        "the 'data_dir' of node 'a'"
    ]


def test_a_cluster_that_does_not_name_this_node_is_refused() -> None:
    assert complaints(GOOD, NodeConfig("c")) == ["c.yml:2: 'nodes' does not name this node 'c': use a, b"]


def test_exactly_two_nodes_are_asked_for() -> None:
    third = "  c: {addresses: {heartbeat: 10.77.1.3, replication: 10.77.2.3}}\nnetworks:"
    assert complaints(changed("networks:", third)) == ["c.yml:2: 'nodes' must name exactly two nodes, not 3"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: the file is empty"),
        ("- a\n", "1: the file must begin with keys and values, such as 'cluster: NAME'"),
        ("a: " + "[" * 30 + "]" * 30, "1: this is not valid YAML: nested deeper than 20 levels"),
        ("a: \x01", "1: this is not valid YAML: a character that is not allowed"),
        ("a: b\n---\nc: d\n", "2: this is not valid YAML: but found another document"),
        ("#" * (1 << 20) + "\n", "1: the file is larger than 1 MiB"),
    ],
)
def test_what_is_no_configuration_at_all_is_refused(text: str, expected: str) -> None:
    assert complaints(text) == [f"c.yml:{expected}"]


def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: No such file.*--node-config"):
        load_node(tmp_path / "none.yml")
    (tmp_path / "latin.yml").write_bytes(b"node: a\ndata_dir: /srv/\xe9\n")
    with pytest.raises(InvalidConfigError, match=r"latin\.yml:2: this is not UTF-8 text"):
        load_node(tmp_path / "latin.yml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "nod: a",
            ["n.yml:1: unknown key 'nod': did you mean 'node'?", "n.yml:1: the key 'node' is missing"],
        ),
        (
            "node: a\nmodules: {}",
            [
                "n.yml:2: the key 'modules' does not belong here: it is a key of the cluster's file (cluster.yml)"
            ],
        ),
        (
            "node: a\nrun_dir: /x\nlog_dir: /x",
            ["n.yml:3: 'log_dir' is /x, which is 'run_dir' already"],
        ),
        (
            "node: a\nlibvirt_uri: system",
            ["n.yml:2: 'libvirt_uri' is wrong: 'system' is no libvirt URI such as qemu:///system"],
        ),
        ("node: a\ndata_dir: x", ["n.yml:2: 'data_dir' is wrong: 'x' is no absolute path: begin with '/'"]),
    ],
)
def test_the_nodes_own_file_is_checked(text: str, expected: list[str]) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        parse_node(text, "n.yml")
    assert str(caught.value).splitlines() == expected


def test_asking_for_a_module_or_node_that_is_not_there_names_the_ones_that_are() -> None:
    config: ClusterConfig = parse_cluster(GOOD)
    with pytest.raises(UsageError, match=r"no module 'VM2'.*Modules are: VM1\."):
        config.module("VM2")
    with pytest.raises(UsageError, match=r"no node 'z'.*Nodes are: a, b\."):
        config.peer_of("z")


def test_split_brain_heals_by_itself_unless_the_file_says_otherwise_and_the_rescue_has_bounds() -> None:
    usual = parse_cluster(changed("keep: ask", ""))
    assert usual.keep is Keep.LONGEST_RUNNING
    assert usual.rescue == RescueConfig(20, 30 * 86_400.0, WhenFull.ASK, WhenFull.GIVE_UP)
    said = "rescue: {share: 35 %, expire_after: 48 h, split_brain_full: give-up, resync_full: ask}"
    own = parse_cluster(changed("keep: ask", said))
    assert own.rescue == RescueConfig(35, 48 * 3600.0, WhenFull.GIVE_UP, WhenFull.ASK)
    assert parse_cluster(derive.to_yaml(own)) == own
