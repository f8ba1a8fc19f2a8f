"""A worker out of its configuration: what it is made of, and what it says when it cannot begin."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PureWindowsPath

import pytest
from tests.fakes.attacher import FakeAttacher
from tests.integration.transport.support import Cluster
from tests.unit.agent.agent_scene import cluster_text

from twinhull import config as configuration
from twinhull import log as logs
from twinhull.config import ClusterConfig, HyperVConfig, NodeConfig, Unrestorable, WitnessConfig
from twinhull.core.record import WitnessKind
from twinhull.errors import UsageError, VolumeFormatError, WitnessError
from twinhull.exports.fuse import hardening
from twinhull.log import read_audit
from twinhull.resources.base import Leaving, Returning, Vm, Warm
from twinhull.storage.volume import Volume
from twinhull.worker import main as worker_main
from twinhull.worker import parts, resource_parts


@pytest.fixture
def node_file(cluster: Cluster, tmp_path: Path) -> Path:
    (tmp_path / "cluster.yml").write_text(cluster_text(tmp_path, "VM1", "VM2"))
    path = tmp_path / "node.yml"
    lines = [
        "node: a",
        f"cluster_config: {tmp_path / 'cluster.yml'}",
        f"pki_dir: {cluster.member('a')}",
        f"data_dir: {tmp_path / 'data'}",
        f"run_dir: {tmp_path / 'run'}",
        f"log_dir: {tmp_path / 'log'}",
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def node(node_file: Path) -> NodeConfig:
    return configuration.load_node(node_file)


@pytest.fixture
def configured(node: NodeConfig) -> ClusterConfig:
    return configuration.load_cluster(node.cluster_config, node)


LOG = logs.Log("a", "VM1", "worker")


def test_a_worker_is_built_with_a_blank_volume_and_finds_it_again(
    node: NodeConfig, configured: ClusterConfig
) -> None:
    first = parts.build_parts(node, configured, "VM1", LOG)
    assert isinstance(first.volume, Volume)
    replica = first.volume.record.replica_id
    assert first.volume.record.blank
    assert first.space()["disk_free_bytes"] > 0
    assert first.host.moves is None
    first.renew()
    first.audit("a sentence")
    assert read_audit(node.log_dir / "audit.log")[-1].module == "VM1"
    assert [path.network for path in first.stream.paths] == ["two", "one"]
    assert first.stream.connects
    assert (node.data_dir / "volumes" / "VM1").stat().st_mode & 0o777 == 0o700
    first.volume.close()
    again = parts.build_parts(node, configured, "VM1", LOG)
    assert isinstance(again.volume, Volume)
    assert again.volume.record.replica_id == replica
    again.volume.close()


def test_without_a_witness_going_alone_is_granted_by_rule(
    node: NodeConfig, configured: ClusterConfig
) -> None:
    granted, why = parts.AskedWitness(node, configured, "VM1", lambda: WitnessKind.NONE).ask()
    assert isinstance(granted, bool)
    assert why


def test_under_a_new_witness_with_a_memory_the_kind_that_still_rules_decides(
    node: NodeConfig, configured: ClusterConfig
) -> None:
    endpoint, file = "https://192.0.2.9:2379", Path("/nowhere")
    witness = WitnessConfig(WitnessKind.ETCD, (), 5.0, (endpoint,), file, file, file)
    changed = dataclasses.replace(configured, witness=witness)
    assert parts.AskedWitness(node, changed, "VM1", lambda: WitnessKind.NONE).ask()[0]
    granted, why = parts.AskedWitness(node, changed, "VM1", lambda: WitnessKind.PING).ask()
    assert (granted, why) == (
        False,
        "ping rules here until both nodes have met, and is not configured any more",
    )
    assert parts.build_memory(configured, "VM1") is None
    built = parts.build_parts(node, changed, "VM1", LOG)
    assert built.memory is not None
    with pytest.raises(WitnessError, match=r"192\.0\.2\.9:2379 cannot be reached"):
        built.memory.read(0.2)
    built.volume.close()  # type: ignore[attr-defined]


def test_a_volume_of_another_size_is_not_opened(node: NodeConfig, configured: ClusterConfig) -> None:
    parts.open_volume(node, configured, configured.module("VM1"), LOG).close()
    text = cluster_text(node.cluster_config.parent, "VM1", "VM2", size="2 GiB")
    larger = configuration.parse_cluster(text, "cluster.yml", node)
    with pytest.raises(VolumeFormatError, match="the configuration says"):
        parts.open_volume(node, larger, larger.module("VM1"), LOG)


def test_a_module_that_is_not_configured_is_named(node: NodeConfig, configured: ClusterConfig) -> None:
    with pytest.raises(UsageError, match="There is no module 'nobody'"):
        parts.build_parts(node, configured, "nobody", LOG)


def test_a_worker_that_cannot_begin_says_why_and_ends(
    node_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hardening, "sit_under_page_cache", lambda: ["this host denies it"])
    missing = str(node_file.with_name("missing.yml"))
    assert worker_main.main(["--node-config", missing, "--module", "VM1"]) != 0
    assert "missing.yml" in capsys.readouterr().err
    assert worker_main.main(["--node-config", str(node_file), "--module", "nobody"]) == UsageError.exit_code


def test_a_vm_of_hyperv_is_built_with_its_moves_and_its_heartbeat(
    node: NodeConfig, configured: ClusterConfig
) -> None:
    vm = HyperVConfig("仮想", saved_state=Unrestorable.STOP)
    module = dataclasses.replace(
        configured.module("VM1"), folder=PureWindowsPath(r"D:\Repli\VM1"), resource=vm
    )
    resource = resource_parts.build_resource(node, module, FakeAttacher(), lambda _: None)
    assert isinstance(resource, Vm)
    assert isinstance(resource, Leaving)
    assert isinstance(resource, Returning)
    assert isinstance(resource, Warm)
    assert resource_parts.build_moves(node, module, resource, 1.0, lambda _: None) is not None
    guest = resource_parts.guest_of(node, module, resource)
    assert guest is not None
    # no start has noted the VM yet, so that nothing is asked of Hyper-V
    assert guest(300.0).check(1.0).detail == "the VM is not known yet"
    places = resource_parts.hyperv_places(node, module)
    assert places.folder == r"D:\Repli\VM1"
    assert places.record.is_relative_to(node.data_dir)


def test_what_is_no_vm_has_no_guest(node: NodeConfig, configured: ClusterConfig) -> None:
    module = configured.module("VM1")
    resource = resource_parts.build_resource(node, module, FakeAttacher(), lambda _: None)
    assert resource_parts.guest_of(node, module, resource) is None
