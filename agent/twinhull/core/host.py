"""The host side: folder and resource follow a goal, one request at a time.

Up: attach, start. Down: stop, detach; urgently: off and forced, overtaking what is under way. What may not
run (I/O not served here) is never started.
"""

from __future__ import annotations

import dataclasses

from . import actions, events
from .actions import Level
from .identity import Id
from .record import SavedState
from .settings import StopMode
from .state import HostState, Mode, Module

State = HostState


def go_up(m: Module) -> None:
    """The resource is to run here, as soon as I/O is served."""
    host = m.host
    host.up, host.urgent, host.off_sent, host.force_sent = True, False, False, False
    host.stop_error = host.detach_error = ""


def go_down(m: Module, *, mode: StopMode, timeout_s: float, urgent: bool = False) -> None:
    """Resource and folder are to be off here. `urgent`: at once, whoever loses by it."""
    host = m.host
    host.up, host.cycle, host.retry_s, host.stop_error, host.detach_error = False, False, 0.0, "", ""
    host.mode, host.timeout_s = (StopMode.OFF, 0.0) if urgent else (mode, timeout_s)
    host.urgent, host.off_sent, host.force_sent = urgent, False, False


def go_down_at_once(m: Module) -> None:
    """Off, and the folder taken away from whoever holds it."""
    go_down(m, mode=StopMode.OFF, timeout_s=0.0, urgent=True)


def restart_in_place(m: Module, *, mode: StopMode, timeout_s: float) -> None:
    """Stop and start the resource, the folder staying where it is."""
    m.host.cycle, m.host.mode, m.host.timeout_s = True, mode, timeout_s


def may_run(m: Module) -> bool:
    """Whether I/O is served here, so that something may run on it. A PRIM that slept proves first that it is PRIM."""
    if m.clock.draining:
        return False
    if m.mode is Mode.ALONE:
        return True
    return m.mode is Mode.PRIM and m.io_open and m.session is not None and m.leased and not m.clock.slept


def is_off(m: Module) -> bool:
    """Nothing of the module is on this host any more."""
    return m.host.state is State.OFF and m.host.detaches == 0


def step(m: Module) -> None:
    """Ask the host for the next thing, if anything is to be asked."""
    host = m.host
    if host.urgent and not host.up:
        _down_at_once(m)
    elif m.now_s < host.retry_s:
        return
    elif host.up and may_run(m):
        _up(m)
    elif not host.up:
        _down(m)


def _up(m: Module) -> None:
    host = m.host
    if host.state is State.OFF and host.detaches == 0:
        host.state = State.ATTACHING
        first = m.record.generation is not None and not m.record.generation.parents
        m.emit(actions.Attach(make=first))
    elif host.state is State.ATTACHED and not (host.died and m.checkers_suspended):
        host.state, host.died, host.cycle = State.STARTING, False, False
        _start(m)
    elif host.state is State.RUNNING and host.cycle:
        host.state = State.STOPPING
        m.emit(actions.StopResource(host.mode, host.timeout_s))


def _start(m: Module) -> None:
    saved = _resumable(m)
    m.host.resume = False
    used = dataclasses.replace(saved, used=True) if saved is not None else None
    m.emit(actions.StartResource(saved is not None), persist=m.changed(saved=used))


def _resumable(m: Module) -> SavedState | None:
    """The state of the VM that lies in the folder, belongs to this history and was not resumed; None if there is none."""
    saved, generation = m.record.saved, m.record.generation
    if saved is None or generation is None or saved.generation != generation.id:
        return None
    return saved if m.host.resume or not saved.used else None


def _down(m: Module) -> None:
    host = m.host
    if host.state is State.RUNNING:
        host.state = State.STOPPING
        m.emit(actions.StopResource(host.mode, host.timeout_s))
    elif host.state is State.ATTACHED:
        _detach(m, forced=False)


def _down_at_once(m: Module) -> None:
    host = m.host
    if host.state in (State.ATTACHING, State.STARTING, State.RUNNING, State.STOPPING):
        if not host.off_sent:
            host.state, host.off_sent = State.STOPPING, True
            m.emit(actions.StopResource(StopMode.OFF, 0.0))
        elif host.stop_error and m.now_s >= host.retry_s:
            host.stop_error = ""
            m.emit(actions.StopResource(StopMode.OFF, 0.0))
    elif host.state is State.ATTACHED or (host.state is State.DETACHING and not host.force_sent):
        host.force_sent = True
        _detach(m, forced=True)
    elif host.state is State.DETACHING and host.detach_error and m.now_s >= host.retry_s:
        host.detach_error = ""
        _detach(m, forced=True)


