"""Plans for moving an existing VM into its folder, and out of it again: what goes where. Pure functions.

An image that builds on others (a template, a snapshot's overlay) is flattened: copying the chain would leave
paths of this host inside the images, and drag a template that other VMs use into the folder.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .base import Finding
from .images import Image
from .libvirt_xml import Definition, is_inside, parse_definition, rewrite

DEFINITION_NAME = "vm/domain.xml"
_MOVABLE = frozenset({"file", "block"})


class Direction(enum.Enum):
    """Into the folder, or out of it."""

    PROTECT = "protect"
    UNPROTECT = "unprotect"


class Move(NamedTuple):
    """One file on its way.

    Args:
        what: what it is, such as `disk vda`.
        source, target: paths; the target is always a file.
        format: of the image.
        flatten: whether all that it builds on becomes part of it.
        data_bytes: how much there is to read.
    """

    what: str
    source: str
    target: str
    format: str
    flatten: bool
    data_bytes: int


@dataclass(frozen=True, slots=True)
class MovePlan:
    """What is moved where, and what stands against it.

    Args:
        direction: into the folder or out of it.
        domain: the VM's name.
        place: the directory that it goes to.
        moves: files to be copied; those that are in their place already are left out.
        original: the definition of now, `definition` the one afterwards, `definition_path` where that goes.
        findings: what speaks against it; a fatal one refuses it.
    """

    direction: Direction
    domain: str
    place: Path
    moves: tuple[Move, ...]
    original: str
    definition: str
    definition_path: Path
    findings: tuple[Finding, ...]

    @property
    def total_bytes(self) -> int:
        """How much has to be read."""
        return sum(move.data_bytes for move in self.moves)

    @property
    def inside(self) -> bool:
        """Whether all its files are in their place already."""
        return not self.moves

    @property
    def refused(self) -> bool:
        """Whether it cannot be carried out."""
        return any(finding.fatal for finding in self.findings)

    def with_findings(self, more: Sequence[Finding]) -> MovePlan:
        """The same plan with further findings."""
        return dataclasses.replace(self, findings=(*self.findings, *more))


def plan_protect(text: str, folder: Path, found: Mapping[str, Image]) -> MovePlan:
    """The plan that brings a VM into its folder.

    Args:
        text: the VM's persistent definition.
        folder: the module's folder.
        found: the images of its disks by path.

    Raises ResourceError for a definition that cannot be read.
    """
    return _plan(Direction.PROTECT, text, folder, folder / DEFINITION_NAME, found)


def plan_unprotect(text: str, folder: Path, place: Path, found: Mapping[str, Image]) -> MovePlan:
    """The plan that brings a VM out of its folder into the directory `place`. Raises ResourceError."""
    name = parse_definition(text).name
    plan = _plan(Direction.UNPROTECT, text, place, place / f"{name}.xml", found)
    if not is_inside(str(place), folder):
        return plan
    return plan.with_findings(
        [Finding(True, f"{place} lies in the protected folder {folder}; name a directory outside of it.")]
    )


def files_of(definition: Definition) -> dict[str, str]:
    """Every file that has to move with the VM, path to image format."""
    files = {disk.source: disk.format for disk in definition.disks if not disk.removable and disk.source}
    others = [path for path in (definition.nvram, *definition.boot_files) if path is not None]
    return {**files, **dict.fromkeys(others, "raw")}


def _plan(direction: Direction, text: str, place: Path, path: Path, found: Mapping[str, Image]) -> MovePlan:
    definition = parse_definition(text)
    sources = _sources(definition)
    taken = {str(path), *(source for _, source in sources if is_inside(source, place))}
    paths: dict[str, str] = {}
    moves = []
    for what, source in sources:
        if source in taken or source in paths:
            continue
        directory = place if what.startswith("disk ") else place / "vm"
        paths[source] = _free_name(directory, Path(source).name, what, taken)
        image = found.get(source)
        # firmware variables of a VM that never ran do not exist yet; they will be made in the new place
        if image is not None:
            flat = image.backing is not None
            moves.append(Move(what, source, paths[source], image.format, flat, image.data_bytes))
    return MovePlan(
        direction, definition.name, place, tuple(moves), text, rewrite(text, paths), path,
        tuple(_refusals(definition, found)),
    )  # fmt: skip


def _sources(definition: Definition) -> list[tuple[str, str]]:
    files = [
        (f"disk {disk.target}", disk.source)
        for disk in definition.disks
        if not disk.removable and disk.source is not None and disk.type in _MOVABLE
    ]
    if definition.nvram is not None:
        files.append(("firmware variables", definition.nvram))
    return files + [(f"boot file {Path(path).name}", path) for path in definition.boot_files]


def _free_name(directory: Path, name: str, what: str, taken: set[str]) -> str:
    target = str(directory / name)
    if target in taken:
        target = str(directory / f"{what.rpartition(' ')[2]}-{name}")
    taken.add(target)
    return target


def _refusals(definition: Definition, found: Mapping[str, Image]) -> list[Finding]:
    clauses = [
        f"the VM uses this host's own {device} (passthrough), which no other host has; remove it from the VM"
        for device in definition.host_devices
    ]
    for kind in definition.tpms:
        if kind != "external":
            clauses.append(f"the VM has a TPM ({kind}) whose state does not lie in the folder; remove it")
    for disk in definition.disks:
        if disk.removable:
            continue
        name = f"disk {disk.target}"
        if disk.shareable:
            clauses.append(f"{name} is shared with other VMs")
        if disk.transient:
            clauses.append(f"{name} is transient: what the VM writes to it is lost at its end")
        if disk.type not in _MOVABLE or disk.source is None:
            clauses.append(f"{name} is of type {disk.type}; copy it into an image file first")
            continue
        image = found.get(disk.source)
        if image is None:
            clauses.append(f"{name} ({disk.source}) cannot be read")
        elif image.data_file is not None:
            clauses.append(f"{name} keeps its data in another file ({image.data_file}); convert it first")
        elif image.backing is not None and image.snapshots:
            clauses.append(
                f"{name} builds on {image.backing} and holds snapshots; remove the snapshots first"
            )
    return [Finding(True, f"VM {definition.name}: {clause}.") for clause in clauses]
