"""The third party: who is asked, who is refused, and what an answer means."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from twinhull.checkers.witness import Question, make_witness
from twinhull.checkers.witness.none import NoWitness
from twinhull.checkers.witness.ping import PingWitness, icmp_echo, is_local
from twinhull.core.record import WitnessKind
from twinhull.errors import ConfigError, WitnessError

QUESTION = Question(1, "pair", "VM1", "a", timeout_s=20.0)


def witness(*addresses: str, answers: tuple[str, ...] = (), **options: object) -> PingWitness:
    def echo(address: str, timeout_s: float) -> bool:
        assert 0 < timeout_s <= QUESTION.timeout_s
        return address in answers

    return PingWitness(addresses, **{"echo": echo, "local": lambda _: False, **options})  # type: ignore[arg-type]


def test_without_a_witness_everything_is_granted_and_said_what_that_means() -> None:
    verdict = NoWitness().ask(QUESTION)
    assert verdict.granted
    assert "a cut network can split this cluster" in verdict.detail
    assert not NoWitness().has_memory


def test_any_address_that_answers_grants() -> None:
    verdict = witness("10.0.0.1", "10.0.0.2", answers=("10.0.0.2",)).ask(QUESTION)
    assert verdict == (True, "10.0.0.2 answers")


def test_no_answer_is_a_refusal_that_names_who_was_asked() -> None:
    verdict = witness("10.0.0.1", "fe80::1").ask(QUESTION)
    assert verdict == (False, "none of 10.0.0.1, fe80::1 answers within 20 s")


def test_a_lost_packet_is_asked_for_again() -> None:
    asked: list[str] = []

    def echo(address: str, timeout_s: float) -> bool:
        asked.append(address)
        return len(asked) == 3

    assert witness("10.0.0.1", echo=echo).ask(QUESTION).granted


def test_an_address_that_hangs_does_not_delay_one_that_answers() -> None:
    release = threading.Event()

    def echo(address: str, timeout_s: float) -> bool:
        return address == "10.0.0.2" or release.wait(timeout_s)

    try:
        assert witness("10.0.0.1", "10.0.0.2", echo=echo).ask(QUESTION).detail == "10.0.0.2 answers"
    finally:
        release.set()


def test_an_address_that_never_ends_is_a_refusal_in_time() -> None:
    release = threading.Event()

    def echo(address: str, timeout_s: float) -> bool:
        return release.wait(30.0)

    try:
        question = Question(1, "pair", "VM1", "a", timeout_s=0.2)
        verdict = witness("10.0.0.1", echo=echo).ask(question)
        assert not verdict.granted
        assert "did not end in time" in verdict.detail
    finally:
        release.set()


def test_a_witness_that_cannot_be_asked_is_a_refusal_with_the_reason() -> None:
    def echo(address: str, timeout_s: float) -> bool:
        raise WitnessError("Root privileges are required.")

    verdict = witness("10.0.0.1", echo=echo).ask(QUESTION)
    assert not verdict.granted
    assert "Root privileges are required" in verdict.detail


def test_an_address_that_became_this_hosts_own_proves_nothing() -> None:
    local: set[str] = set()
    asked = witness("10.0.0.1", answers=("10.0.0.1",), local=local.__contains__)
    assert asked.ask(QUESTION).granted
    local.add("10.0.0.1")
    verdict = asked.ask(QUESTION)
    assert not verdict.granted
    assert "an address of this host now" in verdict.detail


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("10.0.0.10", "this node's own"),
        ("::ffff:10.0.0.10", "this node's own"),
        ("10.0.0.11", "the peer's"),
        ("fd00:0:0::b", "the peer's"),
        ("gateway.example", "is not an IP address"),
        ("10.0.0.300", "is not an IP address"),
    ],
)
def test_an_address_that_proves_nothing_is_refused_when_the_witness_is_made(
    address: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        witness("10.0.0.1", address, own=("10.0.0.10",), peer=("10.0.0.11", "fd00::b"))


def test_an_address_that_this_host_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="an address of this host"):
        witness("10.0.0.1", local=lambda _: True)


def test_a_ping_witness_needs_an_address_and_asks_each_once() -> None:
    with pytest.raises(ConfigError, match="no address to ask"):
        witness()
    assert witness("10.0.0.1", "10.0.0.1", "fd00:0::1").addresses == ("10.0.0.1", "fd00::1")


def test_a_host_knows_its_own_addresses() -> None:
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.1")


@pytest.mark.lab
def test_an_echo_on_loopback_is_answered() -> None:
    assert icmp_echo("127.0.0.1", 20.0)


def cluster(kind: WitnessKind, *addresses: str) -> SimpleNamespace:
    nodes = {
        "a": SimpleNamespace(addresses={"lan": "192.0.2.10"}),
        "b": SimpleNamespace(addresses={"lan": "192.0.2.11"}),
    }
    return SimpleNamespace(nodes=nodes, witness=SimpleNamespace(kind=kind, addresses=addresses))


def test_the_configured_witness_is_made_and_knows_both_nodes_addresses() -> None:
    assert isinstance(make_witness(cluster(WitnessKind.NONE), "a"), NoWitness)
    assert isinstance(make_witness(cluster(WitnessKind.PING, "192.0.2.1"), "a"), PingWitness)
    for address, whose in (("192.0.2.10", "own"), ("192.0.2.11", "peer's")):
        with pytest.raises(ConfigError, match=whose):
            make_witness(cluster(WitnessKind.PING, address), "a")
    with pytest.raises(ConfigError, match="etcd has a memory"):
        make_witness(cluster(WitnessKind.ETCD), "a")
