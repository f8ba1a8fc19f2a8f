"""Bugs in the state machine: who goes on, who waits, what is recorded first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from twinhull.core import (
    actions,
    alone,
    decide,
    events,
    handover,
    heal,
    host,
    loss,
    machine,
    messages,
    policy,
    pulse,
    resync,
    session,
    state,
    waiting,
)
from twinhull.core.identity import Relation
from twinhull.core.record import Role, SavedState
from twinhull.core.state import Mode, Phase, Session

from .kit import Mutant

_relation, _session, _hello, _become_second, _agree_on_times = (
    decide._relation,
    decide._session,
    session._hello,
    session._become_second,
    state.Module.agree_on_times,
)


def _take_over_anyhow(m: Any, lost: Any, why: str) -> None:
    m.mode = Mode.ASKING
    lost.why = why
    loss._asking(m)


def _go_on_outdated(m: Any) -> None:
    if m.mode is not Mode.WAIT or m.clock.draining or m.fault or not host.is_off(m) or m.ending:
        return
    if waiting.is_apart(m) and not waiting._peer_runs(m) and m.record.generation is not None:
        alone.go_alone(m, m.record.generation, f"{m.other} cannot be reached")


def _go_on_in_doubt(m: Any) -> None:
    if m.mode is not Mode.WAIT or m.clock.draining or m.fault or not host.is_off(m) or m.ending:
        return
    if m.record.uptodate and waiting.is_apart(m) and not waiting._peer_runs(m):
        alone.go_alone(m, m.record.generation, f"{m.other} cannot be reached")


def _no_sleep(m: Any) -> None:
    """A sleep is not noticed."""


def _no_drain(m: Any, now_s: float) -> None:
    clock = m.clock
    clock.last_s, clock.now_s = clock.now_s, max(now_s, clock.now_s)


def _older_is_equal(first: Any, second: Any) -> Relation:
    found = _relation(first, second)
    return Relation.EQUAL if found in (Relation.OLDER, Relation.NEWER) else found


def _split_is_older(first: Any, second: Any) -> Relation:
    found = _relation(first, second)
    if found is not Relation.DIVERGED:
        return found
    return Relation.OLDER if first.generation.id < second.generation.id else Relation.NEWER


def _never_outdated(primary: Any, second: Any, mine: bool, reason: str, *, resend: bool = False) -> Any:
    verdict = _session(primary, second, mine, reason, resend=resend)
    return dataclasses.replace(verdict, outdates=False) if second.uptodate else verdict


def _marks_denied(m: Any, number: int) -> Any:
    return _hello(m, number)._replace(marks=False)


def _outdated_not_recorded(m: Any, new: Any, theirs: Any, verdict: Any) -> None:
    _become_second(m, new, theirs, verdict)
    m.out = [
        dataclasses.replace(batch, persist=dataclasses.replace(batch.persist, uptodate=True))
        if batch.persist is not None and m.record.generation is not None
        else batch
        for batch in m.out
    ]


def _one_t(m: Any) -> None:
    _agree_on_times(m)
    m.pace_s = m.timeout_s


def _second_first(self: Any) -> float:
    return float(self.timeout_s) * 0.5


def _any_grant(m: Any, event: events.WitnessAnswer) -> None:
    if event.granted and m.mode in (Mode.HOLD, Mode.SECOND, Mode.ASKING, Mode.WAIT):
        m.question = None
        alone.go_alone(m, alone.child_generation(m), "the witness granted it")


def _older_question(m: Any, event: events.WitnessAnswer) -> None:
    if m.question is not None:
        event = event._replace(question=m.question.number)
    _on_witness_answer(m, event)


_on_witness_answer = loss.on_witness_answer


def _resumed_again(m: Any) -> None:
    saved, generation = m.record.saved, m.record.generation
    resume = saved is not None and generation is not None and saved.generation == generation.id
    m.host.resume = False
    m.emit(actions.StartResource(resume))


def _used_state_noted(m: Any, session_id: Any, *, used: bool) -> SavedState | None:
    saved, generation = m.record.saved, m.record.generation
    if saved is None or generation is None or saved.generation != generation.id:
        return None
    return SavedState(saved.generation, session_id, used)


def _done_first(m: Any, event: events.CopyFlushedBoth) -> None:
    current = resync._as_primary(m, Phase.FLUSHING)
    generation = m.record.generation
    if current is None or event.epoch != m.epoch or generation is None:
        return
    current.phase = Phase.CONFIRMING
    m.emit(send=((current.connection, messages.Done(current.id, generation)),))
    m.emit(persist=m.changed(peer_may_be_uptodate=True, peer_replica_id=current.peer_replica))


def _ready_before_recorded(m: Any, new: Any, theirs: Any, verdict: Any) -> None:
    before = len(m.out)
    _become_second(m, new, theirs, verdict)
    for batch in m.out[before:]:
        if batch.persist is not None and batch.send:
            at = m.out.index(batch)
            m.out[at : at + 1] = [actions.Batch(send=batch.send), dataclasses.replace(batch, send=())]


def _given_before_recorded(m: Any, op: Any, current: Any) -> None:
    before = len(m.out)
    _give(m, op, current)
    batch = m.out[before]
    m.out[before : before + 1] = [
        actions.Batch(send=batch.send),
        actions.Batch(persist=batch.persist, apply=batch.apply),
    ]


_give = handover._give


def _taken_without_echo(m: Any) -> None:
    current = m.session
    if current is None or m.mode is not Mode.PRIM or current.phase is not Phase.TAKEN:
        return
    current.phase = Phase.GREEN
    m.io_open = True
    m.clock.lease_until_s = m.now_s + 5 * m.timeout_s
    m.emit(actions.SetLease(m.clock.lease_until_s), actions.ServeIO())
    host.go_up(m)


def _taken_back(m: Any) -> None:
    """The giver does not wait for the taker's answer: when the session is lost it goes on as PRIM."""
    _lose(m)


