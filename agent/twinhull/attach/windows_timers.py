"""The time-outs of the iSCSI initiator and of disks on Windows: they must outlast any time that a volume holds its I/O.

Values of before are kept in the registry and put back by `restore`. Windows reads them at boot: until a boot was seen after
them they do not count. `agent.initiator` is the program around this.

Sources: "iSCSI Initiator registry entries" (MaxRequestHoldTime, LinkDownTime) and "Registry entries for SCSI miniport
drivers" (TimeOutValue) of the Windows documentation. The instance is found by the driver's description.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

CAP_UNTIL_BOOT_S = 20.0
"""The longest T that the initiator's defaults (60 s) surely outlast."""
DRIVER = "Microsoft iSCSI Initiator"
CLASS_KEY = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e97b-e325-11ce-bfc1-08002be10318}"
DISK_KEY = r"SYSTEM\CurrentControlSet\Services\Disk"
BOOT_KEY = r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters"
OWN_KEY = r"SOFTWARE\Twinhull\InitiatorTimeouts"
DISK_VALUE, HOLD_VALUE = "TimeOutValue", "MaxRequestHoldTime"
_SEEN, _BOOT = "SeenAtBoot", "BootId"
_ABSENT = 0xFFFFFFFF


class Registry(Protocol):
    """Numbers of HKEY_LOCAL_MACHINE. Every method raises OSError when Windows refuses."""

    def number(self, key: str, name: str) -> int | None:
        """A value; None when it is not there."""

    def text(self, key: str, name: str) -> str | None:
        """A value; None when it is not there."""

    def children(self, key: str) -> Sequence[str]:
        """Names of the keys below; empty when it is not there."""

    def put(self, key: str, name: str, number: int) -> None:
        """Set a value; keys on the way are made."""

    def remove(self, key: str, name: str) -> None:
        """Take a value away. Idempotent."""


class Timers(NamedTuple):
    """What the registry says.

    Args:
        disk_s, hold_s: time-out of a disk's request, and how long the initiator holds requests of a lost session;
            None: the default (60 s).
        instance: the initiator's key; empty when there is none.
        active: a boot was seen after these values.
    """

    disk_s: int | None
    hold_s: int | None
    instance: str
    active: bool

    def least_s(self) -> int:
        """What surely passes before a request fails."""
        return min(60 if self.disk_s is None else self.disk_s, 60 if self.hold_s is None else self.hold_s)


def needed_s(timeout_s: float, witness_s: float) -> int:
    """What the time-outs must be at least for a module: twice (T and the witness's time-out), and a minute. Pure."""
    return math.ceil(2 * (timeout_s + witness_s) + 60)


def longest_s(witness_s: float, timers: Timers) -> float:
    """The longest T that the time-outs outlast now, in seconds: `needed_s` read backwards, never below 20 s. Pure."""
    outlasted_s = (timers.least_s() - 60) / 2 - witness_s if timers.active else 0.0
    return max(CAP_UNTIL_BOOT_S, outlasted_s)


def look(registry: Registry) -> Timers:
    """What is set. Raises OSError."""
    instance = _instance(registry)
    hold_s = registry.number(rf"{instance}\Parameters", HOLD_VALUE) if instance else None
    seen, boot = registry.number(OWN_KEY, _SEEN), registry.number(BOOT_KEY, _BOOT)
    active = seen is not None and boot is not None and seen != boot
    return Timers(registry.number(DISK_KEY, DISK_VALUE), hold_s, instance, active)


def set_timers(registry: Registry, seconds: int) -> Timers:
    """Raise what is lower than `seconds`; what was there before is kept, once. Idempotent.

    Raises OSError; LookupError where there is no initiator.
    """
    timers = look(registry)
    if not timers.instance:
        raise LookupError(f"this host has no '{DRIVER}'")
    changed = False
    for key, name, found in _places(timers):
        if found is not None and found >= seconds:
            continue
        if registry.number(OWN_KEY, f"Old{name}") is None:
            registry.put(OWN_KEY, f"Old{name}", _ABSENT if found is None else found)
        registry.put(key, name, seconds)
        changed = True
    boot = registry.number(BOOT_KEY, _BOOT)
    if boot is not None and (changed or registry.number(OWN_KEY, _SEEN) is None):
        registry.put(OWN_KEY, _SEEN, boot)
    return look(registry)


def restore(registry: Registry) -> Timers:
    """Put back what was there before `set_timers`. Idempotent. Raises OSError."""
    for key, name, _ in _places(look(registry)):
        old = registry.number(OWN_KEY, f"Old{name}")
        if old is None:
            continue
        if old == _ABSENT:
            registry.remove(key, name)
        else:
            registry.put(key, name, old)
        registry.remove(OWN_KEY, f"Old{name}")
    registry.remove(OWN_KEY, _SEEN)
    return look(registry)


def _places(timers: Timers) -> list[tuple[str, str, int | None]]:
    places: list[tuple[str, str, int | None]] = [(DISK_KEY, DISK_VALUE, timers.disk_s)]
    if timers.instance:
        places.append((rf"{timers.instance}\Parameters", HOLD_VALUE, timers.hold_s))
    return places


def _instance(registry: Registry) -> str:
    """The initiator's key: its number differs between hosts."""
    for name in registry.children(CLASS_KEY):
        key = rf"{CLASS_KEY}\{name}"
        if registry.text(key, "DriverDesc") == DRIVER:
            return key
    return ""


def told(timers: Timers) -> Mapping[str, object]:
    """For programs that read JSON."""
    return {**timers._asdict(), "least_s": timers.least_s()}


if sys.platform == "win32":
    import contextlib
    import winreg

    class HostRegistry:
        """The registry of this host (implements `Registry`)."""

        def _value(self, key: str, name: str) -> object:
            try:
                with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                    return winreg.QueryValueEx(opened, name)[0]
            except FileNotFoundError:
                return None

        def number(self, key: str, name: str) -> int | None:
            """See `Registry`."""
            value = self._value(key, name)
            return value if isinstance(value, int) else None

        def text(self, key: str, name: str) -> str | None:
            """See `Registry`."""
            value = self._value(key, name)
            return value if isinstance(value, str) else None

        def children(self, key: str) -> Sequence[str]:
            """See `Registry`; keys that may not be opened are among them."""
            try:
                with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                    return [winreg.EnumKey(opened, index) for index in range(winreg.QueryInfoKey(opened)[0])]
            except FileNotFoundError:
                return []

        def put(self, key: str, name: str, number: int) -> None:
            """See `Registry`."""
            with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                winreg.SetValueEx(opened, name, 0, winreg.REG_DWORD, number)

        def remove(self, key: str, name: str) -> None:
            """See `Registry`."""
            with (
                contextlib.suppress(FileNotFoundError),
                winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_SET_VALUE) as opened,
            ):
                winreg.DeleteValue(opened, name)
