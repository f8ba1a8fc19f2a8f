"""A host's clock is compared with the control node's, with what the comparison itself may add."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ansible_collections.twinhull.ha.plugins.plugin_utils.preflight_clock import (
    measure,
    offset,
    parse_epoch_s,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1764000000.250000000\n", 1764000000.25),
        ("1764000000", 1764000000.0),
        ("1764000000250\r\n", 1764000000.25),
        ("1764000000.N", 1764000000.0),
        ("Welcome!\n1764000000.5\n", 1764000000.5),
        ("command not found", None),
        ("", None),
    ],
)
def test_the_answer_of_either_platform_is_read(text: str, expected: float | None) -> None:
    assert parse_epoch_s(text) == expected


def test_a_clock_read_between_two_moments_is_uncertain_by_half_of_them() -> None:
    assert offset(100.0, 131.0, 102.0) == (30.0, 1.0)


def clock(*moments_s: float) -> Callable[[], float]:
    moments: Iterator[float] = iter(moments_s)
    return lambda: next(moments)


def test_the_quickest_answer_of_a_slow_connection_is_taken() -> None:
    measured = measure(
        lambda: "1764000005", clock(1764000000, 1764000004, 1764000004, 1764000006, 1764000006, 1764000012)
    )
    assert measured == (0.0, 1.0)


def test_a_quick_answer_is_not_asked_for_again() -> None:
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        return "1764000000.1"

    measured = measure(ask, clock(1764000000.0, 1764000000.2))
    assert measured is not None
    assert len(asked) == 1
    assert measured.uncertainty_s == pytest.approx(0.1)


def test_a_host_that_gives_no_time_is_not_measured() -> None:
    assert measure(lambda: "", clock(1.0, 2.0)) is None
