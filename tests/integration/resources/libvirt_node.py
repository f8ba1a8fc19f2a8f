"""A libvirt of the test's own: in mount, network, process and host-name namespaces that end with it."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from twinhull.resources.libvirt_cmd import DEFAULT_URI, Virsh
from twinhull.resources.processes import Process, ProcessTable
from twinhull.resources.run import run_command

UP_LIMIT_S = 60.0
STATE_DIRECTORIES = ("/var/lib/libvirt", "/etc/libvirt", "/var/cache/libvirt", "/var/log/libvirt")

# The first process of the namespace has to reap: an emulator that is a zombie looks alive to libvirt.
INIT = """
set -e
base=$1; shift
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
ip link set lo up
for path; do
  mkdir -p "$base$path" "$path"
  case $path in /etc/*) cp -a "$path/." "$base$path/";; esac
  mount --bind "$base$path" "$path"
done
cat > /etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
END
virtlogd -d
libvirtd -d
until virsh -c qemu:///system list >/dev/null 2>&1; do sleep 0.05; done
echo up
while :; do sleep 1000 & wait $!; done
"""


class LibvirtNode:
    """Starts its libvirt on construction; `close` ends everything that runs in it.

    Args:
        base: an empty directory for the state of this libvirt.
    """

    def __init__(self, base: Path) -> None:
        base.mkdir(parents=True, exist_ok=True)
        options = ["--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child"]
        self._log = (base / "log").open("wb")
        self._process = subprocess.Popen(
            ["unshare", *options, "--propagation", "private", "bash", "-c", INIT, "init", base, *STATE_DIRECTORIES],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        guard = threading.Timer(UP_LIMIT_S, self._process.kill)
        guard.start()
        try:
            assert self._process.stdout is not None
            if self._process.stdout.readline() != b"up\n":
                raise RuntimeError(f"libvirt did not come up: {(base / 'log').read_text()}")
        finally:
            guard.cancel()
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self.init_pid = int(children.split()[0])
        self._space = Path(f"/proc/{self.init_pid}/ns/pid").readlink()

    @property
    def program(self) -> tuple[str, ...]:
        """The words that start this node's virsh."""
        return ("nsenter", "-t", str(self.init_pid), "-m", "-n", "-p", "-u", "-i", "virsh")

    @property
    def virsh(self) -> Virsh:
        return Virsh(DEFAULT_URI, self.program)

    def ask(self, *words: str) -> str:
        """What virsh answers; an error fails the test."""
        done = run_command(self.virsh.command(*words), timeout_s=30.0)
        assert done.code == 0, done
        return done.out.strip()

    def processes(self, name: str) -> list[Process]:
        """Processes of this node whose name begins so."""
        return [
            process
            for process in ProcessTable().all()
            if process.name.startswith(name) and self._ours(process)
        ]

    def _ours(self, process: Process) -> bool:
        try:
            return Path(f"/proc/{process.pid}/ns/pid").readlink() == self._space
        except FileNotFoundError:
            return False

    def signal_libvirtd(self, number: signal.Signals) -> None:
        """Signal this node's libvirtd."""
        daemons = self.processes("libvirtd")
        assert daemons
        for daemon in daemons:
            ProcessTable().kill(daemon, timeout_s=10.0 if number is signal.SIGKILL else 0.0, number=number)

    def enter(self, argv: Sequence[str]) -> None:
        """Run a command in this node."""
        subprocess.run([*self.program[:-1], *argv], check=True, stdout=subprocess.DEVNULL, timeout=60)

    def close(self) -> None:
        """Power loss: its first process is killed, and with it all others."""
        init = ProcessTable().get(self.init_pid)
        if init is not None:
            ProcessTable().kill(init, timeout_s=30.0)
        self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
