"""What a Windows host is made of, as far as playbooks see it. Plain data: values are frozen, containers are copied."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from .files import MemoryFiles, Volume

GIB = 1024**3
NAMES = {
    "2019": ("Microsoft Windows Server 2019 Standard", "10.0.17763.0"),
    "2022": ("Microsoft Windows Server 2022 Standard", "10.0.20348.0"),
    "2025": ("Microsoft Windows Server 2025 Standard", "10.0.26100.0"),
    "10": ("Microsoft Windows 10 Pro", "10.0.19045.0"),
    "11": ("Microsoft Windows 11 Pro", "10.0.22631.0"),
    "11-home": ("Microsoft Windows 11 Home", "10.0.22631.0"),
}

ADAPTERS = r"HKLM:\SYSTEM\CurrentControlSet\Control\Class\{4d36e97b-e325-11ce-bfc1-08002be10318}"
BOOTS = r"HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters"


@dataclass(frozen=True, slots=True)
class Service:
    """A Windows service and what its manager knows of it."""

    name: str
    display_name: str = ""
    path: str = ""
    description: str = ""
    start_mode: str = "manual"
    state: str = "stopped"
    username: str = "NT AUTHORITY\\SYSTEM"
    dependencies: tuple[str, ...] = ()
    failure_actions: tuple[tuple[str, int], ...] = ()
    failure_reset_period_sec: int = 0
    failure_actions_on_non_crash_failure: bool = False
    failure_command: str | None = None
    failure_reboot_msg: str | None = None
    pre_shutdown_timeout_ms: int = 180000
    error_control: str = "normal"
    service_type: str = "win32_own_process"
    sid_info: str = "none"
    desktop_interact: bool = False
    load_order_group: str = ""
    required_privileges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FirewallRule:
    """A rule of the Windows firewall with the words of community.windows.win_firewall_rule."""

    name: str
    direction: str = "in"
    action: str = "allow"
    enabled: bool = True
    protocol: str = "any"
    localport: str = "any"
    remoteport: str = "any"
    localip: str = "any"
    remoteip: str = "any"
    profiles: tuple[str, ...] = ("domain", "private", "public")
    program: str = "any"
    service: str = "any"
    group: str = ""
    description: str = ""
    interfacetypes: tuple[str, ...] = ("any",)
    edge: str = "no"
    icmp_type_code: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """A local account."""

    name: str
    password: str = ""
    fullname: str = ""
    description: str = ""
    disabled: bool = False
    password_never_expires: bool = False
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """A network adapter with one address."""

    name: str
    address: str
    prefix: int = 24
    gateway: str | None = None
    profile: str = "Private"
    rate_mbits: int = 10_000


@dataclass(frozen=True, slots=True)
class Disk:
    """A physical disk as the Storage cmdlets show it."""

    number: int
    name: str
    size_bytes: int
    bus: str = "SAS"
    serial: str = ""
    write_cache: bool = True
    flushing: bool = True


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A Hyper-V VM that is registered on the host."""

    name: str
    state: str = "Off"
    path: str = ""
    version: str = "10.0"
    switches: tuple[str, ...] = ()
    has_tpm: bool = False
    guardians: tuple[str, ...] = ()
    memory_bytes: int = 4 * GIB
    disks: tuple[tuple[str, int], ...] = ()


class Fault(Enum):
    """What goes wrong when a call matches."""

    FAILS = "the module fails"
    CONNECTION_DIES = "the connection is cut before the answer, after the work was done"
    CONNECTION_DIES_BEFORE = "the connection is cut before the work is done"
    DISK_FULL = "no byte is left on the volumes while the module runs"
    POWER_LOST = "the host loses power before the work is done, and stays off"


@dataclass(slots=True)
class PlannedFault:
    """The n-th call (from 1, counted from when it was planned) of a module or command containing `name` goes wrong."""

    name: str
    fault: Fault
    call: int = 1
    message: str = "injected fault"
    seen: int = 0


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One module that was run, as the host saw it."""

    module: str
    arguments: dict[str, Any]
    check_mode: bool
    result: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether the host answered with a failure."""
        return bool(self.result.get("failed"))

    @property
    def changed(self) -> bool:
        """Whether the host says that something changed (or would)."""
        return bool(self.result.get("changed"))


@dataclass(slots=True)
class Boot:
    """Power and boot of the host.

    Args:
        number: counts boots.
        time_s: when it booted, in the model's time.
        takes_attempts: how many connections are refused while it boots.
        refusals_left: how many are still refused.
        powered: whether it is on at all.
    """

    number: int = 1
    time_s: float = 0.0
    takes_attempts: int = 1
    refusals_left: int = 0
    powered: bool = True


