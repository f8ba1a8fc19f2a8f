# Copyright: Contributors to the Twinhull project
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A certificate stays, is renewed or is refused for what it is, never for what it looks like."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.twinhull.ha.plugins.plugin_utils.pki_judgement import (
    Authorities,
    Found,
    Holder,
    Verdict,
    judge_authority,
    judge_node,
    late_listeners,
    tls_listeners,
)

NOW = dt.datetime(2030, 6, 1, tzinfo=dt.UTC)
HOLDER = Holder("a", "lyon", "/etc/twinhull/pki")


class Authority:
    """A real authority; each one has its own key, whatever its name."""

    def __init__(self, cluster: str = "lyon", days: int = 3650) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name(cluster, "authority")
        self.text = pem(build(self.name, self.name, self.key, self.key, days))

    def issue(self, dns_name: str = "a.lyon.twinhull", days: int = 825, starts_days: int = -1) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        return pem(build(name("lyon", "a"), self.name, key, self.key, days, dns_name, starts_days))


def name(organisation: str, common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def build(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    days: int,
    dns_name: str = "",
    starts_days: int = -1,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + dt.timedelta(days=min(starts_days, days - 1)))
        .not_valid_after(NOW + dt.timedelta(days=days))
    )
    if dns_name:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns_name)]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def judge(
    found: Found, *trusted: Authority, known: tuple[Authority, ...] = (), accept_expired: bool = False
) -> Verdict:
    texts = [authority.text for authority in trusted]
    authorities = Authorities(texts, texts + [authority.text for authority in known], "/srv/pki/lyon")
    return judge_node(
        found, HOLDER, authorities, renew_before_days=60, accept_expired=accept_expired, now=NOW
    )


def test_a_bare_node_gets_a_certificate_whether_or_not_there_is_an_authority() -> None:
    assert judge(Found("", "", False)).state == "absent"
    assert judge(Found("", "", False), Authority()).state == "absent"


def test_a_certificate_of_the_sites_own_authority_stays() -> None:
    own = Authority()
    verdict = judge(Found(own.text, own.issue(), True), own)
    assert (verdict.state, verdict.days_left) == ("good", 825)


def test_a_certificate_that_ends_soon_is_renewed() -> None:
    own = Authority()
    assert judge(Found(own.text, own.issue(days=59), True), own).state == "renew"
    assert judge(Found(own.text, own.issue(days=60), True), own).state == "good"


def test_a_certificate_without_its_key_is_issued_again() -> None:
    own = Authority()
    assert judge(Found(own.text, own.issue(), False), own).state == "renew"


def test_an_expired_certificate_is_refused_by_an_installation_and_renewed_by_a_rotation() -> None:
    own = Authority()
    found = Found(own.text, own.issue(days=-1), True)
    refused = judge(found, own)
    assert refused.state == "refused"
    assert "/etc/twinhull/pki/node.crt expired on 2030-05-31" in refused.sentence
    assert "rotate_certificates.yml" in refused.remedy
    assert judge(found, own, accept_expired=True).state == "renew"


def test_a_certificate_that_an_authority_of_the_same_name_signed_is_refused() -> None:
    own, impostor = Authority(), Authority()
    verdict = judge(Found(own.text, impostor.issue(), True), own)
    assert verdict.state == "refused"
    assert "not by the authority in /srv/pki/lyon" in verdict.sentence


def test_a_certificate_that_nobody_signed_is_refused() -> None:
    own = Authority()
    key = ec.generate_private_key(ec.SECP256R1())
    unsigned = pem(build(name("lyon", "a"), name("lyon", "a"), key, key, 825, "a.lyon.twinhull"))
    verdict = judge(Found(own.text, unsigned, True), own)
    assert verdict.state == "refused"
    assert "is signed by itself" in verdict.sentence


@pytest.mark.parametrize(
    "said", ["b.lyon.twinhull", "a.paris.twinhull", "a.operator.lyon.twinhull", "A.lyon.twinhull", ""]
)
def test_a_certificate_of_another_name_is_refused(said: str) -> None:
    own = Authority()
    verdict = judge(Found(own.text, own.issue(said), True), own)
    assert verdict.state == "refused"
    assert f"says {said or 'no name'}, not a.lyon.twinhull" in verdict.sentence


