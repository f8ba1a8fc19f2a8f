"""Judges what only a Linux node has. Pure."""

from __future__ import annotations

import re

from .preflight_host_rules import PYTHON_MINIMUM
from .preflight_model import Collector, Host, Site, listing

_SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04")}
_RED_HAT_FAMILY = ("rhel", "centos", "fedora", "rocky", "almalinux")
SUPPORTED_TEXT = "Debian 12 and 13, Ubuntu 22.04 and 24.04, and the family of Red Hat Enterprise Linux 9"


def judge_linux(site: Site, host: Host, found: Collector) -> None:
    """Distribution, systemd, Python, virtualisation, devices and tools of one Linux node."""
    _distribution(host, found)
    _systemd(host, found)
    _python(host, found)
    _clock(host, found)
    _virtualisation(site, host, found)
    _devices(host, found)
    _tools(host, found)


def is_supported(distribution: str, like: list[str], version: str) -> bool:
    """Whether this release is one that Twinhull is tested on."""
    if distribution in _SUPPORTED:
        return version in _SUPPORTED[distribution]
    family = distribution in _RED_HAT_FAMILY or "rhel" in like
    return family and distribution != "fedora" and version.partition(".")[0] == "9"


def _distribution(host: Host, found: Collector) -> None:
    name = host.get("os.name", "") or "an unknown system"
    machine = host.get("os.machine", "")
    if not is_supported(host.get("os.id", ""), list(host.get("os.like", [])), host.get("os.version", "")):
        found.error(
            "os.unsupported",
            (host.node,),
            f"node {host.node} runs {name}, which is not supported.",
            f"Supported are {SUPPORTED_TEXT}.",
        )
    elif machine not in ("x86_64", "aarch64"):
        found.error(
            "os.machine",
            (host.node,),
            f"node {host.node} is a {machine} machine, which is not supported.",
            "Use a host with a 64-bit x86 or ARM processor.",
        )
    else:
        found.ok("os.supported", (host.node,), f"node {host.node} runs {name}.")


def _systemd(host: Host, found: Collector) -> None:
    if host.get("os.systemd_booted", False):
        found.ok(
            "os.systemd",
            (host.node,),
            f"node {host.node}: systemd {host.get('os.systemd_version', '')} runs services.",
        )
        return
    found.error(
        "os.systemd",
        (host.node,),
        f"node {host.node} was not booted with systemd (its first process is '{host.get('os.init', '?')}').",
        "Use a host that boots with systemd: it starts the agent and restarts it when it hangs.",
    )


def version_numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparisons."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _python(host: Host, found: Collector) -> None:
    pythons = host.get("pythons", [])
    new = [entry for entry in pythons if version_numbers(entry["version"])[:2] >= PYTHON_MINIMUM]
    good = [entry for entry in new if entry.get("venv")]
    wanted = ".".join(map(str, PYTHON_MINIMUM))
    if good:
        best = max(good, key=lambda entry: version_numbers(entry["version"]))
        found.ok(
            "python.version",
            (host.node,),
            f"node {host.node} has Python {best['version']} with venv ({best['path']}).",
        )
    elif new:
        found.error(
            "python.venv",
            (host.node,),
            f"node {host.node}: Python {new[0]['version']} ({new[0]['path']}) lacks the venv module.",
            "Install it (Debian, Ubuntu: python3-venv).",
        )
    else:
        there = listing([f"{entry['version']} ({entry['path']})" for entry in pythons]) or "none"
        found.error(
            "python.version",
            (host.node,),
            f"node {host.node} has no Python {wanted} or newer; it has {there}.",
            "Install one beside it (RHEL 9: dnf install python3.11; Ubuntu 22.04: apt install python3.11 python3.11-venv).",
        )


def _clock(host: Host, found: Collector) -> None:
    if host.get("clock.synchronised") is False:
        found.warning(
            "clock.unsynchronised",
            (host.node,),
            f"node {host.node}: no time service keeps the clock.",
            "Install and enable chrony or systemd-timesyncd: certificates and logs need the right time.",
        )


def _virtualisation(site: Site, host: Host, found: Collector) -> None:
    machines = [module for module in site.modules if module.kind == "libvirt"]
    if not machines:
        return
    node, flag = host.node, host.get("virtualisation.cpu_flag", "")
    accelerated = [vm["name"] for vm in host.get("site_vms", []) if vm.get("type") == "kvm"]
    if host.get("virtualisation.kvm_opens", False):
        guest_of = host.get("virtualisation.guest_of", "")
        if guest_of:
            found.warning(
                "virtualisation.nested",
                (node,),
                f"node {node} is itself a virtual machine ({guest_of}): its VMs run nested.",
                "Fine for trials; use hardware in production.",
            )
        else:
            found.ok("virtualisation.kvm", (node,), f"node {node}: KVM is there.")
        return
    if not flag and not host.get("virtualisation.kvm_device", False):
        sentence = f"node {node}: the processor shows no virtualisation (vmx, svm), and there is no /dev/kvm."
        remedy = (
            "Turn it on in the firmware (Intel VT-x, AMD-V), or nested virtualisation where this is a VM."
        )
    elif not host.get("virtualisation.kvm_device", False):
        sentence = f"node {node}: the processor has {flag}, but there is no /dev/kvm."
        remedy = f"Load the module {'kvm_intel' if flag == 'vmx' else 'kvm_amd'}; see dmesg if it refuses."
    else:
        sentence = f"node {node}: /dev/kvm is there but does not answer."
        remedy = "See dmesg, and whether another hypervisor holds the processor."
    if accelerated:
        found.error(
            "virtualisation.none", (node,), f"{sentence} VM {listing(accelerated)} needs KVM.", remedy
        )
    else:
        found.warning(
            "virtualisation.none", (node,), f"{sentence} VMs would be emulated, many times slower.", remedy
        )


def _devices(host: Host, found: Collector) -> None:
    missing = []
    for name, path in (("fuse", "/dev/fuse"), ("loop", "/dev/loop-control")):
        if host.get(f"devices.{name}", False):
            continue
        if host.get(f"devices.{name}_loadable", False):
            found.ok(
                f"device.{name}", (host.node,), f"node {host.node}: the kernel can load the module {name}."
            )
            continue
        missing.append(path)
        found.error(
            f"device.{name}",
            (host.node,),
            f"node {host.node}: there is no {path}, and the kernel has no module '{name}': volumes cannot be mounted.",
            "Use the distribution's full kernel (not one cut down for containers), or pass the device into the container.",
        )
    if not missing:
        found.ok("device.all", (host.node,), f"node {host.node}: FUSE and loop devices are there.")


def _tools(host: Host, found: Collector) -> None:
    missing = host.get("missing_tools", [])
    if missing:
        found.warning(
            "tools.missing",
            (host.node,),
            f"node {host.node} lacks {listing(missing, 10)}.",
            "The installation takes them from the host's package source; without one, install them beforehand "
            "(util-linux, mount, e2fsprogs, xfsprogs).",
        )
