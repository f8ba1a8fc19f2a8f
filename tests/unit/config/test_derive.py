"""What follows from a configuration: core's settings, its YAML, its digest, its permanent warnings."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinhull.config import (
    ClusterConfig,
    InvalidConfigError,
    load_cluster,
    module_settings,
    parse_cluster,
    to_yaml,
    warnings,
)
from twinhull.config.model import VerifyConfig, canonical
from twinhull.core.record import WitnessKind
from twinhull.core.settings import Return, StopMode

EXAMPLE = Path(__file__).parents[3] / "inventories" / "example" / "cluster.yml"


@pytest.fixture
def config() -> ClusterConfig:
    return load_cluster(EXAMPLE)


def test_the_yaml_written_out_says_the_same(config: ClusterConfig) -> None:
    again = parse_cluster(to_yaml(config))
    assert again == config
    assert again.digest() == config.digest()


def test_the_digest_ignores_spelling_but_not_meaning(config: ClusterConfig) -> None:
    text = EXAMPLE.read_text()
    assert parse_cluster("# a remark\n" + text.replace("40 GiB", "40960 MiB")).digest() == config.digest()
    assert parse_cluster(text.replace("40 GiB", "41 GiB")).digest() != config.digest()
    assert parse_cluster(text.replace("return: manual ", "return: at-once ")).digest() != config.digest()


def test_a_plan_to_verify_is_read_and_written_and_no_plan_is_not_written() -> None:
    text = EXAMPLE.read_text()
    plain = parse_cluster(text)
    assert plain.modules["VM1"].verify == VerifyConfig()
    assert "verify" not in to_yaml(plain)
    planned = parse_cluster(
        text.replace(
            "    return: manual", '    verify: {window: "Sun 02:00-04:00", repair: true}\n    return: manual'
        )
    )
    assert str(planned.modules["VM1"].verify.window) == "Sun 02:00-04:00"
    assert planned.modules["VM1"].verify.repair
    assert parse_cluster(to_yaml(planned)) == planned
    assert planned.digest() != plain.digest()


def test_the_digest_does_not_change_with_keys_that_only_a_later_version_knows(config: ClusterConfig) -> None:
    """Two agents of different versions must agree about a file that both can read."""
    said = canonical(config)
    assert isinstance(said, dict)
    assert "verify" not in said["modules"]["VM1"]
    assert "ports" not in said or said["ports"]


def test_core_gets_a_vms_settings(config: ClusterConfig) -> None:
    settings = module_settings(config, "VM1", "b")
    assert (settings.node, settings.peer, settings.preferred) == ("b", "a", "a")
    assert (settings.witness, settings.witness_timeout_s) == (WitnessKind.PING, 5.0)
    assert (settings.stop_mode, settings.stop_timeout_s) == (StopMode.STOP, 120.0)
    assert settings.forced_stop_mode is StopMode.OFF


def test_core_gets_the_settings_of_scripts(config: ClusterConfig) -> None:
    settings = module_settings(config, "files", "a")
    assert settings.give_back is Return.WINDOW
    assert (settings.stop_mode, settings.stop_timeout_s) == (StopMode.STOP, 60.0)


def test_a_cluster_that_can_split_says_so(config: ClusterConfig) -> None:
    assert warnings(config) == [
        "ping witness: a cut network can split this cluster while both sides reach a ping address"
    ]
    witness = "witness: {kind: ping, addresses: [10.77.1.254], timeout: 5}"
    bare = parse_cluster(EXAMPLE.read_text().replace(witness, "witness: {kind: none}"))
    assert warnings(bare) == ["no witness: a cut network can split this cluster"]


def test_one_network_for_everything_is_warned_of() -> None:
    config = parse_cluster(
        "cluster: c\nnodes: {a: {addresses: {n: 10.0.0.1}}, b: {addresses: {n: 10.0.0.2}}}\n"
        "networks: {n: {roles: [heartbeat, control, replication]}}\n"
    )
    assert warnings(config)[1:] == [
        "only the network 'n' carries heartbeats: its loss looks like the loss of the peer",
        "there is one network only: nothing is left to replicate over when it dies",
    ]


def test_the_word_off_is_a_stop_mode_and_no_boolean(config: ClusterConfig) -> None:
    text = EXAMPLE.read_text().replace("stop: {mode: stop, timeout: 2 min}", "stop: {mode: off}", 1)
    assert module_settings(parse_cluster(text), "VM1", "a").stop_mode is StopMode.OFF
    with pytest.raises(InvalidConfigError):
        parse_cluster(text.replace("mode: off", "mode: false", 1))
