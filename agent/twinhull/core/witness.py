"""Talking with a witness that has a memory (DESIGN.md section 3, "Witness").

One talk at a time, for the most urgent purpose; each is: read, judge, write conditional on the revision that was
read. Only a write that is known to have succeeded counts. After any other answer (refused by the revision, no answer,
an outcome that is not known) the record is read again and judged again, so that a request of ours that did land is
found, and written once more, before anything is done upon it. A talk whose purpose is gone is abandoned: answers are
told apart by number, and whatever lands late changes the revision, on which every later write is conditional.
"""

from __future__ import annotations

from . import actions, alone, events, loss, memory, resync, work
from .actions import Level
from .identity import Generation, Id
from .memory import Seen, WitnessRecord
from .state import Mode, Module, Phase, Purpose, Session, Talk, TalkStep, Work

RETRY_S = 0.25
"""Pause before a question that must be answered soon is asked again."""


def step(m: Module) -> None:
    """Abandon a talk whose purpose is gone, begin the one that the facts call for, take it on."""
    if m.clock.draining:
        return
    if m.reset and m.mode not in RESETS:
        _refuse_reset(m, f"{m.name} does not run on {m.me} any more; nothing was changed.")
    purpose = _purpose(m)
    if m.talk is not None and (purpose is not m.talk.purpose or not _concerns(m, m.talk)):
        m.talk = None
    if purpose is None:
        return
    if m.talk is None:
        m.talk = _begin(m, purpose)
        _read(m, m.talk)
        return
    talk = m.talk
    if talk.step is TalkStep.PAUSED and m.now_s >= talk.retry_s:
        _read(m, talk)
    elif talk.step is TalkStep.ROUND_TRIP and _heard_in_session(m, talk):
        _list(m, talk)
    elif talk.step in (TalkStep.READING, TalkStep.WRITING) and m.now_s >= talk.sent_s + talk.timeout_s + 1.0:
        _no_answer(m, talk, "no answer")


def _purpose(m: Module) -> Purpose | None:
    if m.question is not None and m.witness_remembers:
        return Purpose.ALONE
    if m.override is not None:
        return Purpose.TAKE
    if not m.witness_remembers or (m.fault and m.mode is not Mode.ALONE):
        return None
    if m.reset:
        return Purpose.RESET
    current = m.session if m.mode is Mode.PRIM else None
    if current is not None and current.phase in LISTING:
        return Purpose.LIST
    if m.mode is Mode.ALONE and m.owes_update:
        return Purpose.UPDATE
    return Purpose.WATCH if _watches(m) and m.now_s >= m.watch_s else None


RESETS = (Mode.ALONE, Mode.PRIM)
SECOND_MAY_START = (Phase.CONFIRMING, Phase.LISTING, Phase.GREEN)
LISTING = (Phase.REVISION, Phase.FLUSHING, Phase.RECORDING, Phase.LISTING)


def _watches(m: Module) -> bool:
    if m.mode is Mode.ALONE:
        return True
    return m.session is not None and m.session.green and m.mode in (Mode.PRIM, Mode.SECOND)


def _concerns(m: Module, talk: Talk) -> bool:
    """Whether the talk is still about the same question, the same session."""
    if talk.purpose is Purpose.ALONE:
        return m.question is not None and m.question.number == talk.question
    if talk.purpose is Purpose.LIST:
        return m.session is not None and m.session.id == talk.session
    if talk.purpose is Purpose.RESET:
        return (m.session.id if m.session is not None else None) == talk.session
    return True


def _begin(m: Module, purpose: Purpose) -> Talk:
    return Talk(
        purpose=purpose,
        began_s=m.now_s,
        question=m.question.number if m.question is not None else 0,
        session=m.session.id if m.session is not None else None,
    )


# ---- requests ----------------------------------------------------------------------------------------


def _number(m: Module, talk: Talk, step: TalkStep) -> None:
    m.requests += 1
    talk.number, talk.step, talk.sent_s = m.requests, step, m.now_s
    talk.timeout_s = m.settings.witness_timeout_s
    if talk.purpose is Purpose.ALONE and m.question is not None:
        left_s = m.question.asked_s + m.settings.witness_timeout_s - m.now_s
        talk.timeout_s = max(0.1, min(left_s, m.settings.witness_timeout_s / 2))


