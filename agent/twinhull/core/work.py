"""What an operator, a checker or a rule sets going: start, stop, restart, swap, fail over.

One operation at a time. Each is a row of stages; `handover` takes it through them, this file begins
and ends it.
"""

from __future__ import annotations

import dataclasses

from . import actions, alone, events, host, messages, session
from .actions import Level
from .identity import MAX_PARENTS, Generation, Id
from .memory import WitnessMemory
from .record import Role, WitnessKind
from .settings import Return, StopMode
from .state import SHOWN, HostState, Mode, Module, Operation, Override, Work

RUNS = ("ALONE", "PRIM")

# ---- start -----------------------------------------------------------------------------------------


def on_start(m: Module, event: events.Start) -> None:
    """Start by the rules, or, by name, against them."""
    if m.fault:
        m.reply("start", False, f"{m.name} cannot start on {m.me}: {m.fault}")
    elif event.as_primary:
        _override(m, event.without_witness)
    elif m.mode is not Mode.STOP:
        m.reply("start", True, f"{m.name} is started on {m.me} already: it is {SHOWN[m.mode]}.")
    elif not host.is_off(m):
        m.reply("start", False, f"{m.name} is still being stopped on {m.me}; try again when it is STOP.")
    else:
        m.mode = Mode.WAIT
        m.clock.silence_from_s = m.clock.apart_from_s = m.now_s
        m.say(f"{m.name} was started on {m.me}; it looks for {m.other}.")
        m.reply("start", True, f"{m.name} is starting on {m.me}.")


def _override(m: Module, without_witness: bool) -> None:
    """A person says by name that this replica is the right one: a new generation begins."""
    refusal = _override_refusal(m)
    if refusal:
        m.reply("start", False, refusal)
        return
    theirs = m.link.theirs if m.link is not None else None
    mine, new = m.record.generation, m.new_id()
    generation = mine.child(new) if mine is not None else Generation(new)
    if mine is not None and theirs is not None and theirs.generation is not None:
        generation = Generation(new, _both_parents(mine, theirs.generation))
    kind = m.settings.witness if mine is None else m.record.witness
    m.override = Override(generation, mine, without_witness)
    if kind is WitnessKind.ETCD:
        m.say(f"{m.name}: {m.me} takes the record of the witness, because a person starts it by name.")
    else:
        override_taken(m, None)


def override_taken(m: Module, granted: WitnessMemory | None) -> None:
    """Go on by the order of a person, once the witness's record was taken (if there is one with a memory)."""
    override, m.override = m.override, None
    refusal = _override_refusal(m)
    if override is None or override.base != m.record.generation:
        refusal = refusal or f"{m.name} changed on {m.me} meanwhile; look at its status and try again."
    if override is None or refusal:
        m.reply("start", False, refusal)
        return
    first, outdated = override.base is None, not m.record.uptodate
    m.record = dataclasses.replace(
        m.record,
        volume_id=m.record.volume_id or m.new_id(),
        witness=m.settings.witness if first else m.record.witness,
        role=Role.NONE,
    )
    what = "begins its first history" if first else "begins a new history by the order of a person"
    doubt = ", although it was not uptodate" if outdated and not first else ""
    if granted is None and m.witness_remembers:
        doubt += ", without the witness, which cannot be asked"
    alone.go_alone(m, override.generation, f"{m.me} {what}{doubt}", granted=granted)
    m.by_person = True
    m.emit(actions.Say(f"start --as-primary of {m.name} on {m.me}{doubt}.", Level.WARNING, audit=True))
    m.reply("start", True, f"{m.name} starts on {m.me} as primary.")


def _both_parents(mine: Generation, theirs: Generation) -> tuple[Id, ...]:
    """Parents of a history that a person chose over the peer's: the peer's counts as older from now on."""
    known = (mine.id, theirs.id, *mine.parents, *theirs.parents)
    return tuple(dict.fromkeys(known))[:MAX_PARENTS]


def _override_refusal(m: Module) -> str:
    if m.work is not None:
        return f"{m.name} is busy on {m.me} ({m.work.work.value})."
    if m.fault:
        return f"{m.name} cannot start on {m.me}: {m.fault}"
    if m.override is not None:
        return f"{m.name} is being started on {m.me} already; the witness is asked."
    if m.mode not in (Mode.STOP, Mode.WAIT, Mode.ALONE):
        return f"{m.name} is {SHOWN[m.mode]} on {m.me}; stop it first."
    if m.mode is not Mode.ALONE and (not host.is_off(m) or m.ending):
        return f"{m.name} is still being stopped on {m.me}; try again in a moment."
    theirs = m.link.theirs if m.link is not None else None
    heard_running = m.silent_s < m.timeout_s and m.peer.heard_s is not None and m.peer.state in RUNS
    if heard_running or (theirs is not None and theirs.running):
        return f"{m.other} answers and runs {m.name}; stop it there first."
    if m.record.blank and theirs is not None and theirs.generation is not None:
        return f"{m.name} is blank on {m.me} and {m.other} holds its data; start it there."
    return ""


