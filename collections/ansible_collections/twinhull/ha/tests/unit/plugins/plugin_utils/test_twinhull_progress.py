"""Waiting by a clock that the test turns, and progress in words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from ansible_collections.twinhull.ha.plugins.plugin_utils.twinhull_progress import (
    Look,
    Poller,
    TimedOutError,
    duration_text,
    job_text,
    printable,
    size_text,
    sync_text,
)


class Clock:
    """Time passes only by pauses."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []
        self.said: list[tuple[float, str]] = []

    def pause(self, seconds: float) -> None:
        self.now_s += seconds
        self.pauses.append(seconds)

    def poller(self) -> Poller:
        return Poller(lambda: self.now_s, self.pause, lambda text: self.said.append((self.now_s, text)))


def test_pauses_grow_to_ten_times_the_first_and_end_at_the_deadline() -> None:
    clock = Clock()
    with pytest.raises(TimedOutError) as caught:
        clock.poller().until(lambda: Look(text="working"), deadline_s=60.0)
    assert clock.pauses[:4] == [1.0, 1.5, 2.25, 3.375]
    assert max(clock.pauses) == 10.0
    assert clock.now_s == pytest.approx(60.0)
    assert caught.value.last == "working"


def test_progress_is_said_at_most_every_five_seconds() -> None:
    clock = Clock()
    with pytest.raises(TimedOutError):
        clock.poller().until(lambda: Look(text="working"), deadline_s=60.0)
    times = [when_s for when_s, text in clock.said if text == "working"]
    assert times[0] == 0.0
    assert all(later - earlier >= 5.0 for earlier, later in itertools.pairwise(times))


def test_the_first_value_ends_the_waiting() -> None:
    looks: Iterator[Look] = iter([Look(text="a"), Look(text="b"), Look(value="done")])
    clock = Clock()
    assert clock.poller().until(lambda: next(looks), deadline_s=60.0) == "done"
    assert len(clock.pauses) == 2


def test_a_last_look_is_taken_at_the_deadline() -> None:
    clock = Clock()
    found = clock.poller().until(lambda: Look(value="late" if clock.now_s >= 2.0 else None), deadline_s=2.0)
    assert found == "late"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 30, "64 GiB"), (123.4 * (1 << 20), "123 MiB")],
)
def test_sizes_have_units(size_bytes: float, text: str) -> None:
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.6, "1 min"), (3661, "1 h 1 min"), (90_000, "1 d 1 h"), (-3, "0 s")]
)
def test_durations_have_at_most_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_job_tells_percent_rest_rate_and_time_to_go() -> None:
    progress = {
        "text": "copying",
        "done_bytes": 1 << 30,
        "total_bytes": 4 << 30,
        "rate_bytes_s": 1 << 20,
        "eta_s": 61,
    }
    assert job_text(progress) == "copying: 25 %, 3 GiB of 4 GiB left, 1 MiB/s, 1 min 1 s to go"
    assert job_text({"text": "waiting for the guest"}) == "waiting for the guest"
    assert job_text(None) == "working"


def test_a_resync_that_loses_ground_has_no_time_to_go() -> None:
    sync = {
        "left_bytes": 1 << 20,
        "total_bytes": 2 << 20,
        "rate_bytes_s": 1 << 10,
        "eta_s": 9,
        "losing_ground": True,
    }
    assert sync_text(sync) == (
        "resync: 50 %, 1 MiB of 2 MiB left, 1 KiB/s, losing ground: the VM writes faster than this copies"
    )


def test_what_a_guest_wrote_cannot_drive_the_terminal() -> None:
    assert printable("a\x1b[31mb\nc") == "a [31mb c"
