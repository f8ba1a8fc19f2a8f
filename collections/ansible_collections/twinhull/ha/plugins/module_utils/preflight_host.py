"""Reads a Linux host for the preflight: files of /proc and /sys, and commands that change nothing."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import platform
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from typing import Any

from . import preflight_parse as parse

COMMAND_TIMEOUT_S = 15
RUN_DIR = "/run/twinhull"
TOOLS = ("losetup", "mount", "umount", "wipefs", "mkfs.ext4", "e2fsck", "mkfs.xfs", "dd", "sync")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KVM_GET_API_VERSION = 0xAE00
_PYTHON_PROBE = (
    "import json,sys\n"
    "try:\n import venv;ok=True\n"
    "except ImportError:\n ok=False\n"
    "print(json.dumps({'version':'%d.%d.%d'%sys.version_info[:3],'venv':ok}))"
)


def read(path: str) -> str:
    """The file's text, or an empty one where there is no such file or no permission."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def run(*argv: str, timeout_s: float = COMMAND_TIMEOUT_S) -> tuple[int, str]:
    """Exit code and standard output of a command; 127 when it is not there, 124 when it took too long."""
    program = shutil.which(argv[0], path=_PATH)
    if program is None:
        return 127, ""
    environment = {"LC_ALL": "C", "PATH": _PATH, "HOME": os.environ.get("HOME", "/")}
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, ""
    return done.returncode, done.stdout.decode("utf-8", "replace")


def operating_system() -> dict[str, Any]:
    """Distribution, release, kernel and the first process."""
    release = parse.parse_os_release(read("/etc/os-release") or read("/usr/lib/os-release"))
    code, systemd = run("systemctl", "--version")
    return {
        "id": release.get("ID", ""),
        "like": release.get("ID_LIKE", "").split(),
        "version": release.get("VERSION_ID", ""),
        "name": release.get("PRETTY_NAME", ""),
        "edition": release.get("VARIANT", ""),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "init": read("/proc/1/comm").strip(),
        "systemd_booted": os.path.isdir("/run/systemd/system"),  # noqa: PTH112
        "systemd_version": systemd.split()[1] if code == 0 and len(systemd.split()) > 1 else "",
        "container": run("systemd-detect-virt", "--container")[1].strip() not in ("", "none"),
    }


def pythons() -> list[dict[str, Any]]:
    """Every python3 of the usual directories: path, version, whether it has the venv module."""
    found: dict[str, dict[str, Any]] = {}
    for directory in _PATH.split(":"):
        for path in sorted(glob.glob(directory + "/python3*")):  # noqa: PTH207
            if re.fullmatch(r"python3(\.\d+)?", os.path.basename(path)) is None:  # noqa: PTH119
                continue
            real = os.path.realpath(path)
            if real in found:
                continue
            code, text = run(path, "-I", "-c", _PYTHON_PROBE)
            if code == 0:
                found[real] = {"path": path, **json.loads(text)}
    return list(found.values())


def virtualisation(flags: list[str]) -> dict[str, Any]:
    """Whether this host can run virtual machines with the processor's help."""
    return {
        "cpu_flag": next((flag for flag in ("vmx", "svm") if flag in flags), ""),
        "kvm_device": os.path.exists("/dev/kvm"),  # noqa: PTH110
        "kvm_opens": _kvm_opens(),
        "guest_of": ""
        if "hypervisor" not in flags
        else run("systemd-detect-virt", "--vm")[1].strip() or "unknown",
    }


def _kvm_opens() -> bool:
    try:
        descriptor = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return fcntl.ioctl(descriptor, _KVM_GET_API_VERSION) == 12
    except OSError:
        return False
    finally:
        os.close(descriptor)


def devices() -> dict[str, Any]:
    """What the export needs of the kernel: FUSE and loop devices, there or loadable."""
    return {
        "fuse": _is_character_device("/dev/fuse"),
        "fuse_loadable": _loadable("fuse"),
        "loop": _is_character_device("/dev/loop-control"),
        "loop_loadable": _loadable("loop"),
    }


def _is_character_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)  # noqa: PTH116
    except OSError:
        return False


def _loadable(module: str) -> bool:
    return run("modprobe", "--dry-run", module)[0] == 0


def memory() -> dict[str, int]:
    """Total and available memory in bytes."""
    found = parse.parse_meminfo_bytes(read("/proc/meminfo"))
    return {"total_bytes": found.get("MemTotal", 0), "available_bytes": found.get("MemAvailable", 0)}


def addresses() -> list[dict[str, Any]]:
    """The addresses of this host's interfaces."""
    code, text = run("ip", "-json", "address", "show")
    return parse.parse_ip_addresses(json.loads(text)) if code == 0 and text.strip() else []


def names() -> dict[str, Any]:
    """This host's own name and what it resolves to."""
    hostname = socket.gethostname()
    code, text = run("getent", "ahosts", hostname)
    return {
        "hostname": hostname,
        "resolves_to": parse.parse_getent(text) if code == 0 else [],
        "timed_out": code == 124,
    }


