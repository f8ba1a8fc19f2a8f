"""The service manager as this process sees it: what a service calls and is called by.

Source: Service Functions (learn.microsoft.com, windows/win32/services): StartServiceCtrlDispatcherW,
RegisterServiceCtrlHandlerExW, SetServiceStatus, ChangeServiceConfig2W.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from ctypes import wintypes
from typing import Any, Final

assert sys.platform == "win32"

from .api import advapi32, checked, function

_OWN_PROCESS: Final = 0x10
_SPECIFIC_ERROR: Final = 1066
_CONNECT: Final = 0x1
_CHANGE_CONFIG: Final = 0x2
_PRESHUTDOWN_INFO: Final = 7


class _Status(ctypes.Structure):
    """SERVICE_STATUS."""

    _fields_ = (
        ("kind", wintypes.DWORD),
        ("state", wintypes.DWORD),
        ("accepted", wintypes.DWORD),
        ("exit_code", wintypes.DWORD),
        ("specific_exit_code", wintypes.DWORD),
        ("checkpoint", wintypes.DWORD),
        ("hint_ms", wintypes.DWORD),
    )


_Main = ctypes.WINFUNCTYPE(None, wintypes.DWORD, ctypes.c_void_p)
_Handler = ctypes.WINFUNCTYPE(
    wintypes.DWORD, wintypes.DWORD, wintypes.DWORD, ctypes.c_void_p, ctypes.c_void_p
)


class _Entry(ctypes.Structure):
    """SERVICE_TABLE_ENTRYW."""

    _fields_ = (("name", wintypes.LPCWSTR), ("main", _Main))


_dispatch = function(advapi32, "StartServiceCtrlDispatcherW", wintypes.BOOL, ctypes.POINTER(_Entry))
_register = function(
    advapi32, "RegisterServiceCtrlHandlerExW", wintypes.HANDLE, wintypes.LPCWSTR, _Handler, ctypes.c_void_p
)
_set_status = function(advapi32, "SetServiceStatus", wintypes.BOOL, wintypes.HANDLE, ctypes.POINTER(_Status))
_open_manager = function(
    advapi32, "OpenSCManagerW", wintypes.HANDLE, wintypes.LPCWSTR, wintypes.LPCWSTR, wintypes.DWORD
)
_open_service = function(
    advapi32, "OpenServiceW", wintypes.HANDLE, wintypes.HANDLE, wintypes.LPCWSTR, wintypes.DWORD
)
_close = function(advapi32, "CloseServiceHandle", wintypes.BOOL, wintypes.HANDLE)
_change = function(
    advapi32, "ChangeServiceConfig2W", wintypes.BOOL, wintypes.HANDLE, wintypes.DWORD, ctypes.c_void_p
)


class ServiceProcess:
    """This process as the one service that it holds.

    Args:
        name: the service's.
        live: the service's life, called once in a thread of its own; it reports itself stopped at its end.
        control: told each control and its event type; answers with a number of Windows' errors (0: done). It must return
            soon: the service manager waits for it.
    """

    def __init__(self, name: str, live: Callable[[], None], control: Callable[[int, int], int]) -> None:
        self._name = name
        self._live = live
        self._handle: Any = None
        # Windows keeps these addresses until the process ends, so they are kept here.
        self._handler = _Handler(lambda number, event, _data, _context: control(number, event))
        self._table = (_Entry * 2)(_Entry(name, _Main(self._main)), _Entry(None, _Main()))

    def dispatch(self) -> None:
        """Serve the service manager until the service has stopped.

        Raises OSError with `winerror` 1063 when the service manager did not start this process.
        """
        checked(_dispatch(self._table), "the service manager")

    def report(self, state: int, accepted: int, exit_code: int, checkpoint: int, hint_ms: int) -> None:
        """Tell the service manager.

        Args:
            state: SERVICE_STOPPED (1), _START_PENDING (2), _STOP_PENDING (3) or _RUNNING (4).
            accepted: controls, as SERVICE_ACCEPT bits.
            exit_code: the service's own; 0 is no error.
            checkpoint: counts up while a pending state makes progress.
            hint_ms: how long until the next report, at most.

        Raises OSError.
        """
        code = _SPECIFIC_ERROR if exit_code else 0
        status = _Status(_OWN_PROCESS, state, accepted, code, exit_code, checkpoint, hint_ms)
        checked(_set_status(self._handle, ctypes.byref(status)), self._name)

    def _main(self, _count: int, _arguments: int | None) -> None:
        # Without a handle nothing can be reported: the service manager times out and says so in its own log.
        self._handle = checked(_register(self._name, self._handler, None), self._name)
        self._live()


def set_preshutdown_timeout(name: str, timeout_ms: int) -> None:
    """How long Windows waits for a service when the host shuts down, before other services are told. Raises OSError."""
    timeout = wintypes.DWORD(timeout_ms)  # SERVICE_PRESHUTDOWN_INFO
    manager = checked(_open_manager(None, None, _CONNECT), "the service manager")
    try:
        service = checked(_open_service(manager, name, _CHANGE_CONFIG), name)
        try:
            checked(_change(service, _PRESHUTDOWN_INFO, ctypes.byref(timeout)), name)
        finally:
            _close(service)
    finally:
        _close(manager)
