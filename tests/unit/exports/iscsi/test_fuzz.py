"""Whatever arrives: no crash, no hang, bounded memory, and the disk goes on for those who speak properly."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.exports.iscsi.initiator import (
    ME,
    OPEN,
    SETTINGS,
    Initiator,
    logged_in,
    make_target,
    read10,
    text,
)

from twinhull.exports.iscsi.connection import BUFFER_BYTES, UNSENT_BYTES
from twinhull.exports.iscsi.numbers import WINDOW
from twinhull.exports.iscsi.session import MAX_IMMEDIATE
from twinhull.exports.iscsi.text import BURST_BYTES, RULES

OPCODES = (
    0x00,
    0x01,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x10,
    0x40,
    0x41,
    0x42,
    0x43,
    0x44,
    0x46,
    0x50,
    0x25,
    0x3F,
)
SLOW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
small = st.sampled_from((0, 1, 2, 7, 64, 0xFF, 0x8000, 0xFFFF, 0xFFFFFFFF)) | st.integers(0, 0xFFFFFFFF)
cdbs = st.one_of(
    st.binary(min_size=16, max_size=16),
    st.builds(
        lambda opcode, flags, lba, count, control: struct.pack(
            ">BBQIBB", opcode, flags, lba, count, 0, control
        ),
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 9000) | st.integers(0, (1 << 64) - 1),
        st.integers(0, 4096) | st.integers(0, 0xFFFFFFFF),
        st.sampled_from((0, 0, 0, 4)),
    ),
    st.builds(
        lambda lba, count: read10(lba, count).ljust(16, b"\0"), st.integers(0, 9000), st.integers(0, 2100)
    ),
)


@st.composite
def pdus(draw: Any) -> tuple[bytes, bytes, bool]:
    """A PDU that looks like one: its header, its data, and whether its CmdSN is to be the right one."""
    opcode = draw(st.sampled_from(OPCODES))
    data = draw(st.binary(max_size=600))
    head = bytearray(draw(st.binary(min_size=48, max_size=48)))
    head[0] = opcode
    head[1] = draw(st.sampled_from((0x80, 0x81, 0xA1, 0xC1, 0x21, 0xE1, 0x82, 0xA2, 0x87, 0x00, 0x40, 0xFF)))
    head[4] = draw(st.sampled_from((0, 0, 0, 0, 1, 3)))
    head[5:8] = (len(data) if draw(st.booleans()) else draw(st.integers(0, 700))).to_bytes(3, "big")
    if draw(st.booleans()):
        head[8:16] = bytes(8)
    for at in (16, 20, 40):
        head[at : at + 4] = draw(small).to_bytes(4, "big")
    if opcode & 0x3F == 1:
        head[32:48] = draw(cdbs)
    return bytes(head), data + bytes(head[4] * 4) + bytes(-len(data) % 4), draw(st.booleans())


def check_bounds(initiator: Initiator) -> None:
    """What one connection may hold at most."""
    session = initiator.connection.session
    if session is None:
        return
    assert session.under_way <= WINDOW + MAX_IMMEDIATE
    assert len(session._numbers.early) <= WINDOW
    assert (
        sum(len(task.buffer or b"") for task in session._tasks.values())
        <= (WINDOW + MAX_IMMEDIATE) * BURST_BYTES
    )
    assert len(initiator.connection.buffer()) <= BUFFER_BYTES


@SLOW
@given(st.lists(pdus(), max_size=30), st.booleans())
def test_no_pdu_breaks_a_session(sent: list[tuple[bytes, bytes, bool]], holds: bool) -> None:
    initiator, volume = logged_in()
    if holds:
        volume.held = []
    for head, data, in_order in sent:
        numbered = head
        if in_order:
            numbered = head[:24] + (initiator.command_sn & 0xFFFFFFFF).to_bytes(4, "big") + head[28:]
            initiator.command_sn += not head[0] & 0x40
        initiator.connection.receive_data(numbered + data)
        volume.work()
        initiator.connection.unsent_bytes -= sum(len(piece) for piece in initiator.connection.outgoing)
        initiator.connection.outgoing = []
        check_bounds(initiator)
    if holds:
        volume.release()
    assert initiator.target.in_flight == 0
    again = Initiator(initiator.target, volume)
    initiator.connection.end("")
    assert again.login(chap=None) == 0
    again.settle()
    assert again.run(read10(0, 1), room=512).status == 0


@SLOW
@given(st.binary(max_size=5000), st.integers(1, 400))
def test_no_bytes_break_the_target(sent: bytes, pieces: int) -> None:
    target, volume = make_target(SETTINGS)
    initiator = Initiator(target, volume)
    for at in range(0, len(sent), pieces):
        initiator.connection.receive_data(sent[at : at + pieces])
    assert len(initiator.connection.buffer()) > 0
    assert target.initiator == ""
    assert Initiator(target, volume).login() == 0


names = st.sampled_from(
    (*RULES, "InitiatorName", "TargetName", "SessionType", "AuthMethod", "CHAP_A", "CHAP_N", "CHAP_R")
)
values = st.sampled_from(
    (
        "Yes",
        "No",
        "None",
        "CHAP",
        "5",
        "0",
        "-1",
        "0xffffffff",
        "65536",
        "Normal",
        "Discovery",
        ME,
        "0x",
        "0b==",
    )
) | st.text(max_size=40)


@SLOW
@given(
    st.lists(
        st.tuples(
            st.dictionaries(names | st.text(min_size=1, max_size=20), values, max_size=6),
            st.sampled_from((0, 1, 3)),
            st.sampled_from((None, 0, 1, 2, 3)),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_nobody_gets_in_by_odd_keys(steps: list[tuple[dict[str, str], int, int | None, bool]]) -> None:
    target, volume = make_target(SETTINGS)
    initiator = Initiator(target, volume)
    for keys, stage, next_stage, more in steps:
        if initiator.connection.paused:
            break
        initiator.login_pdu(stage, next_stage, keys, more=more)
    assert target.initiator == "", "the secret was never said"
    assert initiator.connection.session is None
    assert Initiator(target, volume).login() == 0


def test_a_login_that_never_ends_is_ended() -> None:
    target, volume = make_target(OPEN)
    initiator = Initiator(target, volume)
    for _ in range(40):
        initiator.login_pdu(1, None, {"InitiatorName": ME, "TargetName": target.name}, more=True)
    assert initiator.connection.paused


def test_a_text_without_end_is_ended() -> None:
    target, volume = make_target(OPEN)
    initiator = Initiator(target, volume)
    for _ in range(20):
        initiator.login_pdu(1, None, {"X-filler": "x" * 8000}, more=True)
    assert initiator.connection.paused
    assert initiator.connection.unsent_bytes < UNSENT_BYTES
    assert text({}) == b""
