"""Any application, run by commands of the operator: start and stop scripts, or one program in the foreground.

Every process of the application carries `TWINHULL_RUN` in its environment, so that force-off finds it also
after it left its process group; the run is recorded in the node's runtime directory, so that an agent can
turn off what a dead worker had started.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from twinhull.errors import ResourceError

from .base import Finding, Log, ResourceState
from .files import remove_durably, write_durably
from .processes import CONTINUE, STOP, Process, ProcessTable
from .run import ROOT, CommandMissingError, CommandTimeoutError, kill_group

if sys.platform == "win32":
    from .windows_processes import JobTable as OwnTable
else:
    OwnTable = ProcessTable

RUN_VARIABLE = "TWINHULL_RUN"
_LINE_LIMIT_BYTES = 4096
_GRACE_S = 10.0
_KILL_S = 5.0


@dataclass(frozen=True, slots=True)
class ScriptSettings:
    """The commands of an application, as argument lists; no shell reads them.

    Args:
        start: starts it. As a script it returns when the application is up (exit status 0); with `process`
            it is the application itself, stays in the foreground and is supervised.
        stop: stops it; without one, its processes get SIGTERM.
        check: exit status 0 while it runs well.
        process: see `start`.
        start_timeout_s, stop_timeout_s, check_timeout_s: seconds until the command is killed; the stop
            script of a forced stop gets at most `forced_timeout_s`.
        environment: added to the commands' environment.
    """

    start: tuple[str, ...]
    stop: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    process: bool = False
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 60.0
    check_timeout_s: float = 10.0
    forced_timeout_s: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)


class ScriptsResource:
    """One application; implements `resources.base.Resource`.

    Args:
        module, node: names, for messages and the commands' environment.
        folder: the module's folder.
        settings: the commands.
        runtime_directory: where the run is recorded, on the node's own disk.
        log: takes each line that the commands print.
        folder_ready: whether the folder is our volume's mount.
        launcher: put before every command: it becomes the command, without what the worker's process is privileged
            with.
        table, clock, pause: the host, replaceable by tests.
    """

    def __init__(
        self,
        *,
        module: str,
        node: str,
        folder: Path,
        settings: ScriptSettings,
        runtime_directory: Path,
        log: Log,
        folder_ready: Callable[[], bool] | None = None,
        launcher: Sequence[str] = (),
        table: OwnTable | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._ended = ""
        self._module = module
        self._node = node
        self._folder = folder
        self._settings = settings
        self._record = runtime_directory / f"{module}.run"
        self._log = log
        self._folder_ready = folder_ready or (lambda: os.path.ismount(folder))
        self._launcher = tuple(launcher)
        self._table = table or OwnTable()
        self._clock = clock
        self._pause = pause

    def start(self, *, resume: bool) -> None:  # noqa: ARG002  (an application has no saved state)
        """Run the start command. After a failure nothing of it runs. Raises ResourceError."""
        if not self._folder_ready():
            raise self._error(f"{self._folder} is not the mounted volume, so the application is not started")
        if left := self._left():
            self._log(f"Processes of an earlier start are turned off first: {_names(left)}.")
            self.force_off()
        run = secrets.token_hex(16)
        self._write({"run": run})
        try:
            if self._settings.process:
                self._launch(run)
            else:
                self._command("start", self._settings.start, self._settings.start_timeout_s)
        except ResourceError:
            self.force_off()
            raise

    def _launch(self, run: str) -> None:
        process = self._popen(self._settings.start, {})
        leader = self._table.get(process.pid)
        self._log(f"Started {self._settings.start[0]} as process {process.pid}.")
        ticks = 0 if leader is None else leader.start_ticks
        self._write({"run": run, "pid": process.pid, "start_ticks": ticks})
        threading.Thread(
            target=self._supervise, args=(process,), name=f"application-{self._module}", daemon=True
        ).start()

    def _supervise(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        self._ended = f"its process ended: {_ending(code)}"
        self._log(f"The application of module {self._module} ended ({_ending(code)}).")

    def stop(self, *, mode: str, timeout_s: float) -> bool:
        """Stop the application; returns when its processes are gone. Never saves a state, so always False.

        Args:
            mode: `off` turns it off by force; everything else runs the stop command.
            timeout_s: seconds it may take, at most the stop command's own.
        """
        if mode == "off":
            self.force_off()
            return False
        deadline_s = self._clock() + timeout_s
        if self._settings.stop:
            limit_s = min(timeout_s, self._settings.stop_timeout_s)
            self._command("stop", self._settings.stop, max(limit_s, 0.1))
        else:
            for process in self._left():
                self._table.kill(process, timeout_s=0, number=signal.SIGTERM)
        while left := self._left():
            if self._clock() >= deadline_s:
                raise self._error(
                    f"the application did not stop within {timeout_s:g} s; still there: {_names(left)}",
                    "Look into its log, or stop the module by force.",
                )
            self._pause(0.1)
        if self._settings.check and self._checked() is True:
            raise self._error("after its stop command the application still runs, says its check command")
        remove_durably(self._record)
        return False

    def force_off(self) -> None:
        """Run the stop command with TWINHULL_FORCED=1, then kill every process of the application.

        Raises ResourceError when one hangs in the kernel.
        """
        if self._settings.stop and self._started():
            try:
                self._command(
                    "stop", self._settings.stop, self._settings.forced_timeout_s, {"TWINHULL_FORCED": "1"}
                )
            except ResourceError as error:
                self._log(str(error))
        deadline_s = self._clock() + _GRACE_S
        while left := self._left():
            for process in left:
                self._table.kill(process, timeout_s=_KILL_S)
            if self._clock() >= deadline_s and (left := self._left()):
                raise self._error(
                    f"the application is killed, but not gone: {_names(left)}",
                    "Its disk answers nothing: power this node off.",
                )
        remove_durably(self._record)

    def forget(self) -> None:
        """Nothing is registered on the host but the record of a run."""
        if not self._left():
            remove_durably(self._record)

    def suspend(self) -> None:
        """SIGSTOP to every process of the application."""
        for process in self._left():
            self._table.kill(process, timeout_s=0, number=STOP)

    def resume(self) -> None:
        """SIGCONT to every process of the application."""
        for process in self._left():
            self._table.kill(process, timeout_s=0, number=CONTINUE)

    def interrupt(self) -> None:
        """Nothing: a stop script that has begun is not called back."""

    def ended(self) -> str:
        """How its process ended, where that was seen."""
        return self._ended or "its processes are gone"

    def state(self) -> ResourceState:
        """By the process where it is supervised, else by the check command, else by its processes."""
        if self._settings.process:
            leader = self._leader()
            if leader is None:
                return ResourceState.OFF
            return ResourceState.PAUSED if leader.state == "T" else ResourceState.RUNNING
        left = self._left()
        if left and all(process.state == "T" for process in left):
            return ResourceState.PAUSED
        if self._settings.check:
            well = self._checked()
            if well is None:
                return ResourceState.UNKNOWN
            return ResourceState.RUNNING if well else ResourceState.OFF
        return ResourceState.RUNNING if left or self._started() else ResourceState.OFF

    def check_host(self) -> list[Finding]:
        """Which commands do not exist on this host; those in the folder cannot be looked at before."""
        found = []
        for name in ("start", "stop", "check"):
            argv: tuple[str, ...] = getattr(self._settings, name)
            if not argv:
                if name == "start":
                    found.append(Finding(True, f"Node {self._node}: there is no start command."))
                continue
            program = Path(argv[0])
            if not program.is_absolute():
                sentence = f"the {name} command {argv[0]} is not an absolute path"
            elif program.is_relative_to(self._folder) or program.is_file():
                continue
            else:
                sentence = f"the {name} command {argv[0]} does not exist"
            found.append(Finding(True, f"Node {self._node}: {sentence}."))
        return found

    # ---- commands ------------------------------------------------------------------------------------

    def _command(
        self, what: str, argv: Sequence[str], timeout_s: float, extra: Mapping[str, str] | None = None
    ) -> None:
        code = self._exit_code(what, argv, timeout_s, extra)
        if code != 0:
            raise self._error(
                f"the {what} command {argv[0]} failed ({_ending(code)})", "Its output is in the module's log."
            )

    def _exit_code(
        self, what: str, argv: Sequence[str], timeout_s: float, extra: Mapping[str, str] | None = None
    ) -> int:
        process = self._popen(argv, extra or {}, marked=what == "start")
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            kill_group(process)
            raise CommandTimeoutError(
                f"Module {self._module} on node {self._node}: the {what} command {argv[0]} did not end within "
                f"{timeout_s:g} s and was killed."
            ) from None

    def _checked(self) -> bool | None:
        """What the check command says, None when it cannot be run or does not end."""
        try:
            return self._exit_code("check", self._settings.check, self._settings.check_timeout_s) == 0
        except ResourceError as error:
            self._log(str(error))
            return None

    def _popen(
        self, argv: Sequence[str], extra: Mapping[str, str], *, marked: bool = True
    ) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            **self._settings.environment,
            "TWINHULL_MODULE": self._module,
            "TWINHULL_NODE": self._node,
            "TWINHULL_FOLDER": str(self._folder),
            **extra,
        }
        if marked:
            environment[RUN_VARIABLE] = self._recorded().get("run", "")
        try:
            if self._launcher and not os.access(argv[0], os.X_OK):
                raise FileNotFoundError(errno.ENOENT, "there is no such program, or it is not executable")
            process = subprocess.Popen(
                [*self._launcher, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                cwd=ROOT, env=environment, start_new_session=True,
                creationflags=OwnTable.creation_flags(),
            )  # fmt: skip
            if sys.platform == "win32":
                self._table.adopt(environment.get(RUN_VARIABLE, "") if marked else "", process)
        except OSError as error:
            raise CommandMissingError(
                f"Module {self._module} on node {self._node}: {argv[0]} cannot be run: {error.strerror}.",
                "Correct the command in the configuration, or make it executable.",
            ) from error
        if process.stdout is not None:
            threading.Thread(
                target=self._stream, args=(process.stdout,), name=f"output-{self._module}", daemon=True
            ).start()
        return process

    def _stream(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(_LINE_LIMIT_BYTES):
                self._log(line.decode("utf-8", "replace").rstrip())

    # ---- processes -----------------------------------------------------------------------------------

    def _recorded(self) -> dict[str, str]:
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise self._error(f"the record {self._record} cannot be read: {error}", "Remove it.") from error
        return {key: str(value) for key, value in record.items()}

    def _write(self, record: Mapping[str, object]) -> None:
        try:
            self._record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._record, json.dumps(record))
        except OSError as error:
            raise self._error(f"the record {self._record} cannot be written: {error}") from error

    def _started(self) -> bool:
        return self._record.exists()

    def _leader(self) -> Process | None:
        record = self._recorded()
        process = self._table.get(int(record.get("pid", "0")))
        return process if process is not None and str(process.start_ticks) == record["start_ticks"] else None

    def _left(self) -> list[Process]:
        run = self._recorded().get("run")
        return self._table.with_environment(RUN_VARIABLE, run) if run else []

    def _error(self, what: str, remedy: str = "") -> ResourceError:
        return ResourceError(f"Module {self._module} on node {self._node}: {what}.", remedy)


def _names(processes: Sequence[Process]) -> str:
    return ", ".join(str(process) for process in processes[:5])


def _ending(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
