"""A host that carries out what the endpoint was sent, on its model alone."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from xml.sax.saxutils import escape

from . import agent_service, commands, paths, payload, scripts, twinhull_cli
from .argspec import ArgumentsError, Documentation, check
from .cluster import Cluster
from .endpoint import Output
from .files import FileSystemError
from .handlers import HANDLERS, NO_CHECK_MODE, Call, ModuleFailedError
from .model import BOOTS, Fault, HostState, ModuleCall, PlannedFault
from .seam import Command, Ran, UnknownWorkError


@dataclass(slots=True)
class Records:
    """What a host was asked, and what the stand-in could not judge."""

    modules: list[ModuleCall] = field(default_factory=list)
    commands: list[tuple[str, ...]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    bad_arguments: list[str] = field(default_factory=list)
    connections: int = 0

    def of(self, module: str) -> list[ModuleCall]:
        """Calls of one module, by its full name or its last part."""
        return [call for call in self.modules if module in (call.module, call.module.rsplit(".", 1)[-1])]

    def clear(self) -> None:
        """Forget all of it."""
        for kept in (self.modules, self.commands, self.scripts, self.unknown, self.bad_arguments):
            kept.clear()


class ModelMachine:
    """A Windows host that is a model all through.

    Args:
        state: the model.
        documentation: to check arguments against.
        cluster: the site it belongs to; None for a host without Twinhull.
        node: its name in the cluster.
        clock: epoch seconds.
    """

    def __init__(
        self,
        state: HostState,
        documentation: Documentation,
        cluster: Cluster | None = None,
        node: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.state = state
        self.documentation = documentation
        self.cluster = cluster
        self.node = node
        self.records = Records()
        self.faults: list[PlannedFault] = []
        self.prefers_engine = False
        self._clock = clock
        self._lock = threading.RLock()
        self._ids = 0
        self._stream_cut = False
        state.boot.time_s = clock() - 86400
        if cluster is not None:
            cluster.stores[node] = self._store_configuration

    def _store_configuration(self, text: str) -> None:
        self.state.files.write(rf"{twinhull_cli.ETC}\cluster.yml", text.encode())

    # ---- the endpoint's side ---------------------------------------------------------------------

    def accepts(self) -> bool:
        """False while the host is off or boots."""
        boot = self.state.boot
        if not boot.powered:
            return False
        if boot.refusals_left > 0:
            boot.refusals_left -= 1
            if boot.refusals_left == 0:
                self._boot()
            return False
        self.records.connections += 1
        return True

    def execute(self, command_line: str, stdin: bytes) -> Output:
        """Decode and carry out one command."""
        with self._lock:
            self.state.files.now_s = self._clock()
            try:
                work = payload.decode(command_line, stdin)
            except payload.PayloadError as error:
                self.records.unknown.append(str(error))
                return Output(stderr=f"stand-in: {error}".encode(), exit_code=250)
            try:
                return self._carry_out(work)
            except Exception:  # noqa: BLE001 - a bug of the stand-in: told to the task and to the test
                self.records.unknown.append(traceback.format_exc())
                return Output(stderr=b"stand-in: " + traceback.format_exc().encode(), exit_code=250)

    def _carry_out(self, work: payload.Work) -> Output:
        if isinstance(work, payload.ModuleRun):
            return self._module(work)
        if isinstance(work, payload.PutFile):
            return self._put(work)
        if isinstance(work, payload.FetchFile):
            return self._fetch(work)
        if isinstance(work, payload.MakeTemporary):
            path = paths.join(paths.expand(work.directory, self.state.environment), work.name)
            self.state.files.make_directory(path)
            return Output(path.encode())
        if isinstance(work, payload.ExpandUser):
            home = self.state.environment["USERPROFILE"]
            return Output((home + work.path[1:] if work.path.startswith("~") else work.path).encode())
        fault = self._fault(work.text)
        if fault is not None and fault.fault is Fault.CONNECTION_DIES_BEFORE:
            return Output(cut=True)
        if fault is not None and fault.fault is Fault.POWER_LOST:
            self.lose_power()
            return Output(cut=True)
        ran = self.run_script(self.state, work.text, work.stdin)
        if fault is not None and fault.fault is Fault.CONNECTION_DIES:
            return Output(cut=True)
        return Output(ran.stdout.encode(), _clixml(ran.stderr), ran.exit_code)

    def _put(self, work: payload.PutFile) -> Output:
        try:
            self.state.files.write(work.path, work.content)
        except (FileSystemError, ValueError) as error:
            return Output(stderr=str(error).encode(), exit_code=1)
        return Output(
            json.dumps({"sha1": hashlib.sha1(work.content, usedforsecurity=False).hexdigest()}).encode()
        )

    def _fetch(self, work: payload.FetchFile) -> Output:
        entry = self.state.files.follow(work.path)
        if entry is None:
            return Output(stderr=f"{work.path} does not exist".encode(), exit_code=1)
        if entry.content is None:
            return Output(b"[DIR]")
        return Output(
            base64.b64encode(entry.content[work.offset_bytes : work.offset_bytes + work.length_bytes])
        )

    # ---- modules ---------------------------------------------------------------------------------

    def _module(self, work: payload.ModuleRun) -> Output:
        fault = self._fault(work.name)
        if fault is not None and fault.fault in (Fault.CONNECTION_DIES_BEFORE, Fault.POWER_LOST):
            if fault.fault is Fault.POWER_LOST:
                self.lose_power()
            return Output(cut=True)
        if fault is not None and fault.fault is Fault.FAILS:
            result: dict[str, Any] = {"failed": True, "changed": False, "msg": fault.message}
        else:
            result = self._run_module(work, full=fault is not None and fault.fault is Fault.DISK_FULL)
        self.records.modules.append(ModuleCall(work.name, work.arguments, work.check_mode, result))
        if fault is not None and fault.fault is Fault.CONNECTION_DIES:
            return Output(cut=True)
        return Output(json.dumps(result).encode(), exit_code=1 if result.get("failed") else 0)

    def _run_module(self, work: payload.ModuleRun, *, full: bool) -> dict[str, Any]:
        handler = HANDLERS.get(work.name)
        if handler is None:
            self.records.unknown.append(f"module {work.name}")
            return {
                "failed": True,
                "msg": f"the stand-in has no handler for the module {work.name}: add one to tests/standin",
            }
        try:
            args = self.documentation.options(work.name)
            checked = check(work.name, args, work.arguments)
        except ArgumentsError as error:
            self.records.bad_arguments.append(str(error))
            return {"failed": True, "msg": str(error)}
        if work.check_mode and work.name in NO_CHECK_MODE:
            return {
                "changed": False,
                "skipped": True,
                "msg": f"remote module ({work.name}) does not support check mode",
            }
        state = self.state.copy() if work.check_mode else self.state
        volumes = dict(state.files.volumes)
        if full:
            state.files.volumes = {
                letter: replace(volume, free_bytes=0) for letter, volume in volumes.items()
            }
        call = Call(
            state,
            checked,
            frozenset(work.arguments),
            work.check_mode,
            work.diff,
            self,
            self._clock(),
            work.environment,
        )
        try:
            result = handler(call)
        except ModuleFailedError as error:
            result = {"failed": True, "changed": False, "msg": str(error), **error.values}
        except (FileSystemError, ValueError) as error:
            result = {
                "failed": True,
                "changed": False,
                "msg": f"Unhandled exception while executing module: {error}",
            }
        except UnknownWorkError as error:
            self.records.unknown.append(str(error))
            result = {"failed": True, "changed": False, "msg": f"stand-in: {error}"}
        if full:
            state.files.volumes = volumes
        if work.name.endswith(".win_firewall_rule") and not work.check_mode:
            self.wire_changed()
        result.setdefault("changed", False)
        return self._in_background(work, result) if work.background else result

    def _in_background(self, work: payload.ModuleRun, result: dict[str, Any]) -> dict[str, Any]:
        """An asynchronous task: the work is done, its result is asked for later."""
        job = f"{work.background}.{len(self.state.jobs) + 1000}"
        self.state.jobs[job] = {**result, "ansible_job_id": job, "started": True, "finished": True}
        place = paths.join(paths.expand(work.background_dir, self.state.environment), job)
        return {"started": True, "finished": False, "ansible_job_id": job, "results_file": place, "changed": True,
                "_ansible_suppress_tmpdir_delete": True}  # fmt: skip

    def _fault(self, text: str) -> PlannedFault | None:
        for planned in self.faults:
            if planned.name in text:
                planned.seen += 1
                if planned.seen == planned.call:
                    return planned
        return None

    def wire_changed(self) -> None:
        """Have the rules of the firewall that block a data stream do so, and end what is no more."""
        blocks = any(rule.enabled and rule.action == "block" for rule in self.state.firewall_rules.values())
        if self.cluster is not None and blocks != self._stream_cut:
            self._stream_cut = blocks
            self.cluster.stream_cut(self.node, cut=blocks)

    # ---- the seam --------------------------------------------------------------------------------

    def new_id(self) -> str:
        """A name that was not used before."""
        self._ids += 1
        return f"{self._ids:04d}{uuid.uuid4().hex[:8]}"

    def run_command(self, host: HostState, command: Command) -> Ran:
        """Run a program of the table in `commands`."""
        self.records.commands.append(command.argv)
        return commands.run(self, host, command)

    def run_script(self, host: HostState, script: str, stdin: bytes) -> Ran:
        """Run PowerShell: what is known by its form here, the rest in a real engine when there is one."""
        self.records.scripts.append(script)
        try:
            return scripts.run(self, host, script, stdin)
        except UnknownWorkError as error:
            self.records.unknown.append(str(error))
            return Ran(250, stderr=f"stand-in: {error}")

    def start_service(self, host: HostState, name: str) -> str:
        """Start a service after what it depends on."""
        return agent_service.start(self, host, name)

    def stop_service(self, host: HostState, name: str) -> None:
        """Stop a service, and first those that depend on it."""
        agent_service.stop(self, host, name)

    def port_is_open(self, host: HostState, port: int) -> bool:
        """WinRM's, and the agent's and its workers' while they run."""
        node = self.cluster.nodes[self.node] if self.cluster else None
        if node is None or not node.up or node.config is None or host is not self.state:
            return port in (5985, 5986)
        ports, modules = node.config.ports, node.config.modules
        data = {
            ports.data + module.number
            for name, module in modules.items()
            if node.replicas[name].state == "SECOND"
        }
        return port in {5985, 5986, ports.control, ports.heartbeat} | data

    def workers(self, host: HostState) -> list[int]:
        """Those of modules that are not stopped: the model's stopped modules need no process."""
        node = self.cluster.nodes[self.node] if self.cluster else None
        return [replica.pid for replica in node.replicas.values() if replica.state != "STOP"] if node else []

    def end_workers(self, host: HostState) -> bool:
        """As a worker that was killed."""
        cluster, pids = self.cluster, self.workers(host)
        return cluster is not None and sum(cluster.worker_killed(self.node, pid) for pid in pids) > 0

    def in_use(self, host: HostState) -> list[str]:
        """Programs that run: those of services, and of workers by their version."""
        programs = [
            commands.split(service.path)[0]
            for service in host.services.values()
            if service.state == "started" and service.path
        ]
        node = self.cluster.nodes[self.node] if self.cluster else None
        versions = (
            {replica.version for replica in node.replicas.values() if replica.state != "STOP"}
            if node
            else set()
        )
        return programs + [
            rf"C:\Program Files\Twinhull\versions\{version}\python\python.exe" for version in sorted(versions)
        ]

    def listen(self, host: HostState, address: str, port: int) -> str:
        """Listen for a trial on an own address."""
        if address not in [item.address for item in host.interfaces]:
            return "The requested address is not valid in its context"
        if port in host.foreign_ports or self.port_is_open(host, port):
            return "Only one usage of each socket address is normally permitted"
        if self.cluster is not None:
            self.cluster.wire.listening.add((address, port))
        return ""

    def stop_listening(self) -> bool:
        """End the trial's listeners on this host."""
        if self.cluster is None:
            return False
        own = {item.address for item in self.state.interfaces}
        listening = self.cluster.wire.listening
        gone = {entry for entry in listening if entry[0] in own}
        listening -= gone
        return bool(gone)

    def connect(self, source: str, address: str, port: int) -> tuple[str, float, int]:
        """Try the site's wire."""
        if self.cluster is None:
            return "no-route", 0.0, 0
        open_there = any(
            node.up
            and node.config is not None
            and port in (node.config.ports.control, node.config.ports.heartbeat)
            for node in self.cluster.nodes.values()
        )
        return self.cluster.wire.connect(source, address, port, served=open_there)

    # ---- power -----------------------------------------------------------------------------------

    def reboot(self) -> None:
        """Orderly: services end, the host refuses connections for a while, then it boots."""
        if self.cluster is not None:
            self.cluster.power_lost(self.node)
        self._services_end()
        self.state.boot.refusals_left = self.state.boot.takes_attempts

    def lose_power(self) -> None:
        """At once; the host stays off until `power_on`."""
        if self.cluster is not None:
            self.cluster.power_lost(self.node)
        self._services_end()
        self.state.boot.powered = False

    def power_on(self) -> None:
        """Boot a host that was off."""
        self.state.boot.powered = True
        self._boot()

    def _services_end(self) -> None:
        for key, service in self.state.services.items():
            self.state.services[key] = replace(service, state="stopped")

    def _boot(self) -> None:
        state = self.state
        state.boot.number += 1
        state.boot.time_s = self._clock()
        state.registry_set(BOOTS, "BootId", "dword", state.registry_get(BOOTS, "BootId") + 1)
        state.pending_reboot = False
        state.features_pending.clear()
        for key, service in list(state.services.items()):
            if service.start_mode in ("auto", "delayed") and state.services[key].state == "stopped":
                problem = self.start_service(state, service.name)
                if problem:
                    state.events.append(f"System/Service Control Manager 7000: {service.name}: {problem}")


def _clixml(text: str) -> bytes:
    """Standard error as PowerShell writes it to a remote shell."""
    if not text:
        return b""
    lines = "".join(f'<S S="Error">{escape(line)}_x000D__x000A_</S>' for line in text.splitlines())
    return (
        '#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">'
        + lines
        + "</Objs>"
    ).encode()
