"""Programs inside one prefix: started through a pipe, ended without leaving anything."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

PROGRAMS = ("wine", "wineboot", "wineserver")
END_TIMEOUT_S = 60.0
AFTER_END_S = 5.0
"""How long what a program wrote last may take to arrive."""
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME")


class WineError(Exception):
    """Wine, or what it needs, did not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a Windows program left behind.

    Attributes:
        argv: the program and its arguments.
        exit_code: as Windows counts them, cut to 8 bits by Linux.
        output: standard output; line ends as they came.
        errors: standard error.
    """

    argv: tuple[str, ...]
    exit_code: int
    output: str
    errors: str

    def require(self, what: str) -> Ran:
        """This, if the program ended well.

        Raises:
            WineError: it did not.
        """
        if self.exit_code != 0:
            words = (self.errors.strip() or self.output.strip())[-2000:]
            raise WineError(f"{what} failed with exit status {self.exit_code}: {words}")
        return self


@dataclass(frozen=True, slots=True)
class Session:
    """How programs run in one prefix.

    Args:
        directory: the prefix (WINEPREFIX).
        enter: a command that runs its arguments somewhere else, as `ip netns exec NAME`.
        extra: environment of every program.
    """

    directory: Path
    enter: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a program in this prefix gets: nothing of ours but a path and the language."""
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        return {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "HOME": str(home),
            "WINEPREFIX": str(self.directory),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            # no menus of the desktop, no offers to download .NET and HTML engines
            "WINEDLLOVERRIDES": "winemenubuilder.exe,mscoree,mshtml=",
            "PYTHONUTF8": "1",
            **self.extra,
            **(more or {}),
        }

    def popen(
        self, *argv: str, environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a program; `options` are subprocess.Popen's.

        Windows Python ends at once when its standard output is a file of Linux: keep pipes, as is the default.
        """
        settings: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": self.directory / "drive_c" if (self.directory / "drive_c").is_dir() else self.directory,
            "start_new_session": True,
        }
        return subprocess.Popen(
            [*self.enter, *argv], env=self.environment(environment), **{**settings, **options}
        )

    def run(
        self,
        *argv: str,
        timeout_s: float,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> Ran:
        """Run a program to its end.

        Args:
            argv: program and arguments.
            timeout_s: after these seconds it is killed.
            stdin: what it reads.
            environment: additions for it alone.

        Raises:
            WineError: it did not end in time.
        """
        with self.popen(*argv, environment=environment, stdin=subprocess.PIPE) as process:
            try:
                output, errors = communicate(process, stdin, timeout_s)
            except subprocess.TimeoutExpired as error:
                raise WineError(f"{' '.join(argv)} did not end within {timeout_s:g} s") from error
        return Ran(
            argv, process.returncode, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace")
        )

    def stay(self) -> None:
        """Keep Windows up while no program runs, as services need it; `end` ends it.

        Raises:
            WineError: the wineserver does not start.
        """
        done = subprocess.run(
            [*self.enter, "wineserver", "-p"],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if done.returncode:
            raise WineError(f"{self.directory}: the wineserver ended with exit status {done.returncode}")

    def running(self) -> list[int]:
        """Every process of this prefix, by its number on this machine."""
        mark = f"WINEPREFIX={self.directory}".encode()
        found = []
        for entry in _processes():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def end(self) -> None:
        """End every program of the prefix and its wineserver, and wait until they are gone."""
        command = [*self.enter, "wineserver", "-k"]
        with contextlib.suppress(subprocess.TimeoutExpired, FileNotFoundError):
            subprocess.run(
                command,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=END_TIMEOUT_S,
            )
        self.kill()

    def kill(self) -> None:
        """SIGKILL to every process of the prefix, as a power loss does, until none is left.

        Raises:
            WineError: some would not go.
        """
        for _ in range(10):
            left = self.running()
            if not left:
                return
            _kill_all(left)
        raise WineError(f"{self.directory}: these processes do not end: {self.running()}")


def communicate(process: subprocess.Popen[bytes], stdin: bytes, timeout_s: float) -> tuple[bytes, bytes]:
    """Feed a program and read it to its end; one that is too slow is killed.

    What it left running in the background may keep the pipes open: the program's own end is what counts.
    """
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    output, errors = bytearray(), bytearray()
    readers = [
        threading.Thread(target=_drain, args=(process.stdout.fileno(), output), daemon=True),
        threading.Thread(target=_drain, args=(process.stderr.fileno(), errors), daemon=True),
        threading.Thread(target=_feed, args=(process.stdin, stdin), daemon=True),
    ]
    for reader in readers:
        reader.start()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    for reader in readers:
        reader.join(AFTER_END_S)
    return bytes(output), bytes(errors)


def _drain(descriptor: int, into: bytearray) -> None:
    own = os.dup(descriptor)
    try:
        while part := os.read(own, 65536):
            into += part
    finally:
        os.close(own)


def _feed(stream: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        stream.write(data)
        stream.close()


def _processes() -> Iterator[Path]:
    return (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _kill_all(pids: Sequence[int]) -> None:
    """SIGKILL, and wait for the end of each that is not a zombie of somebody else."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            _await_end(descriptor)
        except ProcessLookupError:
            continue
        finally:
            os.close(descriptor)


def _await_end(descriptor: int) -> None:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    poller.poll(END_TIMEOUT_S * 1000)
