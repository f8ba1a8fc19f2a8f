"""WAIT: who may go on from there, unasked or asked, and what a person is told meanwhile."""

from __future__ import annotations

from . import host, loss, witness
from .alone import go_alone
from .decide import Kind
from .identity import Relation
from .session import verdict_of
from .state import Mode, Module, Phase

RUNS = ("ALONE", "PRIM")


def step(m: Module) -> None:
    """Go alone if the record allows it; ask a stopped peer to record itself outdated."""
    if m.mode is not Mode.WAIT or m.clock.draining:
        return
    if m.witness_remembers and not may_ask(m):
        m.question = None
    if m.fault or not host.is_off(m) or m.ending or not m.record.uptodate:
        return
    stopped = peer_is_stopped(m)
    if not m.record.peer_may_be_uptodate:
        if stopped:
            go_alone(m, m.record.generation, f"{m.other} is stopped, and {m.me} was alone before")
        elif is_apart(m) and not _peer_runs(m):
            go_alone(m, m.record.generation, f"{m.other} cannot be reached, and {m.me} was alone before")
    elif may_ask(m):
        loss.ask_again(m)
    elif stopped and _peer_is_older(m):
        theirs = m.link.theirs if m.link is not None else None
        if theirs is not None:
            loss.press(m, theirs.process, None)


def may_ask(m: Module) -> bool:
    """Whether this node may ask a witness with a memory: after a whole T and T/10 of silence, not earlier.

    By then the lease of a PRIM that is still there has run out, so that it acts first or not at all. Where the peer
    has a new disk, there is none.
    """
    return (
        m.witness_remembers
        and m.record.uptodate
        and m.record.peer_may_be_uptodate
        and not m.leaving
        and not m.fault
        and not m.ending
        and host.is_off(m)
        and (_meets_a_new_disk(m) or (is_apart(m) and m.silent_s >= m.second_timeout_s))
        and m.override is None
    )


def _meets_a_new_disk(m: Module) -> bool:
    """Whether the peer is there with another replica than the one before, so that only the witness can tell."""
    verdict = verdict_of(m)
    if verdict is None:
        return False
    return (verdict.kind is Kind.GRANT and verdict.mine) or (
        verdict.kind is Kind.STOPPED and not verdict.mine and loss.meets_a_new_replica(m)
    )


def peer_is_stopped(m: Module) -> bool:
    """Whether the peer is connected and its module is stopped."""
    verdict = verdict_of(m)
    return verdict is not None and verdict.kind is Kind.STOPPED and not verdict.mine


def is_apart(m: Module) -> bool:
    """No connection for a whole T and T/10, counted from the start of this process at the earliest."""
    from_s = max(m.clock.apart_from_s, m.clock.silence_from_s)
    return m.link is None and not m.deaf and m.now_s - from_s >= m.second_timeout_s


def _peer_runs(m: Module) -> bool:
    return m.silent_s < m.timeout_s and m.peer.state in RUNS


def _peer_is_older(m: Module) -> bool:
    theirs = m.link.theirs if m.link is not None else None
    if theirs is None or m.record.generation is None:
        return False
    if theirs.generation is None:
        return True
    return theirs.generation.relation(m.record.generation) in (Relation.EQUAL, Relation.OLDER)


def waits_for(m: Module) -> str:
    """Who or what a module that waits waits for; empty when it does not wait."""
    if m.mode is Mode.HOLD:
        return "the answer of the witness" if m.question else f"{m.other}, or the end of the time-out"
    if m.mode is Mode.ASKING:
        return "the answer of the witness" if m.question else "the end of the last session"
    if m.mode is Mode.SECOND and m.session is None:
        return f"{m.other}, or the end of the time-out"
    if m.mode is Mode.PRIM and m.session is not None and m.session.phase in witness.LISTING:
        return f"the witness to list {m.me} and {m.other}" if m.session.phase is not Phase.FLUSHING else ""
    if m.override is not None:
        return "the witness, whose record is being taken"
    if m.mode is not Mode.WAIT:
        return ""
    if not host.is_off(m):
        return f"the resource and the folder to be off on {m.me}"
    if m.fault:
        return "a person"
    verdict = verdict_of(m)
    if verdict is not None and verdict.kind is Kind.SESSION:
        return f"{m.other} to begin" if not verdict.mine else f"{m.other} to accept"
    if verdict is not None and verdict.kind is Kind.GRANT:
        if not verdict.mine:
            return f"{m.other}, which asks the witness first"
        return (
            f"the witness to list {m.me} ({m.witness_trouble or 'asked again and again'}); start --as-primary on "
            f"{m.me} if what the old disk of {m.other} held is lost"
        )
    if verdict is not None and verdict.kind is Kind.STOPPED and m.record.uptodate and _peer_is_older(m):
        return f"{m.other} to record itself outdated"
    if verdict is not None and verdict.heal is not None:
        return f"{m.other} to give way" if verdict.heal.mine else f"{m.other}, to which it gives way"
    if verdict is not None:
        return (
            f"a person: {verdict.reason}" if verdict.kind is not Kind.STOPPED else f"{m.other} to be started"
        )
    if m.link is not None:
        return f"{m.other} to answer"
    if m.deaf:
        return f"the agent of {m.me}, without which {m.other} cannot be heard"
    if not is_apart(m):
        return f"{m.other} to be heard"
    if may_ask(m):
        return (
            f"{m.other}, or for the witness to list {m.me} ({m.witness_trouble or 'asked again and again'})"
        )
    if m.record.uptodate:
        return (
            f"{m.other}, which cannot be reached and may hold newer data (start --as-primary if it is lost)"
        )
    return f"{m.other}, because {m.me} is not uptodate ({m.record.outdated_reason})"
