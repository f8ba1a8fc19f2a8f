"""Our own modules win_preflight_facts and win_preflight_network, answered from the model.

The words are those of `module_utils/PreflightFacts.psm1` and `PreflightWire.psm1`; a test compares them with what the
real PowerShell exports.
"""

from __future__ import annotations

import re
from typing import Any

from .. import paths
from ..model import HostState, VirtualMachine
from .base import Call, Handler, Result

_EDITIONS = {"11-home": "Core", "10": "Professional", "11": "Professional"}


def win_preflight_facts(call: Call) -> Result:
    """What an installation depends on."""
    host, args = call.host, call.args
    hyperv = _hyperv(host)
    facts: Result = {
        "format": 1,
        "platform": "windows",
        "root": True,
        "unreadable": [],
        "time_epoch_s": call.now_s + host.clock_offset_s,
        "os": _system(host),
        "cpu": {
            "vendor": "GenuineIntel",
            "model": host.processor,
            "signature": host.processor_signature,
            "flags": [],
            "count": 8,
        },
        "virtualisation": {
            "hypervisor_present": hyperv,
            "firmware_enabled": host.virtualisation,
            "slat": host.virtualisation,
            "vm_monitor": host.virtualisation,
            "guest_of": "",
            "hyperv_enabled": hyperv,
        },
        "memory": {"total_bytes": host.memory_bytes, "available_bytes": host.memory_bytes // 2},
        "addresses": [
            {"interface": item.name, "address": item.address, "prefix": item.prefix, "up": True}
            for item in host.interfaces
        ],
        "network_profiles": [
            {"interface": item.name, "category": item.profile, "addresses": [item.address]}
            for item in host.interfaces
        ],
        "names": {
            "hostname": host.hostname,
            "resolves_to": [item.address for item in host.interfaces] if host.name_resolves else [],
            "timed_out": False,
        },
        "clock": {"synchronised": host.services["w32time"].state == "started"},
        "drives": sorted(host.files.volumes),
        "data_dir": _disk(host, args["data_dir"]),
        "install_dir": _disk(host, args["install_dir"]),
        "folders": [_folder(host, folder) for folder in args["folders"]],
        "volumes": {},
        "paging_files": ["C:\\pagefile.sys"],
        "shadow_areas": [],
        "held_ports": _held(call),
        "firewall": ["Windows Firewall"] if any(host.firewall_profiles.values()) else [],
        "pending_reboot": ["a Windows component or feature was changed"] if host.pending_reboot else [],
        "antivirus": _antivirus(host),
        "agent": _agent(host, args["install_dir"]),
        "power": {
            "sleep": host.power.standby_ac_min > 0,
            "sleep_after_s": host.power.standby_ac_min * 60,
            "hibernation": host.power.hibernation,
            "fast_startup": host.power.hibernation
            and bool(host.registry_get(_POWER_KEY, "HiberbootEnabled")),
        },
        "account": {
            "name": f"{host.hostname}\\Administrator",
            "local": True,
            "builtin_administrator": True,
            "administrator": True,
            "filter_policy": None,
        },
        "hypervisor": {
            "available": hyperv,
            "installed": hyperv,
            "vm_versions": list(host.vm_versions) if hyperv else [],
        },
        "vms": [
            _machine(host.machines[name]) for name in args["domains"] if hyperv and name in host.machines
        ],
        "guardians": [
            {"name": f"CN={name}", "private_key": True, "thumbprints": [name]}
            for name in sorted(host.guardians)
            if hyperv
        ],
        "switches": {
            "bridges": [],
            "networks": [{"name": name, "type": kind} for name, kind in host.switches.items()]
            if hyperv
            else [],
        },
    }
    return {"changed": False, "ansible_facts": {"twinhull_preflight": facts}}


_POWER_KEY = r"HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Power"


def _hyperv(host: HostState) -> bool:
    """Hyper-V is on and not only waiting for its reboot."""
    on = host.features.get("Hyper-V") or host.optional_features.get("Microsoft-Hyper-V-All")
    return bool(on) and not host.features_pending


def _system(host: HostState) -> Result:
    return {
        "name": host.caption,
        "version": host.version.rpartition(".")[0],
        "build": int(host.version.split(".")[2]),
        "product": "server" if host.is_server else "client",
        "edition": _EDITIONS.get(host.edition, "ServerStandard"),
        "release": "",
        "machine": "AMD64",
    }


def _disk(host: HostState, path: str) -> Result:
    entry = host.files.follow(path) if path[:1] in host.files.volumes else None
    facts: Result = {
        "path": path,
        "exists": entry is not None,
        "is_directory": entry is not None and entry.is_directory,
        "kind": "missing",
        "file_system": "",
        "read_only": False,
        "own_volume": False,
        "mount_point": "",
        "source": "",
        "total_bytes": 0,
        "free_bytes": 0,
        "cluster_bytes": 0,
        "record_bytes": 0,
        "write_cache": {},
    }
    volume = host.files.volumes.get(path[:1].upper())
    if volume is None:
        return facts
    number = sorted(host.files.volumes).index(volume.letter)
    disk = host.disks[min(number, len(host.disks) - 1)]
    return facts | {
        "kind": "disk",
        "file_system": volume.file_system,
        "mount_point": f"{volume.letter}:\\",
        "source": disk.name,
        "total_bytes": volume.size_bytes,
        "free_bytes": volume.free_bytes,
        "cluster_bytes": volume.cluster_size_bytes,
        "record_bytes": 4096,
        "write_cache": {"disk": disk.name, "flush_disabled": not disk.flushing},
    }


def _folder(host: HostState, path: str) -> Result:
    entry = host.files.follow(path) if path[:1].upper() in host.files.volumes else None
    children = host.files.children(path) if entry is not None and entry.is_directory else []
    return {
        "path": path,
        "exists": entry is not None,
        "is_directory": entry is not None and entry.is_directory,
        "entries": len(children),
        "first_entry": paths.name(children[0].path) if children else "",
        "mounted": "",
        "own_volume": False,
        "symlink_to": "",
    }


def _held(call: Call) -> list[Result]:
    held = {
        port: ("python.exe", True)
        for port in call.args["ports"]
        if call.machine.port_is_open(call.host, port)
    }
    held |= {
        port: (name, False) for port, name in call.host.foreign_ports.items() if port in call.args["ports"]
    }
    return [
        {"port": port, "address": "0.0.0.0", "pid": 4000 + port, "process": name, "ours": ours}
        for port, (name, ours) in sorted(held.items())
    ]


def _antivirus(host: HostState) -> list[Result]:
    found: list[Result] = []
    if host.defender.enabled:
        exclusions = list(host.defender.exclusion_path)
        found.append({"name": "Microsoft Defender", "exclusions": exclusions, "managed": True})
    return found + [{"name": name, "exclusions": None, "managed": False} for name in host.antivirus]


def _agent(host: HostState, install_dir: str) -> Result:
    link = host.files.find(rf"{install_dir}\current") if install_dir[:1] in host.files.volumes else None
    service = host.services.get("twinhull-agent")
    version = paths.name(link.target) if link is not None and link.target else ""
    state = "" if service is None else "active" if service.state == "started" else "inactive"
    return {"installed": bool(version), "version": version, "service": state}


def _machine(machine: VirtualMachine) -> Result:
    return {
        "name": machine.name,
        "type": "hyperv",
        "state": machine.state,
        "version": machine.version,
        "memory_bytes": machine.memory_bytes,
        "networks": sorted(set(machine.switches)),
        "tpm": machine.has_tpm,
        "guardians": list(machine.guardians),
        "disks": [{"path": path, "allocated_bytes": size_bytes} for path, size_bytes in machine.disks],
    }


def win_preflight_network(call: Call) -> Result:
    """A listener, connections, bandwidth; the wire between the nodes is the site's."""
    states: dict[str, Handler] = {
        "listening": _listening,
        "connected": _connected,
        "measured": _measured,
        "stopped": _stopped,
    }
    if not re.fullmatch(r"[A-Za-z0-9]+", call.args["token"]):
        return {"failed": True, "msg": "'token' has to consist of letters and digits."}
    return states[call.args["state"]](call)


def _listening(call: Call) -> Result:
    bound = []
    for entry in call.args["listen"]:
        problem = call.machine.listen(call.host, entry["address"], int(entry["port"]))
        bound.append(
            {"address": entry["address"], "port": int(entry["port"]), "bound": not problem, "error": problem}
        )
    return {"changed": False, "bound": bound, "listener": {"pid": 4242, "started": "1"} if bound else {}}


def _stopped(call: Call) -> Result:
    return {"changed": False, "stopped": call.machine.stop_listening()}


def _connected(call: Call) -> Result:
    found = []
    for target in call.args["targets"]:
        outcome, rtt_ms, _ = call.machine.connect(target["from"], target["to"], int(target["port"]))
        entry: dict[str, Any] = {
            **target,
            "error": "" if outcome == "connected" else outcome,
            "outcome": outcome,
        }
        if outcome == "connected":
            entry["connect_ms"] = rtt_ms
            if target.get("echo"):
                entry |= {"rtt_ms": rtt_ms, "rtt_worst_ms": rtt_ms * 2, "measured": True}
        found.append(entry)
    return {"changed": False, "connections": found}


def _measured(call: Call) -> Result:
    found = []
    for target in call.args["targets"]:
        outcome, _, bytes_per_s = call.machine.connect(target["from"], target["to"], int(target["port"]))
        entry: dict[str, Any] = {
            **target,
            "error": "" if outcome == "connected" else outcome,
            "outcome": outcome,
        }
        if outcome == "connected":
            sent = min(call.args["max_bytes"], int(bytes_per_s * call.args["max_s"]))
            entry |= {
                "measured": True,
                "bytes": sent,
                "seconds": round(sent / bytes_per_s, 6),
                "bytes_per_s": bytes_per_s,
            }
        found.append(entry)
    return {"changed": False, "connections": found}


HANDLERS: dict[str, Handler] = {
    "twinhull.ha.win_preflight_facts": win_preflight_facts,
    "twinhull.ha.win_preflight_network": win_preflight_network,
}
