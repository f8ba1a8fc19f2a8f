"""The first process of a node: makes its mounts, starts its services and keeps them running, reaps the dead.

Run by `Node.boot` inside the node's fresh namespaces, with a specification in JSON; standard library only. It
stands for firmware, kernel and systemd: a SIGKILL to it takes the whole node away.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESTART_PAUSE_S = 1.0
READY_TIMEOUT_S = 60.0
POLL_S = 0.02


@dataclass
class Service:
    """One supervised program.

    Args:
        name: name of the service.
        argv: the program.
        log: where its output goes (appended).
        socket: path of the Unix socket that shows it is ready, or None.
        stop_flag: while this file exists the service is not started.
        pid_file: where the number of its process (as seen inside the node) is written.
    """

    name: str
    argv: list[str]
    log: str
    socket: str | None
    stop_flag: str
    pid_file: str
    process: subprocess.Popen[bytes] | None = None
    not_before_s: float = field(default=0.0)

    def start(self) -> None:
        """Start it, as a service manager would: own session, no terminal."""
        Path(self.log).parent.mkdir(parents=True, exist_ok=True)
        with Path(self.log).open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                preexec_fn=unblock_signals,  # noqa: PLW1509 - this process has one thread
            )
        Path(self.pid_file).write_text(f"{self.process.pid}\n", encoding="ascii")

    def step(self) -> None:
        """Start it again when it ended and is wanted."""
        if self.process is not None and self.process.poll() is not None:
            self.process = None
            self.not_before_s = time.monotonic() + RESTART_PAUSE_S
            Path(self.pid_file).unlink(missing_ok=True)
        wanted = not Path(self.stop_flag).exists()
        if self.process is None and wanted and time.monotonic() >= self.not_before_s:
            self.start()

    def wait_ready(self) -> None:
        """Wait until its socket accepts connections."""
        if self.socket is None:
            return
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended while starting: see {self.log}")
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.connect(self.socket)
                return
            time.sleep(POLL_S)
        raise RuntimeError(f"{self.name} did not answer on {self.socket}: see {self.log}")


def unblock_signals() -> None:
    """Undo in a child what the first process blocked for itself."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def mount(*words: str) -> None:
    """Run mount(8)."""
    subprocess.run(["mount", *words], check=True, stdin=subprocess.DEVNULL)


def make_mounts(spec: dict[str, Any]) -> None:
    """The node's own file systems over the machine's."""
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "tmpfs", "-o", "mode=755,size=256m", "tmpfs", "/run")
    Path("/run/lock").mkdir(mode=0o1777)
    connections = Path("/sys/fs/fuse/connections")
    if connections.is_dir() and not connections.is_mount():
        mount("-t", "fusectl", "fusectl", str(connections))
    for source, target in spec["binds"]:
        mount("--bind", source, target)
    if spec["data_image"]:
        options = [] if Path(spec["data_image"]).is_block_device() else ["-o", "loop"]
        mount("-t", "ext4", *options, spec["data_image"], spec["data_target"])


def reap(services: list[Service]) -> None:
    """Collect the orphans that ended; the services' own are left to their Popen objects."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        owner = next((s for s in services if s.process is not None and s.process.pid == found.si_pid), None)
        if owner is not None and owner.process is not None:
            owner.process.poll()
        else:
            os.waitpid(found.si_pid, 0)


def supervise(services: list[Service]) -> None:
    """Run for ever: SIGHUP looks at the stop flags at once, SIGCHLD at who ended."""
    while True:
        signal.sigtimedwait({signal.SIGCHLD, signal.SIGHUP}, RESTART_PAUSE_S / 4)
        reap(services)
        for service in services:
            service.step()


def main() -> None:
    """Boot the node of the specification named on the command line; tell on its descriptor how it went."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    pid_outside = str(Path("/proc/self").readlink())
    report = os.fdopen(int(sys.argv[2]), "w")
    os.set_inheritable(report.fileno(), False)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGHUP})
    report.write(f"pid {pid_outside}\n")
    report.flush()
    socket.sethostname(spec["hostname"])
    make_mounts(spec)
    os.environ.clear()
    os.environ.update(spec["environment"])
    services = [Service(**words) for words in spec["services"]]
    for service in services:
        service.step()
        if service.process is not None:
            service.wait_ready()
    report.write("ready\n")
    report.close()
    supervise(services)


if __name__ == "__main__":
    main()
