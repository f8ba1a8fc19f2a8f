"""What the export alone costs: a server that does nothing but pwrite into a tmpfs file, under a loop device.

Compares our loop on /dev/fuse with mfusepy (libfuse through ctypes; one thread and many), measured by fio
through `losetup --direct-io=on`. Prints JSON. As root: `python bench/export.py [--seconds N]`. Needs fio and,
for the comparison, mfusepy; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.serving import cpu_seconds, serve_file

SIZE_BYTES = 1 << 30
JOBS: dict[str, tuple[str, ...]] = {
    "write_4k_depth_1": ("--rw=randwrite", "--bs=4k", "--iodepth=1"),
    "write_4k_depth_16": ("--rw=randwrite", "--bs=4k", "--iodepth=16"),
    "read_4k_depth_1": ("--rw=randread", "--bs=4k", "--iodepth=1"),
    "read_4k_depth_16": ("--rw=randread", "--bs=4k", "--iodepth=16"),
    "write_1m_depth_4": ("--rw=write", "--bs=1m", "--iodepth=4"),
    "read_1m_depth_4": ("--rw=read", "--bs=1m", "--iodepth=4"),
}


def serve_raw(mount_dir: str, backing: str) -> None:
    """Our export, doing nothing but the file's own I/O."""
    from twinhull.exports.fuse.export import FuseExport

    serve_file(FuseExport(Path(mount_dir), SIZE_BYTES), backing)


def serve_mfusepy(mount_dir: str, backing: str, *, threads: bool) -> None:
    """The same with mfusepy."""
    import mfusepy  # type: ignore[import-untyped]

    file = os.open(backing, os.O_RDWR)

    class OneFile(mfusepy.Operations):  # type: ignore[misc]
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:  # noqa: ARG002
            if path == "/":
                return {"st_mode": 0o40700, "st_nlink": 2}
            if path == "/disk":
                return {"st_mode": 0o100600, "st_nlink": 1, "st_size": SIZE_BYTES}
            raise mfusepy.FuseOSError(2)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:  # noqa: ARG002
            return os.pread(file, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:  # noqa: ARG002
            return os.pwrite(file, data, offset)

        def fsync(self, path: str, datasync: int, fh: int) -> int:  # noqa: ARG002
            return 0

    with contextlib.suppress(RuntimeError):  # how it ends when it is told to
        mfusepy.FUSE(
            OneFile(), mount_dir, foreground=True, nothreads=not threads, direct_io=True, attr_timeout=3600
        )


@contextlib.contextmanager
def served(kind: str) -> Iterator[tuple[Path, int]]:
    """A server process of one kind; gives the file it serves and its process id."""
    with tempfile.TemporaryDirectory(prefix="twinhull-bench-", dir="/dev/shm") as directory:
        backing, mount_dir = Path(directory, "backing"), Path(directory, "mnt")
        mount_dir.mkdir()
        with backing.open("wb") as file:
            file.truncate(SIZE_BYTES)
        server = subprocess.Popen([sys.executable, __file__, "--serve", kind, str(mount_dir), str(backing)])
        try:
            while not (mount_dir / "disk").exists():
                if server.poll() is not None:
                    raise SystemExit(f"the {kind} server ended with {server.returncode}")
                time.sleep(0.05)
            yield mount_dir / "disk", server.pid
        finally:
            server.terminate()
            server.wait(timeout=30)
            subprocess.run(["umount", "-l", str(mount_dir)], capture_output=True, check=False)


def run_fio(device: str, arguments: tuple[str, ...], seconds: float) -> dict[str, float]:
    """One fio job on a device: rates and latencies (microseconds)."""
    command = [
        *(
            "fio",
            "--name=x",
            f"--filename={device}",
            "--direct=1",
            "--ioengine=libaio",
            "--output-format=json",
        ),
        *("--time_based", f"--runtime={seconds}", "--ramp_time=0.5", f"--size={SIZE_BYTES // 4}", *arguments),
    ]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    job = json.loads(done.stdout)["jobs"][0]
    side = job["write"] if job["write"]["total_ios"] else job["read"]
    return {
        "iops": round(side["iops"]),
        "mib_per_s": round(side["bw_bytes"] / (1 << 20), 1),
        "mean_us": round(side["clat_ns"]["mean"] / 1000, 1),
        "p99_us": round(side["clat_ns"]["percentile"]["99.000000"] / 1000, 1),
    }


def measure(kind: str, seconds: float) -> dict[str, Any]:
    """Every job against one kind of server."""
    figures: dict[str, Any] = {}
    with served(kind) as (file, process):
        attach = ["losetup", "--find", "--show", "--direct-io=on", str(file)]
        device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
        try:
            for name, arguments in JOBS.items():
                before = cpu_seconds(process)
                figures[name] = run_fio(device, arguments, seconds)
                figures[name]["server_cpu_s"] = round(cpu_seconds(process) - before, 2)
        finally:
            subprocess.run(["losetup", "-d", device], check=True)
    return figures


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each job")
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "MOUNT", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        kind, mount_dir, backing = options.serve
        if kind == "raw":
            serve_raw(mount_dir, backing)
        else:
            serve_mfusepy(mount_dir, backing, threads=kind == "mfusepy_threads")
        return
    if os.geteuid() != 0 or shutil.which("fio") is None:
        raise SystemExit("bench/export.py needs root and fio (apt-get install fio)")
    kinds = ["raw"]
    if importlib.util.find_spec("mfusepy"):
        kinds += ["mfusepy", "mfusepy_threads"]
    print(json.dumps({kind: measure(kind, options.seconds) for kind in kinds}, indent=2))


if __name__ == "__main__":
    main()
