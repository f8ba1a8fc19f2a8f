"""Judges what only a Windows node has. Pure.

The pairwise rules of Hyper-V (versions of virtual machines, guardians) are here too: each asks whether this one node could
run a virtual machine that either node holds.
"""

from __future__ import annotations

from .preflight_model import Collector, Host, Site, listing
from .preflight_site import path_of

_SERVER_BUILDS = {17763: "2019", 20348: "2022", 26100: "2025"}
_OLDEST_CLIENT_BUILD = 17763
_CLIENT_EDITIONS = ("Professional", "Enterprise", "IoTEnterprise", "Education")
GUARDIAN_STORE = "Shielded VM Local Certificates"
SUPPORTED_TEXT = "Windows Server 2019, 2022 and 2025, and Windows 10 and 11 Pro or Enterprise"


def judge_windows(site: Site, host: Host, found: Collector) -> None:
    """Edition, Hyper-V, drives, network profile, power, accounts and virtual machines of one Windows node."""
    _edition(host, found)
    _hyperv(site, host, found)
    _clock(host, found)
    _drives(site, host, found)
    _own_disks(site, host, found)
    _profiles(site, host, found)
    _power(host, found)
    _token_filter(host, found)
    _versions(site, host, found)
    _guardians(site, host, found)


def is_supported(product: str, build: int, edition: str) -> bool:
    """Whether this release and edition is one that Twinhull is made for.

    Args:
        product: `client`, `server` or `domain_controller`.
        build: number of the build.
        edition: EditionID of the registry, which is not translated.
    """
    if product == "client":
        return build >= _OLDEST_CLIENT_BUILD and edition.startswith(_CLIENT_EDITIONS)
    return build in _SERVER_BUILDS


def _edition(host: Host, found: Collector) -> None:
    if not host.get("os"):
        return
    name, build = host.get("os.name", "") or "an unknown Windows", int(host.get("os.build", 0))
    if is_supported(host.get("os.product", ""), build, host.get("os.edition", "")):
        found.ok("os.supported", (host.node,), f"node {host.node} runs {name} (build {build}).")
        return
    found.error(
        "os.unsupported",
        (host.node,),
        f"node {host.node} runs {name} (build {build}, edition {host.get('os.edition', '?')}), which is not supported.",
        f"Supported are {SUPPORTED_TEXT}; Home editions have no Hyper-V.",
    )


def _hyperv(site: Site, host: Host, found: Collector) -> None:
    if not any(module.kind == "hyperv" for module in site.modules):
        return
    node, facts = host.node, host.get("virtualisation", {})
    if not facts:
        return
    if facts.get("hyperv_enabled"):
        if host.get("hypervisor.available", False):
            found.ok("virtualisation.hyperv", (node,), f"node {node}: Hyper-V is enabled and answers.")
        else:
            found.error(
                "virtualisation.hyperv",
                (node,),
                f"node {node}: Hyper-V is enabled, but its management service (vmms) does not answer.",
                "Start the service 'Hyper-V Virtual Machine Management', or reboot the host.",
            )
        return
    if facts.get("hypervisor_present") and facts.get("guest_of") and not facts.get("vm_monitor"):
        found.warning(
            "virtualisation.nested",
            (node,),
            f"node {node} is itself a virtual machine ({facts['guest_of']}), and the processor shows no "
            "nested virtualisation.",
            "Allow it on the host of this VM (Hyper-V: Set-VMProcessor -ExposeVirtualizationExtensions $true), else Hyper-V "
            "does not start here.",
        )
        return
    capable = facts.get("hypervisor_present") or (facts.get("firmware_enabled") and facts.get("slat"))
    if capable:
        found.ok(
            "virtualisation.hyperv",
            (node,),
            f"node {node}: Hyper-V can be enabled (the role 'hypervisor' does; it reboots).",
        )
        return
    lacks = "second level address translation (SLAT)" if facts.get("slat") is False else "virtualisation"
    found.error(
        "virtualisation.none",
        (node,),
        f"node {node} cannot run Hyper-V: the processor or the firmware shows no {lacks}.",
        "Turn it on in the firmware (Intel VT-x, AMD-V, data execution prevention), or for this VM on its own host "
        "(Set-VMProcessor -ExposeVirtualizationExtensions $true).",
    )


def _clock(host: Host, found: Collector) -> None:
    if host.get("clock.synchronised") is False:
        found.warning(
            "clock.unsynchronised",
            (host.node,),
            f"node {host.node}: the time service (w32time) does not run.",
            "Start the service 'Windows Time' and give it a source: certificates and logs need the right time.",
        )


def _drives(site: Site, host: Host, found: Collector) -> None:
    if host.get("drives") is None:
        return
    letters = {str(letter).upper().rstrip(":\\") for letter in host.get("drives", [])}
    for module in site.modules:
        drive = path_of(module.folder, "windows").drive.upper().rstrip(":")
        if drive and drive not in letters:
            found.error(
                "drive.missing",
                (host.node,),
                f"node {host.node} has no drive {drive}: for the folder {module.folder} of module {module.name}; the path "
                "is the same on both nodes.",
                "Give the host that drive letter, or the module a folder on a drive that both nodes have.",
                module.name,
            )


