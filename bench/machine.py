"""This machine: one bench at a time, what it lacks, and what a reader of figures must know of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.lab.commands import LabError, run
from tests.lab.lab import check_machine

LOCK = Path("/run/lock/twinhull-bench")
NEEDED = ("fio", "unshare", "nsenter", "ss", "mkfs.ext4", "losetup")
BUSY_LOAD = 0.5
"""More than this many processors' work by others before the run, and figures are marked."""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the machine's lock of benches. Raises LabError when another one runs."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise LabError(
                f"a bench runs already (process {file.read().strip()}): wait for its end"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def check() -> None:
    """Say at once what a bench lacks here. Raises LabError."""
    check_machine(libvirt=False)
    lacking = [program for program in NEEDED if shutil.which(program) is None]
    if lacking:
        raise LabError(
            f"this machine lacks {', '.join(lacking)}: `make bench` installs what Debian has of it"
        )


def facts(repository: Path) -> dict[str, Any]:
    """What figures depend on; call it before the run."""
    load = os.getloadavg()[0]
    git = run(["git", "-C", repository, "describe", "--always", "--dirty"], check=False).stdout.strip()
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "date": datetime.now().astimezone().date().isoformat(),
        "processors": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": git or "unknown",
        "load": load,
        "busy": load > BUSY_LOAD,
    }
