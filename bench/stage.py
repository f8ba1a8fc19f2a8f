"""What is brought up for each group of works, and how each step is measured on it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.lab.commands import LabError, run

from bench import fio, initiator, logs
from bench.cell import environment
from bench.limit import WIRE_OF, limit
from bench.plan import Step
from bench.rows import Sample
from bench.systems import gluster, qemu, tgt
from bench.systems.base import Disk, DiskDriver, Driver, System
from bench.systems.gluster import Gluster
from bench.systems.local import Local, LocalDisk
from bench.systems.offered import Offered
from bench.systems.pair import Pair
from bench.systems.qemu import QemuMirror
from bench.systems.tgt import Tgt
from bench.systems.wire import Wire
from bench.works import GLUSTER, LIMIT, LOCAL, QEMU, TGT, TWINHULL, Group

MB = 1e6
SCATTERED_BYTES = 32 << 20
WHOLE_BYTES = 2 << 30
MEANWHILE_S = 2.0
"""For so long writes are measured while that is copied, which must take longer."""
MODULES = 32
MODULE_FILE_BYTES = 64 << 20
TIB = 1 << 40
SIZES = {"open-1t": TIB, "open-10t": 10 * TIB}
OPEN_TIMEOUT_S = 120.0
NEEDED: Mapping[str, tuple[str, ...]] = {GLUSTER: gluster.NEEDED, QEMU: qemu.NEEDED, TGT: tgt.NEEDED}


def missing(system: str) -> list[str]:
    """Programs that a system needs and this machine lacks."""
    return [program for program in NEEDED.get(system, ()) if shutil.which(program) is None]


def missing_for(group: Group) -> list[str]:
    """What all works of a group need and this machine lacks."""
    if group is not Group.ISCSI:
        return []
    if shutil.which(initiator.PROGRAM) is None:
        return [initiator.PROGRAM]
    return [] if initiator.speaks(_refusal()) else [initiator.DRIVER]


def _refusal() -> str:
    """What the initiator says of a disk that is not there."""
    return run([initiator.PROGRAM, "info", initiator.NO_DISK], check=False).stderr


class Stage:
    """Brings up what steps need, when they need it. `close` takes all of it away.

    Args:
        directory: where everything lies.
        name: unique on this machine, for the labs.
        seconds: how long each work through a folder lasts.
    """

    def __init__(self, directory: Path, name: str, seconds: float) -> None:
        self._directory, self._name, self._seconds = directory, name, seconds
        self._stack = contextlib.ExitStack()
        self._made: dict[str, Any] = {}
        self._last: dict[tuple[str, int], Sample] = {}
        self._tables: dict[Group, Callable[[Step], Sample]] = {
            Group.PATH: self._path,
            Group.ISCSI: self._iscsi,
            Group.RESYNC: self._resync,
            Group.DETECT: self._detect,
            Group.MANY: self._many,
            Group.OPEN: self._open,
        }

    def measure(self, step: Step) -> Sample:
        """Do one step. Raises LabError, ValueError: it could not be measured."""
        if step.system == LIMIT:
            sample = self._limit(step)
        else:
            sample = self._tables[step.work.group](step)
        if step.system == LOCAL:
            self._last[step.work.name, step.repeat] = sample
        return sample

    def close(self) -> None:
        """Take away what was brought up since the last time; the next step brings up anew."""
        self._made.clear()
        self._stack.close()

    def _have(self, what: str, make: Callable[[Path], Any]) -> Any:
        if what not in self._made:
            made = make(self._directory / what)
            self._stack.callback(_close, made, self._directory / what)
            self._made[what] = made
        return self._made[what]

    def _pair(self, what: str, **options: Any) -> Pair:
        pair: Pair = self._have(what, lambda path: Pair(path, f"{self._name}-{what}", **options))
        return pair

    # -- the folder --------------------------------------------------------------------------------------

    def _system(self, name: str) -> System:
        makers: dict[str, Callable[[Path], System]] = {LOCAL: Local, GLUSTER: Gluster, QEMU: QemuMirror}
        system: System = self._pair("pair") if name == TWINHULL else self._have(name, makers[name])
        return system

    def _driver(self, name: str) -> Driver:
        key = f"driver of {name}"
        if key not in self._made:
            self._made[key] = Driver(self._system(name))
        driver: Driver = self._made[key]
        return driver

    def _path(self, step: Step) -> Sample:
        if step.work.name == "memory-idle":
            return _memory(self._pair("pair"))
        if step.work.name == "memory-loaded":
            driver, pair = self._driver(TWINHULL), self._pair("pair")
            with _meanwhile(lambda: driver.measure("write-4k-depth16", self._seconds)):
                time.sleep(self._seconds)  # the load has no event to wait for: it is to last
                return _memory(pair)
        return self._driver(step.system).measure(step.work.name, self._seconds)

    def _limit(self, step: Step) -> Sample:
        what = WIRE_OF.get(step.work.name)
        wire = None
        if what is not None:
            ends: Wire = self._have("wire", lambda path: Wire(path, f"{self._name}-wire"))
            wire = ends.measure(what, self._seconds)
        return limit(step.work.name, self._last.get((step.work.name, step.repeat)), wire)

    # -- the iSCSI disk ----------------------------------------------------------------------------------

    def _iscsi(self, step: Step) -> Sample:
        key = f"disk of {step.system}"
        if key not in self._made:
            makers: dict[str, Callable[[Path], Disk]] = {
                TWINHULL: lambda path: Offered(path, f"{self._name}-disk"),
                LOCAL: LocalDisk,
                TGT: Tgt,
            }
            self._made[key] = DiskDriver(self._have(f"disk-{step.system}", makers[step.system]))
        driver: DiskDriver = self._made[key]
        return driver.measure(step.work.name, self._seconds)

    # -- copies between the nodes ------------------------------------------------------------------------

    def _resync(self, step: Step) -> Sample:
        pair = self._pair("pair", size="8 GiB")
        if "filled" not in self._made:
            self._made["filled"] = pair.run(fio.layout(pair.target, WHOLE_BYTES), OPEN_TIMEOUT_S)
        pair.wait_green()
        works = {
            "resync-scattered": self._scattered,
            "resync-whole": self._whole,
            "digests": self._digests,
            "write-4k-during-resync": self._during,
        }
        return works[step.work.name](pair)

    def _scattered(self, pair: Pair) -> Sample:
        pair.command(pair.secondary, "stop")
        argv = [
            "fio",
            "--name=scatter",
            "--direct=1",
            "--rw=randwrite",
            "--bs=4k",
            "--ioengine=libaio",
            "--iodepth=16",
        ]
        argv += [f"--size={WHOLE_BYTES}", f"--io_size={SCATTERED_BYTES}", *pair.target]
        pair.run(argv, OPEN_TIMEOUT_S)
        pair.command(pair.secondary, "start")
        return _copied(pair, SCATTERED_BYTES)

    def _whole(self, pair: Pair) -> Sample:
        pair.forget_replica(pair.secondary)
        return _copied(pair, WHOLE_BYTES)

    def _digests(self, pair: Pair) -> Sample:
        words = pair.call(pair.primary, "verify", {"module": pair.modules[0].name, "repair": False})
        pair.job_done(pair.primary, str(words["job"]), "verify")
        log = pair.log(pair.primary).read_text(encoding="utf-8")
        took_s = logs.between_s(log, "is being compared", "were compared")
        held_bytes = float(pair.status(pair.primary)["allocated_bytes"])
        return Sample(held_bytes / took_s / MB, {"took_s": took_s})

    def _during(self, pair: Pair) -> Sample:
        quiet = fio.sample(
            "write-4k", pair.run(fio.command("write-4k", [pair.target], self._seconds), OPEN_TIMEOUT_S)
        )
        pair.forget_replica(pair.secondary)
        pair.wait_copying()
        argv = fio.command("write-4k", [pair.target], min(self._seconds, MEANWHILE_S))
        taken = fio.sample("write-4k", pair.run(argv, OPEN_TIMEOUT_S))
        copying = pair.is_copying()
        pair.wait_green()
        if not copying:
            raise ValueError("the resync was over before the writes were")
        return Sample(taken.value, {"without_ms": quiet.value, "p99_ms": taken.notes["p99_ms"]})

    # -- loss of the primary -----------------------------------------------------------------------------

    def _detect(self, step: Step) -> Sample:
        pair = self._pair("short", size="1 GiB", timeout_s=1.0)
        pair.wait_green()
        if step.work.name == "detect-crash":
            return Sample(pair.crash_worker())
        return Sample(pair.lose_power())

    # -- many modules ------------------------------------------------------------------------------------

    def _many(self, step: Step) -> Sample:
        del step
        pair = self._pair("many", size="1 GiB", count=MODULES)
        targets = [fio.of_file(f"{module.folder}/bench.dat") for module in pair.modules]
        if "many filled" not in self._made:
            for target in targets:
                pair.run(fio.layout(target, MODULE_FILE_BYTES), OPEN_TIMEOUT_S)
            self._made["many filled"] = True
        one = self._depth16(pair, targets[:1])
        every = self._depth16(pair, targets)
        pair.wait_green()
        memory = pair.memory_mib()
        return Sample(
            every, {"one_module": one, "worker_mib": memory["worker"], "agent_mib": memory["agent"]}
        )

    def _depth16(self, pair: Pair, targets: list[list[str]]) -> float:
        work = "write-4k-depth16"
        argv = fio.command(work, targets, self._seconds, MODULE_FILE_BYTES)
        return fio.sample(work, pair.run(argv, self._seconds + OPEN_TIMEOUT_S)).value

    # -- large volumes -----------------------------------------------------------------------------------

    def _open(self, step: Step) -> Sample:
        directory = self._directory / step.work.name
        directory.mkdir(mode=0o700, parents=True)
        try:
            _volume("make", str(directory), str(SIZES[step.work.name]), says="made")
            begun_s = time.monotonic()
            _volume("open", str(directory), says="open")
            return Sample(time.monotonic() - begun_s)
        finally:
            shutil.rmtree(directory)


def _close(made: Any, directory: Path) -> None:
    """End something, and remove what it left in its directory."""
    made.close()
    shutil.rmtree(directory, ignore_errors=True)


def _volume(*words: str, says: str) -> None:
    argv = [sys.executable, "-m", "bench.open_volume", *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
    if said != says:
        raise LabError(f"the volume could not be measured: it said {said!r}")


def _copied(pair: Pair, changed_bytes: int) -> Sample:
    """The rate of the resync that goes on, or has just been, and how much of it travelled."""
    pair.wait_copied()
    took_s = logs.between_s(
        pair.log(pair.primary).read_text(encoding="utf-8"), "is copied from", "is mirrored"
    )
    sync = pair.last_sync()
    notes = {"took_s": took_s, "sent_mb": sync["sent_bytes"] / MB, "changed_mb": changed_bytes / MB}
    return Sample(sync["sent_bytes"] / took_s / MB, notes)


def _memory(pair: Pair) -> Sample:
    found = pair.memory_mib()
    return Sample(max(found.values()), {f"{name}_mib": value for name, value in found.items()})


@contextlib.contextmanager
def _meanwhile(call: Callable[[], object]) -> Any:
    """Do something in a thread while the block runs; its failure is not the block's."""
    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        thread.join()
