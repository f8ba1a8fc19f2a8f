"""Signs of life: heartbeats, the lease of a PRIM, silence, and a clock that jumped.

The PRIM counts T from the SENDING of its last echoed heartbeat, the SECOND from receipt plus T/10, so that
the PRIM acts first. After a gap in our own time, earlier silence is no evidence (promise 8).
"""

from __future__ import annotations

from typing import NamedTuple

from . import actions, events
from .identity import Id
from .messages import Hello
from .state import SHOWN, Mode, Module, Peer

KEPT_RETIRED = 8


class HeartbeatOut(NamedTuple):
    """The sign of life to send now, over the stream and through the agent alike."""

    process: Id
    counter: int
    echo_process: Id | None
    echo: int
    session: Id | None
    state: str


def beat(m: Module, now_s: float) -> HeartbeatOut:
    """The next sign of life; its counter moves and the time of its sending is remembered."""
    m.counter += 1
    m.sent_s[m.counter] = now_s
    _forget_sent(m, now_s - 4 * m.timeout_s)
    peer = m.peer
    session = m.session.id if m.session else None
    return HeartbeatOut(m.process, m.counter, peer.process, max(peer.counter, 0), session, shown_state(m))


def _forget_sent(m: Module, before_s: float) -> None:
    """The signs of life stand in the order of their sending: only the oldest ones are looked at."""
    sent_s = m.sent_s
    while sent_s[oldest := next(iter(sent_s))] < before_s:
        del sent_s[oldest]


def shown_state(m: Module) -> str:
    """The state that the peer is told.

    A node whose resource is not confirmed off yet says WAIT at most, never STOP: STOP means that nothing
    of it can write or run any more.
    """
    return SHOWN[m.mode]


def on_heartbeat(m: Module, event: events.Heartbeat) -> None:
    """A sign of life: ends silence; within the session it renews the lease."""
    if event.process == m.process or not _current(m, event):
        return
    peer = m.peer
    peer.counter, peer.state, peer.session, peer.heard_s = event.counter, event.state, event.session, m.now_s
    peer.beat_s = m.now_s
    sent_s = m.sent_s.get(event.echo) if event.echo_process == m.process else None
    if sent_s is not None and event.echo >= peer.echo:
        peer.echo, peer.echo_sent_s = event.echo, sent_s
    session = m.session
    if session is None or event.session != session.id or event.process != session.peer_process:
        return
    session.heard_s = m.now_s
    if sent_s is None or event.echo < session.first_counter:
        return
    if event.echo >= m.clock.wake_counter:
        m.clock.slept = False
    session.echoed = True
    session.echo = max(session.echo, event.echo)
    # In the shorter T: a process of the peer that has just begun may know no longer one.
    until_s = sent_s + m.pace_s
    if session.primary and until_s > m.clock.lease_until_s:
        m.clock.lease_until_s = until_s
        m.emit(actions.SetLease(until_s))


def on_heard(m: Module, _: events.Heard) -> None:
    """A data frame of the session: ends silence, renews no lease."""
    if m.session is not None:
        m.session.heard_s = m.peer.heard_s = m.now_s


def on_hello(m: Module, hello: Hello) -> None:
    """A hello is a sign of life of the process it names."""
    if hello.process != m.peer.process:
        _new_process(m, hello.process)
    m.peer.heard_s = m.now_s
    m.peer.state = hello.state
    m.peer.timeout_s, m.peer.longest_s = hello.timeout_s, hello.longest_s
    m.agree_on_times()


def on_peer_agent(m: Module, event: events.PeerAgentHeard) -> None:
    """The peer's agent is no sign of life of its worker; it is told to people only."""
    m.peer.agent_heard_s, m.peer.worker_runs = m.now_s, event.worker


def on_agent_link(m: Module, event: events.AgentLink) -> None:
    """Without an agent and without a stream this node is deaf."""
    m.agent_up = event.up


def _current(m: Module, event: events.Heartbeat) -> bool:
    """Whether this is news: a moving counter of the process that lives, or a process never seen."""
    if event.process == m.peer.process:
        return event.counter > m.peer.counter
    if event.process in m.peer.retired or _is_late(m, event):
        return False
    _new_process(m, event.process)
    return True


def _is_late(m: Module, event: events.Heartbeat) -> bool:
    """Whether it may be of a process that ended before this one began, and was long under way.

    Only where the peer's process is known from talking with it: a node that has not met its peer yet takes any sign of
    life for one. A process that came after the known one hears us, and says so.
    """
    talked = m.session is not None or m.lost is not None or (m.link is not None and m.link.theirs is not None)
    return talked and event.echo_process != m.process


def _new_process(m: Module, process: Id) -> None:
    old = m.peer
    retired = old.retired if old.process is None else [*old.retired[-KEPT_RETIRED:], old.process]
    m.peer = Peer(
        process=process,
        retired=retired,
        agent_heard_s=old.agent_heard_s,
        timeout_s=old.timeout_s,
        longest_s=old.longest_s,
    )


# ---- our own clock ---------------------------------------------------------------------------------


def on_time(m: Module, now_s: float) -> None:
    """Called before every event: notices that this process slept, or that it is deaf."""
    clock = m.clock
    clock.last_s, clock.now_s = clock.now_s, max(now_s, clock.now_s)
    if clock.now_s - clock.last_s > m.timeout_s / 4:
        _note_sleep(m)
        clock.draining = True
        clock.token += 1
        clock.wake_counter = m.counter + 1
        m.emit(actions.DrainInput(clock.token))
    elif m.deaf:
        _note_sleep(m)
    else:
        return
    clock.silence_from_s = clock.apart_from_s = clock.now_s


def on_drained(m: Module, event: events.InputDrained) -> None:
    """All that arrived while this node slept was handed over: count silence from here."""
    if event.token == m.clock.token:
        m.clock.draining = False
        m.clock.silence_from_s = m.clock.apart_from_s = m.now_s


def _note_sleep(m: Module) -> None:
    """Whether what was missed is long enough for the peer to have gone on without this node."""
    if m.mode in (Mode.PRIM, Mode.HOLD) and not m.leased:
        _slept(m)
    heard_s = m.peer.heard_s if m.peer.heard_s is not None else m.clock.silence_from_s
    if m.mode in (Mode.SECOND, Mode.ASKING, Mode.GIVING) and m.now_s - heard_s >= m.timeout_s:
        _slept(m)


def _slept(m: Module) -> None:
    if not m.clock.slept:
        m.clock.slept = True
        m.clock.wake_counter = m.counter + 1