@dataclass(slots=True)
class Defender:
    """Microsoft Defender: whether it runs, and its exclusions."""

    enabled: bool = True
    exclusion_path: list[str] = field(default_factory=list)
    exclusion_process: list[str] = field(default_factory=list)
    exclusion_extension: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Power:
    """Power settings: the plan, time-outs in minutes (0: never), hibernation."""

    plan: str = "balanced"
    standby_ac_min: int = 30
    hibernate_ac_min: int = 180
    hibernation: bool = True


@dataclass(slots=True)
class HostState:
    """Everything that modules may change. `copy()` is what check mode works on."""

    files: MemoryFiles
    edition: str = "2022"
    hostname: str = "WIN"
    caption: str = ""
    version: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    registry: dict[str, dict[str, tuple[str, Any]]] = field(default_factory=dict)
    registry_names: dict[str, str] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    firewall_rules: dict[str, FirewallRule] = field(default_factory=dict)
    firewall_profiles: dict[str, bool] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    features: dict[str, bool] = field(default_factory=dict)
    optional_features: dict[str, bool] = field(default_factory=dict)
    features_pending: set[str] = field(default_factory=set)
    defender: Defender = field(default_factory=Defender)
    antivirus: tuple[str, ...] = ()
    power: Power = field(default_factory=Power)
    pending_reboot: bool = False
    interfaces: list[NetworkInterface] = field(default_factory=list)
    disks: list[Disk] = field(default_factory=list)
    switches: dict[str, str] = field(default_factory=dict)
    machines: dict[str, VirtualMachine] = field(default_factory=dict)
    guardians: set[str] = field(default_factory=set)
    vm_versions: tuple[str, ...] = ("8.0", "9.0", "10.0")
    processor: str = "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz"
    processor_signature: str = "Intel64 Family 6 Model 106 Stepping 6"
    memory_bytes: int = 64 * GIB
    virtualisation: bool = True
    clock_offset_s: float = 0.0
    name_resolves: bool = True
    foreign_ports: dict[int, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    processes: dict[int, str] = field(default_factory=dict)
    jobs: dict[str, Any] = field(default_factory=dict)
    boot: Boot = field(default_factory=Boot)

    @property
    def is_server(self) -> bool:
        """A server edition (a client one otherwise)."""
        return self.edition.startswith("20")

    def registry_set(self, path: str, name: str, kind: str, data: Any) -> None:
        """Write a value of the registry, its key being made; names keep the case they were made with."""
        self.registry.setdefault(path.casefold(), {})[name.casefold()] = (kind, data)
        self.registry_names.setdefault(path.casefold(), path)
        self.registry_names.setdefault(f"{path.casefold()}!{name.casefold()}", name)

    def registry_get(self, path: str, name: str) -> Any:
        """Data of a value, or None."""
        return self.registry.get(path.casefold(), {}).get(name.casefold(), (None, None))[1]

    def copy(self) -> HostState:
        """A copy whose containers are its own; the values in them are frozen and shared."""
        made = copy.copy(self)
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, MemoryFiles):
                setattr(made, item.name, value.copy())
            elif isinstance(value, dict):
                setattr(
                    made,
                    item.name,
                    {key: dict(part) if isinstance(part, dict) else part for key, part in value.items()},
                )
            elif isinstance(value, list | set):
                setattr(made, item.name, copy.copy(value))
            elif isinstance(value, Defender | Power | Boot):
                setattr(made, item.name, copy.deepcopy(value))
        return made

    def observable(self) -> dict[str, Any]:
        """Everything that a play may not change in check mode, to be compared before and after."""
        plain = {
            item.name: copy.deepcopy(getattr(self, item.name))
            for item in fields(self)
            if item.name not in _UNWATCHED
        }
        plain["files"] = {
            path: mark for path, mark in self.files.tree().items() if "\\temp\\" not in path.casefold() + "\\"
        }
        return plain


_UNWATCHED = frozenset({"files", "jobs", "processes", "events"})


