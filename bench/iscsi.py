"""The iSCSI export beside tgt (a target in C), both on a file in memory, both asked by QEMU's initiator.

Ours does what the worker's loop does, without mirror or volume: `python bench/iscsi.py [--scale X] [--rounds N]`. The two
take turns; printed is the median of the rounds as JSON: requests and MiB a second, and the processor time that the
server used for a request (figures that a busy machine disturbs less). Needs qemu-utils with qemu-block-extra and, for
the comparison, tgt; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from serving import cpu_seconds, serve_file

SIZE_BYTES = 1 << 30
NAME = "iqn.2026-11.io.twinhull:bench.m1"
USER, SECRET = "bench", "Only-For-Bench"
TGT_NAME = "iqn.2026-11.io.twinhull:bench.tgt"


class Job(NamedTuple):
    """What QEMU's initiator does."""

    writes: bool
    size_bytes: int
    depth: int
    count: int


JOBS = {
    "write_4k_depth_1": Job(True, 4096, 1, 6000),
    "write_4k_depth_16": Job(True, 4096, 16, 30000),
    "read_4k_depth_1": Job(False, 4096, 1, 6000),
    "read_4k_depth_16": Job(False, 4096, 16, 30000),
    "write_1m_depth_4": Job(True, 1 << 20, 4, 600),
    "read_1m_depth_4": Job(False, 1 << 20, 4, 1000),
}


def serve(backing: str) -> None:
    """Our export, doing nothing but the file's own I/O; prints its port."""
    from twinhull.exports.iscsi import Chap, IscsiExport, TargetSettings

    export = IscsiExport(TargetSettings(NAME, SIZE_BYTES, bytes(16), Chap(USER, SECRET)))
    print(export.port, flush=True)
    serve_file(export, backing)


class Server(NamedTuple):
    """A server under way: its disk's address and its process."""

    url: str
    process: int


@contextlib.contextmanager
def ours(backing: Path) -> Iterator[Server]:
    """Our export in a process of its own."""
    command = [sys.executable, __file__, "--serve", str(backing)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = server.stdout.readline().strip() if server.stdout else ""
            yield Server(f"iscsi://{USER}%{SECRET}@127.0.0.1:{port}/{NAME}/0", server.pid)
        finally:
            server.terminate()


@contextlib.contextmanager
def tgt(backing: Path) -> Iterator[Server]:
    """A tgtd of our own on a free port, with the same file."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    control = str(20000 + secrets.randbelow(10000))
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            ["tgtd", "-f", "-C", control, "--iscsi", f"portal=127.0.0.1:{port}"], stdout=log, stderr=log
        )
        try:
            _make_lun(control, backing)
            yield Server(f"iscsi://127.0.0.1:{port}/{TGT_NAME}/1", server.pid)
        finally:
            server.kill()
            server.wait(timeout=30)


def _make_lun(control: str, backing: Path) -> None:
    steps = (
        f"--op new --mode target --tid 1 -T {TGT_NAME}",
        f"--op new --mode logicalunit --tid 1 --lun 1 -b {backing}",
        "--op bind --mode target --tid 1 -I ALL",
    )
    deadline_s = time.monotonic() + 30
    for step in steps:
        while True:
            command = ["tgtadm", "-C", control, "--lld", "iscsi", *step.split()]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
            if time.monotonic() > deadline_s:
                raise SystemExit(f"tgtadm {step}: {done.stderr}")
            time.sleep(0.1)


def run_job(server: Server, job: Job, scale: float) -> dict[str, float]:
    """One run of `qemu-img bench`: rates, and the server's processor time for a request in microseconds."""
    count = max(100, int(job.count * scale))
    command = [
        "qemu-img",
        "bench",
        "-c",
        str(count),
        "-d",
        str(job.depth),
        "-s",
        str(job.size_bytes),
        "-f",
        "raw",
    ]
    before = cpu_seconds(server.process)
    done = subprocess.run(
        [*command, *(["-w"] if job.writes else []), server.url], capture_output=True, text=True, check=True
    )
    used_s = cpu_seconds(server.process) - before
    found = re.search(r"Run completed in ([\d.]+) seconds", done.stdout)
    if found is None:
        raise SystemExit(done.stdout + done.stderr)
    took_s = float(found[1])
    return {
        "per_s": count / took_s,
        "mib_per_s": count * job.size_bytes / took_s / (1 << 20),
        "server_cpu_us": used_s / count * 1e6,
    }


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="length of each job")
    parser.add_argument("--rounds", type=int, default=3, help="how often the servers take turns")
    parser.add_argument("--serve", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if shutil.which("qemu-img") is None:
        raise SystemExit(
            "bench/iscsi.py needs qemu-img with its iSCSI driver (apt-get install qemu-block-extra)"
        )
    kinds: dict[str, Callable[[Path], contextlib.AbstractContextManager[Server]]] = {"twinhull": ours}
    if shutil.which("tgtd") and os.geteuid() == 0:
        kinds["tgt"] = tgt
    rows: dict[str, dict[str, list[dict[str, float]]]] = {job: {kind: [] for kind in kinds} for job in JOBS}
    with tempfile.TemporaryDirectory(prefix="twinhull-bench-", dir="/dev/shm") as directory:
        for _ in range(options.rounds):
            for kind, start in kinds.items():
                backing = Path(directory, "backing")
                with backing.open("wb") as file:
                    file.truncate(SIZE_BYTES)
                with start(backing) as server:
                    for name, job in JOBS.items():
                        rows[name][kind].append(run_job(server, job, options.scale))
    medians = {
        name: {
            kind: {key: round(statistics.median(run[key] for run in runs), 1) for key in runs[0]}
            for kind, runs in by_kind.items()
        }
        for name, by_kind in rows.items()
    }
    print(json.dumps(medians, indent=2))


if __name__ == "__main__":
    main()
