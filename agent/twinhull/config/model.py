"""The configuration as typed, immutable values: seconds, bytes, literal IP addresses."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path, PurePath

from ..core.record import WitnessKind
from ..core.rescue import WhenFull
from ..core.settings import Boot, Keep, Return, StopMode
from ..errors import UsageError
from .paths import usual
from .units import Window

MAX_MODULES = 32


class NetworkRole(enum.Enum):
    """What a network between the nodes is used for."""

    HEARTBEAT = "heartbeat"
    REPLICATION = "replication"
    CONTROL = "control"


class ResourceKind(enum.Enum):
    """What runs on a folder."""

    LIBVIRT = "libvirt"
    HYPERV = "hyperv"
    SCRIPTS = "scripts"


class Unrestorable(enum.Enum):
    """What happens with a saved state that does not restore."""

    DISCARD = "discard"
    STOP = "stop"


class ExportKind(enum.Enum):
    """How the volume becomes a disk of the host."""

    FUSE = "fuse"
    ISCSI = "iscsi"


class AttachKind(enum.Enum):
    """Who uses that disk: the host mounts it at the folder, or whoever runs on the module logs in to it himself."""

    FOLDER = "folder"
    NONE = "none"


class CheckerKind(enum.Enum):
    """How a resource's health is looked at."""

    GUEST_AGENT = "guest-agent"
    SCRIPT = "script"


class CheckerAction(enum.Enum):
    """What a failed checker asks for."""

    RESTART = "restart"
    STOPSTART = "stopstart"


class PathKind(enum.StrEnum):
    """Directories of the node that no folder may touch."""

    DATA = "data_dir"
    RUN = "run_dir"
    LOG = "log_dir"
    PKI = "pki_dir"


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP and UDP ports.

    The data port of a module is `data` plus the module's number; `export` plus that number is the port of its iSCSI disk,
    on 127.0.0.1 alone.
    """

    control: int = 7410
    heartbeat: int = 7411
    data: int = 7420
    export: int = 7460


@dataclass(frozen=True, slots=True)
class WitnessConfig:
    """Who is asked before a node goes on alone.

    Args:
        kind: NONE, PING, or ETCD, which has a memory.
        addresses: of a ping witness.
        timeout_s: how long an answer is waited for, seconds.
        endpoints: of an etcd witness, each `https://ADDRESS:PORT`.
        ca, cert, key: files on both nodes: etcd's authority, and what this cluster shows to etcd.
    """

    kind: WitnessKind = WitnessKind.NONE
    addresses: tuple[str, ...] = ()
    timeout_s: float = 5.0
    endpoints: tuple[str, ...] = ()
    ca: PurePath | None = None
    cert: PurePath | None = None
    key: PurePath | None = None


@dataclass(frozen=True, slots=True)
class StopConfig:
    """One way of stopping a VM; `timeout_s` is how long it may take."""

    mode: StopMode = StopMode.STOP
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True)
class LibvirtConfig:
    """A VM of libvirt whose disks and definition live in the folder."""

    domain: str
    stop: StopConfig = StopConfig(StopMode.STOP, 120.0)
    forced_stop: StopConfig = StopConfig(StopMode.OFF, 30.0)
    kind: ResourceKind = ResourceKind.LIBVIRT


@dataclass(frozen=True, slots=True)
class HyperVConfig:
    """A VM of Hyper-V all of whose files lie in the folder.

    Args:
        domain: the VM's name; the key is the one of every VM.
        saved_state: what happens with a saved state that does not restore.
    """

    domain: str
    stop: StopConfig = StopConfig(StopMode.STOP, 120.0)
    forced_stop: StopConfig = StopConfig(StopMode.OFF, 30.0)
    saved_state: Unrestorable = Unrestorable.DISCARD
    kind: ResourceKind = ResourceKind.HYPERV


@dataclass(frozen=True, slots=True)
class ScriptsConfig:
    """An application with scripts (argument lists; the first is an absolute path).

    Args:
        process: `start` is a foreground program that the worker supervises; then `stop` and `check` may be
            empty.
    """

    start: tuple[str, ...]
    stop: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 60.0
    process: bool = False
    kind: ResourceKind = ResourceKind.SCRIPTS


VmConfig = LibvirtConfig | HyperVConfig
ResourceConfig = VmConfig | ScriptsConfig


@dataclass(frozen=True, slots=True)
class CheckerConfig:
    """One checker of a module.

    Args:
        interval_s: pause between looks.
        failures: how many in a row count.
        boot_time_s: how long after a start failures are forgiven while no success was seen.
        timeout_s: how long one look may take.
        command: argument list of a script checker; empty for others.
    """

    name: str
    kind: CheckerKind
    interval_s: float = 5.0
    failures: int = 3
    boot_time_s: float = 300.0
    timeout_s: float = 5.0
    action: CheckerAction = CheckerAction.RESTART
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BootConfig:
    """What happens to the module when its node boots."""

    mode: Boot = Boot.AUTO
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ReturnConfig:
    """When the module goes back to its preferred node; `window` only with WINDOW."""

    mode: Return = Return.MANUAL
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class VerifyConfig:
    """When both replicas are compared unasked.

    Args:
        window: None: never.
        repair: whether what differs is made equal with the content of the node that runs the module.
    """

    window: Window | None = None
    repair: bool = False


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """How the volume becomes a disk.

    Args:
        kind: None: what is usual on the platform (Windows: iSCSI, Linux: FUSE).
        attach: NONE goes with iSCSI alone.
    """

    kind: ExportKind | None = None
    attach: AttachKind = AttachKind.FOLDER


@dataclass(frozen=True, slots=True)
class ModuleConfig:
    """One protected unit.

    Args:
        number: 1 to 32; its data port is `ports.data + number`.
        folder: absolute path, the same on both nodes.
        size_bytes: of the volume.
        timeout_s: T of the design.
        write_timeout_s: how long a write may stay unanswered.
    """

    name: str
    number: int
    folder: PurePath
    size_bytes: int
    resource: ResourceConfig
    file_system: str = "ext4"
    preferred: str | None = None
    boot: BootConfig = BootConfig()
    give_back: ReturnConfig = ReturnConfig()
    timeout_s: float = 10.0
    write_timeout_s: float = 10.0
    checkers: tuple[CheckerConfig, ...] = ()
    verify: VerifyConfig = VerifyConfig()
    export: ExportConfig = ExportConfig()


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A network between the nodes and what it is used for."""

    roles: tuple[NetworkRole, ...]


