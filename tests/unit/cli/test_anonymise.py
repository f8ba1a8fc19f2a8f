"""Names and addresses are replaced, the same everywhere, and what says nothing about anybody stays."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.agent.anonymise import Anonymiser


@pytest.fixture
def anonymiser() -> Anonymiser:
    return Anonymiser(
        {
            "cluster": ["acme-berlin"],
            "node": ["a", "b", "srv-east"],
            "module": ["VM1", "VM10"],
            "domain": ["payroll", "VM1"],
            "host": ["srv1.acme.example", ""],
        }
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cluster: acme-berlin", "cluster: cluster-1"),
        ("ACME-Berlin", "cluster-1"),
        ("VM10 beside VM1 and VM100", "module-2 beside module-1 and VM100"),
        ("/srv/twinhull/VM1/vm/payroll.qcow2", "/srv/twinhull/module-1/vm/domain-1.qcow2"),
        ("srv1.acme.example answers", "host-1 answers"),
        ("node srv-east", "node node-3"),
        ("  a: {addresses: {}}", "  node-1: {addresses: {}}"),
        ("preferred: b", "preferred: node-2"),
        ('{"node": "a", "peers": ["b"]}', '{"node": "node-1", "peers": ["node-2"]}'),
        ("INFO a/VM1 node a hears b.", "INFO node-1/module-1 node node-1 hears b."),
        ("nodes a and b: a write took a while", "nodes node-1 and node-2: a write took a while"),
        ("a new session is a good thing", "a new session is a good thing"),
    ],
)
def test_names_are_replaced_where_they_are_names(anonymiser: Anonymiser, text: str, expected: str) -> None:
    assert anonymiser.text(text) == expected


def test_addresses_are_replaced_and_keep_their_networks(anonymiser: Anonymiser) -> None:
    text = "10.77.1.1 10.77.1.2 10.77.2.1:7420 10.77.1.1 10.77.1.0/24 fe80::1 2a02:8:9::7 52:54:00:AB:cd:01"
    replaced = anonymiser.text(text).split()
    assert replaced == [
        "198.18.3.1", "198.18.3.2", "198.18.4.1:7420", "198.18.3.1", "198.18.3.0/24",
        "2001:db8:0:1::1", "2001:db8:0:2::1", "02:00:00:00:00:01",
    ]  # fmt: skip
    assert anonymiser.text("52:54:00:ab:CD:01 from 10.77.2.1") == "02:00:00:00:00:01 from 198.18.4.1"


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "0.0.0.0", "::1", "::", "12:30:45", "2026-01-01T12:30:45.123+00:00", "00:00:00:00:00:00",
     "ff:ff:ff:ff:ff:ff", "999.1.1.1", "1.2.3", "std::vector", "e3b0c442-98fc-1c14-9afb-f4c8996fb924"],
)  # fmt: skip
def test_what_belongs_to_nobody_stays(anonymiser: Anonymiser, text: str) -> None:
    assert anonymiser.text(text) == text


def test_mail_addresses_are_replaced(anonymiser: Anonymiser) -> None:
    assert anonymiser.text("ask eve@acme.example, Eve@acme.example or bob@x.org") == (
        "ask mail-1@example.invalid, mail-1@example.invalid or mail-2@example.invalid"
    )


@given(st.lists(st.ip_addresses(v=4), min_size=1, max_size=30))
def test_no_address_survives_and_the_same_becomes_the_same(addresses: list[object]) -> None:
    anonymiser = Anonymiser({})
    kept = re.compile(r"^(127\.|0\.0\.0\.0$|255\.)")
    first = [anonymiser.text(f"at {address}.") for address in addresses]
    assert [anonymiser.text(f"at {address}.") for address in addresses] == first
    for address, text in zip(addresses, first, strict=True):
        assert kept.match(str(address)) or text.startswith("at 198.")
    assert len(set(first)) == len(set(addresses))
