"""From the begin of a session to green: what the SECOND misses is copied, in an order that loses nothing.

The SECOND records itself not uptodate before the PRIM completes anything; the PRIM then records "peer not
uptodate". At the end: both flush; the PRIM records "peer may be uptodate"; (a witness with a memory lists
both;) the SECOND records generation, uptodate and "peer may be uptodate" in one write; green.
"""

from __future__ import annotations

from typing import Any

from . import actions, events, host, messages, session
from .memory import NOTHING_SEEN, WitnessMemory
from .state import Mode, Module, Phase, Session


def _as_primary(m: Module, *phases: Phase) -> Session | None:
    """The present session, if this node is PRIM in it and it is in one of these phases."""
    current = m.session
    if current is None or m.mode is not Mode.PRIM or current.phase not in phases:
        return None
    return current


def on_ready(m: Module, _connection: int, ready: messages.Ready) -> None:
    """The SECOND recorded what it had to: I/O may be served."""
    current = _as_primary(m, Phase.BEGUN)
    if current is None:
        return
    record = m.changed(peer_may_be_uptodate=not ready.outdated, **_new_witness(m, current, ready))
    m.io_open = True
    m.emit(actions.ServeIO(), persist=record)
    host.resume_resource(m)
    if not ready.outdated:
        in_step(m, current)
        _refuse_marks(m, current)
        return
    current.phase = Phase.COPYING
    if m.alone_since_s is None:
        m.alone_since_s = m.now_s
    _start_copy(m, current)


def _new_witness(m: Module, current: Session, ready: messages.Ready) -> dict[str, Any]:
    """The kind of witness changes to or from one with a memory only while the SECOND is recorded outdated.

    Then it cannot start, and this node needs no witness to go on alone: neither is misled by the old kind.
    """
    if not ready.outdated or current.witness is None or current.witness is m.record.witness:
        return {}
    return {"witness": current.witness, "witness_memory": NOTHING_SEEN}


def on_marks_complete(m: Module, event: events.PeerMarksComplete) -> None:
    """The union of both nodes' marks is known (promise 3)."""
    current = _as_primary(m, Phase.BEGUN, Phase.COPYING, Phase.LISTING, Phase.GREEN)
    if current is None:
        return
    current.left_bytes = event.left_bytes
    if current.phase is Phase.COPYING:
        _start_copy(m, current)
    elif current.in_step:
        _refuse_marks(m, current)


def _refuse_marks(m: Module, current: Session) -> None:
    """Both said that nothing is marked, and something is: begin anew, and copy it."""
    if current.left_bytes and not current.resend and not current.handed_over:
        session.lose_session(m, f"{current.left_bytes} bytes are marked that were not told of")
        if m.lost is not None:
            m.lost.resumable = False


def _start_copy(m: Module, current: Session) -> None:
    if current.left_bytes is not None:
        m.emit(actions.StartCopy())
        m.say(f"{m.name} is copied from {m.me} to {m.other}: {m.other} misses what was written without it.")


def on_copy_done(m: Module, _: events.CopyDone) -> None:
    """Nothing is left: both flush what was copied.

    A witness with a memory is read here, before the round trip with the SECOND, so that listing both
    can be made conditional on the revision.
    """
    current = _as_primary(m, Phase.COPYING)
    if current is None:
        return
    if m.witness_remembers:
        current.phase = Phase.REVISION
    else:
        flush_both(m, current)


def flush_both(m: Module, current: Session) -> None:
    """The flush of both disks after the copy."""
    m.epoch += 1
    current.phase = Phase.FLUSHING
    m.emit(actions.EndCopyFlush(m.epoch))


def on_copy_flushed(m: Module, event: events.CopyFlushedBoth) -> None:
    """Both disks hold the copy: from here on the SECOND may be uptodate, and the record must say so first."""
    current = _as_primary(m, Phase.FLUSHING)
    generation = m.record.generation
    if current is None or event.epoch != m.epoch or generation is None:
        return
    current.phase = Phase.RECORDING if m.witness_remembers else Phase.CONFIRMING
    done = ((current.connection, messages.Done(current.id, generation)),)
    m.emit(
        persist=m.changed(peer_may_be_uptodate=True, peer_replica_id=current.peer_replica, running_ms=0),
        send=() if m.witness_remembers else done,
    )


def listed(m: Module, current: Session, seen: WitnessMemory) -> None:
    """The witness lists both: the SECOND may be told that it is uptodate, or the session is green."""
    told = messages.Listed(current.id, seen.cluster, seen.revision, seen.key_revision)
    send: tuple[tuple[int, messages.Message], ...] = ((current.connection, told),)
    copied, generation = current.phase is Phase.RECORDING, m.record.generation
    if copied and generation is not None:
        current.phase = Phase.CONFIRMING
        send += ((current.connection, messages.Done(current.id, generation)),)
    m.emit(persist=m.changed(witness_memory=seen), send=send)
    if current.phase is Phase.LISTING:
        _green(m, current)


def on_listed(m: Module, _connection: int, told: messages.Listed) -> None:
    """SECOND: the witness that the PRIM has written to is the one to ask when the PRIM is gone."""
    if m.session is not None and m.mode is Mode.SECOND and m.witness_remembers and told.cluster is not None:
        seen = WitnessMemory(told.cluster, told.revision, told.key_revision)
        m.emit(persist=m.changed(witness_memory=seen))
        m.witness_trouble, m.watch_s = "", m.now_s + m.settings.witness_watch_s


def on_done(m: Module, _connection: int, done: messages.Done) -> None:
    """SECOND: the copy is complete. Generation, uptodate and "peer may be uptodate" in one record."""
    current = m.session
    if current is None or m.mode is not Mode.SECOND or current.phase is not Phase.COPYING:
        return
    record = m.changed(
        generation=done.generation,
        uptodate=True,
        peer_may_be_uptodate=True,
        outdated_reason="",
        peer_replica_id=current.peer_replica,
        running_ms=0,
    )
    current.phase = Phase.GREEN
    m.emit(
        actions.FinishCopy(),
        actions.EndRescue(),
        persist=record,
        send=((current.connection, messages.DoneConfirmed(current.id)),),
    )
    m.say(
        f"{m.name} is uptodate on {m.me}: the copy from {m.other} is complete; {m.me} is ready to take over."
    )


def on_done_confirmed(m: Module, _connection: int, _done: messages.DoneConfirmed) -> None:
    """The SECOND has recorded itself uptodate."""
    current = _as_primary(m, Phase.CONFIRMING)
    if current is not None:
        m.emit(actions.FinishCopy())
        _green(m, current)


def in_step(m: Module, current: Session) -> None:
    """Both hold the same: green, once a witness with a memory lists both in this session."""
    if m.witness_remembers:
        current.phase = Phase.LISTING
    else:
        _green(m, current)


def _green(m: Module, current: Session) -> None:
    current.phase = Phase.GREEN
    m.alone_since_s = None
    m.return_due = m.return_due or not current.resend
    m.say(f"{m.name} is mirrored: {m.me} runs it and {m.other} is uptodate and ready to take over.")
