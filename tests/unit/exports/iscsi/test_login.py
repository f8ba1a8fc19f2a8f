"""The login: who is let in, and what is agreed upon."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from tests.unit.exports.iscsi.initiator import (
    CHAP,
    ME,
    OPEN,
    SETTINGS,
    Initiator,
    logged_in,
    make_target,
    parse_text,
    read10,
)

from twinhull.errors import AttachError
from twinhull.exports.iscsi.chap import Chap, ChapError, binary, new_secret
from twinhull.exports.iscsi.pages import DiskIdentity
from twinhull.exports.iscsi.target import Target, target_name

OTHER = "iqn.2005-03.org.example:other"


@pytest.mark.parametrize("number", ["5", "6", "7", "8"])
def test_who_knows_the_secret_is_let_in_with_any_algorithm(number: str) -> None:
    target, volume = make_target()
    initiator = Initiator(target, volume)
    identity = {"InitiatorName": ME, "TargetName": target.name, "AuthMethod": "CHAP"}
    [response] = initiator.login_pdu(0, 1, identity)
    assert not response.head[1] & 0x80, "the stage is not left before the proof"
    assert parse_text(response.data) == {"AuthMethod": "CHAP", "TargetPortalGroupTag": "1"}
    [response] = initiator.login_pdu(0, None, {"CHAP_A": number})
    asked = parse_text(response.data)
    assert asked["CHAP_A"] == number
    [response] = initiator.login_pdu(0, 1, initiator.chap_answer(CHAP, asked))
    assert response.head[1] & 0x83 == 0x81
    [response] = initiator.login_pdu(1, 3, {})
    assert initiator.failed(response) == 0
    assert target.initiator == ME


def test_the_strongest_algorithm_of_those_offered_is_taken() -> None:
    target, volume = make_target()
    initiator = Initiator(target, volume)
    initiator.login_pdu(0, 1, {"InitiatorName": ME, "TargetName": target.name, "AuthMethod": "CHAP"})
    [response] = initiator.login_pdu(0, None, {"CHAP_A": "5,7,6"})
    assert parse_text(response.data)["CHAP_A"] == "7"


@pytest.mark.parametrize("chap", [Chap("twinhull", "Wrong-Secret-1"), Chap("somebody", CHAP.secret)])
@pytest.mark.parametrize("discovery", [False, True])
def test_who_does_not_know_user_and_secret_is_refused(chap: Chap, discovery: bool) -> None:
    target, volume = make_target()
    initiator = Initiator(target, volume)
    assert initiator.login(chap=chap, discovery=discovery) == 0x0201
    assert initiator.connection.paused
    assert target.initiator == ""


def test_leaving_the_authentication_out_is_refused() -> None:
    target, volume = make_target()
    initiator = Initiator(target, volume)
    [response] = initiator.login_pdu(1, 3, {"InitiatorName": ME, "TargetName": target.name})
    assert initiator.failed(response) == 0x0201


def test_offering_no_authentication_alone_is_refused() -> None:
    target, volume = make_target()
    assert Initiator(target, volume).login(chap=None) == 0x0201


def test_a_proof_counts_for_its_own_question_only() -> None:
    target, volume = make_target()
    initiator = Initiator(target, volume)
    initiator.login_pdu(0, 1, {"InitiatorName": ME, "TargetName": target.name, "AuthMethod": "CHAP"})
    [response] = initiator.login_pdu(0, None, {"CHAP_A": "5"})
    asked = {**parse_text(response.data), "CHAP_I": "99"}
    [response] = initiator.login_pdu(0, 1, initiator.chap_answer(CHAP, asked))
    assert initiator.failed(response) == 0x0201


def test_an_initiator_that_wants_our_proof_is_refused() -> None:
    target, volume = make_target()
    initiator = Initiator(target, volume)
    initiator.login_pdu(0, 1, {"InitiatorName": ME, "TargetName": target.name, "AuthMethod": "CHAP"})
    [response] = initiator.login_pdu(0, None, {"CHAP_A": "5"})
    answer = initiator.chap_answer(CHAP, parse_text(response.data))
    [response] = initiator.login_pdu(0, 1, {**answer, "CHAP_I": "1", "CHAP_C": "0x" + "00" * 16})
    assert initiator.failed(response) == 0x0201


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"TargetName": "iqn.2026-11.io.twinhull:test.m1"}, 0x0207),
        ({"InitiatorName": ME}, 0x0207),
        ({"InitiatorName": ME, "TargetName": "iqn.2026-11.io.twinhull:test.m2"}, 0x0203),
        ({"InitiatorName": ME, "SessionType": "Strange"}, 0x0209),
        ({"InitiatorName": "x" * 300, "TargetName": "iqn.2026-11.io.twinhull:test.m1"}, 0x0200),
    ],
)
def test_a_first_request_that_lacks_something_says_what(keys: dict[str, str], status: int) -> None:
    target, volume = make_target(OPEN)
    initiator = Initiator(target, volume)
    [response] = initiator.login_pdu(1, 3, keys)
    assert initiator.failed(response) == status


def test_another_version_is_refused() -> None:
    target, volume = make_target(OPEN)
    initiator = Initiator(target, volume)
    [response] = initiator.login_pdu(1, 3, {"InitiatorName": ME, "TargetName": target.name}, version=1)
    assert initiator.failed(response) == 0x0205


def test_a_text_may_come_in_pieces() -> None:
    target, volume = make_target(OPEN)
    initiator = Initiator(target, volume)
    [response] = initiator.login_pdu(1, None, {"InitiatorName": ME}, more=True)
    assert response.head[1] & 0x80 == 0
    assert response.data == b""
    [response] = initiator.login_pdu(1, 3, {"TargetName": target.name})
    assert initiator.failed(response) == 0


@pytest.mark.parametrize(
    ("key", "offered", "agreed"),
    [
        ("InitialR2T", "Yes", "Yes"),
        ("InitialR2T", "No", "No"),
        ("ImmediateData", "No", "No"),
        ("MaxBurstLength", "16776192", "1048576"),
        ("MaxBurstLength", "65536", "65536"),
        ("FirstBurstLength", "0x10000", "65536"),
        ("ErrorRecoveryLevel", "2", "0"),
        ("MaxConnections", "8", "1"),
        ("DefaultTime2Wait", "2", "2"),
        ("DefaultTime2Retain", "20", "0"),
        ("MaxOutstandingR2T", "16", "1"),
        ("HeaderDigest", "CRC32C,None", "None,CRC32C"),
        ("MaxRecvDataSegmentLength", "8192", "262144"),
        ("MaxBurstLength", "100", "Reject"),
        ("InitialR2T", "Perhaps", "Reject"),
        ("IFMarker", "Yes", "No"),
        ("X-org.example.strange", "1", "NotUnderstood"),
    ],
)
def test_each_key_is_answered_by_its_rule(key: str, offered: str, agreed: str) -> None:
    target, volume = make_target(OPEN)
    initiator = Initiator(target, volume)
    assert initiator.login(chap=None, keys={key: offered}) == 0
    # of a list it is the first that we have as well
    expected = "CRC32C" if key == "HeaderDigest" else agreed
    assert initiator.answers[key] == expected


def test_a_key_offered_twice_ends_the_login() -> None:
    target, volume = make_target(OPEN)
    initiator = Initiator(target, volume)
    initiator.login_pdu(1, None, {"InitiatorName": ME, "TargetName": target.name, "MaxBurstLength": "65536"})
    [response] = initiator.login_pdu(1, 3, {"MaxBurstLength": "65536"})
    assert initiator.failed(response) == 0x0200


def test_digests_guard_what_travels_when_the_initiator_insists() -> None:
    initiator, volume = logged_in(HeaderDigest="CRC32C", DataDigest="CRC32C")
    assert initiator.digests
    volume.content[:1024] = b"\x5a" * 1024
    assert initiator.run(read10(0, 2), room=1024).data == b"\x5a" * 1024
    initiator.digests = False
    initiator.command_pdu(bytes(6))
    initiator.command_pdu(bytes(6))
    assert initiator.connection.paused, "a wrong digest ends the connection"


def test_a_second_session_is_refused_and_the_first_goes_on() -> None:
    initiator, volume = logged_in()
    other = Initiator(initiator.target, volume, OTHER)
    assert other.login(chap=None) == 0x0302
    assert initiator.run(bytes(6)).status == 0
    same_name = Initiator(initiator.target, volume, ME, isid=b"\x80\0\0\0\0\x02")
    assert same_name.login(chap=None) == 0x0302
    assert initiator.run(bytes(6)).status == 0


def test_the_same_initiator_takes_the_place_of_its_own_session() -> None:
    first, volume = logged_in()
    second = Initiator(first.target, volume)
    assert second.login(chap=None) == 0
    assert first.connection.paused
    second.settle()
    assert second.run(bytes(6)).status == 0


def test_a_session_that_broke_makes_room_for_another_initiator() -> None:
    first, volume = logged_in()
    first.connection.end("its connection broke")
    other = Initiator(first.target, volume, OTHER)
    assert other.login(chap=None) == 0


def test_a_connection_is_made_anew_within_its_session_but_no_second_one_is_added() -> None:
    first, volume = logged_in()
    again = Initiator(first.target, volume)
    again.tsih = first.tsih
    assert again.login(chap=None) == 0
    assert again.tsih == first.tsih
    stranger = Initiator(first.target, volume)
    stranger.tsih = first.tsih + 1
    assert stranger.login(chap=None) == 0x020A


def test_a_failed_login_does_not_touch_the_session() -> None:
    target, volume = make_target()
    first = Initiator(target, volume)
    assert first.login() == 0
    assert Initiator(target, volume).login(chap=Chap("twinhull", "Wrong-Secret-1")) == 0x0201
    first.settle()
    assert first.run(bytes(6)).status == 0


def test_discovery_tells_name_and_portal_and_shows_no_disk() -> None:
    target, volume = make_target()
    initiator = Initiator(target, volume)
    assert initiator.login(discovery=True) == 0
    head = bytes.fromhex("0480000000000000 0000000000000000 00000033 ffffffff 00000001 00000000") + bytes(16)
    [response] = initiator.send(head, b"SendTargets=All\0")
    assert response.opcode == 0x24
    assert parse_text(response.data) == {"TargetName": target.name, "TargetAddress": "127.0.0.1:3260,1"}
    initiator.command_sn += 1
    assert initiator.run(bytes(6)).sense == (5, 0x25, 0)


@pytest.mark.parametrize(
    "chap", [Chap("u", "short"), Chap("u", "x" * 17), Chap("u", "with a space"), Chap("", "Only-For-Tests")]
)
def test_a_secret_that_windows_would_not_take_is_refused(chap: Chap) -> None:
    with pytest.raises(AttachError):
        make_target(replace(SETTINGS, chap=chap))


def test_a_new_secret_is_one_that_may_be() -> None:
    made = {new_secret(lambda count, n=n: bytes((n,)) * count) for n in (0, 0x7F, 0xFF)}  # type: ignore[misc]
    assert len(made) == 3
    for secret in made:
        assert Chap("u", secret).checked().secret == secret


def test_names_are_what_an_iscsi_name_may_be() -> None:
    assert target_name("Site_1", "M1") == "iqn.2026-11.io.twinhull:site-1.m1"
    assert target_name("c", "m", "7f") == "iqn.2026-11.io.twinhull:c.m.7f"
    with pytest.raises(AttachError):
        make_target(replace(OPEN, name="iqn.2026-11.io.twinhull:UPPER"))


def test_volumes_have_ids_of_their_own() -> None:
    one, two = (DiskIdentity(bytes((n,)) * 16, "iqn.x", 1 << 30) for n in (1, 2))
    assert one.naa != two.naa
    assert one.naa[0] >> 4 == 3
    assert one.serial != two.serial


def test_the_challenge_is_never_the_same_for_two_logins() -> None:
    asked = []
    numbers = iter(range(100))
    target = Target(SETTINGS, random=lambda count: bytes((next(numbers),)) * count, log=make_target()[0]._log)
    for _ in range(2):
        initiator = Initiator(target, make_target()[1])
        initiator.login_pdu(0, 1, {"InitiatorName": ME, "TargetName": target.name, "AuthMethod": "CHAP"})
        [response] = initiator.login_pdu(0, None, {"CHAP_A": "5"})
        asked.append(parse_text(response.data)["CHAP_C"])
    assert asked[0] != asked[1]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("0x" + "ab" * 16, True),
        ("0X" + "AB" * 16, True),
        ("0b" + base64.b64encode(b"\xab" * 16).decode(), True),
        ("ab" * 16, False),
        ("0x" + "ab" * 17, False),
        ("0xzz", False),
        ("0b====", False),
        ("0x" + "0" * 5000, False),
    ],
)
def test_binary_values_are_read_as_the_standard_writes_them(text: str, good: bool) -> None:
    if good:
        assert binary(text, 16) == b"\xab" * 16
    else:
        with pytest.raises(ChapError):
            binary(text, 16)
