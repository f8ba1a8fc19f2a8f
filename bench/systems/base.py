"""What a system must offer to be measured through its folder."""

from __future__ import annotations

from typing import Protocol

from bench import fio, initiator
from bench.rows import Sample
from bench.serving import cpu_seconds

FIO_PATIENCE_S = 120.0
WARM_UP_S = 0.3
LEAST_REQUESTS = 64


class System(Protocol):
    """One system, brought up; `close` leaves nothing of it behind."""

    @property
    def target(self) -> list[str]:
        """What fio is told of the file to work on."""

    def run(self, argv: list[str], timeout_s: float) -> str:
        """Run a command where the folder is mounted; its output. Raises LabError."""

    def close(self) -> None:
        """Take everything away."""


class Driver:
    """Measures the works on one file of a system."""

    def __init__(self, system: System) -> None:
        self.system = system
        system.run(fio.layout(system.target), FIO_PATIENCE_S)

    def measure(self, work: str, seconds: float) -> Sample:
        """One sample of a work. Raises LabError, ValueError."""
        output = self.system.run(fio.command(work, [self.system.target], seconds), seconds + FIO_PATIENCE_S)
        return fio.sample(work, output)


class Disk(Protocol):
    """One iSCSI disk of `initiator.DISK_BYTES`, brought up; `close` leaves nothing of it behind."""

    @property
    def url(self) -> str:
        """The disk's address for QEMU's initiator, without secrets."""

    def run(self, argv: list[str], timeout_s: float) -> str:
        """Run the initiator where the disk is, able to log in; its output. Raises LabError."""

    def servers(self) -> list[int]:
        """Every process that has a part in serving the disk, once it serves as it should. Raises LabError."""

    def close(self) -> None:
        """Take everything away."""


class DiskDriver:
    """Measures the works on one disk, all of which was written before, so that no measured write allocates anything."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._do(initiator.FILL, initiator.DISK_BYTES // initiator.FILL.size_bytes, FIO_PATIENCE_S)

    def measure(self, work: str, seconds: float) -> Sample:
        """One sample of a work: as many requests as should take so long. Raises LabError, ValueError."""
        job, count, took_s = initiator.JOBS[work], LEAST_REQUESTS, 0.0
        while took_s < WARM_UP_S:
            took_s = self._do(job, count, FIO_PATIENCE_S)
            rate, count = count / took_s, count * 4
        count = max(LEAST_REQUESTS, int(rate * seconds))
        processes = self.disk.servers()
        before_s = sum(map(cpu_seconds, processes))
        took_s = self._do(job, count, seconds + FIO_PATIENCE_S)
        return initiator.sample(work, count, took_s, sum(map(cpu_seconds, processes)) - before_s)

    def _do(self, job: initiator.Job, count: int, timeout_s: float) -> float:
        """Do so many requests; the seconds they took."""
        return initiator.took_s(self.disk.run(initiator.command(job, self.disk.url, count), timeout_s))
