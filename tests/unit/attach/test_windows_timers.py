"""The initiator's time-outs: raised and put back, and what T may be before the host was booted with them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from twinhull.attach import windows_timers as timers
from twinhull.attach.windows_timers import BOOT_KEY, CLASS_KEY, DISK_KEY, DRIVER, OWN_KEY, Timers

INSTANCE = rf"{CLASS_KEY}\0004"


class FakeRegistry:
    """A registry in memory."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], int | str] = {
            (rf"{CLASS_KEY}\0001", "DriverDesc"): "Some other controller",
            (INSTANCE, "DriverDesc"): DRIVER,
            (rf"{INSTANCE}\Parameters", "MaxRequestHoldTime"): 60,
            (BOOT_KEY, "BootId"): 7,
        }

    def number(self, key: str, name: str) -> int | None:
        value = self.values.get((key, name))
        return value if isinstance(value, int) else None

    def text(self, key: str, name: str) -> str | None:
        value = self.values.get((key, name))
        return value if isinstance(value, str) else None

    def children(self, key: str) -> Sequence[str]:
        return ["0001", "0004"] if key == CLASS_KEY else []

    def put(self, key: str, name: str, number: int) -> None:
        self.values[key, name] = number

    def remove(self, key: str, name: str) -> None:
        self.values.pop((key, name), None)

    def boot(self) -> None:
        self.values[BOOT_KEY, "BootId"] = (self.number(BOOT_KEY, "BootId") or 0) + 1


def test_what_is_too_low_is_raised_and_put_back_as_it_was() -> None:
    registry = FakeRegistry()
    before = dict(registry.values)
    set_to = timers.set_timers(registry, 90)
    assert (set_to.disk_s, set_to.hold_s) == (90, 90)
    timers.set_timers(registry, 120)
    assert timers.look(registry).least_s() == 120
    timers.restore(registry)
    assert registry.values == before
    assert timers.restore(registry) == timers.look(registry)


def test_what_is_higher_already_stays() -> None:
    registry = FakeRegistry()
    registry.put(DISK_KEY, "TimeOutValue", 300)
    assert timers.set_timers(registry, 90).disk_s == 300
    assert (OWN_KEY, "OldTimeOutValue") not in registry.values


def test_nothing_counts_before_a_boot_was_seen() -> None:
    registry = FakeRegistry()
    assert not timers.set_timers(registry, 90).active
    registry.boot()
    assert timers.look(registry).active
    timers.set_timers(registry, 90)
    assert timers.look(registry).active
    timers.set_timers(registry, 200)
    assert not timers.look(registry).active


def test_a_host_without_the_initiator_says_so() -> None:
    registry = FakeRegistry()
    del registry.values[INSTANCE, "DriverDesc"]
    with pytest.raises(LookupError, match="iSCSI Initiator"):
        timers.set_timers(registry, 90)


@pytest.mark.parametrize(
    ("seen", "expected_s"),
    [
        (Timers(None, None, "x", False), 20.0),
        (Timers(None, None, "x", True), 20.0),
        (Timers(130, 130, "x", True), 30.0),
        (Timers(130, 130, "x", False), 20.0),
        (Timers(130, 120, "x", True), 25.0),
        (Timers(130, None, "x", True), 20.0),
    ],
)
def test_the_longest_t_is_what_the_time_outs_of_the_last_boot_outlast(
    seen: Timers, expected_s: float
) -> None:
    assert timers.needed_s(30.0, 5.0) == 130
    assert timers.longest_s(5.0, seen) == expected_s
