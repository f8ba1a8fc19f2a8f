"""A host whose programs and whose agent's service run under Wine."""

from __future__ import annotations

import contextlib
import ntpath
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.wine.prefix import Prefix
from tests.wine.session import WineError

from .. import agent_service, engine, paths
from ..argspec import Documentation
from ..cluster import Cluster
from ..machine import ModelMachine
from ..model import HostState
from ..seam import Command, Ran
from .files import PrefixFiles

COMMAND_TIMEOUT_S = 900.0
SERVICE_TIMEOUT_S = 300.0
RUNNING = "4  RUNNING"
START_PENDING = "2  START_PENDING"
STOPPED = "1  STOPPED"
POLL_S = 0.2
END_TIMEOUT_S = 30.0
CHANGE_SERVICE = Path(__file__).with_name("change_service.py")
TASKKILL = "taskkill.exe"


class WineMachine(ModelMachine):
    """A Windows host with real files, programs of its own disk, and the agent as a real service.

    Args:
        state: the model, for everything that Wine has not.
        documentation: to check arguments against.
        cluster: the site's wire for trials; its agents are not asked.
        node: its name in the cluster.
        prefix: where it lives; booted by `power_on`.
        clock: epoch seconds.
    """

    def __init__(
        self,
        state: HostState,
        documentation: Documentation,
        cluster: Cluster,
        node: str,
        prefix: Prefix,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(state, documentation, cluster, node, clock)
        self.prefix = prefix
        self.prefers_engine = engine.present() is not None
        drives = {"C": prefix.directory / "drive_c", "D": prefix.directory / "drive_d"}
        for letter, directory in drives.items():
            directory.mkdir(exist_ok=True)
            link = prefix.directory / "dosdevices" / f"{letter.lower()}:"
            if not link.is_symlink():
                link.symlink_to(Path("..") / directory.name)
        made = state.files
        state.files = PrefixFiles(drives, made.volumes, self.programs)
        for entry in sorted(made.known(), key=lambda entry: entry.path):
            state.files.make_directory(entry.path)
        self._registered: dict[str, str] = {}

    # ---- programs --------------------------------------------------------------------------------

    def run_command(self, host: HostState, command: Command) -> Ran:
        """A program of the host's own disk really runs; Windows' own tools stay modelled."""
        program = command.argv[0]
        if host is not self.state or not self._is_ours(program):
            return super().run_command(host, command)
        self.records.commands.append(command.argv)
        if ":" in program and host.files.follow(program) is None:
            return Ran(2, stderr="The system cannot find the file specified", found=False)
        try:
            ran = self.prefix.session.run(
                "wine", program, *command.argv[1:], timeout_s=COMMAND_TIMEOUT_S, stdin=command.stdin
            )
        except WineError as error:
            return Ran(1, stderr=str(error))
        return Ran(ran.exit_code, ran.output, ran.errors)

    @staticmethod
    def _is_ours(program: str) -> bool:
        name = ntpath.basename(program.replace("/", "\\")).casefold()
        return name == TASKKILL or (":" in program and name in ("python.exe", "pythonw.exe"))

    def programs(self) -> list[str]:
        """Programs with a path on C:, outside of Windows, that run now."""
        found = []
        for pid in self.prefix.session.running():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                program = words[0].decode(errors="replace")
                if program[1:3] == ":\\" and not program.casefold().startswith(r"c:\windows"):
                    found.append(self._real(program))
        return found

    def workers(self, host: HostState) -> list[int]:
        """The real ones, by their numbers on this machine."""
        found = []
        for pid in self.prefix.session.running():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"python.exe") and b"twinhull.worker.main" in words:
                    found.append(pid)
        return found

    def end_workers(self, host: HostState) -> bool:
        """SIGKILL, as Stop-Process ends a process at once."""
        ended = self.workers(host)
        for pid in ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline_s = time.monotonic() + END_TIMEOUT_S
        while set(ended) & set(self.workers(host)) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        return bool(ended)

    def _real(self, program: str) -> str:
        """A program's own path, whatever junction it was started by."""
        entry = self.state.files.follow(program)
        return paths.normal(program) if entry is None else self.state.files.real_path(entry.path)

    def in_use(self, host: HostState) -> list[str]:
        """Programs that run, which Windows does not let go."""
        return self.programs()

    # ---- services --------------------------------------------------------------------------------

    def start_service(self, host: HostState, name: str) -> str:
        """The agent's service by Wine's service manager, after the modelled ones that it depends on."""
        service = host.services[name.casefold()]
        if host is not self.state or name.casefold() != agent_service.SERVICE:
            return super().start_service(host, name)
        for needed in service.dependencies:
            problem = super().start_service(host, needed)
            if problem:
                return f"The dependency service or group failed to start. ({needed}: {problem})"
        problem = self._start_agent(service.path)
        if problem:
            host.events.append(f"Application/{name}: {problem}")
            return problem
        host.services[name.casefold()] = replace(service, state="started")
        return ""

    def _start_agent(self, path: str) -> str:
        name = agent_service.SERVICE
        try:
            if self._registered.get(name) != path:
                registered = (
                    self._change(name, path) if name in self._registered else self._create(name, path)
                )
                if registered.exit_code:
                    return f"The service could not be registered: {registered.stdout}{registered.stderr}"
                self._registered[name] = path
            started = self._wine("net", "start", name)
            self._await_not(name, START_PENDING)
            if self.is_running(name):
                return ""
        except WineError as error:
            return str(error)
        return f"The service did not respond to the start or control request in a timely fashion. ({started.stdout.strip()})"

    def _create(self, name: str, path: str) -> Ran:
        return self._wine("sc", "create", name, "binPath=", path, "start=", "demand")

    def _change(self, name: str, path: str) -> Ran:
        program = path.split('"')[1]
        return self._wine(program, "-I", "-c", CHANGE_SERVICE.read_text(encoding="utf-8"), name, path)

    def _await_not(self, name: str, state: str) -> None:
        """Wait until a service is no longer in a state. Raises WineError."""
        deadline_s = time.monotonic() + SERVICE_TIMEOUT_S
        while state in self.told_of(name):
            if time.monotonic() > deadline_s:
                raise WineError(f"{name} stays in {state}")
            time.sleep(POLL_S)

    def stop_service(self, host: HostState, name: str) -> None:
        """Stop the agent's real service, or a modelled one and what depends on it."""
        if host is self.state and name.casefold() == agent_service.SERVICE:
            if name in self._registered:
                self._stop_agent(name)
            host.services[name.casefold()] = replace(host.services[name.casefold()], state="stopped")
            return
        super().stop_service(host, name)

    def _stop_agent(self, name: str) -> None:
        """Until it has stopped: on a loaded machine Wine's service manager answers now and then that it is busy."""
        deadline_s = time.monotonic() + SERVICE_TIMEOUT_S
        while STOPPED not in (told := self.told_of(name)):
            if time.monotonic() > deadline_s:
                raise WineError(f"{name} does not stop: {told}")
            if RUNNING in told:
                self._wine("net", "stop", name)
            time.sleep(POLL_S)

    def is_running(self, name: str) -> bool:
        """Whether Wine's service manager calls a service running."""
        return RUNNING in self.told_of(name)

    def told_of(self, name: str) -> str:
        """What Wine's service manager tells of a service, in the words of `sc query`."""
        return self._wine("sc", "query", name).stdout

    def _wine(self, *words: str) -> Ran:
        ran = self.prefix.run(*words, timeout_s=SERVICE_TIMEOUT_S)
        return Ran(ran.exit_code, ran.output, ran.errors)

    # ---- network ---------------------------------------------------------------------------------

    def port_is_open(self, host: HostState, port: int) -> bool:
        """Whether a real program of this host listens, or WinRM (which the stand-in serves) is meant."""
        if port in (5985, 5986):
            return True
        argv = [*self.prefix.session.enter, "ss", "-Htln", f"sport = :{port}"]
        return bool(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip())

    # ---- power -----------------------------------------------------------------------------------

    def lose_power(self) -> None:
        """Every process of the host dies at once."""
        self.prefix.session.kill()
        super().lose_power()

    def reboot(self) -> None:
        """Orderly: the agent's service is stopped first, then everything ends."""
        if agent_service.SERVICE in self.state.services:
            self.stop_service(self.state, agent_service.SERVICE)
        self.prefix.stop()
        super().reboot()

    def _boot(self) -> None:
        self.prefix.start()
        super()._boot()
