"""What Hyper-V says of machines and hosts, out of the JSON of our PowerShell functions. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinhull.errors import ResourceError

from .base import ResourceState

CRITICAL = "Critical"
_POWER = {
    "Running": ResourceState.RUNNING,
    "Starting": ResourceState.RUNNING,
    "Stopping": ResourceState.RUNNING,
    "Saving": ResourceState.RUNNING,
    "FastSaving": ResourceState.RUNNING,
    "Pausing": ResourceState.RUNNING,
    "Resuming": ResourceState.RUNNING,
    "Reset": ResourceState.RUNNING,
    "ForceShutdown": ResourceState.RUNNING,
    "ForceReboot": ResourceState.RUNNING,
    "ComponentServicing": ResourceState.RUNNING,
    "Paused": ResourceState.PAUSED,
    "Off": ResourceState.OFF,
    "Hibernated": ResourceState.OFF,
    "Saved": ResourceState.SAVED,
    "FastSaved": ResourceState.SAVED,
}
"""By the names of the enumeration VMState; the numbers of its critical members differ between versions of Windows."""

_ENDINGS = {
    18502: "it was turned off at this host",
    18504: "it was shut down from this host",
    18508: "its guest shut it down from inside",
    18510: "it was saved at this host",
    18514: "its guest restarted it",
    18560: "its guest crashed (an unrecoverable error reset the processor)",
    18590: "its guest crashed and reported a stop error",
}
"""Events of the log Microsoft-Windows-Hyper-V-Worker-Admin, from public lists of them; none was seen on a host here."""


@dataclass(frozen=True, slots=True)
class MachineState:
    """What a machine does now.

    Args:
        found: whether Hyper-V knows it.
        identifier: its identifier, lower case.
        name: its name, which need not be unique.
        state: the member of VMState by name.
        heartbeat: the member of VMHeartbeatStatus by name; empty where there is none.
        status: Hyper-V's own words, in the host's language: for people alone.
        uptime_s: seconds since its start.
        configuration: the folder of its configuration.
    """

    found: bool
    identifier: str = ""
    name: str = ""
    state: str = ""
    heartbeat: str = ""
    status: str = ""
    uptime_s: float = 0.0
    configuration: str = ""

    @property
    def power(self) -> ResourceState:
        """The state as every resource has it."""
        return power_of(self.state) if self.found else ResourceState.ABSENT

    @property
    def critical(self) -> bool:
        """Whether Hyper-V cannot reach its files."""
        return self.state.endswith(CRITICAL) and self.state != "PausedCritical"

    @property
    def off(self) -> bool:
        """Whether it is off, saved or not there, as far as Hyper-V says."""
        return self.power in (ResourceState.OFF, ResourceState.SAVED, ResourceState.ABSENT)


@dataclass(frozen=True, slots=True)
class Layer:
    """One file of a disk's chain; `problem` says why it cannot be read."""

    path: str
    type: str
    size_bytes: int
    file_bytes: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a machine.

    Args:
        path: its file; empty for a physical disk.
        number: the host's physical disk, or None.
        shared: whether other machines may have it at the same time.
        place: controller and location, for people.
        chain: its file and those that it builds on.
    """

    path: str
    number: int | None
    shared: bool
    place: str
    chain: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint with the disks it holds."""

    name: str
    automatic: bool
    disks: tuple[Disk, ...]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A network adapter; `mac` is all zeros before the first start of a machine with a dynamic one."""

    identifier: str
    name: str
    switch: str
    mac: str
    dynamic: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything of a machine that matters to its protection; folders and paths as Windows writes them."""

    now: MachineState
    generation: int
    version: str
    processors: int
    memory_bytes: int
    snapshots: str
    paging: str
    start_action: str
    stop_action: str
    automatic_checkpoints: bool
    clustered: bool
    replication: str
    disks: tuple[Disk, ...]
    checkpoints: tuple[Checkpoint, ...]
    adapters: tuple[Adapter, ...]
    dvds: tuple[str, ...]
    floppies: tuple[str, ...]
    devices: tuple[str, ...]
    tpm: bool
    shielded: bool
    protectors: tuple[str, ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All files of all disks and checkpoints, once each."""
        found: dict[str, Layer] = {}
        for disk in (*self.disks, *(disk for point in self.checkpoints for disk in point.disks)):
            for layer in disk.chain:
                found.setdefault(layer.path.lower(), layer)
        return tuple(found.values())


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host offers."""

    name: str
    processors: int
    memory_bytes: int
    versions: tuple[str, ...]
    switches: tuple[str, ...]
    guardians: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """What speaks against an import.

    Args:
        kind: what it is about: adapter, disk, dvd, floppy, checkpoint, vm, other.
        what: the switch, file or name in question.
        number: Hyper-V's number of it.
        message: Hyper-V's words, in the host's language.
        version: the machine's configuration version, where it is about the machine.
    """

    kind: str
    what: str
    number: int
    message: str
    version: str = ""


def power_of(state: str) -> ResourceState:
    """The state of a member of VMState by name; UNKNOWN for a name that is not known."""
    if state == "PausedCritical":
        return ResourceState.PAUSED_CRITICAL
    return _POWER.get(state.removesuffix(CRITICAL), ResourceState.UNKNOWN)


def parse_state(value: object) -> MachineState:
    """The answer of Get-TwinhullVmState. Raises ResourceError for what is none."""
    table = _table(value)
    if not isinstance(
        table.get("found"), bool
    ):  # nothing may be taken for an absent machine but the word of it
        raise ResourceError("Hyper-V's answer cannot be read: it does not say whether the VM was found.")
    if not table["found"]:
        return MachineState(False, str(table.get("id", "")).lower())
    return MachineState(
        True,
        _text(table, "id").lower(),
        _text(table, "name"),
        _text(table, "state"),
        _text(table, "heartbeat"),
        _text(table, "status"),
        float(table.get("uptime_s") or 0.0),
        _text(table, "configuration"),
    )


def parse_states(value: object) -> tuple[MachineState, ...]:
    """The answer of Get-TwinhullVmList. Raises ResourceError."""
    return tuple(parse_state(item) for item in _items(_table(value), "machines"))


def parse_machine(value: object) -> Machine:
    """The answer of Get-TwinhullVm. Raises ResourceError."""
    table = _table(value)
    return Machine(
        now=parse_state(table),
        generation=_number(table, "generation"),
        version=_text(table, "version"),
        processors=_number(table, "processors"),
        memory_bytes=_number(table, "memory_bytes"),
        snapshots=_text(table, "snapshots"),
        paging=_text(table, "paging"),
        start_action=_text(table, "start_action"),
        stop_action=_text(table, "stop_action"),
        automatic_checkpoints=bool(table.get("automatic_checkpoints")),
        clustered=bool(table.get("clustered")),
        replication=_text(table, "replication"),
        disks=_disks(table),
        checkpoints=tuple(
            Checkpoint(_text(one, "name"), bool(one.get("automatic")), _disks(one))
            for one in _tables(table, "checkpoints")
        ),
        adapters=tuple(
            Adapter(
                _text(one, "id"),
                _text(one, "name"),
                _text(one, "switch"),
                _text(one, "mac"),
                bool(one.get("dynamic")),
            )
            for one in _tables(table, "adapters")
        ),
        dvds=_texts(table, "dvds"),
        floppies=_texts(table, "floppies"),
        devices=_texts(table, "devices"),
        tpm=bool(table.get("tpm")),
        shielded=bool(table.get("shielded")),
        protectors=_texts(table, "protectors"),
    )


def parse_host(value: object) -> HostFacts:
    """The answer of Get-TwinhullHypervisor. Raises ResourceError."""
    table = _table(value)
    return HostFacts(
        _text(table, "name"),
        _number(table, "processors"),
        _number(table, "memory_bytes"),
        _texts(table, "versions"),
        _texts(table, "switches"),
        _texts(table, "guardians"),
    )


def parse_incompatibilities(value: object) -> tuple[Incompatibility, ...]:
    """The member `incompatible` of Compare-TwinhullVm and Register-TwinhullVm. Raises ResourceError."""
    return tuple(
        Incompatibility(
            _text(one, "kind"),
            _text(one, "what"),
            _number(one, "number"),
            _text(one, "message"),
            _text(one, "version"),
        )
        for one in _tables(_table(value), "incompatible")
    )


def parse_files(value: object) -> tuple[tuple[str, str], ...]:
    """Path and identifier of each configuration of Get-TwinhullConfigurationFile. Raises ResourceError."""
    return tuple((_text(one, "path"), _text(one, "id").lower()) for one in _tables(_table(value), "files"))


def ending_of(events: Sequence[int]) -> str:
    """How a machine ended, in words, by the events of its worker, newest first."""
    for number in events:
        if number in _ENDINGS:
            return _ENDINGS[number]
    return "it is off, and Hyper-V's log does not say why"


def texts_of(value: object, key: str) -> tuple[str, ...]:
    """A list of strings in an answer. Raises ResourceError."""
    return _texts(_table(value), key)


def number_of(value: object, key: str) -> int:
    """A number in an answer. Raises ResourceError."""
    return _number(_table(value), key)


def numbers_of(value: object, key: str) -> tuple[int, ...]:
    """A list of numbers in an answer. Raises ResourceError."""
    return tuple(int(item) for item in _items(_table(value), key))


def _disks(table: Mapping[str, Any]) -> tuple[Disk, ...]:
    return tuple(
        Disk(
            _text(one, "path"),
            None if one.get("number") is None else _number(one, "number"),
            bool(one.get("shared")),
            _text(one, "place"),
            tuple(
                Layer(
                    _text(layer, "path"),
                    _text(layer, "type"),
                    _number(layer, "size_bytes"),
                    _number(layer, "file_bytes"),
                    _text(layer, "problem"),
                )
                for layer in _tables(one, "chain")
            ),
        )
        for one in _tables(table, "disks")
    )


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ResourceError(f"Hyper-V's answer cannot be read: {str(value)[:100]}.")
    return value


def _items(table: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = table.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ResourceError(f"Hyper-V's answer cannot be read: {key} is no list.")
    return value


def _tables(table: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return [_table(item) for item in _items(table, key)]


def _text(table: Mapping[str, Any], key: str) -> str:
    return str(table.get(key) or "")


def _texts(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(str(item) for item in _items(table, key) if item is not None and str(item))


def _number(table: Mapping[str, Any], key: str) -> int:
    try:
        return int(table.get(key) or 0)
    except (TypeError, ValueError) as error:
        raise ResourceError(f"Hyper-V's answer cannot be read: {key} is no number.") from error