def clock() -> dict[str, Any]:
    """Whether a time service keeps this host's clock; None where nobody can tell."""
    code, text = run("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return {"synchronised": text.strip() == "yes" if code == 0 and text.strip() else None}


def disk_of(path: str, mounts: list[parse.Mount]) -> dict[str, Any]:
    """The file system on which this path lies, or will lie once it is made."""
    existing = os.path.realpath(path)
    while not os.path.exists(existing):  # noqa: PTH110
        existing = os.path.dirname(existing)  # noqa: PTH120
    mount = parse.mount_of(mounts, existing)
    space = os.statvfs(existing)
    file_system = mount.file_system if mount else ""
    return {
        "path": path,
        "exists": existing == os.path.realpath(path),
        "is_directory": os.path.isdir(existing),  # noqa: PTH112
        "mount_point": mount.mount_point if mount else "",
        "source": mount.source if mount else "",
        "file_system": file_system,
        "kind": parse.kind_of_file_system(file_system),
        "read_only": mount is not None and "ro" in mount.options,
        "barriers_disabled_by": parse.barriers_disabled(mount.options) if mount else "",
        "total_bytes": space.f_blocks * space.f_frsize,
        "free_bytes": space.f_bavail * space.f_frsize,
        "own_volume": _is_own_volume(mount),
    }


def _is_own_volume(mount: parse.Mount | None) -> bool:
    """Whether the mount is a volume of ours: a loop device on a file that our export shows."""
    if mount is None:
        return False
    name = re.fullmatch(r"/dev/(loop\d+)", mount.source)
    if name is None:
        return mount.file_system == "fuse.twinhull"
    return read(f"/sys/block/{name.group(1)}/loop/backing_file").startswith(RUN_DIR + "/")


def folder(path: str, mounts: list[parse.Mount]) -> dict[str, Any]:
    """The place of a module's folder: missing, empty, full, or a mount already."""
    facts: dict[str, Any] = {
        "path": path,
        "exists": os.path.lexists(path),
        "is_directory": os.path.isdir(path),  # noqa: PTH112
    }
    try:
        entries = sorted(os.listdir(path))  # noqa: PTH208
    except OSError:
        entries = []
    mount = next((entry for entry in reversed(mounts) if entry.mount_point == path.rstrip("/")), None)
    facts["entries"] = len(entries)
    facts["first_entry"] = next((name for name in entries if name != "lost+found"), "")
    facts["mounted"] = "" if mount is None else f"{mount.source} ({mount.file_system})"
    facts["own_volume"] = _is_own_volume(mount)
    facts["symlink_to"] = os.path.realpath(path) if os.path.realpath(path) != path.rstrip("/") else ""
    return facts


def volumes(data_dir: str) -> dict[str, dict[str, int]]:
    """The volumes that exist in the data directory: size and what they take on disk, in bytes."""
    found = {}
    for path in sorted(glob.glob(os.path.join(data_dir, "volumes", "*", "data.img"))):  # noqa: PTH207, PTH118
        info = os.stat(path)  # noqa: PTH116
        name = os.path.basename(os.path.dirname(path))  # noqa: PTH119, PTH120
        found[name] = {"size_bytes": info.st_size, "allocated_bytes": info.st_blocks * 512}
    return found


def held_ports(wanted: set[int]) -> list[dict[str, Any]]:
    """Who listens on any of these TCP ports."""
    text = [read("/proc/net/tcp"), read("/proc/net/tcp6")]
    sockets = [entry for part in text for entry in parse.parse_proc_net_tcp(part) if entry.port in wanted]
    owners = _socket_owners({entry.inode for entry in sockets})
    held = []
    for entry in sockets:
        pid = owners.get(entry.inode, 0)
        command = read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() if pid else ""
        held.append(
            {
                "port": entry.port,
                "address": entry.address,
                "pid": pid,
                "process": read(f"/proc/{pid}/comm").strip() if pid else "",
                "ours": parse.is_ours(command),
            }
        )
    return held


def _socket_owners(inodes: set[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    if not inodes:
        return found
    for link in glob.iglob("/proc/[0-9]*/fd/*"):  # noqa: PTH207
        try:
            target = os.readlink(link)  # noqa: PTH115
        except OSError:
            continue
        match = re.fullmatch(r"socket:\[(\d+)\]", target)
        if match and int(match.group(1)) in inodes:
            found[int(match.group(1))] = int(link.split("/")[2])
    return found


def pending_reboot(kernel: str, in_container: bool) -> list[str]:
    """Why this host wants to be booted again; empty when it does not."""
    reasons = []
    if os.path.exists("/run/reboot-required"):  # noqa: PTH110
        packages = sorted(set(read("/run/reboot-required.pkgs").split()))
        reasons.append("packages were updated" + (f": {', '.join(packages[:5])}" if packages else ""))
    kernels = sorted(os.path.basename(path) for path in glob.glob("/lib/modules/*"))  # noqa: PTH119, PTH207
    if not in_container and kernels and kernel not in kernels:
        reasons.append(f"the running kernel {kernel} was removed or replaced ({kernels[-1]} is installed)")
    return reasons


def antivirus() -> list[dict[str, Any]]:
    """Known antivirus products that run; their exclusions cannot be read in one way on Linux."""
    running = [read(path).strip() for path in glob.glob("/proc/[0-9]*/comm")]  # noqa: PTH207
    return [{"name": name, "exclusions": None} for name in parse.antivirus_of(running)]


def agent(directory: str) -> dict[str, Any]:
    """The installed agent: its version and whether its service runs."""
    code, text = run(os.path.join(directory, "current", "bin", "twinhull"), "--version")  # noqa: PTH118
    if code == 127:
        code, text = run("twinhull", "--version")
    version = parse.parse_version(text) if code == 0 else ""
    current = os.path.realpath(os.path.join(directory, "current"))  # noqa: PTH118
    if not version and os.path.isdir(current):  # noqa: PTH112
        version = os.path.basename(current)  # noqa: PTH119
    return {
        "installed": bool(version),
        "version": version,
        "service": run("systemctl", "is-active", "twinhull-agent")[1].strip(),
    }


def firewall() -> list[str]:
    """The managed firewalls that are active on this host, by name."""
    active = [
        name for name in ("firewalld", "ufw") if run("systemctl", "is-active", name)[1].strip() == "active"
    ]
    if "ufw" in active and "ENABLED=yes" not in read("/etc/ufw/ufw.conf"):
        active.remove("ufw")
    code, rules = run("nft", "--json", "list", "ruleset")
    if not active and code == 0 and parse.nftables_turns_away(rules):
        active.append("nftables")
    return active


def libvirt(uri: str, domains: list[str]) -> dict[str, Any]:
    """libvirt's networks and the wanted domains; `available` says whether it answers."""
    code, text = run("virsh", "--connect", uri, "net-list", "--all")
    if code != 0:
        return {"available": False, "installed": code != 127, "networks": [], "vms": []}
    vms = []
    for name in domains:
        code, xml = run("virsh", "--connect", uri, "dumpxml", "--inactive", "--", name)
        if code == 0:
            domain = parse.parse_domain(xml)
            domain["disks"] = [disk_file(path) for path in domain["disks"] if path]
            domain["state"] = run("virsh", "--connect", uri, "domstate", "--", name)[1].strip()
            vms.append(domain)
    return {"available": True, "installed": True, "networks": parse.parse_net_list(text), "vms": vms}


def disk_file(path: str) -> dict[str, Any]:
    """A virtual machine's disk: path and what it takes, in bytes; 0 where it cannot be read."""
    try:
        info = os.stat(path)  # noqa: PTH116
    except OSError:
        return {"path": path, "allocated_bytes": 0}
    return {"path": path, "allocated_bytes": info.st_blocks * 512}


def bridges() -> list[str]:
    """The names of this host's bridges, Open vSwitch's included."""
    found = {path.split("/")[4] for path in glob.glob("/sys/class/net/*/bridge")}  # noqa: PTH207
    code, text = run("ovs-vsctl", "--timeout=5", "list-br")
    return sorted(found | set(text.split() if code == 0 else []))


def tools() -> list[str]:
    """The programs that the agent runs and that are missing here."""
    return [name for name in TOOLS if shutil.which(name, path=_PATH) is None]


def gather(wanted: dict[str, Any], warn: Callable[[str], None]) -> dict[str, Any]:
    """All facts of this host.

    Args:
        wanted: the module's parameters: data_dir, install_dir, folders, ports, domains, libvirt_uri.
        warn: takes one sentence for what could not be read.
    """
    mounts = parse.parse_mountinfo(read("/proc/self/mountinfo"))
    system = operating_system()
    cpu = parse.parse_cpuinfo(read("/proc/cpuinfo"))
    if os.geteuid() != 0:
        warn("The facts are not complete: this task has to run as root (become: true).")
    machines = libvirt(wanted["libvirt_uri"], wanted["domains"])
    return {
        "format": 1,
        "platform": "linux",
        "root": os.geteuid() == 0,
        "time_epoch_s": time.time(),
        "os": system,
        "pythons": pythons(),
        "cpu": cpu,
        "virtualisation": virtualisation(cpu["flags"]),
        "devices": devices(),
        "missing_tools": tools(),
        "memory": memory(),
        "addresses": addresses(),
        "names": names(),
        "clock": clock(),
        "data_dir": disk_of(wanted["data_dir"], mounts),
        "install_dir": disk_of(wanted["install_dir"], mounts),
        "folders": [folder(path, mounts) for path in wanted["folders"]],
        "volumes": volumes(wanted["data_dir"]),
        "held_ports": held_ports(set(wanted["ports"])),
        "firewall": firewall(),
        "pending_reboot": pending_reboot(system["kernel"], system["container"]),
        "antivirus": antivirus(),
        "agent": agent(wanted["install_dir"]),
        "hypervisor": {"available": machines["available"], "installed": machines["installed"]},
        "switches": {"bridges": bridges(), "networks": machines["networks"]},
        "vms": machines["vms"],
    }
