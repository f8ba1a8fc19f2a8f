"""What is measured: names, units, goals, and which systems do it. No I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass

TWINHULL, LIMIT, LOCAL, GLUSTER, QEMU = "twinhull", "limit", "local", "glusterfs", "qemu-mirror"
TGT = "tgt"
SYSTEMS = (TWINHULL, LIMIT, LOCAL, GLUSTER, QEMU, TGT)
FOLDERS = frozenset({TWINHULL, LIMIT, LOCAL, GLUSTER, QEMU})
DISKS = frozenset({TWINHULL, LIMIT, LOCAL, TGT})
OURS = frozenset({TWINHULL})
OURS_AND_LIMIT = frozenset({TWINHULL, LIMIT})
CPU_WORK = "iscsi-cpu"


class Group(enum.Enum):
    """Works that share what has to be set up for them; measured one group after the other."""

    PATH = "the folder"
    ISCSI = "the iSCSI disk"
    RESYNC = "resynchronising"
    DETECT = "loss of the primary"
    MANY = "32 modules"
    OPEN = "large volumes"


@dataclass(frozen=True, slots=True)
class Work:
    """One line of the table.

    Args:
        name: as in build/bench.json.
        title: for people.
        unit: of its figures.
        goal: for people.
        group: see `Group`.
        systems: who does it.
        less_is_better: times and memory; otherwise rates.
    """

    name: str
    title: str
    unit: str
    goal: str
    group: Group
    systems: frozenset[str]
    less_is_better: bool


def _path(name: str, title: str, unit: str, goal: str) -> Work:
    return Work(name, title, unit, goal, Group.PATH, FOLDERS, unit == "ms")


def _disk(name: str, title: str, unit: str, goal: str, systems: frozenset[str] = DISKS) -> Work:
    return Work(name, title, unit, goal, Group.ISCSI, systems, unit in ("ms", "us"))


def _ours(name: str, title: str, unit: str, goal: str, group: Group) -> Work:
    return Work(name, title, unit, goal, group, OURS, unit in ("s", "ms", "MiB"))


def _copy(name: str, title: str, goal: str) -> Work:
    return Work(name, title, "MB/s", goal, Group.RESYNC, OURS_AND_LIMIT, False)


WORKS = (
    _path("write-4k", "4 KiB write, one at a time", "ms", "at most 1.2 x limit, ahead of both peers"),
    _path("write-4k-depth16", "4 KiB writes, 16 at a time", "1/s", "at least 4 x GlusterFS, and 20,000/s"),
    _path("write-4k-fsync", "4 KiB write + fsync, one at a time", "ms", "ahead of both peers"),
    _path("write-1m", "1 MiB sequential writes", "MB/s", "at least 2 x each peer, and 800 MB/s"),
    _path("read-4k", "4 KiB read, one at a time", "ms", "within 1.1 x of local"),
    _path("read-1m", "1 MiB sequential reads", "MB/s", "within 1.1 x of local"),
    _ours("memory-idle", "memory of agent or worker at rest, the larger", "MiB", "under 60 MB", Group.PATH),
    _ours("memory-loaded", "the same under load", "MiB", "under 60 MB", Group.PATH),
    _disk("iscsi-4k", "4 KiB write, one at a time", "ms", "none set"),
    _disk("iscsi-4k-depth16", "4 KiB writes, 16 at a time", "1/s", "20,000/s"),
    _disk("iscsi-1m", "1 MiB sequential writes", "MB/s", "600 MB/s"),
    _disk("iscsi-read-4k", "4 KiB read, one at a time", "ms", "none set"),
    _disk("iscsi-read-1m", "1 MiB sequential reads", "MB/s", "none set"),
    _disk(
        CPU_WORK,
        "processor time of all servers for a 4 KiB write, 16 at a time",
        "us",
        "as little as can be",
        DISKS - {LIMIT},
    ),
    _copy("resync-scattered", "resync of scattered changed blocks", "80 % of the raw TLS stream"),
    _copy("resync-whole", "resync of a whole volume", "80 % of the raw TLS stream"),
    _copy("digests", "comparison by digests", "80 % of the raw TLS stream"),
    _ours(
        "write-4k-during-resync",
        "4 KiB write, one at a time, during a resync",
        "ms",
        "at most 2 x of without",
        Group.RESYNC,
    ),
    _ours(
        "detect-crash", "killed worker: until the other side has decided", "s", "under 0.5 s", Group.DETECT
    ),
    _ours("detect-silence-1s", "silent node, time-out 1 s: the same", "s", "1.2 s", Group.DETECT),
    _ours(
        "modules-32",
        "4 KiB writes of 32 modules at once",
        "1/s",
        "no less than one module's 16 at a time",
        Group.MANY,
    ),
    _ours("open-1t", "start with a 1 TiB volume, dirty after a crash", "s", "under 2 s", Group.OPEN),
    _ours("open-10t", "start with a 10 TiB volume, dirty after a crash", "s", "under 2 s", Group.OPEN),
)
