"""The lab: its life from `up` to `down`, its networks, and Twinhull installed on its nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import install, processes, registry
from .commands import LabError, run
from .leftovers import mount_connections
from .network import OBSERVER, Fabric
from .node import PRIVATE_DIRECTORIES, Node, NodeState
from .waiting import wait_until

SUBNETS = {"heartbeat": "10.77.1", "replication": "10.77.2"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEEDED = ("ip", "bridge", "nft", "unshare", "nsenter", "mount", "losetup", "mkfs.ext4")
NAME_LIMIT = 32
AGENTS_TIMEOUT_S = 60.0
AGENTS_POLL_S = 0.2


class Lab:
    """Some nodes on this machine, joined by networks. A context manager: everything is gone after it.

    Args:
        root: directory for the nodes' disks and logs; `down` removes what the lab put there.
        name: unique on this machine; letters, digits and dashes.
        libvirt: every node runs a libvirtd of its own.
        nodes: the nodes' names; their addresses end in 1, 2, ...
        subnets: network name -> first three numbers of its addresses.
        disk_limit_mib: size of a disk of its own for each node's data directory, so that it can fill up.
        environment: variables for everything that runs in the nodes.
        persistent: it outlives the process that made it.

    Raises:
        LabError: this machine or user cannot have a lab; says what is missing.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        *,
        libvirt: bool = False,
        nodes: Sequence[str] = ("a", "b"),
        subnets: Mapping[str, str] = SUBNETS,
        disk_limit_mib: int | None = None,
        environment: Mapping[str, str] | None = None,
        persistent: bool = False,
    ) -> None:
        if not name.replace("-", "").isalnum() or len(name) > NAME_LIMIT:
            raise LabError(f"lab name {name!r}: letters, digits and dashes, at most {NAME_LIMIT}")
        self.root = root.resolve()
        self.name = name
        self.libvirt = libvirt
        self.disk_limit_mib = disk_limit_mib
        self.persistent = persistent
        self.owner = os.getpid()
        self.owner_started = processes.start_time(self.owner)
        self.extra_environment = dict(environment or {})
        self.fabric = Fabric(name, subnets, {node: index for index, node in enumerate(nodes, 1)})
        self.nodes = {node: Node(self, node, NodeState()) for node in nodes}

    @classmethod
    def load(cls, name: str) -> Lab:
        """A lab that some process made.

        Raises:
            LabError: there is none of this name.
        """
        words = registry.read(name)
        lab = cls(
            Path(words["root"]),
            name,
            libvirt=words["libvirt"],
            nodes=list(words["nodes"]),
            subnets=words["subnets"],
            disk_limit_mib=words["disk_limit_mib"],
            environment=words["environment"],
            persistent=words["persistent"],
        )
        lab.owner, lab.owner_started = words["owner_pid"], words["owner_started"]
        for node, state in words["nodes"].items():
            lab.nodes[node].state = NodeState.of(state)
        return lab

    def save(self) -> None:
        """Write down what another process needs to go on with this lab, or to remove it."""
        words = {
            "root": str(self.root),
            "libvirt": self.libvirt,
            "subnets": self.fabric.subnets,
            "disk_limit_mib": self.disk_limit_mib,
            "environment": self.extra_environment,
            "persistent": self.persistent,
            "owner_pid": self.owner,
            "owner_started": self.owner_started,
            "nodes": {name: asdict(node.state) for name, node in self.nodes.items()},
        }
        registry.write(self.name, words)

    # -- life ----------------------------------------------------------------------------------

    def up(self, *, boot: bool = True) -> Lab:
        """Make the networks and the nodes' disks, and boot the nodes.

        Raises:
            LabError: something is missing, or a lab of this name exists; nothing is left behind.
        """
        check_machine(libvirt=self.libvirt)
        for directory in PRIVATE_DIRECTORIES:
            if self.root.is_relative_to(directory) or Path(sys.prefix).is_relative_to(directory):
                raise LabError(f"nodes hide {directory}: put the checkout and the lab's directory elsewhere")
        if registry.exists(self.name):
            raise LabError(f"lab {self.name} exists already: `make lab-down` removes all labs")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            registry.make_directories(PRIVATE_DIRECTORIES)
            self.save()
            self.fabric.up()
            for node in self.nodes.values():
                node.prepare()
            for node in self.nodes.values():
                if boot:
                    node.boot()
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Power everything off and remove all of it. Idempotent; works on what another process left."""
        if not registry.exists(self.name):
            return
        for node in self.nodes.values():
            node.kill()
        self.fabric.down()
        for directory in (self.root / "nodes", self.reports):
            if directory.exists():
                # Protected folders deny writes while nothing is mounted on them.
                run(["chattr", "-R", "-f", "-i", directory], check=False)
                shutil.rmtree(directory)
        registry.remove(self.name)

    def __enter__(self) -> Self:
        """`up`."""
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """`down`."""
        self.down()

    # -- nodes and networks --------------------------------------------------------------------

    def __getitem__(self, node: str) -> Node:
        """A node by name.

        Raises:
            LabError: there is none.
        """
        try:
            return self.nodes[node]
        except KeyError:
            raise LabError(f"there is no node {node}: the lab has {', '.join(self.nodes)}") from None

    def cut(self, network: str) -> None:
        """Pull every node's cable of a network."""
        self._check_network(network)
        for node in self.nodes.values():
            node.cut(network)

    def heal(self, network: str | None = None) -> None:
        """Undo every cut in a network, or in all."""
        for name in list(self.fabric.subnets) if network is None else [network]:
            self._check_network(name)
            for node in self.nodes.values():
                node.heal(name)
            self.fabric.isolate(name, isolated=False)

    def isolate(self, network: str) -> None:
        """Keep the nodes from each other in a network while each still reaches the observer."""
        self._check_network(network)
        self.fabric.isolate(network, isolated=True)

    def observe(self, argv: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the observer's network namespace (`commands.run`)."""
        return run(["ip", "netns", "exec", self.fabric.namespace(OBSERVER), *argv], **options)

    def witness_address(self, network: str) -> str:
        """The observer's address in a network: answers pings."""
        return self.fabric.address(OBSERVER, network)

    # -- Twinhull ------------------------------------------------------------------------------

    @property
    def reports(self) -> Path:
        """A directory that every node sees and that lies on no node's disk: it survives all of them."""
        return self.root / "reports"

    @property
    def twinhull_command(self) -> str:
        """The installed `twinhull` command beside this Python.

        Raises:
            LabError: it is not installed.
        """
        command = Path(sys.executable).parent / "twinhull"
        if not command.exists():
            raise LabError(
                f"{command} is missing: run the lab with the project's own environment (`make lab`)"
            )
        return str(command)

    def environment(self) -> dict[str, str]:
        """The environment of everything that runs in a node."""
        path = f"{Path(sys.executable).parent}:{SYSTEM_PATH}"
        return {"PATH": path, "LANG": "C.UTF-8", "HOME": "/root", "TERM": "dumb", **self.extra_environment}

    def install_twinhull(self, modules: Mapping[str, Any], **cluster: Any) -> None:
        """Write certificates and configuration to every node's disk, and start the agents.

        Args:
            modules: the `modules` of cluster.yml.
            cluster: other keys of cluster.yml that replace the lab's (`witness`, `keep`, ...).
        """
        install.write_files(self, modules, cluster)
        for node in self.nodes.values():
            node.start_service("agent")

    def wait_agents(self, timeout_s: float = AGENTS_TIMEOUT_S) -> None:
        """Wait until every node that is on tells of all nodes that are on, each module with its worker.

        Raises:
            LabError: not within `timeout_s` seconds.
        """
        wait_until("the agents and their workers", self._agents_work, timeout_s, AGENTS_POLL_S)

    def _agents_work(self) -> bool:
        running = [node for node in self.nodes.values() if node.alive]
        try:
            told = [node.status()["nodes"] for node in running]
        except (LabError, ValueError):
            return False
        seen = [words[node.name] for words in told for node in running]
        workers = [module["worker"]["alive"] for node in seen for module in node["modules"].values()]
        return all(node["reachable"] for node in seen) and all(workers)

    def _check_network(self, network: str) -> None:
        if network not in self.fabric.subnets:
            raise LabError(f"there is no network {network}: the lab has {', '.join(self.fabric.subnets)}")


def check_machine(*, libvirt: bool) -> None:
    """Say at once what a lab lacks here.

    Raises:
        LabError: not Linux, not root, or programs are missing.
    """
    if sys.platform != "linux":
        raise LabError("the lab needs Linux: namespaces, FUSE and loop devices")
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes namespaces, mounts and loop devices")
    needed = (*NEEDED, "libvirtd", "qemu-system-x86_64") if libvirt else NEEDED
    missing = [program for program in needed if shutil.which(program, path=SYSTEM_PATH) is None]
    missing += [device for device in ("/dev/fuse", "/dev/loop-control") if not Path(device).exists()]
    if missing:
        raise LabError(f"this machine lacks {', '.join(missing)}: `make lab` installs what Debian has of it")
    mount_connections()


def sweep_stale() -> list[str]:
    """Remove the labs whose maker died without removing them; their names."""
    removed = []
    for name in registry.names():
        words = registry.read(name)
        owner, started = words["owner_pid"], words["owner_started"]
        if not words["persistent"] and not (started is not None and processes.is_same(owner, started)):
            Lab.load(name).down()
            removed.append(name)
    return removed
