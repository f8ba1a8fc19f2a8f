"""What the guest told, and what its disk holds."""

from __future__ import annotations

import struct
import zlib

from tests.lab.records import Boot, missing, parse


def record(number: int) -> bytes:
    """A record as the guest writes it (the body plays no part)."""
    head = b"TWHLREC1" + struct.pack("<Q", number)
    body = head + bytes([number % 256]) * (4096 - len(head) - 8)
    return body + struct.pack("<Q", zlib.crc32(body))


def test_every_acknowledged_record_that_is_there_is_not_missing() -> None:
    assert missing(b"".join(map(record, (1, 2, 3))), [1, 2, 3]) == []


def test_a_record_beyond_the_end_of_the_file_is_missing() -> None:
    assert missing(record(1), [1, 2]) == [2]


def test_a_record_with_one_wrong_bit_is_missing() -> None:
    damaged = bytearray(record(2))
    damaged[2000] ^= 1
    assert missing(record(1) + bytes(damaged), [1, 2]) == [2]


def test_an_older_record_in_the_place_of_a_newer_one_is_a_loss() -> None:
    assert missing(record(1) + record(2), [1, 2, 3, 4], slots=2) == [3, 4]


def test_a_newer_record_whose_report_was_lost_is_no_loss() -> None:
    assert missing(record(3) + record(2), [1, 2], slots=2) == []


def test_a_record_of_another_slot_is_a_loss() -> None:
    assert missing(record(4) + record(2), [1, 2], slots=2) == [1]


def test_a_report_cut_by_a_power_loss_is_no_report() -> None:
    told = parse("\nboot 0 0.\n\nack 1 0.\n\nack 1\nboot 7 2.\n")
    assert told.acknowledged == {1}
    assert told.boots == (Boot(0, 0, 0), Boot(7, 2, 1))


def test_a_start_that_finds_less_than_was_told_or_damage_is_not_whole() -> None:
    told = parse("ack 1 0.\nack 2 0.\nboot 1 0.\nboot 2 1.\nboot 2 0.\nboot 3 0.\nack 4 0.\n")
    assert [boot.whole for boot in told.boots] == [False, False, True, True]


def test_failures_of_the_guest_are_told() -> None:
    assert parse("\nfsync-failed 5 0.\n").failures == ("fsync-failed 5",)


def test_the_last_record_of_nothing_is_zero() -> None:
    assert parse("").last == 0
