"""Where Windows keeps what belongs to no user."""

from __future__ import annotations

import ctypes
import sys
import uuid
from ctypes import wintypes
from pathlib import Path
from typing import Final

assert sys.platform == "win32"

from .api import function

_PROGRAM_DATA: Final = uuid.UUID("62AB5D82-FDC1-4DC3-A9DD-070D1D495D97").bytes_le
_shell32 = ctypes.WinDLL("shell32")
_ole32 = ctypes.WinDLL("ole32")
_known_folder = function(
    _shell32,
    "SHGetKnownFolderPath",
    ctypes.c_long,
    ctypes.c_char_p,
    wintypes.DWORD,
    wintypes.HANDLE,
    ctypes.POINTER(ctypes.c_void_p),
)
_free = function(_ole32, "CoTaskMemFree", None, ctypes.c_void_p)


def program_data() -> Path:
    """The directory ProgramData, the same for a service and for a person at a terminal.

    The environment is not asked: a service's may say something else than a terminal's. Raises OSError. Source:
    SHGetKnownFolderPath, FOLDERID_ProgramData (learn.microsoft.com, shlobj_core).
    """
    text = ctypes.c_void_p()
    result = _known_folder(_PROGRAM_DATA, 0, None, ctypes.byref(text))
    try:
        if result != 0 or not text.value:
            raise OSError(
                None, f"Windows does not say where ProgramData is (HRESULT {result & 0xFFFFFFFF:#010x})"
            )
        return Path(ctypes.wstring_at(text.value))
    finally:
        _free(text)
