"""A libvirt VM whose disks and whose definition live in the module's folder.

Layout of the folder: `vm/domain.xml` the definition, `vm/saved` the VM's saved memory, disks anywhere.
The folder is the truth: the VM is defined from it at every start, and what libvirt made of the definition
(addresses, machine version, an overlay of a snapshot) is written back, so that the other node starts it so.

Force-off must work when neither libvirt nor the disk answers, so it reads nothing of the folder.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twinhull.errors import ResourceError

from . import libvirt_xml
from .base import Finding, Log, ResourceState
from .files import remove_durably, sync_path, write_durably
from .libvirt_cmd import (
    DEFAULT_URI,
    DomainState,
    Virsh,
    complaint,
    is_domain,
    parse_names,
    parse_state,
    uses_folder,
)
from .libvirt_host import HostCheck
from .libvirt_plan import DEFINITION_NAME
from .processes import Process, ProcessTable
from .run import CommandMissingError, CommandTimeoutError, Completed, Run, run_command

SAVED_NAME = "vm/saved"
_SAVED_COMPLETE = b"LibvirtQemudSave"  # libvirt, src/qemu/qemu_saveimage.h; a torn one says QemudPart


@dataclass(frozen=True, slots=True)
class LibvirtTimings:
    """Time limits in seconds.

    Args:
        command_s: of a command that only asks.
        start_s: of a start or a restore.
        destroy_s: for libvirt to turn the VM off before its process is killed.
        kill_s: for a killed process to be gone, after which it counts as hanging in the kernel.
        ask_again_s: between two requests to the guest to shut down.
        poll_s: between two looks at a VM that is waited for.
        look_s: how long libvirt's word that the VM runs is taken for it while its process lives.
    """

    command_s: float = 15.0
    start_s: float = 300.0
    destroy_s: float = 5.0
    kill_s: float = 5.0
    ask_again_s: float = 10.0
    poll_s: float = 0.2
    look_s: float = 15.0


class LibvirtResource:
    """One VM under libvirt; implements `resources.base.Resource`. Methods may be called from several threads.

    Args:
        module: name of the module, for messages.
        node: name of this node, for messages.
        folder: where the module's volume is mounted.
        domain: the VM's name in libvirt.
        log: takes one sentence for the module's log.
        uri: the hypervisor's URI.
        virsh: the words that start virsh.
        uuid: the domain's uuid if it is known already (without it force-off goes by the name).
        folder_ready: whether the folder is our volume's mount; by default whether anything is mounted there.
        run, table, clock, pause: the host, replaceable by tests.
    """

    def __init__(
        self,
        *,
        module: str,
        node: str,
        folder: Path,
        domain: str,
        log: Log,
        uri: str = DEFAULT_URI,
        virsh: Sequence[str] = ("virsh",),
        uuid: str | None = None,
        folder_ready: Callable[[], bool] | None = None,
        timings: LibvirtTimings | None = None,
        run: Run = run_command,
        table: ProcessTable | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._module = module
        self._node = node
        self._folder = folder
        self._domain = domain
        self._log = log
        self._virsh = Virsh(uri, tuple(virsh))
        self._uuid = uuid.lower() if uuid else None
        self._folder_ready = folder_ready or (lambda: os.path.ismount(folder))
        self._timings = timings or LibvirtTimings()
        self._run = run
        self._table = table or ProcessTable()
        self._clock = clock
        self._interrupted = threading.Event()
        self._pause = pause
        self._emulator: Process | None = None
        self._runs_until_s = -math.inf
        self._kept: str | None = None  # the definition in the folder since this object started the VM
        self._complaint = ""

    @property
    def definition_path(self) -> Path:
        """Where the definition lies in the folder."""
        return self._folder / DEFINITION_NAME

    @property
    def saved_path(self) -> Path:
        """Where the saved memory lies in the folder."""
        return self._folder / SAVED_NAME

    # ---- start ---------------------------------------------------------------------------------------

    def start(self, *, resume: bool) -> None:
        """Define the VM from the folder and boot it, or let it go on from its saved memory.

        A saved memory that is missing or cannot be restored leads to a cold boot. After a failure nothing of
        the VM runs. Raises ResourceError.
        """
        if not self._folder_ready():
            raise self._error(f"{self._folder} is not the mounted volume, so the VM is not started")
        definition = self._own_definition()
        self._uuid = definition.uuid
        if running := self._emulators():
            raise self._error(
                f"the VM {self._domain} runs already as {running[0]}", "Turn it off, then start the module."
            )
        try:
            self._define()
            if not (resume and self._restore()):
                remove_durably(self.saved_path)
                self._do(self._virsh.start(self._domain), self._timings.start_s, "the VM does not start")
        except ResourceError:
            self.force_off()
            raise
        found = self._emulators()
        self._emulator = found[0] if found else None
        self._kept = self._definition_text()
        self._watch_definition()

    def _own_definition(self) -> libvirt_xml.Definition:
        definition = libvirt_xml.parse_definition(self._definition_text())
        if definition.name != self._domain:
            raise self._error(
                f"{self.definition_path} defines the VM {definition.name} instead of {self._domain}",
                "Correct the domain's name in the configuration.",
            )
        if wrong := libvirt_xml.outside(definition, self._folder):
            raise self._error(
                f"the VM {self._domain} is not wholly in its folder: {'; '.join(wrong)}",
                "Move what is named into the folder and correct its definition.",
            )
        return definition

    def _definition_text(self) -> str:
        try:
            return self.definition_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self._error(
                f"the VM's definition {self.definition_path} cannot be read: {error}",
                "Protect the VM again, or put the definition back.",
            ) from error

    def _define(self) -> None:
        self._do(
            self._virsh.define(str(self.definition_path)), self._timings.command_s, "the VM cannot be defined"
        )
        self._do(
            self._virsh.autostart(self._domain, enable=False),
            self._timings.command_s,
            "libvirt's own autostart of the VM cannot be turned off",
        )

    def _restore(self) -> bool:
        if not _saved_complete(self.saved_path):
            self._log(f"There is no whole saved state of the VM {self._domain}; it boots cold.")
            return False
        try:
            self._do(self._virsh.restore(str(self.saved_path)), self._timings.start_s, "it is not restored")
        except ResourceError as error:
            self._log(f"The saved state of the VM {self._domain} is of no use; it boots cold. {error}")
            self.force_off()
            return False
        remove_durably(self.saved_path)
        return True

    # ---- stop ----------------------------------------------------------------------------------------

    def stop(self, *, mode: str, timeout_s: float) -> bool:
        """Stop the VM; returns when its process is gone, with True when its memory was saved.

        Args:
            mode: `stop` asks the guest (by its agent and by ACPI, again and again), `save` saves its memory
                into the folder, `off` turns it off.
            timeout_s: seconds it may take; 0 with `off` is force-off.

        Raises ResourceError when the time is over, also for `stop` and `save`: then the VM runs on.
        """
        self._interrupted.clear()
        if mode == "off":
            self._turn_off(timeout_s)
            return False
        if mode not in ("stop", "save"):
            raise self._error(f"there is no way to stop a VM that is called {mode}", "Use stop, save or off.")
        if self._is_off():
            return False
        self._watch_definition()
        if mode == "save":
            return self._save(timeout_s)
        self._shut_down(timeout_s)
        return False

    def interrupt(self) -> None:
        """Make a `stop` that waits for its guest give up; it raises ResourceError and the VM runs on."""
        self._interrupted.set()

    def _turn_off(self, timeout_s: float) -> None:
        if timeout_s > 0:
            # libvirt lets the emulator flush its image's metadata, which a kill does not
            limit_s = min(timeout_s, 4 * self._timings.destroy_s)
            self._answer(self._virsh.destroy(self._domain), limit_s)
        self.force_off()

    def _shut_down(self, timeout_s: float) -> None:
        deadline_s = self._clock() + timeout_s
        ask_at_s = self._clock()
        if self.describe().state is ResourceState.PAUSED:
            self.resume()
        while not self._is_off():
            now_s = self._clock()
            if now_s >= deadline_s or self._interrupted.is_set():
                given_up = (
                    "the stop was given up" if self._interrupted.is_set() else f"within {timeout_s:g} s"
                )
                raise self._error(
                    f"the guest of the VM {self._domain} did not shut down ({given_up}); it runs on",
                    "Look at the guest's console, or stop it by `save` or `off`.",
                )
            if now_s >= ask_at_s:
                self._ask_guest()
                ask_at_s = now_s + self._timings.ask_again_s
            self._pause(self._timings.poll_s)

    def _ask_guest(self) -> None:
        live = self._answer(self._virsh.live_definition(self._domain), self._timings.command_s)
        modes = ["acpi"]
        if live is not None and live.code == 0 and libvirt_xml.agent_connected(live.out):
            modes.insert(0, "agent")
        for mode in modes:
            answer = self._answer(self._virsh.shutdown(self._domain, mode), self._timings.destroy_s)
            if answer is not None and answer.code != 0 and not self._is_off():
                self._log(
                    f"The VM {self._domain} was not asked to shut down by {mode}: {complaint(answer.err)}."
                )

    def _save(self, timeout_s: float) -> bool:
        part = self.saved_path.with_name("saved.part")
        remove_durably(self.saved_path)
        remove_durably(part)
        answer = self._answer(self._virsh.save(self._domain, str(part)), max(timeout_s, 1.0))
        if answer is None:
            self._answer(self._virsh.abort_job(self._domain), self._timings.command_s)
        if not self._await_off(self._timings.destroy_s if answer is None or answer.code == 0 else 0.0):
            part.unlink(missing_ok=True)
            if self.describe().state is ResourceState.PAUSED:
                self.resume()
            why = f"not within {timeout_s:g} s" if answer is None else complaint(answer.err)
            raise self._error(
                f"the VM {self._domain} was not saved ({why}); it runs on",
                "See that the folder has room for its memory, or stop it by `stop` or `off`.",
            )
        if not _saved_complete(part):
            part.unlink(missing_ok=True)
            self._log(f"The VM {self._domain} is off, but its state was not saved; it will boot cold.")
            return False
        sync_path(part)
        part.replace(self.saved_path)
        sync_path(self.saved_path.parent)
        return True

    def _await_off(self, timeout_s: float) -> bool:
        deadline_s = self._clock() + timeout_s
        while not self._is_off():
            if self._clock() >= deadline_s:
                return False
            self._pause(self._timings.poll_s)
        return True

    def _is_off(self) -> bool:
        """Whether nothing of the VM can write any more: its process is gone."""
        if self._emulators():
            return False
        return self.describe().state not in (ResourceState.RUNNING, ResourceState.PAUSED)

    def force_off(self) -> None:
        """Kill the VM's process, whoever started it, and see to it that libvirt agrees.

        Only a VM that uses the folder is ours to kill: one of the same name that has not been protected yet, or
        is no longer, runs on.

        The process is killed first, since that needs neither libvirt nor a disk. Raises ResourceError when
        the process hangs in the kernel, or when libvirt starts it again and again.
        """
        deadline_s = self._clock() + 4 * self._timings.destroy_s
        while True:
            self._kill_emulators()
            answered = self._destroyed()
            left = self._emulators()
            if not left and answered is not False:
                break
            if self._clock() >= deadline_s:
                self._refuse_to_lie(left)
            self._pause(self._timings.poll_s)
        self._emulator = None
        if answered is None:
            self._log(f"libvirt does not answer; the process of the VM {self._domain} is gone.")

    def _refuse_to_lie(self, left: list[Process]) -> None:
        if left:
            raise self._error(
                f"the VM {self._domain} is killed, but {left[0]} is not gone",
                "Its disk answers nothing: power this node off.",
            )
        raise self._error(
            f"libvirt says that the VM {self._domain} still runs", "Restart libvirtd on this node."
        )

    def _kill_emulators(self) -> None:
        known = self._emulator
        if known is not None:
            self._table.kill(known, timeout_s=self._timings.kill_s)
        for process in self._emulators():
            self._table.kill(process, timeout_s=self._timings.kill_s)

    def _destroyed(self) -> bool | None:
        """Whether libvirt holds the VM for off, None when libvirt does not answer."""
        before = self._ask_state(self._timings.destroy_s)
        if before is None:
            return None
        if before.state not in (ResourceState.RUNNING, ResourceState.PAUSED) or self._runs_elsewhere():
            return True
        if self._answer(self._virsh.destroy(self._domain), self._timings.destroy_s) is None:
            return None
        after = self._ask_state(self._timings.destroy_s)
        return None if after is None else after.state not in (ResourceState.RUNNING, ResourceState.PAUSED)

    # ---- the rest of the interface -------------------------------------------------------------------

    def forget(self) -> None:
        """Remove the registration of a VM that is off; its files stay. Raises ResourceError."""
        state = self._ask_state(self._timings.command_s)
        if state is None:
            raise self._error("libvirt does not answer, so the VM stays registered", "Restart libvirtd.")
        if state.state is ResourceState.ABSENT:
            return
        if not self._is_off():
            raise self._error(f"the VM {self._domain} runs, so it stays registered", "Stop it first.")
        self._do(self._virsh.undefine(self._domain), self._timings.command_s, "the VM's registration stays")

    def suspend(self) -> None:
        """Pause the VM's processors (best effort: a failure is only logged)."""
        self._runs_until_s = -math.inf
        self._try(self._virsh.suspend(self._domain), "was not paused")

    def resume(self) -> None:
        """Let the VM's processors go on (best effort: a failure is only logged)."""
        self._try(self._virsh.resume(self._domain), "does not go on")

    def state(self) -> ResourceState:
        """What the host says. UNKNOWN when nothing can be said for sure.

        Cheap enough for every second: libvirt is asked when the process is gone, and else now and then. Then
        the definition is looked at too, and written to the folder if somebody changed it.
        """
        known = self._emulator
        alive = known is not None and self._table.alive(known) is not None
        if alive and self._clock() < self._runs_until_s:
            return ResourceState.RUNNING
        state = self.describe().state
        if state is ResourceState.RUNNING:
            self._watch_definition()
            self._runs_until_s = self._clock() + self._timings.look_s
        return state

    def describe(self) -> DomainState:
        """The state with its reason; `off` tells a shutdown by the guest from a crash.

        Where libvirt does not answer, the process that was seen at the start tells.
        """
        answer = self._ask_state(self._timings.command_s)
        if answer is not None:
            return answer
        if self._emulators():
            return DomainState(ResourceState.RUNNING, "libvirt does not answer; its process runs")
        if self._emulator is not None:
            return DomainState(ResourceState.OFF, "libvirt does not answer; its process is gone")
        return DomainState(ResourceState.UNKNOWN, "libvirt does not answer")

    def ended(self) -> str:
        """Why it is off: shut down from inside, crashed, destroyed by somebody, ..."""
        return self.describe().reason

    def check_host(self) -> list[Finding]:
        """What this node lacks to run the VM, by the definition in the folder."""
        try:
            text = self._definition_text()
        except ResourceError as error:
            return [Finding(True, str(error))]
        return self.check_definition(text)

    def check_definition(self, text: str) -> list[Finding]:
        """What this node lacks to run the VM that `text` defines, before its folder is mounted here.

        Both nodes are asked with the same definition before a VM is protected.
        """
        try:
            definition = libvirt_xml.parse_definition(text)
        except ResourceError as error:
            return [Finding(True, f"Node {self._node}: {error}")]
        return HostCheck(self._node, self._folder, self._virsh, self._run, self._timings.command_s).findings(
            definition
        )

    def keep_definition(self) -> bool:
        """Write libvirt's present definition into the folder if it changed (an edit, a snapshot's overlay).

        `state` does it now and then while the VM runs; the folder is touched only for a change. Returns
        whether anything was written. Raises ResourceError when the VM now needs what does not lie in the
        folder: the other node could not start it as it is.
        """
        text = self._do(
            self._virsh.definition(self._domain), self._timings.command_s, "its definition cannot be read"
        )
        if text == self._kept:
            return False
        if wrong := libvirt_xml.outside(libvirt_xml.parse_definition(text), self._folder):
            raise self._error(
                f"the VM {self._domain} was changed and is no longer wholly in its folder: {'; '.join(wrong)}",
                "Undo the change or move what is named into the folder: the other node cannot start it so.",
            )
        try:
            write_durably(self.definition_path, text)
        except OSError as error:
            raise self._error(f"the VM's definition cannot be written: {error}") from error
        self._kept = text
        return True

    def _watch_definition(self) -> None:
        """Keep the definition of a VM that this object started; a complaint is logged once."""
        if self._kept is None:
            return
        complaint_now = ""
        try:
            self.keep_definition()
        except ResourceError as error:
            complaint_now = str(error)
        if complaint_now and complaint_now != self._complaint:
            self._log(complaint_now)
        self._complaint = complaint_now

    # ---- the host ------------------------------------------------------------------------------------

    def _emulators(self) -> list[Process]:
        known = self._emulator
        if known is not None and (process := self._table.alive(known)) is not None:
            return [process]
        return self._named(lambda argv: uses_folder(argv, self._folder))

    def _named(self, wanted: Callable[[Sequence[str]], bool]) -> list[Process]:
        uuid = self._uuid
        return self._table.with_arguments(lambda argv: is_domain(argv, self._domain, uuid) and wanted(argv))

    def _runs_elsewhere(self) -> bool:
        """Whether a VM of this name runs that uses nothing of the folder: it is not (or no longer) protected."""
        return bool(self._named(lambda argv: not uses_folder(argv, self._folder)))

    def _ask_state(self, timeout_s: float) -> DomainState | None:
        """libvirt's word on the VM; ABSENT when it does not know it, None when libvirt does not answer."""
        answer = self._answer(self._virsh.state(self._domain), timeout_s)
        if answer is None:
            return None
        if answer.code == 0:
            return parse_state(answer.out)
        names = self._answer(self._virsh.names(), timeout_s)
        if names is None or names.code != 0:
            return None
        if self._domain in parse_names(names.out):
            return DomainState(ResourceState.UNKNOWN, complaint(answer.err))
        return DomainState(ResourceState.ABSENT, "libvirt does not know it")

    def _answer(self, argv: list[str], timeout_s: float) -> Completed | None:
        """What the command answered, None when it did not in its time."""
        try:
            return self._run(argv, timeout_s=timeout_s)
        except (CommandTimeoutError, CommandMissingError) as error:
            self._log(str(error))
            return None

    def _do(self, argv: list[str], timeout_s: float, failure: str) -> str:
        try:
            answer = self._run(argv, timeout_s=timeout_s)
        except (CommandTimeoutError, CommandMissingError) as error:
            raise self._error(f"{failure}: {error.what.rstrip('.')}", error.remedy) from error
        if answer.code != 0:
            raise self._error(f"{failure}: {complaint(answer.err)}")
        return answer.out

    def _try(self, argv: list[str], failure: str) -> None:
        answer = self._answer(argv, self._timings.destroy_s)
        if answer is not None and answer.code != 0:
            self._log(f"The VM {self._domain} {failure}: {complaint(answer.err)}.")

    def _error(self, what: str, remedy: str = "") -> ResourceError:
        return ResourceError(f"Module {self._module} on node {self._node}: {what}.", remedy)


def _saved_complete(path: Path) -> bool:
    """Whether libvirt finished writing this saved memory."""
    try:
        with path.open("rb") as file:
            return file.read(len(_SAVED_COMPLETE)) == _SAVED_COMPLETE
    except FileNotFoundError:
        return False
