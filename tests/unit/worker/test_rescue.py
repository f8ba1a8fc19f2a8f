"""A worker's rescues: opened before anything is overwritten, filled together, closed as the copy ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from tests.fakes.disk import FakeDisk
from tests.unit.worker.test_verify import Inline

from twinhull.core import events
from twinhull.core.effects import RescueOld
from twinhull.core.identity import Generation, Id
from twinhull.core.marks import BLOCK_BYTES, PagedBitmap
from twinhull.core.record import Record, Role
from twinhull.core.rescue import RescueKind, RescuePlan
from twinhull.storage.rescue import Limits, Store
from twinhull.storage.rescue_format import Kind, Stage
from twinhull.worker.rescue import Rescues

LOG = logging.LoggerAdapter(logging.getLogger("twinhull.test"), {})
BLOCKS = 256
DAY_S = 86_400.0
SPLIT = RescuePlan(RescueKind.SPLIT, "a goes on", "0123abcd")
RESYNC = RescuePlan(RescueKind.RESYNC, "b is older", "0123abcd")


class Later:
    """Stands for the loop: what is planned is done when the test says so."""

    def __init__(self) -> None:
        self.planned: list[Callable[[], None]] = []

    def call_later(self, _delay_s: float, call: Callable[[], None]) -> None:
        self.planned.append(call)


class Volume:
    """A data file, and a record that the test sets."""

    def __init__(self, disk: FakeDisk) -> None:
        self.size_bytes = BLOCKS * BLOCK_BYTES
        directory = disk.directory()
        exists = directory.exists("data.img")
        self.file = (
            directory.open("data.img")
            if exists
            else directory.create("data.img", self.size_bytes, sparse=True)
        )
        self.record = Record(None, Id(b"r" * 16), Generation(Id(b"g" * 16)), role=Role.SECONDARY)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        return self.file.read(offset_bytes, length_bytes)

    def next_data(self, offset_bytes: int) -> tuple[int, int] | None:
        return self.file.next_data(offset_bytes)


class Clock:
    """A clock in the test's hands."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """The rescues of one process."""

    def __init__(
        self,
        disk: FakeDisk,
        *,
        uptodate: bool = False,
        role: Role = Role.SECONDARY,
        percent: int = 50,
        clock: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self.disk = disk
        self.volume = Volume(disk)
        self.volume.record = Record(
            None, Id(b"r" * 16), Generation(Id(b"g" * 16)), uptodate=uptodate, role=role
        )
        self.lane, self.loop = Inline(), Later()
        self.done: list[tuple[int, str | None]] = []
        self.opened: list[tuple[PagedBitmap | None, str | None]] = []
        self.over = 0
        self.told: list[events.Event] = []
        self.store = Store(
            disk.directory("rescue"), "VM1", "b", self.volume.size_bytes, Limits(percent, DAY_S)
        )
        self.rescues = Rescues(
            self.loop, self.lane, self.store, self.volume, self, self.told.append, LOG, clock  # type: ignore[arg-type]
        )  # fmt: skip

    def rescue_done(self, ticket: int, error: str | None, _now_s: float) -> None:
        self.done.append((ticket, error))

    def rescue_opened(self, kept: PagedBitmap | None, error: str | None, _now_s: float) -> None:
        self.opened.append((kept, error))

    def rescue_over(self, _now_s: float) -> None:
        self.over += 1

    def run(self) -> None:
        """Everything that waits, and what follows."""
        self.lane.run()
        while self.loop.planned:
            self.loop.planned.pop(0)()
            self.lane.run()

    def begin(self, plan: RescuePlan | None) -> bool:
        begun = self.rescues.begin(plan)
        self.lane.run()
        return begun

    def keep(self, first: int, count: int = 1, ticket: int = 7) -> None:
        self.rescues.keep(RescueOld(ticket, first * BLOCK_BYTES, count * BLOCK_BYTES))

    def stages(self) -> list[Stage]:
        return [self.store.open(number).about.stage for number in self.store.numbers()]


def fill(bench: Bench, first: int, count: int) -> None:
    bench.volume.file.write(first * BLOCK_BYTES, b"x" * count * BLOCK_BYTES)


def test_what_waits_becomes_durable_together_with_holes_as_holes() -> None:
    bench = Bench(FakeDisk())
    fill(bench, 2, 3)
    assert bench.begin(SPLIT)
    assert bench.told == [events.RescueOpened(RescueKind.SPLIT)]
    syncs: list[str] = []
    bench.disk.hook = lambda op, _file: syncs.append(op) if op == "sync" else None
    bench.keep(0, 8, ticket=1)
    for number in range(2, 10):
        bench.keep(10 * number, 4, ticket=number)
    bench.lane.run()
    assert bench.done == [(number, None) for number in range(1, 10)]
    assert len(syncs) == 2  # the first, and all that came while it was under way
    rescue = bench.store.open(1)
    assert [(entry.first, entry.blocks, entry.data_bytes >= 0) for entry in rescue.entries()][:3] == [
        (0, 2, False), (2, 3, True), (5, 3, False),
    ]  # fmt: skip


def test_a_block_is_kept_once() -> None:
    bench = Bench(FakeDisk())
    fill(bench, 0, 4)
    bench.begin(RESYNC)
    bench.keep(0, 4)
    bench.lane.run()
    bench.volume.file.write(0, b"new" + bytes(BLOCK_BYTES - 3))
    bench.keep(0, 4)
    bench.lane.run()
    entries = list(bench.store.open(1).entries())
    assert len(entries) == 1 and bench.store.open(1).content(entries[0]) == b"x" * 4 * BLOCK_BYTES


def test_a_block_of_a_killed_process_is_durable_before_a_copy_goes_on_over_it() -> None:
    disk = FakeDisk()
    bench = Bench(disk)
    fill(bench, 0, 4)
    bench.begin(RESYNC)
    disk.fail_next("sync")  # stands for a kill before it: the batch lies in the cache only
    bench.keep(0, 4)
    bench.lane.run()
    assert bench.done[0][1] is not None
    disk.kill()
    again = Bench(disk)
    again.begin(RESYNC)
    kept, error = again.opened[0]
    assert error is None and kept is not None and 0 in kept
    disk.power_loss()
    assert 0 in Bench(disk).store.open(1).kept


def test_the_rescue_of_a_resync_goes_with_its_end() -> None:
    bench = Bench(FakeDisk())
    bench.begin(RESYNC)
    bench.rescues.finish()
    bench.run()
    assert bench.stages() == [] and bench.over == 1


def test_the_rescue_of_a_split_brain_stays_and_comes_to_stand_on_its_own() -> None:
    bench = Bench(FakeDisk())
    fill(bench, 0, 200)
    bench.begin(SPLIT)
    bench.keep(5)
    bench.lane.run()
    bench.rescues.finish()
    bench.lane.run()
    assert bench.stages() == [Stage.FOLLOWING] and bench.over == 0
    bench.run()
    assert bench.stages() == [Stage.COMPLETE] and bench.over == 1
    assert len(bench.store.open(1).kept) == 200


def test_a_session_that_begins_before_the_end_of_the_copy_is_written_down_keeps_on() -> None:
    bench = Bench(FakeDisk())
    fill(bench, 0, 200)
    bench.begin(SPLIT)
    bench.rescues.finish()
    assert bench.rescues.begin(None)
    bench.keep(5)
    bench.lane.run()
    assert bench.stages() == [Stage.FOLLOWING] and bench.done == [(7, None)]
    bench.run()
    assert bench.stages() == [Stage.COMPLETE] and len(bench.store.open(1).kept) == 200
    resync = Bench(FakeDisk())
    resync.begin(RESYNC)
    resync.rescues.finish()
    assert not resync.rescues.begin(None)
    resync.run()
    assert resync.stages() == []


def test_a_new_process_goes_on_with_what_is_kept() -> None:
    bench = Bench(FakeDisk())
    fill(bench, 0, 8)
    bench.begin(SPLIT)
    bench.keep(0, 2)
    bench.lane.run()
    again = Bench(bench.disk)
    again.begin(RESYNC)  # it was the primary before, its record does not say so any more
    kept, error = again.opened[0]
    assert error is None and kept is not None and len(kept) == 2
    assert again.told == [events.RescueOpened(RescueKind.SPLIT)]
    assert again.store.numbers() == [1]


def test_what_a_process_could_not_say_any_more_the_next_one_says() -> None:
    bench = Bench(FakeDisk())
    fill(bench, 0, 200)
    bench.begin(SPLIT)
    assert Bench(bench.disk, uptodate=True).stages() == [Stage.FOLLOWING]
    follows = Bench(bench.disk, uptodate=True)
    assert follows.begin(None)
    assert Bench(bench.disk, uptodate=True, role=Role.PRIMARY).stages() == [Stage.PARTIAL]


def test_a_node_that_serves_the_module_itself_says_that_its_rescue_is_partial() -> None:
    bench = Bench(FakeDisk())
    fill(bench, 0, 200)
    bench.begin(SPLIT)
    bench.rescues.finish()
    bench.lane.run()
    bench.rescues.leave()
    bench.run()
    assert bench.stages() == [Stage.PARTIAL]
    assert not bench.begin(None)


@pytest.mark.parametrize("plan", [SPLIT, RESYNC])
def test_without_room_the_mirror_is_told_and_given_up_means_whole(plan: RescuePlan) -> None:
    disk = FakeDisk(capacity_bytes=1 << 30)
    bench = Bench(disk, percent=1)
    fill(bench, 0, BLOCKS)
    bench.begin(plan)
    bench.keep(0, 32, ticket=1)
    bench.lane.run()
    bench.keep(32, BLOCKS - 32, ticket=2)
    bench.keep(32, BLOCKS - 32, ticket=3)
    disk.fill_up(free_bytes=40 << 20)
    bench.lane.run()
    assert bench.done[0] == (1, None)
    assert all(error is not None and "left" in error for _, error in bench.done[1:])
    bench.rescues.give_up("no room")
    bench.lane.run()
    assert bench.over == 1 and bench.stages() == [Stage.GIVEN_UP]
    assert not bench.store.open(1).kept
    bench.rescues.finish()
    bench.run()
    assert bench.stages() == ([Stage.NOTHING] if plan is SPLIT else [])


def test_a_rescue_that_cannot_even_begin_can_be_given_up_and_stays_so() -> None:
    disk = FakeDisk(capacity_bytes=1 << 30)
    disk.fill_up(free_bytes=10 << 20)
    bench = Bench(disk)
    bench.begin(RESYNC)
    kept, error = bench.opened[0]
    assert kept is None and error is not None
    bench.rescues.give_up(error)
    bench.lane.run()
    assert bench.stages() == [Stage.GIVEN_UP]
    again = Bench(disk)
    again.begin(RESYNC)
    assert again.opened == [(None, None)]


def test_whether_there_is_room_is_told_once() -> None:
    disk = FakeDisk(capacity_bytes=1 << 30)
    bench = Bench(disk)
    bench.rescues.look_at_room()
    bench.rescues.look()
    bench.lane.run()
    assert bench.told == [events.RescueRoom("")]
    disk.fill_up()
    bench.rescues.look()
    bench.lane.run()
    room: Any = bench.told[-1]
    assert "has only 0 MiB left" in room.trouble


def test_what_lies_there_grows_older_only_while_a_worker_runs_and_is_removed_in_the_end() -> None:
    disk, clock = FakeDisk(), Clock()
    bench = Bench(disk, clock=clock)
    bench.store.begin(Kind.VERIFY, "", "")
    for minute in range(1, 25 * 60):
        clock.now_s = 60.0 * minute
        bench.rescues.look()
        bench.lane.run()
        if minute == 23 * 60:
            assert bench.stages() == [Stage.BLOCKS]
            bench = Bench(disk, clock=clock)  # however long it was off: another process goes on from here
    assert bench.stages() == []
