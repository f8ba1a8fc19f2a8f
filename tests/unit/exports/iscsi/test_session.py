"""The full-feature phase: numbering, data out of order, task management, pings while the volume holds its I/O."""

from __future__ import annotations

import os
import struct

import pytest
from tests.unit.exports.iscsi.initiator import (
    MIB,
    OPEN,
    Initiator,
    MemoryVolume,
    Pdu,
    logged_in,
    make_target,
    read10,
    write10,
)

from twinhull.exports.base import Op

SCSI_RESPONSE, DATA_IN, FUNCTION_DONE, NOP_IN, R2T, REJECT = 0x21, 0x25, 0x22, 0x20, 0x31, 0x3F
TASK_SET_FULL = 0x28
COMPLETE, NO_TASK, NO_LUN, NOT_SUPPORTED = 0, 1, 2, 5


def statuses(pdus: list[Pdu]) -> list[int]:
    """Of the commands that ended."""
    return [pdu.head[3] for pdu in pdus if pdu.opcode in (SCSI_RESPONSE, DATA_IN)]


def held(count: int = 1) -> tuple[Initiator, MemoryVolume, list[int]]:
    """Writes that the volume does not answer; their tags."""
    initiator, volume = logged_in()
    volume.held = []
    tags = []
    for index in range(count):
        tag, pdus = initiator.command_pdu(write10(8 * index, 8), flags=0xA1, expected=4096, data=b"x" * 4096)
        assert pdus == []
        tags.append(tag)
    return initiator, volume, tags


def test_a_ping_is_answered_while_the_volume_holds_its_io() -> None:
    initiator, volume, _ = held(3)
    [pong] = initiator.nop(b"hello")
    assert pong.opcode == NOP_IN
    assert pong.data == b"hello"
    assert pong.word(16) == 0x7777
    assert pong.word(20) == 0xFFFFFFFF
    volume.release()
    assert statuses(initiator.heard()) == [0, 0, 0]


def test_our_ping_is_one_that_asks_for_an_answer() -> None:
    initiator, _ = logged_in()
    session = initiator.connection.session
    assert session is not None
    before = initiator.nop()[0].word(24)
    session.chores.ping()
    [ping] = initiator.heard()
    assert ping.word(16) == 0xFFFFFFFF
    assert ping.word(20) != 0xFFFFFFFF
    assert ping.word(24) == before + 1, "its StatSN is the next one"
    assert initiator.nop(tag=0xFFFFFFFF, transfer_tag=ping.word(20)) == []
    assert initiator.nop()[0].word(24) == before + 1, "and is not used up"


def test_requests_are_answered_in_the_order_of_the_volume() -> None:
    initiator, volume, tags = held(4)
    volume.release(lambda requests: requests[::-1])
    assert [pdu.word(16) for pdu in initiator.heard()] == tags[::-1]


def test_status_numbers_go_up_by_one_and_the_window_moves_with_the_answers() -> None:
    initiator, volume, _ = held(4)
    volume.release()
    answers = initiator.heard()
    assert [pdu.word(24) - answers[0].word(24) for pdu in answers] == [0, 1, 2, 3]
    assert [pdu.word(28) for pdu in answers] == [initiator.command_sn] * 4
    assert [pdu.word(32) - answers[0].word(32) for pdu in answers] == [0, 1, 2, 3]


def test_what_is_beyond_the_window_is_ignored() -> None:
    initiator, volume, _ = held(64)
    assert len(volume.held or ()) == 64
    _, pdus = initiator.command_pdu(bytes(6))
    assert pdus == [], "the 65th has no place"
    volume.release()
    assert len(statuses(initiator.heard())) == 64
    initiator.command_sn -= 1
    assert initiator.run(bytes(6)).status == 0


def test_commands_that_come_out_of_order_are_carried_out_in_order() -> None:
    initiator, volume = logged_in()
    number = initiator.command_sn
    for ahead in (2, 1):
        _, pdus = initiator.command_pdu(
            write10(0, 1), flags=0xA1, expected=512, data=bytes((ahead,)) * 512, command_sn=number + ahead
        )
        assert pdus == []
    _, pdus = initiator.command_pdu(
        write10(0, 1), flags=0xA1, expected=512, data=bytes(512), command_sn=number
    )
    assert statuses(pdus) == [0, 0, 0]
    assert volume.content[:512] == b"\x02" * 512
    _, pdus = initiator.command_pdu(bytes(6), command_sn=number)
    assert pdus == [], "what was there before is ignored"


