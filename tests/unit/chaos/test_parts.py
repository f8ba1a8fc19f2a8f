"""What the chaos rounds judge and break with, tried on losses that were made by hand."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.cache import VolatileFile
from tests.chaos.deep import SLOT_BYTES, SLOTS, DeepReports, make_slot, read_slot
from tests.chaos.load import complaint
from tests.chaos.plan import KINDS, Fault, Kind, Plan, draw

PAGE = 4096
RUN = b"run-one."


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "image", os.O_RDWR | os.O_CREAT)
    os.ftruncate(opened, 64 * PAGE)
    yield opened
    os.close(opened)


def test_what_was_flushed_survives_every_power_loss(descriptor: int) -> None:
    for seed in range(50):
        disk = VolatileFile(descriptor)
        disk.write(0, b"f" * PAGE)
        disk.flush()
        disk.write(PAGE, b"v" * PAGE)
        disk.lose_power(random.Random(seed))
        assert disk.read(0, PAGE) == b"f" * PAGE


def test_what_was_not_flushed_is_lost_in_some_power_losses_and_kept_in_others(descriptor: int) -> None:
    left = set()
    for seed in range(50):
        disk = VolatileFile(descriptor)
        disk.write(0, bytes(PAGE))
        disk.flush()
        disk.write(0, b"v" * PAGE)
        disk.lose_power(random.Random(seed))
        left.add(disk.read(0, PAGE)[:1])
    assert left == {b"\0", b"v"}


def test_a_later_write_may_survive_an_earlier_one_to_another_place(descriptor: int) -> None:
    survived = set()
    for seed in range(100):
        disk = VolatileFile(descriptor)
        for page in range(2):
            disk.write(page * PAGE, bytes(PAGE))
        disk.flush()
        for page in range(2):
            disk.write(page * PAGE, b"v" * PAGE)
        disk.lose_power(random.Random(seed))
        survived.add(tuple(disk.read(page * PAGE, 1) for page in range(2)))
    assert (b"\0", b"v") in survived


def test_overwrites_of_one_place_leave_one_of_them(descriptor: int) -> None:
    for seed in range(50):
        disk = VolatileFile(descriptor)
        disk.write(0, b"0" * 2 * PAGE)
        disk.flush()
        for content in b"123":
            disk.write(0, bytes([content]) * 2 * PAGE)
        disk.lose_power(random.Random(seed))
        for page in range(2):
            found = disk.read(page * PAGE, PAGE)
            assert found == found[:1] * PAGE
            assert found[:1] in {b"0", b"1", b"2", b"3"}


def test_a_full_cache_makes_the_oldest_writes_durable(descriptor: int) -> None:
    disk = VolatileFile(descriptor, cache_bytes=2 * PAGE)
    for page in range(8):
        disk.write(page * PAGE, b"v" * PAGE)
    assert disk.volatile_writes == 2
    disk.lose_power(random.Random(1))
    assert disk.read(5 * PAGE, PAGE) == b"v" * PAGE


class Deep:
    """A file and reports as a deep writer would leave them."""

    def __init__(self, path: Path) -> None:
        self.reports = DeepReports(path)
        self.content = bytearray(SLOTS * SLOT_BYTES)

    def tell(self, *words: object) -> None:
        with self.reports.path.open("a", encoding="ascii") as file:
            file.write(" ".join(str(word) for word in (*words, ".")) + "\n")

    def look(self, name: str, node: str, **numbers: int) -> None:
        self.tell("look", name, node, *(f"{slot[1:]}:{number}" for slot, number in numbers.items()))

    def put(self, slot: int, number: int) -> None:
        self.content[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] = make_slot(number, RUN, slot)

    def lost(self) -> list[str]:
        return self.reports.lost(bytes(self.content))


@pytest.fixture
def deep(tmp_path: Path) -> Deep:
    made = Deep(tmp_path / "deep")
    made.look("one", "a", s3=0, s4=0)
    made.put(3, 1)
    made.put(4, 2)
    made.tell("flushed", "one", "3:1", "4:2")
    return made


def test_slots_that_hold_what_was_flushed_or_something_later_are_whole(deep: Deep) -> None:
    deep.put(4, 7)
    assert deep.lost() == []


def test_a_flushed_write_that_is_gone_is_missed(deep: Deep) -> None:
    deep.put(4, 1)
    assert any("slot 4" in sentence and "now" in sentence for sentence in deep.lost())


def test_a_flushed_write_that_a_later_run_did_not_find_is_missed_though_it_was_overwritten(
    deep: Deep,
) -> None:
    deep.look("two", "b", s3=1, s4=0)
    deep.put(4, 9)
    assert deep.lost() == ["slot 4: run one on node a flushed number 2, but two holds 0"]


def test_a_damaged_slot_is_missed(deep: Deep) -> None:
    deep.content[4 * SLOT_BYTES + 2000] ^= 1
    assert "slot 4 is damaged" in deep.lost()


def test_a_slot_in_another_ones_place_is_damaged() -> None:
    assert read_slot(make_slot(1, RUN, 3), 4) is None


def test_half_a_line_is_read_when_it_is_whole(deep: Deep) -> None:
    with deep.reports.path.open("a", encoding="ascii") as file:
        file.write("flushed one 3:")
    assert deep.lost() == []
    with deep.reports.path.open("a", encoding="ascii") as file:
        file.write("8 .\n")
    assert any("number 8" in sentence for sentence in deep.lost())


def test_fio_complains_of_what_it_did_not_write_and_not_of_a_disk_that_failed() -> None:
    bad = "crc32c: verify failed at file /x offset 49152, length 4096\n"
    assert complaint(1, bad).startswith("crc32c:-verify")
    assert complaint(1, "fio: io_u error on file /x: Input/output error\n") == ""
    assert complaint(0, bad) == ""


def test_a_seed_draws_the_same_plan_again_and_seeds_in_a_row_go_through_all_kinds() -> None:
    assert draw(77, 2.0) == draw(77, 2.0)
    assert {fault.kind for seed in range(90, 90 + len(KINDS)) for fault in draw(seed, 2.0).faults} == set(
        KINDS
    )


def test_only_cuts_that_leave_both_nodes_their_witness_may_split_them() -> None:
    cut = Fault(Kind.CUT, "primary", 1.0)
    assert not Plan(1, (cut,), (0.0,), 0).may_split
    assert not Plan(1, (cut, Fault(Kind.FREEZE, "primary", 1.0)), (0.0, 0.0), 0).may_split
    assert Plan(1, (cut, Fault(Kind.CUT_OFF, "secondary", 1.0)), (0.0, 0.0), 0).may_split
    assert Plan(1, (Fault(Kind.SPLIT, "primary", 1.0),), (0.0,), 0).may_split
