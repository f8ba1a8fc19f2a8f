"""The event log of Windows, source `Twinhull` of the log `Application`.

The texts come from a message file that Windows has itself (EventCreate.exe, whose messages 1 to 1000 are the text alone), so
that the event log holds no file of an installed version open. Source: Event Logging Functions (learn.microsoft.com,
windows/win32/eventlog).
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import sys
import winreg
from ctypes import wintypes
from typing import Final

assert sys.platform == "win32"

from .api import advapi32, checked, function

SOURCE: Final = "Twinhull"
KEY: Final = rf"SYSTEM\CurrentControlSet\Services\EventLog\Application\{SOURCE}"
_MESSAGES: Final = r"%SystemRoot%\System32\EventCreate.exe"
_MAX_CHARACTERS: Final = 30_000


class Kind(enum.IntEnum):
    """How the event log marks an event; its number is the event's too (times 100)."""

    ERROR = 1
    WARNING = 2
    INFORMATION = 4


_open = function(advapi32, "RegisterEventSourceW", wintypes.HANDLE, wintypes.LPCWSTR, wintypes.LPCWSTR)
_report = function(
    advapi32,
    "ReportEventW",
    wintypes.BOOL,
    wintypes.HANDLE,
    wintypes.WORD,
    wintypes.WORD,
    wintypes.DWORD,
    ctypes.c_void_p,
    wintypes.WORD,
    wintypes.DWORD,
    ctypes.POINTER(wintypes.LPCWSTR),
    ctypes.c_void_p,
)
_close = function(advapi32, "DeregisterEventSource", wintypes.BOOL, wintypes.HANDLE)


class EventLog:
    """Where this process reports events. Raises OSError."""

    def __init__(self) -> None:
        with contextlib.suppress(
            PermissionError
        ):  # whoever may not: the events are there, with another text around
            _register_source()
        self._handle = checked(_open(None, SOURCE), "the event log")

    def report(self, kind: Kind, text: str) -> None:
        """Add an event. Raises OSError."""
        lines = (wintypes.LPCWSTR * 1)(text[:_MAX_CHARACTERS].replace("\0", ""))
        number = int(kind) * 100
        checked(_report(self._handle, kind, 0, number, None, 1, 0, lines, None), "the event log")

    def close(self) -> None:
        """Let go. Idempotent."""
        handle, self._handle = self._handle, None
        if handle:
            _close(handle)


def _register_source() -> None:
    with winreg.CreateKeyEx(winreg.HKEY_LOCAL_MACHINE, KEY, 0, winreg.KEY_SET_VALUE) as key:
        winreg.SetValueEx(key, "EventMessageFile", 0, winreg.REG_EXPAND_SZ, _MESSAGES)
        winreg.SetValueEx(key, "TypesSupported", 0, winreg.REG_DWORD, 7)