def _lose(m: Any) -> None:
    if m.mode is Mode.SECOND and m.session is None and m.lost is not None and m.work is not None:
        op = m.work
        if op.taken is not None:
            m.mode = Mode.HOLD
            m.emit(persist=m.changed(role=Role.PRIMARY))
            host.go_up(m)
    _handover_step(m)


_handover_step = handover.step


def _gives_up_running(m: Any, why: str) -> None:
    """It WAITs, and forgets to turn the resource off and to fail its requests."""
    m.mode = Mode.WAIT
    m.lost = m.question = m.outdating = m.taking = None
    m.survivor = m.clock.slept = False
    m.say(f"{m.name} waits on {m.me}: {why}.")


def _tables(change: Mapping[type, Any]) -> Any:
    return {**machine.EVENTS, **change}


def _steps(old: Any, new: Any) -> Any:
    return tuple(new if step is old else step for step in machine.STEPS)


def _proposed_once(m: Any, choice: Any) -> None:
    if m.link is not None and not m.link.heal_s:
        _propose(m, choice)


_propose = heal.propose

MUTANTS = (
    Mutant(
        "a late sign of life counts",
        "In a session, too, the sign of life of any process that was never seen is taken for the peer's.",
        ((pulse, "_is_late", lambda _m, _event: False),),
    ),
    Mutant(
        "the lease lasts as long as the longer T",
        "A PRIM answers for the longer T, though a new worker of the other node knows the shorter one alone.",
        ((state.Module, "agree_on_times", _one_t),),
    ),
    Mutant(
        "promoted while resyncing",
        "A SECOND takes over whether its copy is complete or not.",
        ((loss, "_take_over", _take_over_anyhow),),
    ),
    Mutant(
        "promoted though outdated",
        "A node that waits goes on alone although its record says that it is not uptodate.",
        ((machine, "STEPS", _steps(waiting.step, _go_on_outdated)),),
    ),
    Mutant(
        "started alone in doubt",
        "A node that waits goes on alone although its peer may be uptodate.",
        ((machine, "STEPS", _steps(waiting.step, _go_on_in_doubt)),),
    ),
    Mutant(
        "no re-asking after a pause",
        "A node that slept does not know it.",
        ((pulse, "_slept", _no_sleep),),
    ),
    Mutant(
        "timer fires before what arrived is read",
        "A waking node counts the silence of its own sleep, before it has read what came.",
        ((pulse, "on_time", _no_drain),),
    ),
    Mutant(
        "old generation accepted",
        "An older history counts as equal.",
        ((decide, "_relation", _older_is_equal),),
    ),
    Mutant(
        "split brain healed by itself",
        "Of two diverged histories one is taken for older and overwritten, without a person.",
        ((decide, "_relation", _split_is_older),),
    ),
    Mutant(
        "nothing to copy",
        "A returning SECOND that is uptodate is taken to be in step.",
        ((decide, "_session", _never_outdated),),
    ),
    Mutant(
        "marks denied",
        "A node never tells that something is marked on it.",
        ((session, "_hello", _marks_denied), (resync, "_refuse_marks", lambda _m, _current: None)),
    ),
    Mutant(
        "outdated not recorded",
        "A SECOND with something to copy does not record itself not uptodate.",
        ((session, "_become_second", _outdated_not_recorded),),
    ),
    Mutant(
        "the SECOND acts first",
        "A SECOND counts less silence than the PRIM.",
        ((state.Module, "second_timeout_s", property(_second_first)),),
    ),
    Mutant(
        "an abandoned question's grant used",
        "A grant is acted on though nobody waits for it any more.",
        ((machine, "EVENTS", _tables({events.WitnessAnswer: _any_grant})),),
    ),
    Mutant(
        "witness answer of an older question used",
        "The answer to an older question counts for the present one.",
        ((machine, "EVENTS", _tables({events.WitnessAnswer: _older_question})),),
    ),
    Mutant(
        "saved state resumed twice",
        "That a saved state was resumed is not recorded.",
        ((host, "_start", _resumed_again),),
    ),
    Mutant(
        "used state handed over",
        "A module is handed over with a state that its VM was resumed from.",
        ((host, "note_saved", _used_state_noted),),
    ),
    Mutant(
        'uptodate before "peer may be uptodate"',
        "The SECOND is told to record itself uptodate before the PRIM recorded that it may be.",
        ((machine, "EVENTS", _tables({events.CopyFlushedBoth: _done_first})),),
    ),
    Mutant(
        "served before the SECOND is ready",
        "The SECOND says that it is ready before its record, that it is not uptodate, is durable.",
        ((session, "_become_second", _ready_before_recorded),),
    ),
    Mutant(
        "handed over before it is recorded",
        'The giver offers the resource before its record says "not primary".',
        ((handover, "_give", _given_before_recorded),),
    ),
    Mutant(
        "taken without an echo",
        "The taker of a hand-over serves before the giver is heard in the new session.",
        ((machine, "STEPS", _steps(handover.first_echo, _taken_without_echo)),),
    ),
    Mutant(
        "taken back without a refusal",
        "The giver of a hand-over goes on as PRIM when the session is lost.",
        ((machine, "STEPS", _steps(handover.step, _taken_back)),),
    ),
    Mutant(
        "the only whole replica is given up",
        "A record that fails at the end of a resync makes the PRIM leave, as if the SECOND were whole.",
        (
            (policy, "_is_only_whole", lambda _session, _durable: False),
            (Session, "second_whole", property(lambda _session: True)),
        ),
    ),
    Mutant(
        "given up, but not off",
        "A PRIM that must wait leaves its resource running and its requests open.",
        ((loss, "give_up", _gives_up_running), (alone, "give_up", _gives_up_running)),
    ),
    Mutant(
        "asked to give way only once",
        "A side that was busy when it should give way after a split brain is never asked again.",
        ((heal, "propose", _proposed_once),),
    ),
)
