"""How two nodes come to a session, and how they lose one.

On every connection both say hello; the decision table (`decide`) makes one of them PRIM, which sends Begin
on the facts of these two hellos. The other accepts only if the same facts still hold on its side. Whatever
changes a fact before that is a new hello; whatever changes one after it ends the connection.
"""

from __future__ import annotations

from typing import Any

from . import actions, alone, events, heal, host, messages, pulse
from .actions import Level
from .decide import Kind, Verdict, decide
from .identity import Id
from .memory import NOTHING_SEEN
from .messages import Message
from .record import Role, WitnessKind
from .rescue import plan_of
from .state import SHOWN, Link, Lost, Mode, Module, Phase, Session, Work

RUNNING = (Mode.ALONE, Mode.PRIM, Mode.HOLD)

# ---- connections -----------------------------------------------------------------------------------


def on_stream_up(m: Module, event: events.StreamUp) -> None:
    """A new connection replaces the old one."""
    if m.session is not None:
        lose_session(m, f"a new connection to {m.other} replaced the old one")
    elif m.link is not None:
        drop_link(m, "a new connection replaced it")
    m.link = Link(event.connection, m.now_s)


def on_stream_down(m: Module, event: events.StreamDown) -> None:
    """The session stands and falls with its connection."""
    if m.session is not None and m.session.connection == event.connection:
        lose_session(m, f"the connection to {m.other} broke ({event.reason})", close=False)
    elif m.link is not None and m.link.connection == event.connection:
        m.link = None
        m.clock.apart_from_s = m.now_s


def drop_link(m: Module, why: str) -> None:
    """Close the connection, so that both sides say hello anew."""
    if m.link is not None:
        m.emit(actions.CloseStream(m.link.connection, why))
        m.link = None
        m.clock.apart_from_s = m.now_s


def lose_session(
    m: Module, why: str, *, close: bool = True, pressed: bool = False, dead: bool = False
) -> None:
    """The session is over: a PRIM holds I/O, a SECOND has every write of it applied or dropped.

    Args:
        why: what happened, in words.
        close: the connection is closed too; otherwise it is gone, or is kept to talk on.
        pressed, dead: see `Lost`.
    """
    session = m.session
    if session is None:
        return
    m.session, m.taking, m.outdating = None, None, None
    m.clock.apart_from_s = m.now_s
    was_taken = session.phase is Phase.TAKEN
    m.lost = Lost(
        session=session.id,
        peer_process=session.peer_process,
        green=session.in_step or was_taken,
        at_s=m.now_s,
        until_s=max(m.clock.lease_until_s, session.began_s + m.timeout_s),
        why=why,
        resumable=session.in_step and m.mode is not Mode.GIVING,
        dead=dead,
        pressed=pressed,
    )
    hold = m.mode is Mode.PRIM
    if hold:
        m.mode = Mode.HOLD
        m.emit(actions.HoldIO())
    elif m.mode is Mode.GIVING:
        m.mode = Mode.SECOND
    if not m.ending:
        m.ending = True
        m.emit(actions.EndSession())
    if close:
        m.emit(actions.CloseStream(session.connection, why))
    does = "holds its writes" if hold else "is not mirrored"
    m.say(f"{m.name} {does} on {m.me}: {why}.", Level.WARNING)


def on_session_ended(m: Module, event: events.SessionEnded) -> None:
    """Every write of the old session was applied or dropped; only now may anything new begin."""
    m.ending = False
    m.marks = event.marks or m.io_open


# ---- hello -----------------------------------------------------------------------------------------


def step(m: Module) -> None:
    """Say hello when the facts are settled, and do what the table says."""
    link = m.link
    if link is None or not _settled(m):
        return
    facts = _hello(m, link.sent.number if link.sent else 0)
    if facts != link.sent:
        if link.begin is not None:
            drop_link(m, "the facts changed while the session began")
            return
        m.hellos += 1
        link.since_s = m.now_s
        link.sent = facts._replace(number=m.hellos)
        link.healing, link.verdict = False, ""
        m.emit(send=((link.connection, link.sent),))
    if link.theirs is None:
        return
    if link.offer is not None:
        _accept_offer(m, link, link.offer)
    else:
        _consider(m, link)


def _settled(m: Module) -> bool:
    """Whether what a hello would say is final: nothing ends, nothing is being turned off."""
    if m.session is not None or m.ending or m.clock.draining or m.fault or m.leaving:
        return False
    if m.work is not None and m.work.work is Work.YIELD:
        return False
    if m.mode is Mode.HOLD:
        return m.lost is None or not m.lost.pressed
    return m.mode is Mode.ALONE or host.is_off(m)


