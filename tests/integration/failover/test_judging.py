"""The judge of these tests sees what it is there to see: it is tried on losses that were made by hand."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from . import journal
from .reports import Reports, first_difference, missing

RECORDS = 200


class Volume:
    """What a writer would have put into its folder, and told."""

    def __init__(self, reports: Path) -> None:
        self.reports = Reports(reports)
        self.journal = bytearray()
        self.table = bytearray(journal.SLOTS * journal.SLOT_BYTES)
        self._random = random.Random(1)

    def tell(self, *words: object) -> None:
        with self.reports.path.open("a", encoding="ascii") as file:
            file.write(" ".join(str(word) for word in (*words, ".")) + "\n")

    def start(self, node: str, name: bytes, found: int) -> None:
        self.tell("start", node, name.hex(), found, 0)

    def write(self, name: bytes, numbers: range) -> None:
        for number in numbers:
            slot = self._random.randrange(journal.SLOTS)
            content = journal.make_slot(number, name, slot)
            self.table[slot * journal.SLOT_BYTES : (slot + 1) * journal.SLOT_BYTES] = content
            held = journal.read_slot(content)
            assert held is not None
            del self.journal[(number - 1) * journal.RECORD_BYTES :]
            self.journal += journal.make_record(journal.Record(number, name, slot, held.crc))
            self.tell("ack", number, slot, name.hex())

    def missing(self) -> list[str]:
        return missing(self.reports.read(), bytes(self.journal), bytes(self.table))


ONE, TWO = b"run-one.", b"run-two."


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    made = Volume(tmp_path / "reports")
    made.start("a", ONE, 0)
    made.write(ONE, range(1, RECORDS + 1))
    return made


def test_a_whole_folder_is_found_whole(volume: Volume) -> None:
    volume.start("b", TWO, RECORDS)
    volume.write(TWO, range(RECORDS + 1, 2 * RECORDS))
    assert volume.missing() == []
    assert volume.reports.broken_order() == []


def test_a_lost_record_is_missed(volume: Volume) -> None:
    del volume.journal[-journal.RECORD_BYTES :]
    assert any(f"record {RECORDS} " in sentence for sentence in volume.missing())


def test_a_damaged_record_is_missed(volume: Volume) -> None:
    volume.journal[100 * journal.RECORD_BYTES + 300] ^= 1
    assert any("record 101 " in sentence for sentence in volume.missing())


def test_an_overwrite_that_was_lost_is_missed(volume: Volume) -> None:
    records = journal.read_journal(bytes(volume.journal))
    slot = records[-1].slot
    older = journal.make_slot(1, ONE, slot)
    volume.table[slot * journal.SLOT_BYTES : (slot + 1) * journal.SLOT_BYTES] = older
    assert volume.missing() == [f"slot {slot} holds number 1, but {RECORDS} was written there"]


def test_a_damaged_slot_is_missed(volume: Volume) -> None:
    slot = journal.read_journal(bytes(volume.journal))[-1].slot
    volume.table[slot * journal.SLOT_BYTES + 2000] ^= 1
    assert any(f"slot {slot} is damaged" in sentence for sentence in volume.missing())


def test_a_run_that_begins_before_the_last_acknowledged_record_breaks_the_order(volume: Volume) -> None:
    volume.start("b", TWO, RECORDS - 1)
    assert len(volume.reports.broken_order()) == 1


def test_a_run_that_goes_on_telling_after_it_was_replaced_breaks_the_order(volume: Volume) -> None:
    volume.start("b", TWO, RECORDS)
    volume.tell("ack", RECORDS + 1, 0, ONE.hex())
    assert len(volume.reports.broken_order()) == 1


def test_a_report_that_only_comes_late_breaks_nothing(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "reports")
    volume.start("a", ONE, 0)
    volume.start("b", TWO, 1)
    volume.tell("ack", 1, 0, ONE.hex())
    assert volume.reports.broken_order() == []


def test_what_a_person_gave_up_is_not_missed(volume: Volume) -> None:
    volume.start("b", TWO, RECORDS)
    volume.tell("ack", RECORDS + 1, 0, TWO.hex())
    volume.tell("ack", RECORDS + 1, 0, ONE.hex())
    volume.reports.give_up("b", RECORDS)
    assert volume.reports.broken_order() == []


def test_sparse_files_are_compared_by_what_they_hold(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for file in (one, other):
        with file.open("wb") as data:
            data.truncate(64 << 20)
            os.pwrite(data.fileno(), b"same", 5 << 20)
    with one.open("r+b") as data:
        os.pwrite(data.fileno(), bytes(1 << 20), 40 << 20)
    assert first_difference(one, other) is None
    with other.open("r+b") as data:
        os.pwrite(data.fileno(), b"x", (50 << 20) + 7)
    assert first_difference(one, other) == 50 << 20
