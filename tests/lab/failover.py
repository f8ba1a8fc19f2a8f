"""The main job, end to end: a protected guest survives the loss of its server, and goes home again.

Used by the demo and by the system test alike. Every figure is taken from outside: from the guest's reports,
from the `twinhull` command, from the replicas' files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import existing_vm, guest, records
from .commands import LabError
from .lab import Lab
from .protected import Protected
from .waiting import wait_until

MODULE = "VM1"
GUEST_PROCESS = "qemu-system"
MODULE_LOG = f"/var/log/twinhull/module-{MODULE}.log"
TAKEN_OVER = b"is taken over by"
BOOT_TIMEOUT_S = 90.0
PROTECT_TIMEOUT_S = 300.0
FAILOVER_TIMEOUT_S = 120.0
SYNC_TIMEOUT_S = 180.0
SWAP_TIMEOUT_S = 180.0
RECORDS_BEFORE_LOSS = 300
RECORDS_BEFORE_RETURN = 100


@dataclass(frozen=True)
class Figures:
    """What was measured; the keys of build/demo.json."""

    detection_s: float
    recovery_s: float
    records_acknowledged: int
    records_missing: int
    resync_bytes: int
    volume_bytes: int
    swap_s: float
    resync_bytes_after_swap: int
    replicas_equal: bool


class Story:
    """The steps, in order; each says what it does.

    Args:
        lab: two nodes a and b with libvirt, up.
        built: the guest.
        say: told one sentence for each step.
        timeout_s: the module's time-out T, seconds.
    """

    def __init__(
        self, lab: Lab, built: guest.Guest, say: Callable[[str], None], *, timeout_s: float = 3.0
    ) -> None:
        self.lab = lab
        self.say = say
        self.built = built
        self.timeout_s = timeout_s
        self.home, self.other = lab["a"], lab["b"]
        self.reports = records.ReportFile(lab.reports / MODULE)
        self.module = Protected(lab, MODULE, f"/srv/twinhull/{MODULE}")

    def run(self) -> Figures:
        """All of it.

        Raises:
            LabError: a step did not come to its end.
        """
        self.protect()
        detection_s, recovery_s = self.lose_primary()
        missing = self.check_records(self.other.name)
        resync_bytes = self.bring_back()
        swap_s, resync_bytes_after_swap = self.go_home()
        missing_at_end, equal = self.compare()
        return Figures(
            detection_s=round(detection_s, 2),
            recovery_s=round(recovery_s, 2),
            records_acknowledged=len(self.reports.read().acknowledged),
            records_missing=len({*missing, *missing_at_end}),
            resync_bytes=resync_bytes,
            volume_bytes=existing_vm.VOLUME_BYTES,
            swap_s=round(swap_s, 2),
            resync_bytes_after_swap=resync_bytes_after_swap,
            replicas_equal=equal,
        )

    # -- steps -----------------------------------------------------------------------------------

    def protect(self) -> None:
        """An existing VM on the first node becomes a protected one."""
        self.say("Installing Twinhull on both nodes: certificates, configuration, agents.")
        config = existing_vm.module(MODULE, timeout_s=self.timeout_s, preferred=self.home.name)
        self.lab.install_twinhull({MODULE: config})
        self.lab.wait_agents()
        self.say(f"An ordinary VM runs on node {self.home.name}; its program writes records with fsync.")
        existing_vm.define(self.home, MODULE, self.built, self.reports)
        self.home.run(["virsh", "start", MODULE])
        self._wait_records(1, BOOT_TIMEOUT_S)
        self.say(f"twinhull protect {MODULE}: its disk moves into the mirrored folder.")
        words = ("protect", MODULE, "--domain", MODULE, "--stop-vm", "--yes", MODULE)
        self.home.twinhull(*words, timeout_s=PROTECT_TIMEOUT_S)
        before = self.reports.read().last
        self.module.wait_mirrored(self.home.name, self.other.name, SYNC_TIMEOUT_S)
        self._wait_records(before + RECORDS_BEFORE_LOSS, BOOT_TIMEOUT_S)
        self.say(
            f"Protected: node {self.home.name} is PRIM, node {self.other.name} is SECOND, both green; "
            f"{self.reports.read().last} records so far."
        )

    def lose_primary(self) -> tuple[float, float]:
        """Power loss of the primary: seconds until the other acted, and until the VM's program wrote there."""
        self.say(f"Node {self.home.name} loses its power (SIGKILL to everything on it).")
        log = self.other.path(MODULE_LOG)
        told_bytes = log.stat().st_size
        begun_s = time.monotonic()
        self.home.kill()
        before = self.reports.read()
        back = _Clock(lambda: self._wrote_after(before))
        wait_until(
            f"node {self.other.name} to take over",
            lambda: TAKEN_OVER in log.read_bytes()[told_bytes:],
            FAILOVER_TIMEOUT_S,
        )
        detection_s = time.monotonic() - begun_s
        self.say(f"Node {self.other.name} noticed after {detection_s:.1f} s and starts the VM.")
        recovery_s = back.join(FAILOVER_TIMEOUT_S) - begun_s
        self.module.wait_state(self.other.name, "ALONE", None, FAILOVER_TIMEOUT_S)
        found = self.reports.read().boots[-1]
        self.say(
            f"The VM is back on node {self.other.name} after {recovery_s:.1f} s. It had told of record "
            f"{before.last}; on its disk it found {found.last}."
        )
        return detection_s, recovery_s

    def check_records(self, node: str) -> list[int]:
        """Which reported records a node's replica lacks; the guest stands still while it is copied."""
        running = self.lab[node]
        disk = self.module.guest_disk(running)
        with running.frozen(GUEST_PROCESS):
            told = self.reports.read()
            self.module.settle(running)
            held = self.module.guest_records(node, disk)
        lost = records.missing(held, told.acknowledged)
        self.say(
            f"Checked node {node}'s replica: {len(told.acknowledged)} records told of, {len(lost)} missing."
        )
        return lost

    def bring_back(self) -> int:
        """The lost node returns; bytes that had to be copied to it."""
        self._wait_records(self.reports.read().last + RECORDS_BEFORE_RETURN, BOOT_TIMEOUT_S)
        self.say(f"Node {self.home.name} gets its power back and catches up.")
        self.home.boot()
        self.module.wait_mirrored(self.other.name, self.home.name, SYNC_TIMEOUT_S)
        copied = self._copied_bytes()
        self.say(
            f"In step again: {copied / 2**20:.1f} MiB copied of {existing_vm.VOLUME_BYTES / 2**20:.0f} MiB."
        )
        return copied

    def go_home(self) -> tuple[float, int]:
        """Swap: seconds from the command until the VM writes on the first node, and bytes copied after it."""
        self.say(f"twinhull swap {MODULE}: the VM goes home to node {self.home.name}.")
        before, copied = self.reports.read(), self._copied_bytes()
        begun_s = time.monotonic()
        back = _Clock(lambda: self._wrote_after(before))
        self.other.twinhull("swap", MODULE, timeout_s=SWAP_TIMEOUT_S)
        swap_s = back.join(SWAP_TIMEOUT_S) - begun_s
        self.module.wait_mirrored(self.home.name, self.other.name, SYNC_TIMEOUT_S)
        after = max(0, self._copied_bytes() - copied)
        self.say(f"Home after {swap_s:.1f} s, {after} bytes copied for it.")
        return swap_s, after

    def compare(self) -> tuple[list[int], bool]:
        """Reported records that the final replicas lack, and whether these are equal byte for byte."""
        self.say("Comparing both replicas byte for byte, and all records once more.")
        disk = self.module.guest_disk(self.home)
        with self.home.frozen(GUEST_PROCESS):
            told = self.reports.read()
            self.module.settle(self.home)
            equal = self.module.replicas_equal()
            held = self.module.guest_records(self.other.name, disk)
        failures = self.reports.read().failures
        if failures:
            raise LabError(f"the guest told of failures: {', '.join(failures)}")
        return records.missing(held, told.acknowledged), equal

    # -- helpers ---------------------------------------------------------------------------------

    def _wait_records(self, number: int, timeout_s: float) -> None:
        try:
            self.reports.wait(f"record {number} of the guest", lambda told: told.last >= number, timeout_s)
        except LabError as error:
            running = [node for node in self.lab.nodes.values() if node.alive]
            screens = "\n".join(existing_vm.console(node, MODULE) for node in running)
            raise LabError(f"{error}\n{screens}\n{self.module.describe()}") from error

    def _wrote_after(self, before: records.Reports) -> bool:
        now = self.reports.read()
        return len(now.boots) > len(before.boots) and now.last > before.last

    def _copied_bytes(self) -> int:
        """Bytes that the last resync copied, as the primary counts them."""
        states = [self.module.status(name) for name in self.lab.nodes]
        found = [words["sync"] or words["last_sync"] for words in states if words["state"] == "PRIM"]
        return int(found[0]["copied_bytes"]) if found and found[0] else 0


class _Clock:
    """Watches for something in the background and keeps the moment when it was first seen."""

    def __init__(self, seen: Callable[[], bool]) -> None:
        self._seen = seen
        self._moment_s: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            if self._seen():
                self._moment_s = time.monotonic()
                return

    def join(self, timeout_s: float) -> float:
        """The moment (monotonic seconds). Raises LabError when it did not come in time."""
        self._thread.join(timeout_s)
        self._over.set()
        self._thread.join()
        if self._moment_s is None:
            raise LabError(f"the VM did not write again within {timeout_s:g} s")
        return self._moment_s
