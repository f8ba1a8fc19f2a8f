"""The initiator's time-outs in the registry of Windows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows Python", allow_module_level=True)
assert sys.platform == "win32"

import winreg

from twinhull.attach import windows_timers as timers


def test_the_time_outs_are_set_and_restored_in_the_registry() -> None:
    registry = timers.HostRegistry()
    key = rf"{timers.CLASS_KEY}\0042"
    with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
        winreg.SetValueEx(opened, "DriverDesc", 0, winreg.REG_SZ, timers.DRIVER)
    registry.put(rf"{key}\Parameters", timers.HOLD_VALUE, 60)
    registry.put(timers.BOOT_KEY, "BootId", 3)
    disk_s = registry.number(timers.DISK_KEY, timers.DISK_VALUE)
    found = timers.set_timers(registry, 90)
    assert (found.instance, found.disk_s, found.hold_s, found.active) == (key, 90, 90, False)
    registry.put(timers.BOOT_KEY, "BootId", 4)
    assert timers.look(registry).active
    found = timers.restore(registry)
    assert (found.disk_s, found.hold_s) == (disk_s, 60)


def test_a_playbook_asks_for_it_by_a_program_of_its_own() -> None:
    """No module is mounted by the initiator of a host that has no configuration."""
    ran = subprocess.run(
        [sys.executable, "-m", "twinhull.agent.initiator", "fit"], capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 1 and "time-outs of the iSCSI initiator stay as they are" in ran.stderr
    ran = subprocess.run(
        [sys.executable, "-m", "twinhull.agent.initiator", "restore"], capture_output=True, text=True, timeout=100
    )  # fmt: skip
    assert ran.returncode == 0 and not json.loads(ran.stdout)["changed"]