def _hello(m: Module, number: int) -> messages.Hello:
    record, lost = m.record, m.lost
    ready = m.mode in (Mode.SECOND, Mode.ASKING) and lost is not None and lost.green and record.uptodate
    return messages.Hello(
        process=m.process,
        number=number,
        replica=record.replica_id,
        peer_replica=record.peer_replica_id,
        volume=record.volume_id,
        size_bytes=m.size_bytes,
        generation=record.generation,
        uptodate=record.uptodate,
        peer_may_be_uptodate=record.peer_may_be_uptodate,
        role=record.role.name.lower(),
        state=SHOWN[m.mode],
        running=m.mode in RUNNING,
        survivor=m.survivor or ready,
        session=lost.session if lost is not None and lost.green and lost.resumable else None,
        marks=m.marks or m.io_open,
        preferred=m.settings.preferred,
        timeout_s=m.settings.timeout_s,
        write_timeout_s=m.settings.write_timeout_s,
        witness=m.settings.witness.name.lower(),
        keep=m.settings.keep.value,
        running_ms=record.running_ms if m.link is None else m.link.running_ms,
        runs_under=record.witness.name.lower(),
        heals=True,
        rescues=m.rescue_trouble == "",
        longest_s=m.settings.longest_s,
    )


def on_hello(m: Module, connection: int, hello: messages.Hello) -> None:
    """The peer says (again) what it is; within a session that means that it left the session."""
    if m.session is not None:
        lose_session(m, f"{m.other} began anew", close=False)
        m.link = Link(connection, m.now_s)
    pulse.on_hello(m, hello)
    if m.link is not None:
        m.link.theirs, m.link.since_s, m.link.news = hello, m.now_s, True
        m.link.begin = m.link.offer = None
        m.link.healing, m.link.verdict = False, ""


def verdict_of(m: Module) -> Verdict | None:
    """What the table says of the present connection, once both sides said hello."""
    link = m.link
    if link is None or link.sent is None or link.theirs is None:
        return None
    return decide(link.sent, link.theirs, me=m.me, peer=m.other)


def _consider(m: Module, link: Link) -> None:
    verdict = verdict_of(m)
    if verdict is None:
        return
    if verdict.kind is Kind.SESSION:
        if verdict.mine and link.begin is None and link.sent is not None and link.theirs is not None:
            link.begin = m.new_id()
            begin = messages.Begin(link.begin, verdict.resend, link.sent.number, link.theirs.number)
            m.emit(send=((link.connection, begin),))
        elif m.now_s >= link.since_s + m.timeout_s:
            drop_link(m, "the session did not begin in time")
    elif verdict.kind is Kind.REPLACED:
        if verdict.mine:
            alone.give_up(m, verdict.reason)
    elif m.mode in (Mode.SECOND, Mode.ASKING):
        survivor = link.sent is not None and link.sent.survivor
        alone.become_wait(m, verdict.reason, survivor=survivor)
    elif verdict.kind is not Kind.STOPPED and m.mode is not Mode.STOP:
        if link.verdict != verdict.reason:
            link.verdict = verdict.reason
            level = Level.WARNING if verdict.kind is Kind.GRANT else Level.ERROR
            m.say(f"{m.name} stays {SHOWN[m.mode]} on {m.me}: {verdict.reason}.", level)
        if verdict.heal is not None and verdict.heal.mine and m.work is None:
            heal.propose(m, verdict.heal)


def on_heal(m: Module, connection: int, message: messages.Heal) -> None:
    """The other side of a split brain goes on; looked at on the newest facts of both."""
    link, verdict = m.link, verdict_of(m)
    if link is None or link.sent is None or verdict is None:
        return
    fresh = _settled(m) and _hello(m, link.sent.number) == link.sent
    heal.on_heal(m, connection, message, verdict.heal if fresh else "its facts have just changed")


# ---- begin, accept, ready --------------------------------------------------------------------------


def on_begin(m: Module, _connection: int, begin: messages.Begin) -> None:
    """The peer becomes PRIM; looked at as soon as the facts are settled here."""
    if m.link is not None:
        m.link.offer = begin


def _accept_offer(m: Module, link: Link, begin: messages.Begin) -> None:
    """Accepted only on the newest facts of both, which give the same verdict here."""
    link.offer = None
    verdict = verdict_of(m)
    if verdict is None or link.sent is None or link.theirs is None:
        return
    if begin.yours != link.sent.number or begin.mine != link.theirs.number:
        return
    if verdict.kind not in (Kind.SESSION, Kind.GRANT) or verdict.mine or verdict.resend != begin.resend:
        drop_link(m, f"{m.other} began a session that the facts do not allow")
        return
    _become_second(m, begin.session, link.theirs, verdict)


