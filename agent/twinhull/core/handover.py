"""Hand-over: the resource is stopped, both disks are flushed, the giver records "not primary", the taker
records PRIM, and runs nothing before its first echo in the new session.

The giver takes back only on the taker's refusal (a leave is one), else the rules of loss hold for it. It
may not leave before the taker's answer, and counts the SECOND's time while it waits.
"""

from __future__ import annotations

import dataclasses

from . import actions, events, heal, host, messages, session, work
from .actions import Level
from .identity import Id
from .record import Role, SavedState
from .state import HostState, Mode, Module, Operation, Phase, Session, Stage, Work

HANDS_OVER = (Work.SWAP, Work.STOPSTART, Work.FAILOVER, Work.LEAVE)


def step(m: Module) -> None:
    """Take the operation under way as far as the facts allow."""
    op = m.work
    if op is None:
        work.go_home(m)
    elif op.work is Work.RESTART:
        _restart(m)
    elif op.work is Work.ASK_SWAP:
        _asked(m)
    elif op.work is Work.EVACUATE:
        _evacuate(m, op)
    elif op.work is Work.YIELD:
        heal.step(m, op)
    elif op.stage is Stage.RESOURCE:
        _resource(m, op)
    elif op.stage is Stage.QUIESCE:
        _lost_before_given(m, op)
    else:
        _lost_after_given(m, op)


# ---- the stages ------------------------------------------------------------------------------------


def _resource(m: Module, op: Operation) -> None:
    """The resource is stopped and the folder detached; gently or not."""
    if op.work is not Work.LEAVE and not m.green_primary:
        _lost_before_given(m, op)
        return
    trouble = m.host.stop_error or m.host.detach_error
    if trouble and m.host.up:
        if op.gentle:
            m.host.stop_error = m.host.detach_error = ""
            work.abandon(m, f"the guest did not stop or its folder is held ({trouble})")
            return
        m.say(f"{m.name} did not stop on {m.me} ({trouble}); it is turned off.", Level.WARNING)
        host.go_down_at_once(m)
    if not host.is_off(m):
        return
    if m.mode is Mode.ALONE or (m.green_primary and m.leased and not m.clock.slept):
        op.stage, op.alone = Stage.QUIESCE, m.mode is Mode.ALONE
        m.emit(actions.Quiesce())
    elif op.work is Work.LEAVE and not m.green_primary:
        _leave(m, op)


def on_quiesced(m: Module, _: events.Quiesced) -> None:
    """Nothing is in flight and both disks are flushed: hand over, or stop."""
    op = m.work
    if op is None or op.stage is not Stage.QUIESCE:
        return
    if op.work is Work.YIELD:
        heal.given_way(m, op)
        return
    if m.mode is Mode.ALONE:
        m.emit(actions.CloseIO())
        work.stopped(m)
    elif m.green_primary and m.leased and not m.clock.slept and m.session is not None:
        _give(m, op, m.session)
    else:
        op.stage = Stage.RESOURCE


def _give(m: Module, op: Operation, current: Session) -> None:
    """Record "not primary" first, then hand over."""
    new = m.new_id()
    op.stage, op.taken = Stage.GIVEN, new
    saved = host.note_saved(m, new, used=True)
    offer = messages.HandOver(new, saved is not None, op.reason)
    m.mode = Mode.GIVING
    m.emit(
        actions.HoldIO(),
        persist=m.changed(role=Role.SECONDARY, saved=saved),
        send=((current.connection, offer),),
    )
    m.say(f"{m.name} is offered to {m.other}: {op.reason}.")


def on_accepted(m: Module, _connection: int, accepted: messages.HandOverAccepted) -> None:
    """The taker recorded PRIM: the old session ends here too."""
    op = m.work
    if m.mode is Mode.GIVING and op is not None and op.taken == accepted.session and op.stage is Stage.GIVEN:
        op.stage = Stage.SWITCH
        m.ending = True
        m.emit(actions.EndSession())