def new_host(
    name: str, edition: str = "2022", address: str = "10.0.0.1", direct: str = "192.168.0.1"
) -> HostState:
    """A freshly installed host of one of the editions in `NAMES`, with disks C and D.

    Raises KeyError for an unknown edition.
    """
    caption, version = NAMES[edition]
    files = MemoryFiles(
        volumes={
            letter: Volume(letter, size * GIB, (size - 40) * GIB)
            for letter, size in (("C", 200), ("D", 2000))
        }
    )
    host = HostState(files, edition, name.upper()[:15], caption, version)
    for directory in (
        r"C:\Windows\System32",
        r"C:\Windows\Temp",
        r"C:\Program Files\Windows Defender",
        r"C:\ProgramData",
        r"C:\Users\Administrator\AppData\Local\Temp",
    ):
        files.make_directory(directory)
    host.environment = _environment(host.hostname)
    host.services = {service.name.casefold(): service for service in _SERVICES}
    host.firewall_profiles = {"Domain": True, "Private": True, "Public": True}
    host.users = {
        "administrator": User("Administrator", groups=frozenset({"Administrators"})),
        "guest": User("Guest", disabled=True),
    }
    names = ("Hyper-V", "Hyper-V-PowerShell", "RSAT-Hyper-V-Tools", "Multipath-IO", "FS-iSCSITarget-Server")
    host.features = dict.fromkeys(names, False) if host.is_server else {}
    optional = ("Microsoft-Hyper-V-All", "Microsoft-Hyper-V", "Microsoft-Hyper-V-Management-PowerShell")
    host.optional_features = {} if edition == "11-home" else dict.fromkeys(optional, False)
    host.interfaces = [
        NetworkInterface("LAN", address, gateway="10.0.0.254"),
        NetworkInterface("Direct", direct),
    ]
    host.disks = [
        Disk(0, "System", 200 * GIB, serial=f"{name}-0"),
        Disk(1, "Data", 2000 * GIB, serial=f"{name}-1"),
    ]
    if host.is_server:
        host.power = Power(standby_ac_min=0, hibernate_ac_min=0, hibernation=False)
    set_hibernation(host, on=not host.is_server)
    order = ["UsoSvc", "gpsvc", "trustedinstaller"]
    host.registry_set(r"HKLM:\SYSTEM\CurrentControlSet\Control", "PreshutdownOrder", "multistring", order)
    host.registry_set(
        r"HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Power",
        "HiberbootEnabled",
        "dword",
        int(not host.is_server),
    )
    for number, driver in (("0001", "Some other controller"), ("0004", "Microsoft iSCSI Initiator")):
        host.registry_set(rf"{ADAPTERS}\{number}", "DriverDesc", "string", driver)
    host.registry_set(rf"{ADAPTERS}\0004\Parameters", "MaxRequestHoldTime", "dword", 60)
    host.registry_set(BOOTS, "BootId", "dword", 7)
    return host


def set_hibernation(host: HostState, *, on: bool) -> None:
    """Turn hibernation on or off, as `powercfg /hibernate` does."""
    host.power.hibernation = on
    host.registry_set(r"HKLM:\SYSTEM\CurrentControlSet\Control\Power", "HibernateEnabled", "dword", int(on))


def _environment(hostname: str) -> dict[str, str]:
    return {
        "ALLUSERSPROFILE": r"C:\ProgramData",
        "APPDATA": r"C:\Users\Administrator\AppData\Roaming",
        "COMPUTERNAME": hostname,
        "ComSpec": r"C:\Windows\System32\cmd.exe",
        "LOCALAPPDATA": r"C:\Users\Administrator\AppData\Local",
        "NUMBER_OF_PROCESSORS": "8",
        "Path": r"C:\Windows\system32;C:\Windows",
        "PROCESSOR_ARCHITECTURE": "AMD64",
        "ProgramData": r"C:\ProgramData",
        "ProgramFiles": r"C:\Program Files",
        "PUBLIC": r"C:\Users\Public",
        "SystemDrive": "C:",
        "SystemRoot": r"C:\Windows",
        "TEMP": r"C:\Users\Administrator\AppData\Local\Temp",
        "TMP": r"C:\Users\Administrator\AppData\Local\Temp",
        "USERNAME": "Administrator",
        "USERPROFILE": r"C:\Users\Administrator",
        "windir": r"C:\Windows",
    }


_SERVICES = (
    Service("MSiSCSI", "Microsoft iSCSI Initiator Service", r"C:\Windows\system32\svchost.exe -k netsvcs"),
    Service("WinDefend", "Microsoft Defender Antivirus Service", start_mode="auto", state="started"),
    Service("WinRM", "Windows Remote Management (WS-Management)", start_mode="auto", state="started"),
    Service("mpssvc", "Windows Defender Firewall", start_mode="auto", state="started"),
    Service("W32Time", "Windows Time", start_mode="auto", state="started"),
)
