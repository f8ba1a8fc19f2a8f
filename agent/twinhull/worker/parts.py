"""What a module is made of on this host: built from the configuration, for the worker and for its agent's clean-up."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinhull import log as logs
from twinhull.checkers import make_checkers
from twinhull.checkers.witness import Question, make_witness
from twinhull.checkers.witness.none import NoWitness
from twinhull.clock import boot_clock_s
from twinhull.config import (
    AttachKind,
    CheckerAction,
    CheckerKind,
    ClusterConfig,
    ExportKind,
    ModuleConfig,
    NetworkRole,
    NodeConfig,
    WitnessConfig,
    module_settings,
)
from twinhull.core.identity import Id
from twinhull.core.machine import Machine
from twinhull.core.mirror import Mirror, ResyncSettings
from twinhull.core.record import WitnessKind
from twinhull.core.settings import ModuleSettings
from twinhull.errors import AttachError, VolumeFormatError, VolumeLockedError
from twinhull.resources.run import run_command
from twinhull.storage.kept import Keeper
from twinhull.storage.platform import platform_directory
from twinhull.storage.preflight import require_fit
from twinhull.storage.volume import Volume
from twinhull.transport import tls

from .host import HostParts, MakeExport
from .offer import Exporter
from .peer import Path as NetworkPath
from .peer import StreamSettings
from .places import (
    export_directory,
    export_kind,
    export_name,
    offer_file,
    open_rescue_store,
    volume_directory,
)
from .resource_parts import LAUNCHER, build_attacher, build_moves, build_resource, guest_of
from .verify import VerifyParts, name_files
from .worker import Parts

if TYPE_CHECKING:
    from twinhull.checkers.witness.etcd import EtcdWitness

LOCK_PATIENCE_S = 60.0
LOCK_POLL_S = 0.1


def new_id() -> Id:
    """A random 128-bit identity."""
    return Id(secrets.token_bytes(16))


def build_export(
    node: NodeConfig, cluster: ClusterConfig, module: ModuleConfig, volume: Volume, log: logs.Log
) -> MakeExport:
    """What makes the volume a disk of this host, at each attach anew."""
    name = module.name
    if export_kind(module) is ExportKind.FUSE:
        if sys.platform == "win32":
            raise AttachError(f"Module {name}: Windows has no FUSE.", "Write 'export: {kind: iscsi}'.")
        from twinhull.exports.fuse import FuseExport

        return lambda _loop, _serve: FuseExport(
            export_directory(node, name), volume.size_bytes, export_name(cluster, node, name)
        )
    return Exporter(
        cluster=cluster.cluster,
        module=name,
        file=offer_file(node, name),
        port=cluster.export_port(name),
        size_bytes=volume.size_bytes,
        volume_id=lambda: volume.record.volume_id,
        next_data=volume.next_data,
        log=log,
        own_descriptor=sys.platform == "linux",
    ).make


def _abort_stale(node: NodeConfig, module: ModuleConfig) -> list[str]:
    if sys.platform == "win32" or export_kind(module) is not ExportKind.FUSE:
        return []
    from twinhull.exports.fuse import abort_stale

    return abort_stale(export_directory(node, module.name))


def clean_up_module(node: NodeConfig, cluster: ClusterConfig, name: str) -> list[str]:
    """Make sure that nothing of the module runs on this node: resource off, export aborted, device and mount freed.

    For the agent, when no worker lives. Returns what was found, in sentences.

    Raises:
        TwinhullError: it cannot be sure; nobody may be told that the worker is dead then.
    """
    module = cluster.module(name)
    log = logging.getLogger(__name__)
    attacher = build_attacher(node, cluster, module)
    resource = build_resource(node, module, attacher, lambda line: log.info("%s: %s", name, line))
    found = _abort_stale(node, module)
    resource.force_off()
    return found + attacher.clean_up()


def open_volume(node: NodeConfig, cluster: ClusterConfig, module: ModuleConfig, log: logs.Log) -> Volume:
    """Open the module's volume, or make a blank replica where there is none.

    A directory without a volume is a new disk: it gets a new replica id and waits to be copied from the peer.

    Raises:
        VolumeFormatError: files that are foreign, newer or damaged; nothing was changed.
        StorageError: the directory is not fit for a volume, or the disk failed.
    """
    path = volume_directory(node, module.name)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for sentence in require_fit(path, folders=[Path(other.folder) for other in cluster.modules.values()]):
        log.warning("%s", sentence)
    if any(path.iterdir()) and not (path / "creating").exists():
        volume = _patiently(lambda: Volume.open(platform_directory(path)))
        if volume.size_bytes != module.size_bytes:
            raise VolumeFormatError(
                f"The volume of {module.name} on {node.node} has {volume.size_bytes} bytes, "
                f"but the configuration says {module.size_bytes}.",
                "Set the configured size to what the volume has; growing comes with unprotect and protect.",
            )
    else:
        volume = _patiently(
            lambda: Volume.create(platform_directory(path), size_bytes=module.size_bytes, replica_id=new_id())
        )
        log.info("made a blank replica in %s", path)
    for note in volume.notes:
        log.warning("%s", note)
    return volume


def _patiently(open_it: Callable[[], Volume]) -> Volume:
    """A volume has one process: wait for the lock of one that is just dying."""
    deadline_s = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            return open_it()
        except VolumeLockedError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(LOCK_POLL_S)


def stream_settings(node: NodeConfig, cluster: ClusterConfig, module: ModuleConfig) -> StreamSettings:
    """The networks between the workers: replication first, then whatever else there is."""
    peer = cluster.peer_of(node.node)
    preferred = list(cluster.networks_with(NetworkRole.REPLICATION))
    names = preferred + [name for name in cluster.networks if name not in preferred]
    return StreamSettings(
        cluster=cluster.cluster,
        module=module.name,
        node=node.node,
        peer=peer,
        connects=next(iter(cluster.nodes)) == node.node,
        paths=tuple(
            NetworkPath(name, cluster.nodes[node.node].addresses[name], cluster.nodes[peer].addresses[name])
            for name in names
        ),
        port=cluster.data_port(module.name),
        server_context=tls.server_context(node.pki_dir),
        client_context=tls.client_context(node.pki_dir),
    )


def check_witness_files(witness: WitnessConfig) -> None:
    """Raises ConfigError when this host cannot use the certificates of the etcd witness; others need none."""
    if witness.kind is WitnessKind.ETCD:
        from twinhull.checkers.witness.etcd import make_context

        make_context(Path(str(witness.ca)), Path(str(witness.cert)), Path(str(witness.key)))


def build_memory(cluster: ClusterConfig, module: str) -> EtcdWitness | None:
    """The module's record in the witness that has a memory; None where another kind is configured.

    Certificates are read at every question: what is wrong with them is told then, and renewed ones are taken.
    """
    witness = cluster.witness
    if witness.kind is not WitnessKind.ETCD:
        return None
    # Here, because a worker without it can do without the memory that HTTP takes.
    from twinhull.checkers.witness.etcd import EtcdWitness, key_of, make_context, parse_endpoint

    ca, cert, key = Path(str(witness.ca)), Path(str(witness.cert)), Path(str(witness.key))
    return EtcdWitness(
        [parse_endpoint(endpoint) for endpoint in witness.endpoints],
        key_of(cluster.cluster, module),
        lambda: make_context(ca, cert, key),
    )


class AskedWitness:
    """The configured witness without a memory, asked for one module of this node.

    Args:
        rules: the kind that rules by the module's record. While one with a memory is configured and both nodes have
            not met since, it is another one.
    """

    def __init__(
        self, node: NodeConfig, cluster: ClusterConfig, module: str, rules: Callable[[], WitnessKind]
    ) -> None:
        remembers = cluster.witness.kind is WitnessKind.ETCD
        self._witness = None if remembers else make_witness(cluster, node.node)
        self._rules = rules
        self._question = Question(
            number=0,
            cluster=cluster.cluster,
            module=module,
            node=node.node,
            timeout_s=cluster.witness.timeout_s,
        )

    def ask(self) -> tuple[bool, str]:
        """Whether this node may go on alone, and why (not)."""
        witness = self._witness
        if witness is None and self._rules() is WitnessKind.NONE:
            witness = NoWitness()
        if witness is None:
            kind = self._rules().name.lower()
            return False, f"{kind} rules here until both nodes have met, and is not configured any more"
        verdict = witness.ask(self._question)
        return verdict.granted, verdict.detail


def within_initiator(settings: ModuleSettings, module: ModuleConfig, log: logs.Log) -> ModuleSettings:
    """The settings with a T that the host's own time-outs outlast (Windows: those that it was booted with)."""
    if sys.platform != "win32" or module.export.attach is AttachKind.NONE:
        return settings
    from twinhull.attach import windows_timers as timers

    seen = timers.look(timers.HostRegistry())
    longest_s = timers.longest_s(settings.witness_timeout_s, seen)
    if longest_s < settings.timeout_s:
        log.warning(
            "T is %.0f s instead of %.0f s, on both nodes, until this host was booted with initiator time-outs of %d s "
            "or more (run install.yml again, or `python -m twinhull.agent.initiator fit`, then reboot it)",
            longest_s,
            settings.timeout_s,
            timers.needed_s(settings.timeout_s, settings.witness_timeout_s),
        )
    return dataclasses.replace(
        settings,
        timeout_s=min(settings.timeout_s, longest_s),
        longest_s=longest_s,
        write_timeout_s=min(settings.write_timeout_s, longest_s),
    )


