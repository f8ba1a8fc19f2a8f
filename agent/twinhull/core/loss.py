"""The loss of the peer: who goes on, who waits.

PRIM: goes on alone at once when its record says that the peer is not uptodate; else it holds I/O until T
has passed since the sending of its last echoed heartbeat, asks the witness, records, goes on. SECOND: T plus
T/10 of silence, uptodate and green in the session that was lost; asks the witness, records, takes over.
"""

from __future__ import annotations

from . import actions, events, host, messages, session
from .actions import Level
from .alone import become_wait, child_generation, give_up, go_alone
from .identity import Id, Relation
from .messages import OutdateAnswer, OutdateRequest
from .record import WitnessKind
from .state import SHOWN, Link, Lost, Mode, Module, Outdating, Question


def step(m: Module) -> None:
    """Look at the clock and at what was heard. Nothing is concluded while what arrived is still being read."""
    if m.clock.draining:
        return
    if m.mode is Mode.PRIM:
        _watch_second(m)
    if m.mode is Mode.GIVING or (m.mode is Mode.SECOND and m.session is not None):
        _watch_primary(m)
    if m.mode is Mode.HOLD:
        _hold(m)
    elif m.mode is Mode.SECOND and m.session is None:
        _without_primary(m)
    elif m.mode is Mode.ASKING:
        _asking(m)


# ---- in a session ----------------------------------------------------------------------------------


def _watch_second(m: Module) -> None:
    current = m.session
    if current is None:
        return
    since_s = max(current.heard_s, current.began_s, m.clock.silence_from_s)
    if m.now_s < max(m.clock.lease_until_s, since_s + m.timeout_s):
        if m.io_open and not m.leased and m.now_s > current.began_s + m.timeout_s:
            host.suspend_resource(m)
        elif m.leased:
            host.resume_resource(m)
        return
    session.lose_session(m, f"{m.other} has been silent for {m.now_s - since_s:.1f} s")


def _watch_primary(m: Module) -> None:
    current = m.session
    if current is None:
        return
    since_s = max(current.heard_s, m.clock.silence_from_s)
    if m.now_s >= since_s + m.second_timeout_s:
        session.lose_session(m, f"{m.other} has been silent for {m.now_s - since_s:.1f} s")


def on_peer_write_timeout(m: Module, _: events.PeerWriteTimeout) -> None:
    """The SECOND does not answer writes: it must be outdated before anything is completed."""
    if m.mode is Mode.PRIM and m.session is not None:
        connection = m.session.connection
        session.lose_session(
            m,
            f"{m.other} did not answer a write for {m.settings.write_timeout_s:g} s",
            close=False,
            pressed=True,
        )
        m.link = Link(connection, m.now_s)


def on_peer_worker_dead(m: Module, event: events.PeerWorkerDead) -> None:
    """Told by the peer's agent, by process and session: it saves the waiting, not the witness."""
    current = m.session
    if current is not None and current.peer_process == event.process:
        if event.session in (None, current.id):
            session.lose_session(m, f"the worker of {m.other} is dead", dead=True)
    elif m.lost is not None and m.lost.peer_process == event.process and not m.lost.dead:
        m.lost.dead = event.session in (None, m.lost.session)
        m.lost.why = f"the worker of {m.other} is dead" if m.lost.dead else m.lost.why


def on_leave(m: Module, connection: int, leave: messages.Leave) -> None:
    """The SECOND left, after its record that it is outdated was confirmed: no waiting, no new generation."""
    named = m.session.id if m.session is not None else m.lost.session if m.lost is not None else None
    if leave.session != named or m.mode not in (Mode.PRIM, Mode.HOLD, Mode.GIVING):
        return
    if m.session is not None:
        session.lose_session(m, f"{m.other} left ({leave.reason})")
    elif m.link is not None and m.link.connection == connection:
        session.drop_link(m, "the peer left")
    go_alone(m, m.record.generation, f"{m.other} left ({leave.reason})")


