"""What follows when the resource, a checker or a disk fails."""

from __future__ import annotations

from . import actions, events, host, messages, session, work
from .actions import Level
from .alone import go_alone
from .record import Record
from .rescue import RescueKind, WhenFull
from .state import HostState, Mode, Module, Operation, Session, Work

# ---- the resource and its checkers -----------------------------------------------------------------


def on_attach_failed(m: Module, event: events.AttachFailed) -> None:
    """The folder cannot be mounted here."""
    if m.host.state is HostState.ATTACHING:
        m.host.state = HostState.OFF
        _resource_failed(m, f"its folder could not be mounted ({event.reason})", event.reason, move=True)


def on_start_failed(m: Module, event: events.ResourceStartFailed) -> None:
    """The resource does not start here."""
    if m.host.state is HostState.STARTING:
        m.host.state = HostState.ATTACHED
        _resource_failed(m, f"it did not start ({event.reason})", event.reason, move=True)


def on_died(m: Module, event: events.ResourceDied) -> None:
    """It stopped by itself; it is started again where it ran, or moved, as the checker of its guest is set."""
    if m.host.state is not HostState.RUNNING:
        return
    m.host.state = HostState.ATTACHED
    if not m.host.up:
        return
    if m.checkers_suspended:
        m.host.died = True
        m.say(
            f"The resource of {m.name} stopped by itself on {m.me} ({event.reason}); it stays off while the "
            "checkers are suspended.",
            Level.WARNING,
        )
        return
    how = "was shut down from inside" if event.clean else "died"
    _resource_failed(m, f"it {how} ({event.reason})", "", move=event.move)


def on_checker_failed(m: Module, event: events.CheckerFailed) -> None:
    """Restart in place, or move, as the checker is configured."""
    if m.checkers_suspended or m.host.state is not HostState.RUNNING or m.host.cycle or m.work is not None:
        return
    why = f"the checker {event.checker} failed ({event.reason})"
    _resource_failed(m, why, "", move=event.action == "stopstart")


def restarts_counted(m: Module) -> int:
    """Restarts within the window."""
    since_s = m.now_s - m.settings.restart_window_s
    m.host.restarts_s = [at_s for at_s in m.host.restarts_s if at_s > since_s]
    return len(m.host.restarts_s)


def _resource_failed(m: Module, why: str, error: str, *, move: bool) -> None:
    """Restart, fail over, or, after too many restarts, stop here and fail over."""
    m.host.last_error = error
    if not m.host.up or m.leaving:
        return
    if restarts_counted(m) >= m.settings.restart_limit:
        hours = m.settings.restart_window_s / 3600
        reason = f"{why}, after {m.settings.restart_limit} restarts within {hours:g} h"
        work.end(m, False, f"The resource of {m.name} failed on {m.me}: {reason}.")
        work.begin(m, Operation(Work.LEAVE, reason, forced=True))
        return
    m.host.restarts_s.append(m.now_s)
    if move and m.green_primary and m.work is None:
        work.begin(m, Operation(Work.FAILOVER, why))
        return
    if m.host.state is HostState.RUNNING:
        host.restart_in_place(m, mode=m.settings.forced_stop_mode, timeout_s=0.0)
    elif error:
        m.host.retry_s = m.now_s + m.timeout_s
    count = f"restart {restarts_counted(m)} of {m.settings.restart_limit}"
    m.say(f"The resource of {m.name} is started again on {m.me}: {why} ({count}).", Level.WARNING)


# ---- disks -----------------------------------------------------------------------------------------


def on_local_write_timeout(m: Module, _: events.LocalWriteTimeout) -> None:
    """A disk that does not answer is a disk that failed."""
    reason = f"a write was not answered for {m.settings.write_timeout_s:g} s"
    on_disk_failed(m, events.DiskFailed(reason))


def on_disk_failed(m: Module, event: events.DiskFailed) -> None:
    """A SECOND leaves, a PRIM with an uptodate SECOND gives the module up, an ALONE node says so."""
    what = "is full" if event.full else "failed"
    reason = f"the disk of {m.me} {what} ({event.reason})"
    again = bool(m.fault)
    do = "free space" if event.full else "repair or replace it"
    m.fault = f"{reason}; {do}, then stop and start {m.name} on {m.me}."
    if event.record:
        _record_lost(m, reason, event.durable)
    elif again:
        return
    elif m.mode in (Mode.PRIM, Mode.HOLD) and m.record.peer_may_be_uptodate and not _second_lacks(m):
        _evacuate(m, reason)
    elif m.mode in (Mode.PRIM, Mode.HOLD, Mode.ALONE):
        _fail_up(m, reason)
    elif m.mode in (Mode.SECOND, Mode.ASKING, Mode.GIVING):
        _leave(m, reason)
    else:
        m.say(f"{m.name} is out of order on {m.me}: {reason}.", Level.ERROR)
        if m.record.uptodate and m.record.peer_may_be_uptodate:
            # What was acknowledged may not have reached this disk: the other replica must lead.
            m.emit(persist=m.changed(uptodate=False, outdated_reason=reason))
        _stop_now(m, reason)


def on_peer_disk(m: Module, event: events.PeerDisk) -> None:
    """What follows comes as a message of the peer, or as its silence."""
    m.say(f"{m.name}: the disk of {m.other} failed ({event.reason}).", Level.ERROR)


def on_rescue_opened(m: Module, event: events.RescueOpened) -> None:
    """A copy that was interrupted goes on with the rescue that it began with."""
    if m.rescue is not None:
        m.rescue = event.kind