def _read(m: Module, talk: Talk) -> None:
    _number(m, talk, TalkStep.READING)
    m.emit(actions.ReadWitness(talk.number, talk.timeout_s, talk.purpose is Purpose.ALONE))


def _write(m: Module, talk: Talk, generation: Generation, may_start: tuple[Id, ...]) -> None:
    """Conditional on the revision that was read (0: that there is no such key)."""
    seen = talk.seen
    if seen is None:
        return
    _number(m, talk, TalkStep.WRITING)
    talk.writes = generation
    parent = generation.parents[0] if generation.parents else None
    by_person = talk.purpose in (Purpose.TAKE, Purpose.RESET) or (
        talk.purpose is Purpose.UPDATE and m.by_person
    )
    record = WitnessRecord(generation.id, parent, tuple(sorted(may_start)), m.new_id(), m.me, by_person)
    urgent = talk.purpose is Purpose.ALONE
    m.emit(actions.WriteWitness(talk.number, seen.key_revision, record, talk.timeout_s, urgent))


def _pause(m: Module, talk: Talk, pause_s: float) -> None:
    talk.step, talk.retry_s = TalkStep.PAUSED, m.now_s + pause_s


# ---- answers -----------------------------------------------------------------------------------------


def on_read(m: Module, event: events.WitnessRead) -> None:
    """The record as it is; judged for the purpose of the talk."""
    talk = _answered(m, event.request, TalkStep.READING)
    if talk is None:
        return
    if event.seen is None:
        _no_answer(m, talk, event.detail)
        return
    _judge(m, talk, event.seen)


def on_written(m: Module, event: events.WitnessWritten) -> None:
    """Done, not done (the revision had moved), or not known: only the first one counts."""
    talk = _answered(m, event.request, TalkStep.WRITING)
    if talk is None:
        return
    if event.done and event.seen is not None:
        _succeeded(m, talk, event.seen)
    elif event.seen is None:
        _no_answer(m, talk, event.detail)
    else:
        _read(m, talk)


def _answered(m: Module, request: int, step: TalkStep) -> Talk | None:
    """The talk whose present request this answers. What a sleeper is told before it looked around is asked anew."""
    talk = m.talk
    if talk is None or talk.number != request or talk.step is not step or not _concerns(m, talk):
        return None
    if m.clock.draining:
        _pause(m, talk, 0.0)
        return None
    return talk


def _no_answer(m: Module, talk: Talk, detail: str) -> None:
    m.witness_trouble = f"the witness cannot be asked ({detail})"
    if talk.purpose in (Purpose.TAKE, Purpose.RESET) and m.now_s >= (
        talk.began_s + m.settings.witness_timeout_s
    ):
        _give_command_up(m, talk)
    elif talk.purpose is Purpose.WATCH:
        _watched(m)
    else:
        urgent = talk.purpose in (Purpose.ALONE, Purpose.TAKE, Purpose.RESET)
        _pause(m, talk, RETRY_S if urgent else m.settings.witness_retry_s)


def _give_command_up(m: Module, talk: Talk) -> None:
    why = f"{m.witness_trouble}; nothing was changed. Repair it or the way to it, then try again."
    if talk.purpose is Purpose.TAKE and m.override is not None and m.override.without_witness:
        m.talk = None
        work.override_taken(m, None)
        return
    if talk.purpose is Purpose.TAKE:
        m.override = None
        if talk.writes is not None:
            why = (
                f"{m.witness_trouble}. It may list {m.me} alone all the same, and {m.other} gives way then; see "
                "twinhull witness show, and try again."
            )
        m.reply("start", False, f"{m.name} was not started on {m.me}: {why}")
    else:
        _refuse_reset(m, f"The witness of {m.name} was not reset on {m.me}: {why}")
    m.talk = None


def _refuse_reset(m: Module, sentence: str) -> None:
    m.reset = False
    m.reply("witness-reset", False, sentence)