def on_refused(m: Module, _connection: int, refused: messages.HandOverRefused) -> None:
    """The taker will not: the only answer on which the giver takes back."""
    op = m.work
    if m.mode is not Mode.GIVING or op is None or op.taken != refused.session or op.stage is not Stage.GIVEN:
        return
    m.mode = Mode.PRIM
    m.host.resume = m.record.saved is not None
    m.emit(actions.ServeIO(), persist=m.changed(role=Role.PRIMARY))
    if op.work is Work.LEAVE or op.then_stop:
        m.say(
            f"{m.other} refused {m.name}: {refused.reason}; it is stopped on {m.me} all the same.",
            Level.WARNING,
        )
        op.work, op.stage = Work.LEAVE, Stage.RESOURCE
        session.lose_session(m, f"{m.other} refused to take over ({refused.reason})")
        return
    work.abandon(m, f"{m.other} refused ({refused.reason})")


def on_session_ended(m: Module, event: events.SessionEnded) -> None:
    """The end of a session, or the switch to the next one of a hand-over."""
    session.on_session_ended(m, event)
    current, op = m.session, m.work
    if current is None:
        return
    if m.mode is Mode.GIVING and op is not None and op.stage is Stage.SWITCH and op.taken is not None:
        _given(m, op, current, op.taken)
    elif m.taking is not None and m.mode is Mode.SECOND:
        _take(m, current, m.taking)


def _given(m: Module, op: Operation, current: Session, new: Id) -> None:
    """The giver is SECOND in the new session, in step."""
    m.mode, m.io_open, m.marks = Mode.SECOND, False, False
    _switch(m, current, new, primary=False, phase=Phase.GREEN)
    m.say(f"{m.name} is SECOND on {m.me}: it was handed over to {m.other}, nothing has to be copied.")
    then_stop = op.then_stop or op.work is Work.LEAVE
    if then_stop:
        op.work, op.stage = Work.LEAVE, Stage.RESOURCE
        return
    work.end(m, True, f"{m.name} was handed over to {m.other}.")


def _switch(m: Module, current: Session, new: Id, *, primary: bool, phase: Phase) -> None:
    generation = m.record.generation
    if generation is None:
        return
    m.clock.lease_until_s = 0.0
    m.session = dataclasses.replace(
        current,
        id=new,
        primary=primary,
        began_s=m.now_s,
        heard_s=m.now_s,
        first_counter=m.counter + 1,
        phase=phase,
        resend=False,
        handed_over=True,
        left_bytes=None,
        echoed=False,
    )
    m.emit(
        actions.SetLease(0.0),
        actions.BeginSession(current.connection, new, generation, primary, serve=False),
    )


# ---- taking ----------------------------------------------------------------------------------------


def on_hand_over(m: Module, connection: int, offer: messages.HandOver) -> None:
    """Take the resource, unless this node is not green or is leaving."""
    current = m.session
    if current is None or m.mode is not Mode.SECOND or m.ending:
        return
    refusal = ""
    if not current.green or not m.record.uptodate:
        refusal = f"{m.me} is not in step"
    elif m.fault:
        refusal = f"the disk of {m.me} failed"
    if refusal:
        m.emit(send=((connection, messages.HandOverRefused(offer.session, refusal)),))
        m.say(f"{m.name} is not taken over by {m.me}: {refusal}.", Level.WARNING)
        return
    m.taking, m.ending = offer, True
    m.emit(actions.EndSession())


def _take(m: Module, current: Session, offer: messages.HandOver) -> None:
    """Record PRIM, then answer; attach and start nothing before the first echo."""
    generation = m.record.generation
    if generation is None:
        return
    saved = SavedState(generation.id, offer.session) if offer.saved else None
    m.taking = None
    m.mode, m.io_open, m.return_due = Mode.PRIM, False, False
    m.emit(
        persist=m.changed(role=Role.PRIMARY, saved=saved),
        send=((current.connection, messages.HandOverAccepted(offer.session)),),
    )
    _switch(m, current, offer.session, primary=True, phase=Phase.TAKEN)
    m.say(f"{m.name} is PRIM on {m.me}: {m.other} handed it over ({offer.reason}).")


def first_echo(m: Module) -> None:
    """The giver hears the taker in the new session: now I/O is served and the resource started."""
    current = m.session
    if current is None or m.mode is not Mode.PRIM or current.phase is not Phase.TAKEN or not current.echoed:
        return
    current.phase = Phase.LISTING if m.witness_remembers else Phase.GREEN
    m.io_open = True
    m.emit(actions.ServeIO())
    if not m.leaving:
        host.go_up(m)


