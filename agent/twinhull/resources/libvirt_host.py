"""What a host lacks to run a VM, in words. Asked on both nodes with the same definition."""

from __future__ import annotations

import os
from pathlib import Path

from twinhull.errors import ResourceError

from . import libvirt_xml
from .base import Finding
from .libvirt_cmd import Virsh, complaint, parse_fields, parse_names, parse_secrets
from .libvirt_xml import Definition
from .run import Completed, Run

_ANY_ADDRESS = frozenset({"0.0.0.0", "::", "127.0.0.1", "::1", "localhost"})  # noqa: S104  (compared only)
_NO_HOST_INTERFACE = frozenset({"user", "internal"})


class HostCheck:
    """Looks at one host for one VM. Changes nothing.

    Args:
        node: name of this node, for the findings.
        folder: the module's folder, the same on both nodes; it need not be mounted.
        virsh: builds the commands.
        run: runs them.
        timeout_s: seconds of each command.
        root: where the host's file system begins; tests give another.
    """

    def __init__(
        self, node: str, folder: Path, virsh: Virsh, run: Run, timeout_s: float, root: Path = Path("/")
    ) -> None:
        self._node = node
        self._folder = folder
        self._virsh = virsh
        self._run = run
        self._timeout_s = timeout_s
        self._root = root

    def findings(self, definition: Definition) -> list[Finding]:
        """Everything that is missing or deserves a warning."""
        answer = self._ask(self._virsh.node())
        if answer.code != 0:
            return [self._fatal(f"libvirt does not answer on it: {complaint(answer.err)}")]
        found = [self._fatal(clause) for clause in libvirt_xml.outside(definition, self._folder)]
        found += self._drives(definition)
        found += self._machine(definition)
        found += self._processors(definition, answer.out)
        found += self._memory(definition)
        found += self._networks(definition)
        found += self._files(definition)
        found += self._devices(definition)
        found += self._registration(definition)
        return found

    def _drives(self, definition: Definition) -> list[Finding]:
        found = []
        for disk in definition.disks:
            if disk.transient:
                found.append(
                    self._fatal(f"disk {disk.target} is transient: what the VM writes to it is lost")
                )
            if disk.shareable:
                found.append(self._fatal(f"disk {disk.target} is shared with other VMs"))
            if not disk.removable or disk.source is None or self._exists(disk.source):
                continue
            if libvirt_xml.is_inside(disk.source, self._folder):
                continue
            what = f"the image {disk.source} of drive {disk.target} does not exist on it"
            if disk.optional:
                found.append(self._warn(f"{what}; the VM starts with an empty drive"))
            else:
                found.append(self._fatal(f"{what}, so the VM would not start; eject it or copy it there"))
        return found

    def _machine(self, definition: Definition) -> list[Finding]:
        emulator = definition.emulator
        if emulator is not None and not os.access(self._path(emulator), os.X_OK):
            return [self._fatal(f"the emulator {emulator} does not exist on it")]
        answer = self._ask(
            self._virsh.capabilities(
                virtualization=definition.virtualization,
                arch=definition.arch,
                machine=definition.machine,
                emulator=emulator,
            )
        )
        kind = f"{definition.virtualization} machine {definition.machine} ({definition.arch})"
        if answer.code != 0:
            return [self._fatal(f"the {kind} is not supported: {complaint(answer.err)}")]
        found = []
        if definition.virtualization == "kvm" and not self._exists("/dev/kvm"):
            found.append(self._fatal("there is no hardware virtualization (/dev/kvm)"))
        try:
            capabilities = libvirt_xml.parse_tree(answer.out)
        except ResourceError as error:
            return [*found, self._fatal(f"libvirt's answer about the {kind} cannot be read: {error}")]
        values = {element.text for element in capabilities.iterfind("os/enum[@name='firmware']/value")}
        if definition.firmware is not None and definition.firmware not in values:
            found.append(self._fatal(f"firmware {definition.firmware} is not installed on it"))
        mode = definition.cpu_mode
        if mode in ("host-passthrough", "host-model", "maximum"):
            supported = capabilities.find(f"cpu/mode[@name='{mode}']")
            if supported is None or supported.get("supported") != "yes":
                found.append(self._fatal(f"CPU mode {mode} is not supported"))
            else:
                found.append(
                    self._warn(f"CPU mode {mode}: a saved VM goes on only where both nodes have the same CPU")
                )
        elif definition.cpu_model is not None:
            models = capabilities.iterfind("cpu/mode[@name='custom']/model")
            usable = {element.text: element.get("usable") for element in models}
            if usable.get(definition.cpu_model, "no") == "no":
                found.append(self._fatal(f"CPU model {definition.cpu_model} cannot run on it"))
        return found

    def _processors(self, definition: Definition, node_info: str) -> list[Finding]:
        count = parse_fields(node_info).get("CPU(s)", "")
        if not count.isdigit():
            return []
        return [
            self._fatal(f"the VM is bound to CPUs {cpuset}, but there are only {count}")
            for cpuset in definition.cpusets
            if highest_cpu(cpuset) >= int(count)
        ]

    def _memory(self, definition: Definition) -> list[Finding]:
        fields = parse_fields((self._path("/proc/meminfo")).read_text(encoding="ascii", errors="replace"))
        total_kib, available_kib = (
            int(fields.get(key, "0 kB").split()[0]) for key in ("MemTotal", "MemAvailable")
        )
        wanted_kib = definition.memory_kib
        found = []
        if wanted_kib > total_kib:
            found.append(
                self._fatal(f"the VM wants {_mib(wanted_kib)}, the node has {_mib(total_kib)} in all")
            )
        elif wanted_kib > available_kib:
            found.append(
                self._warn(f"the VM wants {_mib(wanted_kib)}, only {_mib(available_kib)} are free now")
            )
        if definition.hugepages and int(fields.get("HugePages_Total", "0")) == 0:
            found.append(self._fatal("the VM wants huge pages, and none are set aside"))
        return found

    def _networks(self, definition: Definition) -> list[Finding]:
        found = []
        for interface in definition.interfaces:
            name = interface.source or ""
            if interface.type == "network":
                found += self._network(name)
            elif interface.type == "bridge":
                if not self._exists(f"/sys/class/net/{name}/bridge") and not self._open_vswitch(name):
                    found.append(self._fatal(f"there is no bridge {name}"))
            elif interface.type == "direct":
                if not self._exists(f"/sys/class/net/{name}"):
                    found.append(self._fatal(f"there is no network device {name}"))
            elif interface.type not in _NO_HOST_INTERFACE and interface.type != "hostdev":
                found.append(
                    self._warn(f"a network card of type {interface.type} needs the same set-up on both nodes")
                )
        return found

    def _open_vswitch(self, name: str) -> bool:
        # a switch of Open vSwitch is a network device without a bridge directory; libvirt checks the rest
        return self._exists(f"/sys/class/net/{name}") and self._exists("/sys/class/net/ovs-system")

    def _network(self, name: str) -> list[Finding]:
        answer = self._ask(self._virsh.network(name))
        if answer.code != 0:
            return [self._fatal(f"libvirt has no network {name} ({complaint(answer.err)})")]
        fields = parse_fields(answer.out)
        if fields.get("Active") != "yes":
            return [self._fatal(f"libvirt's network {name} is not active; start it")]
        if fields.get("Autostart") != "yes":
            return [self._warn(f"libvirt's network {name} does not start with the host; set its autostart")]
        return []

    def _files(self, definition: Definition) -> list[Finding]:
        found = []
        for path in (definition.loader, *definition.boot_files):
            if path is None or self._exists(path) or libvirt_xml.is_inside(path, self._folder):
                continue
            found.append(self._fatal(f"the file {path}, which the VM boots from, does not exist on it"))
        found += [
            self._fatal(f"the random source {path} does not exist on it")
            for path in definition.random_devices
            if not self._exists(path)
        ]
        for path in definition.shares:
            sentence = f"the shared directory {path} is not mirrored"
            found.append(
                self._warn(sentence)
                if self._exists(path)
                else self._fatal(f"{sentence} and does not exist on it")
            )
        if definition.secrets:
            known = parse_secrets(self._ask(self._virsh.secrets()).out)
            found += [
                self._fatal(f"libvirt has no secret {secret}, which opens an encrypted disk")
                for secret in definition.secrets
                if secret not in known
            ]
        return found

    def _devices(self, definition: Definition) -> list[Finding]:
        found = [
            self._fatal(f"the VM uses this host's own {device} (passthrough), which no other host has")
            for device in definition.host_devices
        ]
        for kind in definition.tpms:
            if kind in ("emulator", "passthrough"):
                found.append(
                    self._fatal(f"the VM has a TPM ({kind}), whose state does not lie in the folder")
                )
        if definition.has_arguments:
            found.append(self._warn("the definition passes arguments to QEMU that were not checked"))
        found += [
            self._warn(f"a display listens at {address}, which must be an address of this node too")
            for address in definition.listen_addresses
            if address not in _ANY_ADDRESS
        ]
        if not definition.has_agent:
            found.append(
                self._warn(
                    "the VM has no guest agent channel: no heartbeat, and a shutdown goes by ACPI alone"
                )
            )
        return found

    def _registration(self, definition: Definition) -> list[Finding]:
        names = self._ask(self._virsh.names())
        if definition.name not in parse_names(names.out):
            return []
        uuid = self._ask(self._virsh.uuid(definition.name)).out.strip().lower()
        if uuid and uuid != definition.uuid:
            return [self._fatal(f"another VM is called {definition.name} there (uuid {uuid}); rename it")]
        if parse_names(self._ask(self._virsh.snapshots(definition.name)).out):
            return [self._warn("the VM has snapshots; the other node will not know their names")]
        return []

    def _ask(self, argv: list[str]) -> Completed:
        try:
            return self._run(argv, timeout_s=self._timeout_s)
        except ResourceError as error:
            return Completed(-1, "", str(error))

    def _path(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _exists(self, path: str) -> bool:
        return self._path(path).exists()

    def _fatal(self, sentence: str) -> Finding:
        return Finding(True, f"Node {self._node}: {sentence}.")

    def _warn(self, sentence: str) -> Finding:
        return Finding(False, f"Node {self._node}: {sentence}.")


def highest_cpu(cpuset: str) -> int:
    """The highest number of a set such as `0-3,^2,8`."""
    numbers = [
        int(word) for part in cpuset.split(",") for word in part.lstrip("^").split("-") if word.isdigit()
    ]
    return max(numbers, default=-1)


def _mib(kib: int) -> str:
    return f"{kib // 1024} MiB of memory"