# ---- stop, restart, swap ---------------------------------------------------------------------------


def on_stop(m: Module, event: events.Stop) -> None:
    """Stop on this node; a PRIM hands over first."""
    if m.override is not None:
        m.override = None
        m.reply("start", False, f"{m.name} is not started on {m.me}: it was stopped meanwhile.")
    if m.mode is Mode.STOP:
        m.reply("stop", True, f"{m.name} is stopped on {m.me}.")
        return
    if m.work is not None and m.work.work is Work.LEAVE:
        m.work.forced = m.work.forced or event.forced
        m.reply("stop", False, f"{m.name} is being stopped on {m.me} already.")
        begin_down(m, m.work)
        return
    if m.work is not None and m.work.work is Work.EVACUATE:
        m.reply("stop", True, f"{m.name} is being given up on {m.me} already.")
        return
    given = m.mode is Mode.GIVING
    if m.work is not None and given:
        m.work.then_stop = True
        end(m, False, f"{m.name} is being stopped on {m.me}.", keep=True)
        m.work.command = "stop"
        return
    end(m, False, f"{m.name} is being stopped on {m.me}.")
    begin(m, Operation(Work.LEAVE, event.reason, "stop", forced=event.forced))


def on_restart(m: Module, _: events.Restart) -> None:
    """Stop and start the resource where it runs."""
    if m.work is not None:
        m.reply("restart", False, f"{m.name} is busy on {m.me} ({m.work.work.value}).")
    elif m.host.state is not HostState.RUNNING or not host.may_run(m):
        m.reply("restart", False, f"The resource of {m.name} does not run on {m.me}.")
    else:
        m.work = Operation(Work.RESTART, "a person restarts it", "restart", began_s=m.now_s)
        host.restart_in_place(m, mode=m.settings.stop_mode, timeout_s=m.settings.stop_timeout_s)
        m.say(f"The resource of {m.name} restarts on {m.me}: a person restarts it.")


def on_stopstart(m: Module, _: events.StopStart) -> None:
    """Move the module to the peer, whatever the guest says to being stopped."""
    if m.work is not None:
        m.reply("stopstart", False, f"{m.name} is busy on {m.me} ({m.work.work.value}).")
    elif m.green_primary:
        begin(m, Operation(Work.STOPSTART, "a person moves it", "stopstart"))
    elif host.may_run(m) and m.host.state is HostState.RUNNING:
        m.work = Operation(Work.RESTART, "a person restarts it", "stopstart", began_s=m.now_s)
        host.restart_in_place(m, mode=m.settings.stop_mode, timeout_s=m.settings.stop_timeout_s)
        m.say(f"The resource of {m.name} restarts on {m.me}: {m.other} is not ready to take over.")
    else:
        m.reply("stopstart", False, f"{m.name} does not run on {m.me}.")


def on_swap(m: Module, event: events.Swap) -> None:
    """Exchange the roles; on the SECOND the PRIM is asked."""
    refusal = swap_refusal(m)
    current = m.session
    if not refusal and m.mode is Mode.SECOND and current is not None:
        m.work = Operation(Work.ASK_SWAP, "a person swaps", "swap", mode=event.mode, began_s=m.now_s)
        m.emit(send=((current.connection, messages.SwapRequest(event.mode.value)),))
        m.say(f"{m.name}: {m.me} asks {m.other} to hand over.")
    elif refusal:
        m.reply("swap", False, refusal)
    else:
        begin(m, Operation(Work.SWAP, "a person swaps", "swap", gentle=True, mode=event.mode))


def swap_refusal(m: Module) -> str:
    """Why no swap can begin now; empty if it can."""
    if m.work is not None:
        return f"{m.name} is busy on {m.me} ({m.work.work.value})."
    if m.green_primary or (m.mode is Mode.SECOND and m.session is not None and m.session.green):
        return ""
    return f"{m.name} is not PRIM on one node and SECOND, green, on the other; nothing was swapped."


def on_swap_request(m: Module, _connection: int, request: messages.SwapRequest) -> None:
    """The operator's swap came in on the SECOND."""
    refusal = swap_refusal(m) or ("" if m.green_primary else f"{m.me} is not PRIM.")
    if not refusal and request.mode in {mode.value for mode in StopMode}:
        work = Operation(Work.SWAP, f"{m.other} asked for a swap", gentle=True, for_peer=True)
        work.mode = StopMode(request.mode)
        begin(m, work)
    elif m.session is not None:
        answer = messages.SwapAnswer(False, refusal or f"{request.mode[:20]!r} is no way to stop.")
        m.emit(send=((m.session.connection, answer),))


def on_swap_answer(m: Module, _connection: int, answer: messages.SwapAnswer) -> None:
    """The PRIM did not hand over."""
    if m.work is not None and m.work.work is Work.ASK_SWAP and not answer.ok:
        m.say(f"{m.name} is not swapped: {answer.reason}", Level.WARNING)
        end(m, False, answer.reason)


