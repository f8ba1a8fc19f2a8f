"""Moving an existing VM into its folder, and out of it again, by a plan of `libvirt_plan`.

Every image is copied and compared, then the new definition is registered. Images and definition of before
stay as they are; the images are removed by `remove_originals` alone, once the VM has run from its new place,
and until then `roll_back` undoes everything.
"""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twinhull.errors import ResourceError

from . import images
from .base import Finding, Log, Progress, ResourceState
from .copying import copy_image
from .files import remove_durably, write_durably
from .images import Image
from .libvirt_cmd import Virsh, complaint, parse_fields, parse_names, parse_state
from .libvirt_plan import (
    DEFINITION_NAME,
    Direction,
    Move,
    MovePlan,
    files_of,
    plan_protect,
    plan_unprotect,
)
from .libvirt_xml import Definition, parse_definition
from .run import Run, run_command

JOURNAL_VERSION = 1
_FLATTEN_EXTRA_S = 3600.0


class Phase(enum.Enum):
    """How far a move got, durable in its journal."""

    COPYING = "copying"
    MOVED = "moved"  # the new definition is (being) registered


class VmMover:
    """Carries out a plan on this node, step by step, each of which may be interrupted and run again.

    Args:
        module, node: names, for messages.
        state_directory: of the module on the node's own disk; holds the journal and the original definition.
        log: takes sentences for the module's log.
        progress: told how far the copying is.
        virsh, run: reach libvirt.
        timeout_s: seconds of a command.
    """

    def __init__(
        self,
        *,
        module: str,
        node: str,
        state_directory: Path,
        log: Log,
        progress: Callable[[Progress], None],
        virsh: Virsh | None = None,
        run: Run = run_command,
        timeout_s: float = 30.0,
    ) -> None:
        self._module = module
        self._node = node
        self._directory = state_directory
        self._log = log
        self._progress = progress
        self._virsh = virsh or Virsh()
        self._run = run
        self._timeout_s = timeout_s

    def plan_protect(self, domain: str, folder: Path) -> MovePlan:
        """Look at the VM and its images; changes nothing. Raises ResourceError."""
        text = self._do(self._virsh.definition(domain), f"the VM {domain} is not known to libvirt")
        definition = parse_definition(text)
        found, findings = self._inspect(definition)
        plan = plan_protect(text, folder, found)
        return plan.with_findings([*findings, *self._users(definition)])

    def plan_unprotect(self, folder: Path, place: Path) -> MovePlan:
        """Look at the VM in the mounted folder; changes nothing. Raises ResourceError."""
        try:
            text = (folder / DEFINITION_NAME).read_text(encoding="utf-8")
        except OSError as error:
            raise self._error(f"the folder's definition cannot be read: {error}") from error
        found, findings = self._inspect(parse_definition(text))
        plan = plan_unprotect(text, folder, place, found)
        return plan.with_findings(findings)

    def carry_out(self, plan: MovePlan) -> None:
        """Copy what is missing, then register the new definition. The VM must be off.

        Files that an interrupted run copied and whose originals did not change are not copied again. After a
        failure the VM is as it was; run it again, or `roll_back`. Raises ResourceError.
        """
        if plan.refused:
            raise self._error(" ".join(finding.sentence for finding in plan.findings if finding.fatal))
        self._require_off(plan.domain)
        if not plan.moves:
            self._register(plan)
            return
        journal = self._begin(plan)
        self._require_room(plan, journal)
        self._copy(plan, journal)
        self._require_off(plan.domain)
        for move in plan.moves:
            if journal["done"][move.source]["source"] != _stamp(move.source):
                raise self._error(f"{move.source} was changed while it was copied", "Run it again.")
        self._commit(plan, journal)

    def roll_back(self, direction: Direction = Direction.PROTECT) -> None:
        """Undo a move: the original definition is registered, the copies are removed. Idempotent.

        Raises ResourceError when the VM runs, or has run from its new place: what it wrote there would be
        lost.
        """
        journal = self._journal(direction)
        if journal is None:
            return
        self._require_off(journal["domain"])
        if journal["phase"] == Phase.MOVED.value:
            if self._has_run(journal):
                raise self._error(
                    f"the VM {journal['domain']} has run from its new place, so it is not rolled back",
                    "Use unprotect, which copies what it wrote.",
                )
            self._register_original(direction, journal)
            remove_durably(Path(journal["definition_path"]))
        for move in journal["moves"]:
            Path(move["target"]).unlink(missing_ok=True)
            Path(move["target"] + ".part").unlink(missing_ok=True)
        remove_durably(self._journal_path(direction))
        self._log(f"The VM {journal['domain']} is where it was before.")

    def removable_originals(self, direction: Direction = Direction.PROTECT) -> list[str]:
        """Which files `remove_originals` would delete. Raises ResourceError before the VM has run."""
        journal = self._journal(direction)
        if journal is None:
            return []
        if journal["phase"] != Phase.MOVED.value or not self._has_run(journal):
            raise self._error(
                f"the VM {journal['domain']} has not run from its new place yet, so its originals are kept"
            )
        sources = [move["source"] for move in journal["moves"]]
        return [path for path in sources if Path(path).is_file()]

    def remove_originals(self, direction: Direction = Direction.PROTECT) -> list[str]:
        """Delete the image files of before (block devices and backing images stay); returns which.

        The original definition is kept beside the journal. Raises ResourceError before the VM has run from
        its new place.
        """
        removed = self.removable_originals(direction)
        for path in removed:
            remove_durably(Path(path))
        remove_durably(self._journal_path(direction))
        return removed

    # ---- steps ---------------------------------------------------------------------------------------

    def _inspect(self, definition: Definition) -> tuple[dict[str, Image], list[Finding]]:
        found, findings = {}, []
        for path, format_name in files_of(definition).items():
            if path == definition.nvram and not Path(path).exists():
                continue
            try:
                found[path] = images.inspect(path, format_name, self._run, timeout_s=self._timeout_s)
            except ResourceError as error:
                findings.append(Finding(True, str(error)))
        return found, findings

    def _users(self, definition: Definition) -> list[Finding]:
        """Other VMs of this host that use the same images."""
        ours = {os.path.realpath(path) for path in files_of(definition)}
        findings = []
        for name in parse_names(self._do(self._virsh.names(), "libvirt does not list its VMs")):
            if name == definition.name:
                continue
            text = self._do(self._virsh.definition(name), f"the VM {name} cannot be looked at")
            shared = {
                disk.source
                for disk in parse_definition(text).disks
                if disk.source is not None and os.path.realpath(disk.source) in ours
            }
            findings += [
                Finding(True, f"VM {definition.name}: {path} is also a disk of the VM {name}.")
                for path in sorted(shared)
            ]
        return findings

    def _require_off(self, domain: str) -> None:
        state = parse_state(self._do(self._virsh.state(domain), f"the state of the VM {domain} is not known"))
        if state.state not in (ResourceState.OFF, ResourceState.SAVED):
            raise self._error(f"the VM {domain} is not off ({state.reason})", "Shut it down first.")
        fields = parse_fields(self._do(self._virsh.info(domain), f"the VM {domain} cannot be looked at"))
        if fields.get("Managed save") == "yes":
            raise self._error(
                f"libvirt keeps a saved state of the VM {domain}, which would be lost",
                "Start the VM and shut it down from inside.",
            )

    def _begin(self, plan: MovePlan) -> dict[str, Any]:
        moves = [move._asdict() for move in plan.moves]
        journal = self._journal(plan.direction)
        if journal is not None and journal["moves"] == moves:
            return journal
        if journal is not None:
            raise self._error(
                f"an earlier move of the VM {journal['domain']} was not ended",
                "Roll it back, or remove its originals once the VM has run from its new place.",
            )
        for move in plan.moves:
            if Path(move.target).exists():
                raise self._error(f"{move.target} exists already", "Move it out of the way.")
        info = parse_fields(self._do(self._virsh.info(plan.domain), "the VM cannot be looked at"))
        self._directory.mkdir(parents=True, exist_ok=True)
        write_durably(self._original_path(plan.direction), plan.original)
        journal = {
            "version": JOURNAL_VERSION,
            "phase": Phase.COPYING.value,
            "domain": plan.domain,
            "autostart": info.get("Autostart") == "enable",
            "moves": moves,
            "done": {},
            "definition_path": str(plan.definition_path),
        }
        self._write(plan.direction, journal)
        return journal

    def _require_room(self, plan: MovePlan, journal: dict[str, Any]) -> None:
        plan.place.mkdir(parents=True, exist_ok=True)
        left_bytes = sum(move.data_bytes for move in plan.moves if move.source not in journal["done"])
        space = os.statvfs(plan.place)
        free_bytes = space.f_bavail * space.f_frsize
        if left_bytes > free_bytes:
            raise self._error(
                f"{plan.place} has {free_bytes >> 20} MiB free, the VM's images take {left_bytes >> 20} MiB",
                "Make the volume larger.",
            )

    def _copy(self, plan: MovePlan, journal: dict[str, Any]) -> None:
        done_bytes = 0
        for move in plan.moves:
            stamp = _stamp(move.source)
            entry = journal["done"].get(move.source)
            if entry is None or entry["source"] != stamp or entry["target"] != _stamp(move.target):
                if journal["phase"] == Phase.MOVED.value:
                    raise self._error(f"{move.target} is in use already and is not overwritten")
                self._copy_one(move, done_bytes, plan.total_bytes)
                journal["done"][move.source] = {"source": stamp, "target": _stamp(move.target)}
                self._write(plan.direction, journal)
                self._log(f"Copied and compared {move.what} to {move.target}.")
            done_bytes += move.data_bytes

    def _copy_one(self, move: Move, before_bytes: int, total_bytes: int) -> None:
        copied_bytes = 0

        def on_bytes(count: int) -> None:
            nonlocal copied_bytes
            copied_bytes = min(copied_bytes + count, move.data_bytes)
            self._progress(Progress(move.what, before_bytes + copied_bytes, total_bytes))

        on_bytes(0)
        Path(move.target).parent.mkdir(parents=True, exist_ok=True)
        if move.flatten:
            image = images.inspect(move.source, move.format, self._run, timeout_s=self._timeout_s)
            images.flatten(image, Path(move.target), self._run, on_bytes, timeout_s=_FLATTEN_EXTRA_S)
        else:
            copy_image(Path(move.source), Path(move.target), on_bytes)
        on_bytes(move.data_bytes)

    def _commit(self, plan: MovePlan, journal: dict[str, Any]) -> None:
        if plan.direction is Direction.PROTECT and journal["autostart"]:
            write_durably(self._autostart_path, "enabled before the VM was protected\n")
        journal["phase"] = Phase.MOVED.value
        self._write(plan.direction, journal)
        try:
            self._register(plan)
        except ResourceError:
            self._register_original(plan.direction, journal)
            journal["phase"] = Phase.COPYING.value
            self._write(plan.direction, journal)
            raise
        self._log(f"The VM {plan.domain} is registered at {plan.place}; its originals are kept.")

    def _register(self, plan: MovePlan) -> None:
        plan.definition_path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(plan.definition_path, plan.definition)
        self._do(self._virsh.define(str(plan.definition_path)), "the new definition is not registered")
        enable = plan.direction is Direction.UNPROTECT and self._autostart_path.exists()
        self._do(self._virsh.autostart(plan.domain, enable=enable), "libvirt's autostart cannot be set")

    def _register_original(self, direction: Direction, journal: dict[str, Any]) -> None:
        path = self._original_path(direction)
        self._do(self._virsh.define(str(path)), "the original definition is not registered")
        self._do(
            self._virsh.autostart(journal["domain"], enable=journal["autostart"]), "autostart is not set"
        )

    def _has_run(self, journal: dict[str, Any]) -> bool:
        """Whether any copy was written to since it was made."""
        changed = False
        for move in journal["moves"]:
            if not Path(move["target"]).exists():
                raise self._error(
                    f"{move['target']} is not there, so it is not known whether the VM ran from it",
                    "Mount the folder on this node first.",
                )
            changed |= _stamp(move["target"]) != journal["done"][move["source"]]["target"]
        return changed

    # ---- journal and libvirt -------------------------------------------------------------------------

    def _journal_path(self, direction: Direction) -> Path:
        return self._directory / f"{direction.value}.json"

    def _original_path(self, direction: Direction) -> Path:
        return self._directory / f"before-{direction.value}.xml"

    @property
    def _autostart_path(self) -> Path:
        return self._directory / "autostart"

    def _journal(self, direction: Direction) -> dict[str, Any] | None:
        path = self._journal_path(direction)
        try:
            journal = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self._error(f"the journal {path} cannot be read: {error}") from error
        if not isinstance(journal, dict) or journal.get("version") != JOURNAL_VERSION:
            raise self._error(f"the journal {path} is of another version")
        return journal

    def _write(self, direction: Direction, journal: dict[str, Any]) -> None:
        write_durably(self._journal_path(direction), json.dumps(journal, indent=1))

    def _do(self, argv: list[str], failure: str) -> str:
        answer = self._run(argv, timeout_s=self._timeout_s)
        if answer.code != 0:
            raise self._error(f"{failure}: {complaint(answer.err)}")
        return answer.out

    def _error(self, what: str, remedy: str = "") -> ResourceError:
        return ResourceError(f"Module {self._module} on node {self._node}: {what.rstrip('.')}.", remedy)


def _stamp(path: str) -> list[int]:
    """What tells that a file was changed: size and time of the last change (a block device has neither)."""
    status = Path(path).stat()
    return [status.st_size, status.st_mtime_ns]
