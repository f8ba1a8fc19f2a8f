"""One node of the lab: boot, power loss, commands in it, its cables, signals to its processes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import leftovers, processes
from .commands import LabError, run
from .network import Direction

if TYPE_CHECKING:
    from .lab import Lab

BOOT_TIMEOUT_S = 90.0
KILL_TIMEOUT_S = 30.0
EXIT_TIMEOUT_S = 10.0
POLL_S = 0.02
INIT = Path(__file__).with_name("init.py")
DATA_DIRECTORY = "/var/lib/twinhull"
PRIVATE_DIRECTORIES = (
    "/srv",
    "/etc/libvirt",
    "/etc/twinhull",
    "/var/cache/libvirt",
    "/var/lib/libvirt",
    DATA_DIRECTORY,
    "/var/log/libvirt",
    "/var/log/twinhull",
)
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
LIBVIRTD_CONF = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
"""


@dataclass
class NodeState:
    """What another process must know of a node to go on with it."""

    init_pid: int | None = None
    init_started: int | None = None
    unplugged: list[str] = field(default_factory=list)
    drops: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> NodeState:
        """From its JSON form."""
        return cls(**words)


class Node:
    """One node; made by `Lab`.

    Args:
        lab: where it belongs.
        name: its name, as in the cluster's configuration.
        state: what is known of it.
    """

    def __init__(self, lab: Lab, name: str, state: NodeState) -> None:
        self.lab = lab
        self.name = name
        self.state = state
        self.directory = lab.root / "nodes" / name
        self.data_image = self.directory / "data.img"  # what a limited data disk is mounted from
        self._launcher: subprocess.Popen[bytes] | None = None

    # -- power ---------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Lay out its disk, once."""
        for path in PRIVATE_DIRECTORIES:
            self.disk(path).mkdir(parents=True, exist_ok=True)
        self.control.mkdir(parents=True, exist_ok=True)
        (self.control / "agent.stopped").touch()
        self.disk("/etc/libvirt/qemu.conf").write_text(QEMU_CONF, encoding="utf-8")
        self.disk("/etc/libvirt/libvirtd.conf").write_text(LIBVIRTD_CONF, encoding="utf-8")
        names = "".join(
            f"{self.lab.fabric.address(node, network)} {node} {node}-{network}\n"
            for node in self.lab.nodes
            for network in self.lab.fabric.subnets
        )
        (self.directory / "hosts").write_text(f"127.0.0.1 localhost\n{names}", encoding="utf-8")
        (self.directory / "resolv.conf").write_text("", encoding="utf-8")
        if self.lab.disk_limit_mib is not None:
            with self.data_image.open("wb") as file:
                file.truncate(self.lab.disk_limit_mib << 20)
            run(["mkfs.ext4", "-q", "-F", "-m", "0", self.data_image])

    def boot(self) -> None:
        """Power on: fresh namespaces and services on the disk it had. Its cut cables stay cut.

        Raises:
            LabError: it runs already, or a service did not come up.
        """
        if self.alive:
            raise LabError(f"node {self.name} runs already")
        self.lab.fabric.plug(self.name)
        self._apply_cuts()
        specification = self.directory / "init.json"
        specification.write_text(json.dumps(self._specification()), encoding="utf-8")
        reading, writing = os.pipe()
        argv = ["ip", "netns", "exec", self.lab.fabric.namespace(self.name)]
        argv += ["unshare", "--mount", "--pid", "--fork", "--uts", "--propagation", "private"]
        argv += [sys.executable, "-I", str(INIT), str(specification), str(writing)]
        try:
            with (self.directory / "init.log").open("ab") as log:
                self._launcher = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(writing,),
                    start_new_session=True,
                    cwd="/",
                )
        finally:
            os.close(writing)
        with os.fdopen(reading, encoding="ascii") as report:
            self._follow_boot(report.fileno())

    def kill(self) -> None:
        """Power loss: its cables go dead, then every process at once; then what the kernel kept is freed."""
        if self.state.init_pid is None or self.state.init_started is None:
            return
        pid, started = self.state.init_pid, self.state.init_started
        self.lab.fabric.silence(self.name)
        if processes.is_same(pid, started):
            left = leftovers.of_node(pid)

            def after_signal() -> None:
                left.abort()
                processes.resume(processes.entering(pid))

            processes.kill_and_wait(pid, started, KILL_TIMEOUT_S, after_signal)
            left.free()
        self.state.init_pid = self.state.init_started = None
        self.lab.save()
        if self._launcher is not None:
            self._launcher.wait(EXIT_TIMEOUT_S)
            self._launcher = None
        self.lab.fabric.unplug(self.name)

    @property
    def alive(self) -> bool:
        """Whether the node is powered on."""
        pid, started = self.state.init_pid, self.state.init_started
        return pid is not None and started is not None and processes.is_same(pid, started)

    # -- commands ------------------------------------------------------------------------------

    def enter(self, argv: Sequence[str | Path]) -> list[str]:
        """The command line that runs `argv` inside this node from outside.

        Raises:
            LabError: the node is off.
        """
        if not self.alive:
            raise LabError(f"node {self.name} is off: boot it first")
        inside = ["nsenter", "-t", str(self.state.init_pid), "-m", "-n", "-p", "-u", "--"]
        return inside + [str(word) for word in argv]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        timeout_s: float = 60.0,
        input_text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the node to its end; see `commands.run`."""
        return run(
            self.enter(argv),
            check=check,
            timeout_s=timeout_s,
            input_text=input_text,
            env=self.lab.environment(),
            cwd="/",
        )

    def popen(self, argv: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in the node; `options` are those of subprocess.Popen. It dies with the node."""
        settings: dict[str, Any] = {"env": self.lab.environment(), "start_new_session": True, "cwd": "/"}
        return subprocess.Popen(self.enter(argv), **{**settings, **options})

    def twinhull(
        self, *words: str, check: bool = True, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run the `twinhull` command in the node."""
        return self.run([self.lab.twinhull_command, *words], check=check, timeout_s=timeout_s)

    def status(self) -> dict[str, Any]:
        """What `twinhull status --json` says here."""
        words: dict[str, Any] = json.loads(self.twinhull("status", "--json", timeout_s=30.0).stdout)
        return words

    def path(self, inside: str) -> Path:
        """Where a path of the node is found from outside: its live mounts, or its disk when it is off."""
        if self.alive:
            return Path(f"/proc/{self.state.init_pid}/root{inside}")
        return self.disk(inside)

    def disk(self, inside: str) -> Path:
        """Where a path below one of its private directories lies on the machine's own disk.

        Raises:
            LabError: the path is not private to the node, or lies on its limited data disk.
        """
        owner = next((d for d in PRIVATE_DIRECTORIES if inside == d or inside.startswith(d + "/")), None)
        if owner is None:
            raise LabError(f"{inside} is not on a node's own disk ({', '.join(PRIVATE_DIRECTORIES)})")
        if owner == DATA_DIRECTORY and inside != owner and self.lab.disk_limit_mib is not None:
            raise LabError(f"{inside} lies in {self.directory / 'data.img'}: boot the node to read it")
        return self.directory / "disk" / inside.lstrip("/")

    # -- network -------------------------------------------------------------------------------

    def cut(self, network: str, direction: Direction = Direction.BOTH) -> None:
        """Pull this node's cable of a network, or drop what travels one way without a word."""
        self.lab.fabric.address(self.name, network)
        if direction is Direction.BOTH:
            self.state.unplugged = sorted({*self.state.unplugged, network})
        else:
            directions = {*self.state.drops.get(network, []), direction.value}
            self.state.drops[network] = sorted(directions)
        self._apply_cuts()

    def heal(self, network: str | None = None) -> None:
        """Undo every cut made on this node in a network, or in all."""
        wanted = list(self.lab.fabric.subnets) if network is None else [network]
        self.state.unplugged = [name for name in self.state.unplugged if name not in wanted]
        self.state.drops = {name: way for name, way in self.state.drops.items() if name not in wanted}
        self._apply_cuts()

    def cut_all(self, direction: Direction = Direction.BOTH) -> None:
        """Cut this node off every network."""
        for network in self.lab.fabric.subnets:
            self.cut(network, direction)

    # -- processes -----------------------------------------------------------------------------

    def processes(self, match: str = "") -> list[int]:
        """Numbers (as seen outside) of the node's processes whose command line contains `match`."""
        if not self.alive or self.state.init_pid is None:
            return []
        found = processes.in_namespace_of(self.state.init_pid)
        return [pid for pid in found if match in processes.command_line(pid)]

    def send_signal(self, match: str, number: signal.Signals) -> list[int]:
        """Send a signal to every process of the node whose command line contains `match`.

        Raises:
            LabError: there is none.
        """
        found = self.processes(match)
        if not found:
            raise LabError(f"node {self.name} runs no process that matches {match!r}")
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return found

    @contextlib.contextmanager
    def frozen(self, match: str) -> Iterator[list[int]]:
        """SIGSTOP the matching processes; SIGCONT the same ones afterwards."""
        found = self.send_signal(match, signal.SIGSTOP)
        try:
            yield found
        finally:
            entering = [] if self.state.init_pid is None else processes.entering(self.state.init_pid)
            processes.resume([*found, *entering])

    # -- services ------------------------------------------------------------------------------

    @property
    def control(self) -> Path:
        """Where the first process looks for orders and writes its services' process numbers."""
        return self.directory / "control"

    def service_pid(self, service: str) -> int | None:
        """Number (as seen outside) of a service's process, or None while it does not run."""
        file = self.control / f"{service}.pid"
        if not self.alive or self.state.init_pid is None or not file.exists():
            return None
        inside = int(file.read_text(encoding="ascii") or "0")
        for pid in processes.in_namespace_of(self.state.init_pid):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
                if int(numbers[-1]) == inside:
                    return pid
        return None

    def stop_service(self, service: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop a service (`agent`, `libvirtd`) and keep it stopped, as `systemctl stop` would."""
        (self.control / f"{service}.stopped").touch()
        self.kill_service(service, number)

    def kill_service(self, service: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal a service's process and wait for its end; it is started again unless it was stopped."""
        pid = self.service_pid(service)
        started = None if pid is None else processes.start_time(pid)
        if pid is None or started is None:
            return
        os.kill(pid, number)
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while processes.is_same(pid, started):
            if time.monotonic() > deadline:
                raise LabError(f"service {service} of node {self.name} did not end on {number.name}")
            time.sleep(POLL_S)

    def start_service(self, service: str) -> None:
        """Let a stopped service run again."""
        (self.control / f"{service}.stopped").unlink(missing_ok=True)
        if self.alive and self.state.init_pid is not None:
            os.kill(self.state.init_pid, signal.SIGHUP)

    # -- inside --------------------------------------------------------------------------------

    def _follow_boot(self, descriptor: int) -> None:
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        text = ""
        while "ready\n" not in text:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(descriptor, 4096).decode("ascii") if ready else ""
            text += piece
            if self.state.init_pid is None and "\n" in text:
                self.state.init_pid = int(text.split()[1])
                self.state.init_started = processes.start_time(self.state.init_pid)
                self.lab.save()
            if not piece:
                self.kill()
                log = (self.directory / "init.log").read_text(encoding="utf-8", errors="replace")
                raise LabError(f"node {self.name} did not boot:\n{log[-4000:]}")

    def _apply_cuts(self) -> None:
        self.lab.save()
        if not self.lab.fabric.plugged(self.name):
            return
        for network in self.lab.fabric.subnets:
            connected = network not in self.state.unplugged
            self.lab.fabric.set_cable(self.name, network, connected=connected)
        drops = {net: [Direction(way) for way in ways] for net, ways in self.state.drops.items()}
        self.lab.fabric.set_drops(self.name, drops)

    def _specification(self) -> dict[str, Any]:
        for file in self.control.glob("*.pid"):
            file.unlink()
        binds = [(str(self.disk(path)), path) for path in PRIVATE_DIRECTORIES]
        binds += [(str(self.directory / name), f"/etc/{name}") for name in ("hosts", "resolv.conf")]
        services = []
        if self.lab.libvirt:
            services.append(self._service("libvirtd", ["libvirtd"], "/run/libvirt/libvirt-sock"))
        services.append(self._service("agent", [self.lab.twinhull_command, "agent", "run"], None))
        limited = self.lab.disk_limit_mib is not None
        return {
            "hostname": self.name,
            "binds": binds,
            "data_image": str(self.data_image) if limited else "",
            "data_target": DATA_DIRECTORY,
            "environment": self.lab.environment(),
            "services": services,
        }

    def _service(self, name: str, argv: list[str], socket_path: str | None) -> dict[str, Any]:
        return {
            "name": name,
            "argv": argv,
            "log": str(self.directory / f"{name}.log"),
            "socket": socket_path,
            "stop_flag": str(self.control / f"{name}.stopped"),
            "pid_file": str(self.control / f"{name}.pid"),
        }
