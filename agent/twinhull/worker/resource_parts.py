"""What stands on a module's volume: the mounted folder, the resource, a look into its guest, and its moves in and out."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twinhull.attach import blank
from twinhull.attach.base import Attacher
from twinhull.attach.folder import check_folder, prepare_folder, release_folder
from twinhull.attach.nothing import NoAttacher
from twinhull.attach.windows import CLUSTER_BYTES, BareFolder, OurDisk, WindowsAttacher
from twinhull.checkers import MakeGuestChecker
from twinhull.checkers.guest import GuestAgentChecker
from twinhull.checkers.heartbeat import HeartbeatChecker
from twinhull.config import (
    AttachKind,
    ClusterConfig,
    ExportKind,
    HyperVConfig,
    LibvirtConfig,
    ModuleConfig,
    NodeConfig,
    ScriptsConfig,
    Unrestorable,
)
from twinhull.core.settings import StopMode
from twinhull.errors import AttachError
from twinhull.exports.iscsi import target_name
from twinhull.powershell import PowerShellHosts
from twinhull.resources.base import Progress, Resource
from twinhull.resources.hyperv import HyperVPlaces, HyperVResource
from twinhull.resources.hyperv_protect import HyperVMover, HyperVPlan, MovedPlan
from twinhull.resources.libvirt import LibvirtResource
from twinhull.resources.libvirt_cmd import Virsh
from twinhull.resources.libvirt_plan import MovePlan
from twinhull.resources.libvirt_protect import VmMover
from twinhull.resources.scripts import ScriptSettings, ScriptsResource
from twinhull.storage.volume import Volume

from .moves import Mover, Moves
from .places import export_directory, export_kind, export_name, moves_directory, offer_file

LAUNCHER = (
    (sys.executable, "-I", "-S", str(Path(__file__).with_name("plainly.py")))
    if sys.platform == "linux"
    else ()
)
"""Put before commands of the operator: it takes from them what our own process is privileged with."""


@functools.cache
def powershell() -> PowerShellHosts:
    """The PowerShell hosts of this process; none is started before it is needed."""
    return PowerShellHosts()


def _windows_attacher(
    node: NodeConfig, cluster: ClusterConfig, module: ModuleConfig, volume: Volume | None
) -> Attacher:
    offered = offer_file(node, module.name)
    folder = Path(module.folder)

    def disk() -> OurDisk | None:
        """Known from the volume, or for the agent, which must not open it, from what a worker told last."""
        seen = offered.read() if volume is None else None
        identity = (
            volume.record.volume_id if volume is not None else bytes.fromhex(seen.volume_id) if seen else None
        )
        prefix = target_name(cluster.cluster, module.name)
        return None if identity is None else OurDisk(prefix, identity.hex(), module.size_bytes)

    def allow() -> None:
        check_folder(module.name, folder)
        folder.mkdir(parents=True, exist_ok=True)
        release_folder(folder)

    def deny() -> None:
        prepare_folder(module.name, folder)

    def first_data() -> int | None:
        if volume is None:
            raise AttachError(
                f"The volume of module {module.name} is not open here, so nothing is formatted."
            )
        places = ((at, volume.read(at, length)) for at, length in blank.places(volume.size_bytes))
        return next((at for at, data in places if data.count(0) != len(data)), None)

    return WindowsAttacher(
        module.name,
        str(module.folder),
        disk=disk,
        offer=offered.read,
        powershell=powershell(),
        first_data=first_data,
        bare=BareFolder(allow, deny),
        cluster_bytes=CLUSTER_BYTES[module.file_system],
    )


def build_attacher(
    node: NodeConfig, cluster: ClusterConfig, module: ModuleConfig, volume: Volume | None = None
) -> Attacher:
    """What mounts the module's folder on this host.

    Args:
        volume: where the caller has it open (the worker); without it nothing is ever formatted.

    Raises AttachError where this platform cannot do what is configured.
    """
    if module.export.attach is AttachKind.NONE:
        offered = offer_file(node, module.name)
        return NoAttacher(module.name, lambda: offered.read() is not None, offered.remove)
    if export_kind(module) is ExportKind.ISCSI and sys.platform != "win32":
        raise AttachError(
            f"The iSCSI disk of module {module.name} cannot be mounted on a Linux host by this version.",
            "Write 'export: {kind: fuse}', or 'attach: none' if the application logs in to it itself.",
        )
    if sys.platform == "win32":
        return _windows_attacher(node, cluster, module, volume)
    from twinhull.attach.linux import LinuxAttacher
    from twinhull.attach.linux_cmd import FileSystem

    file = export_directory(node, module.name) / export_name(cluster, node, module.name)
    kind: FileSystem = "xfs" if module.file_system == "xfs" else "ext4"
    return LinuxAttacher(module.name, Path(module.folder), lambda: file, kind)


def build_resource(
    node: NodeConfig,
    module: ModuleConfig,
    attacher: Attacher,
    log: Callable[[str], None],
) -> Resource:
    """What runs on the module's folder. A configuration of the other platform was refused when it was read."""
    if isinstance(module.resource, HyperVConfig):
        return _build_hyperv(node, module, module.resource, attacher, log)
    if isinstance(module.resource, LibvirtConfig):
        return LibvirtResource(
            module=module.name,
            node=node.node,
            folder=Path(module.folder),
            domain=module.resource.domain,
            log=log,
            uri=node.libvirt_uri,
            folder_ready=attacher.attached,
        )
    scripts = module.resource
    runs = node.run_dir / "resources"
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ScriptsResource(
        module=module.name,
        node=node.node,
        folder=Path(module.folder),
        settings=ScriptSettings(
            start=scripts.start,
            stop=scripts.stop,
            check=scripts.check,
            process=scripts.process,
            start_timeout_s=scripts.start_timeout_s,
            stop_timeout_s=scripts.stop_timeout_s,
            environment={"TWINHULL_TARGET": str(offer_file(node, module.name).path)}
            if export_kind(module) is ExportKind.ISCSI
            else {},
        ),
        runtime_directory=runs,
        log=log,
        folder_ready=attacher.attached,
        launcher=LAUNCHER,
    )