def test_a_certificate_from_the_future_is_refused() -> None:
    own = Authority()
    verdict = judge(Found(own.text, own.issue(starts_days=2), True), own)
    assert verdict.state == "refused"
    assert "not valid before" in verdict.sentence


def test_a_node_that_trusts_a_stranger_too_is_refused() -> None:
    own, stranger = Authority(), Authority("paris")
    verdict = judge(Found(own.text + stranger.text, own.issue(), True), own)
    assert verdict.state == "refused"
    assert "is a foreign authority" in verdict.sentence


def test_files_without_any_authority_on_the_control_node_are_refused_before_a_new_one_is_made() -> None:
    elsewhere = Authority()
    verdict = judge(Found(elsewhere.text, elsewhere.issue(), True))
    assert verdict.state == "refused"
    assert "there is no authority of lyon in /srv/pki/lyon" in verdict.sentence


@pytest.mark.parametrize("text", ["rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    own = Authority()
    assert judge(Found(own.text, text, True), own).state == "refused"
    assert judge(Found(text, "", False), own).state == "refused"


def test_while_an_authority_is_replaced_certificates_of_both_stay() -> None:
    old, new = Authority(), Authority()
    for issuer in (old, new):
        assert judge(Found(old.text + new.text, issuer.issue(), True), old, new).state == "good"


def test_after_an_authority_was_replaced_only_its_own_certificates_stay() -> None:
    old, new = Authority(), Authority()
    assert judge(Found(old.text + new.text, new.issue(), True), new, known=(old,)).state == "good"
    assert judge(Found(old.text + new.text, old.issue(), True), new, known=(old,)).state == "refused"


def test_an_authority_is_judged_by_its_own_files_alone() -> None:
    directory = "/srv/pki/lyon"
    own = Authority()
    assert judge_authority("", False, "lyon", directory, NOW).state == "absent"
    assert judge_authority("", True, "lyon", directory, NOW).state == "absent"
    assert judge_authority(own.text, True, "lyon", directory, NOW).state == "good"
    assert judge_authority(own.text, False, "lyon", directory, NOW).state == "refused"
    assert judge_authority(own.text, True, "paris", directory, NOW).state == "refused"
    assert judge_authority("rubbish", True, "lyon", directory, NOW).state == "refused"
    assert judge_authority(Authority(days=-1).text, True, "lyon", directory, NOW).state == "refused"


def test_every_listener_of_a_node_is_asked() -> None:
    cluster = {
        "nodes": {"a": {"addresses": {"lan": "10.0.0.1", "direct": "10.1.0.1"}}},
        "networks": {
            "lan": {"roles": ["heartbeat", "control"]},
            "direct": {"roles": ["replication", "heartbeat"]},
        },
        "modules": {"VM1": {"number": 1}, "VM2": {"number": "2"}},
    }
    assert tls_listeners(cluster, "a") == [
        ["127.0.0.1", 7410],
        ["10.0.0.1", 7411],
        ["10.1.0.1", 7411],
        ["10.1.0.1", 7421],
        ["10.1.0.1", 7422],
    ]


def test_who_does_not_listen_is_not_late_and_who_shows_the_former_certificate_is() -> None:
    def told(*ports: tuple[bool, bool | None, str]) -> str:
        seen = [
            {
                "address": "10.0.0.1",
                "port": 7410 + number,
                "listens": port[0],
                "trusts": port[1],
                "fingerprint": port[2],
            }
            for number, port in enumerate(ports)
        ]
        return json.dumps({"ports": seen})

    assert late_listeners(told((False, None, ""), (True, True, "new")), "certificate", "new") == []
    assert late_listeners(told((True, True, "old")), "certificate", "new") == [
        "the process at 10.0.0.1 port 7410"
    ]
    assert late_listeners(told((True, True, "old")), "trust", "") == []
    assert late_listeners(told((True, False, "new")), "trust", "") == ["the process at 10.0.0.1 port 7410"]
    assert late_listeners(told((True, None, "")), "trust", "") == ["the process at 10.0.0.1 port 7410"]
    assert late_listeners(told((True, None, "new")), "certificate", "new") == []
    assert late_listeners(told((True, None, "")), "certificate", "new") == [
        "the process at 10.0.0.1 port 7410"
    ]
    assert late_listeners("", "trust", "") == ["the node's ports could not be asked; something"]
