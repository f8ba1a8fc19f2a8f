"""A fleet: its life from `up` to `down`, the control node's commands and the playbooks run from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab import processes
from tests.lab.commands import LabError, run
from tests.lab.leftovers import mount_connections

from . import inventory, registry, tree
from .fabric import CONTROL, SITE_NETWORKS, Fabric, Place
from .host import Host

REPOSITORY = Path(__file__).resolve().parents[3]
FLEETS = REPOSITORY / "build" / "fleet"
SITES = ("lyon", "basel", "oslo", "turin")
NODES = ("a", "b")
NAME_LIMIT = 12
NEEDED = ("ip", "nft", "unshare", "nsenter", "mount", "systemd-nspawn", "ssh", "ssh-keygen", "mmdebstrap")
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES_WANTED = 1024
PLAY_TIMEOUT_S = 1800.0
Say = Callable[[str], None]


class Fleet:
    """Sites of two hosts each on this machine. A context manager: everything is gone after it.

    Args:
        name: unique on this machine: letters, digits and dashes, at most 12.
        sites: names of its sites, in the order of their numbers.
        dead: those of them that stand in the inventory only: no host of theirs ever answers.
        bare: those of them whose hosts have no libvirt yet.
        modules: site -> modules for its inventory; default one libvirt VM per site.

    Raises:
        LabError: the name cannot be used.
    """

    def __init__(
        self,
        name: str,
        *,
        sites: Sequence[str] = SITES[:2],
        dead: Sequence[str] = (),
        bare: Sequence[str] = (),
        modules: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        if not name.replace("-", "").isalnum() or len(name) > NAME_LIMIT:
            raise LabError(f"fleet name {name!r}: letters, digits and dashes, at most {NAME_LIMIT}")
        self.name = name
        self.sites = tuple(sites)
        self.dead = tuple(dead)
        self.bare = tuple(bare)
        self.root = FLEETS / name
        self.modules = {
            site: dict((modules or {}).get(site, inventory.default_modules(site))) for site in self.sites
        }
        self.owner, self.persistent = os.getpid(), False
        self.owner_started = processes.start_time(self.owner)
        self.trees = tree.Trees.below(Path())
        places = {
            f"{site}-{node}": (Place(f"{site}-{node}", site_number, node_number), site, node)
            for site_number, site in enumerate(self.sites, 1)
            for node_number, node in enumerate(NODES)
        }
        self.fabric = Fabric(name, tuple(place for place, _, _ in places.values()))
        self.hosts = {host: Host(self, *words) for host, words in places.items()}

    @classmethod
    def load(cls, name: str) -> Fleet:
        """A fleet that some process made.

        Raises:
            LabError: there is none of this name.
        """
        words = registry.read(name)
        fleet = cls(
            name, sites=words["sites"], dead=words["dead"], bare=words["bare"], modules=words["modules"]
        )
        fleet.trees = tree.Trees.below(Path(words["trees"]))
        fleet.owner, fleet.owner_started = words["owner"], words["owner_started"]
        fleet.persistent = words["persistent"]
        return fleet

    def save(self) -> None:
        """Write down what another process needs to use or to remove this fleet."""
        registry.write(
            self.name,
            {
                "sites": list(self.sites),
                "dead": list(self.dead),
                "bare": list(self.bare),
                "modules": self.modules,
                "trees": str(self.trees.bare.parent),
                "owner": self.owner,
                "owner_started": self.owner_started,
                "persistent": self.persistent,
            },
        )

    # -- life ----------------------------------------------------------------------------------

    def up(self, say: Say, *, persistent: bool = False) -> Fleet:
        """Make the networks and the hosts' disks, boot the hosts, write the inventory.

        Args:
            say: gets a line when this takes long.
            persistent: the fleet outlives this process.

        Raises:
            LabError: something is missing, or a fleet of this name exists; nothing is left behind.
        """
        check_machine()
        if registry.exists(self.name):
            raise LabError(
                f"fleet {self.name} exists already: `python -m tests.system.fleet down {self.name}`"
            )
        self.trees = tree.make(say)
        self.persistent = persistent
        self.save()
        try:
            if self.root.exists():
                self._remove_disks()
            self.sockets.mkdir(parents=True, mode=0o700, exist_ok=True)
            self._lay_out()
            self.fabric.up()
            for site in self.dead:
                self.fabric.refuse_site(self.sites.index(site) + 1)
            for host in self.living:
                host.boot()
            for host in self.living:
                host.wait_booted()
        except BaseException:
            self.down()
            raise
        return self

    def _lay_out(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"operator of {self.name}", "-f", self.key])
        public = self.key.with_suffix(".pub").read_text(encoding="ascii").strip()
        known = []
        for host in self.living:
            host_key = " ".join(host.prepare(public).split()[:2])
            known += [f"{host.place.address(network)} {host_key}" for network in (*SITE_NETWORKS, CONTROL)]
        self.known_hosts.write_text("\n".join(known) + "\n", encoding="ascii")
        inventory.write(self, self.modules)

    def down(self) -> None:
        """Power everything off and remove all of it. Idempotent; works on what another process left."""
        for host in self.hosts.values():
            host.power_loss()
        self.fabric.down()
        self._remove_disks()
        shutil.rmtree(self.sockets.parent, ignore_errors=True)
        registry.remove(self.name)

    def _remove_disks(self) -> None:
        for host in self.hosts.values():
            host.remove()
        if self.root.exists():
            run(["chattr", "-R", "-f", "-i", self.root], check=False)
            shutil.rmtree(self.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @property
    def abandoned(self) -> bool:
        """Whether the process that made it, and that should have removed it, is gone."""
        alive = self.owner_started is not None and processes.is_same(self.owner, self.owner_started)
        return not self.persistent and not alive

    # -- places --------------------------------------------------------------------------------

    @property
    def inventory(self) -> Path:
        """sites.yml for the plugin twinhull.ha.sites."""
        return self.root / "inventory" / "sites.yml"

    @property
    def static_inventory(self) -> Path:
        """The same hosts and variables without the plugin."""
        return self.root / "inventory-static" / "hosts.yml"

    @property
    def ssh_config(self) -> Path:
        """The configuration of ssh, for `ssh -F`."""
        return self.root / "ssh_config"

    @property
    def key(self) -> Path:
        """The operator's private key."""
        return self.root / "id_operator"

    @property
    def known_hosts(self) -> Path:
        """The hosts' public keys."""
        return self.root / "known_hosts"

    @property
    def sockets(self) -> Path:
        """Where ssh keeps its shared connections: a short path, and no other fleet's."""
        return registry.REGISTRY / self.name / "cp"

    def __getitem__(self, host: str) -> Host:
        try:
            return self.hosts[host]
        except KeyError:
            raise LabError(f"fleet {self.name} has no host {host}: {', '.join(self.hosts)}") from None

    @property
    def living(self) -> list[Host]:
        """The hosts that are not of dead sites."""
        return [host for host in self.hosts.values() if host.site not in self.dead]

    def hosts_of(self, site: str) -> list[Host]:
        """The two hosts of a site."""
        return [host for host in self.hosts.values() if host.site == site]

    # -- the control node ----------------------------------------------------------------------

    def control_command(self, argv: Sequence[str | Path]) -> list[str]:
        """The command line that runs `argv` on the control node: this machine's files, the fleet's networks."""
        return ["ip", "netns", "exec", self.fabric.control, *(str(word) for word in argv)]

    def environment(self) -> dict[str, str]:
        """Variables for commands of the control node."""
        binaries = Path(sys.executable).parent
        kept = {name: os.environ[name] for name in ("HOME", "TERM", "LANG") if name in os.environ}
        return {
            **kept,
            "PATH": f"{binaries}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.sockets),
            "ANSIBLE_NOCOLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def ssh(self, host: str, argv: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on a host over ssh as root, as the control node does."""
        words = ["ssh", "-F", str(self.ssh_config), host, "--", *argv]
        return run(self.control_command(words), check=check, env=self.environment(), timeout_s=60.0)

    def play_command(self, playbook: str | Path, *arguments: str) -> list[str]:
        """The command line that runs a playbook from the control node; from the repository's directory."""
        ansible = Path(sys.executable).with_name("ansible-playbook")
        plugin = REPOSITORY / "collections/ansible_collections/twinhull/ha/plugins/inventory/sites.py"
        chosen = self.inventory if plugin.exists() else self.static_inventory
        return self.control_command([ansible, "-i", chosen, playbook, *arguments])

    def play(
        self,
        playbook: str | Path,
        *arguments: str,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = PLAY_TIMEOUT_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook over the fleet.

        Args:
            playbook: relative to the repository, or absolute.
            arguments: for ansible-playbook.
            check: raise LabError when it fails.
            environment: more variables.
            timeout_s: seconds until it is killed.
        """
        variables = {**self.environment(), **(environment or {})}
        command = self.play_command(playbook, *arguments)
        return run(command, check=check, env=variables, cwd=REPOSITORY, timeout_s=timeout_s)


def sweep(say: Say) -> None:
    """Remove the fleets whose makers died without doing so."""
    for name in registry.names():
        fleet = Fleet.load(name)
        if fleet.abandoned:
            fleet.down()
            say(f"removed fleet {name}, which its maker had left")


def check_machine() -> None:
    """Whether this machine can have a fleet.

    Raises:
        LabError: says what is missing.
    """
    if os.geteuid() != 0:
        raise LabError("a fleet needs root: it makes namespaces, mounts and containers")
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        raise LabError(
            f"{', '.join(missing)} missing: apt-get install systemd-container mmdebstrap openssh-client iproute2 nftables"
        )
    overlay = "overlay" in Path("/proc/filesystems").read_text(encoding="ascii")
    if not overlay or not Path("/dev/fuse").exists() or not Path("/dev/loop-control").exists():
        raise LabError("this kernel lacks overlayfs, FUSE or loop devices: the fleet's hosts need them")
    mount_connections()
    # Every systemd, dbus and journal takes some; Debian's default is too small for two fleets at once.
    if int(INOTIFY_INSTANCES.read_text(encoding="ascii")) < INOTIFY_INSTANCES_WANTED:
        INOTIFY_INSTANCES.write_text(str(INOTIFY_INSTANCES_WANTED), encoding="ascii")