def _own_disks(site: Site, host: Host, found: Collector) -> None:
    """Nothing of Windows itself may wait for a disk that a worker of this host serves."""
    for module in site.modules:
        folder = path_of(module.folder, "windows")
        for name in host.get("paging_files", []):
            if path_of(name, "windows").is_relative_to(folder):
                found.error(
                    "disk.paging_file",
                    (host.node,),
                    f"node {host.node}: the paging file {name} lies on the disk of module {module.name}: Windows would wait "
                    "for a disk that waits for Windows.",
                    "System Properties, Advanced, Performance, Virtual memory: move it to another drive, and reboot.",
                    module.name,
                )
        for area in host.get("shadow_areas", []):
            ends = [path_of(area[end], "windows") for end in ("of", "on") if area.get(end)]
            if folder in ends:
                found.warning(
                    "disk.shadow_copies",
                    (host.node,),
                    f"node {host.node}: shadow copies of {area.get('of')} are kept on {area.get('on')}: the first write to "
                    f"a place becomes three on the disk of module {module.name}, and they go over the network.",
                    f"Back the VM up from within, or after each backup: vssadmin delete shadowstorage /for={area.get('of')} "
                    f"/on={area.get('on')}.",
                    module.name,
                )


def _profiles(site: Site, host: Host, found: Collector) -> None:
    ours = {address: network for network, address in site.addresses.get(host.node, {}).items()}
    for profile in host.get("network_profiles", []):
        networks = sorted({ours[address] for address in profile.get("addresses", []) if address in ours})
        if not networks:
            continue
        where = f"node {host.node}: network {listing(networks)} ({profile.get('interface', '')})"
        if profile.get("category") == "Public":
            found.warning(
                "network.public",
                (host.node,),
                f"{where} has the profile Public: rules of the private profile do not hold there, and WinRM may refuse.",
                "Set-NetConnectionProfile -InterfaceAlias '...' -NetworkCategory Private; a network without a gateway is "
                "always taken as Public at first.",
            )
        else:
            found.ok("network.profile", (host.node,), f"{where} has the profile {profile.get('category')}.")


def _power(host: Host, found: Collector) -> None:
    power = host.get("power", {})
    on = [
        word
        for key, word in (
            ("sleep", "sleep"),
            ("hibernation", "hibernation"),
            ("fast_startup", "Fast Startup"),
        )
        if power.get(key)
    ]
    if not on:
        found.ok(
            "power.sleep",
            (host.node,),
            f"node {host.node}: neither sleep, hibernation nor Fast Startup is on.",
        )
        return
    client = host.get("os.product", "") == "client"
    will = "The role 'agent' turns them off on this client edition, and keeps the old values for the uninstallation."
    found.warning(
        "power.sleep",
        (host.node,),
        f"node {host.node}: {listing(on)} {'is' if len(on) == 1 else 'are'} on: a node that sleeps looks dead to the other.",
        will if client else "Turn them off (powercfg /hibernate off; powercfg /change standby-timeout-ac 0).",
    )


def _token_filter(host: Host, found: Collector) -> None:
    account = host.get("account", {})
    if not account.get("local") or account.get("builtin_administrator") or account.get("filter_policy") == 1:
        return
    found.warning(
        "account.filter",
        (host.node,),
        f"node {host.node}: the playbook logs in with the local account '{account.get('name', '')}', and "
        "LocalAccountTokenFilterPolicy is not set: over the network such an account may lose its administrator's rights.",
        "Use a domain account, the built-in Administrator or a certificate; or, knowing that it widens what a stolen local "
        "password can do, set HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Policies\\System\\"
        "LocalAccountTokenFilterPolicy to 1. Twinhull never sets it.",
    )


def _versions(site: Site, host: Host, found: Collector) -> None:
    supported = [str(version) for version in host.get("hypervisor.vm_versions", [])]
    modules = {module.domain: module.name for module in site.modules}
    for vm in host.get("site_vms", []):
        version = str(vm.get("version", ""))
        if not supported or not version:
            continue
        if version in supported:
            sentence = f"node {host.node} can run VM {vm['name']} (configuration version {version})."
            found.ok("vm.version", (host.node,), sentence, modules.get(str(vm["name"]), ""))
        else:
            found.error(
                "vm.version",
                (host.node,),
                f"node {host.node} cannot run VM {vm['name']}: its configuration version is {version}, this host knows "
                f"{listing(supported)}.",
                "Make the VM on the node with the older Windows, or update that node. A version cannot be lowered.",
                modules.get(str(vm["name"]), ""),
            )


def _guardians(site: Site, host: Host, found: Collector) -> None:
    have = {
        str(thumbprint).upper()
        for guardian in host.get("guardians", [])
        if guardian.get("private_key", True)
        for thumbprint in guardian.get("thumbprints", [])
    }
    modules = {module.domain: module.name for module in site.modules}
    for vm in host.get("site_vms", []):
        if not vm.get("tpm") or vm.get("node") == host.node:
            continue
        if vm.get("guardians") is None:
            found.warning(
                "vm.guardian",
                (host.node,),
                f"VM {vm['name']} has a virtual TPM, but node {vm.get('node')} cannot tell which "
                "guardian's certificates it needs.",
                f"Copy the certificates of the store '{GUARDIAN_STORE}' with their keys to node {host.node}.",
                modules.get(str(vm["name"]), ""),
            )
            continue
        needed = [str(thumbprint).upper() for thumbprint in vm["guardians"]]
        if needed and have.intersection(needed):
            sentence = f"node {host.node} has the guardian's certificates of VM {vm['name']}, which has a virtual TPM."
            found.ok("vm.guardian", (host.node,), sentence, modules.get(str(vm["name"]), ""))
            continue
        found.error(
            "vm.guardian",
            (host.node,),
            f"node {host.node} lacks the guardian's certificates of VM {vm['name']}, which has a virtual TPM: it would not "
            "start here.",
            f"Export both certificates of the guardian with their keys (certlm.msc, '{GUARDIAN_STORE}') on "
            f"node {vm.get('node')} and import them on node {host.node}.",
            modules.get(str(vm["name"]), ""),
        )
