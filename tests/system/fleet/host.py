"""One host of a fleet: its power, its cables, commands in it, and its files seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab import leftovers, processes
from tests.lab.commands import LabError, run
from tests.lab.waiting import wait_until

from . import tree
from .fabric import CONTROL, NETWORKS, Place

if TYPE_CHECKING:
    from .fleet import Fleet

BOOT_TIMEOUT_S = 120.0
KILL_TIMEOUT_S = 30.0
POLL_S = 0.1
POWER = Path(__file__).with_name("power.py")
OUTSIDE = "/outside"
OWN_DISKS = ("/var/lib", "/srv")
BOOTED_STATES = ("running", "degraded")
QEMU_CONF = """
# A container has no control groups of its own to give to a guest, and no namespaces to make.
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
stdio_handler = "file"
"""


class Host:
    """One host; made by `Fleet`.

    Args:
        fleet: where it belongs.
        place: its name and numbers.
        site: name of its site.
        node: its name in the cluster.
    """

    def __init__(self, fleet: Fleet, place: Place, site: str, node: str) -> None:
        self.fleet = fleet
        self.place = place
        self.site = site
        self.node = node
        self.directory = fleet.root / "hosts" / place.host

    @property
    def name(self) -> str:
        """Its name in the inventory, which is its host name, too."""
        return self.place.host

    @property
    def tree(self) -> Path:
        """The tree that it was installed from."""
        return self.fleet.trees.bare if self.site in self.fleet.bare else self.fleet.trees.full

    # -- its disk ------------------------------------------------------------------------------

    def prepare(self, public_key: str) -> str:
        """Lay out its disk, once, as an installer would; the public host key of its sshd.

        Args:
            public_key: the operator's, that may log in as root and as the operator.
        """
        base = self.tree
        for path in OWN_DISKS:
            self._disk(path).parent.mkdir(parents=True, exist_ok=True)
            run(["cp", "-a", base / path.lstrip("/"), self._disk(path)])
        for name in ("upper", "work", "root"):
            (self.directory / name).mkdir()
        upper = self.directory / "upper"
        for directory in ("etc/ssh", "etc/libvirt", "root/.ssh", f"home/{tree.OPERATOR}/.ssh"):
            (upper / directory).mkdir(parents=True)
        run(
            [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                self.name,
                "-f",
                upper / "etc/ssh/ssh_host_ed25519_key",
            ]
        )
        self._authorize(upper, public_key)
        (upper / "etc/machine-id").write_text(uuid.uuid4().hex + "\n", encoding="ascii")
        (upper / "etc/hostname").write_text(f"{self.name}\n", encoding="ascii")
        (upper / "etc/hosts").write_text(self._names(), encoding="utf-8")
        (upper / "etc/libvirt/qemu.conf").write_text(QEMU_CONF, encoding="utf-8")
        self.outside.mkdir(parents=True, exist_ok=True)
        self.outside.chmod(0o1777)
        return (upper / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="ascii").strip()

    def _authorize(self, upper: Path, public_key: str) -> None:
        passwd = (self.tree / "etc/passwd").read_text(encoding="utf-8").splitlines()
        numbers = {line.split(":")[0]: (int(line.split(":")[2]), int(line.split(":")[3])) for line in passwd}
        for user, home in (("root", "root"), (tree.OPERATOR, f"home/{tree.OPERATOR}")):
            keys = upper / home / ".ssh"
            (keys / "authorized_keys").write_text(public_key + "\n", encoding="ascii")
            for path in (upper / home, keys, keys / "authorized_keys"):
                os.chown(path, *numbers[user])
            (upper / home).chmod(0o700)
            keys.chmod(0o700)

    def _names(self) -> str:
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        lines += [f"{host.place.address('lan')} {host.name}" for host in self.fleet.hosts.values()]
        return "\n".join(lines) + "\n"

    def _disk(self, inside: str) -> Path:
        return self.directory / "disk" / inside.lstrip("/").replace("/", "-")

    @property
    def outside(self) -> Path:
        """A directory that the host sees as /outside and that survives its power: a witness's notebook."""
        return self.fleet.root / "outside"

    def path(self, inside: str) -> Path:
        """Where a path of the host is found from outside: its live mounts, or its disk when it is off.

        Raises:
            LabError: the host is off and never wrote there.
        """
        leader = self.leader
        if leader is not None:
            return Path(f"/proc/{leader}/root{inside}")
        for own in OWN_DISKS:
            if inside == own or inside.startswith(own + "/"):
                return self._disk(own) / inside[len(own) :].lstrip("/")
        for layer in (self.directory / "upper", self.tree):
            if os.path.lexists(layer / inside.lstrip("/")):
                return layer / inside.lstrip("/")
        raise LabError(f"{self.name} has no {inside}")

    # -- power ---------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on: fresh network, the disk it had. Returns at once; `wait_booted` waits.

        Raises:
            LabError: it runs already.
        """
        if self.powered:
            raise LabError(f"{self.name} runs already")
        self.fleet.fabric.plug(self.name)
        for network in self.cut_networks:
            self.fleet.fabric.set_cable(self.name, network, connected=False)
        specification = self.directory / "power.json"
        specification.write_text(json.dumps(self._specification(), indent=1), encoding="utf-8")
        argv = ["unshare", "--mount", "--propagation", "private"]
        argv += [sys.executable, "-I", str(POWER), str(specification)]
        with (self.directory / "console.log").open("ab") as log:
            supervisor = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        started = processes.start_time(supervisor.pid)
        (self.directory / "supervisor").write_text(f"{supervisor.pid} {started}", encoding="ascii")

    def wait_booted(self, timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Wait until the control node can log in and systemd has finished booting.

        Raises:
            LabError: not within `timeout_s` seconds, or the power went off.
        """

        def booted() -> bool:
            if not self.powered:
                log = (self.directory / "console.log").read_text(encoding="utf-8", errors="replace")
                raise LabError(f"{self.name} did not boot:\n{log[-4000:]}")
            told = self.fleet.ssh(self.name, ["systemctl", "is-system-running", "--wait"], check=False)
            return told.stdout.strip() in BOOTED_STATES

        if CONTROL in self.cut_networks:
            wait_until(f"{self.name} to boot", self._booted_inside, timeout_s, POLL_S)
        else:
            wait_until(f"{self.name} to boot", booted, timeout_s, POLL_S)

    def _booted_inside(self) -> bool:
        if self.leader is None:
            return False
        told = self.run(["systemctl", "is-system-running", "--wait"], check=False)
        return told.stdout.strip() in BOOTED_STATES

    def power_loss(self) -> None:
        """Its cables go dead, then every process at once; then what the kernel kept is freed. Idempotent."""
        self.fleet.fabric.silence(self.name)
        supervisor, leader = self._supervisor(), self.leader
        if supervisor is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor[0], signal.SIGSTOP)  # it must not boot the host again
        if leader is not None:
            left = leftovers.of_node(leader)

            def after_signal() -> None:
                left.abort()
                processes.resume(processes.entering(leader))

            started = processes.start_time(leader)
            if started is not None:
                processes.kill_and_wait(leader, started, KILL_TIMEOUT_S, after_signal)
            left.free()
        if supervisor is not None:
            nspawn = self._nspawn()
            processes.kill_and_wait(*supervisor, KILL_TIMEOUT_S)
            if nspawn is not None and (begun := processes.start_time(nspawn)) is not None:
                processes.kill_and_wait(nspawn, begun, KILL_TIMEOUT_S)
        (self.directory / "supervisor").unlink(missing_ok=True)
        (self.directory / "nspawn").unlink(missing_ok=True)
        self.fleet.fabric.unplug(self.name)
        self._remove_cgroups()

    def remove(self) -> None:
        """Power off and remove its disk. Idempotent."""
        self.power_loss()
        if self.directory.exists():
            # Protected folders deny writes while nothing is mounted on them.
            run(["chattr", "-R", "-f", "-i", self.directory], check=False)
            shutil.rmtree(self.directory)

    @property
    def powered(self) -> bool:
        """Whether it has power; it may be booting or shutting down."""
        return self._supervisor() is not None

    @property
    def leader(self) -> int | None:
        """The host's first process as the machine numbers it, or None while it is off or between two boots."""
        nspawn = self._nspawn()
        if nspawn is None:
            return None
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text(encoding="ascii").split():
                status = Path(f"/proc/{child}/status").read_text(encoding="utf-8", errors="replace")
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
                if len(numbers) > 2 and numbers[-1] == "1":
                    return int(child)
        return None

    def boot_id(self) -> str:
        """The identity of this boot, as ansible.builtin.reboot compares it."""
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()

    def _nspawn(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.directory / "nspawn").read_text(encoding="ascii"))
            if processes.command_line(pid).startswith("systemd-nspawn "):
                return pid
        return None

    def _supervisor(self) -> tuple[int, int] | None:
        with contextlib.suppress(OSError, ValueError):
            pid, started = map(int, (self.directory / "supervisor").read_text(encoding="ascii").split())
            if processes.is_same(pid, started) and not _is_zombie(pid):
                return pid, started
        return None

    @property
    def _cgroup(self) -> str:
        return f"twinhull-fleet-{self.fleet.name}-{self.name}"

    def _remove_cgroups(self) -> None:
        roots = list(Path("/sys/fs/cgroup").glob(f"*/{self._cgroup}"))
        roots += [path for path in [Path("/sys/fs/cgroup") / self._cgroup] if path.exists()]
        for root in roots:
            for directory, _, _ in os.walk(root, topdown=False):
                with contextlib.suppress(OSError):
                    Path(directory).rmdir()

    def _specification(self) -> dict[str, Any]:
        binds = [(str(self._disk(path)), path) for path in OWN_DISKS]
        binds.append((str(self.outside), OUTSIDE))
        return {
            "hostname": self.name,
            "namespace": self.fleet.fabric.namespace(self.name),
            "cgroup": self._cgroup,
            "tree": str(self.tree),
            "upper": str(self.directory / "upper"),
            "work": str(self.directory / "work"),
            "root": str(self.directory / "root"),
            "binds": binds,
            "binds_read_only": [(str(self.fleet.trees.packages), tree.REPOSITORY_INSIDE)],
            "pid_file": str(self.directory / "nspawn"),
        }

    # -- cables --------------------------------------------------------------------------------

    @property
    def cut_networks(self) -> list[str]:
        """Networks whose cable is pulled."""
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "cuts").read_text(encoding="ascii").split()
        return []

    def cut(self, *networks: str) -> None:
        """Pull the cables of networks, or of all; they stay pulled over a power loss."""
        self._set_cuts({*self.cut_networks, *(networks or NETWORKS)})

    def heal(self, *networks: str) -> None:
        """Plug the cables of networks in again, or of all."""
        self._set_cuts({*self.cut_networks} - {*(networks or NETWORKS)})

    def _set_cuts(self, cuts: set[str]) -> None:
        (self.directory / "cuts").write_text(" ".join(sorted(cuts)), encoding="ascii")
        if self.powered:
            for network in NETWORKS:
                self.fleet.fabric.set_cable(self.name, network, connected=network not in cuts)

    # -- commands ------------------------------------------------------------------------------

    def enter(self, argv: Sequence[str | Path]) -> list[str]:
        """The command line that runs `argv` inside, as root, without any network.

        Raises:
            LabError: the host is off.
        """
        leader = self.leader
        if leader is None:
            raise LabError(f"{self.name} is off or between two boots")
        return [
            "nsenter",
            "-t",
            str(leader),
            "-m",
            "-n",
            "-p",
            "-u",
            "-i",
            "--",
            *(str(word) for word in argv),
        ]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        timeout_s: float = 120.0,
        input_text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end; see tests.lab.commands.run."""
        return run(
            self.enter(argv),
            check=check,
            timeout_s=timeout_s,
            input_text=input_text,
            env=INSIDE_ENVIRONMENT,
            cwd="/",
        )

    def popen(self, argv: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start a command inside; `options` are those of subprocess.Popen. It dies with the host."""
        settings: dict[str, Any] = {"env": INSIDE_ENVIRONMENT, "start_new_session": True, "cwd": "/"}
        return subprocess.Popen(self.enter(argv), **{**settings, **options})

    def twinhull(
        self, *words: str, check: bool = True, timeout_s: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run the installed `twinhull` command inside."""
        return self.run(["/usr/local/bin/twinhull", *words], check=check, timeout_s=timeout_s)

    def status(self) -> dict[str, Any]:
        """What `twinhull status --json` says here."""
        words: dict[str, Any] = json.loads(self.twinhull("status", "--json", timeout_s=60.0).stdout)
        return words


INSIDE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
}


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
