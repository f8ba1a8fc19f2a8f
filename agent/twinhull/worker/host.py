"""What a module does to its host: the export, the mounted folder, the resource. Answers are events for the machine.

Everything that may wait runs on the host lane, in order. Turning the resource off does not wait for that lane: it is done
at once on a lane of its own and once more behind whatever the host lane was doing, so that a start that was
under way cannot win.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twinhull.attach.base import Attacher
from twinhull.core import events
from twinhull.core.settings import StopMode
from twinhull.errors import AttachError, TwinhullError
from twinhull.exports.base import Export, NetworkDisk, Request
from twinhull.resources.base import Leaving, Resource, ResourceState, Returning

from .lanes import Lane, Outcome
from .loop import Loop, Timer
from .moves import Moves
from .returning import clear_before_attach, fresh_discarding, keep_ready, when_host_ready

WATCH_INTERVAL_S = 1.0
QUIET_POLL_S = 0.01
TAG_BITS = 64

Log = logging.LoggerAdapter[logging.Logger]


def reason_of(error: Exception) -> str:
    """The sentence of an expected error; anything else is a defect and is raised."""
    if isinstance(error, TwinhullError | OSError):
        return str(error)
    raise error


class _NotPreparedError(TwinhullError):
    """What had to be done before the first start could not be done."""


MakeExport = Callable[[Loop, Callable[[], None]], Export]


@dataclass(frozen=True)
class HostParts:
    """What differs between platforms.

    Args:
        make_export: makes a fresh export of the volume (quick; on the loop). It is given the loop and what is to be
            called when the export should be looked at, for exports that have no descriptor of their own.
        attacher: makes it a mounted folder.
        resource: what runs on the folder.
        moves: moves a VM into the folder and out of it; None for resources that are not moved.
        dead_moves: whether a resource that stopped by itself goes to the other node instead of starting again here.
    """

    make_export: MakeExport
    attacher: Attacher
    resource: Resource
    moves: Moves[Any] | None = None
    dead_moves: bool = False


class Requests(Protocol):
    """What the host needs of the mirror: the end of requests whose export is gone."""

    def forsake(self) -> None: ...
    @property
    def owes(self) -> bool: ...


class Host:
    """Export, folder and resource of one module on this node.

    Args:
        requests: where those go that `on_requests` takes.
        tell: takes the answers.
        on_requests: takes what the host's block layer asks, and what to add to each tag, so that `reply` knows
            the export that asked.
        awake: whether the worker's loop turned lately. A node that was frozen may have been replaced: what was about to
            start in it must not start before the loop has looked at the clock.
    """

    def __init__(
        self,
        loop: Loop,
        parts: HostParts,
        requests: Requests,
        *,
        tell: Callable[[events.Event], None],
        on_requests: Callable[[Sequence[Request], int], None],
        log: Log,
        awake: Callable[[], bool] = lambda: True,
    ) -> None:
        self._loop = loop
        self._requests = requests
        self._awake = awake
        self._make_export = parts.make_export
        self._attacher = parts.attacher
        self._resource = parts.resource
        self._tell = tell
        self._on_requests = on_requests
        self._log = log
        self._lane = Lane(loop, "host")
        self._force_lane = Lane(loop, "force")
        self._watch_lane = Lane(loop, "watch")
        self._pause_lane = Lane(loop, "pause")
        self._export: Export | None = None
        self._exports = 0  # counts the exports: answers to requests of an earlier one go nowhere
        self._export_lost = (
            ""  # why the host's kernel ended the export; empty while it stands, or is not wanted
        )
        self._epoch = 0  # of what the resource was last told; answers of older ones are not told on
        self._watching: Timer | None = None
        self._space_warned: frozenset[str] = frozenset()  # what the initiator was told of
        self._attachments = 0  # counts attaches and detaches: a newer one overtakes an older one
        self._blind = ""  # why the resource could not be looked at the last time
        self._paused = False  # whether it was said that its hypervisor holds it
        self._dead_moves = parts.dead_moves
        self.moves = parts.moves
        self.before_start: Callable[[], None] | None = None
        """Done once before the next start, in the mounted folder; a failure is a failed start."""
        self.before_detach: Callable[[], None] | None = None
        """Done once before the folder is unmounted in order; a failure keeps it mounted."""

    # ---- the export ------------------------------------------------------------------------------

    def reply(self, tag: int, error: int, data: bytes | bytearray | memoryview | None) -> None:
        """Complete a request of the host's block layer; dropped when the export that asked is gone."""
        if self._export is not None and tag >> TAG_BITS == self._exports:
            own = tag & ((1 << TAG_BITS) - 1)
            self._export.reply(own, error, bytes(data) if isinstance(data, bytearray) else data)

    def _serve(self) -> None:
        if self._export is None:
            return
        try:
            requests = self._export.receive()
        except AttachError as error:
            self._log.error("the export was taken away: %s", error)
            self._close_export()
            self._export_lost = str(error)
            return
        if requests:
            self._on_requests(requests, self._exports << TAG_BITS)

    def _open_export(self) -> None:
        """Raises TwinhullError, OSError."""
        if self._export is None:
            self._export = self._make_export(self._loop, self._serve)
            self._exports += 1
            self._export_lost = ""
            self._space_warned = frozenset()
            if self._export.fileno() >= 0:
                self._loop.watch(self._export.fileno(), self._serve)

    def _close_export(self) -> None:
        if self._export is not None:
            self._loop.unwatch(self._export.fileno())
            self._export.close()
            self._export = None
            self._requests.forsake()

    def tell_space(self, seen: Mapping[str, Any]) -> None:
        """What was seen of the volume's room, for an export that can tell its initiator."""
        export = self._export
        if not isinstance(export, NetworkDisk) or "disk_free_bytes" not in seen:
            return
        warnings = frozenset(seen["space_warnings"])
        news = bool(warnings) and not self._space_warned
        self._space_warned = warnings
        export.tell_space(seen["allocated_bytes"], seen["disk_free_bytes"], warn=news)

    # ---- the folder ------------------------------------------------------------------------------

    def attach(self, *, make: bool) -> None:
        """Export the volume and mount the folder -> Attached or AttachFailed, unless a detach overtakes it."""
        self._attachments += 1
        attachment = self._attachments

        def then(error: Exception | None) -> None:
            if attachment == self._attachments:
                self._tell(events.Attached() if error is None else events.AttachFailed(reason_of(error)))

        # A protection that is repeated may find nothing yet; only a blank volume is ever made a file system on.
        make = make or self.before_start is not None
        if self._export_lost:
            self._attach_anew(then, make=make)
        else:
            self._attach(then, make=make)

    def _attach(self, then: Callable[[Exception | None], None], *, make: bool) -> None:
        """Not before the last write of a former export is over: it would change the disk under whoever has read it."""
        attachment = self._attachments

        def wanted() -> bool:
            return attachment == self._attachments

        def when_over() -> None:
            if not wanted():
                then(AttachError("The folder is not wanted any more."))
            elif self._requests.owes:
                self._loop.call_later(QUIET_POLL_S, when_over)
            else:
                self._attach_now(then, wanted, make=make)

        when_over()

    def _attach_now(
        self, then: Callable[[Exception | None], None], wanted: Callable[[], bool], *, make: bool
    ) -> None:
        def cleared(error: Exception | None) -> None:
            if error is not None:
                then(error)
                return
            try:
                self._open_export()
            except (TwinhullError, OSError) as failure:
                then(failure)
                return
            self._lane.submit(lambda: self._attacher.attach(make=make), lambda outcome: then(outcome.error))

        if not isinstance(self._resource, Returning):
            cleared(None)
            return
        self._close_export()  # of a failed attach: its disk must not come back while a registration is removed
        resource = self._resource

        def ready() -> None:
            if not wanted():
                cleared(AttachError("The folder is not wanted any more."))
                return
            discarding = fresh_discarding(self._opened_export, self._close_export)
            clear_before_attach(
                self._lane, self._attacher, resource, discarding, wanted=wanted, then=cleared, log=self._log
            )

        when_host_ready(self._lane, self._loop.call_later, resource, wanted=wanted, then=ready, log=self._log)

    def _opened_export(self) -> Export | None:
        self._open_export()
        return self._export

    def keep_ready(self) -> None:
        """Have ready what a start needs, while nothing is offered."""
        if self._export is None:
            self._lane.submit(lambda: keep_ready(self._resource), self._logged)

    def _attach_anew(self, then: Callable[[Exception | None], None], *, make: bool) -> None:
        """The kernel ended the export below the folder: free what is left of it, and mount it again."""

        def freed(outcome: Outcome[None]) -> None:
            if outcome.error is not None:
                then(outcome.error)
            else:
                self._attach(then, make=make)

        self._lane.submit(lambda: self._attacher.detach(forced=True), freed)

    def detach(self, *, forced: bool) -> None:
        """Unmount and free the device -> Detached or DetachFailed."""
        self._attachments += 1
        forced = forced or bool(self._export_lost)  # a folder without its disk cannot be unmounted gently
        if forced:
            self._close_export()

        def done(outcome: Outcome[None]) -> None:
            if outcome.error is None:
                self._close_export()
                self._export_lost = ""
                self._tell(events.Detached())
            else:
                self._tell(events.DetachFailed(reason_of(outcome.error)))

        leaves = not forced and isinstance(self._export, NetworkDisk) and isinstance(self._resource, Leaving)

        def detach() -> None:
            before, self.before_detach = self.before_detach, None
            if before is not None and not forced:
                before()
            if leaves:
                self._attacher.flush()
            else:
                self._attacher.detach(forced=forced)

        def flushed(outcome: Outcome[None]) -> None:
            if outcome.error is None:
                self._leave(done)
            else:
                done(outcome)

        self._lane.submit(detach, flushed if leaves else done)

    def _leave(self, done: Callable[[Outcome[None]], None]) -> None:
        """Have the resource's registration removed while no write of the host can reach the volume, then detach.

        There is no way back from discard mode: what fails after it finds its export lost, and a resource that is to run
        on gets a new one.
        """
        export, resource = self._export, self._resource
        if not isinstance(export, NetworkDisk) or not isinstance(resource, Leaving):
            # A forced detach has overtaken this one: the disk is gone, and what is left is freed by that.
            self._lane.submit(lambda: self._attacher.detach(forced=True), done)
            return
        export.discard_writes()

        def left(outcome: Outcome[None]) -> None:
            if outcome.error is not None and self._export is export:
                self._close_export()
                self._export_lost = (
                    f"its writes are thrown away since its resource was leaving: {outcome.error}"
                )
            done(outcome)

        def leave() -> None:
            resource.leave()
            self._attacher.detach(forced=False)

        def when_quiet() -> None:
            if self._export is export and export.in_flight:
                self._loop.call_later(QUIET_POLL_S, when_quiet)
            else:
                self._lane.submit(leave, left)

        when_quiet()

    # ---- the resource ----------------------------------------------------------------------------

    def start(self, *, resume: bool) -> None:
        """Start the resource, only on our own mount -> ResourceStarted or ResourceStartFailed."""
        epoch = self._next_epoch()

        def start() -> None:
            if epoch != self._epoch:
                return
            if not self._attacher.attached():
                raise TwinhullError("The folder is not the module's own mount.", "Nothing was started.")
            self._prepare()
            if epoch != self._epoch:  # the move may have taken its time
                return
            if not self._awake():
                raise TwinhullError("The node slept while the resource was about to start.")
            self._resource.start(resume=resume)

        def done(outcome: Outcome[None]) -> None:
            if epoch != self._epoch:
                return
            if outcome.error is None:
                self._watch(epoch)
                self._tell(events.ResourceStarted())
            elif isinstance(outcome.error, _NotPreparedError):
                # Neither a second try nor the other node helps: the module stops, and the command may be repeated.
                self._tell(events.Stop(forced=True, reason=f"it could not be prepared: {outcome.error}"))
            else:
                self._tell(events.ResourceStartFailed(reason_of(outcome.error)))

        def attached(error: Exception | None) -> None:
            if error is None:
                self._lane.submit(start, done)
            else:
                done(Outcome(None, error))

        if self._export_lost:
            self._attach_anew(attached, make=False)
        else:
            self._lane.submit(start, done)

    def _prepare(self) -> None:
        """Do once what has to be done before the first start."""
        if self.before_start is None:
            return
        try:
            self.before_start()
        except (TwinhullError, OSError) as error:
            raise _NotPreparedError(str(error)) from error
        finally:
            self.before_start = None

    def stop(self, mode: StopMode, timeout_s: float) -> None:
        """Stop the resource -> ResourceStopped or ResourceStopFailed."""
        epoch = self._next_epoch()

        def done(outcome: Outcome[bool]) -> None:
            if epoch != self._epoch:
                return
            if outcome.error is None:
                self._tell(events.ResourceStopped(saved=outcome.value()))
            else:
                self._watch(epoch)
                self._tell(events.ResourceStopFailed(reason_of(outcome.error)))

        if mode is StopMode.OFF:
            self._turn_off(done)
        else:
            self._lane.submit(lambda: self._resource.stop(mode=mode.value, timeout_s=timeout_s), done)

    def interrupt(self) -> None:
        """Have a stop that waits for its guest give up -> ResourceStopFailed."""
        self._force_lane.submit(self._resource.interrupt, self._logged)

    def suspend(self) -> None:
        """Pause the resource, best effort."""
        self._pause_lane.submit(self._resource.suspend, self._logged)

    def resume(self) -> None:
        """Let it go on, best effort."""
        self._pause_lane.submit(self._resource.resume, self._logged)

    def _turn_off(self, done: Callable[[Outcome[bool]], None]) -> None:
        """Turn it off at once, and once more behind whatever the host lane is at, such as a start.

        Over when both are: one that came late would turn off what was started since. What the second one says counts.
        """
        behind: list[Outcome[bool]] = []
        at_once_over = False

        def off() -> bool:
            self._resource.force_off()
            return False

        def end() -> None:
            if at_once_over and behind:
                done(behind[0])

        def at_once(outcome: Outcome[bool]) -> None:
            nonlocal at_once_over
            at_once_over = True
            self._logged(Outcome(None, outcome.error))
            end()

        def later(outcome: Outcome[bool]) -> None:
            behind.append(outcome)
            end()

        self._force_lane.submit(off, at_once)
        self._lane.submit(off, later)

    def _logged(self, outcome: Outcome[None]) -> None:
        if outcome.error is not None:
            self._log.warning("the host did not do what it was asked: %s", reason_of(outcome.error))

    def _next_epoch(self) -> int:
        self._epoch += 1
        if self._watching is not None:
            self._watching.cancel()
        return self._epoch

    def _watch(self, epoch: int) -> None:
        """Look now and then whether the resource still runs, and tell when it died."""

        def look() -> None:
            self._watch_lane.submit(self._how_it_ended, seen)

        def seen(outcome: Outcome[str | None]) -> None:
            if epoch != self._epoch:
                return
            if outcome.error is None and (reason := outcome.value()) is not None:
                self._next_epoch()
                move = self._dead_moves and not self._export_lost
                self._tell(events.ResourceDied(reason, move=move))
                return
            if outcome.error is not None and str(outcome.error) != self._blind:
                self._log.warning(
                    "whether the resource still runs cannot be seen: %s", reason_of(outcome.error)
                )
            self._blind = str(outcome.error or "")
            self._watching = self._loop.call_later(WATCH_INTERVAL_S, look)

        self._watching = self._loop.call_later(WATCH_INTERVAL_S, look)

    def _how_it_ended(self) -> str | None:
        if lost := self._export_lost:
            self._resource.force_off()  # whatever it wrote since is lost to it
            return lost
        state = self._resource.state()
        self._say_paused(state is ResourceState.PAUSED_CRITICAL)
        if state in (ResourceState.OFF, ResourceState.ABSENT):
            return self._resource.ended()
        return None

    def _say_paused(self, paused: bool) -> None:
        """Neither a restart nor the other node gives a VM room on a full disk: a person has to know."""
        if paused and not self._paused:
            self._log.error(
                "the hypervisor has paused the VM, because a disk of it has no room or failed; make room (in the "
                "folder and on the disk of the node's data directory), then it can go on"
            )
        elif self._paused and not paused:
            self._log.info("the VM is no longer paused by its hypervisor")
        self._paused = paused
