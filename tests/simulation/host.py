"""A node's host: the export as the VM's disk, the mounted folder, and the VM, which writes, flushes and reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twinhull.core.requests import Op, Request
from twinhull.errors import AttachError, FolderBusyError, ResourceError
from twinhull.resources.base import Finding, ResourceState

from .history import SECTOR_BYTES, content
from .rng import Rng

if TYPE_CHECKING:
    from .node import Unit

HOT_BLOCKS = (0, 1, 33, 128, 129, 300, 512, 640, 641, 900)
"""Blocks of 32 KiB that the VM writes to: in more extents than the activity log takes."""
BLOCK_SECTORS = 64
MAX_DEPTH = 8


class SimExport:
    """The volume as the VM sees it (implements `exports.base.Export`)."""

    def __init__(self, unit: Unit, process: Any) -> None:
        self.unit = unit
        self.process = process
        self.queue: list[Request] = []
        self.open = True
        self._fd: int = process.world.network.fd()

    def fileno(self) -> int:
        """What the loop watches."""
        return self._fd

    def submit(self, request: Request) -> None:
        """The VM asks."""
        self.queue.append(request)
        if len(self.queue) == 1:
            self.process.loop.ready(self._fd)

    def receive(self) -> Sequence[Request]:
        """See `exports.base.Export`."""
        queue, self.queue = self.queue, []
        return queue

    def reply(self, tag: int, error: int = 0, data: Any = None) -> None:
        """See `exports.base.Export`."""
        self.process.hook("reply")
        self.unit.guest.answered(self, tag, error, data)

    def close(self) -> None:
        """See `exports.base.Export`."""
        if self.open:
            self.open = False
            self.unit.guest.export_gone(self)


class SimAttacher:
    """The folder (implements `attach.base.Attacher`)."""

    def __init__(self, unit: Unit, process: Any) -> None:
        self._unit = unit
        self._process = process

    def attach(self, *, make: bool) -> None:
        """See `attach.base.Attacher`."""
        unit = self._unit
        if unit.attach_fails:
            raise AttachError("mount: wrong fs type", "Look at it.")
        unit.folder = self._process
        unit.world.cover("attached")

    def flush(self) -> None:
        """See `attach.base.Attacher`."""

    def detach(self, *, forced: bool) -> None:
        """See `attach.base.Attacher`."""
        if self._unit.folder_busy and not forced:
            raise FolderBusyError("bash (pid 42) holds the folder.", "End it.")
        self._unit.folder = None

    def attached(self) -> bool:
        """See `attach.base.Attacher`."""
        return self._unit.folder is self._process

    def clean_up(self) -> list[str]:
        """See `attach.base.Attacher`."""
        self._unit.folder = None
        return []


class SimResource:
    """The VM as its worker sees it (implements `resources.base.Resource`)."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def start(self, *, resume: bool) -> None:
        """See `resources.base.Resource`."""
        if self._unit.start_fails:
            raise ResourceError("no such network", "Make it.")
        self._unit.guest.start(resume=resume)

    def stop(self, *, mode: str, timeout_s: float) -> bool:
        """See `resources.base.Resource`."""
        if self._unit.stubborn and mode != "off":
            raise ResourceError("the guest did not react", "Turn it off.")
        saved = mode == "save" and self._unit.guest.running
        self._unit.guest.stop(saved=saved)
        return saved

    def force_off(self) -> None:
        """See `resources.base.Resource`."""
        self._unit.guest.stop()

    def forget(self) -> None:
        """See `resources.base.Resource`."""

    def suspend(self) -> None:
        """See `resources.base.Resource`."""
        self._unit.guest.suspended = True
        self._unit.suspended_s = self._unit.world.schedule.now_s
        self._unit.count_running()

    def resume(self) -> None:
        """See `resources.base.Resource`."""
        self._unit.guest.suspended = False
        self._unit.resumed()

    def interrupt(self) -> None:
        """See `resources.base.Resource`."""

    def state(self) -> ResourceState:
        """See `resources.base.Resource`."""
        guest = self._unit.guest
        if not guest.running:
            return ResourceState.OFF
        return ResourceState.PAUSED if guest.suspended else ResourceState.RUNNING

    def ended(self) -> str:
        """See `resources.base.Resource`."""
        return "the guest crashed"

    def check_host(self) -> list[Finding]:
        """See `resources.base.Resource`."""
        return []


