"""The rescue store: durable before the overwrite, torn writes tolerated, bounded, never a silent half."""

from __future__ import annotations

import random

import pytest
from tests.fakes.disk import FakeDisk

from twinhull.core.marks import BLOCK_BYTES
from twinhull.errors import DiskFullError, StorageError, VolumeFormatError
from twinhull.storage.rescue import Limits, Rescue, RescueFullError, Store
from twinhull.storage.rescue_format import (
    DATA_BEGIN_BYTES,
    HEADER_BYTES,
    MAX_ENTRIES,
    SLOT_BYTES,
    Kind,
    Piece,
    Stage,
)

BLOCKS = 1024
NOW_S = 1_790_000_000.0
DAY_S = 86_400.0


def store(disk: FakeDisk, now_s: float = NOW_S, **limits: float) -> Store:
    return Store(
        disk.directory("rescue"), "VM1", "b", BLOCKS * BLOCK_BYTES, Limits(**limits), now=lambda: now_s  # type: ignore[arg-type]
    )  # fmt: skip


def block(letter: str, count: int = 1) -> bytes:
    return letter.encode() * BLOCK_BYTES * count


def contents(rescue: Rescue) -> dict[int, bytes | None]:
    found: dict[int, bytes | None] = {}
    for entry in rescue.entries():
        data = rescue.content(entry)
        for index in range(entry.blocks):
            piece = None if data is None else data[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
            found[entry.first + index] = piece
    return found


def test_what_was_kept_is_read_back_and_holes_stay_holes() -> None:
    disk = FakeDisk()
    _, rescue = store(disk).begin(Kind.SPLIT, "a goes on", "0123abcd")
    rescue.keep([Piece(7, 2, block("x", 2)), Piece(100, 500, None)])
    rescue.keep([Piece(3, 1, block("y"))])
    again = store(disk).open(1)
    assert (again.about.kind, again.about.stage, again.about.generation) == (
        Kind.SPLIT,
        Stage.OPEN,
        "0123abcd",
    )
    found = contents(again)
    assert found.pop(7) == found.pop(8) == block("x")
    assert found.pop(3) == block("y")
    assert set(found) == set(range(100, 600)) and set(found.values()) == {None}
    assert len(again.kept) == 503
    assert again.entry_of(9) is None and again.entry_of(8) is not None


def test_more_than_one_header_takes_goes_into_several_batches() -> None:
    disk = FakeDisk()
    _, rescue = store(disk).begin(Kind.RESYNC, "", "")
    rescue.keep([Piece(2 * n, 1, block("z") if n % 3 else None) for n in range(3 * MAX_ENTRIES)])
    assert len(contents(store(disk).open(1))) == 3 * MAX_ENTRIES


@pytest.mark.parametrize("seed", range(40))
def test_a_torn_batch_counts_as_not_there_and_the_others_as_there(seed: int) -> None:
    disk, rng = FakeDisk(), random.Random(seed)
    _, rescue = store(disk).begin(Kind.SPLIT, "", "")
    whole: dict[int, bytes | None] = {}
    for number in range(rng.randrange(4)):
        rescue.keep([Piece(number * 4, 2, block("abcd"[number], 2))])
        whole |= {number * 4: block("abcd"[number]), number * 4 + 1: block("abcd"[number])}
    disk.hook = lambda op, _file: (_ for _ in ()).throw(StopIteration) if op == "sync" else None
    with pytest.raises((StopIteration, RuntimeError)):
        rescue.keep([Piece(50, 3, block("t", 3)), Piece(60, 1, None)])
    disk.hook = None
    disk.power_loss(rng)
    again = store(disk).open(1)
    found = contents(again)
    assert found in (whole, whole | dict.fromkeys((50, 51, 52), block("t")) | {60: None})
    again.keep([Piece(70, 1, block("n"))])  # what was torn is written over
    assert contents(store(disk).open(1))[70] == block("n")
    assert all(found[number] == contents(store(disk).open(1))[number] for number in found)


def killed_before_its_sync(disk: FakeDisk) -> dict[int, bytes | None]:
    """Keep two batches, the second of which no sync has followed; what the next process finds."""
    _, rescue = store(disk).begin(Kind.RESYNC, "", "")
    rescue.keep([Piece(1, 2, block("a", 2))])
    disk.hook = lambda op, _file: (_ for _ in ()).throw(StopIteration) if op == "sync" else None
    with pytest.raises((StopIteration, RuntimeError)):
        rescue.keep([Piece(50, 3, block("t", 3)), Piece(60, 1, None)])
    disk.hook = None
    disk.kill()
    found = contents(store(disk).open(1))
    assert disk.pending_sectors() and {50, 60} <= set(found)
    return found


def test_what_a_killed_process_wrote_and_did_not_sync_is_made_sure_before_it_is_gone_on_with() -> None:
    disk = FakeDisk()
    found = killed_before_its_sync(disk)
    store(disk).open(1).make_sure()
    disk.power_loss()
    assert contents(store(disk).open(1)) == found


def test_what_a_failed_sync_may_have_lost_is_written_once_more() -> None:
    disk = FakeDisk()
    found = killed_before_its_sync(disk)
    disk.fail_next("sync")
    with pytest.raises(StorageError):
        store(disk).open(1).make_sure()
    disk.kill()
    store(disk).open(1).make_sure()
    disk.power_loss()
    assert contents(store(disk).open(1)) == found


@pytest.mark.parametrize("seed", range(20))
def test_a_description_that_was_torn_leaves_the_one_before(seed: int) -> None:
    disk = FakeDisk()
    _, rescue = store(disk).begin(Kind.SPLIT, "", "")
    disk.hook = lambda op, _file: (_ for _ in ()).throw(StopIteration) if op == "sync" else None
    with pytest.raises((StopIteration, RuntimeError)):
        store(disk).end(rescue, Stage.FOLLOWING)
    disk.hook = None
    disk.power_loss(random.Random(seed))
    assert store(disk).open(1).about.stage in (Stage.OPEN, Stage.FOLLOWING)


def test_given_up_means_whole_and_is_said_on_a_full_disk() -> None:
    disk = FakeDisk(capacity_bytes=1 << 33)
    _, rescue = store(disk).begin(Kind.RESYNC, "", "")
    rescue.keep([Piece(0, 8, block("a", 8))])
    disk.fill_up()
    with pytest.raises(DiskFullError):
        rescue.keep([Piece(500, 8, block("b", 8))])
    rescue.give_up("the disk is full")
    again = store(disk).open(1)
    assert again.about.stage is Stage.GIVEN_UP and again.about.note == "the disk is full"
    assert not again.kept and not contents(again)


def test_the_share_of_the_disk_is_the_most() -> None:
    disk = FakeDisk(capacity_bytes=1 << 33)
    few = store(disk, share_percent=1)
    few.begin(Kind.RESYNC, "", "")
    few.check_room(80 << 20)
    with pytest.raises(RescueFullError, match="1 % of its disk"):
        few.check_room(90 << 20)


def test_the_last_of_a_disk_is_left_for_the_volume() -> None:
    disk = FakeDisk(capacity_bytes=1 << 33)
    disk.fill_up(free_bytes=300 << 20)
    with pytest.raises(RescueFullError, match="has only 300 MiB left"):
        store(disk).begin(Kind.SPLIT, "", "")
    assert "has only" in store(disk).ready()


def test_old_rescues_expire_but_not_one_that_a_copy_needs() -> None:
    disk = FakeDisk()
    first = store(disk)
    _, done = first.begin(Kind.SPLIT, "", "")
    first.end(done, Stage.COMPLETE)
    first.begin(Kind.RESYNC, "", "")
    for _ in range(29):
        assert store(disk).expire(DAY_S) == []
    assert store(disk).open(1).about.lain_s == 29 * DAY_S
    later = store(disk)
    assert later.expire(DAY_S) == [1]
    assert later.numbers() == [2]


def test_a_wall_clock_that_jumps_by_years_removes_nothing() -> None:
    disk = FakeDisk()
    before = store(disk, now_s=0.0)
    _, done = before.begin(Kind.SPLIT, "", "")
    before.end(done, Stage.COMPLETE)
    after = store(disk, now_s=NOW_S)
    after.expire(60.0)
    after.begin(Kind.RESYNC, "", "")
    assert after.numbers() == [1, 2]


def test_a_rescue_that_still_follows_expires_only_when_nobody_fills_it_any_more() -> None:
    disk = FakeDisk()
    first = store(disk)
    _, rescue = first.begin(Kind.SPLIT, "", "")
    first.end(rescue, Stage.FOLLOWING)
    assert store(disk).expire(31 * DAY_S) == []
    another = Store(disk.directory("rescue"), "VM1", "b", BLOCKS * BLOCK_BYTES, replica="cd")
    assert another.expire(31 * DAY_S) == [1]


def test_room_is_made_of_what_nobody_misses_and_never_of_a_split_brains_rescue() -> None:
    disk = FakeDisk(capacity_bytes=1 << 33)
    small = store(disk, share_percent=1)
    for kind, stage in ((Kind.VERIFY, Stage.BLOCKS), (Kind.SPLIT, Stage.COMPLETE)):
        _, rescue = small.begin(kind, "", "")
        rescue.keep([Piece(0, 1000, block("v", 1000))])
        small.end(rescue, stage)
    small.make_room(30 << 20)
    assert small.numbers() == [2]
    with pytest.raises(RescueFullError):
        small.make_room(70 << 20)
    assert small.numbers() == [2]


def test_a_rescue_that_a_copy_needs_is_not_dropped() -> None:
    disk = FakeDisk()
    whole = store(disk)
    _, rescue = whole.begin(Kind.RESYNC, "", "")
    with pytest.raises(StorageError, match="not complete"):
        whole.drop(1)
    whole.end(rescue, Stage.ROLLED_BACK)
    whole.drop(1)
    assert whole.numbers() == []


def test_the_rescue_of_a_copy_under_way_is_found_before_one_that_follows() -> None:
    disk = FakeDisk()
    whole = store(disk)
    _, following = whole.begin(Kind.SPLIT, "", "")
    whole.end(following, Stage.FOLLOWING)
    current = store(disk).current()
    assert current is not None and current[0] == 1
    whole.begin(Kind.RESYNC, "", "")
    current = store(disk).current()
    assert current is not None and current[0] == 2


def test_a_damaged_block_is_told_and_the_others_are_read() -> None:
    disk = FakeDisk()
    _, rescue = store(disk).begin(Kind.SPLIT, "", "")
    rescue.keep([Piece(0, 1, block("a"))])
    rescue.keep([Piece(1, 1, block("b"))])
    file = disk.directory("rescue").open("01.rescue")
    file.write(DATA_BEGIN_BYTES + HEADER_BYTES + 100, b"!")
    again = store(disk).open(1)
    first, second = list(again.entries())
    with pytest.raises(StorageError, match="damaged"):
        again.content(first)
    assert again.content(second) == block("b")


def test_a_foreign_file_is_refused_unchanged() -> None:
    disk = FakeDisk()
    disk.directory("rescue").create("01.rescue", 1 << 20, sparse=True).write(0, b"?" * SLOT_BYTES)
    with pytest.raises(VolumeFormatError):
        store(disk).open(1)
    assert store(disk).current() is None
    store(disk).begin(Kind.SPLIT, "", "")
    assert store(disk).numbers() == [1, 2]


def test_a_reader_sees_what_is_kept_meanwhile() -> None:
    disk = FakeDisk()
    whole = store(disk)
    _, rescue = whole.begin(Kind.SPLIT, "", "")
    reader = store(disk).open(1)
    rescue.keep([Piece(5, 1, block("k"))])
    assert reader.entry_of(5) is None
    reader.look_again()
    assert reader.entry_of(5) is not None
    rescue.give_up("no room")
    reader.look_again()
    assert reader.entry_of(5) is None and reader.about.stage is Stage.GIVEN_UP


def test_a_rescue_of_another_replica_is_not_gone_on_with() -> None:
    disk = FakeDisk()
    store(disk).begin(Kind.RESYNC, "", "")
    assert store(disk).current() is not None
    other = Store(disk.directory("rescue"), "VM1", "b", BLOCKS * BLOCK_BYTES, replica="00ff")
    assert other.current() is None