def on_gone(m: Module, _connection: int, gone: messages.Gone) -> None:
    """The PRIM's disk failed and its resource is off: take over without waiting for silence."""
    if m.mode is Mode.SECOND and m.session is not None:
        session.lose_session(m, f"{m.other} gave the module up ({gone.reason})", dead=True)


# ---- PRIM without a SECOND -------------------------------------------------------------------------


def _hold(m: Module) -> None:
    lost = m.lost
    if lost is None or m.fault:
        return
    if not m.record.peer_may_be_uptodate:
        go_alone(m, m.record.generation, f"{lost.why}, and {m.other} was not uptodate")
        return
    if m.leaving:
        if not m.host.urgent:
            host.go_down_at_once(m)
        return
    if m.question is not None:
        _wait_for_answer(m, m.question)
        return
    if lost.dead:
        _ask_or_go(m, lost.why)
        return
    answers = _answers_since(m, lost)
    if _heard_since(m, lost) and m.peer.state == "ALONE":
        give_up(m, f"{m.other} runs the module alone meanwhile")
        return
    if answers and m.peer.state == "STOP":
        _ask_or_go(m, f"{lost.why}, and {m.other} has stopped since")
        return
    if lost.pressed or m.now_s >= max(lost.until_s, m.clock.silence_from_s + m.timeout_s):
        _hold_expired(m, lost, answers)


def _hold_expired(m: Module, lost: Lost, answers: bool) -> None:
    """T is over, or the SECOND must be outdated although it is heard."""
    host.suspend_resource(m)
    if lost.expired_s is None:
        lost.expired_s = m.now_s
    if not _heard_lately(m):
        _ask_or_go(m, f"{m.other} has been silent for {m.silent_s:.1f} s")
        return
    if answers and m.peer.state == "WAIT":
        _ask_or_go(m, f"{lost.why}, and {m.other} waits since")
        return
    if not answers and not lost.pressed and m.now_s >= lost.at_s + m.timeout_s / 2:
        give_up(m, f"{m.other} is heard but does not hear {m.me}, so that it will take over")
        return
    if m.now_s >= lost.expired_s + m.settings.witness_timeout_s:
        give_up(
            m, f"{m.other} is heard, but no data stream can be made and it does not record itself outdated"
        )
        return
    if answers or lost.pressed:
        press(m, lost.peer_process, lost.session)


def _answers_since(m: Module, lost: Lost) -> bool:
    """Whether the peer has echoed a sign of life that we sent after the session was lost."""
    return m.peer.echo_sent_s is not None and m.peer.echo_sent_s > lost.at_s and _heard_lately(m)


def _heard_since(m: Module, lost: Lost) -> bool:
    """Whether anything was heard after the session was lost: enough to give way, not to go on."""
    return m.peer.beat_s is not None and m.peer.beat_s > lost.at_s


def _heard_lately(m: Module) -> bool:
    return m.peer.heard_s is not None and m.now_s - m.peer.heard_s < m.timeout_s / 2


# ---- SECOND without a PRIM -------------------------------------------------------------------------


def _without_primary(m: Module) -> None:
    lost = m.lost
    if lost is None:
        return
    ready = m.record.uptodate and lost.green
    if lost.dead:
        _take_over(m, lost, lost.why)
    elif _answers_since(m, lost) and m.peer.state == "STOP":
        _take_over(m, lost, f"{m.other} has stopped")
    elif _heard_since(m, lost) and m.peer.state in ("ALONE", "WAIT", "SECOND"):
        become_wait(m, f"{lost.why}, and {m.other} is {m.peer.state} since", survivor=ready)
    elif m.silent_s >= m.second_timeout_s:
        _take_over(m, lost, f"{m.other} has been silent for {m.silent_s:.1f} s")


