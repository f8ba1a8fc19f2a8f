"""Who is asked before a node goes on alone: each mistake has its own sentence."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from tests.unit.config.test_cluster import GOOD, complaints

from twinhull.attach import windows_timers
from twinhull.checkers.witness.etcd import parse_endpoint
from twinhull.config import check_change, module_settings, parse_cluster, to_yaml, warnings, witness
from twinhull.config.paths import Platform
from twinhull.core.record import WitnessKind

FILES = "ca: /etc/pki/ca.pem, cert: /etc/pki/c.pem, key: /etc/pki/k.pem"
ETCD = f"kind: etcd, endpoints: ['https://10.77.9.1:2379', 'https://10.77.9.2'], {FILES}"
WRONG_ENDPOINTS = [
    ("http://10.77.9.1:2379", "does not begin with https://, and a witness is only asked over TLS"),
    ("10.77.9.1:2379", "does not begin with https://"),
    ("https://etcd.lan:2379", "host names are not looked up, write the address"),
    ("https://10.77.9.1:2379/v3", "is not of the form https://ADDRESS:PORT"),
    ("https://me@10.77.9.1", "is not of the form https://ADDRESS:PORT"),
    ("https://10.77.9.1:70000", "is not of the form https://ADDRESS:PORT"),
    ("https://10.77.9.1:0", "has no port from 1 to 65535"),
    ("https://[10.77.9.1", "is not of the form https://ADDRESS:PORT"),
    ("https://127.0.0.1:2379", "is a loopback address: each node would ask another server"),
    ("https://[::1]:2379", "is a loopback address"),
]
WRONG = [
    ("kind: etcd", "needs 'endpoints', such as"),
    (ETCD.replace("ca: /etc/pki/ca.pem, ", ""), "needs 'ca', the file of the authority"),
    (ETCD.replace("cert: /etc/pki/c.pem, ", ""), "needs 'cert', the file of the certificate"),
    (ETCD.replace(", key: /etc/pki/k.pem", ""), "needs 'key', the file of that certificate's key"),
    (f"kind: etcd, endpoints: [], {FILES}", "'witness.endpoints' must name at least one endpoint"),
    (f"kind: etcd, endpoints: [[x]], {FILES}", "'witness.endpoints' is wrong: it must be a list of single values"),
    (ETCD.replace("/etc/pki/ca.pem", "ca.pem"), "'witness.ca' is wrong: 'ca.pem' is no absolute path"),
    (ETCD + ", addresses: [10.77.1.254]", "'witness.addresses' has no meaning with the kind 'etcd': did you mean"),
    (f"kind: none, {FILES}", "'witness.ca' has no meaning with the kind 'none': did you mean 'kind: etcd'?"),
    ("kind: ping, addresses: [10.77.1.254], endpoints: ['https://10.77.9.1']", "no meaning with the kind 'ping'"),
    (f"kind: etcd, endpoints: ['https://10.77.1.2'], {FILES}", "10.77.1.2 is the node 'b' itself, and no other"),
    (f"kind: etcd, endpoints: {[f'https://10.77.9.{n}' for n in range(1, 11)]}, {FILES}", "at most 9 are asked"),
]  # fmt: skip


def with_witness(text: str) -> str:
    return GOOD.replace("kind: none", text)


def test_an_etcd_witness_is_read_and_written_out_as_it_was() -> None:
    config = parse_cluster(with_witness(ETCD))
    assert config.witness.kind is WitnessKind.ETCD
    assert config.witness.endpoints == ("https://10.77.9.1:2379", "https://10.77.9.2:2379")
    assert config.witness.key == PurePosixPath("/etc/pki/k.pem")
    assert parse_cluster(to_yaml(config)) == config
    assert module_settings(config, "VM1", "a").witness is WitnessKind.ETCD
    assert not any("witness" in sentence for sentence in warnings(config))


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_each_mistake_is_named(text: str, sentence: str) -> None:
    told = complaints(with_witness(text))
    assert any(sentence in line for line in told), told


@pytest.mark.parametrize(("endpoint", "sentence"), WRONG_ENDPOINTS)
def test_an_endpoint_is_an_address_asked_over_tls(endpoint: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        witness.read_endpoint(endpoint)


def test_what_is_read_is_what_the_witness_takes() -> None:
    for text in ("https://10.77.9.1", "https://[fd00::9]:4001/"):
        endpoint = parse_endpoint(witness.read_endpoint(text))
        assert str(endpoint) in ("10.77.9.1:2379", "fd00::9:4001")


def test_members_on_the_nodes_beside_a_third_are_fine() -> None:
    both = "['https://10.77.1.1', 'https://10.77.1.2', 'https://10.77.9.1']"
    config = parse_cluster(with_witness(f"kind: etcd, endpoints: {both}, {FILES}"))
    assert len(config.witness.endpoints) == 3


def windows(text: str) -> str:
    here = GOOD.replace("/srv/twinhull/VM1", r"D:\Twinhull\VM1").replace(
        "file_system: ext4", "file_system: ntfs"
    )
    here = (
        here[: here.index("    resource:")]
        + "    resource: {kind: scripts, start: ['C:\\a.exe'], process: yes}\n"
    )
    return here.replace("kind: none", text)


def test_on_windows_io_is_not_held_longer_than_the_initiator_waits() -> None:
    files = FILES.replace("/etc/pki/", "C:/pki/")
    text = f"kind: etcd, endpoints: ['https://10.77.9.1'], {files}, timeout: "
    (told,) = complaints(windows(text + "50"))
    assert told == (
        "c.yml:9: 'witness.timeout' is wrong: with the time-out of module 'VM1' (10 s) its I/O may be held for 60 s, and "
        "Windows gives up after 60 s: write less than 50 s"
    )
    assert parse_cluster(windows(text + "49")).witness.timeout_s == 49.0
    late = windows(text + "40").replace("timeout: 10, write_timeout: 10", "timeout: 90, write_timeout: 10")
    assert "write less than 40 s" in complaints(late)[0]
    assert parse_cluster(with_witness(ETCD + ", timeout: 55")).witness.timeout_s == 55.0
    assert windows_timers.CAP_UNTIL_BOOT_S == witness.CAPPED_TIMEOUT_S
    assert windows_timers.Timers(None, None, "", False).least_s() == witness.INITIATOR_S


def test_paths_of_the_other_platform_do_not_fit_a_node() -> None:
    config = parse_cluster(windows(ETCD))
    assert [key for key, _ in witness.file_problems(config.witness, Platform.WINDOWS)] == [
        "ca", "cert", "key",
    ]  # fmt: skip
    assert witness.file_problems(config.witness, Platform.LINUX) == []


def test_other_servers_of_the_same_kind_are_taken_when_a_module_starts_anew() -> None:
    old, new = (parse_cluster(with_witness(ETCD.replace("9.1", end))) for end in ("9.1", "9.3"))
    assert "a module that runs takes it when it is stopped" in check_change(old, new).warnings[0]
