"""A worker's host side with Hyper-V: real host lane, attacher and resource over the real engine and a modelled initiator.

The folder lies on a drive of the model alone, so that Hyper-V reaches files just while the disk is connected.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.export import FakeNetworkDisk
from tests.fakes.requests import FakeRequests
from tests.standin.windows_host import WindowsHost, needs_engine

from twinhull.attach.windows import BareFolder, OurDisk, WindowsAttacher
from twinhull.core import events
from twinhull.core.settings import StopMode
from twinhull.resources.hyperv import HyperVPlaces, HyperVResource
from twinhull.worker.host import Host, HostParts
from twinhull.worker.loop import Loop
from twinhull.worker.offer import Offer

from .hyperv_node import LONG_S, QUICK, HyperVNode

pytestmark = needs_engine
PREFIX = "iqn.2026-11.io.twinhull:site.web"
SERIAL = "00112233445566778899aabbccddeeff"
SIZE_BYTES = 10 << 30
FOLDER = r"E:\Repli\web"
STEPS = ("Connect-IscsiTarget", "Disconnect-IscsiTarget", "Remove-VM", "Restart-Service")


class ModelledDisk(FakeNetworkDisk):
    """The export that the modelled initiator finds. What is written while writes are thrown away is gone with it."""

    def __init__(self, host: WindowsHost, target: dict[str, Any]) -> None:
        super().__init__()
        self._host = host
        self._target = target
        self._before: tuple[Any, Any] | None = None
        host.edit(self._offer)

    def _offer(self, state: dict[str, Any]) -> None:
        content = state["iscsiTargets"][0]["Content"] if state["iscsiTargets"] else None
        state["iscsiTargets"] = [{**self._target, "Content": content}]

    def discard_writes(self) -> None:
        state = self._host.state
        self._before = (state["files"], state["iscsiTargets"][0]["Content"])
        super().discard_writes()

    def close(self) -> None:
        def restore(state: dict[str, Any]) -> None:
            assert self._before is not None
            state["files"], state["iscsiTargets"][0]["Content"] = self._before

        if self._before is not None and not self.closed:
            self._host.edit(restore)
        super().close()


class Bench:
    """The host side of one worker's life after another, on one Windows host."""

    def __init__(self, node: HyperVNode, directory: Path) -> None:
        self.node = node
        self.told: list[events.Event] = []
        self._changed = threading.Condition()
        self._offer: Offer | None = None
        self._exports = 0
        self._loops: list[tuple[Loop, threading.Thread]] = []
        self._record = directory / "vm.json"
        self.begin()

    def begin(self) -> None:
        """A new worker."""
        loop = Loop(lambda: None, stall_s=5.0)
        attacher = WindowsAttacher(
            "web",
            FOLDER,
            disk=lambda: OurDisk(PREFIX, SERIAL, SIZE_BYTES),
            offer=lambda: self._offer,
            powershell=self.node.shells,
            first_data=lambda: None,
            bare=BareFolder(lambda: None, lambda: None),
        )
        resource = HyperVResource(
            module="web",
            node="one",
            vm="web",
            places=HyperVPlaces(FOLDER, r"C:\copies", self._record),
            shell=self.node.shells,
            log=self.node.lines.append,
            folder_ready=attacher.attached,
            timings=QUICK,
        )
        self.host = Host(
            loop,
            HostParts(lambda _loop, _serve: self._export(), attacher, resource),
            FakeRequests(),
            tell=self._tell,
            on_requests=lambda _requests, _base: None,
            log=logging.LoggerAdapter(logging.getLogger("twinhull.test"), {}),
        )
        thread = threading.Thread(target=loop.run, daemon=True)
        thread.start()
        self._loops.append((loop, thread))

    def _export(self) -> ModelledDisk:
        self._exports += 1
        target, secret = f"{PREFIX}.{self._exports:08x}", f"Sixteen-Letter{self._exports:02}"
        self._offer = Offer(target, "127.0.0.1", 7461, "twinhull", secret, SERIAL)
        words = {
            "NodeAddress": target, "Portal": "127.0.0.1", "Port": 7461, "ChapUsername": "twinhull", "ChapSecret": secret,
            "SizeBytes": SIZE_BYTES, "SerialNumber": SERIAL,
        }  # fmt: skip
        return ModelledDisk(self.node.windows, words)

    def _tell(self, event: events.Event) -> None:
        with self._changed:
            self.told.append(event)
            self._changed.notify_all()

    def attach(self, *, make: bool = False) -> None:
        """Ask for the folder, and wait until it is there."""
        self._asked(lambda: self.host.attach(make=make), events.Attached)

    def detach(self) -> None:
        """Give it back in order."""
        self._asked(lambda: self.host.detach(forced=False), events.Detached)

    def stop(self) -> None:
        """Stop the VM."""
        self._asked(lambda: self.host.stop(StopMode.STOP, LONG_S), events.ResourceStopped)

    def _asked(self, call: Any, kind: type) -> None:
        self.ask(call)
        self.wait_for(kind)

    def ask(self, call: Any) -> None:
        """Have something done on the loop."""
        with self._changed:
            self.told.clear()
        self._loops[-1][0].post(call)

    def wait_for(self, kind: type) -> None:
        """Until something is told, which must be that."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.told, LONG_S)
            assert [type(told) for told in self.told] == [kind], self.told

    def lose_power(self) -> None:
        """The host dies and comes back, with a new worker; the VM stays known to Hyper-V."""
        self.node.windows.edit(lambda state: state.update(vmmsRestart="keeps"))
        self.node.boot("crash")
        self._offer = None
        self.begin()

    def steps(self) -> list[str]:
        """What was done since the last look, of what matters here."""
        found = [call["cmdlet"] for call in self.node.windows.calls() if call["cmdlet"] in STEPS]
        self.node.windows.log_path.unlink()
        return found

    def files(self) -> set[str]:
        """The files on the volume."""
        return {path for path in self.node.windows.state["files"] if path.lower().startswith("e:")}

    def close(self) -> None:
        for loop, thread in self._loops:
            loop.stop()
            thread.join()


@pytest.fixture
def bench(pair: tuple[HyperVNode, HyperVNode], tmp_path: Path) -> Iterator[Bench]:
    made = Bench(pair[0], tmp_path)
    made.node.windows.edit(lambda state: state.update(iscsiTargets=[]))
    made.attach(make=True)
    made.node.make_vm(place=rf"{FOLDER}\vm")
    made.node.type("Checkpoint-VM", Name="web", SnapshotName="before")
    made.steps()
    yield made
    made.close()


def test_a_hand_over_removes_the_registration_and_leaves_the_volume_as_it_was(bench: Bench) -> None:
    bench.node.type("Start-VM", Name="web")
    bench.stop()
    before = bench.files()
    assert len([path for path in before if path.lower().endswith(".vmcx")]) == 2
    bench.detach()
    assert bench.node.vm_state() == ""
    assert bench.files() == before, "the removal reached the volume"
    assert bench.steps() == ["Remove-VM", "Disconnect-IscsiTarget"]


class Heard(logging.Handler):
    """Waits for a sentence in the log."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self.said = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        if self._words in record.getMessage():
            self.said.set()


