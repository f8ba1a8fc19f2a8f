"""Measures a volume on this machine's disk: writes, reads and flushes; figures as JSON.

    python bench/volume.py --directory /var/tmp --seconds 2

Each figure stands beside its limit: the same calls on a plain file in the same directory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from twinhull.core.identity import Id
from twinhull.storage.platform import platform_directory
from twinhull.storage.volume import Volume

GIB = 1 << 30
SMALL_BYTES = 4096
LARGE_BYTES = 1 << 20


class Target(NamedTuple):
    """Something that can be written, read and flushed."""

    write: Callable[[int, bytes], object]
    read: Callable[[int, int], object]
    flush: Callable[[], object]


def rate(call: Callable[[int], object], seconds: float) -> tuple[float, float]:
    """(Calls in a second, median microseconds of one) of `call(number)` over about `seconds`."""
    durations: list[float] = []
    begin = time.perf_counter()
    while (before := time.perf_counter()) - begin < seconds or not durations:
        call(len(durations))
        durations.append(time.perf_counter() - before)
    total = time.perf_counter() - begin
    return len(durations) / total, sorted(durations)[len(durations) // 2] * 1e6


def measure(target: Target, span_bytes: int, seconds: float) -> dict[str, float]:
    """All figures of one target whose first `span_bytes` are used."""
    rng = random.Random(1)
    small, large = rng.randbytes(SMALL_BYTES), rng.randbytes(LARGE_BYTES)
    offsets = [rng.randrange(span_bytes // SMALL_BYTES) * SMALL_BYTES for _ in range(8192)]

    def place(number: int) -> int:
        return offsets[number % len(offsets)]

    def along(number: int) -> int:
        return number * LARGE_BYTES % span_bytes

    def write_and_flush(number: int) -> None:
        target.write(place(number), small)
        target.flush()

    for number in range(span_bytes // LARGE_BYTES):
        target.write(along(number), large)
    target.flush()
    figures: dict[str, float] = {}
    work: dict[str, Callable[[int], object]] = {
        "write_4k": lambda number: target.write(place(number), small),
        "read_4k": lambda number: target.read(place(number), SMALL_BYTES),
        "write_1m": lambda number: target.write(along(number), large),
        "read_1m": lambda number: target.read(along(number), LARGE_BYTES),
        "write_flush_4k": write_and_flush,
    }
    for name, call in work.items():
        per_second, median_us = rate(call, seconds)
        figures[f"{name}_per_s"] = round(per_second, 1)
        figures[f"{name}_median_us"] = round(median_us, 1)
        target.flush()
    return figures


def measure_records(volume: Volume, seconds: float) -> dict[str, float]:
    """What is recorded durably beside the data."""
    page = bytes(range(256)) * 16
    work: dict[str, Callable[[int], object]] = {
        "log_commit": lambda number: volume.log_commit({number % 256}, {(number - 16) % 256}),
        "store_bits": lambda _: volume.store_bits([(0, page)]),
        "write_record": lambda _: volume.write_record(volume.record),
    }
    figures: dict[str, float] = {}
    for name, call in work.items():
        per_second, median_us = rate(call, seconds)
        figures[f"{name}_per_s"] = round(per_second, 1)
        figures[f"{name}_median_us"] = round(median_us, 1)
    return figures


def measure_plain(path: Path, size_bytes: int, span_bytes: int, seconds: float) -> dict[str, float]:
    """The limit: the bare system calls on a sparse file."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.ftruncate(fd, size_bytes)
        plain = Target(
            lambda offset, data: os.pwrite(fd, data, offset),
            lambda offset, length: os.pread(fd, length, offset),
            lambda: os.fdatasync(fd),
        )
        return measure(plain, span_bytes, seconds)
    finally:
        os.close(fd)


def run(directory: Path, size_bytes: int, span_bytes: int, seconds: float) -> dict[str, object]:
    """Measure a volume and the limit in a temporary directory below `directory`."""
    with tempfile.TemporaryDirectory(prefix="bench-volume-", dir=directory) as place:
        home = Path(place) / "volume"
        home.mkdir()
        begin = time.perf_counter()
        volume = Volume.create(platform_directory(home), size_bytes=size_bytes, replica_id=Id(os.urandom(16)))
        created_s = time.perf_counter() - begin
        try:
            figures = measure(Target(volume.write, volume.read, volume.flush), span_bytes, seconds)
            records = measure_records(volume, seconds)
        finally:
            volume.close()
        begin = time.perf_counter()
        Volume.open(platform_directory(home)).close()
        opened_s = time.perf_counter() - begin
        limit = measure_plain(Path(place) / "plain", size_bytes, span_bytes, seconds)
    return {
        "volume_bytes": size_bytes,
        "create_s": round(created_s, 3),
        "open_s": round(opened_s, 3),
        "volume": figures | records,
        "plain_file": limit,
    }


def main() -> int:
    """Parse the arguments, measure, print JSON."""
    parser = argparse.ArgumentParser(description="Measure a volume on this machine's disk.")
    parser.add_argument(
        "--directory", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure"
    )
    parser.add_argument("--size-gib", type=int, default=10, help="size of the (sparse) volume, GiB")
    parser.add_argument("--span-mib", type=int, default=64, help="how much of it is used, MiB")
    parser.add_argument("--seconds", type=float, default=1.0, help="duration of each measurement")
    parser.add_argument("--json", type=Path, help="write the figures there instead of to standard output")
    given = parser.parse_args()
    figures = run(given.directory, given.size_gib * GIB, given.span_mib << 20, given.seconds)
    text = json.dumps(figures, indent=2) + "\n"
    if given.json is None:
        sys.stdout.write(text)
    else:
        given.json.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
