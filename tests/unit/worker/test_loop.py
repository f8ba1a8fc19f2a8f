"""The loop keeps deciding while a disk call hangs, and its result arrives later."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from twinhull.worker.lanes import Lane, Outcome
from twinhull.worker.loop import Loop

PATIENCE_S = 20.0


class Driven:
    """A loop whose pump runs queued calls, so that tests can make inline disk calls."""

    def __init__(self, stall_s: float = 5.0) -> None:
        self.inline: list[tuple[Callable[[], object], Callable[[object], None]]] = []
        self.loop = Loop(self.pump, stall_s=stall_s)

    def pump(self) -> None:
        while self.inline:
            call, done = self.inline.pop(0)
            self.loop.run_inline(lambda make: make(), call, done)


def test_messages_of_other_threads_are_called_in_order_by_the_leader() -> None:
    driven = Driven()
    seen: list[int] = []
    for number in range(100):
        driven.loop.post(lambda number=number: seen.append(number))  # type: ignore[misc]
    driven.loop.post(driven.loop.stop)
    driven.loop.run()
    assert seen == list(range(100))


def test_a_stop_before_the_run_is_not_forgotten() -> None:
    driven = Driven()
    driven.loop.stop()
    runner = threading.Thread(target=driven.loop.run, daemon=True)
    runner.start()
    runner.join(PATIENCE_S)
    assert not runner.is_alive()


def test_timers_fire_in_the_order_of_their_time_and_a_cancelled_one_does_not() -> None:
    now = [0.0]
    loop = Loop(lambda: None, stall_s=5.0, clock=lambda: now[0])
    seen: list[str] = []
    loop.call_at(2.0, lambda: seen.append("second"))
    loop.call_at(1.0, lambda: seen.append("first"))
    loop.call_at(1.5, lambda: seen.append("never")).cancel()
    loop.call_at(3.0, loop.stop)
    now[0] = 3.0
    loop.run()
    assert seen == ["first", "second"]


def test_a_readable_file_calls_its_watcher_until_it_is_unwatched() -> None:
    driven = Driven()
    read_end, write_end = os.pipe()
    seen: list[bytes] = []

    def readable() -> None:
        seen.append(os.read(read_end, 10))
        driven.loop.unwatch(read_end)
        os.write(write_end, b"more")
        driven.loop.post(driven.loop.stop)

    driven.loop.watch(read_end, readable)
    os.write(write_end, b"x")
    driven.loop.run()
    os.close(read_end)
    os.close(write_end)
    assert seen == [b"x"]


def test_an_inline_call_is_made_by_the_leading_thread_itself() -> None:
    driven = Driven()
    threads: list[int] = []

    def done(result: object) -> None:
        assert result == "written"
        threads.append(threading.get_ident())
        driven.loop.stop()

    def call() -> object:
        threads.append(threading.get_ident())
        return "written"

    driven.inline.append((call, done))
    driven.loop.post(lambda: None)
    driven.loop.run()
    assert threads == [threading.get_ident()] * 2


def test_the_standby_leads_while_a_disk_call_hangs_and_the_result_comes_later() -> None:
    driven = Driven(stall_s=0.05)
    hang, hung = threading.Event(), threading.Event()
    order: list[str] = []

    def call() -> object:
        hung.set()
        assert hang.wait(PATIENCE_S)
        return "late"

    def done(result: object) -> None:
        order.append(str(result))
        driven.loop.stop()

    def decide() -> None:
        order.append("decided meanwhile")
        hang.set()

    driven.inline.append((call, done))
    driven.loop.post(lambda: None)

    def other_thread() -> None:
        assert hung.wait(PATIENCE_S)
        driven.loop.post(decide)

    threading.Thread(target=other_thread).start()
    driven.loop.run()
    assert order == ["decided meanwhile", "late"]


def test_the_thread_that_was_stuck_becomes_the_standby_and_can_lead_again() -> None:
    driven = Driven(stall_s=0.05)
    order: list[str] = []
    gates = [threading.Event(), threading.Event()]
    entered = [threading.Event(), threading.Event()]

    def hang(number: int) -> Callable[[], object]:
        def call() -> object:
            entered[number].set()
            assert gates[number].wait(PATIENCE_S)
            return number

        return call

    def first_done(result: object) -> None:
        order.append(f"done {result}")
        driven.inline.append((hang(1), second_done))

    def second_done(result: object) -> None:
        order.append(f"done {result}")
        driven.loop.stop()

    driven.inline.append((hang(0), first_done))
    driven.loop.post(lambda: None)

    def other_thread() -> None:
        for number in (0, 1):
            assert entered[number].wait(PATIENCE_S)
            driven.loop.post(gates[number].set)

    threading.Thread(target=other_thread).start()
    driven.loop.run()
    assert order == ["done 0", "done 1"]


def test_an_exception_in_a_callback_ends_run_with_it() -> None:
    driven = Driven()

    def broken() -> None:
        raise ValueError("a defect")

    driven.loop.post(broken)
    with pytest.raises(ValueError, match="a defect"):
        driven.loop.run()


def test_a_lane_does_its_work_in_order_and_carries_errors_back() -> None:
    driven = Driven()
    lane = Lane(driven.loop, "test")
    seen: list[object] = []

    def keep(outcome: Outcome[int]) -> None:
        seen.append(outcome.error or outcome.value())

    failure = OSError("no")

    def fail() -> int:
        raise failure

    lane.submit(lambda: 1, keep)
    lane.submit(fail, keep)

    def keep_and_stop(outcome: Outcome[int]) -> None:
        keep(outcome)
        driven.loop.stop()

    lane.submit(lambda: 3, keep_and_stop)
    driven.loop.run()
    lane.close()
    assert seen == [1, failure, 3]
