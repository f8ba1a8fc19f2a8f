"""QEMU's iSCSI initiator: the command of a work on a disk, and what it says. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from .rows import Sample
from .works import CPU_WORK

DISK_BYTES = 1 << 30
MB = 1e6
STRIDE_BLOCKS = 257
"""Blocks of 4 KiB from one request to the next: odd, so that all of a disk is met before any block comes twice."""
PATTERN = 0xA5
PROGRAM = "qemu-img"
DRIVER = "QEMU's iSCSI driver (Debian: qemu-block-extra)"
NO_DISK = "iscsi://127.0.0.1:1/iqn.2026-11.io.twinhull:none/0"


class Job(NamedTuple):
    """What the initiator does: direction, bytes of a request, requests at a time, bytes from one to the next."""

    writes: bool
    size_bytes: int
    depth: int
    step_bytes: int


def _small(*, writes: bool, depth: int) -> Job:
    return Job(writes, 4096, depth, STRIDE_BLOCKS * 4096)


def _large(*, writes: bool) -> Job:
    return Job(writes, 1 << 20, 4, 1 << 20)


FILL = _large(writes=True)
JOBS: Mapping[str, Job] = {
    "iscsi-4k": _small(writes=True, depth=1),
    "iscsi-4k-depth16": _small(writes=True, depth=16),
    "iscsi-1m": _large(writes=True),
    "iscsi-read-4k": _small(writes=False, depth=1),
    "iscsi-read-1m": _large(writes=False),
    CPU_WORK: _small(writes=True, depth=16),
}


def command(job: Job, url: str, count: int) -> list[str]:
    """The command line that does so many requests of a job on a disk."""
    argv = [PROGRAM, "bench", "-f", "raw", "-c", str(count), "-d", str(job.depth)]
    argv += ["-s", str(job.size_bytes), "-S", str(job.step_bytes), *(["-w"] if job.writes else [])]
    return [*argv, f"--pattern={PATTERN}", url] if job.writes else [*argv, url]


def took_s(output: str) -> float:
    """Seconds from the first request to the last answer; login and logout do not count.

    Raises:
        ValueError: it does not say so.
    """
    found = re.search(r"Run completed in ([\d.]+) seconds", output)
    if found is None or not float(found[1]):
        raise ValueError(f"{PROGRAM} did not tell how long it took: {output.strip()!r}")
    return float(found[1])


def speaks(refusal: str) -> bool:
    """Whether the initiator has its driver, by what it says of a disk that is not there."""
    return "Unknown protocol" not in refusal


def sample(work: str, count: int, seconds: float, cpu_s: float) -> Sample:
    """A run of a work, in its unit.

    Args:
        work: its name.
        count: of requests.
        seconds: that they took.
        cpu_s: processor seconds of all processes that served them.
    """
    job, cpu_us = JOBS[work], cpu_s / count * 1e6
    if work == CPU_WORK:
        return Sample(cpu_us, {"per_s": count / seconds})
    notes = {"cpu_us": cpu_us}
    if job.depth == 1:
        return Sample(seconds / count * 1e3, notes)
    if job.step_bytes == job.size_bytes:
        return Sample(count * job.size_bytes / seconds / MB, notes)
    return Sample(count / seconds, notes)