def test_an_ordered_task_waits_for_those_before_and_those_after_wait_for_it() -> None:
    initiator, volume = logged_in()
    volume.held = []
    for index, attribute in enumerate((1, 2, 1)):
        initiator.command_pdu(write10(index, 1), flags=0xA0 | attribute, expected=512, data=bytes(512))
    seen = []
    while volume.held:
        seen.append([request.offset_bytes // 512 for request in volume.held])
        volume.answer(volume.held.pop(0))
        volume.work()
    assert seen == [[0], [1], [2]]
    assert statuses(initiator.heard()) == [0, 0, 0]


def test_an_ordered_task_waits_for_data_that_a_task_before_it_has_not_got() -> None:
    initiator, volume = logged_in()
    data = os.urandom(MIB)
    _, [r2t] = initiator.command_pdu(write10(0, 2048), flags=0xA1, expected=MIB)
    assert initiator.command_pdu(bytes((0x35,)), flags=0x82)[1] == []
    assert initiator.command_pdu(read10(0, 1), flags=0xC1, expected=512)[1] == []
    ended = initiator.answer_r2t(r2t, data)
    assert [pdu.opcode for pdu in ended] == [SCSI_RESPONSE, SCSI_RESPONSE, DATA_IN]
    assert ended[-1].data == data[:512]
    assert [request.op for request in volume.seen] == [Op.WRITE, Op.FLUSH, Op.READ]


def test_unsolicited_data_is_taken_up_to_what_was_agreed_upon_and_the_rest_asked_for() -> None:
    initiator, volume = logged_in(OPEN, FirstBurstLength="65536")
    data = os.urandom(MIB)
    tag, pdus = initiator.command_pdu(write10(0, 2048), flags=0x21, expected=MIB, data=data[:8192])
    assert pdus == []
    [r2t] = initiator.data_out(tag, 0xFFFFFFFF, data[8192:65536], 8192, segment=8192)
    assert (r2t.opcode, r2t.word(40), r2t.word(44)) == (R2T, 65536, MIB - 65536)
    assert statuses(initiator.answer_r2t(r2t, data)) == [0]
    assert volume.content[:MIB] == data


WRITE_12 = struct.pack(">BBIIBB", 0xAA, 0, 0, 8, 0, 0)


@pytest.mark.parametrize("attribute", [1, 2], ids=["simple", "ordered"])
@pytest.mark.parametrize("size", [512, 4096, 8192], ids=["less", "as-much", "more"])
@pytest.mark.parametrize("cdb", [write10(0, 8), WRITE_12], ids=["write10", "write12"])
def test_immediate_data_of_a_write_that_waits_is_not_touched_by_what_comes_later(
    cdb: bytes, size: int, attribute: int
) -> None:
    initiator, volume = logged_in()
    volume.held = []
    initiator.command_pdu(cdb, flags=0xA0 | attribute, expected=size, data=b"\x11" * size)
    initiator.nop(b"\x22" * size)
    initiator.command_pdu(cdb, flags=0xA1, expected=size, data=b"\x33" * size)
    first = volume.held[0]
    if first.op is Op.WRITE:
        assert first.data == b"\x11" * min(size, 4096)
    volume.release()
    assert statuses(initiator.heard()) == [0, 0]
    assert [bytes(seen.data[:1]) for seen in volume.seen if seen.data] == [b"\x11", b"\x33"]
    assert volume.content[: min(size, 4096)] == b"\x33" * min(size, 4096)


def test_a_burst_is_never_larger_than_agreed_upon() -> None:
    initiator, volume = logged_in(OPEN, MaxBurstLength="131072")
    data = os.urandom(MIB)
    _, pdus = initiator.command_pdu(write10(0, 2048), flags=0xA1, expected=MIB)
    asked = []
    while pdus[-1].opcode == R2T:
        asked.append((pdus[-1].word(36), pdus[-1].word(40), pdus[-1].word(44)))
        pdus = initiator.answer_r2t(pdus[-1], data)
    assert asked == [(n, n * 131072, 131072) for n in range(8)]
    assert statuses(pdus) == [0]
    assert volume.content[:MIB] == data


@pytest.mark.parametrize(
    "mistake", ["number", "offset", "too much", "too much and no end", "end too early", "no end"]
)
def test_data_that_is_not_what_was_asked_for_fails_the_command_and_nothing_else(mistake: str) -> None:
    initiator, volume = logged_in()
    tag, [r2t] = initiator.command_pdu(write10(0, 16), flags=0xA1, expected=8192)
    offset = 512 if mistake == "offset" else 0
    length = {"too much": 8704, "too much and no end": 8704, "end too early": 4096, "offset": 7680}.get(
        mistake, 8192
    )
    final = 0 if mistake.endswith("no end") else 0x80
    number = 1 if mistake == "number" else 0
    head = struct.pack(">BBHIQIIIIIIII", 0x05, final, 0, 0, 0, tag, r2t.word(20), 0, 0, 0, number, offset, 0)
    [response] = initiator.send(head, bytes(length))
    assert initiator.result(response, b"").sense == (0xB, 0x0C, 0x0D)
    assert initiator.send(head, bytes(length)) == [], "what comes after it is ignored"
    assert volume.seen == []
    assert initiator.run(bytes(6)).status == 0


def test_data_that_may_not_come_unasked_fails_the_command() -> None:
    initiator, _ = logged_in(OPEN, ImmediateData="No", InitialR2T="Yes")
    _, [response] = initiator.command_pdu(write10(0, 1), flags=0xA1, expected=512, data=bytes(512))
    assert initiator.result(response, b"").sense == (0xB, 0x0C, 0x0C)
    _, [response] = initiator.command_pdu(write10(0, 1), flags=0x21, expected=512)
    assert initiator.result(response, b"").sense == (0xB, 0x0C, 0x0C)


@pytest.mark.parametrize("function", [1, 2, 4, 5, 6])
def test_aborted_tasks_are_not_answered_and_the_function_waits_for_them(function: int) -> None:
    initiator, volume, tags = held(2)
    assert initiator.manage(function, tags[0]) == [], "they can still change the volume"
    assert initiator.nop() != []
    volume.release()
    done = initiator.heard()
    kinds = [pdu.opcode for pdu in done]
    if function == 1:
        assert sorted(kinds) == [SCSI_RESPONSE, FUNCTION_DONE]
        assert [pdu.word(16) for pdu in done if pdu.opcode == SCSI_RESPONSE] == [tags[1]]
    else:
        assert kinds == [FUNCTION_DONE]
    assert all(pdu.head[2] == COMPLETE for pdu in done if pdu.opcode == FUNCTION_DONE)
    if function in (5, 6):
        assert initiator.run(bytes(6)).sense == (6, 0x29, 0x03)
    assert initiator.run(bytes(6)).status == 0


def test_a_task_that_waits_for_its_data_is_aborted_at_once() -> None:
    initiator, volume = logged_in()
    tag, [r2t] = initiator.command_pdu(write10(0, 16), flags=0xA1, expected=8192)
    [done] = initiator.manage(1, tag)
    assert done.head[2] == COMPLETE
    assert initiator.answer_r2t(r2t, bytes(8192)) == []
    assert volume.seen == []


def test_functions_that_there_are_not_say_so() -> None:
    initiator, _ = logged_in()
    assert initiator.manage(1, 0x4711)[0].head[2] == NO_TASK
    assert initiator.manage(5, lun=1 << 48)[0].head[2] == NO_LUN
    assert initiator.manage(3)[0].head[2] == NOT_SUPPORTED


def test_a_cold_reset_ends_the_connection() -> None:
    initiator, _ = logged_in()
    initiator.manage(7)
    assert initiator.connection.paused


def test_a_logout_is_answered_and_ends_the_session() -> None:
    initiator, _ = logged_in()
    [bye] = initiator.logout()
    assert (bye.opcode, bye.head[2]) == (0x26, 0)
    assert initiator.connection.paused
    assert initiator.target.initiator == ""


def test_a_logout_for_recovery_is_refused() -> None:
    initiator, _ = logged_in()
    assert initiator.logout(2)[0].head[2] == 2
    assert initiator.run(bytes(6)).sense is None


def test_what_a_lost_session_left_under_way_is_answered_to_nobody() -> None:
    initiator, volume, _ = held(3)
    initiator.connection.end("its connection broke")
    again = Initiator(initiator.target, volume)
    assert again.login(chap=None) == 0
    volume.release()
    assert again.heard() == []
    again.settle()


@pytest.mark.parametrize("opcode", [0x10, 0x1C, 0x03])
def test_pdus_that_are_not_served_are_rejected_and_the_session_goes_on(opcode: int) -> None:
    initiator, _ = logged_in()
    head = bytes((opcode | 0x40, 0x80)).ljust(48, b"\0")
    [rejected] = initiator.send(head)
    assert rejected.opcode == REJECT
    assert rejected.data == head
    assert initiator.run(bytes(6)).status == 0


def test_a_task_tag_used_twice_ends_the_connection() -> None:
    initiator, _, [tag] = held(1)
    initiator.command_pdu(bytes(6), tag=tag)
    assert initiator.connection.paused


def test_a_segment_larger_than_declared_ends_the_connection() -> None:
    initiator, _ = logged_in()
    initiator.send_bytes(struct.pack(">BBHI40x", 0x01, 0x81, 0, 262145))
    assert initiator.connection.paused


def test_nothing_but_a_login_may_come_first() -> None:
    target, volume = make_target()
    initiator = Initiator(target, volume)
    initiator.nop()
    assert initiator.connection.paused


def test_an_initiator_that_does_not_read_is_not_heard() -> None:
    initiator, _ = logged_in()
    assert not initiator.connection.paused
    for _ in range(17):
        initiator.connection.receive_data(
            struct.pack(
                ">BBHIQIIII16s",
                0x01,
                0xC1,
                0,
                0,
                0,
                next(initiator.tags),
                MIB,
                initiator.command_sn,
                0,
                read10(0, 2048).ljust(16, b"\0"),
            )
        )
        initiator.command_sn += 1
        initiator.volume.work()
    assert initiator.connection.paused
    initiator.connection.unsent_bytes = 0
    assert not initiator.connection.paused


def in_pieces(initiator: Initiator, sent: bytes, piece: int) -> None:
    """Bytes as a slow network brings them."""
    for at in range(0, len(sent), piece):
        initiator.connection.receive_data(sent[at : at + piece])
    initiator.volume.work()


def data_out_pdu(tag: int, transfer_tag: int, number: int, offset: int, data: bytes, *, final: bool) -> bytes:
    """A Data-Out as it travels."""
    head = struct.pack(
        ">BBHIQIIIIIIII",
        *(0x05, 0x80 if final else 0, 0, len(data), 0, tag, transfer_tag, 0, 0, 0, number, offset, 0),
    )
    return head + data


@pytest.mark.parametrize("piece", [1000, 4096, 33_000, 1 << 20])
def test_large_data_arrives_whole_however_it_is_cut(piece: int) -> None:
    initiator, volume = logged_in()
    for value in range(3):  # the buffers of one are those of the next
        data = os.urandom(MIB - 512)
        tag, [r2t] = initiator.command_pdu(write10(0, 2047), flags=0xA1, expected=len(data))
        sent = b""
        for number, at in enumerate(range(0, len(data), 100_000)):
            part = data[at : at + 100_000]
            sent += data_out_pdu(tag, r2t.word(20), number, at, part, final=at + 100_000 >= len(data))
        in_pieces(initiator, sent, piece)
        assert statuses(initiator.heard()) == [0]
        assert volume.content[: len(data)] == data, value


def test_a_task_aborted_in_the_middle_of_its_data_leaves_the_volume_alone() -> None:
    initiator, volume = logged_in()
    tag, [r2t] = initiator.command_pdu(write10(0, 2048), flags=0xA1, expected=MIB)
    sent = data_out_pdu(tag, r2t.word(20), 0, 0, b"x" * 262144, final=False)
    in_pieces(initiator, sent[:100_000], 100_000)
    session = initiator.connection.session
    assert session is not None
    session.management.abort(list(session._tasks.values()), lambda: None)
    in_pieces(initiator, sent[100_000:], 100_000)
    assert volume.seen == []
    assert initiator.run(bytes(6)).status == 0


@pytest.mark.parametrize("offset", [0, 512, MIB])
def test_large_data_for_the_wrong_place_never_gets_there(offset: int) -> None:
    initiator, volume = logged_in()
    tag, [r2t] = initiator.command_pdu(write10(0, 1024), flags=0xA1, expected=MIB // 2)
    number = 1 if offset == 0 else 0
    in_pieces(initiator, data_out_pdu(tag, r2t.word(20), number, offset, b"x" * 262144, final=False), 50_000)
    [response] = initiator.heard()
    assert initiator.result(response, b"").sense == (0xB, 0x0C, 0x0D)
    assert volume.seen == []


def test_a_buffer_is_not_given_to_another_while_the_volume_has_it() -> None:
    initiator, volume = logged_in()
    assert initiator.run(write10(0, 1024), out=bytes(MIB // 2), immediate_data=False).status == 0
    volume.held = []
    for value in (1, 2):
        data = bytes((value,)) * (MIB // 2)
        _, [r2t] = initiator.command_pdu(write10(1024 * value, 1024), flags=0xA1, expected=len(data))
        assert initiator.answer_r2t(r2t, data) == []
    assert [bytes(request.data or b"")[:1] for request in volume.held] == [b"\x01", b"\x02"]
    volume.release()
    assert volume.content[MIB // 2 : MIB + MIB // 2] == b"\x01" * (MIB // 2) + b"\x02" * (MIB // 2)


def test_sessions_that_come_and_go_while_io_is_held_do_not_pile_up() -> None:
    """An initiator whose patience ends logs in anew and says everything again; the volume still has the first."""
    initiator, volume, _ = held(64)
    for _ in range(6):
        initiator = Initiator(initiator.target, volume)
        assert initiator.login(chap=None) == 0
        initiator.command_pdu(bytes(6))
        refused = []
        for index in range(64):
            _, pdus = initiator.command_pdu(
                write10(8 * index, 8), flags=0xA1, expected=4096, data=b"y" * 4096
            )
            refused += statuses(pdus)
        assert set(refused) <= {TASK_SET_FULL}
    assert refused, "the last ones were told to wait"
    assert initiator.target.in_flight <= 4 * 64
    volume.release()
    initiator.heard()
    initiator.settle()
    assert initiator.run(write10(0, 1), out=bytes(512)).status == 0