def _detach(m: Module, *, forced: bool) -> None:
    m.host.state = State.DETACHING
    m.host.detaches += 1
    m.emit(actions.Detach(forced))


def ask_anew(m: Module) -> None:
    """What was asked of the host may have been dropped with a record that did not become durable."""
    if m.host.state is State.DETACHING:
        m.host.state, m.host.detaches = State.ATTACHED, 0
    if m.host.state is not State.OFF:
        go_down_at_once(m)


def note_saved(m: Module, session: Id, *, used: bool) -> SavedState | None:
    """The saved state of the VM as the record is to carry it; None if there is none."""
    saved = _resumable(m)
    return None if saved is None else SavedState(saved.generation, session, used)


def arm_checkers(m: Module) -> None:
    """Checkers run while the resource runs undisturbed and nobody suspended them."""
    host = m.host
    armed = (
        host.state is State.RUNNING
        and host.up
        and not host.cycle
        and not host.suspended
        and not m.checkers_suspended
        and may_run(m)
    )
    if armed != host.armed:
        host.armed = armed
        m.emit(actions.ArmCheckers(armed))


def suspend_resource(m: Module) -> None:
    """A VM whose I/O is held past T rests, so that its own time-outs do not run."""
    if m.host.state is State.RUNNING and not m.host.suspended:
        m.host.suspended = True
        m.emit(actions.SuspendResource())


def resume_resource(m: Module) -> None:
    """I/O is served again."""
    if m.host.suspended:
        m.host.suspended = False
        m.emit(actions.ResumeResource())


# ---- answers of the host ---------------------------------------------------------------------------


def on_attached(m: Module, _: events.Attached) -> None:
    """The folder is there."""
    if m.host.state is State.ATTACHING:
        m.host.state = State.ATTACHED


def on_started(m: Module, _: events.ResourceStarted) -> None:
    """The resource runs."""
    host = m.host
    if host.state is not State.STARTING:
        return
    host.state, host.last_error = State.RUNNING, ""
    if host.up:
        m.say(f"The resource of {m.name} runs on {m.me}.")


def on_stopped(m: Module, event: events.ResourceStopped) -> None:
    """Nothing of the resource writes any more."""
    host = m.host
    if host.state is State.STOPPING:
        host.state, host.stop_error, host.suspended = State.ATTACHED, "", False
        if event.saved and m.record.generation is not None:
            session = m.session.id if m.session is not None else m.process
            m.emit(persist=m.changed(saved=SavedState(m.record.generation.id, session)))


def on_stop_failed(m: Module, event: events.ResourceStopFailed) -> None:
    """It still runs. Gently: it runs on, and whoever asked decides; otherwise it is turned off."""
    host = m.host
    if host.state is not State.STOPPING:
        return
    host.stop_error = event.reason
    if host.urgent and not host.up:
        host.retry_s = m.now_s + m.timeout_s
        m.say(
            f"The resource of {m.name} cannot be turned off on {m.me}: {event.reason}; tried again every "
            f"{m.timeout_s:g} s. Turn it off by hand if this goes on.",
            Level.ERROR,
        )
        return
    if host.cycle:
        m.say(
            f"The resource of {m.name} on {m.me} did not stop ({event.reason}); it is turned off.",
            Level.WARNING,
        )
        m.emit(actions.StopResource(StopMode.OFF, 0.0))
        return
    host.state = State.RUNNING
    host.up = True


def on_detached(m: Module, _: events.Detached) -> None:
    """Folder and device are gone."""
    host = m.host
    host.detaches = max(0, host.detaches - 1)
    if host.state is State.DETACHING and host.detaches == 0:
        host.state, host.detach_error = State.OFF, ""


def on_detach_failed(m: Module, event: events.DetachFailed) -> None:
    """Somebody holds the folder. Gently: whoever asked decides; urgently: tried again."""
    host = m.host
    host.detaches = max(0, host.detaches - 1)
    if host.state is not State.DETACHING or host.detaches:
        return
    host.detach_error = event.reason
    if host.urgent and not host.up:
        host.retry_s = m.now_s + m.timeout_s
        m.say(
            f"The folder of {m.name} cannot be freed on {m.me}: {event.reason}; tried again every "
            f"{m.timeout_s:g} s. End what holds it.",
            Level.ERROR,
        )
        return
    host.state = State.ATTACHED
    host.up = True
