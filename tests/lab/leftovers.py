"""What a killed node leaves in the machine's kernel: loop devices and FUSE connections, found and freed.

A real power loss takes them away; here they are the machine's. Only what belonged to the node is touched: its
FUSE mounts are read from its own mount table, its loop devices are those backed by files on
these or mounted there.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

from .commands import LabError, run

LOOP_GET_STATUS64 = 0x4C05
FREE_TIMEOUT_S = 20.0
POLL_S = 0.02
CONNECTIONS = Path("/sys/fs/fuse/connections")
MOUNT_FIELDS = 3


class LoopInfo(ctypes.Structure):
    """struct loop_info64 of linux/loop.h."""

    _fields_ = (
        ("lo_device", ctypes.c_uint64),
        ("lo_inode", ctypes.c_uint64),
        ("lo_rdevice", ctypes.c_uint64),
        ("lo_offset", ctypes.c_uint64),
        ("lo_sizelimit", ctypes.c_uint64),
        ("lo_number", ctypes.c_uint32),
        ("lo_encrypt_type", ctypes.c_uint32),
        ("lo_encrypt_key_size", ctypes.c_uint32),
        ("lo_flags", ctypes.c_uint32),
        ("lo_file_name", ctypes.c_uint8 * 64),
        ("lo_crypt_name", ctypes.c_uint8 * 64),
        ("lo_encrypt_key", ctypes.c_uint8 * 32),
        ("lo_init", ctypes.c_uint64 * 2),
    )


def mount_connections() -> None:
    """Have fusectl on this machine, as systemd has on every one.

    Without it the exports of a killed node cannot be taken away, and whoever waits for them waits for ever.
    """
    if CONNECTIONS.is_dir() and not CONNECTIONS.is_mount():
        run(["mount", "-t", "fusectl", "fusectl", CONNECTIONS])


@dataclass(frozen=True)
class Leftovers:
    """What of the machine a node holds.

    Args:
        fuse: device numbers of its FUSE mounts (their connections carry the same number).
        loops: loop device -> (device, inode) of its backing file, so that a reused number is left alone.
    """

    fuse: frozenset[int]
    loops: dict[str, tuple[int, int]]

    def abort(self) -> None:
        """Break the FUSE connections, so that nobody who dies can hang on a dead server's file."""
        for number in self.fuse:
            with contextlib.suppress(OSError):
                (CONNECTIONS / str(number) / "abort").write_text("1", encoding="ascii")

    def free(self) -> None:
        """Detach the loop devices; wait until they are free.

        Raises:
            LabError: something still holds them.
        """
        deadline = time.monotonic() + FREE_TIMEOUT_S
        while held := [loop for loop, backing in self.loops.items() if loop_backing(loop) == backing]:
            for loop in held:
                run(["losetup", "-d", loop], check=False)
            if time.monotonic() > deadline:
                raise LabError(f"{', '.join(held)} of a killed node cannot be freed: see `losetup -l`")
            time.sleep(POLL_S)


def of_node(pid: int) -> Leftovers:
    """What the node whose first process is `pid` holds now; nothing when that is ending already.

    What the machine itself has mounted was only inherited by the node, and is not the node's.
    """
    fuse, mounted = _held(str(pid))
    machine_fuse, machine_mounted = _held("self")
    fuse -= machine_fuse
    mounted -= machine_mounted
    loops: dict[str, tuple[int, int]] = {}
    for entry in Path("/sys/block").glob("loop*"):
        loop = f"/dev/{entry.name}"
        backing = loop_backing(loop)
        if backing is not None and (backing[0] in fuse or loop in mounted):
            loops[loop] = backing
    return Leftovers(frozenset(os.minor(number) for number in fuse), loops)


def _held(process: str) -> tuple[set[int], set[str]]:
    """Device numbers of the FUSE mounts, and the loop devices, in a process's mount table (proc(5))."""
    try:
        mounts = Path(f"/proc/{process}/mountinfo").read_text(encoding="utf-8")
    except OSError:
        return set(), set()
    fuse: set[int] = set()
    loops: set[str] = set()
    for line in mounts.splitlines():
        head, _, tail = line.partition(" - ")
        kind, source = tail.split(" ")[:2]
        major, _, minor = head.split(" ")[MOUNT_FIELDS - 1].partition(":")
        if kind.startswith("fuse") and kind != "fusectl":
            fuse.add(os.makedev(int(major), int(minor)))
        elif source.startswith("/dev/loop"):
            loops.add(source)
    return fuse, loops


def loop_backing(loop: str) -> tuple[int, int] | None:
    """(device, inode) of a loop device's backing file, or None when nothing is bound to it."""
    info = LoopInfo()
    try:
        descriptor = os.open(loop, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.ioctl(descriptor, LOOP_GET_STATUS64, info)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return int(info.lo_device), int(info.lo_inode)
