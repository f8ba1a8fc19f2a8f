"""An existing VM on a node, as an operator has one before Twinhull comes: the lab's guest, run by libvirt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import guest
from .node import Node
from .records import ReportFile

IMAGES = "/var/lib/libvirt/images"
VOLUME_BYTES = 2 << 30


def module(name: str, *, timeout_s: float, preferred: str) -> dict[str, Any]:
    """The configuration of the module that protects it.

    Args:
        name: of the module, and of the domain.
        timeout_s: the module's time-out T, seconds.
        preferred: the preferred node.
    """
    return {
        "number": 1,
        "folder": f"/srv/twinhull/{name}",
        "size": f"{VOLUME_BYTES >> 30} GiB",
        "file_system": "ext4",
        "preferred": preferred,
        "boot": {"mode": "auto", "delay": 0},
        "return": "manual",
        "timings": {"timeout": timeout_s, "write_timeout": timeout_s},
        "resource": {
            "kind": "libvirt",
            "domain": name,
            "stop": {"mode": "stop", "timeout": 60},
            "forced_stop": {"mode": "off", "timeout": 30},
        },
        "checkers": [
            {
                "name": "guest",
                "kind": "guest-agent",
                "interval": 5,
                "failures": 6,
                "boot_time": 120,
                "action": "restart",
            }
        ],
    }


def define(node: Node, name: str, built: guest.Guest, reports: ReportFile, *, pause_ms: int = 0) -> None:
    """Lay the VM's files on the node's disk and define it in the node's libvirt; it is not started.

    Args:
        node: a node that is on.
        name: of the domain.
        built: kernel and RAM disk.
        reports: where the guest tells of its records, outside of all nodes.
        pause_ms: the guest's pause between two records, milliseconds.
    """
    directory = f"{IMAGES}/{name}"
    built.place(node.disk(directory))
    xml = guest.domain_xml(name, directory, reports.path, pause_ms=pause_ms)
    definition = node.disk(directory) / "domain.xml"
    definition.write_text(xml, encoding="utf-8")
    node.run(["virsh", "define", f"{directory}/domain.xml"])


def console(node: Node, name: str) -> str:
    """The end of the guest's console on a node, for messages; empty when there is none."""
    file: Path = node.disk(f"/var/log/libvirt/{name}-console.log")
    return file.read_text(encoding="utf-8", errors="replace")[-4000:] if file.exists() else ""