def _judge(m: Module, talk: Talk, seen: Seen) -> None:
    talk.seen = seen
    foreign = memory.strange(seen, m.record.witness_memory)
    m.witness_trouble = foreign
    if foreign and talk.purpose not in (Purpose.TAKE, Purpose.RESET):
        if talk.purpose is Purpose.ALONE:
            loss.refused_by_witness(m, foreign)
        elif talk.purpose is Purpose.WATCH:
            _watched(m)
        else:
            m.say_once(f"{m.name} on {m.me}: {foreign}.", Level.ERROR)
            _pause(m, talk, m.settings.witness_retry_s)
        return
    _BY_PURPOSE[talk.purpose](m, talk, seen)


def _judge_alone(m: Module, talk: Talk, seen: Seen) -> None:
    mine, question = m.record.generation, m.question
    if mine is None or question is None:
        return
    judgement = memory.judge(seen, m.record.replica_id, mine)
    if judgement.refusal:
        loss.refused_by_witness(m, judgement.refusal)
        return
    _write(m, talk, judgement.claims or question.generation, (m.record.replica_id,))


def _judge_take(m: Module, talk: Talk, _seen: Seen) -> None:
    if m.override is not None:
        _write(m, talk, m.override.generation, (m.record.replica_id,))


def _judge_list(m: Module, talk: Talk, _seen: Seen) -> None:
    """A round trip with the SECOND in this session, begun after the revision was read, comes first."""
    current = m.session
    if current is None:
        return
    talk.step, talk.counter = TalkStep.ROUND_TRIP, m.counter
    if current.phase is Phase.REVISION:
        resync.flush_both(m, current)


def _judge_reset(m: Module, talk: Talk, _seen: Seen) -> None:
    """A PRIM proves first that its SECOND is with it; alone there is nobody to ask."""
    if m.mode is Mode.PRIM:
        talk.step, talk.counter = TalkStep.ROUND_TRIP, m.counter
    elif m.record.generation is not None:
        _write(m, talk, m.record.generation, (m.record.replica_id,))


def _judge_update(m: Module, talk: Talk, seen: Seen) -> None:
    mine = m.record.generation
    if mine is None or _gives_way(m, seen, None):
        return
    if seen.record is not None and seen.record.says(mine, (m.record.replica_id,)):
        _updated(m, seen)
    else:
        _write(m, talk, mine, (m.record.replica_id,))


def _judge_watch(m: Module, _talk: Talk, seen: Seen) -> None:
    """Whether the record would let the right one go on; a PRIM or a node alone mends it."""
    mine, current = m.record.generation, m.session
    _watched(m)
    if mine is None:
        return
    if m.mode is Mode.ALONE:
        if _gives_way(m, seen, m.record.witness_memory.key_revision):
            return
        m.owes_update = seen.record is None or not seen.record.says(mine, (m.record.replica_id,))
        return
    if current is None:
        return
    fits = seen.record is not None and seen.record.says(mine, (m.record.replica_id, current.peer_replica))
    if fits:
        _remember(m, seen)
    elif m.mode is Mode.PRIM:
        m.say(f"{m.name}: the witness's record is not the one of {m.me} any more; it is written anew.")
        current.phase = Phase.LISTING
    else:
        m.witness_trouble = f"the witness does not list {m.me} and {m.other} at present"


def _gives_way(m: Module, seen: Seen, listed_at: int | None) -> bool:
    """ALONE: a person took the record for the other node, which may run the module by now, so this one is turned off.

    The record says from then on that the other replica may be uptodate: this one does not start again on its own word.
    """
    if not memory.taken(seen, m.record.replica_id, listed_at):
        return False
    _watched(m)
    m.owes_update = False
    if m.leaving or (m.work is not None and m.work.work is Work.YIELD):
        return True
    work.end(m, False, f"{m.name} is given up on {m.me}: a person started it on {m.other}.")
    m.ending = True
    alone.give_up(m, f"the witness lists {m.other} alone, because a person started {m.name} there by name")
    m.emit(actions.EndSession(), persist=m.changed(peer_may_be_uptodate=True))
    m.emit(actions.Say(f"{m.name} gave way on {m.me} to {m.other}: a person started it there by name.",
                       Level.WARNING, True))  # fmt: skip
    return True


_BY_PURPOSE = {
    Purpose.ALONE: _judge_alone,
    Purpose.TAKE: _judge_take,
    Purpose.LIST: _judge_list,
    Purpose.RESET: _judge_reset,
    Purpose.UPDATE: _judge_update,
    Purpose.WATCH: _judge_watch,
}


