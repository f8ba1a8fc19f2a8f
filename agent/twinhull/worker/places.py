"""Where what belongs to a module lies on its node, and by which names."""

from __future__ import annotations

import sys
from pathlib import Path

from twinhull.config import (
    ClusterConfig,
    ExportKind,
    ModuleConfig,
    NodeConfig,
)
from twinhull.storage.platform import platform_directory
from twinhull.storage.rescue import Limits, Store

from .offer import OfferFile


def volume_directory(node: NodeConfig, module: str) -> Path:
    """Where the files of the module's volume lie on this node."""
    return node.data_dir / "volumes" / module


def moves_directory(node: NodeConfig, module: str) -> Path:
    """Where the journals of the VM's moves into the folder and out of it lie."""
    return node.data_dir / "moves" / module


def rescue_directory(node: NodeConfig, module: str) -> Path:
    """Where content lies that was overwritten and kept."""
    return node.data_dir / "rescue" / module


def open_rescue_store(node: NodeConfig, cluster: ClusterConfig, module: str, replica: str = "") -> Store:
    """The module's rescues on this node. Raises StorageError.

    Args:
        replica: id of the replica that is there now, hexadecimal digits; not needed for looking.
    """
    path = rescue_directory(node, module)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    limits = Limits(cluster.rescue.share_percent, cluster.rescue.expire_after_s)
    size_bytes = cluster.module(module).size_bytes
    return Store(platform_directory(path), module, node.node, size_bytes, limits, replica=replica)


def export_directory(node: NodeConfig, module: str) -> Path:
    """Where the volume is exported on this node."""
    return node.run_dir / "exports" / module


def export_name(cluster: ClusterConfig, node: NodeConfig, module: str) -> str:
    """The export's file name; it names the loop device, so it says whose it is."""
    return f"{cluster.cluster}-{node.node}-{module}"


def export_kind(module: ModuleConfig) -> ExportKind:
    """How the module's volume becomes a disk on this platform."""
    usual = ExportKind.ISCSI if sys.platform == "win32" else ExportKind.FUSE
    return module.export.kind or usual


def offer_file(node: NodeConfig, module: str) -> OfferFile:
    """Where name, port and secret of the module's iSCSI disk stand while it is offered."""
    return OfferFile(node.run_dir / "targets" / f"{module}.json")