@dataclass(frozen=True, slots=True)
class NodeAddresses:
    """A node's literal IP address on each network, by the network's name."""

    addresses: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RescueConfig:
    """What is kept of what a copy overwrites.

    Args:
        share_percent: of the disk below the data directory, the most that the rescues of a module may take.
        expire_after_s: age from which a rescue that nothing waits for is removed.
        split_brain_full, resync_full: what is done when a rescue of this kind finds no room.
    """

    share_percent: int = 20
    expire_after_s: float = 30 * 86_400.0
    split_brain_full: WhenFull = WhenFull.ASK
    resync_full: WhenFull = WhenFull.GIVE_UP


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """The configuration of the cluster, the same on both nodes."""

    cluster: str
    nodes: Mapping[str, NodeAddresses]
    networks: Mapping[str, NetworkConfig]
    modules: Mapping[str, ModuleConfig] = field(default_factory=dict)
    ports: Ports = Ports()
    witness: WitnessConfig = WitnessConfig()
    keep: Keep = Keep.LONGEST_RUNNING
    rescue: RescueConfig = RescueConfig()

    def module(self, name: str) -> ModuleConfig:
        """The module of this name. Raises UsageError naming the ones there are."""
        if name not in self.modules:
            there = ", ".join(self.modules) or "none"
            raise UsageError(
                f"There is no module '{name}' in cluster {self.cluster}.", f"Modules are: {there}."
            )
        return self.modules[name]

    def peer_of(self, node: str) -> str:
        """The name of the other node. Raises UsageError for a node that is not of this cluster."""
        if node not in self.nodes:
            raise UsageError(
                f"There is no node '{node}' in cluster {self.cluster}.",
                f"Nodes are: {', '.join(self.nodes)}.",
            )
        return next(name for name in self.nodes if name != node)

    def networks_with(self, role: NetworkRole) -> tuple[str, ...]:
        """Names of the networks of this role, in the order of the file."""
        return tuple(name for name, network in self.networks.items() if role in network.roles)

    def addresses(self, node: str, role: NetworkRole) -> dict[str, str]:
        """The node's addresses on the networks of this role, by network, in the order of the file."""
        return {name: self.nodes[node].addresses[name] for name in self.networks_with(role)}

    def data_port(self, module: str) -> int:
        """The TCP port on which both nodes listen for this module's data stream."""
        return self.ports.data + self.module(module).number

    def export_port(self, module: str) -> int:
        """The TCP port on 127.0.0.1 on which this module's iSCSI disk is offered."""
        return self.ports.export + self.module(module).number

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of what the configuration says, whatever the order, spelling or comments.

        Defaults do not count, so that two versions agree about a file while one of them knows more keys.
        """
        text = json.dumps(canonical(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The small configuration of one node."""

    node: str
    data_dir: Path = field(default_factory=lambda: usual("/var/lib/twinhull", "data"))
    run_dir: Path = field(default_factory=lambda: usual("/run/twinhull", "run"))
    log_dir: Path = field(default_factory=lambda: usual("/var/log/twinhull", "log"))
    pki_dir: Path = field(default_factory=lambda: usual("/etc/twinhull/pki", "pki"))
    cluster_config: Path = field(default_factory=lambda: usual("/etc/twinhull/cluster.yml", "cluster.yml"))
    libvirt_uri: str = "qemu:///system"

    def directories(self) -> dict[str, Path]:
        """The node's own directories by their key in the file."""
        return {kind.value: getattr(self, kind.value) for kind in PathKind}


def canonical(value: object) -> object:
    """Dataclasses (without what is as by default), enums and paths as plain JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, Window):
            return str(value)
        said = {item.name: getattr(value, item.name) for item in fields(value)}
        usual = {item.name: item.default for item in fields(value)}
        return {name: canonical(own) for name, own in said.items() if own != usual[name]}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    return value
