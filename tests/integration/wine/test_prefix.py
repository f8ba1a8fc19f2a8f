"""A prefix is a Windows of its own with real Windows Python, and leaves nothing behind."""

from __future__ import annotations

import json

import pytest
from tests.wine.fixtures import MakePrefix
from tests.wine.session import WineError

PARTS = """
import ctypes, json, os, ssl, sys
import cryptography, rpyc, yaml, win32file, win32service
from cryptography.hazmat.primitives.asymmetric import ec
import twinhull
key = ec.generate_private_key(ec.SECP256R1())
print(json.dumps({
    "platform": sys.platform, "windows": sys.getwindowsversion()[:2], "ssl": ssl.HAS_TLSv1_3,
    "bits": key.curve.key_size, "package": twinhull.__file__, "machine": os.path.exists("Z:/"),
}))
"""
UNBUFFERED = r"""
import win32con, win32file
flags = win32file.FILE_FLAG_NO_BUFFERING | win32file.FILE_FLAG_WRITE_THROUGH
handle = win32file.CreateFile(r"C:\volume.img", win32con.GENERIC_READ | win32con.GENERIC_WRITE, 0, None,
                              win32con.CREATE_NEW, flags, None)
buffer = win32file.AllocateReadBuffer(4096)
win32file.WriteFile(handle, b"x" * 4096)
win32file.FlushFileBuffers(handle)
print("written")
"""


def test_windows_python_has_all_that_the_agent_imports_and_sees_nothing_of_the_machine(
    make_prefix: MakePrefix,
) -> None:
    prefix = make_prefix("one")
    told = json.loads(prefix.python("-c", PARTS).require("the parts").output)
    assert told == {
        "platform": "win32",
        "windows": [10, 0],
        "ssl": True,
        "bits": 256,
        "package": r"R:\agent\twinhull\__init__.py",
        "machine": False,
    }


def test_two_prefixes_share_no_files(make_prefix: MakePrefix) -> None:
    one, two = make_prefix("one"), make_prefix("two")
    one.python("-c", UNBUFFERED).require("writing")
    assert one.path(r"C:\volume.img").stat().st_size == 4096
    assert not two.path(r"C:\volume.img").exists()
    assert two.python("-c", "import os; print(os.listdir('C:/'))").output.count("volume.img") == 0


def test_a_stopped_prefix_runs_nothing_though_programs_were_left_in_it(make_prefix: MakePrefix) -> None:
    prefix = make_prefix("one")
    left = prefix.session.popen(
        "wine", r"C:\Python311\python.exe", "-c", "print('up', flush=True); input()", stdin=-1
    )
    assert left.stdout is not None
    assert left.stdout.readline().strip() == b"up"
    assert prefix.session.running()
    prefix.stop()
    assert prefix.session.running() == []
    left.wait(timeout=30)
    left.communicate()


def test_a_program_that_does_not_end_is_ended_and_named(make_prefix: MakePrefix) -> None:
    prefix = make_prefix("one")
    with pytest.raises(WineError, match="did not end within 5 s"):
        prefix.python("-c", "import time; time.sleep(600)", timeout_s=5)


def test_pytest_runs_inside_and_its_verdict_comes_out(make_prefix: MakePrefix) -> None:
    prefix = make_prefix("one")
    prefix.path(r"C:\test_it.py").write_text(
        "def test_good():\n    pass\n\ndef test_bad():\n    assert 1 == 2\n"
    )
    ran = prefix.pytest(r"C:\test_it.py")
    assert ran.exit_code == 1
    assert "1 failed, 1 passed" in ran.output