def _take_over(m: Module, lost: Lost, why: str) -> None:
    if not m.record.uptodate:
        become_wait(m, f"{why}, but {m.me} is not uptodate ({m.record.outdated_reason})")
    elif not lost.green:
        become_wait(m, f"{why}, but {m.me} was not in step yet and may miss writes")
    elif m.clock.slept and not m.witness_remembers:
        become_wait(m, f"{why}, but {m.me} slept or could not listen and may have been replaced")
    else:
        m.mode = Mode.ASKING
        lost.why = why
        _asking(m)


def _asking(m: Module) -> None:
    lost = m.lost
    if lost is None or m.ending:
        return
    if not lost.dead and _answers_since(m, lost) and m.peer.state != "STOP" and m.silent_s < m.timeout_s / 2:
        m.mode, m.question = Mode.SECOND, None
        m.say(f"{m.name} is not taken over by {m.me}: {m.other} is heard again.")
    elif m.question is not None:
        _wait_for_answer(m, m.question)
    else:
        _ask_or_go(m, lost.why)


# ---- the witness -----------------------------------------------------------------------------------


def _ask_or_go(m: Module, why: str) -> None:
    """Going alone while the peer may be uptodate: the witness is asked first, if there is one."""
    if m.lost is not None:
        m.lost.why = why
    if m.clock.slept and not m.witness_remembers:
        give_up(m, f"{why}, but {m.me} slept or could not listen and may have been replaced")
    elif m.witness is WitnessKind.NONE:
        go_alone(m, child_generation(m), f"{why} and no witness is configured")
    else:
        m.questions += 1
        m.question = Question(m.questions, m.now_s, child_generation(m))
        if not m.witness_remembers:
            m.emit(actions.AskWitness(m.question.number))
        m.say(f"{m.name} asks the witness on {m.me}: {why}.", Level.WARNING)


def on_witness_answer(m: Module, event: events.WitnessAnswer) -> None:
    """Granted: go on alone. Refused: wait. An answer to an abandoned question is not acted on."""
    question, lost = m.question, m.lost
    if question is None or event.question != question.number or lost is None or m.clock.draining:
        return
    m.question = None
    detail = f" ({event.detail})" if event.detail else ""
    if not event.granted:
        _refused(m, f"{lost.why}, and the witness refused{detail}")
    elif m.clock.slept and not m.witness_remembers:
        _refused(m, f"{lost.why}, but {m.me} slept or could not listen and may have been replaced")
    else:
        go_alone(m, question.generation, f"{lost.why} and the witness granted it{detail}")


def _wait_for_answer(m: Module, question: Question) -> None:
    waited_s = m.now_s - question.asked_s
    if m.lost is not None and waited_s >= m.settings.witness_timeout_s:
        m.question = None
        trouble = f": {m.witness_trouble}" if m.witness_trouble else ""
        _refused(m, f"{m.lost.why}, and the witness did not answer within {waited_s:.1f} s{trouble}")


def ask_again(m: Module) -> None:
    """A node that waits asks a witness with a memory again every few seconds."""
    question = m.question
    if question is None and m.now_s >= m.ask_after_s:
        m.questions += 1
        m.question = Question(m.questions, m.now_s, child_generation(m))
    elif question is not None and m.now_s >= question.asked_s + m.settings.witness_timeout_s:
        refused_by_witness(m, m.witness_trouble or "it did not answer")


def reason_to_ask(m: Module) -> str:
    """Why the question under way was asked."""
    if m.lost is not None:
        return m.lost.why
    if meets_a_new_replica(m):
        return f"{m.other} has a new replica"
    return f"{m.other} cannot be reached"


def meets_a_new_replica(m: Module) -> bool:
    """Whether the peer is connected with another replica than the one that this one was mirrored with."""
    theirs, known = m.link.theirs if m.link is not None else None, m.record.peer_replica_id
    return theirs is not None and known is not None and theirs.replica != known


