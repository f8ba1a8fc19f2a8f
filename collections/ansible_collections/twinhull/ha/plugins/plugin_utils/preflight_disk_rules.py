"""Judges the disk that holds the volumes. Pure."""

from __future__ import annotations

import math

from .preflight_host_rules import install_space
from .preflight_model import GIB, KIB, MIB, Collector, Host, Limits, Module, Site, size_text
from .preflight_site import overlap, path_of

_SMALL_FILES_BYTES = 128 * KIB + 256 * KIB
_BITMAP_BYTES_PER_GIB = 4608
_FILE_SYSTEM_BYTES = 96 * MIB


def judge_disks(site: Site, host: Host, limits: Limits, found: Collector) -> None:
    """Room, kind and safety of the data directory's file system on one node."""
    if not host.get("data_dir"):
        return
    before = len(found.findings)
    _kind(site, host, found)
    _safety(host, found)
    install_space(host, limits, found)
    if len(found.findings) == before:
        where = f"{host.get('data_dir.path')} lies on {host.get('data_dir.source')} ({host.get('data_dir.file_system')})"
        found.ok("disk.kind", (host.node,), f"node {host.node}: {where}.")
    if host.get("data_dir.kind") != "missing":
        _room(site, host, found)


def needed_at_once_bytes(module: Module, vm_bytes: int) -> int:
    """What a new volume takes in its first hour: its own files, the file system, and the VM that moves in.

    Source: docs/formats.md, the table of a volume's files.
    """
    small = _SMALL_FILES_BYTES + _BITMAP_BYTES_PER_GIB * math.ceil(module.size_bytes / GIB)
    content = module.size_bytes if module.thick else min(module.size_bytes, _FILE_SYSTEM_BYTES + vm_bytes)
    return small + content


def _kind(site: Site, host: Host, found: Collector) -> None:
    node, path = host.node, str(host.get("data_dir.path", ""))
    kind, file_system = host.get("data_dir.kind", "disk"), host.get("data_dir.file_system", "")
    where = f"node {node}: the data directory {path}"
    remedy = "Set twinhull_data_dir to a directory on a local disk of this host."
    if host.get("data_dir.exists", False) and not host.get("data_dir.is_directory", True):
        found.error("disk.file", (node,), f"{where} is a file.", remedy)
    if kind == "memory":
        found.error(
            "disk.memory",
            (node,),
            f"{where} lies in memory ({file_system}): a power loss would take all.",
            remedy,
        )
    if kind == "network":
        found.error(
            "disk.network", (node,), f"{where} lies on a network file system ({file_system}).", remedy
        )
    if kind == "missing":
        found.error("disk.missing", (node,), f"{where} is on a drive that this host does not have.", remedy)
    if host.get("data_dir.read_only", False):
        found.error(
            "disk.read_only", (node,), f"{where} lies on a file system that is mounted read-only.", remedy
        )
    inside = [
        module.name
        for module in site.modules
        if module.folder
        and path
        and overlap(path_of(module.folder, host.platform), path_of(path, host.platform))
    ]
    if inside or host.get("data_dir.own_volume", False):
        which = f"overlaps the folder of module {inside[0]}" if inside else "lies on a volume of ours"
        found.error("disk.own_volume", (node,), f"{where} {which}: a volume cannot hold itself.", remedy)


def _safety(host: Host, found: Collector) -> None:
    node, option = host.node, host.get("data_dir.barriers_disabled_by", "")
    if option:
        found.error(
            "disk.barriers",
            (node,),
            f"node {node}: {host.get('data_dir.mount_point')} is mounted with '{option}': what was flushed can be lost "
            "with the power.",
            "Remove the option from /etc/fstab and mount it again.",
        )
    if host.get("data_dir.write_cache.flush_disabled", False):
        disk = host.get("data_dir.write_cache.disk", "the disk")
        found.error(
            "disk.write_cache",
            (node,),
            f"node {node}: {disk} does not flush its write cache (write-cache buffer flushing is turned off): what was "
            "flushed can be lost with the power.",
            "Device Manager, the disk's Policies: clear 'Turn off Windows write-cache buffer flushing on the device'.",
        )
    for code, what, have, wanted in (
        ("disk.clusters", "clusters", int(host.get("data_dir.cluster_bytes", 0)), 64 * KIB),
        ("disk.records", "file records", int(host.get("data_dir.record_bytes", 0)), 4 * KIB),
    ):
        if host.platform == "windows" and 0 < have < wanted:
            found.warning(
                code,
                (node,),
                f"node {node}: the drive of {host.get('data_dir.path')} has {what} of {have // KIB} KiB; a fragmented "
                "sparse file reaches its limit (error 665) earlier.",
                "Format a drive of its own for volumes: format D: /FS:NTFS /L /A:64K /Q.",
            )
    file_system = str(host.get("data_dir.file_system", ""))
    if host.platform == "windows" and file_system and file_system.upper() != "NTFS":
        found.error(
            "disk.file_system",
            (node,),
            f"node {node}: the drive of {host.get('data_dir.path')} is formatted with {file_system}; volumes need NTFS.",
            "Set twinhull_data_dir to a directory on an NTFS drive.",
        )


def _room(site: Site, host: Host, found: Collector) -> None:
    node, free = host.node, int(host.get("data_dir.free_bytes", 0))
    existing = host.get("volumes", {})
    machines = {vm["name"]: vm for vm in host.get("site_vms", [])}
    at_once, outgrow = 0, 0
    for module in site.modules:
        allocated = int(existing.get(module.name, {}).get("allocated_bytes", 0))
        disks = machines.get(module.domain, {}).get("disks", [])
        if module.name not in existing:
            at_once += needed_at_once_bytes(
                module, sum(int(disk.get("allocated_bytes", 0)) for disk in disks)
            )
        outgrow += max(0, module.size_bytes - allocated)
    path = host.get("data_dir.path")
    if at_once > free:
        found.error(
            "disk.space",
            (node,),
            f"node {node}: {size_text(free)} are free for {path}, but the volumes of {len(site.modules)} modules need "
            f"{size_text(at_once)} at once.",
            "Make room, or set twinhull_data_dir to a larger disk.",
        )
    elif outgrow > free:
        found.warning(
            "disk.outgrow",
            (node,),
            f"node {node}: {size_text(free)} are free for {path}; the volumes are thin and may grow by "
            f"{size_text(outgrow)}: they could outgrow the disk.",
            "Give it more room before the VMs fill their disks; the status warns at 85 % and 95 %.",
        )
    else:
        found.ok(
            "disk.space",
            (node,),
            f"node {node}: {size_text(free)} are free for {path}, which holds all volumes in full.",
        )
