"""The Windows modules in the real PowerShell engine, against a host whose state each test sets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import preflight_engine as engine  # noqa: E402

VERSION = "HKLM:\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
SERVICING = "HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending"
CONTROL = "HKLM:\\SYSTEM\\CurrentControlSet\\Control"
DISK = "HKLM:\\SYSTEM\\CurrentControlSet\\Enum\\SCSI\\DISK&VEN_NVME\\5&1\\Device Parameters\\Disk"
PLAN = "{381b4222-f694-41f0-9685-ff5bb260df2e}"
SLEEP = f"Microsoft:PowerSettingDataIndex\\{PLAN}\\AC\\{{29f6c1db-86da-48c5-9fdb-f2b67b1f44da}}"
RUNNING = ("vmms", "WinDefend", "w32time", "MSiSCSI")
ONLY_WINDOWS_KNOWS = ("account", "names", "unreadable", "time_epoch_s", "root")


# In German, as any other language; "1024 (1 KB)" is how newer versions write it.
NTFSINFO = """Function global:fsutil.exe { @(
    'NTFS-Volumenseriennummer :        0x6c1c4bd01c4b9456', 'NTFS-Version   :                   3.1',
    'Gesamtzahl der Cluster : 104857599  (400,0 GB)', 'Bytes pro Sektor : 512', 'Bytes pro physischem Sektor : 4096',
    'Bytes pro Cluster : 4096  (4 KB)', 'Bytes pro Dateidatensatzsegment : 1024  (1 KB)',
    'Cluster pro Dateidatensatzsegment : 0', 'MFT-gültige Datenlänge : 256,00 KB') }"""


def service(name: str, status: str = "Running") -> dict[str, str]:
    return {
        "Name": name,
        "DisplayName": name,
        "Status": status,
        "StartType": "Automatic",
        "BinaryPathName": "x",
    }


def fault(cmdlet: str, message: str) -> dict[str, Any]:
    error = {"id": "Failed", "category": "NotSpecified", "message": message, "terminating": True}
    return {"cmdlet": cmdlet, "error": error}


def partition(number: int, letter: str) -> dict[str, Any]:
    return {
        "PartitionNumber": number,
        "Offset": 1 << 20,
        "SizeBytes": 400 << 30,
        "DriveLetter": letter,
        "AccessPaths": [f"{letter}:\\"],
        "Volume": {"FileSystem": "NTFS", "Label": letter, "UniqueId": f"\\\\?\\Volume{{{number}}}\\"},
    }


def disk(number: int, letter: str) -> dict[str, Any]:
    return {
        "Number": number, "UniqueId": f"DISK{number}", "FriendlyName": f"Samsung SSD {number}", "SerialNumber": f"S{number}",
        "SizeBytes": 400 << 30, "BusType": "NVMe", "IsOffline": False, "IsReadOnly": False, "PartitionStyle": "GPT",
        "IsBoot": number == 0, "Partitions": [partition(1, letter)],
    }  # fmt: skip


def host() -> dict[str, Any]:
    """A healthy Windows Server 2022 with Hyper-V and two networks."""
    return {
        "computerName": "LYON-A",
        "services": {name: service(name) for name in RUNNING},
        "disks": [disk(0, "C"), disk(1, "D")],
        "guardians": ["AA11"],
        "exclusions": {
            "ExclusionPath": ["C:\\ProgramData\\Twinhull\\data", "D:\\Twinhull\\VM1"],
            "ExclusionProcess": [], "ExclusionExtension": [], "ExclusionIpAddress": [],
        },
        "cim": {
            "Win32_OperatingSystem": [{
                "Caption": "Microsoft Windows Server 2022 Standard", "Version": "10.0.20348", "BuildNumber": "20348",
                "ProductType": 3, "TotalVisibleMemorySize": 33554432, "FreePhysicalMemory": 20000000,
            }],
            "Win32_Processor": [{
                "Manufacturer": "GenuineIntel", "Name": "Intel(R) Xeon(R) Silver 4210 CPU @ 2.20GHz",
                "Description": "Intel64 Family 6 Model 85 Stepping 7", "NumberOfLogicalProcessors": 20,
                "VirtualizationFirmwareEnabled": False, "SecondLevelAddressTranslationExtensions": False,
                "VMMonitorModeExtensions": False,
            }],
            "Win32_ComputerSystem": [{"Manufacturer": "Dell Inc.", "Model": "PowerEdge R440", "HypervisorPresent": True}],
            "Win32_DiskDrive": [{"Index": 0, "Model": "Samsung SSD 0", "PNPDeviceID": "SCSI\\DISK&VEN_NVME\\5&1"}],
            "Win32_Process": [{"ProcessId": 4711, "Name": "nginx.exe", "CommandLine": "C:\\nginx\\nginx.exe"}],
            "Win32_PageFileUsage": [{"Name": "C:\\pagefile.sys"}],
            "Win32_Volume": [{"DeviceID": "\\\\?\\Volume{1}\\", "Name": "C:\\"}],
            "Win32_ShadowStorage": [],
            "Win32_PowerPlan": [{"InstanceID": f"Microsoft:PowerPlan\\{PLAN}", "IsActive": True}],
            "Win32_PowerSettingDataIndex": [{"InstanceID": SLEEP, "SettingIndexValue": 0}],
        },
        "adapters": [{"Name": "Ethernet", "Status": "Up"}, {"Name": "Direct", "Status": "Up"}],
        "ipAddresses": [
            {"InterfaceAlias": "Ethernet", "IPAddress": "10.1.0.11", "PrefixLength": 24},
            {"InterfaceAlias": "Direct", "IPAddress": "192.168.1.11", "PrefixLength": 24},
        ],
        "profiles": [
            {"InterfaceAlias": "Ethernet", "NetworkCategory": "DomainAuthenticated"},
            {"InterfaceAlias": "Direct", "NetworkCategory": "Private"},
        ],
        "connections": [],
        "firewallProfiles": [{"Name": "Domain", "Enabled": "True"}],
    }  # fmt: skip


def case(
    name: str,
    state: dict[str, Any],
    *setup: str,
    folder: str = "D:\\Twinhull\\VM1",
    registry: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "host": state,
        "registry": {VERSION: {"EditionID": "ServerStandard", "DisplayVersion": "21H2"}, **(registry or {})},
        "setup": list(setup),
        "wanted": {
            "DataDir": "C:\\ProgramData\\Twinhull\\data",
            "InstallDir": "C:\\Program Files\\Twinhull",
            "Folders": [folder],
            "Ports": [7410, 7411, 7421],
            "Machines": ["web", "absent"],
        },
    }


def new_vm(directory: str) -> tuple[str, str]:
    disk_path = f"D:\\{directory}\\web.vhdx"
    return (
        f"New-VHD -Path {disk_path} -SizeBytes 40GB -Dynamic",
        f"New-VM -Name web -Generation 2 -MemoryStartupBytes 4GB -VHDPath {disk_path} -SwitchName External",
    )


def host_in_trouble() -> dict[str, Any]:
    state = host()
    state["cim"]["Win32_PowerSettingDataIndex"][0]["SettingIndexValue"] = 1800
    state["connections"] = [{"LocalPort": 7410, "LocalAddress": "0.0.0.0", "OwningProcess": 4711}]
    state["adapters"][1]["Status"] = "Disconnected"
    state["profiles"][1]["NetworkCategory"] = "Public"
    state["services"]["CSFalconService"] = service("CSFalconService")
    state["exclusions"]["ExclusionPath"] = []
    state["cim"]["Win32_PageFileUsage"].append({"Name": "D:\\full\\pagefile.sys"})
    state["cim"]["Win32_Volume"].append({"DeviceID": "\\\\?\\Volume{2}\\", "Name": "D:\\full\\"})
    state["cim"]["Win32_ShadowStorage"] = [
        {"Volume": {"DeviceID": "\\\\?\\Volume{2}\\"}, "DiffVolume": {"DeviceID": "\\\\?\\Volume{1}\\"}}
    ]
    return state


def host_without_hyperv() -> dict[str, Any]:
    state = host()
    del state["services"]["vmms"]
    state["faults"] = [fault("Get-VMHost", "Hyper-V is not there.")]
    return state


def cases() -> list[dict[str, Any]]:
    """What the engine is asked, in one run: it takes seconds to start."""
    trouble: dict[str, dict[str, Any]] = {
        SERVICING: {},
        DISK: {"CacheIsPowerProtected": 1},
        f"{CONTROL}\\Power": {"HibernateEnabled": 1},
        f"{CONTROL}\\Session Manager\\Power": {"HiberbootEnabled": 1},
    }
    tpm = ("Set-VMKeyProtector -VMName web -NewLocalKeyProtector", "Enable-VMTPM -VMName web")
    unreadable = {**host(), "faults": [fault("Get-NetAdapter", "The RPC server is unavailable.")]}
    return [
        case("healthy", host(), *new_vm("healthy")),
        case("trouble", host_in_trouble(), NTFSINFO, folder="D:\\full", registry=trouble),
        case("unreadable", unreadable),
        case("tpm", host(), *new_vm("tpm"), *tpm),
        case("no-hyperv", host_without_hyperv()),
    ]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("preflight")
    for name in ("C", "D/healthy", "D/tpm", "D/full"):
        (made / "drives" / name).mkdir(parents=True)
    (made / "drives" / "D" / "full" / "old.vhdx").write_text("x")
    return made


@pytest.fixture(scope="module")
def facts(directory: Path) -> dict[str, dict[str, Any]]:
    """The facts of each case, by its name."""
    told: dict[str, dict[str, Any]] = engine.answer(
        "facts.ps1", "PreflightFacts.psm1", {"cases": cases()}, directory
    )
    return told


def test_the_scripts_keep_to_windows_powershell_and_to_cmdlets_that_exist() -> None:
    plugins = engine.COLLECTION / "plugins"
    files = [
        *sorted(plugins.glob("module_utils/Preflight*.psm1")),
        *sorted(plugins.glob("modules/win_preflight*.ps1")),
    ]
    assert len(files) == 4
    done = engine.check(*files)
    assert done.returncode == 0, done.stdout


def test_the_checker_finds_a_parameter_that_does_not_exist(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.ps1"
    wrong.write_text("Get-VMSecurity -Name web\n")
    done = engine.check(wrong)
    assert done.returncode == 1
    assert "unknown-parameter" in done.stdout


def test_a_healthy_host_gives_the_facts_that_were_captured(facts: dict[str, dict[str, Any]]) -> None:
    told = dict(facts["healthy"])
    assert [entry["part"] for entry in told["unreadable"]] == ["account"], "Linux has no Windows accounts"
    captured = json.loads((HERE / "fixtures" / "windows_facts.json").read_text())
    for key in ONLY_WINDOWS_KNOWS:
        told.pop(key)
        captured.pop(key)
    assert told == captured


def test_what_is_wrong_with_a_host_is_in_its_facts(facts: dict[str, dict[str, Any]]) -> None:
    told = facts["trouble"]
    assert told["power"] == {"sleep": True, "sleep_after_s": 1800, "hibernation": True, "fast_startup": True}
    assert told["held_ports"] == [
        {"port": 7410, "address": "0.0.0.0", "pid": 4711, "process": "nginx.exe", "ours": False}
    ]
    assert [entry["up"] for entry in told["addresses"]] == [True, False]
    assert [entry["category"] for entry in told["network_profiles"]] == ["DomainAuthenticated", "Public"]
    assert sorted(entry["name"] for entry in told["antivirus"]) == [
        "CrowdStrike Falcon",
        "Microsoft Defender",
    ]
    assert told["data_dir"]["write_cache"] == {"disk": "Samsung SSD 0", "flush_disabled": True}
    assert (told["data_dir"]["cluster_bytes"], told["data_dir"]["record_bytes"]) == (4096, 1024)
    assert told["paging_files"] == ["C:\\pagefile.sys", "D:\\full\\pagefile.sys"]
    assert told["shadow_areas"] == [{"of": "D:\\full\\", "on": "C:\\"}]
    assert told["pending_reboot"] == ["a Windows component or feature was changed"]
    assert (told["folders"][0]["entries"], told["folders"][0]["first_entry"]) == (1, "old.vhdx")


def test_a_part_that_cannot_be_read_is_told_and_the_rest_is_there(facts: dict[str, dict[str, Any]]) -> None:
    told = facts["unreadable"]
    parts = {entry["part"]: entry["error"] for entry in told["unreadable"]}
    assert "The RPC server is unavailable." in parts["addresses"]
    assert told["addresses"] is None
    assert told["memory"]["total_bytes"] == 32 << 30


def test_a_virtual_tpm_without_the_guardian_tools_says_that_it_cannot_tell(
    facts: dict[str, dict[str, Any]],
) -> None:
    vm = facts["tpm"]["vms"][0]
    assert (vm["tpm"], vm["guardians"]) == (True, None)


def test_a_host_without_hyperv_is_gathered_too(facts: dict[str, dict[str, Any]]) -> None:
    told = facts["no-hyperv"]
    assert told["virtualisation"]["hyperv_enabled"] is False
    assert told["hypervisor"]["available"] is False
    assert (told["vms"], told["switches"]["networks"]) == ([], [])


def test_the_listener_answers_only_its_own_token_and_ends_when_told(directory: Path) -> None:
    port = 27421
    target = {"network": "lan", "from": "127.0.0.1", "to": "127.0.0.1", "port": port}
    told = engine.answer(
        "wire.ps1",
        "PreflightWire.psm1",
        {
            "token": "lyon",
            "listen": [{"address": "127.0.0.1", "port": port}, {"address": "192.0.2.99", "port": port}],
            "targets": [{**target, "echo": True}, {**target, "from": "192.0.2.98", "echo": True}],
            "measure": [target],
        },
        directory,
    )
    assert [entry["bound"] for entry in told["bound"]] == [True, False]
    assert [entry["outcome"] for entry in told["connections"]] == ["connected", "no-address"]
    assert told["connections"][0]["rtt_ms"] > 0
    assert (told["connections"][0]["network"], told["measured"][0]["bytes"]) == ("lan", 8 << 20)
    assert told["foreign"][0]["measured"] is False
    assert (told["other_stopped"], told["stopped"]) == (False, True)
    assert [entry["outcome"] for entry in told["after"]] == ["refused", "no-address"]