def build_parts(node: NodeConfig, cluster: ClusterConfig, name: str, log: logs.Log) -> Parts:
    """Everything the worker of this module is made of. Opens (or makes) its volume.

    Raises:
        TwinhullError: something is missing or unfit; the message says what and where.
    """
    module = cluster.module(name)
    settings = within_initiator(module_settings(cluster, name, node.node), module, log)
    volume = open_volume(node, cluster, module, log)
    attacher = build_attacher(node, cluster, module, volume)
    resource = build_resource(node, module, attacher, lambda line: log.info("%s", line))
    bits = volume.bits()
    mirror = Mirror(
        volume.size_bytes,
        bits,
        volume.log_extents(),
        volume.log_capacity,
        settings.write_timeout_s,
        ResyncSettings(),
    )
    machine = Machine(
        settings,
        volume.record,
        size_bytes=volume.size_bytes,
        process=new_id(),
        new_id=new_id,
        now_s=boot_clock_s(),
        marks=mirror.has_marks,
    )
    stream = stream_settings(node, cluster, module)

    def renew() -> None:
        for context in (stream.server_context, stream.client_context):
            tls.reload(context, node.pki_dir)

    audit = logs.AuditLog(node.log_dir, node.node)
    rescue = open_rescue_store(node, cluster, name, volume.record.replica_id.hex())

    def space() -> Mapping[str, Any]:
        seen = volume.space()
        return {
            "allocated_bytes": seen.allocated_bytes,
            "disk_free_bytes": seen.disk_free_bytes,
            "disk_total_bytes": seen.disk_total_bytes,
            "space_warnings": list(seen.warnings),
        }

    return Parts(
        settings=settings,
        machine=machine,
        mirror=mirror,
        volume=volume,
        space=space,
        stream=stream,
        host=HostParts(
            make_export=build_export(node, cluster, module, volume, log),
            attacher=attacher,
            resource=resource,
            moves=build_moves(
                node, module, resource, settings.stop_timeout_s, lambda line: log.info("%s", line)
            ),
            dead_moves=any(
                one.kind is CheckerKind.GUEST_AGENT and one.action is CheckerAction.STOPSTART
                for one in module.checkers
            ),
        ),
        make_checkers=lambda failed: make_checkers(
            module, node, failed, LAUNCHER, guest_of(node, module, resource)
        ),
        witness=AskedWitness(node, cluster, name, lambda: volume.record.witness),
        memory=build_memory(cluster, name),
        link_path=node.run_dir / "workers" / f"{name}.sock",
        renew=renew,
        log=log,
        audit=lambda sentence: audit.write("operator", sentence, name),
        keeper=Keeper(rescue),
        rescue=rescue,
        verify=VerifyParts(
            node.data_dir / "verify" / f"{name}.json",
            lambda ranges: name_files(Path(module.folder), ranges, run=run_command, launcher=LAUNCHER),
        ),
    )
