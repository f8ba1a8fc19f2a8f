"""Runs under Windows Python: gives a registered service another program (ChangeServiceConfigW), as `win_service` does.

Wine's sc.exe cannot, and a service that is deleted keeps its name for a while. Arguments: the service, its command line.
"""

import ctypes
import sys
from ctypes import c_uint32, c_void_p, c_wchar_p

NO_CHANGE = 0xFFFFFFFF
advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
advapi32.OpenSCManagerW.restype = advapi32.OpenServiceW.restype = c_void_p
advapi32.OpenSCManagerW.argtypes = (c_wchar_p, c_wchar_p, c_uint32)
advapi32.OpenServiceW.argtypes = (c_void_p, c_wchar_p, c_uint32)
advapi32.ChangeServiceConfigW.argtypes = (
    c_void_p, c_uint32, c_uint32, c_uint32, c_wchar_p, c_wchar_p, c_void_p, c_wchar_p, c_wchar_p, c_wchar_p, c_wchar_p,
)  # fmt: skip
service = advapi32.OpenServiceW(advapi32.OpenSCManagerW(None, None, 1), sys.argv[1], 2)
done = service and advapi32.ChangeServiceConfigW(
    service, NO_CHANGE, NO_CHANGE, NO_CHANGE, sys.argv[2], None, None, None, None, None, None
)
sys.exit(0 if done else f"{sys.argv[1]}: error {ctypes.get_last_error()}")  # type: ignore[attr-defined,unused-ignore]
