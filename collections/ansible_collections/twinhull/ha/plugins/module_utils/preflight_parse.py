"""What the files and commands of a Linux host say, as plain values. Pure: reads and runs nothing."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import xml.etree.ElementTree as ET
from typing import Any, NamedTuple

# The target may run any Python that the supported releases of ansible-core accept: no newer syntax here.

_LISTEN = "0A"
_KIB = 1024
_UNITS_BYTES = {
    "b": 1, "bytes": 1,
    "kb": 10**3, "k": _KIB, "kib": _KIB,
    "mb": 10**6, "m": _KIB**2, "mib": _KIB**2,
    "gb": 10**9, "g": _KIB**3, "gib": _KIB**3,
    "tb": 10**12, "t": _KIB**4, "tib": _KIB**4,
}  # fmt: skip
_NETWORK_FILE_SYSTEMS = frozenset(
    (
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs",
        "9p", "virtiofs", "lustre", "gfs2", "ocfs2", "afs", "beegfs", "fuse.ceph", "fuse.s3fs", "davfs", "fuse.davfs",
    )
)  # fmt: skip
_MEMORY_FILE_SYSTEMS = frozenset(("tmpfs", "ramfs", "devtmpfs"))
_ANTIVIRUS_PROCESSES = {
    "clamd": "ClamAV",
    "clamonacc": "ClamAV on-access scanner",
    "wdavdaemon": "Microsoft Defender for Endpoint",
    "falcon-sensor": "CrowdStrike Falcon",
    "savd": "Sophos Anti-Virus",
    "sophos-spl": "Sophos Protection for Linux",
    "sophos_watchdog": "Sophos Protection for Linux",
    "ds_agent": "Trend Micro Deep Security",
    "ds_am": "Trend Micro Deep Security",
    "esets": "ESET",
    "oaeventd": "ESET",
    "kesl": "Kaspersky Endpoint Security",
    "bdsecd": "Bitdefender",
    "mfetpd": "Trellix (McAfee) Endpoint Security",
    "SentinelAgent": "SentinelOne",
    "s1-agent": "SentinelOne",
    "cbagentd": "Carbon Black",
}


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo (proc(5)); `options` holds those of the mount and of its file system."""

    mount_point: str
    file_system: str
    source: str
    options: tuple[str, ...]


class Socket(NamedTuple):
    """A listening TCP socket of /proc/net/tcp or tcp6."""

    address: str
    port: int
    inode: int


def parse_os_release(text: str) -> dict[str, str]:
    """The keys of /etc/os-release (os-release(5)) that are well-formed."""
    found = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if not separator or key.startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        found[key] = words[0] if words else ""
    return found


def parse_meminfo_bytes(text: str) -> dict[str, int]:
    """The lines of /proc/meminfo that carry kB, in bytes."""
    matches = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    return {name: int(number) * _KIB for name, number in matches}


def parse_cpuinfo(text: str) -> dict[str, Any]:
    """Vendor, model, flags and count of /proc/cpuinfo; x86 and ARM spellings."""
    count = len(re.findall(r"^processor\s*:", text, re.MULTILINE))
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            values.setdefault(key.strip(), value.strip())
    return {
        "vendor": values.get("vendor_id") or values.get("CPU implementer", ""),
        "model": values.get("model name") or values.get("CPU part", ""),
        "flags": sorted((values.get("flags") or values.get("Features", "")).split()),
        "count": count,
    }


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts in their order; later ones cover earlier ones of the same place."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if not separator or len(fields) < 6 or len(tail) < 2:
            continue
        own = fields[5].split(",") + (tail[2].split(",") if len(tail) > 2 else [])
        mounts.append(Mount(_unescape(fields[4]), tail[0], _unescape(tail[1]), tuple(dict.fromkeys(own))))
    return mounts


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def mount_of(mounts: list[Mount], path: str) -> Mount | None:
    """The mount that this absolute, resolved path lies on."""
    best: Mount | None = None
    for mount in mounts:
        point = mount.mount_point.rstrip("/")
        covers = path == point or path.startswith(point + "/")
        if covers and (best is None or len(mount.mount_point) >= len(best.mount_point)):
            best = mount
    return best


def kind_of_file_system(name: str) -> str:
    """`network`, `memory` or `disk`."""
    if name in _NETWORK_FILE_SYSTEMS:
        return "network"
    return "memory" if name in _MEMORY_FILE_SYSTEMS else "disk"


def barriers_disabled(options: tuple[str, ...]) -> str:
    """The mount option by which a file system does not make its disk flush; empty when there is none."""
    return next((option for option in options if option in ("nobarrier", "barrier=0", "nobarriers")), "")


def parse_proc_net_tcp(text: str) -> list[Socket]:
    """The listening sockets of /proc/net/tcp or /proc/net/tcp6."""
    sockets = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTEN:
            continue
        address, _, port = fields[1].partition(":")
        sockets.append(Socket(_address(address), int(port, 16), int(fields[9])))
    return sockets


