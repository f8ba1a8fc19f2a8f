"""Bugs in talking with a witness that has a memory."""

from __future__ import annotations

from typing import Any

from twinhull.core import decide, events, loss, machine, memory, resync, waiting, witness
from twinhull.core.memory import Judgement
from twinhull.core.state import Phase, Purpose

from .decisions import _tables
from .kit import Mutant

_judge, _on_written = memory.judge, witness.on_written


def _nothing_taken(_seen: Any, _replica: Any, _listed_at: Any) -> bool:
    return False


def _absent_is_fine(seen: Any, replica: Any, mine: Any) -> Judgement:
    return Judgement() if seen.record is None else _judge(seen, replica, mine)


def _listing_ignored(seen: Any, replica: Any, mine: Any) -> Judgement:
    found = _judge(seen, replica, mine)
    return Judgement() if "another replica" in found.refusal else found


def _nothing_strange(_seen: Any, _memory: Any) -> str:
    return ""


def _unknown_is_done(m: Any, event: events.WitnessWritten) -> None:
    talk = m.talk
    if talk is not None and talk.number == event.request and event.seen is None and talk.seen is not None:
        event = event._replace(done=True, seen=talk.seen)
    _on_written(m, event)


def _granted_when_read(m: Any, talk: Any, seen: Any) -> None:
    mine, question = m.record.generation, m.question
    if mine is None or question is None:
        return
    judgement = memory.judge(seen, m.record.replica_id, mine)
    if judgement.refusal:
        loss.refused_by_witness(m, judgement.refusal)
        return
    witness._granted(m, judgement.claims or question.generation, seen)


def _asked_at_once(m: Any) -> bool:
    silence_s, m.clock.silence_from_s = m.clock.silence_from_s, m.now_s - 2 * m.second_timeout_s
    apart_s, m.clock.apart_from_s = m.clock.apart_from_s, m.now_s - 2 * m.second_timeout_s
    heard_s, m.peer.heard_s = m.peer.heard_s, None
    try:
        return _may_ask(m)
    finally:
        m.clock.silence_from_s, m.clock.apart_from_s, m.peer.heard_s = silence_s, apart_s, heard_s


_may_ask = waiting.may_ask


def _green_at_once(m: Any, current: Any) -> None:
    resync._green(m, current)


def _no_round_trip(m: Any, talk: Any) -> bool:
    current = m.session
    return current is not None and (
        talk.purpose is Purpose.RESET or current.phase in (Phase.RECORDING, Phase.LISTING)
    )


def _done_before_listed(m: Any, event: events.CopyFlushedBoth) -> None:
    _copy_flushed(m, event)
    current = m.session
    if current is not None and current.phase is Phase.RECORDING and m.record.generation is not None:
        resync.listed(m, current, m.record.witness_memory)


_copy_flushed = resync.on_copy_flushed


def _nothing_is_gone(_primary: Any, _second: Any) -> bool:
    return False


MUTANTS = (
    Mutant(
        "a new disk knows of everything",
        "A node goes on over its peer's new disk, though the old one may have gone on without it.",
        ((decide, "_replica_is_gone", _nothing_is_gone),),
    ),
    Mutant(
        "what a person took is taken back",
        "A node that runs alone writes itself into the record again, though a person took that for the other one.",
        ((memory, "taken", _nothing_taken),),
    ),
    Mutant(
        "absence is a grant",
        "A witness that holds no record lets anybody go on.",
        ((memory, "judge", _absent_is_fine),),
    ),
    Mutant(
        "who is not listed goes on",
        "That the witness lists another replica alone is not looked at.",
        ((memory, "judge", _listing_ignored),),
    ),
    Mutant(
        "a restored witness is believed",
        "Another cluster, or an older revision than was seen, is taken for the witness.",
        ((memory, "strange", _nothing_strange),),
    ),
    Mutant(
        "an unknown outcome counts as done",
        "A write whose answer did not come counts as a grant.",
        ((machine, "EVENTS", _tables({events.WitnessWritten: _unknown_is_done})),),
    ),
    Mutant(
        "granted by reading alone",
        "A node goes on when the record reads well, without writing itself into it.",
        ((witness, "_BY_PURPOSE", {**witness._BY_PURPOSE, Purpose.ALONE: _granted_when_read}),),
    ),
    Mutant(
        "the witness is asked too early",
        "A node that starts asks before a whole time-out of silence.",
        ((waiting, "may_ask", _asked_at_once),),
    ),
    Mutant(
        "green before the witness lists both",
        "At a new session nothing is written to the witness.",
        ((resync, "in_step", _green_at_once),),
    ),
    Mutant(
        "both listed without a round trip",
        "Both are listed though the SECOND was not heard since the revision was read.",
        ((witness, "_heard_in_session", _no_round_trip),),
    ),
    Mutant(
        "uptodate before the witness lists both",
        "The SECOND is told that it is uptodate before the witness knows.",
        ((machine, "EVENTS", _tables({events.CopyFlushedBoth: _done_before_listed})),),
    ),
)
