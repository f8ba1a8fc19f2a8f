"""virsh: building its commands and reading its answers. Pure functions; nothing here runs anything."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .base import ResourceState

DEFAULT_URI = "qemu:///system"


class Virsh(NamedTuple):
    """Builds virsh's commands (virsh(1) of libvirt 9).

    Args:
        uri: the hypervisor's URI.
        program: the words that start virsh.
    """

    uri: str = DEFAULT_URI
    program: Sequence[str] = ("virsh",)

    def command(self, *words: str) -> list[str]:
        """Any virsh command."""
        return [*self.program, "-q", "-c", self.uri, *words]

    def names(self) -> list[str]:
        return self.command("list", "--all", "--name")

    def uuid(self, domain: str) -> list[str]:
        return self.command("domuuid", domain)

    def state(self, domain: str) -> list[str]:
        return self.command("domstate", domain, "--reason")

    def definition(self, domain: str) -> list[str]:
        """The persistent definition with its secrets (a display's password would be lost without)."""
        return self.command("dumpxml", domain, "--inactive", "--security-info")

    def live_definition(self, domain: str) -> list[str]:
        return self.command("dumpxml", domain)

    def define(self, path: str) -> list[str]:
        return self.command("define", path)

    def autostart(self, domain: str, *, enable: bool) -> list[str]:
        return self.command("autostart", domain, *([] if enable else ["--disable"]))

    def info(self, domain: str) -> list[str]:
        return self.command("dominfo", domain)

    def start(self, domain: str) -> list[str]:
        """A fresh boot: libvirt's own managed save belongs to an older content of the disks."""
        return self.command("start", domain, "--force-boot")

    def restore(self, path: str) -> list[str]:
        return self.command("restore", path, "--running")

    def save(self, domain: str, path: str) -> list[str]:
        return self.command("save", domain, path)

    def abort_job(self, domain: str) -> list[str]:
        return self.command("domjobabort", domain)

    def shutdown(self, domain: str, mode: str) -> list[str]:
        """Ask the guest by `acpi` or `agent`."""
        return self.command("shutdown", domain, "--mode", mode)

    def destroy(self, domain: str) -> list[str]:
        return self.command("destroy", domain)

    def suspend(self, domain: str) -> list[str]:
        return self.command("suspend", domain)

    def resume(self, domain: str) -> list[str]:
        return self.command("resume", domain)

    def undefine(self, domain: str) -> list[str]:
        """Forget the registration; disks and NVRAM stay where they are."""
        return self.command(
            "undefine", domain, "--keep-nvram", "--managed-save", "--snapshots-metadata",
            "--checkpoints-metadata",
        )  # fmt: skip

    def snapshots(self, domain: str) -> list[str]:
        return self.command("snapshot-list", domain, "--name")

    def network(self, name: str) -> list[str]:
        return self.command("net-info", name)

    def secrets(self) -> list[str]:
        return self.command("secret-list")

    def node(self) -> list[str]:
        return self.command("nodeinfo")

    def capabilities(
        self, *, virtualization: str, arch: str, machine: str, emulator: str | None
    ) -> list[str]:
        """What this host can emulate for one kind of machine."""
        words = ["--virttype", virtualization, "--arch", arch, "--machine", machine]
        if emulator is not None:
            words += ["--emulatorbin", emulator]
        return self.command("domcapabilities", *words)


class Off(enum.Enum):
    """Why a domain is off, as libvirt tells it (virDomainShutoffReason)."""

    SHUTDOWN = "shutdown"  # the guest shut itself down
    DESTROYED = "destroyed"
    CRASHED = "crashed"
    SAVED = "saved"
    MIGRATED = "migrated"
    FAILED = "failed"
    DAEMON = "daemon"
    FROM_SNAPSHOT = "from snapshot"
    UNKNOWN = "unknown"


class DomainState(NamedTuple):
    """A domain's state, the reason in libvirt's words, and why it is off (None while it is not)."""

    state: ResourceState
    reason: str
    off: Off | None = None


_STATES = {
    "running": ResourceState.RUNNING,
    "idle": ResourceState.RUNNING,
    "in shutdown": ResourceState.RUNNING,
    "paused": ResourceState.PAUSED,
    "pmsuspended": ResourceState.PAUSED,
    # libvirt keeps the process of a crashed guest when it was told to preserve it
    "crashed": ResourceState.PAUSED,
    "shut off": ResourceState.OFF,
}


def parse_state(text: str) -> DomainState:
    """The answer to `Virsh.state`, such as `shut off (destroyed)`."""
    word, _, rest = text.strip().partition(" (")
    reason = rest.removesuffix(")")
    state = _STATES.get(word, ResourceState.UNKNOWN)
    if state is not ResourceState.OFF:
        return DomainState(state, reason or word)
    off = next((known for known in Off if known.value == reason), Off.UNKNOWN)
    return DomainState(ResourceState.SAVED if off is Off.SAVED else state, reason, off)


def parse_names(text: str) -> list[str]:
    """One name a line, blank lines left out."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def parse_fields(text: str) -> dict[str, str]:
    """`Key:   value` lines (`net-info`, `nodeinfo`, `dominfo`)."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def parse_secrets(text: str) -> set[str]:
    """The UUIDs of `secret-list`, lower case."""
    words = (line.split()[0] for line in text.splitlines() if line.split())
    return {word.lower() for word in words if word.count("-") == 4 and len(word) == 36}


def complaint(text: str) -> str:
    """What virsh complains of, in one line without its `error:` prefixes."""
    lines = [line.strip().removeprefix("error:").strip() for line in text.splitlines()]
    return ": ".join(line.rstrip(".") for line in lines if line) or "no reason was given"


def is_domain(argv: Sequence[str], name: str, uuid: str | None) -> bool:
    """Whether a command line is the emulator that libvirt started for this domain.

    Args:
        argv: the process's command line.
        name: the domain's name, looked at only when its uuid is not known (another libvirt of this host
            may have a domain of the same name).
        uuid: its uuid, or None.
    """
    if uuid is not None:
        return _follows(argv, "-uuid") == uuid.lower()
    guest = _follows(argv, "-name")
    # libvirt writes guest=NAME,debug-threads=on and doubles commas inside the name
    wanted = "guest=" + name.replace(",", ",,")
    return guest is not None and (guest == wanted or guest.startswith(wanted + ",debug-threads="))


def uses_folder(argv: Sequence[str], folder: Path) -> bool:
    """Whether an emulator's command line names a file in the folder."""
    inside = f"{folder}/"
    return any(inside in word for word in argv)


def _follows(argv: Sequence[str], option: str) -> str | None:
    for word, after in itertools.pairwise(argv):
        if word == option:
            return after
    return None
