"""What an earlier life of a resource left registered on this host goes before its folder is mounted here again.

First with nothing attached, when no file can be reached. If something stays, the local replica is mounted by an export that
throws all writes away, and it is removed there. Last, the hypervisor's management is restarted, which also ends a
removal that may still be under way: nothing that begins before the mount may act on the mounted volume.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from twinhull.attach.base import Attacher
from twinhull.errors import AttachError, TwinhullError
from twinhull.exports.base import NetworkDisk
from twinhull.resources.base import Awaiting, Leaving, Resource, Returning, Warm

from .lanes import Lane, Outcome

HOST_READY_POLL_S = 1.0
HOST_READY_LOOKS = 300
"""Five minutes: a host that installs updates while it boots takes that long. What is missing then is told by the start."""

Log = logging.LoggerAdapter[logging.Logger]


@dataclass(frozen=True)
class Discarding:
    """How the volume is offered with an export that throws writes away; called on the loop.

    Args:
        open: opens a fresh export and has it throw writes away; raises TwinhullError or OSError.
        close: takes it away.
    """

    open: Callable[[], None]
    close: Callable[[], None]


def fresh_discarding(open_export: Callable[[], object], close_export: Callable[[], None]) -> Discarding:
    """See `Discarding`.

    Args:
        open_export: opens the module's export and returns it.
        close_export: closes it.
    """

    def opened() -> None:
        export = open_export()
        if not isinstance(export, NetworkDisk):
            raise AttachError("An export of this kind cannot throw writes away.")
        export.discard_writes()

    return Discarding(opened, close_export)


def when_host_ready(
    lane: Lane,
    call_later: Callable[[float, Callable[[], None]], object],
    resource: Resource,
    *,
    wanted: Callable[[], bool],
    then: Callable[[], None],
    log: Log,
) -> None:
    """Call `then` on the loop once the service that the resource needs runs, was waited for long enough, or cannot be seen.

    Without this a host that boots would spend a module's restarts on a hypervisor that is still starting.

    Args:
        call_later: calls after so many seconds, on the loop.
        wanted: whether that is still waited for; once it is not, `then` is called at once.
    """
    if not isinstance(resource, Awaiting):
        then()
        return
    looks = 0

    def look() -> None:
        if wanted():
            lane.submit(resource.host_ready, seen)
        else:
            then()

    def seen(outcome: Outcome[bool]) -> None:
        nonlocal looks
        looks += 1
        if outcome.error is not None or outcome.value() or looks > HOST_READY_LOOKS:
            then()
            return
        if looks == 1:
            log.warning("the hypervisor's management service does not run yet; it is waited for")
        call_later(HOST_READY_POLL_S, look)

    look()


def clear_before_attach(
    lane: Lane,
    attacher: Attacher,
    resource: Returning,
    discarding: Discarding,
    *,
    wanted: Callable[[], bool],
    then: Callable[[Exception | None], None],
    log: Log,
) -> None:
    """Have the resource's old registration removed, then call `then` on the loop: with None, or why not to attach.

    What stays after everything was tried is no reason not to attach: the resource judges it at its start.

    Args:
        wanted: whether the attach is still wanted; once it is not, nothing more is begun.
    """

    def step(call: Callable[[], bool], done: Callable[[Outcome[bool]], None]) -> None:
        def answered(outcome: Outcome[bool]) -> None:
            if wanted():
                done(outcome)
            else:
                then(AttachError("The folder is not wanted any more."))

        lane.submit(call, answered)

    def cleared(outcome: Outcome[bool]) -> None:
        if outcome.error is not None or outcome.value():
            then(outcome.error)
        else:
            discard()

    def discard() -> None:
        log.warning("an old registration stays, so it is removed on a mount whose writes are thrown away")
        try:
            discarding.open()
        except (TwinhullError, OSError) as error:
            discarded(Outcome(None, error))
            return
        lane.submit(lambda: _leave(attacher, resource), discarded)

    def discarded(outcome: Outcome[None]) -> None:
        if not wanted():  # a detach came meanwhile, and has closed the export
            then(AttachError("The folder is not wanted any more."))
            return
        discarding.close()
        if outcome.error is not None:
            log.warning("the old registration was not removed there: %s", outcome.error)
        step(lambda: resource.clear(last_resort=True), last)

    def last(outcome: Outcome[bool]) -> None:
        if outcome.error is None and not outcome.value():
            log.warning("an old registration stays; the resource is started with it if it is sound")
        then(outcome.error)

    step(resource.clear, cleared)


def _leave(attacher: Attacher, resource: Returning) -> None:
    """Mount, remove the registration, unmount; nothing stays mounted."""
    left = False
    try:
        attacher.attach(make=False)
        if isinstance(resource, Leaving):
            resource.leave()
        left = True
    finally:
        attacher.detach(forced=not left)


def keep_ready(resource: Resource) -> None:
    """Have ready what a start needs, and remove what an earlier life left. Only while nothing is attached or offered:
    a disk that comes back in the middle of a removal would lose files. Raises TwinhullError.
    """
    if isinstance(resource, Warm):
        resource.warm()
    if isinstance(resource, Returning):
        resource.clear()
