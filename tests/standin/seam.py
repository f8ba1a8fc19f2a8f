"""The seam: what a host does beside its model. Another kind of host implements `Machine` with real files and programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from .model import HostState


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run.

    Args:
        argv: program and arguments.
        stdin: what comes on its standard input.
        directory: where it runs.
    """

    argv: tuple[str, ...]
    stdin: bytes = b""
    directory: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program left behind. `found` is False when there is no such program."""

    exit_code: int
    stdout: str = ""
    stderr: str = ""
    found: bool = True


class Machine(Protocol):
    """What a host does beside its model: start things, run things, listen.

    `prefers_engine`: our own PowerShell is run by the real engine although there is a model of it.
    """

    prefers_engine: bool

    def new_id(self) -> str:
        """A name that was not used before."""

    def run_command(self, host: HostState, command: Command) -> Ran:
        """Run a program to its end."""

    def run_script(self, host: HostState, script: str, stdin: bytes) -> Ran:
        """Run PowerShell to its end."""

    def start_service(self, host: HostState, name: str) -> str:
        """Start a service; returns why it did not start, or an empty text."""

    def stop_service(self, host: HostState, name: str) -> None:
        """Stop a service that runs."""

    def listen(self, host: HostState, address: str, port: int) -> str:
        """Listen for a trial; returns why it cannot, or an empty text."""

    def stop_listening(self) -> bool:
        """End all that `listen` began; whether there was any."""

    def connect(self, source: str, address: str, port: int) -> tuple[str, float, int]:
        """Try the wire to the other node: outcome, round trip in ms, bytes per second."""

    def in_use(self, host: HostState) -> list[str]:
        """Paths of programs that run, which Windows does not let go."""

    def workers(self, host: HostState) -> list[int]:
        """Numbers of the workers' processes that run."""

    def end_workers(self, host: HostState) -> bool:
        """End them at once; whether any ran."""

    def port_is_open(self, host: HostState, port: int) -> bool:
        """Whether something listens."""


class UnknownWorkError(Exception):
    """The stand-in does not know what it was asked to do. A test fails by it."""
