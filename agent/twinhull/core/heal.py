"""Split brain that heals by itself: who gives way, and how (DESIGN.md section 3, "Split brain").

Both nodes compute the same from the same two hellos. The one that goes on proposes it, the other computes it anew on its
newest facts, confirms, and only then stops its resource, records itself not uptodate, and says hello as a node that is to
be copied to; what only it wrote goes to the rescue first. Running time counts while this node runs the resource alone, also
while the other one, stopped by a person maybe, is connected; it is durable, so that it survives a crash.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from . import actions, host
from .actions import Level
from .messages import Heal, HealAnswer, Hello
from .settings import Keep
from .state import HostState, Mode, Module, Operation, Stage, Work

RECORD_RUNNING_MS = 60_000
TIE_MS = 1000
"""Less of a difference says nothing: the later one merely noticed the cut later."""
HEALED = (Keep.LONGEST_RUNNING.value, Keep.PREFERRED_NODE.value)


@dataclass(frozen=True, slots=True)
class Choice:
    """Who goes on after a split brain.

    Args:
        mine: this node does.
        reason: why, in words; names the nodes.
    """

    mine: bool
    reason: str


def choose(mine: Hello, theirs: Hello, me: str, peer: str) -> Choice | str:
    """Who goes on; or why nobody but a person can say.

    Args:
        mine, theirs: the newest hello of each side.
        me, peer: the nodes' names.
    """
    if mine.keep != theirs.keep:
        return f"keep is {mine.keep} on {me} and {theirs.keep} on {peer}"
    if mine.keep not in HEALED:
        return ""
    if mine.witness != theirs.witness:
        return f"the witness is {mine.witness} on {me} and {theirs.witness} on {peer}"
    for hello, node in ((mine, me), (theirs, peer)):
        if not hello.heals:
            return f"{node} is of a version that cannot"
    if mine.preferred != theirs.preferred:
        return f"the preferred node is configured differently on {me} and {peer}"
    choice = _by_preference(mine, me, peer) if mine.keep == Keep.PREFERRED_NODE.value else None
    if mine.keep == Keep.LONGEST_RUNNING.value:
        choice = _by_running(mine, theirs, me, peer)
    if choice is None:
        return "no preferred node is configured"
    loser, node = (theirs, peer) if choice.mine else (mine, me)
    if not loser.rescues:
        return f"the rescue store of {node}, which would give way, is not available"
    return choice


def _by_preference(mine: Hello, me: str, peer: str) -> Choice | None:
    if mine.preferred not in (me, peer):
        return None
    return Choice(mine.preferred == me, f"{mine.preferred} is the preferred node")


def _by_running(mine: Hello, theirs: Hello, me: str, peer: str) -> Choice:
    ahead_ms = mine.running_ms - theirs.running_ms
    tie = abs(ahead_ms) < TIE_MS
    preferred = _by_preference(mine, me, peer)
    if tie and preferred is not None:
        return dataclasses.replace(preferred, reason=f"both ran equally long alone, and {preferred.reason}")
    wins = mine.replica < theirs.replica if not ahead_ms else ahead_ms > 0
    node, other = (me, peer) if wins else (peer, me)
    longer, shorter = sorted((mine.running_ms, theirs.running_ms), reverse=True)
    return Choice(wins, f"{node} ran {longer / 1000:.0f} s alone and {other} {shorter / 1000:.0f} s")


# ---- running time ------------------------------------------------------------------------------------


def account(m: Module) -> None:
    """Count the time that the resource runs on this node alone, durably every minute.

    What the hellos tell of it stands still while the two are connected, until the peer says something new.
    """
    runs = m.mode is Mode.ALONE and m.host.state is HostState.RUNNING and not m.host.suspended
    if m.ran_since_s is None and runs:
        m.ran_since_s = m.now_s
    link = m.link
    ran_ms = 0 if m.ran_since_s is None else int((m.now_s - m.ran_since_s) * 1000)
    tell = False
    if link is not None:
        untold_ms = m.record.running_ms + ran_ms - link.running_ms
        tell = link.sent is None or (link.news and untold_ms >= TIE_MS) or not runs
        link.news = False
    if ran_ms and (tell or not runs or ran_ms >= RECORD_RUNNING_MS):
        m.emit(persist=m.changed(running_ms=m.record.running_ms + ran_ms))
        m.ran_since_s = m.now_s
    if not runs:
        m.ran_since_s = None
    if link is not None and tell:
        link.running_ms = m.record.running_ms


# ---- giving way --------------------------------------------------------------------------------------


def propose(m: Module, choice: Choice) -> None:
    """This node goes on: say so, on the facts of these two hellos."""
    link = m.link
    if link is None or link.healing or link.sent is None or link.theirs is None or m.now_s < link.heal_s:
        return
    link.healing = True
    m.emit(send=((link.connection, Heal(link.sent.number, link.theirs.number, choice.reason)),))
    if not link.heal_s:  # said when it is proposed for the first time
        what = f"{m.name}: the split brain is to be healed, {m.me} goes on and {m.other} gives way"
        m.say(f"{what}: {choice.reason}.", Level.WARNING)


def on_heal(m: Module, connection: int, heal: Heal, choice: Choice | str | None) -> None:
    """The peer goes on. Confirmed only on the newest facts of both, which must say the same here.

    Args:
        choice: what this node computes.
    """
    link = m.link
    if link is None or link.sent is None or link.theirs is None:
        return
    if heal.yours != link.sent.number or heal.mine != link.theirs.number:
        return
    refusal = _refusal(m, choice)
    answer = HealAnswer(not refusal, refusal)
    m.emit(send=((connection, answer),))
    if refusal:
        m.say_once(f"{m.name}: {m.me} does not give way to {m.other}: {refusal}.", Level.ERROR)
        return
    m.work = Operation(Work.YIELD, f"{m.other} goes on after the split brain: {heal.reason}", began_s=m.now_s)
    sentence = (
        f"{m.name} gives way on {m.me}, whose own changes go to the rescue: {m.other} goes on after the split "
        f"brain ({heal.reason})."
    )
    m.say(sentence, Level.WARNING, audit=True)
    host.go_down(m, mode=m.settings.stop_mode, timeout_s=m.settings.stop_timeout_s)


def _refusal(m: Module, choice: Choice | str | None) -> str:
    if not isinstance(choice, Choice):
        return choice or "it sees no split brain"
    if choice.mine:
        return f"here {m.me} goes on ({choice.reason})"
    if m.work is not None:
        return f"it is busy ({m.work.work.value})"
    return ""


def on_heal_answer(m: Module, _connection: int, answer: HealAnswer) -> None:
    """The peer gives way, or does not."""
    if m.link is None or not m.link.healing:
        return
    if answer.ok:
        m.say(f"{m.name}: {m.other} gives way, and is copied to when its resource is off.")
    else:
        m.link.healing, m.link.heal_s = False, m.now_s + m.timeout_s  # it may have been busy
        m.say_once(f"{m.name}: {m.other} does not give way: {answer.reason}.", Level.ERROR)


def step(m: Module, op: Operation) -> None:
    """Resource off (at once if it does not stop), everything flushed, recorded: then this node is to be copied to."""
    trouble = m.host.stop_error or m.host.detach_error
    if trouble and not m.host.urgent:
        m.say(f"{m.name} did not stop on {m.me} ({trouble}); it is turned off.", Level.WARNING)
        host.go_down_at_once(m)
    if not host.is_off(m) or op.stage is not Stage.RESOURCE:
        return
    if m.mode is Mode.ALONE:
        op.stage = Stage.QUIESCE
        m.emit(actions.Quiesce())
    else:
        given_way(m, op)


def given_way(m: Module, op: Operation) -> None:
    """Nothing of the module runs here any more: recorded, before the peer can know."""
    m.work = None
    m.mode = Mode.WAIT
    m.alone_since_s = None
    m.io_open = False
    m.survivor = False
    m.clock.apart_from_s = m.now_s
    m.emit(actions.CloseIO())
    m.emit(persist=m.changed(uptodate=False, outdated_reason=op.reason))
    m.say(f"{m.name} waits on {m.me} to be copied to from {m.other}: {op.reason}.", Level.WARNING)