def on_abandon(m: Module, _: events.Abandon) -> None:
    """Give up a swap that still waits for the guest."""
    work = m.work
    if (
        work is None
        or not work.gentle
        or m.host.state is HostState.DETACHING
        or work.stage.value != "resource"
    ):
        m.reply("abandon", False, f"No swap of {m.name} waits for its guest on {m.me}.")
        return
    abandon(m, "a person abandoned it")
    m.reply("abandon", True, f"The swap of {m.name} is abandoned; it runs on on {m.me}.")


def on_window(m: Module, event: events.WindowOpen) -> None:
    """The maintenance window for going home."""
    m.window_open = event.open


def on_checkers_suspended(m: Module, event: events.CheckersSuspended) -> None:
    """A person suspended or resumed the checkers."""
    if m.checkers_suspended != event.suspended:
        m.checkers_suspended = event.suspended
        state = "suspended" if event.suspended else "at work again"
        m.say(f"The checkers of {m.name} are {state} on {m.me}.", audit=True)


# ---- begin and end ---------------------------------------------------------------------------------


def begin(m: Module, work: Operation) -> None:
    """Set an operation going; `handover.step` takes it through its stages."""
    work.began_s = m.now_s
    m.work = work
    what = {
        Work.SWAP: f"{m.name} is handed over from {m.me} to {m.other}",
        Work.STOPSTART: f"{m.name} is moved from {m.me} to {m.other}",
        Work.FAILOVER: f"{m.name} fails over from {m.me} to {m.other}",
        Work.LEAVE: f"{m.name} is stopped on {m.me}",
        Work.EVACUATE: f"{m.name} is given up on {m.me}",
    }[work.work]
    m.say(f"{what}: {work.reason}.")
    begin_down(m, work)


def begin_down(m: Module, work: Operation) -> None:
    """Stop and detach what runs here, in the way that suits the operation."""
    if m.mode in (Mode.GIVING, Mode.SECOND, Mode.ASKING):
        return
    at_once = work.work in (Work.FAILOVER, Work.EVACUATE) or m.mode is Mode.HOLD
    if at_once or (work.forced and m.settings.forced_stop_mode is StopMode.OFF):
        host.go_down_at_once(m)
    elif work.work is Work.SWAP:
        host.go_down(m, mode=work.mode, timeout_s=m.settings.stop_timeout_s)
    elif work.forced:
        host.go_down(m, mode=m.settings.forced_stop_mode, timeout_s=m.settings.stop_timeout_s)
    else:
        host.go_down(m, mode=m.settings.stop_mode, timeout_s=m.settings.stop_timeout_s)


def end(m: Module, ok: bool, sentence: str, *, keep: bool = False) -> None:
    """The operation is over: whoever waits for it is answered. `keep`: it goes on for somebody else."""
    work = m.work
    if work is None:
        return
    m.reply(work.command, ok, sentence)
    work.command = ""
    if work.for_peer and not ok and m.session is not None and m.mode is Mode.PRIM:
        m.emit(send=((m.session.connection, messages.SwapAnswer(False, sentence)),))
    work.for_peer = False
    if not keep:
        m.work = None


def abandon(m: Module, why: str) -> None:
    """A swap is given up and the resource runs (again) here."""
    m.return_due = False
    m.say(f"The swap of {m.name} is abandoned: {why}; it runs on on {m.me}.", Level.WARNING)
    end(m, False, f"The swap was abandoned: {why}; {m.name} runs on on {m.me}.")
    host.go_up(m)


def go_home(m: Module) -> None:
    """Return to the preferred node after a reintegration, where that is configured."""
    settings = m.settings
    if not m.return_due or not m.green_primary or m.work is not None or settings.preferred != m.other:
        return
    if m.host.state is not HostState.RUNNING or m.host.cycle:
        return
    if settings.give_back is Return.AT_ONCE or (settings.give_back is Return.WINDOW and m.window_open):
        m.return_due = False
        reason = f"{m.other} is the preferred node and is ready again"
        begin(m, Operation(Work.SWAP, reason, gentle=True, mode=settings.stop_mode))


def stopped(m: Module) -> None:
    """The module is STOP on this node."""
    m.mode = Mode.STOP
    m.lost = m.question = m.outdating = None
    m.survivor = m.io_open = False
    m.alone_since_s = None
    why = f": {m.work.reason}" if m.work is not None else ""
    m.say(f"{m.name} is stopped on {m.me}{why}.")
    end(m, True, f"{m.name} is stopped on {m.me}.")


def leave_as_second(m: Module, reason: str) -> None:
    """Record outdated, then say so: the PRIM need not wait for a time-out (valid only if durable)."""
    current = m.session
    if current is None:
        return
    record = m.changed(uptodate=False, outdated_reason=m.record.outdated_reason or f"it left ({reason})")
    m.emit(persist=record, send=((current.connection, messages.Leave(current.id, reason)),))
    session.lose_session(m, f"{m.me} left ({reason})")
    m.lost = None
