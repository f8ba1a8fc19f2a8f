"""The two slots of the metadata: what is written is read, what is not ours is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.disk import FakeDisk, PowerLost

from twinhull.core.identity import NO_ID, Generation, Id
from twinhull.core.record import Record, Role, SavedState, WitnessKind
from twinhull.errors import DiskError, VolumeFormatError
from twinhull.storage import metadata
from twinhull.storage.metadata import Geometry, Metadata, encode_slot
from twinhull.storage.volume import Volume

from .common import FULL_RECORD, MIB, OTHER_REPLICA, REPLICA, an_id, make

ids = st.binary(min_size=16, max_size=16).filter(lambda data: data != NO_ID).map(Id)
records = st.builds(
    Record,
    volume_id=st.none() | ids,
    replica_id=st.just(REPLICA),
    generation=st.none() | st.builds(Generation, ids, st.lists(ids, max_size=32).map(tuple)),
    uptodate=st.booleans(),
    peer_may_be_uptodate=st.booleans(),
    role=st.sampled_from(Role),
    outdated_reason=st.text(max_size=100),
    witness=st.sampled_from(WitnessKind),
    peer_replica_id=st.none() | ids,
    running_ms=st.integers(0, 2**64 - 1),
    saved=st.none() | st.builds(SavedState, ids, ids, st.booleans()),
)


def resealed(slot: bytes, offset: int, change: bytes) -> bytes:
    """A slot with other content under a checksum that is right."""
    body = slot[:offset] + change + slot[offset + len(change) : 4064]
    return body + metadata._digest(body)


def opened(disk: FakeDisk) -> Volume:
    """The volume as a new process finds it."""
    disk.kill()
    return Volume.open(disk.directory())


@settings(max_examples=30)
@given(st.lists(records, min_size=1, max_size=4))
def test_every_record_is_read_as_it_was_written(written: list[Record]) -> None:
    disk = FakeDisk()
    volume = make(disk)
    for record in written:
        volume.write_record(record)
        assert volume.record == record
    disk.power_loss()
    assert Volume.open(disk.directory()).record == written[-1]


def test_a_long_reason_is_cut_between_characters(disk: FakeDisk) -> None:
    volume = make(disk)
    volume.write_record(replace(FULL_RECORD, outdated_reason="x" + "ß" * 2000))
    assert opened(disk).record.outdated_reason == "x" + "ß" * 1023


@pytest.mark.parametrize(
    "record",
    [
        replace(FULL_RECORD, replica_id=OTHER_REPLICA),
        replace(FULL_RECORD, generation=Generation(an_id(1), tuple(an_id(n) for n in range(2, 35)))),
    ],
)
def test_a_record_that_has_no_form_changes_nothing(disk: FakeDisk, record: Record) -> None:
    volume = make(disk)
    before = volume.record
    with pytest.raises(ValueError, match=r"(another replica|at most 32)"):
        volume.write_record(record)
    assert opened(disk).record == before


def test_the_layout_is_the_documented_one() -> None:
    slot = encode_slot(7, Geometry(MIB, thick=True), FULL_RECORD)
    assert len(slot) == 4096
    assert slot[:16] == b"THULLMET" + struct.pack("<HHI", 1, 1, 4096)
    assert struct.unpack_from("<QQ", slot, 16) == (7, MIB)
    assert slot[32:48] == FULL_RECORD.volume_id
    assert slot[48:64] == REPLICA
    assert slot[64:80] == an_id(1)
    assert slot[80:86] == bytes([32, 1, 0, 1, 2, 2])
    assert struct.unpack_from("<H", slot, 86) == (len("the disk broke: Größe".encode()),)
    assert slot[88:104] == FULL_RECORD.peer_replica_id
    assert struct.unpack_from("<Q", slot, 104) == (123_456_789_012,)
    assert slot[112:144] == an_id(40) + an_id(41)
    assert slot[144:160] == an_id(2)
    assert slot[640:656] == an_id(33)
    assert slot[656:].startswith("the disk broke: Größe".encode())


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize(
    ("content", "word"),
    [(bytes(4096), "all zeros"), (b"A" * 4096, "foreign"), (b"THULLMET" + b"x" * 4088, "torn")],
)
def test_one_whole_slot_is_enough(disk: FakeDisk, slot: int, content: bytes, word: str) -> None:
    make(disk).close()
    disk.poke("meta.bin", slot * 65_536, content)
    volume = opened(disk)
    assert volume.record.replica_id == REPLICA
    assert volume.notes == (
        f"Slot {slot} of the metadata in /disk/volume is {word}; the other one is whole and is used.",
    )
    volume.write_record(FULL_RECORD)
    volume.write_record(FULL_RECORD)
    assert opened(disk).notes == ()


def test_the_newest_whole_slot_counts(disk: FakeDisk) -> None:
    volume = make(disk)
    volume.write_record(replace(FULL_RECORD, running_ms=3))
    volume.write_record(replace(FULL_RECORD, running_ms=4))
    disk.poke("meta.bin", 1000, b"?")
    assert opened(disk).record.running_ms == 3


def test_two_torn_slots_are_refused(disk: FakeDisk) -> None:
    make(disk).close()
    for offset in (1000, 65_536 + 1000):
        disk.poke("meta.bin", offset, b"?")
    with pytest.raises(VolumeFormatError, match=r"both slots are torn or damaged.*Nothing was changed"):
        opened(disk)


def test_metadata_of_a_newer_version_is_refused_also_when_the_other_slot_is_ours(disk: FakeDisk) -> None:
    make(disk).close()
    before = disk.peek("meta.bin", 0, 4096)
    disk.poke("meta.bin", 0, resealed(before, 8, struct.pack("<H", 2)))
    with pytest.raises(VolumeFormatError, match=r"has format 2; this program knows 1\. Install the version"):
        opened(disk)


@pytest.mark.parametrize(
    ("offset", "change"),
    [(10, b"\x02"), (12, b"\x00\x20"), (81, b"\x02"), (82, b"\x02"), (80, b"\x21"), (83, b"\x09"),
     (84, b"\x09"), (85, b"\x09"), (86, b"\x01\x09"), (656, b"\xff"), (3000, b"\x01")],
)  # fmt: skip
def test_values_that_version_1_does_not_know_are_refused(disk: FakeDisk, offset: int, change: bytes) -> None:
    make(disk).close()
    disk.poke("meta.bin", 0, resealed(disk.peek("meta.bin", 0, 4096), offset, change))
    with pytest.raises(VolumeFormatError, match="value this program does not know"):
        opened(disk)


def test_slots_of_two_volumes_are_refused(disk: FakeDisk) -> None:
    make(disk).close()
    other = replace(FULL_RECORD, replica_id=OTHER_REPLICA)
    disk.poke("meta.bin", 0, encode_slot(8, Geometry(MIB, thick=False), other))
    with pytest.raises(VolumeFormatError, match="mixes two different volumes"):
        opened(disk)


def test_a_slot_in_the_wrong_place_does_not_count(disk: FakeDisk) -> None:
    make(disk).close()
    disk.poke("meta.bin", 0, encode_slot(9, Geometry(MIB, thick=False), FULL_RECORD))
    volume = opened(disk)
    assert volume.record.blank
    assert "Slot 0" in volume.notes[0]


def test_a_volume_without_the_size_it_was_made_with_is_refused(disk: FakeDisk) -> None:
    make(disk).close()
    for slot in (0, 1):
        content = encode_slot(10 + slot, Geometry(2 * MIB, thick=False), FULL_RECORD)
        disk.poke("meta.bin", slot * 65_536, content)
    with pytest.raises(VolumeFormatError, match="shorter than it must be"):
        opened(disk)


def test_a_formatted_file_holds_the_record_twice(disk: FakeDisk) -> None:
    file = disk.directory().create("meta.bin", metadata.FILE_BYTES, sparse=False)
    made = Metadata.format(file, Geometry(MIB, thick=False), FULL_RECORD)
    assert made.sequence == metadata.FORMATTED_SEQUENCE
    disk.power_loss()
    for damaged in (0, 65_536):
        copy = disk.clone()
        copy.poke("meta.bin", damaged, b"?" * 512)
        assert Metadata.load(copy.directory().open("meta.bin"), "here").record == FULL_RECORD


# ---- a record that failed ----------------------------------------------------------------------------


OLD_RECORD = replace(FULL_RECORD, outdated_reason="the record of before")


def everything(_number: int) -> bool:
    """Of what was pending."""
    return True


def nothing(_number: int) -> bool:
    """Of what was pending."""
    return False


def failed(op: str = "sync") -> FakeDisk:
    """A disk on which a record failed and is there all the same, as far as the system's memory goes."""
    disk = FakeDisk()
    volume = make(disk)
    volume.write_record(OLD_RECORD)
    disk.fail_next(op, file="meta.bin")
    with pytest.raises(DiskError):
        volume.write_record(FULL_RECORD)
    assert volume.record == OLD_RECORD
    with pytest.raises(DiskError, match="before"):
        volume.write_record(FULL_RECORD)
    disk.kill()
    return disk