def _address(text: str) -> str:
    # The kernel prints each 32-bit word in the host's order; x86 and ARM hosts are little-endian.
    raw = b"".join(bytes.fromhex(text[index : index + 8])[::-1] for index in range(0, len(text), 8))
    return str(ipaddress.ip_address(raw))


def parse_ip_addresses(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`ip -json address show` as interface, address, prefix, up."""
    found = []
    for entry in entries:
        for info in entry.get("addr_info", []):
            if "local" in info:
                found.append(
                    {
                        "interface": str(entry.get("ifname", "")),
                        "address": str(info["local"]),
                        "prefix": int(info.get("prefixlen", 0)),
                        "up": entry.get("operstate") not in ("DOWN", "LOWERLAYERDOWN"),
                    }
                )
    return found


def parse_getent(text: str) -> list[str]:
    """The addresses of `getent ahosts`, each once."""
    return list(dict.fromkeys(line.split()[0] for line in text.splitlines() if line.split()))


def parse_version(text: str) -> str:
    """The first dotted number of a program's answer to --version; empty when there is none."""
    match = re.search(r"\d+(?:\.\d+)+(?:[-.+a-zA-Z0-9]*[a-zA-Z0-9])?", text)
    return match.group(0) if match else ""


def is_ours(command: str) -> bool:
    """Whether this command line is that of our agent or of a worker."""
    return re.search(r"(^|/)twinhull( |$)|(^| )-m twinhull\.", command) is not None


def nftables_turns_away(text: str) -> bool:
    """Whether somebody's chain at the hook `input` turns away what nothing in it accepted (`nft --json list ruleset`)."""
    try:
        entries = json.loads(text or "{}").get("nftables", [])
    except ValueError:
        return False
    closed = {
        _chain_of(entry["rule"]) for entry in entries if "rule" in entry and _turns_all_away(entry["rule"])
    }
    chains = [entry["chain"] for entry in entries if entry.get("chain", {}).get("hook") == "input"]
    return any(
        chain.get("table") != "twinhull"
        and (chain.get("policy") == "drop" or (chain["family"], chain["table"], chain["name"]) in closed)
        for chain in chains
    )


def _chain_of(rule: dict[str, Any]) -> tuple[str, str, str]:
    return str(rule["family"]), str(rule["table"]), str(rule["chain"])


def _turns_all_away(rule: dict[str, Any]) -> bool:
    words = {word for expression in rule.get("expr", []) for word in expression}
    return bool(words & {"drop", "reject"}) and words <= {"drop", "reject", "counter", "log"}


def antivirus_of(process_names: list[str]) -> list[str]:
    """The known products that these running processes belong to."""
    return sorted({_ANTIVIRUS_PROCESSES[name] for name in process_names if name in _ANTIVIRUS_PROCESSES})


def parse_domain(text: str) -> dict[str, Any]:
    """What the preflight needs of a libvirt domain's XML (formatdomain.html). Raises ValueError."""
    try:
        root = ET.fromstring(text)  # noqa: S314  the XML is libvirt's own answer on this host
    except ET.ParseError as error:
        raise ValueError(f"libvirt's answer is no XML: {error}") from error
    memory = root.find("memory")
    machine = root.find("os/type")
    cpu = root.find("cpu")
    sources = [node.attrib for node in root.findall("devices/interface/source")]
    return {
        "name": root.findtext("name", ""),
        "type": root.get("type", ""),
        "machine": machine.get("machine", "") if machine is not None else "",
        "cpu_mode": cpu.get("mode", "custom") if cpu is not None else "",
        "cpu_model": root.findtext("cpu/model", "") or "",
        "memory_bytes": _memory_bytes(memory),
        "networks": sorted({str(source["network"]) for source in sources if "network" in source}),
        "bridges": sorted(
            {str(source["bridge"]) for source in sources if "bridge" in source and "network" not in source}
        ),
        "interfaces": sorted({str(source["dev"]) for source in sources if "dev" in source}),
        "tpm": root.find("devices/tpm") is not None,
        "disks": [
            str(source.get("file") or source.get("dev") or "")
            for disk in root.findall("devices/disk")
            if disk.get("device", "disk") == "disk"
            for source in disk.findall("source")
        ],
    }


def _memory_bytes(node: ET.Element | None) -> int:
    if node is None or not (node.text or "").strip().isdigit():
        return 0
    return int((node.text or "").strip()) * _UNITS_BYTES.get(node.get("unit", "KiB").lower(), _KIB)


def parse_net_list(text: str) -> list[dict[str, Any]]:
    """`virsh net-list --all` as name, active, autostart. Only its shape counts, its heading may be translated."""
    networks = []
    for line in text.splitlines()[2:]:
        fields = line.rsplit(None, 3)
        if len(fields) == 4:
            name, state, autostart, _ = fields
            networks.append(
                {"name": name.strip(), "active": state == "active", "autostart": autostart == "yes"}
            )
    return networks
