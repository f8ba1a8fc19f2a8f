"""Sizes, durations and windows mean what people write."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.config import Window, parse_duration_s, parse_size_bytes, parse_window
from twinhull.config.units import exact_size_text


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1 GiB", 1 << 30),
        ("1GiB", 1 << 30),
        ("1.5 tib", 3 << 39),
        ("500 GB", 500 * 10**9),
        ("1 TB", 10**12),
        ("10 MiB", 10 << 20),
        ("4096 B", 4096),
    ],
)
def test_iec_units_are_binary_and_si_units_are_taken_literally(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GiB", "-1 GiB", "1e3 GiB", "1 G", "1,5 GiB", "0.3 B", "१ GiB", "5"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no size|no unit|no whole number"):
        parse_size_bytes(text)


@given(st.integers(min_value=1, max_value=1 << 50))
def test_a_size_written_out_is_read_back_exactly(size_bytes: int) -> None:
    assert parse_size_bytes(exact_size_text(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10.0), ("1.5 s", 1.5), ("2 min", 120.0), ("500ms", 0.5), ("1 h", 3600.0), (" 3 ", 3.0)],
)
def test_durations_are_seconds_unless_a_unit_is_given(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "-1", "1 day", "10:30", "nan", "inf"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no duration|no unit of time"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "window", "back"),
    [
        ("Sun 02:00-04:00", Window((6,), 120, 240), "Sun 02:00-04:00"),
        ("mon-fri 22:00 - 2:00", Window((0, 1, 2, 3, 4), 1320, 120), "Mon,Tue,Wed,Thu,Fri 22:00-02:00"),
        ("Sat-Mon 00:00-24:00", Window((0, 5, 6), 0, 1440), "Mon,Sat,Sun 00:00-24:00"),
        ("daily 03:00-03:30", Window(tuple(range(7)), 180, 210), "daily 03:00-03:30"),
    ],
)
def test_windows_are_read_and_written_back(text: str, window: Window, back: str) -> None:
    assert parse_window(text) == window
    assert str(window) == back
    assert parse_window(back) == window


@pytest.mark.parametrize(
    "text", ["Sun", "Sun 2-4", "Sun 25:00-26:00", "Sun 02:60-04:00", "Sun 02:00-02:00", "Sunday 02:00-04:00"]
)
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no window|no day"):
        parse_window(text)


@pytest.mark.parametrize(
    ("text", "moment", "is_open"),
    [
        ("Sun 02:00-04:00", "2026-11-22T01:59", False),
        ("Sun 02:00-04:00", "2026-11-22T02:00", True),
        ("Sun 02:00-04:00", "2026-11-22T03:59", True),
        ("Sun 02:00-04:00", "2026-11-22T04:00", False),
        ("Sun 02:00-04:00", "2026-11-23T03:00", False),
        ("Sun 22:00-02:00", "2026-11-22T23:00", True),
        ("Sun 22:00-02:00", "2026-11-23T01:59", True),
        ("Sun 22:00-02:00", "2026-11-22T01:00", False),
        ("Sun 22:00-02:00", "2026-11-23T02:00", False),
    ],
)
def test_a_window_is_open_at_its_times_also_past_midnight(text: str, moment: str, is_open: bool) -> None:
    assert parse_window(text).is_open(datetime.fromisoformat(moment)) is is_open


def test_a_window_tells_when_it_opened() -> None:
    window = parse_window("Sat,Sun 22:00-02:00")
    opened = datetime.fromisoformat("2026-11-22T22:00")  # a Sunday
    for moment in ("2026-11-22T22:00", "2026-11-22T23:59", "2026-11-23T01:59"):
        assert window.opened(datetime.fromisoformat(moment)) == opened
    assert window.opened(datetime.fromisoformat("2026-11-22T01:00")) == opened - timedelta(days=1)
    assert window.opened(datetime.fromisoformat("2026-11-23T22:00")) is None