class Guest:
    """The VM on one node: what it asks its disk, and what it is told.

    Args:
        unit: the module on this node.
        rng: of its doings.
    """

    def __init__(self, unit: Unit, rng: Rng) -> None:
        self.unit = unit
        self.rng = rng
        self.running = False
        self.suspended = False
        self.life = 0
        self.resting = False
        self.open: dict[int, Request] = {}
        self.export: SimExport | None = None
        self._tag = 0

    # ---- life ---------------------------------------------------------------------------------------

    def start(self, *, resume: bool = False) -> None:
        """It boots: whatever it finds on its disk must be the truth."""
        if self.running:
            return
        self.running, self.suspended = True, False
        self.life += 1
        fresh = self.export is not self.unit.export
        self.export = self.unit.export
        self.unit.count_running()
        self.unit.world.judge.started(self.unit, resume=resume, fresh=fresh)
        self._plan(self.life)

    def stop(self, *, saved: bool = False) -> None:
        """It is off. What it had asked for is still under way in the host's kernel, as long as its disk is there."""
        if self.running:
            self.running = False
            self.unit.world.judge.stopped(self.unit, saved=saved)
        self.suspended = False
        self.unit.count_running()

    def export_gone(self, export: SimExport) -> None:
        """Its disk was taken away: everything fails."""
        for tag in list(self.open):
            self.answered(export, tag, 5, None)

    # ---- work ---------------------------------------------------------------------------------------

    def _plan(self, life: int) -> None:
        world = self.unit.world
        pause_s = world.settings.think_s * (0.2 + 1.8 * self.rng.share())
        world.schedule.after(pause_s, lambda: self._work(life))

    def _work(self, life: int) -> None:
        if not self.running or life != self.life:
            return
        export = self.unit.export
        if not (self.suspended or self.resting) and export is not None and export.open:
            for _ in range(self.rng.pick((1, 1, 2, 3, 4, 6))):
                if len(self.open) < MAX_DEPTH:
                    self._submit(export)
        self._plan(life)

    def _submit(self, export: SimExport) -> None:
        draw = self.rng.bits()
        kind = draw % 20
        if kind < 12:
            self._write(export, draw >> 8)
        elif kind < 15:
            self._ask(export, Op.FLUSH, 0, 0, None, fua=False)
        elif kind < 18:
            first, sectors = self._place(draw >> 8)
            request = self._ask(
                export, Op.READ, first * SECTOR_BYTES, sectors * SECTOR_BYTES, None, fua=False
            )
            self.unit.world.judge.read_asked(self.unit, request)
        else:
            first, sectors = self._place(draw >> 8)
            request = self._ask(
                export, Op.DISCARD, first * SECTOR_BYTES, sectors * SECTOR_BYTES, None, fua=False
            )
            self.unit.world.judge.submitted(self.unit, request, 0)

    def _place(self, draw: int) -> tuple[int, int]:
        """First sector and number of sectors: few places, so that requests meet."""
        blocks = self.unit.world.settings.hot_blocks
        block = blocks[draw % len(blocks)]
        sectors = (8, 8, 8, 8, 1, 3, 16, 64)[(draw >> 8) & 7]
        start = ((draw >> 12) & 1) * 8 + (0 if sectors >= 8 else (draw >> 16) & 7)
        if sectors == 64:
            start = (draw >> 20) & 63
        return block * BLOCK_SECTORS + start, sectors

    def _write(self, export: SimExport, draw: int) -> None:
        first, sectors = self._place(draw)
        value = self.unit.world.next_value()
        fua = (draw >> 32) % 12 == 0
        data = memoryview(content(value, sectors))
        request = self._ask(export, Op.WRITE, first * SECTOR_BYTES, sectors * SECTOR_BYTES, data, fua=fua)
        self.unit.world.judge.submitted(self.unit, request, value)

    def _ask(self, export: SimExport, op: Op, offset: int, length: int, data: Any, *, fua: bool) -> Request:
        self._tag += 1
        request = Request(self._tag, op, offset, length, data, fua)
        self.open[self._tag] = request
        if op is Op.FLUSH:
            self.unit.world.judge.flush_asked(self.unit, self._tag)
        export.submit(request)
        return request

    def answered(self, export: SimExport, tag: int, error: int, data: Any) -> None:
        """An answer."""
        request = self.open.pop(tag, None)
        if request is not None:
            self.unit.world.judge.answered(self.unit, request, error, data)
