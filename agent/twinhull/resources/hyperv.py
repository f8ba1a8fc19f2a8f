"""A VM of Hyper-V whose files all lie in the module's folder, in its subfolder `vm`.

The folder is the truth: the VM is registered from it where it lies, with its identifier. Hyper-V has no way to only
unregister: `Remove-VM` deletes the configuration and merges checkpoints. So `leave` is called while the volume is frozen
and its export in discard mode, and `clear` while nothing is mounted and no file can be reached.

Force-off goes by the identifier that was noted on the node's own disk, and needs neither the folder nor Hyper-V's
management: the VM's worker process is killed when that does not answer.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twinhull.errors import ResourceError
from twinhull.powershell import PowerShell

from . import hyperv_check as check
from .base import Finding, Log, ResourceState
from .files import remove_durably, write_durably
from .hyperv_host import HyperVError, HyperVHost, Registration
from .hyperv_parse import Machine, MachineState, parse_machine

_SHUTDOWN_REFUSED = {
    32770: "its guest has no shutdown service",
    32774: "the guest is in use",
    32775: "it is in a state in which it cannot be asked",
    32777: "the guest is not available",
    32780: "the guest is not ready",
    32781: "the guest is locked",
}
"""Codes of Msvm_ShutdownComponent.InitiateShutdown (Windows SDK, Hyper-V WMI provider v2)."""


@dataclass(frozen=True, slots=True)
class HyperVTimings:
    """Time limits in seconds.

    Args:
        start_s: of a start or a restore.
        change_s: of any other change of what is registered or set.
        destroy_s: for Hyper-V to turn the VM off before its process is killed.
        ended_s: for the worker process to end after the VM is off.
        ask_again_s: between two requests to the guest to shut down.
        recover_s: for Hyper-V to see again the files of a VM whose volume has come back.
        gone_s: for a removed registration to be gone.
        poll_s: between two looks.
    """

    start_s: float = 300.0
    change_s: float = 120.0
    destroy_s: float = 5.0
    ended_s: float = 30.0
    ask_again_s: float = 10.0
    recover_s: float = 30.0
    gone_s: float = 10.0
    poll_s: float = 0.2


@dataclass(frozen=True, slots=True)
class HyperVPlaces:
    """Where things lie; paths as Windows writes them.

    Args:
        folder: where the module's volume is mounted.
        copies: for copies of what a removal deletes; on the node's own disk.
        record: the file that notes the VM's identifier; on the node's own disk.
    """

    folder: str
    copies: str
    record: Path


class HyperVResource:
    """One VM of Hyper-V; implements `Resource`, `Leaving`, `Returning`, `Awaiting` and `Vm` of `resources.base`.

    Methods may be called from several threads.

    Args:
        module, node: names, for messages.
        vm: the VM's name.
        places: where things lie.
        shell: runs our PowerShell functions.
        log: takes one sentence for the module's log.
        folder_ready: whether the folder is our volume's mount.
        keep_unrestorable: what happens with a saved state that does not restore: True leaves the VM saved and fails
            (`stop`), False throws it away and boots (`discard`).
        travels_saved: whether saved states go to the other node, so that the VM sees only processor features that
            both have.
        stamp: names a set of copies; names sort by age.
        timings, clock, pause: replaceable by tests.
    """

    def __init__(
        self,
        *,
        module: str,
        node: str,
        vm: str,
        places: HyperVPlaces,
        shell: PowerShell,
        log: Log,
        folder_ready: Callable[[], bool],
        keep_unrestorable: bool = False,
        travels_saved: bool = False,
        stamp: Callable[[], str] = lambda: time.strftime("%Y%m%d-%H%M%S"),
        timings: HyperVTimings | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._module = module
        self._node = node
        self._vm = vm
        self._places = places
        self._shell = shell
        self._timings = timings or HyperVTimings()
        self._host = HyperVHost(shell, change_s=self._timings.change_s)
        self._log = log
        self._folder_ready = folder_ready
        self._keep_unrestorable = keep_unrestorable
        self._travels_saved = travels_saved
        self._stamp = stamp
        self._clock = clock
        self._pause = pause
        self._interrupted = threading.Event()

    def warm(self) -> None:
        """Have the PowerShell hosts ready. Raises PowerShellError."""
        self._shell.warm()

    def host_ready(self) -> bool:
        """Whether Hyper-V's management runs. See `resources.base.Awaiting`."""
        return self._host.management_runs()

    @property
    def identifier(self) -> str:
        """The VM's identifier as it was noted at its last start; empty before."""
        return self._noted()

    # ---- start ---------------------------------------------------------------------------------------

    def start(self, *, resume: bool) -> None:
        """Register the VM from the folder if it is not, and boot it or let it go on from its saved state.

        After a failure nothing of the VM runs. Raises ResourceError.
        """
        if not self._folder_ready():
            raise self._error(f"{self._places.folder} is not the mounted volume, so the VM is not started")
        identifier = self._registered()
        self._note(identifier)
        self._make_ours(identifier)
        try:
            self._run(identifier, resume=resume)
        except ResourceError:
            self.force_off()
            raise

    def _registered(self) -> str:
        """The identifier of the folder's VM, which is registered here then, healthy and at its place."""
        path, identifier = self._configuration()
        now = self._host.state(identifier)
        if now.found and not check.is_inside(now.configuration, self._home):
            raise self._error(
                f"a VM with the identifier {identifier} is registered at {now.configuration} instead of {self._home}",
                "Remove that registration in Hyper-V once its files are not needed.",
            )
        if now.found and now.critical:
            now = self._recovered(now)
        if not now.found:
            self._register(path, identifier)
            now = self._host.state(identifier)
        if now.power in (ResourceState.RUNNING, ResourceState.PAUSED, ResourceState.PAUSED_CRITICAL):
            raise self._error(f"the VM {self._vm} runs already", "Turn it off, then start the module.")
        if now.power not in (ResourceState.OFF, ResourceState.SAVED):
            raise self._error(f"the VM {self._vm} is neither off nor saved ({now.state}: {now.status})")
        return identifier

    def _configuration(self) -> tuple[str, str]:
        found = self._host.configurations(self._home)
        if not found:
            raise self._error(
                f"there is no configuration of a VM below {self._home}",
                f"Copies of it may lie in {self._places.copies}; put one back, or protect the VM again.",
            )
        if len(found) > 1:
            names = ", ".join(path for path, _ in found)
            raise self._error(f"there are {len(found)} VMs below {self._home} ({names})", "Leave one there.")
        return found[0]

    def _recovered(self, now: MachineState) -> MachineState:
        """A VM whose volume has come back: Hyper-V sees its files again after a while, or after its restart."""
        self._log(f"Hyper-V has not seen yet that the files of the VM {self._vm} are back ({now.state}).")
        deadline_s = self._clock() + self._timings.recover_s
        restarted = False
        while now.found and now.critical:
            if self._clock() >= deadline_s:
                if restarted:
                    raise self._error(
                        f"Hyper-V does not find the files of the VM {self._vm} ({now.state}) below the mounted {self._home}",
                        "Look at the VM in Hyper-V's manager.",
                    )
                self._log("Hyper-V's management service is restarted; running VMs run on.")
                self._host.restart_management()
                restarted = True
                deadline_s = self._clock() + self._timings.recover_s
            self._pause(self._timings.poll_s)
            now = self._host.state(now.identifier)
        return now

    def _register(self, path: str, identifier: str) -> None:
        answer = self._import(path, identifier)
        for sentence in answer.repaired:
            self._log(f"For its import on this node the VM {self._vm} was changed: {sentence}.")
        if not answer.registered:
            raise self._error(
                f"the VM {self._vm} cannot be registered: {check.incompatibility_words(answer.incompatible)}"
            )
        if answer.identifier != identifier:
            raise self._error(
                f"{path} was registered with the identifier {answer.identifier} instead of {identifier}"
            )

    def _import(self, path: str, identifier: str) -> Registration:
        """Import it; where access is denied, once more after its account was given access to its files."""
        try:
            answer = self._host.register(path)
            if not check.is_access_denied(answer.incompatible):
                return answer
        except HyperVError as error:
            if error.unknown and self._host.state(identifier).found:
                return Registration(True, identifier, (), ())
            if error.category != "denied":
                raise self._error(
                    f"the VM {self._vm} cannot be registered: {error.what.rstrip('.')}", error.remedy
                ) from error
        self._cure_access(identifier)
        try:
            return self._host.register(path)
        except HyperVError as error:
            raise self._error(
                f"the VM {self._vm} cannot be registered: {error.what.rstrip('.')}", error.remedy
            ) from error

    def _cure_access(self, identifier: str) -> None:
        self._log(
            f"Access to files of the VM {self._vm} was denied; its own account is given access to {self._home}."
        )
        self._host.grant(identifier, self._home)

    def _make_ours(self, identifier: str) -> None:
        """What is checked at every start: all files within the folder, nothing that Hyper-V does by itself."""
        machine = self._host.machine(identifier=identifier)
        if wrong := check.outside(machine, self._places.folder):
            raise self._error(
                f"the VM {self._vm} is not wholly in its folder: {'; '.join(wrong)}",
                "Move what is named into the folder (Hyper-V's manager: Move, storage only).",
            )
        if machine.now.name != self._vm:
            self._log(
                f"The VM of module {self._module} is called {machine.now.name}, the configuration says {self._vm}."
            )
        changed = self._host.set_policy(
            identifier,
            addresses={one.identifier: check.own_address(one.identifier) for one in machine.adapters},
            migration_processor=True if self._travels_saved else None,
        )
        if changed:
            self._log(
                f"The VM {self._vm} was set to what its protection needs; before: {', '.join(changed)}."
            )

    def _run(self, identifier: str, *, resume: bool) -> None:
        saved = self._host.state(identifier).power is ResourceState.SAVED
        if saved and not resume:
            # a state that is not ours to resume belongs to an older content of the disks
            self._log(f"The VM {self._vm} has a saved state that is not valid any more; it boots cold.")
            self._host.discard_saved_state(identifier)
            saved = False
        elif resume and not saved:
            self._log(f"There is no saved state of the VM {self._vm}; it boots cold.")
        try:
            self._launch(identifier)
        except HyperVError as error:
            if not saved:
                raise self._error(
                    f"the VM {self._vm} does not start: {error.what.rstrip('.')}", error.remedy
                ) from error
            self._launch_cold(identifier, error)

    def _launch_cold(self, identifier: str, why: HyperVError) -> None:
        """Its saved state does not restore."""
        if self._keep_unrestorable:
            raise self._error(
                f"the saved state of the VM {self._vm} does not restore: {why.what.rstrip('.')}",
                "Delete the saved state in Hyper-V to boot it cold; the configuration says that a person decides.",
            ) from why
        self._log(f"The saved state of the VM {self._vm} is of no use; it boots cold. {why}")
        try:
            self._host.discard_saved_state(identifier)
            self._launch(identifier)
        except HyperVError as error:
            raise self._error(
                f"the VM {self._vm} does not start: {error.what.rstrip('.')}", error.remedy
            ) from error

    def _launch(self, identifier: str) -> None:
        """Start it; where access is denied, once more after the cure. Raises HyperVError."""
        try:
            self._host.start(identifier, self._timings.start_s)
        except HyperVError as error:
            if error.unknown and self._host.state(identifier).power is ResourceState.RUNNING:
                self._log(f"The start of the VM {self._vm} was not answered, but it runs.")
                return
            if error.category != "denied":
                raise
            self._cure_access(identifier)
            self._host.start(identifier, self._timings.start_s)

    # ---- stop ----------------------------------------------------------------------------------------

    def stop(self, *, mode: str, timeout_s: float) -> bool:
        """Stop the VM; returns when its worker process has ended, with True when it is saved.

        Args:
            mode: `stop` asks the guest again and again, `save` saves its memory, `off` pulls the plug.
            timeout_s: seconds it may take; 0 with `off` is force-off.

        Raises ResourceError when the time is over; for `stop` and `save` the VM runs on then.
        """
        self._interrupted.clear()
        if mode == "off":
            self.force_off()
            return False
        if mode not in ("stop", "save"):
            raise self._error(f"there is no way to stop a VM that is called {mode}", "Use stop, save or off.")
        now = self._own_state()
        if now.off:
            self._await_processes(now.identifier)
            return now.power is ResourceState.SAVED
        if mode == "save":
            self._save(now.identifier, timeout_s)
        else:
            self._shut_down(now, timeout_s)
        self._await_processes(now.identifier)
        return self._host.state(now.identifier).power is ResourceState.SAVED

    def interrupt(self) -> None:
        """Make a `stop` that waits for its guest give up; it raises ResourceError and the VM runs on."""
        self._interrupted.set()

    def _shut_down(self, now: MachineState, timeout_s: float) -> None:
        deadline_s = self._clock() + timeout_s
        ask_at_s = self._clock()
        refused = 0
        if now.power is ResourceState.PAUSED:
            self.resume()
        while not self._host.state(now.identifier).off:
            now_s = self._clock()
            if now_s >= deadline_s or self._interrupted.is_set():
                why = "the stop was given up" if self._interrupted.is_set() else f"within {timeout_s:g} s"
                said = f"; {_SHUTDOWN_REFUSED.get(refused, f'code {refused}')}" if refused else ""
                raise self._error(
                    f"the guest of the VM {self._vm} did not shut down ({why}{said}); it runs on",
                    "Look at the guest's console, or stop it by `save` or `off`.",
                )
            if now_s >= ask_at_s:
                refused = self._host.request_shutdown(now.identifier)
                # a guest that is not ready yet is asked again soon
                ask_at_s = now_s + (self._timings.poll_s if refused else self._timings.ask_again_s)
            self._pause(self._timings.poll_s)

    def _save(self, identifier: str, timeout_s: float) -> None:
        failed: HyperVError | None = None
        try:
            self._host.save(identifier, max(timeout_s, 1.0))
        except HyperVError as error:
            failed = error
        now = self._host.state(identifier)
        deadline_s = self._clock() + timeout_s
        # a question that was cut off may still be under way in Hyper-V
        while failed is not None and failed.unknown and now.state == "Saving" and self._clock() < deadline_s:
            self._pause(self._timings.poll_s)
            now = self._host.state(identifier)
        if now.power is not ResourceState.SAVED:
            why = failed.what.rstrip(".") if failed is not None else f"it is {now.state}"
            raise self._error(
                f"the VM {self._vm} was not saved ({why})",
                "See that the folder has room for its memory, or stop it by `stop` or `off`.",
            ) from failed

    def _await_processes(self, identifier: str) -> None:
        """Off is not enough: while its worker process lives, it may still write."""
        if not identifier:
            return
        deadline_s = self._clock() + self._timings.ended_s
        while left := self._host.processes(identifier):
            if self._clock() >= deadline_s:
                raise self._error(
                    f"the VM {self._vm} is off, but its worker process {left[0]} has not ended",
                    "End it in the task manager, or restart this node.",
                )
            self._pause(self._timings.poll_s)

    def force_off(self) -> None:
        """Pull the plug, whoever started it; where Hyper-V does not do that, kill the VM's worker process.

        Raises ResourceError when the process is not gone.
        """
        for identifier in self._own_identifiers():
            self._force_off(identifier)

    def _force_off(self, identifier: str) -> None:
        deadline_s = self._clock() + 4 * self._timings.destroy_s
        kill_at_s = self._clock() + self._timings.destroy_s
        try:
            now = self._host.state(identifier)
            if now.found and not check.is_inside(now.configuration, self._places.folder):
                return  # not protected any more: it is not ours to turn off
            if not now.off:
                self._host.turn_off(identifier, self._timings.destroy_s)
        except HyperVError as error:
            self._log(f"Hyper-V did not turn the VM {self._vm} off: {error}")
        while left := self._host.processes(identifier):
            if self._clock() >= deadline_s:
                raise self._error(
                    f"the VM {self._vm} was killed, but its worker process {left[0]} is not gone",
                    "Its disk answers nothing: power this node off.",
                )
            # one that was turned off is given its time to end by itself
            if self._clock() >= kill_at_s or not self._is_off(identifier):
                self._host.kill(identifier, self._timings.destroy_s)
            self._pause(self._timings.poll_s)

    def _is_off(self, identifier: str) -> bool:
        try:
            return self._host.state(identifier).off
        except HyperVError:
            return False

    def _own_identifiers(self) -> tuple[str, ...]:
        """The VM by the note on this node's disk, and whatever is registered below the folder."""
        noted = self._noted()
        try:
            found = {one.identifier for one in self._host.machines(self._places.folder)}
        except HyperVError as error:
            if not noted:
                raise self._error(
                    f"Hyper-V does not say which VMs there are: {error.what.rstrip('.')}"
                ) from error
            self._log(f"Hyper-V does not list its VMs, so {noted} is turned off by the note of it: {error}")
            found = set()
        return tuple(sorted({*found, *([noted] if noted else [])}))

    # ---- the registration ----------------------------------------------------------------------------

    def forget(self) -> None:
        """Remove the registration while nothing is mounted; with the folder mounted only `leave` may. Idempotent."""
        if not self.clear():
            raise self._error(
                f"the registration of the VM {self._vm} stays", "Restart Hyper-V's management service."
            )

    def leave(self) -> None:
        """Remove the registration while the export is in discard mode; what it deletes is copied before.

        See `resources.base.Leaving`. A registration that stays (Hyper-V may merge checkpoints for long) holds up no
        hand-over: it only ever sees discarded writes, and `clear` removes it before the volume is mounted here again.
        Raises ResourceError when the VM is not off, or its configuration cannot be copied.
        """
        for identifier in self._own_identifiers():
            now = self._host.state(identifier)
            if not self._is_entry(now):
                continue
            if not now.off:
                raise self._error(f"the VM {self._vm} is not off ({now.state}), so it stays registered")
            self._keep_copies()
            try:
                self._host.remove(identifier)
            except HyperVError as error:
                self._log(f"Hyper-V did not say that the VM {self._vm} is removed: {error}")
            if not self._gone(identifier):
                self._log(
                    f"Hyper-V has not let go of the VM {self._vm} yet; what is left of it on this node is removed "
                    "before its folder is mounted here again."
                )

    def _keep_copies(self) -> None:
        target = rf"{self._places.copies}\{self._stamp()}"
        for path in self._host.keep_copies(self._home, target):
            self._log(f"{path} was too large to be copied before the registration is removed.")
        self._host.limit_copies(self._places.copies, 5)

    def _gone(self, identifier: str) -> bool:
        """Whether the registration is gone: what Remove-VM reports is no proof."""
        deadline_s = self._clock() + self._timings.gone_s
        while self._host.state(identifier).found:
            if self._clock() >= deadline_s:
                return False
            self._pause(self._timings.poll_s)
        return True

    def clear(self, *, last_resort: bool = False) -> bool:
        """Remove the entry of a VM whose files are away. See `resources.base.Returning`."""
        if self._folder_ready():
            raise self._error(
                f"{self._places.folder} is mounted, so removing the registration would delete files"
            )
        if left := self._host.configurations(self._places.folder):
            raise self._error(
                f"{left[0][0]} lies beneath the folder's mount, so removing its registration would delete it",
                "Move it away: what is beneath the mount of a protected folder is not protected.",
            )
        entries = [one for one in map(self._host.state, self._own_identifiers()) if self._is_entry(one)]
        for entry in entries:
            if not entry.off:
                raise self._error(f"the VM {entry.name} is not off ({entry.state})", "Turn it off.")
            self._log(
                f"Hyper-V still knows the VM {entry.name} from an earlier life ({entry.state}); it is removed."
            )
            try:
                self._host.remove(entry.identifier)
            except HyperVError as error:
                self._log(f"Hyper-V did not remove the VM {entry.name}: {error}")
        if all(self._gone(entry.identifier) for entry in entries):
            return True
        if not last_resort:
            return False
        self._log("Hyper-V's management service is restarted, so that it forgets it; running VMs run on.")
        self._host.restart_management()
        return all(self._gone(entry.identifier) for entry in entries)

    def _is_entry(self, now: MachineState) -> bool:
        return now.found and check.is_inside(now.configuration, self._places.folder)

    # ---- looks ---------------------------------------------------------------------------------------

    def suspend(self) -> None:
        """Pause it, best effort."""
        self._try(lambda: self._host.suspend(self._known()), "was not paused")

    def resume(self) -> None:
        """Let it go on, best effort."""
        self._try(lambda: self._host.resume(self._known()), "does not go on")

    def state(self) -> ResourceState:
        """What Hyper-V says; PAUSED_CRITICAL when its disk has no room or failed."""
        return self._own_state().power

    def ended(self) -> str:
        """Why it is off, by Hyper-V's log."""
        try:
            return self._host.ending(self._known())
        except ResourceError as error:
            return f"it is off, and why cannot be read: {error}"

    def check_host(self) -> list[Finding]:
        """What this host lacks to run the VM of the mounted folder."""
        try:
            if not self._folder_ready():
                self._host.facts()
                return []
            _, identifier = self._configuration()
            machine = self._host.machine(identifier=identifier)
            found = check.host_findings(machine, self._host.facts(), self._node)
        except ResourceError as error:
            return [Finding(True, f"Node {self._node}: {error}")]
        return found + [
            Finding(True, f"Node {self._node}: {one}.") for one in check.outside(machine, self._places.folder)
        ]

    def check_definition(self, definition: str) -> list[Finding]:
        """What this host lacks to run a VM that the other node described (the JSON of Get-TwinhullVm)."""
        try:
            machine = parse_machine(json.loads(definition))
            facts, here = self._host.facts(), self._host.machines()
        except (ResourceError, ValueError) as error:
            return [Finding(True, f"Node {self._node}: the VM cannot be checked: {error}")]
        found = check.host_findings(machine, facts, self._node)
        local = self._local(machine, here)
        if not local:
            taken = [(one.name, one.identifier) for one in here]
            found += check.name_findings(machine.now.name, taken, machine.now.identifier, self._node)
        return found

    def _local(self, machine: Machine, here: tuple[MachineState, ...]) -> bool:
        """Whether the description is of a VM of this very host: same identifier at the same place."""
        own = machine.now
        return any(
            one.identifier == own.identifier and one.configuration == own.configuration for one in here
        )

    def _own_state(self) -> MachineState:
        """The VM's state, by the note of it, by what lies in the folder, or by its name before it is protected."""
        identifier = self._noted()
        if identifier:
            return self._host.state(identifier)
        for one in self._host.machines():
            if check.is_inside(one.configuration, self._places.folder) or one.name == self._vm:
                return one
        return MachineState(False)

    def _known(self) -> str:
        if identifier := self._own_state().identifier:
            return identifier
        raise self._error(f"Hyper-V knows no VM {self._vm} of this module")

    def _try(self, action: Callable[[], None], failure: str) -> None:
        try:
            action()
        except ResourceError as error:
            self._log(f"The VM {self._vm} {failure}: {error}")

    # ---- the note ------------------------------------------------------------------------------------

    def _note(self, identifier: str) -> None:
        if self._noted() != identifier:
            self._places.record.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._places.record, json.dumps({"id": identifier}))

    def _noted(self) -> str:
        try:
            return str(json.loads(self._places.record.read_text(encoding="utf-8"))["id"])
        except FileNotFoundError:
            return ""
        except (ValueError, KeyError, TypeError):
            # the folder's listing finds the VM as well; a note that is torn is as good as none
            remove_durably(self._places.record)
            return ""

    @property
    def _home(self) -> str:
        return check.home_of(self._places.folder)

    def _error(self, what: str, remedy: str = "") -> ResourceError:
        return ResourceError(f"Module {self._module} on node {self._node}: {what.rstrip('.')}.", remedy)