def _build_hyperv(
    node: NodeConfig,
    module: ModuleConfig,
    config: HyperVConfig,
    attacher: Attacher,
    log: Callable[[str], None],
) -> Resource:
    return HyperVResource(
        module=module.name,
        node=node.node,
        vm=config.domain,
        places=hyperv_places(node, module),
        shell=powershell(),
        log=log,
        folder_ready=attacher.attached,
        keep_unrestorable=config.saved_state is Unrestorable.STOP,
        travels_saved=config.stop.mode is StopMode.SAVE,
    )


def guest_of(node: NodeConfig, module: ModuleConfig, resource: Resource) -> MakeGuestChecker | None:
    """What looks whether the module's guest is well, made with its boot time in seconds; None for what is no VM."""
    if isinstance(resource, HyperVResource):
        return lambda boot_time_s: HeartbeatChecker(lambda: resource.identifier, powershell(), boot_time_s)
    config = module.resource
    if isinstance(config, LibvirtConfig):
        return lambda _boot_time_s: GuestAgentChecker(config.domain, uri=node.libvirt_uri)
    return None


def hyperv_places(node: NodeConfig, module: ModuleConfig) -> HyperVPlaces:
    """Where the folder, the note of the VM's identifier and the copies of its configurations are."""
    own = node.data_dir / "hyperv" / module.name
    return HyperVPlaces(str(module.folder), str(own / "copies"), own / "vm.json")


def build_moves(
    node: NodeConfig,
    module: ModuleConfig,
    resource: Resource,
    stop_timeout_s: float,
    log: Callable[[str], None],
) -> Moves[Any] | None:
    """What moves the module's VM in and out; None for what is no VM."""
    config = module.resource
    if isinstance(config, ScriptsConfig):
        return None
    make = _hyperv_mover if isinstance(config, HyperVConfig) else _libvirt_mover
    return Moves(lambda told: make(node, module, config.domain, log, told), resource, stop_timeout_s)


def _libvirt_mover(
    node: NodeConfig,
    module: ModuleConfig,
    domain: str,
    log: Callable[[str], None],
    progress: Callable[[Progress], None],
) -> Mover[MovePlan]:
    folder = Path(module.folder)
    mover = VmMover(
        module=module.name,
        node=node.node,
        state_directory=moves_directory(node, module.name),
        log=log,
        progress=progress,
        virsh=Virsh(node.libvirt_uri),
    )
    return Mover(
        lambda: mover.plan_protect(domain, folder),
        lambda place: mover.plan_unprotect(folder, Path(place)),
        mover.carry_out,
        mover.removable_originals,
        mover.remove_originals,
    )


def _hyperv_mover(
    node: NodeConfig,
    module: ModuleConfig,
    vm: str,
    log: Callable[[str], None],
    progress: Callable[[Progress], None],
) -> Mover[HyperVPlan | MovedPlan]:
    places = hyperv_places(node, module)
    mover = HyperVMover(
        module=module.name,
        node=node.node,
        directory=moves_directory(node, module.name),
        copies=places.copies,
        record=places.record,
        volume_bytes=module.size_bytes,
        shell=powershell(),
        log=log,
        progress=progress,
    )

    def carry_out(plan: HyperVPlan | MovedPlan) -> None:
        if isinstance(plan, MovedPlan):
            mover.take_up(plan)
        else:
            mover.carry_out(plan)

    return Mover(
        lambda: mover.plan_moved(vm) or mover.plan_protect(vm, places.folder),
        lambda place: mover.plan_unprotect(vm, places.folder, place),
        carry_out,
        mover.originals,
        mover.remove_originals,
    )
