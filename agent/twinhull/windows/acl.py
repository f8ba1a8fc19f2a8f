"""Who may read our files: the system, the administrators and the owner, and nobody by inheritance."""

from __future__ import annotations

import ctypes
import sys
from ctypes import wintypes
from pathlib import Path
from typing import Final

assert sys.platform == "win32"

from .api import advapi32, checked, function, local_free

PRIVATE: Final = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)"
"""SDDL: protected against inheritance; full access for SYSTEM, Administrators and the owner's rights, also below."""
DENIED: Final = "D:P(D;;0x1D0156;;;WD)(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
"""SDDL: everybody is denied to write, append, make, delete below or remove; the administrators may change that."""
_DACL: Final = 0x4
_PROTECTED: Final = 0x80000000
_REVISION: Final = 1

_from_text = function(
    advapi32,
    "ConvertStringSecurityDescriptorToSecurityDescriptorW",
    wintypes.BOOL,
    wintypes.LPCWSTR,
    wintypes.DWORD,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(wintypes.ULONG),
)
_to_text = function(
    advapi32,
    "ConvertSecurityDescriptorToStringSecurityDescriptorW",
    wintypes.BOOL,
    ctypes.c_void_p,
    wintypes.DWORD,
    wintypes.DWORD,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(wintypes.ULONG),
)
_set_security = function(
    advapi32, "SetFileSecurityW", wintypes.BOOL, wintypes.LPCWSTR, wintypes.DWORD, ctypes.c_void_p
)
_get_security = function(
    advapi32,
    "GetFileSecurityW",
    wintypes.BOOL,
    wintypes.LPCWSTR,
    wintypes.DWORD,
    ctypes.c_void_p,
    wintypes.DWORD,
    ctypes.POINTER(wintypes.DWORD),
)


def set_dacl(path: Path, sddl: str) -> None:
    """Replace the access list of a file or directory. Raises OSError."""
    descriptor = ctypes.c_void_p()
    checked(_from_text(sddl, _REVISION, ctypes.byref(descriptor), None), str(path))
    try:
        checked(_set_security(str(path), _DACL | _PROTECTED, descriptor), str(path))
    finally:
        local_free(descriptor)


def dacl(path: Path) -> str:
    """The access list as SDDL. Raises OSError."""
    needed = wintypes.DWORD()
    _get_security(str(path), _DACL, None, 0, ctypes.byref(needed))
    room = ctypes.create_string_buffer(max(needed.value, 1))
    checked(_get_security(str(path), _DACL, room, len(room), ctypes.byref(needed)), str(path))
    text = ctypes.c_void_p()
    checked(_to_text(room, _REVISION, _DACL, ctypes.byref(text), None), str(path))
    try:
        return ctypes.wstring_at(text.value or 0)
    finally:
        local_free(text)


def denies_writing(path: Path) -> bool:
    """Whether everybody is denied to write into a folder. Raises OSError."""
    return "(D;" in dacl(path)


def make_private(path: Path) -> None:
    """Nobody but the system, the administrators and the owner may read it. Raises OSError."""
    set_dacl(path, PRIVATE)