def _heard_in_session(m: Module, talk: Talk) -> bool:
    """The SECOND echoed, in this session, what was sent after the revision was read."""
    current = m.session
    if current is None or current.echo <= talk.counter:
        return False
    return talk.purpose is Purpose.RESET or current.phase in (Phase.RECORDING, Phase.LISTING)


def _list(m: Module, talk: Talk) -> None:
    """Both; a reset lists the PRIM alone as long as its SECOND misses something."""
    current, generation = m.session, m.record.generation
    if current is None or generation is None:
        return
    both = talk.purpose is Purpose.LIST or current.phase in SECOND_MAY_START
    replicas = (m.record.replica_id, current.peer_replica) if both else (m.record.replica_id,)
    _write(m, talk, generation, replicas)


# ---- what a write that succeeded means ---------------------------------------------------------------


def _succeeded(m: Module, talk: Talk, seen: Seen) -> None:
    m.witness_trouble = ""
    m.watch_s = m.now_s + m.settings.witness_watch_s
    if talk.purpose is Purpose.ALONE and talk.writes is not None:
        _granted(m, talk.writes, seen)
    elif talk.purpose is Purpose.TAKE and talk.writes is not None:
        m.talk = None
        work.override_taken(m, memory.remember(seen))
    elif talk.purpose is Purpose.UPDATE:
        _updated(m, seen)
    elif talk.purpose is Purpose.LIST and m.session is not None:
        _listed(m, m.session, seen)
    elif talk.purpose is Purpose.RESET:
        _reset(m, seen)


def _granted(m: Module, generation: Generation, seen: Seen) -> None:
    why = loss.reason_to_ask(m)
    m.talk = m.question = None
    alone.go_alone(m, generation, f"{why} and the witness lists {m.me} alone", granted=memory.remember(seen))


def _updated(m: Module, seen: Seen) -> None:
    m.talk, m.owes_update = None, False
    m.watch_s = m.now_s + m.settings.witness_watch_s
    m.emit(persist=m.changed(witness_memory=memory.remember(seen)))
    m.say(f"{m.name}: the witness lists {m.me} alone.")


def _listed(m: Module, current: Session, seen: Seen) -> None:
    """The SECOND is told what was seen, so that it knows the witness again when the PRIM is gone."""
    m.talk, m.owes_update = None, False
    resync.listed(m, current, memory.remember(seen))


def _reset(m: Module, seen: Seen) -> None:
    current = m.session
    m.talk, m.reset = None, False
    seen_now = memory.remember(seen)
    if current is not None and current.phase in SECOND_MAY_START:
        resync.listed(m, current, seen_now)
    else:
        m.owes_update = m.owes_update and m.mode is not Mode.ALONE
        m.emit(persist=m.changed(witness_memory=seen_now))
    m.emit(
        actions.Say(f"witness reset of {m.name} on {m.me}: its record was written anew.", Level.WARNING, True)
    )
    m.reply("witness-reset", True, f"The witness holds {m.name} as it is on {m.me} now.")


def _remember(m: Module, seen: Seen) -> None:
    """Kept durably when the key was written since; looks alone wear no disk."""
    known = m.record.witness_memory
    if seen.cluster != known.cluster or seen.key_revision > known.key_revision:
        m.emit(persist=m.changed(witness_memory=memory.remember(seen)))


def _watched(m: Module) -> None:
    m.talk = None
    m.watch_s = m.now_s + m.settings.witness_watch_s


# ---- a person ----------------------------------------------------------------------------------------


def on_reset(m: Module, _: events.WitnessReset) -> None:
    """A person says that the witness that is there now is the right one. Only where the module runs."""
    refusal = ""
    if not m.witness_remembers:
        refusal = f"{m.name} has no witness with a memory on {m.me}."
    elif m.mode not in RESETS:
        refusal = f"{m.name} does not run on {m.me}; reset its witness on the node that runs it."
    elif m.reset:
        refusal = f"The witness of {m.name} is being reset on {m.me} already."
    if refusal:
        m.reply("witness-reset", False, refusal)
    else:
        m.reset = True
        m.say(f"The witness of {m.name} is reset on {m.me}: a person asked for it.", Level.WARNING)