@pytest.mark.parametrize("op", ["write", "sync"])
def test_a_record_that_failed_does_not_count_although_it_is_there(op: str) -> None:
    disk = failed(op)
    volume = opened(disk)
    assert volume.record == OLD_RECORD
    assert any("does not count" in note for note in volume.notes) is (op == "sync")
    volume.write_record(FULL_RECORD)
    assert opened(disk).record == FULL_RECORD
    disk.power_loss()
    again = Volume.open(disk.directory())
    assert again.record == FULL_RECORD
    assert not again.notes


def test_a_record_that_failed_counts_at_no_moment_of_the_next_open() -> None:
    moments = 0
    for change in range(20):
        for kept in (True, False):
            disk = failed()
            disk.crash_at(change)
            try:
                Volume.open(disk.directory())
            except PowerLost:
                moments += 1
            disk.power_loss(keep=everything if kept else nothing)
            assert Volume.open(disk.directory()).record == OLD_RECORD
    assert moments >= 4


def test_a_record_that_failed_may_count_where_that_could_not_be_noted() -> None:
    disk = FakeDisk()
    volume = make(disk)
    volume.write_record(OLD_RECORD)
    disk.fail_next("sync", file="meta.bin")
    disk.fail_next("create", file="unconfirmed")
    with pytest.raises(DiskError):
        volume.write_record(FULL_RECORD)
    assert opened(disk).record == FULL_RECORD


