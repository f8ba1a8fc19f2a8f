"""The volume on both disks: data, discards, room, opening and creating."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.disk import FakeDisk, FakeFile

from twinhull.core.identity import NO_ID
from twinhull.core.record import Record
from twinhull.errors import DiskError, DiskFullError, UsageError, VolumeFormatError, VolumeLockedError
from twinhull.storage.platform import platform_directory
from twinhull.storage.volume import PIECES_EVERY, PIECES_WARNING, Volume, space_warnings

from .common import FULL_RECORD, GIB, MIB, OTHER_REPLICA, REPLICA, VOLUME, make
from .conftest import Handles


def create(handles: Handles, size_bytes: int = MIB, *, thick: bool = False) -> Volume:
    """A new volume."""
    return Volume.create(handles(), size_bytes=size_bytes, replica_id=REPLICA, thick=thick, minimum_bytes=MIB)


# ---- data --------------------------------------------------------------------------------------------


def test_a_new_volume_is_blank(handles: Handles) -> None:
    volume = create(handles)
    assert volume.size_bytes == MIB
    assert volume.record == Record(volume_id=None, replica_id=REPLICA)
    assert volume.record.blank
    assert volume.read(0, MIB) == bytes(MIB)
    assert volume.next_data(0) is None
    assert volume.log_extents() == frozenset()
    assert not volume.bits()
    assert volume.notes == ()


def test_everything_survives_closing_and_opening(handles: Handles) -> None:
    volume = create(handles, 12 * MIB)
    page = b"\x01\x80" + bytes(4094)
    volume.write(5 * MIB, b"data" * 1024)
    volume.write_record(FULL_RECORD)
    volume.log_commit({0, 1, 2})
    volume.log_commit(add={1}, remove={2, 0})
    volume.store_bits([(0, page)])
    volume.flush()
    volume.close()
    volume.close()
    again = Volume.open(handles())
    assert again.read(5 * MIB, 4096) == b"data" * 1024
    assert again.record == FULL_RECORD
    assert again.log_extents() == {1}
    assert again.bits().page(0) == page
    assert again.bits() is again.bits()
    again.close()


def test_random_writes_and_discards_read_as_on_a_plain_disk(handles: Handles) -> None:
    volume = create(handles)
    rng = random.Random(3)
    expected = bytearray(MIB)
    for _ in range(300):
        length = rng.randint(1, 64) * 512
        offset = rng.randrange(0, MIB - length + 1, 512)
        if rng.random() < 0.4:
            volume.discard(offset, length)
            expected[offset : offset + length] = bytes(length)
        else:
            data = rng.randbytes(length)
            volume.write(offset, memoryview(data))
            expected[offset : offset + length] = data
    assert volume.read(0, MIB) == bytes(expected)
    assert volume.read_cached(0, 8192) == bytes(expected[:8192])


@pytest.mark.parametrize(
    ("offset", "length"), [(0, MIB), (1, 2), (4095, 2), (4097, 8191), (100, 0), (512, 3584)]
)
def test_a_discard_reads_as_zeros_at_any_alignment(handles: Handles, offset: int, length: int) -> None:
    volume = create(handles)
    volume.write(0, b"\xff" * MIB)
    volume.discard(offset, length)
    assert volume.read(0, MIB) == b"\xff" * offset + bytes(length) + b"\xff" * (MIB - offset - length)


def test_a_discard_frees_room_unless_the_volume_is_thick(handles: Handles, disk: FakeDisk) -> None:
    volume = create(handles)
    volume.write(0, b"x" * MIB)
    volume.flush()
    assert volume.space().allocated_bytes >= MIB
    volume.discard(0, MIB)
    assert volume.space().allocated_bytes == 0
    volume.close()


def test_a_thick_volume_has_its_room_for_life(handles: Handles) -> None:
    volume = create(handles, thick=True)
    assert volume.space().allocated_bytes >= MIB
    volume.write(0, b"x" * MIB)
    volume.discard(0, MIB)
    assert volume.space().allocated_bytes >= MIB
    assert volume.read(0, MIB) == bytes(MIB)
    volume.close()
    again = Volume.open(handles())
    assert again.thick
    again.close()


def test_data_is_found_behind_holes(handles: Handles) -> None:
    volume = create(handles)
    volume.write(512 << 10, b"x" * 65_536)
    assert volume.next_data(0) == (512 << 10, 65_536)
    assert volume.next_data(MIB) is None


def test_nothing_outside_the_volume_is_touched(handles: Handles) -> None:
    volume = create(handles)
    attempts: list[Callable[[], object]] = [
        lambda: volume.write(MIB - 511, bytes(512)),
        lambda: volume.write(-512, bytes(512)),
        lambda: volume.discard(MIB, 1),
        lambda: volume.discard(-1, 1),
        lambda: volume.discard(512, -512),
        lambda: volume.read(MIB, 1),
        lambda: volume.read(-1, 1),
        lambda: volume.read(512, -1),
        lambda: volume.read_cached(MIB, 1),
        lambda: volume.read_cached(-1, 1),
        lambda: volume.read_cached(512, -1),
        lambda: volume.next_data(-1),
        lambda: volume.next_data(MIB + 1),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="of a volume of"):
            attempt()
    assert volume.read(0, MIB) == bytes(MIB)


def test_what_is_not_cached_is_not_waited_for(disk: FakeDisk) -> None:
    volume = make(disk)
    disk.cold = True
    assert volume.read_cached(0, 512) is None


# ---- creating ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [0, -MIB, GIB - MIB, GIB + 512, (64 << 40) + MIB])
def test_impossible_sizes_are_refused_before_anything_is_made(disk: FakeDisk, size_bytes: int) -> None:
    with pytest.raises(
        UsageError, match=r"cannot have .* Choose a multiple of 1 MiB between 1024 MiB and 64 TiB"
    ):
        Volume.create(disk.directory(), size_bytes=size_bytes, replica_id=REPLICA)
    assert disk.names() == set()


def test_a_replica_has_an_identity(disk: FakeDisk) -> None:
    with pytest.raises(ValueError, match="replica id"):
        Volume.create(disk.directory(), size_bytes=GIB, replica_id=NO_ID)


def test_the_volume_may_be_known_from_the_start(disk: FakeDisk) -> None:
    volume = Volume.create(disk.directory(), size_bytes=GIB, replica_id=REPLICA, volume_id=VOLUME)
    assert volume.record.volume_id == VOLUME
    assert volume.record.blank


def test_files_and_memory_of_a_10_tib_volume_stay_below_64_mib(tmp_path: Path) -> None:
    volume = Volume.create(platform_directory(tmp_path), size_bytes=10 << 40, replica_id=REPLICA)
    page = random.Random(9).randbytes(4096)
    volume.store_bits((number, page) for number in range(volume.bits().page_count))
    volume.close()
    volume = Volume.open(platform_directory(tmp_path))
    assert len(list(volume.bits().pages())) == 10_240
    assert volume.bits().memory_bytes() < 64 * MIB
    volume.close()
    assert sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir()) < 64 * MIB


def test_an_existing_volume_is_never_formatted(handles: Handles) -> None:
    volume = create(handles)
    volume.write(0, b"precious" * 64)
    volume.close()
    with pytest.raises(VolumeFormatError, match=r"already holds.*Nothing was changed"):
        create(handles)
    assert Volume.open(handles()).read(0, 512) == b"precious" * 64


@pytest.mark.parametrize("name", ["data.img", "meta.bin", "log.bin", "bits.bin"])
def test_any_file_of_a_volume_is_left_alone(disk: FakeDisk, name: str) -> None:
    disk.directory().create(name, 512, sparse=True)
    with pytest.raises(VolumeFormatError, match=name):
        make(disk)
    assert disk.names() == {name}


def test_one_process_has_the_volume_until_it_dies(disk: FakeDisk) -> None:
    make(disk)
    with pytest.raises(VolumeLockedError):
        Volume.open(disk.directory())
    with pytest.raises(VolumeLockedError):
        make(disk)
    disk.kill()
    Volume.open(disk.directory()).close()
    Volume.open(disk.directory()).close()


def test_a_refused_open_gives_the_lock_back(handles: Handles) -> None:
    with pytest.raises(VolumeFormatError, match="missing"):
        Volume.open(handles())
    create(handles).close()


@pytest.mark.parametrize("free_bytes", [0, 100_000, 262_144, 270_000, 400_000])
def test_a_creation_without_room_leaves_nothing(disk: FakeDisk, free_bytes: int) -> None:
    disk.fill_up(free_bytes)
    with pytest.raises(DiskFullError):
        make(disk, thick=True)
    assert disk.names() == set()
    disk.fill_up(10 * MIB)
    make(disk)


def test_a_creation_that_fails_and_cannot_clean_up_can_be_redone(disk: FakeDisk) -> None:
    disk.fail_next("create", file="bits.bin")
    disk.fail_next("remove")
    with pytest.raises(DiskError, match="create"):
        make(disk)
    assert "creating" in disk.names()
    with pytest.raises(VolumeFormatError, match=r"interrupted.*Create it again"):
        Volume.open(disk.directory())
    make(disk).close()
    assert disk.names() == {"data.img", "meta.bin", "log.bin", "bits.bin"}


def test_a_marker_beside_a_volume_that_was_used_destroys_nothing(disk: FakeDisk) -> None:
    volume = make(disk)
    volume.write_record(replace(volume.record, volume_id=VOLUME))
    volume.close()
    disk.directory().create("creating", 0, sparse=True)
    with pytest.raises(VolumeFormatError, match=r"was in use.*Nothing was changed"):
        make(disk)
    assert len(disk.names()) == 5


# ---- opening bad files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data.img", "meta.bin", "log.bin", "bits.bin"])
def test_a_missing_file_is_named(disk: FakeDisk, name: str) -> None:
    make(disk).close()
    disk.forget(name)
    with pytest.raises(VolumeFormatError, match=rf"{name} is missing.*Put it back"):
        Volume.open(disk.directory())


@pytest.mark.parametrize(
    ("size_bytes", "word"), [(MIB - 512, "shorter"), (0, "shorter"), (2 * MIB, "longer")]
)
def test_data_of_another_length_is_refused(disk: FakeDisk, size_bytes: int, word: str) -> None:
    make(disk).close()
    disk.resize("data.img", size_bytes)
    with pytest.raises(VolumeFormatError, match=rf"{word} than it must be.*Nothing was changed"):
        Volume.open(disk.directory())


@pytest.mark.parametrize("name", ["meta.bin", "log.bin", "bits.bin"])
def test_other_files_of_another_length_are_refused(disk: FakeDisk, name: str) -> None:
    make(disk).close()
    disk.resize(name, 512)
    with pytest.raises(VolumeFormatError, match="512 bytes long instead of"):
        Volume.open(disk.directory())


@pytest.mark.parametrize("name", ["meta.bin", "log.bin", "bits.bin"])
@pytest.mark.parametrize("content", [b"\0", b"A"])
def test_zeroed_and_foreign_files_are_refused_and_not_changed(
    disk: FakeDisk, name: str, content: bytes
) -> None:
    make(disk).close()
    length = {"meta.bin": 131_072, "log.bin": 262_144, "bits.bin": 4608}[name]
    disk.poke(name, 0, content * length)
    with pytest.raises(
        VolumeFormatError, match=r"(all zeros|not written by Twinhull|nothing of this volume)"
    ):
        Volume.open(disk.directory())
    assert disk.peek(name, 0, length) == content * length


@pytest.mark.parametrize("name", ["log.bin", "bits.bin"])
def test_files_of_another_replica_are_refused(disk: FakeDisk, name: str) -> None:
    make(disk).close()
    other = FakeDisk()
    Volume.create(other.directory(), size_bytes=MIB, replica_id=OTHER_REPLICA, minimum_bytes=MIB).close()
    length = 262_144 if name == "log.bin" else 4608
    disk.poke(name, 0, other.peek(name, 0, length))
    with pytest.raises(VolumeFormatError, match="nothing of this volume"):
        Volume.open(disk.directory())


# ---- disks that fail ---------------------------------------------------------------------------------


def test_a_full_disk_cannot_keep_a_node_from_recording_its_state(disk: FakeDisk) -> None:
    volume = make(disk)
    volume.write(0, b"x" * 4096)
    disk.fill_up()
    with pytest.raises(DiskFullError):
        volume.write(8192, b"x" * 4096)
    for number in range(100):
        volume.write_record(replace(FULL_RECORD, running_ms=number))
        volume.log_commit(add={0}) if number % 2 else volume.log_commit(remove={0})
        volume.store_bits([(0, bytes([number]) + bytes(4095))])
    volume.write(0, b"y" * 4096)
    volume.discard(0, 4096)
    volume.write(0, b"z" * 4096)


def test_a_failed_flush_is_final(disk: FakeDisk) -> None:
    volume = make(disk)
    volume.write(0, b"x" * 512)
    disk.fail_next("sync", file="data.img")
    for attempt in (
        volume.flush,
        volume.flush,
        lambda: volume.write(0, b"y" * 512),
        lambda: volume.read(0, 1),
    ):
        with pytest.raises(DiskError):
            attempt()
    volume.write_record(replace(volume.record, outdated_reason="the disk failed"))
    disk.power_loss()
    assert Volume.open(disk.directory()).record.outdated_reason == "the disk failed"


@pytest.mark.parametrize("op", ["write", "sync"])
def test_what_could_not_be_recorded_is_not_claimed(disk: FakeDisk, op: str) -> None:
    volume = make(disk)
    before = volume.record
    for name in ("meta.bin", "log.bin", "bits.bin"):
        disk.fail_next(op, file=name)
    with pytest.raises(DiskError):
        volume.write_record(FULL_RECORD)
    with pytest.raises(DiskError):
        volume.log_commit(add={0})
    with pytest.raises(DiskError):
        volume.store_bits([(0, bytes(4096))])
    assert volume.record == before
    assert volume.log_extents() == frozenset()


def test_a_hung_data_disk_does_not_hang_the_log_lane(disk: FakeDisk) -> None:
    volume = make(disk)
    hang = disk.hang("sync", file="data.img")
    flusher = threading.Thread(target=volume.flush)
    flusher.start()
    assert hang.reached.wait(30)
    volume.log_commit(add={0})
    volume.write_record(FULL_RECORD)
    volume.write(0, b"x" * 512)
    hang.release()
    flusher.join(30)
    assert not flusher.is_alive()


# ---- room --------------------------------------------------------------------------------------------


def test_room_is_told(disk: FakeDisk) -> None:
    volume = make(disk)
    volume.write(0, b"x" * 8192)
    space = volume.space()
    assert (space.size_bytes, space.allocated_bytes) == (MIB, 8192)
    assert (space.disk_free_bytes, space.disk_total_bytes) == (disk.free_bytes(), disk.capacity_bytes)
    assert space.warnings == ()
    disk.fill_up(4096)
    assert len(volume.space().warnings) == 2


class PiecedFile(FakeFile):
    """A file of a file system that tells in how many pieces it lies."""

    pieces: int | None = None
    counted = 0

    def extents(self, at_most: int) -> int | None:
        PiecedFile.counted += 1
        return None if self.pieces is None else min(self.pieces, at_most)


@pytest.mark.parametrize(("pieces", "warned"), [(None, 0), (PIECES_WARNING - 1, 0), (5_000_000, 1)])
def test_too_many_pieces_are_told_and_not_counted_at_each_look(
    disk: FakeDisk, monkeypatch: pytest.MonkeyPatch, pieces: int | None, warned: int
) -> None:
    volume = make(disk)
    data = volume._data
    assert isinstance(data, FakeFile)
    data.__class__ = PiecedFile
    monkeypatch.setattr(PiecedFile, "pieces", pieces)
    monkeypatch.setattr(PiecedFile, "counted", 0)
    found = [volume.space().warnings for _ in range(PIECES_EVERY + 1)]
    assert {len(each) for each in found} == {warned} and PiecedFile.counted == 2
    assert all("error 665" in sentence for sentence in found[0])


@pytest.mark.parametrize(
    ("used", "growth", "words"),
    [
        (84, 0, []),
        (85, 0, ["85 % full (warning from 85 %)"]),
        (94, 0, ["94 % full (warning from 85 %)"]),
        (95, 0, ["95 % full (warning from 95 %)"]),
        (50, 50 * GIB, []),
        (50, 51 * GIB, ["grow by 51.0 GiB, but its disk has only 50.0 GiB left"]),
        (99, 2 * GIB, ["99 % full", "grow by 2.0 GiB"]),
    ],
)
def test_people_are_warned_before_the_disk_is_full(used: int, growth: int, words: list[str]) -> None:
    warnings = space_warnings("/srv/data", growth, (100 - used) * GIB, 100 * GIB)
    assert len(warnings) == len(words)
    for warning, word in zip(warnings, words, strict=True):
        assert word in warning
        assert "/srv/data" in warning
