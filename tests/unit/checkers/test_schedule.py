"""When a checker's failures count; time is a number here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.checkers import schedule
from twinhull.checkers.base import CheckResult
from twinhull.checkers.schedule import CheckerSettings, Phase, Schedule, Verdict

SETTINGS = CheckerSettings("heartbeat", interval_s=5.0, timeout_s=5.0, failures=3, boot_time_s=100.0)
OK = CheckResult(True, "answers")
BAD = CheckResult(False, "silent")
UNSURE = CheckResult(False, "libvirt does not answer", conclusive=False)


class Story:
    """A checker's life, one look every interval."""

    def __init__(self, settings: CheckerSettings = SETTINGS) -> None:
        self.settings = settings
        self.now_s = 1000.0
        self.state = schedule.arm(Schedule(), self.now_s, settings)

    def look(self, *results: CheckResult, after_s: float = 5.0) -> list[Verdict]:
        verdicts = []
        for found in results:
            self.now_s += after_s
            self.state, verdict = schedule.result(
                self.state, self.state.epoch, found, self.now_s, self.settings
            )
            verdicts += [] if verdict is None else [verdict]
        return verdicts


def test_it_rests_until_it_is_armed() -> None:
    state, verdict = schedule.result(Schedule(), 0, BAD, 5.0, SETTINGS)
    assert (state, verdict) == (Schedule(), None)
    assert not state.looks


def test_failures_are_forgiven_until_the_first_success() -> None:
    story = Story()
    assert story.look(*[BAD] * 10) == []
    assert story.state.phase is Phase.BOOTING
    assert story.look(OK, BAD, BAD) == []
    assert story.look(BAD) == [Verdict("checker heartbeat failed 3 times in a row: silent")]


def test_failures_are_forgiven_until_the_boot_time_is_over() -> None:
    story = Story()
    assert story.look(*[BAD] * 19) == []
    assert len(story.look(*[BAD] * 3)) == 1
    assert story.now_s == 1000.0 + 22 * 5.0


def test_without_a_boot_time_only_a_success_arms() -> None:
    story = Story(CheckerSettings("heartbeat", boot_time_s=None))
    assert story.look(*[BAD] * 1000) == []


def test_a_success_between_failures_starts_the_count_again() -> None:
    story = Story()
    assert story.look(OK, BAD, BAD, OK, BAD, BAD) == []


def test_a_look_that_says_nothing_counts_neither_way() -> None:
    story = Story()
    assert story.look(OK, *[UNSURE] * 50) == []
    assert story.look(BAD, UNSURE, BAD, UNSURE) == []
    assert len(story.look(BAD)) == 1


def test_after_a_verdict_it_is_silent_until_it_is_armed_again() -> None:
    story = Story()
    assert len(story.look(OK, BAD, BAD, BAD)) == 1
    assert story.look(*[BAD] * 10) == []
    assert not story.state.looks
    story.state = schedule.arm(story.state, story.now_s, SETTINGS)
    assert len(story.look(OK, BAD, BAD, BAD)) == 1


def test_a_look_that_began_before_a_restart_does_not_count_after_it() -> None:
    story = Story()
    story.look(OK, BAD, BAD)
    old = story.state.epoch
    story.state = schedule.arm(story.state, story.now_s, SETTINGS)
    state, verdict = schedule.result(story.state, old, BAD, story.now_s, SETTINGS)
    assert verdict is None
    assert state == story.state


def test_suspended_it_does_not_look_and_resumed_it_counts_from_nothing() -> None:
    story = Story()
    story.look(OK, BAD, BAD)
    story.state = schedule.suspend(story.state, True, story.now_s, SETTINGS)
    assert not story.state.looks
    assert story.look(BAD) == []
    story.state = schedule.suspend(story.state, False, story.now_s, SETTINGS)
    assert story.state.looks
    assert story.look(OK, BAD, BAD) == []
    assert len(story.look(BAD)) == 1


def test_a_suspension_outlives_restarts_of_the_resource() -> None:
    state = schedule.suspend(Schedule(), True, 0.0, SETTINGS)
    for next_state in (schedule.arm(state, 1.0, SETTINGS), schedule.disarm(state)):
        assert next_state.suspended
        assert not next_state.looks
    assert schedule.suspend(state, True, 9.0, SETTINGS) is state


def test_after_a_sleep_of_the_host_earlier_failures_are_no_evidence() -> None:
    story = Story()
    story.look(OK, BAD, BAD)
    assert story.look(BAD, after_s=3600.0) == []
    assert story.look(BAD) == []
    assert len(story.look(BAD)) == 1


def test_the_next_look_comes_an_interval_after_the_last_result() -> None:
    story = Story()
    assert story.state.due_at_s == 1005.0
    story.look(OK, after_s=7.0)
    assert story.state.due_at_s == 1012.0


@given(st.lists(st.sampled_from([OK, BAD, UNSURE]), max_size=60), st.integers(1, 4))
def test_a_verdict_needs_that_many_conclusive_failures_in_a_row(
    results: list[CheckResult], failures: int
) -> None:
    story = Story(CheckerSettings("c", failures=failures, boot_time_s=0.0))
    row, expected = 0, 0
    for found in results:
        got = len(story.look(found))
        row = 0 if found.ok else row + found.conclusive
        assert got == (row == failures and found.conclusive and not expected)
        expected += got
    assert expected <= 1


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_has_a_word_for_people(phase: Phase) -> None:
    assert phase.value.isalpha()
