"""What follows from a configuration: core's settings, the warnings that always apply, and its YAML."""

from __future__ import annotations

from typing import Any

import yaml

from ..core.record import WitnessKind
from ..core.settings import ModuleSettings, Return, StopMode
from .model import (
    CheckerConfig,
    ClusterConfig,
    HyperVConfig,
    LibvirtConfig,
    ModuleConfig,
    NetworkRole,
    ResourceConfig,
    StopConfig,
    VmConfig,
    WitnessConfig,
)
from .units import exact_size_text

SPLIT_WARNINGS = {
    WitnessKind.NONE: "no witness: a cut network can split this cluster",
    WitnessKind.PING: (
        "ping witness: a cut network can split this cluster while both sides reach a ping address"
    ),
}


def module_settings(config: ClusterConfig, module: str, node: str) -> ModuleSettings:
    """The module as core sees it on this node. Raises UsageError for a module or node that there is not."""
    own = config.module(module)
    if isinstance(own.resource, VmConfig):
        stop, forced = own.resource.stop, own.resource.forced_stop
    else:
        stop = StopConfig(StopMode.STOP, own.resource.stop_timeout_s)
        forced = StopConfig(StopMode.OFF, own.resource.stop_timeout_s)
    return ModuleSettings(
        module=module,
        node=node,
        peer=config.peer_of(node),
        preferred=own.preferred,
        timeout_s=own.timeout_s,
        write_timeout_s=own.write_timeout_s,
        witness=config.witness.kind,
        witness_timeout_s=config.witness.timeout_s,
        keep=config.keep,
        split_brain_full=config.rescue.split_brain_full,
        resync_full=config.rescue.resync_full,
        boot=own.boot.mode,
        boot_delay_s=own.boot.delay_s,
        give_back=own.give_back.mode,
        stop_mode=stop.mode,
        forced_stop_mode=forced.mode,
        stop_timeout_s=stop.timeout_s,
    )


def warnings(config: ClusterConfig) -> list[str]:
    """What is allowed but must be said permanently, one sentence each."""
    found = []
    if config.witness.kind in SPLIT_WARNINGS:
        found.append(SPLIT_WARNINGS[config.witness.kind])
    heartbeat = config.networks_with(NetworkRole.HEARTBEAT)
    if len(heartbeat) == 1:
        found.append(
            f"only the network '{heartbeat[0]}' carries heartbeats: its loss looks like the loss of the peer"
        )
    if config.networks_with(NetworkRole.REPLICATION) and len(config.networks) == 1:
        found.append("there is one network only: nothing is left to replicate over when it dies")
    found += [
        f"module {module.name}: the stop mode 'off' pulls the plug at every normal stop; use 'stop' or 'save'"
        for module in config.modules.values()
        if isinstance(module.resource, VmConfig) and module.resource.stop.mode is StopMode.OFF
    ]
    return found


def to_yaml(config: ClusterConfig) -> str:
    """The configuration as YAML with every value written out; `parse_cluster` reads the same back."""
    return str(
        yaml.safe_dump(
            to_plain(config), sort_keys=False, allow_unicode=True, default_flow_style=False, width=110
        )
    )


def to_plain(config: ClusterConfig) -> dict[str, Any]:
    """The configuration as its file writes it, every value written out."""
    return {
        "cluster": config.cluster,
        "nodes": {name: {"addresses": dict(node.addresses)} for name, node in config.nodes.items()},
        "networks": {
            name: {"roles": [role.value for role in network.roles]}
            for name, network in config.networks.items()
        },
        "ports": {
            "control": config.ports.control,
            "heartbeat": config.ports.heartbeat,
            "data": config.ports.data,
            "export": config.ports.export,
        },
        "witness": _witness(config.witness),
        "keep": config.keep.value,
        "rescue": {
            "share": f"{config.rescue.share_percent} %",
            "expire_after": _number(config.rescue.expire_after_s),
            "split_brain_full": config.rescue.split_brain_full.value,
            "resync_full": config.rescue.resync_full.value,
        },
        "modules": {name: _module(module) for name, module in config.modules.items()},
    }


def _number(seconds: float) -> int | float:
    return int(seconds) if seconds == int(seconds) else seconds


def _witness(witness: WitnessConfig) -> dict[str, Any]:
    if witness.kind is WitnessKind.PING:
        return {"kind": "ping", "addresses": list(witness.addresses), "timeout": _number(witness.timeout_s)}
    if witness.kind is WitnessKind.ETCD:
        files = {"ca": str(witness.ca), "cert": str(witness.cert), "key": str(witness.key)}
        return {
            "kind": "etcd",
            "endpoints": list(witness.endpoints),
            **files,
            "timeout": _number(witness.timeout_s),
        }
    return {"kind": "none", "timeout": _number(witness.timeout_s)}


def _module(module: ModuleConfig) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "number": module.number,
        "folder": str(module.folder),
        "size": exact_size_text(module.size_bytes),
        "file_system": module.file_system,
    }
    if module.preferred is not None:
        plain["preferred"] = module.preferred
    plain["boot"] = {"mode": module.boot.mode.value, "delay": _number(module.boot.delay_s)}
    window = module.give_back.mode is Return.WINDOW
    plain["return"] = {"window": str(module.give_back.window)} if window else module.give_back.mode.value
    plain["timings"] = {
        "timeout": _number(module.timeout_s),
        "write_timeout": _number(module.write_timeout_s),
    }
    plain["resource"] = _resource(module.resource)
    plain["checkers"] = [_checker(checker) for checker in module.checkers]
    if module.verify.window is not None:
        plain["verify"] = {"window": str(module.verify.window), "repair": module.verify.repair}
    if module.export.kind is not None:
        plain["export"] = {"kind": module.export.kind.value, "attach": module.export.attach.value}
    return plain


def _stop(stop: StopConfig) -> dict[str, Any]:
    return {"mode": stop.mode.value, "timeout": _number(stop.timeout_s)}


def _resource(resource: ResourceConfig) -> dict[str, Any]:
    if isinstance(resource, HyperVConfig | LibvirtConfig):
        vm = {
            "kind": resource.kind.value,
            "domain": resource.domain,
            "stop": _stop(resource.stop),
            "forced_stop": _stop(resource.forced_stop),
        }
        return vm | {"saved_state": resource.saved_state.value} if isinstance(resource, HyperVConfig) else vm
    plain: dict[str, Any] = {"kind": resource.kind.value, "start": list(resource.start)}
    if resource.stop:
        plain["stop"] = list(resource.stop)
    if resource.check:
        plain["check"] = list(resource.check)
    return plain | {
        "start_timeout": _number(resource.start_timeout_s),
        "stop_timeout": _number(resource.stop_timeout_s),
        "process": resource.process,
    }


def _checker(checker: CheckerConfig) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "name": checker.name,
        "kind": checker.kind.value,
        "interval": _number(checker.interval_s),
        "failures": checker.failures,
        "boot_time": _number(checker.boot_time_s),
        "timeout": _number(checker.timeout_s),
        "action": checker.action.value,
    }
    if checker.command:
        plain["command"] = list(checker.command)
    return plain