@pytest.mark.parametrize("op", ["write", "sync"])
@pytest.mark.parametrize("kept", [everything, nothing])
def test_a_replica_that_failed_is_not_believed_although_its_record_failed_too(
    op: str, kept: Callable[[int], bool]
) -> None:
    disk = FakeDisk()
    volume = make(disk)
    volume.write_record(OLD_RECORD)
    disk.fail_next(op, file="meta.bin")
    with pytest.raises(DiskError):
        volume.write_record(replace(OLD_RECORD, uptodate=False, outdated_reason="its disk failed"))
    assert volume.record == OLD_RECORD
    disk.power_loss(keep=kept)
    for _ in range(2):
        found = Volume.open(disk.directory())
        assert not found.record.uptodate
        assert "its disk" in found.record.outdated_reason
        assert replace(found.record, uptodate=True, outdated_reason="") == replace(
            OLD_RECORD, outdated_reason=""
        )
        disk.power_loss(keep=nothing)
    assert not disk.directory().exists("doubtful")


def test_a_replica_that_failed_is_believed_at_no_moment_of_the_next_open() -> None:
    moments = 0
    for change in range(20):
        for kept in (everything, nothing):
            disk = FakeDisk()
            volume = make(disk)
            volume.write_record(OLD_RECORD)
            disk.fail_next("write", file="meta.bin")
            with pytest.raises(DiskError):
                volume.write_record(replace(OLD_RECORD, uptodate=False))
            disk.kill()
            disk.crash_at(change)
            try:
                Volume.open(disk.directory())
            except PowerLost:
                moments += 1
            disk.power_loss(keep=kept)
            assert not Volume.open(disk.directory()).record.uptodate
    assert moments >= 4


def test_a_note_that_is_not_whole_or_names_no_slot_is_removed_only(disk: FakeDisk) -> None:
    make(disk).write_record(FULL_RECORD)
    for content in (b"", b"x" * 64, bytes(range(32)) * 2):
        disk.kill()
        directory = disk.directory()
        note = directory.create("unconfirmed", 4096, sparse=False)
        note.write(0, content)
        note.sync()
        directory.close()
        volume = opened(disk)
        assert volume.record == FULL_RECORD
        assert not volume.notes
        assert not disk.directory().exists("unconfirmed")