def _become_second(m: Module, session: Id, theirs: messages.Hello, verdict: Verdict) -> None:
    link = m.link
    if link is None or theirs.generation is None:
        return
    phase = Phase.COPYING if verdict.outdates else Phase.GREEN
    why = m.record.outdated_reason or f"a copy from {m.other} is not complete"
    rescue = plan_of(m.record, theirs, verdict.reason) if verdict.outdates else None
    m.rescue = rescue.kind if rescue is not None else None
    record = m.changed(
        volume_id=theirs.volume,
        role=Role.SECONDARY,
        **_agreed_witness(m, theirs, verdict),
        saved=None,
        uptodate=m.record.uptodate and not verdict.outdates,
        outdated_reason=why if verdict.outdates else "",
    )
    m.mode = Mode.SECOND
    m.lost = m.question = m.outdating = None
    m.survivor = m.clock.slept = m.io_open = False
    m.alone_since_s = None
    m.watch_s = m.now_s + m.settings.witness_watch_s
    m.session = _new_session(m, session, link.connection, theirs, primary=False, phase=phase)
    m.link = None
    m.emit(
        actions.BeginSession(
            connection=link.connection,
            session=session,
            generation=theirs.generation,
            primary=False,
            resend=verdict.resend,
            everything=verdict.everything,
            rescue=rescue,
        ),
        persist=record,
        send=(
            (link.connection, messages.Accept(session)),
            (link.connection, messages.Ready(session, verdict.outdates)),
        ),
    )
    how = "it copies what it misses" if verdict.outdates else "it is in step"
    m.say(f"{m.name} is SECOND on {m.me}: {verdict.reason}; {how}.")


def on_accept(m: Module, connection: int, accept: messages.Accept) -> None:
    """The peer became SECOND: nothing is served before it says that it is ready."""
    link = m.link
    verdict = verdict_of(m)
    if link is None or link.begin != accept.session or verdict is None:
        return
    theirs, generation = link.theirs, m.record.generation
    if theirs is None or generation is None or link.sent is None:
        return
    if not _settled(m) or _hello(m, link.sent.number) != link.sent:
        drop_link(m, "the facts changed while the session began")
        return
    agreed = _agreed_witness(m, theirs, verdict)
    record = m.changed(role=Role.PRIMARY, **({} if verdict.witness else agreed))
    m.mode = Mode.PRIM
    m.lost = m.question = m.outdating = None
    m.survivor = m.clock.slept = m.io_open = False
    m.clock.lease_until_s = 0.0
    m.session = _new_session(m, accept.session, connection, theirs, primary=True, phase=Phase.BEGUN)
    m.session.resend = verdict.resend
    m.session.witness = WitnessKind[verdict.witness.upper()] if verdict.witness else None
    m.link = None
    m.emit(
        actions.SetLease(0.0),
        actions.BeginSession(
            connection=connection,
            session=accept.session,
            generation=generation,
            primary=True,
            resend=verdict.resend,
            everything=verdict.everything,
            serve=False,
        ),
        persist=record,
    )
    host.go_up(m)
    m.say(f"{m.name} is PRIM on {m.me}: {verdict.reason}.")


def _new_session(
    m: Module, session: Id, connection: int, theirs: messages.Hello, *, primary: bool, phase: Phase
) -> Session:
    return Session(
        id=session,
        connection=connection,
        primary=primary,
        peer_process=theirs.process,
        peer_replica=theirs.replica,
        began_s=m.now_s,
        heard_s=m.now_s,
        first_counter=m.counter + 1,
        phase=phase,
    )


def _agreed_witness(m: Module, theirs: messages.Hello, verdict: Verdict) -> dict[str, Any]:
    """The kind changes only while both are connected and are configured alike; see `Verdict.witness`."""
    mine = m.settings.witness
    kind = mine if mine.name.lower() == theirs.witness else m.record.witness
    if verdict.witness:
        kind = WitnessKind[verdict.witness.upper()]
    elif WitnessKind.ETCD in (kind, m.record.witness):
        return {}
    return (
        {"witness": kind} if kind is m.record.witness else {"witness": kind, "witness_memory": NOTHING_SEEN}
    )


# ---- which messages count ---------------------------------------------------------------------------

UNNAMED = (
    messages.Hello
    | messages.OutdateRequest
    | messages.HandOver
    | messages.HandOverAccepted
    | messages.HandOverRefused
    | messages.SwapRequest
    | messages.SwapAnswer
)
BETWEEN = (
    messages.Hello
    | messages.Begin
    | messages.Accept
    | messages.OutdateRequest
    | messages.OutdateAnswer
    | messages.Leave
    | messages.Heal
    | messages.HealAnswer
)


def concerns(m: Module, connection: int, message: Message) -> bool:
    """Whether a message belongs to the present connection, and to the session that it names."""
    session = m.session
    if session is not None and session.connection == connection:
        return isinstance(message, UNNAMED) or getattr(message, "session", None) == session.id
    if m.link is not None and m.link.connection == connection:
        return isinstance(message, BETWEEN)
    return False
