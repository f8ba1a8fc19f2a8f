"""What a system must offer to be measured through its folder."""

from __future__ import annotations

from typing import Protocol

from bench import fio
from bench.rows import Sample

FIO_PATIENCE_S = 120.0


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
