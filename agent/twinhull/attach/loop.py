"""Loop devices of this host: which there are, what backs them, whether they still answer."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

from . import linux_cmd
from .commands import CommandTimeoutError, run
from .linux_cmd import LoopStatus

if sys.platform != "win32":  # it can be imported there, not used
    import fcntl

SYS_BLOCK = Path("/sys/block")
LOOP_GET_STATUS64 = 0x4C05
_LOOP_INFO64_BYTES = 232
_PROBE_TIMEOUT_S = 5.0


class Loop(NamedTuple):
    """A loop device in use. `autoclear`: the kernel frees it when its last user goes."""

    device: str
    backing: str
    autoclear: bool


def look(device: str) -> Loop | None:
    """The loop device as it is now; None when nothing backs it."""
    directory = SYS_BLOCK / Path(device).name / "loop"
    try:
        backing = (directory / "backing_file").read_text(encoding="utf-8", errors="surrogateescape")
        autoclear = (directory / "autoclear").read_text(encoding="utf-8")
    except OSError:  # freed meanwhile
        return None
    return Loop(device, backing.strip(), autoclear.strip() == "1")


def all_loops() -> list[Loop]:
    """Every loop device in use on this machine."""
    names = sorted(path.parent.name for path in SYS_BLOCK.glob("loop*/loop"))
    return [loop for name in names if (loop := look(f"/dev/{name}")) is not None]


def backing_status(device: str) -> LoopStatus | None:
    """Device and inode of the backing file; None when the device is free or its file's server is dead."""
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return linux_cmd.parse_loop_status(
            fcntl.ioctl(descriptor, LOOP_GET_STATUS64, bytes(_LOOP_INFO64_BYTES))
        )
    except OSError:
        return None
    finally:
        os.close(descriptor)


def answers(device: str) -> bool:
    """Whether somebody still serves the backing file: a read succeeds, or somebody holds it back."""
    try:
        return run(linux_cmd.probe(device), _PROBE_TIMEOUT_S).exit_code == 0
    except CommandTimeoutError:
        return True