def test_a_host_that_boots_waits_for_hyperv_before_it_tries_anything(bench: Bench) -> None:
    bench.node.type("Start-VM", Name="web")
    bench.lose_power()
    bench.node.windows.edit(lambda state: state["services"]["vmms"].update(Status="StartPending"))
    bench.steps()
    heard = Heard("does not run yet; it is waited for")
    logging.getLogger("twinhull.test").addHandler(heard)
    try:
        bench.ask(lambda: bench.host.attach(make=False))
        assert heard.said.wait(LONG_S)
    finally:
        logging.getLogger("twinhull.test").removeHandler(heard)
    bench.node.windows.edit(lambda state: state["services"]["vmms"].update(Status="Running"))
    bench.wait_for(events.Attached)
    assert bench.steps() == ["Remove-VM", "Connect-IscsiTarget"]


DISCARDED = ["Connect-IscsiTarget", "Remove-VM", "Disconnect-IscsiTarget"]


@pytest.mark.parametrize(
    ("absent", "with_files", "steps"),
    [
        ("succeeds", "works", ["Remove-VM", "Connect-IscsiTarget"]),
        ("fails", "works", ["Remove-VM", *DISCARDED, "Connect-IscsiTarget"]),
        ("reportsSuccessAndStays", "works", ["Remove-VM", *DISCARDED, "Connect-IscsiTarget"]),
        (
            "fails",
            "fails",
            ["Remove-VM", *DISCARDED, "Remove-VM", "Restart-Service", "Connect-IscsiTarget"],
        ),
    ],
)
def test_a_returning_node_is_cleared_of_its_vm_before_the_folder_is_live(
    bench: Bench, absent: str, with_files: str, steps: list[str]
) -> None:
    bench.node.type("Start-VM", Name="web")
    before = bench.files()
    bench.lose_power()
    bench.node.windows.edit(lambda state: state.update(removeAbsent=absent, vmmsRestart="forgets"))
    if with_files == "fails":
        bench.node.windows.fault("Remove-VM", error={"message": "It failed."})
    assert bench.node.windows.vm("web")["Absent"], "its disk is away"
    bench.steps()
    bench.attach()
    assert bench.steps() == steps
    assert bench.node.vm_state() == ""
    assert bench.files() == before, "a removal reached the volume"