def refused_by_witness(m: Module, detail: str) -> None:
    """The witness with a memory does not let this node go on: it waits, and asks again."""
    why = f"{reason_to_ask(m)}, and the witness refused: {detail}"
    m.question = m.talk = None
    m.ask_after_s = m.now_s + m.settings.witness_retry_s
    if m.mode is Mode.WAIT:
        m.say_once(f"{m.name} waits on {m.me}: {why}.", Level.WARNING)
    else:
        _refused(m, why)


def _refused(m: Module, why: str) -> None:
    if m.mode is Mode.HOLD:
        give_up(m, why)
    else:
        become_wait(m, why)


# ---- outdating the peer on request -----------------------------------------------------------------


def press(m: Module, process: Id, lost_session: Id | None) -> None:
    """Ask the peer to record itself outdated, over whatever reaches it; asked again every T/4."""
    generation = m.record.generation
    if generation is None:
        return
    asked = m.outdating
    about = (process, lost_session, generation)
    if asked is None or asked.request[1:] != about:
        request = OutdateRequest(m.new_id(), *about)
        asked = m.outdating = Outdating(request, m.now_s)
        m.say(f"{m.name}: {m.me} asks {m.other} to record itself outdated.", Level.WARNING)
    elif m.now_s < asked.sent_s + m.timeout_s / 4:
        return
    asked.sent_s = m.now_s
    send = ((m.link.connection, asked.request),) if m.link is not None else ()
    m.emit(actions.TellPeer(asked.request), send=send)


def on_outdate_request(m: Module, request: OutdateRequest) -> None:
    """The peer runs on, or wants to: give way, record it, and only then answer.

    Giving way comes first and needs no disk, so that a node whose disk hangs shows WAIT at once.
    """
    if request.process != m.process:
        return
    refusal = _refusal(m, request)
    if refusal:
        _answer(m, OutdateAnswer(request.request, False, refusal))
        return
    if m.session is not None:
        connection = m.session.connection
        session.lose_session(m, f"{m.other} gave the session up", close=False)
        m.link = Link(connection, m.now_s)
    if m.mode in (Mode.SECOND, Mode.ASKING):
        become_wait(m, f"{m.other} runs on without {m.me}")
    reason = f"{m.other} went on without {m.me}"
    record = m.changed(uptodate=False, outdated_reason=m.record.outdated_reason or reason)
    answer = OutdateAnswer(request.request, True, "")
    send = ((m.link.connection, answer),) if m.link is not None else ()
    m.emit(actions.TellPeer(answer), persist=record, send=send)


def _refusal(m: Module, request: OutdateRequest) -> str:
    """Why a request is not followed; empty if it is."""
    mine = m.record.generation
    if mine is not None and mine.relation(request.generation) not in (Relation.EQUAL, Relation.OLDER):
        return f"{m.me} holds a newer or another history"
    if m.fault:
        return f"the disk of {m.me} failed"
    if m.mode is Mode.STOP:
        return ""
    if m.mode is Mode.WAIT and not m.record.uptodate:
        return ""
    current = m.session.id if m.session is not None else m.lost.session if m.lost is not None else None
    if m.mode is Mode.SECOND and request.session is not None and request.session == current:
        return ""
    return f"{m.me} is {SHOWN[m.mode]} and was not in that session"


def _answer(m: Module, answer: OutdateAnswer) -> None:
    send = ((m.link.connection, answer),) if m.link is not None else ()
    m.emit(actions.TellPeer(answer), send=send)


def on_outdate_answer(m: Module, answer: OutdateAnswer) -> None:
    """The peer recorded itself outdated: from here on neither hold nor witness is needed."""
    asked = m.outdating
    if asked is None or asked.request.request != answer.request:
        return
    if not answer.done:
        m.say_once(f"{m.name}: {m.other} did not record itself outdated: {answer.reason}.", Level.WARNING)
        return
    m.outdating = None
    if m.mode in (Mode.HOLD, Mode.WAIT):
        m.emit(persist=m.changed(peer_may_be_uptodate=False))
        m.say(f"{m.name}: {m.other} recorded itself outdated.")