def on_rescue_room(m: Module, event: events.RescueRoom) -> None:
    """Whether this node could keep its own changes if it had to give way."""
    m.rescue_trouble = event.trouble


def on_rescue_failed(m: Module, event: events.RescueFailed) -> None:
    """Give the rescue up whole, or leave before anything more is overwritten: never a silent half (promise 7)."""
    if m.mode is not Mode.SECOND or m.session is None:
        return
    settings = m.settings
    when = settings.split_brain_full if m.rescue is RescueKind.SPLIT else settings.resync_full
    if m.rescue is None:
        m.emit(actions.GiveUpRescue(event.reason))
    elif when is WhenFull.GIVE_UP:
        m.emit(actions.GiveUpRescue(event.reason))
        m.say(
            f"{m.name}: the rescue on {m.me} is given up, as configured: {event.reason} What {m.me} held before the "
            f"copy from {m.other} cannot be seen or rolled back to any more.",
            Level.WARNING,
            audit=True,
        )
    else:
        work.end(m, False, f"{m.name} leaves on {m.me}: {event.reason}")
        reason = f"what the copy from {m.other} would overwrite cannot be kept ({event.reason})"
        m.say(
            f"{m.name} is in need of a person on {m.me}: {reason}; nothing of it was overwritten.",
            Level.ERROR,
        )
        work.begin(m, Operation(Work.LEAVE, reason))


def _evacuate(m: Module, reason: str) -> None:
    """Promise 1 holds: what was acknowledged is on the SECOND. Resource off, then the SECOND is told."""
    work.end(m, False, f"{m.name} is given up on {m.me}: {reason}.")
    m.io_open = False
    m.question = m.outdating = None
    m.emit(actions.CloseIO())
    work.begin(m, Operation(Work.EVACUATE, reason, forced=True))


def _fail_up(m: Module, reason: str, *, anew: bool = False) -> None:
    """No other replica is known to be whole: the errors go up to the VM, and a person is called."""
    if m.session is not None:
        session.lose_session(m, reason)
    if m.mode is not Mode.ALONE:
        go_alone(m, m.record.generation, reason, Level.ERROR, anew=anew)
    session.drop_link(m, reason)
    m.emit(actions.FailUp())
    remedy = m.fault.removeprefix(f"{reason}; ")
    m.say(
        f"{m.name} is in danger on {m.me}: {reason}, and no other replica is uptodate; its errors go up to "
        f"the VM. {remedy[:1].upper()}{remedy[1:]}",
        Level.ERROR,
    )


def _leave(m: Module, reason: str) -> None:
    """A SECOND leaves, recorded outdated with the reason; nothing of the module can run here any more."""
    work.end(m, False, f"{m.name} leaves on {m.me}: {reason}.")
    if m.mode is Mode.SECOND and m.session is not None:
        record = m.changed(uptodate=False, outdated_reason=reason)
        m.emit(persist=record, send=((m.session.connection, messages.Leave(m.session.id, reason)),))
    elif m.mode is not Mode.GIVING:
        m.emit(persist=m.changed(uptodate=False, outdated_reason=reason))
    _stop_now(m, reason)


def _record_lost(m: Module, reason: str, durable: Record | None) -> None:
    """The record could not be made durable: whatever followed it never happened. Everything stops.

    Save where this is the only replica that is known to be whole: there the module goes on alone if that at least
    can be recorded, and where it cannot be left running, it stops without giving the replica up.
    """
    only_whole = m.mode is Mode.PRIM and m.session is not None and _is_only_whole(m.session, durable)
    if only_whole and durable is not None and m.host.state is HostState.RUNNING and not m.leaving:
        m.record = durable
        m.host.suspended = True  # that it was let go on may have been dropped, too
        _fail_up(m, reason, anew=True)
        return
    host.ask_anew(m)
    if m.mode is Mode.STOP and host.is_off(m):
        m.say(f"{m.name} is out of order on {m.me}: {reason}.", Level.ERROR)
        return
    if m.work is not None and m.work.work is Work.EVACUATE:
        if m.session is not None and not m.session.second_whole:
            m.record = durable or m.record
            session.lose_session(m, f"{m.me} leaves ({reason})")
        return
    # That the SECOND is whole may have been told it behind this very record: then it never was.
    if m.mode is Mode.PRIM and m.session is not None and m.session.second_whole and not only_whole:
        _evacuate(m, reason)
        return
    work.end(m, False, f"{m.name} is given up on {m.me}: {reason}.")
    _stop_now(m, reason)


def _second_lacks(m: Module) -> bool:
    return m.session is not None and m.session.second_lacks


def _is_only_whole(session: Session, durable: Record | None) -> bool:
    """Whether the SECOND is known not to be uptodate: by its own word, or by the record that is durable here.

    A SECOND that copies is told that it is uptodate only after this node's record says that it may be.
    """
    if session.second_lacks:
        return True
    return durable is not None and not durable.peer_may_be_uptodate


def _stop_now(m: Module, reason: str) -> None:
    """CloseIO, everything off, and STOP as soon as it is."""
    if m.session is not None:
        session.lose_session(m, f"{m.me} leaves ({reason})")
    session.drop_link(m, reason)
    m.mode = Mode.WAIT
    m.lost = m.question = m.outdating = m.taking = None
    m.survivor = m.io_open = False
    m.alone_since_s = None
    m.emit(actions.CloseIO())
    if m.host.state is not HostState.OFF:
        host.go_down_at_once(m)
    m.say(f"{m.name} is given up on {m.me}: {reason}.", Level.ERROR)
    m.work = Operation(Work.EVACUATE, reason, began_s=m.now_s)