def _asked(m: Module) -> None:
    """SECOND that asked for a swap: it is done when it is PRIM, off when the session is."""
    if m.mode is Mode.PRIM and m.session is not None and m.session.in_step:
        work.end(m, True, f"{m.name} was handed over to {m.me}.")
    elif m.session is None:
        work.end(m, False, f"The connection to {m.other} was lost while {m.name} was to be swapped.")


# ---- when the session is lost meanwhile ------------------------------------------------------------


def _lost_before_given(m: Module, op: Operation) -> None:
    """Nothing was offered yet: a stop goes on as what it can, all else is given up.

    The end of a session drops the wish to quiesce: a node that became ALONE meanwhile wishes again.
    """
    if m.green_primary or (op.work is Work.LEAVE and m.mode is Mode.ALONE and op.alone):
        return
    if op.work is Work.LEAVE:
        op.stage = Stage.RESOURCE
        return
    why = f"{m.other} is not ready to take over any more"
    m.say(f"{m.name} is not handed over: {why}.", Level.WARNING)
    work.end(m, False, f"{m.name} was not handed over: {why}.")
    if m.mode in (Mode.PRIM, Mode.HOLD, Mode.ALONE):
        host.go_up(m)


def _lost_after_given(m: Module, op: Operation) -> None:
    """The offer is out: the rules of loss decide, whatever the operation wanted."""
    if m.mode is Mode.GIVING:
        return
    if op.work is Work.LEAVE or op.then_stop:
        op.work, op.stage = Work.LEAVE, Stage.RESOURCE
        work.begin_down(m, op)
        return
    work.end(m, False, f"The connection to {m.other} was lost while {m.name} was handed over.")


# ---- leaving, restarting, evacuating ---------------------------------------------------------------


def _leave(m: Module, op: Operation) -> None:
    """STOP from every state but a green PRIM and ALONE."""
    if m.mode is Mode.GIVING or (m.mode is Mode.PRIM and m.session is not None and not m.session.echoed):
        return
    if m.mode is Mode.SECOND and m.session is not None:
        work.leave_as_second(m, op.reason)
    elif m.session is not None:
        session.lose_session(m, f"{m.name} is stopped on {m.me}")
    if m.ending:
        return
    m.emit(actions.CloseIO())
    work.stopped(m)


def _restart(m: Module) -> None:
    """A restart in place is over when the resource runs again, or cannot."""
    if m.mode is Mode.HOLD:
        return
    if not host.may_run(m):
        work.end(m, False, f"{m.name} does not run on {m.me} any more.")
    elif m.host.state is HostState.RUNNING and not m.host.cycle:
        work.end(m, True, f"The resource of {m.name} was restarted on {m.me}.")
    elif m.host.last_error and m.host.state in (HostState.ATTACHED, HostState.OFF):
        work.end(m, False, f"The resource of {m.name} did not start on {m.me}: {m.host.last_error}.")


def _evacuate(m: Module, op: Operation) -> None:
    """The disk failed under a PRIM: resource off, then say so, so that the SECOND need not wait.

    This replica is given up only for a SECOND that is whole. One that was told at the end of a copy that it is says so
    in a moment; or it never was told, because the record that goes before could not be made durable.
    """
    if m.host.state not in (HostState.ATTACHED, HostState.DETACHING, HostState.OFF):
        return
    current = m.session
    if current is not None and current.phase is Phase.CONFIRMING:
        return
    if current is not None:
        m.emit(send=((current.connection, messages.Gone(current.id, op.reason)),))
        session.lose_session(m, f"{m.me} gave the module up ({op.reason})")
    whole = current.second_whole if current is not None else m.lost is not None and m.lost.green
    if whole and m.record.uptodate and m.record.peer_may_be_uptodate:
        # What was acknowledged may not have reached this disk: the other replica must lead.
        m.emit(persist=m.changed(uptodate=False, outdated_reason=op.reason))
    m.mode, m.lost = Mode.WAIT, None
    if host.is_off(m):
        work.stopped(m)
