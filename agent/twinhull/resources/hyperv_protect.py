"""Moving an existing VM of Hyper-V into its folder, and out of it again.

`Move-VMStorage` keeps the VM's identifier, and Hyper-V switches over when everything is copied: a move that is cut off
leaves the VM where it was. Where that refuses, the VM is exported into the folder, its registration removed and the
export registered; its disks stay where they were, and copies of its configuration are kept.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from twinhull.errors import ResourceError
from twinhull.powershell import PowerShell

from . import hyperv_check as check
from .base import Finding, Log, Progress
from .files import remove_durably, write_durably
from .hyperv_host import HyperVError, HyperVHost
from .hyperv_parse import Machine

JOURNAL_VERSION = 1
_SLOWEST_BYTES_PER_S = 1_000_000
_EXPORTABLE = frozenset({"failed", "unsupported", "state"})
"""Categories of a refused move after which an export may do; not: no room, no access, no such path, no answer."""


@dataclass(frozen=True, slots=True)
class HyperVPlan:
    """What is moved where, and what stands against it.

    Args:
        machine: the VM as it is.
        target: the folder that all its files go below.
        leaving: whether it goes out of its folder.
        definition: the VM's description, for the other node's judgement.
        findings: what speaks against it; a fatal one refuses it.
    """

    machine: Machine
    target: str
    leaving: bool
    definition: str
    findings: tuple[Finding, ...]

    @property
    def refused(self) -> bool:
        """Whether it cannot be carried out."""
        return any(finding.fatal for finding in self.findings)

    @property
    def total_bytes(self) -> int:
        """How much there is to move."""
        return sum(layer.file_bytes for layer in self.machine.layers)

    @property
    def inside(self) -> bool:
        """Whether the VM is in its folder."""
        return self.done and not self.leaving

    @property
    def done(self) -> bool:
        """Whether everything is in its place already."""
        places = [
            self.machine.now.configuration,
            self.machine.snapshots,
            *(x.path for x in self.machine.layers),
        ]
        return all(check.is_inside(path, self.target) for path in places)


@dataclass(frozen=True, slots=True)
class MovedPlan:
    """A VM that an earlier protection has moved: it lies in the volume, and Hyper-V does not know it any more.

    Args:
        identifier: the VM's.
        target: the folder that all its files lie below.
        definition: the VM's description of before.
    """

    identifier: str
    target: str
    definition: str
    findings: tuple[Finding, ...] = ()
    inside: bool = True


class HyperVMover:
    """Carries out plans on this node; each may be interrupted and run again.

    Args:
        module, node: names, for messages.
        directory: of the module on the node's own disk; holds the journal.
        copies: the same for copies of configurations, as Windows writes it.
        record: the resource's note of the VM's identifier, removed when the VM leaves.
        volume_bytes: size of the volume.
        shell: runs our PowerShell functions.
        log: takes sentences for the module's log.
        progress: told how far a move is.
        poll_s: seconds between two looks at how far it is.
    """

    def __init__(
        self,
        *,
        module: str,
        node: str,
        directory: Path,
        copies: str,
        record: Path,
        volume_bytes: int,
        shell: PowerShell,
        log: Log,
        progress: Callable[[Progress], None],
        stamp: Callable[[], str] = lambda: time.strftime("%Y%m%d-%H%M%S"),
        poll_s: float = 1.0,
        extra_s: float = 3600.0,
    ) -> None:
        self._module = module
        self._node = node
        self._directory = directory
        self._copies = copies
        self._record = record
        self._volume_bytes = volume_bytes
        self._host = HyperVHost(shell)
        self._log = log
        self._progress = progress
        self._stamp = stamp
        self._poll_s = poll_s
        self._extra_s = extra_s

    def plan_moved(self, vm: str) -> MovedPlan | None:
        """What an earlier run has moved before it was cut off or its VM did not start, or None. Raises ResourceError."""
        journal = self._journal()
        if journal is None or not journal.get("definition"):
            return None
        for one in self._host.machines():
            own = one.identifier == journal["id"]
            left = own and one.critical and check.is_inside(one.configuration, journal["target"])
            if not left and (own or one.name == vm):
                return None
        return MovedPlan(journal["id"], journal["target"], journal["definition"])

    def take_up(self, plan: MovedPlan) -> None:
        """See that a VM that was moved is there; its start registers it. Raises ResourceError."""
        found = [identifier for _, identifier in self._host.configurations(plan.target)]
        if found != [plan.identifier]:
            raise self._error(
                f"the VM {plan.identifier} is neither known to Hyper-V nor the only one in {plan.target}",
                f"Import it in Hyper-V's manager, or remove {self._journal_path} to protect another VM.",
            )
        self._log(f"The VM was moved to {plan.target} by an earlier run.")

    def plan_protect(self, vm: str, folder: str) -> HyperVPlan:
        """Look at the VM; changes nothing. Raises ResourceError."""
        machine, definition = self._described(vm)
        clauses = check.refusals(machine)
        findings = [Finding(True, f"VM {vm}: {clause}.") for clause in clauses]
        findings += [
            Finding(False, f"VM {vm}: the image {path} is ejected, since the other node has not got it.")
            for path in check.removable_media(machine, folder)
        ]
        findings += check.room_findings(machine, self._volume_bytes)
        return HyperVPlan(machine, check.home_of(folder), False, definition, tuple(findings))

    def plan_unprotect(self, vm: str, folder: str, place: str) -> HyperVPlan:
        """Look at the VM in the mounted folder; changes nothing. Raises ResourceError."""
        machine, definition = self._described(vm, folder)
        findings = []
        if check.is_inside(place, folder):
            sentence = f"{place} lies in the protected folder {folder}; name a directory outside of it."
            findings.append(Finding(True, sentence))
        return HyperVPlan(machine, place, True, definition, tuple(findings))

    def carry_out(self, plan: HyperVPlan) -> None:
        """Move the VM, which must be off. After a failure it is as it was; run it again. Raises ResourceError."""
        machine = plan.machine
        if plan.refused:
            raise self._error(" ".join(finding.sentence for finding in plan.findings if finding.fatal))
        now = self._host.state(machine.now.identifier)
        if now.state != "Off":
            raise self._error(
                f"the VM {machine.now.name} is not off ({now.state or 'gone'})", "Shut it down first."
            )
        if not plan.leaving:
            self._begin(plan)
            for path in self._host.eject(now.identifier, str(PureWindowsPath(plan.target).parent)):
                self._log(f"Ejected {path} from the VM {now.name}.")
        if not plan.done:
            self._clear_leftovers(plan)
            self._move(plan)
        self._verify(plan)
        if plan.leaving:
            self._restore_policy(machine)
            remove_durably(self._record)
            remove_durably(self._journal_path)
        self._log(f"The VM {now.name} lies at {plan.target} with the identifier that it had.")

    def originals(self) -> tuple[str, ...]:
        """Disk files that the move left at their old places; they may be removed once the VM has run."""
        journal = self._journal()
        if journal is None:
            return ()
        stamps = self._host.stamps(tuple(journal["disks"])) if journal["disks"] else {}
        return tuple(path for path in journal["disks"] if stamps.get(path))

    def remove_originals(self) -> tuple[str, ...]:
        """Remove them; tells which. Raises ResourceError while the VM has not run from its folder."""
        journal = self._journal()
        paths = self.originals()
        if journal is None or not paths:
            return ()
        if not self._record.exists():
            raise self._error("the VM has not run from its folder yet, so its original disks are kept")
        machine = self._host.machine(identifier=journal["id"])
        in_use = {layer.path.lower() for layer in machine.layers}
        return self._host.remove_files(tuple(path for path in paths if path.lower() not in in_use))

    # ---- steps ---------------------------------------------------------------------------------------

    def _described(self, vm: str, folder: str = "") -> tuple[Machine, str]:
        if folder and (found := self._host.machines(folder)):
            return self._host.description(identifier=found[0].identifier)
        return self._host.description(name=vm)

    def _begin(self, plan: HyperVPlan) -> None:
        """What it was before is noted once: a repeated protection finds it changed."""
        machine = plan.machine
        journal = self._journal()
        if journal is not None and journal["id"] == machine.now.identifier:
            return
        if journal is not None and (left := self._host.configurations(plan.target)):
            raise self._error(
                f"{left[0][0]} is of another VM, which was moved there before",
                "Move it away once it is not needed, then protect this one.",
            )
        self._directory.mkdir(parents=True, exist_ok=True)
        journal = {
            "version": JOURNAL_VERSION,
            "id": machine.now.identifier,
            "target": plan.target,
            "definition": plan.definition,
            "start_action": machine.start_action,
            "stop_action": machine.stop_action,
            "automatic_checkpoints": machine.automatic_checkpoints,
            "disks": [x.path for x in machine.layers if not check.is_inside(x.path, plan.target)],
        }
        write_durably(self._journal_path, json.dumps(journal, indent=1))

    def _clear_leftovers(self, plan: HyperVPlan) -> None:
        """What an earlier run of this very move left half-done; only where no VM of this host uses any of it."""
        journal = self._journal()
        if plan.leaving or journal is None or journal["target"] != plan.target:
            return
        if self._host.folder_bytes(plan.target) and not self._uses(plan.machine, plan.target):
            self._log(f"What an interrupted move left in {plan.target} is removed.")
            self._host.clear_target(plan.target)

    @staticmethod
    def _uses(machine: Machine, target: str) -> bool:
        places = [machine.now.configuration, machine.snapshots, *(layer.path for layer in machine.layers)]
        return any(check.is_inside(path, target) for path in places)

    def _move(self, plan: HyperVPlan) -> None:
        machine = plan.machine
        limit_s = self._extra_s + plan.total_bytes / _SLOWEST_BYTES_PER_S
        identifier = machine.now.identifier
        try:
            self._watched(plan, lambda: self._host.move(identifier, plan.target, limit_s))
            return
        except HyperVError as error:
            if error.unknown:
                raise self._error(
                    f"the move of the VM {machine.now.name} was not answered: {error.what.rstrip('.')}",
                    "Look in Hyper-V's manager whether it goes on; then run this again.",
                ) from error
            if error.category not in _EXPORTABLE or plan.leaving:
                raise self._failed(machine, error) from error
            if machine.checkpoints:
                # Remove-VM would merge them in the originals
                raise self._failed(
                    machine, error, "Delete its checkpoints, so that it can be exported instead."
                ) from error
            self._log(
                f"Hyper-V does not move the VM {machine.now.name}, so it is exported and registered anew: {error}"
            )
        self._clear_leftovers(plan)
        try:
            self._export(plan, limit_s)
        except HyperVError as error:
            raise self._failed(machine, error) from error

    def _failed(self, machine: Machine, error: HyperVError, remedy: str = "") -> ResourceError:
        what = f"the VM {machine.now.name} was not moved: {error.what.rstrip('.')}"
        return self._error(what, " ".join(part for part in (error.remedy, remedy) if part))

    def _export(self, plan: HyperVPlan, limit_s: float) -> None:
        identifier, old = plan.machine.now.identifier, plan.machine.now.configuration
        files = self._watched(plan, lambda: self._host.export(identifier, plan.target, limit_s))
        if [found for _, found in files] != [identifier]:
            raise self._error(
                f"the export below {plan.target} holds {len(files)} configurations instead of the VM's one"
            )
        copies = rf"{self._copies}\{self._stamp()}"
        self._host.keep_copies(old, copies)
        self._host.remove(identifier)
        if self._host.state(identifier).found:
            raise self._error(
                "Hyper-V did not remove the VM's old registration",
                "Remove what was exported, or run it again.",
            )
        try:
            answer = self._host.register(files[0][0])
            reason = check.incompatibility_words(answer.incompatible)
        except HyperVError as error:
            reason = str(error)
        if reason:
            self._register_original(identifier, copies, old)
            raise self._error(
                f"the exported VM cannot be registered: {reason}", "The VM is registered at its old place."
            )

    def _register_original(self, identifier: str, copies: str, old: str) -> None:
        self._host.restore_copies(copies, old)
        for path, found in self._host.configurations(old):
            if found == identifier:
                self._host.register(path)

    def _verify(self, plan: HyperVPlan) -> None:
        """The answer of a move is not believed: where does the VM lie now?"""
        machine = self._host.machine(identifier=plan.machine.now.identifier)
        after = dataclasses.replace(plan, machine=machine)
        if not after.done:
            raise self._error(
                f"the VM {machine.now.name} was moved, but not all of its files lie at {plan.target}"
            )

    def _restore_policy(self, machine: Machine) -> None:
        """What Hyper-V did by itself before the VM was protected."""
        journal = self._journal()
        if journal is None or journal["id"] != machine.now.identifier:
            return
        self._host.set_policy(
            machine.now.identifier,
            start_action=journal["start_action"],
            stop_action=journal["stop_action"],
            automatic_checkpoints=journal["automatic_checkpoints"],
        )

    def _watched(self, plan: HyperVPlan, work: Callable[[], Any]) -> Any:
        """Do it, and tell meanwhile how much has arrived."""
        total_bytes = max(plan.total_bytes, 1)
        name = f"VM {plan.machine.now.name}"
        self._progress(Progress(name, 0, total_bytes))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            future = pool.submit(work)
            while not concurrent.futures.wait([future], timeout=self._poll_s).done:
                try:
                    arrived = self._host.folder_bytes(plan.target)
                except HyperVError:
                    continue  # only how far it is cannot be told just now
                self._progress(Progress(name, min(arrived, total_bytes), total_bytes))
            result = future.result()
        self._progress(Progress(name, total_bytes, total_bytes))
        return result

    # ---- journal -------------------------------------------------------------------------------------

    @property
    def _journal_path(self) -> Path:
        return self._directory / "protect.json"

    def _journal(self) -> dict[str, Any] | None:
        try:
            journal = json.loads(self._journal_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self._error(f"the journal {self._journal_path} cannot be read: {error}") from error
        if not isinstance(journal, dict) or journal.get("version") != JOURNAL_VERSION:
            raise self._error(f"the journal {self._journal_path} is of another version")
        return journal

    def _error(self, what: str, remedy: str = "") -> ResourceError:
        return ResourceError(f"Module {self._module} on node {self._node}: {what.rstrip('.')}.", remedy)
