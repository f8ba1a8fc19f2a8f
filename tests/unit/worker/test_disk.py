"""Which thread makes a flush, and what becomes of a record that comes too late."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from twinhull.core.effects import LocalFlush, LocalWrite
from twinhull.core.identity import Id
from twinhull.core.record import Record
from twinhull.errors import DiskError
from twinhull.worker.disk import FLUSH_WEIGHT, QUICK_FLUSH_S, Answers, Disk, Keeper, Volume
from twinhull.worker.loop import Loop

SLOW_S = 20 * QUICK_FLUSH_S


class Scene:
    """A disk with a volume whose flushes take as long as the test says, on a clock of the test's."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.flush_s = QUICK_FLUSH_S / 10
        self.failing: DiskError | None = None
        self.quiet = True
        self.threads: list[str] = []
        self.records: list[Record] = []
        self.stuck = threading.Event()  # records are written once it is set
        self.flushed: list[tuple[int, str | None]] = []
        self._effects: deque[LocalFlush | LocalWrite] = deque()
        self.loop = Loop(self._pump, stall_s=60.0)
        self.disk = Disk(
            self.loop, cast(Volume, self), cast(Answers, self), lambda: self.now_s, cast(Keeper, None)
        )

    # ---- as the volume
    def flush(self) -> None:
        self.threads.append(threading.current_thread().name)
        self.now_s += self.flush_s
        if self.failing is not None:
            raise self.failing

    def write_record(self, record: Record) -> None:
        self.stuck.wait()
        self.records.append(record)

    # ---- as the mirror
    def flush_done(self, ticket: int, error: str | None, full: bool, now_s: float) -> None:
        self.flushed.append((ticket, error))
        self.loop.stop()

    # ---- for tests
    def _pump(self) -> None:
        while self._effects:
            self.disk.perform(self._effects.popleft())

    def flush_once(self) -> str:
        """The name of the thread that made it."""
        before = len(self.threads)
        self._effects.append(LocalFlush(before))
        self.loop.post(lambda: None)  # so that it turns
        runner = threading.Thread(target=self.loop.run, name="loop")
        runner.start()
        runner.join()
        self.loop._finished.clear()  # as if it had not run yet
        self.loop._running = True
        (thread,) = self.threads[before:]
        return thread

    def persist(self, record: Record, before: Record, *, patience: bool) -> bool:
        """Have a record made; without patience it is given up before the disk writes it. Whether it could be."""
        done: list[str | None] = []

        def persisted(error: str | None, _full: bool) -> None:
            done.append(error)
            self.loop.stop()

        give_up = self.disk.persist(record, before, persisted)
        given_up = not patience and give_up()
        self.stuck.set()
        runner = threading.Thread(target=self.loop.run, name="loop")
        runner.start()
        runner.join()
        assert done == [None]
        return given_up or (patience and give_up())


@pytest.fixture
def scene() -> Scene:
    return Scene()


def until(scene: Scene, expected: Callable[[str], bool]) -> None:
    """Flush until the thread is the expected one; what is expected of a flush follows within a few of them."""
    for _ in range(round(10 / FLUSH_WEIGHT)):
        if expected(scene.flush_once()):
            return
    raise AssertionError(scene.threads)


def test_a_disk_that_nobody_knows_yet_is_flushed_on_the_lane(scene: Scene) -> None:
    assert scene.flush_once() != "loop"


def test_a_quick_disk_is_flushed_by_the_loop_itself(scene: Scene) -> None:
    until(scene, lambda thread: thread == "loop")
    assert scene.flush_once() == "loop"
    assert scene.flushed[-1] == (len(scene.threads) - 1, None)


def test_a_disk_that_becomes_slow_is_flushed_on_the_lane_again(scene: Scene) -> None:
    until(scene, lambda thread: thread == "loop")
    scene.flush_s = SLOW_S
    until(scene, lambda thread: thread != "loop")


def test_a_flush_does_not_keep_the_loop_from_other_requests(scene: Scene) -> None:
    until(scene, lambda thread: thread == "loop")
    scene.quiet = False
    assert scene.flush_once() != "loop"


def test_a_flush_that_fails_is_told_on_either_way(scene: Scene) -> None:
    scene.failing = DiskError("The data file cannot be flushed.")
    scene.flush_once()
    scene.failing = None
    until(scene, lambda thread: thread == "loop")
    scene.failing = DiskError("The data file cannot be flushed.")
    assert scene.flush_once() == "loop"
    assert [error for _, error in (scene.flushed[0], scene.flushed[-1])] == [
        "The data file cannot be flushed"
    ] * 2


BEFORE = Record(None, Id(b"replica-of-a-one"), uptodate=True, outdated_reason="")


def test_a_record_in_time_counts_and_is_not_given_up_afterwards(scene: Scene) -> None:
    record = replace(BEFORE, running_ms=1)
    assert not scene.persist(record, BEFORE, patience=True)
    assert scene.records == [record]


def test_a_record_that_nobody_waits_for_any_more_is_written_over(scene: Scene) -> None:
    record = replace(BEFORE, running_ms=1)
    assert scene.persist(record, BEFORE, patience=False)
    assert scene.records == [record, BEFORE]


def test_a_late_record_that_the_replica_is_not_uptodate_stays(scene: Scene) -> None:
    record = replace(BEFORE, uptodate=False)
    assert scene.persist(record, BEFORE, patience=False)
    assert scene.records == [record]
