"""fio: the command of a work, and what its JSON says. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .rows import Sample

FILE_BYTES = 512 << 20
MS_NS, MB = 1e6, 1e6
JOBS: Mapping[str, tuple[str, str, int]] = {
    "write-4k": ("randwrite", "4k", 1),
    "write-4k-depth16": ("randwrite", "4k", 16),
    "write-4k-fsync": ("randwrite", "4k", 1),
    "write-1m": ("write", "1m", 4),
    "read-4k": ("randread", "4k", 1),
    "read-1m": ("read", "1m", 4),
}
"""Direction, size and requests at a time of each work."""
RAMP_S = 0.3


def of_file(file: str) -> list[str]:
    """The words by which fio is told of a file in a folder."""
    return [f"--filename={file}"]


def of_nbd(socket: str, export: str) -> list[str]:
    """The words by which fio is told of a disk behind an NBD server on a Unix socket."""
    return ["--ioengine=nbd", f"--uri=nbd+unix:///{export}?socket={socket}"]


def command(
    work: str, targets: Sequence[Sequence[str]], seconds: float, size_bytes: int = FILE_BYTES
) -> list[str]:
    """The command line that does a work on a target, or on several at once, for so many seconds."""
    direction, block, depth = JOBS[work]
    argv = ["fio", "--direct=1", "--time_based", f"--runtime={seconds:g}", f"--ramp_time={RAMP_S}"]
    argv += [f"--size={size_bytes}", "--norandommap", "--output-format=json", "--group_reporting"]
    argv += ["--allow_file_create=0", "--refill_buffers", f"--rw={direction}", f"--bs={block}"]
    argv += [f"--iodepth={depth}", f"--ioengine={'psync' if depth == 1 else 'libaio'}"]
    argv += ["--fsync=1"] if work.endswith("fsync") else []
    for number, target in enumerate(targets):
        argv += [f"--name=j{number}", *target]
    return argv


def layout(target: Sequence[str], size_bytes: int = FILE_BYTES) -> list[str]:
    """The command line that fills the target with random bytes, so that no measured write allocates anything."""
    argv = ["fio", "--direct=1", f"--size={size_bytes}", "--rw=write", "--bs=1m", "--iodepth=4"]
    return [*argv, "--ioengine=libaio", "--refill_buffers", "--end_fsync=1", "--name=fill", *target]


def sample(work: str, output: str) -> Sample:
    """What fio's JSON says of a work, in its unit.

    Raises:
        ValueError: it did nothing, or is no JSON of fio.
    """
    job = json.loads(output[output.index("{") :])["jobs"][0]
    side = job["read"] if work.startswith("read") else job["write"]
    if not side["total_ios"]:
        raise ValueError(f"fio did nothing for {work}")
    if work == "write-4k-depth16":
        return Sample(side["iops"], {"p99_ms": _percentile(side["clat_ns"], "99.000000")})
    if work.endswith("1m"):
        return Sample(side["bw_bytes"] / MB, {"p99_ms": _percentile(side["clat_ns"], "99.000000")})
    notes = {
        "mean_ms": side["clat_ns"]["mean"] / MS_NS,
        "p99_ms": _percentile(side["clat_ns"], "99.000000"),
    }
    median_ms = _percentile(side["clat_ns"], "50.000000")
    if work == "write-4k-fsync":
        flush = job["sync"]["lat_ns"]
        notes = {"write_ms": median_ms, "p99_ms": _percentile(flush, "99.000000")}
        median_ms += _percentile(flush, "50.000000")
    return Sample(median_ms, notes)


def _percentile(figures: Mapping[str, Any], which: str) -> float:
    return float(figures["percentile"][which]) / MS_NS
