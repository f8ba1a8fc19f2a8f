"""The long-lived PowerShell hosts, with the real engine."""

from __future__ import annotations

import os
import threading

import pytest
from tests.standin.windows_host import WindowsHost, needs_engine

from twinhull.errors import PowerShellError, PowerShellGoneError, PowerShellTimeoutError
from twinhull.powershell import Engine, PowerShellHosts

pytestmark = needs_engine
LONG_S = 900.0


def _ping(shells: PowerShellHosts, value: object) -> object:
    return shells.query("Get-TwinhullPing", {"Value": value}, timeout_s=LONG_S)["value"]


def _is_gone(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    return False


def _process(shells: PowerShellHosts) -> int:
    """The process of the host for queries."""
    return int(shells.query("Get-TwinhullProcess", {}, timeout_s=LONG_S)["process"])


def test_values_arrive_as_they_were(shells: PowerShellHosts) -> None:
    values: list[object] = [
        "", "a", "it's \"quoted\" `$(exit 3)` ; & | \r\n\t\0", "仮想マシン ☃ \U0001f600",
        "2026-01-02T03:04:05Z", "/Date(12)/",
        None, True, False, 0, -1, 2**40, [], [1], ["a", ["b"]], [[]], {}, {"a": {"b": [1, "x"]}},
    ]  # fmt: skip
    for value in values:
        assert _ping(shells, value) == value


def test_one_process_answers_many_requests_and_output_does_not_disturb_it(shells: PowerShellHosts) -> None:
    first = _process(shells)
    assert shells.query("Write-TwinhullTest", {}, timeout_s=LONG_S) == ["printed", "returned"]
    assert _process(shells) == first


def test_only_functions_of_the_module_can_be_called(shells: PowerShellHosts) -> None:
    for name in ("Get-ChildItem", "Stop-Twinhull", "Get-TwinhullPing; Get-Date", "Invoke-HostRequest", ""):
        with pytest.raises(PowerShellError, match="There is no function") as told:
            shells.query(name, {}, timeout_s=LONG_S)
        assert told.value.category == "unsupported"


def test_an_argument_that_does_not_exist_is_an_error_of_the_call_alone(shells: PowerShellHosts) -> None:
    first = _process(shells)
    with pytest.raises(PowerShellError, match="has no parameter Wrong"):
        shells.query("Get-TwinhullPing", {"Wrong": 1}, timeout_s=LONG_S)
    assert _process(shells) == first


def test_a_host_that_hangs_is_killed_and_replaced(shells: PowerShellHosts) -> None:
    first = _process(shells)
    with pytest.raises(PowerShellTimeoutError, match=r"not answered within 0\.5 s") as told:
        shells.query("Wait-TwinhullTest", {"Seconds": 600}, timeout_s=0.5)
    assert told.value.begun
    assert _is_gone(first)
    assert _ping(shells, "again") == "again"


def test_a_change_whose_host_dies_is_not_repeated_and_a_query_is(shells: PowerShellHosts) -> None:
    with pytest.raises(PowerShellGoneError, match="exit status 3"):
        shells.change("Exit-TwinhullTest", {"Code": 3}, timeout_s=LONG_S)
    first = _process(shells)
    os.kill(first, 9)
    assert _process(shells) != first


def test_a_change_that_hangs_keeps_neither_queries_nor_what_is_urgent_waiting(
    shells: PowerShellHosts,
) -> None:
    shells.warm()
    failed: list[PowerShellError] = []

    def hang() -> None:
        try:
            shells.change("Wait-TwinhullTest", {"Seconds": 600}, timeout_s=LONG_S)
        except PowerShellError as error:
            failed.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    assert _ping(shells, 1) == 1
    while True:
        # until the change has begun, this one may be first
        try:
            shells.change("Get-TwinhullPing", {"Value": 2}, timeout_s=0.2)
        except PowerShellTimeoutError as error:
            if not error.begun:
                break
    assert shells.change("Get-TwinhullPing", {"Value": 3}, timeout_s=LONG_S, urgent=True) == {"value": 3}
    shells.close()
    thread.join()
    assert [type(error) for error in failed] == [PowerShellGoneError]


def test_a_host_is_replaced_when_it_is_old(windows: WindowsHost) -> None:
    now_s = 0.0
    shells = PowerShellHosts(windows.engine(), recycle_after_s=3600.0, clock=lambda: now_s)
    try:
        first = _process(shells)
        now_s = 3599.0
        assert _process(shells) == first
        now_s = 3601.0
        assert _process(shells) != first
        assert _is_gone(first)
    finally:
        shells.close()


def test_closing_ends_the_processes_and_nothing_is_answered_afterwards(shells: PowerShellHosts) -> None:
    first = _process(shells)
    shells.close()
    assert _is_gone(first)
    with pytest.raises(PowerShellGoneError, match="was ended"):
        _ping(shells, 1)


def test_an_engine_that_is_not_there_is_told() -> None:
    shells = PowerShellHosts(Engine(("/nowhere/powershell.exe",)))
    with pytest.raises(PowerShellError, match="cannot be started"):
        _ping(shells, 1)


def test_a_host_that_cannot_start_says_what_it_printed(windows: WindowsHost) -> None:
    (windows.directory / "module" / "broken.ps1").write_text("throw 'the module is broken'", encoding="ascii")
    shells = PowerShellHosts(windows.engine())
    with pytest.raises(PowerShellGoneError, match="the module is broken"):
        _ping(shells, 1)
