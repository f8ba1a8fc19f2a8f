"""Going on alone, and giving up: the two ways out of not knowing whether the peer goes on."""

from __future__ import annotations

import dataclasses

from . import actions, host
from .actions import Level
from .identity import Generation
from .memory import WitnessMemory
from .record import Role
from .state import HostState, Mode, Module


def child_generation(m: Module) -> Generation:
    """The generation that begins when this node goes on alone while its peer may be uptodate."""
    if m.record.generation is None:
        return Generation(m.new_id())
    return m.record.generation.child(m.new_id())


def go_alone(
    m: Module,
    generation: Generation | None,
    why: str,
    level: Level = Level.WARNING,
    *,
    granted: WitnessMemory | None = None,
    anew: bool = False,
) -> None:
    """Serve the resource without the peer, after having durably recorded so (promise 1).

    `granted`: what was seen of the witness with a memory that lists this node alone. Who went on without having
    asked it owes it an update.
    `anew`: record it even if the record says so already, because one that says otherwise may still be on its way.
    """
    record = dataclasses.replace(
        m.record,
        generation=generation,
        uptodate=True,
        peer_may_be_uptodate=False,
        role=Role.PRIMARY,
        outdated_reason="",
        witness_memory=granted or m.record.witness_memory,
        running_ms=m.record.running_ms if generation == m.record.generation else 0,
    )
    m.rescue = None
    was = m.mode
    m.owes_update, m.by_person = granted is None and m.witness_remembers, False
    m.mode = Mode.ALONE
    m.lost = m.question = m.outdating = m.taking = None
    m.survivor = m.clock.slept = m.return_due = False
    m.clock.lease_until_s = 0.0
    m.alone_since_s = m.now_s
    m.io_open = m.marks = True
    m.emit(actions.OpenAlone(), persist=record if anew or record != m.record else None)
    m.record = record
    host.resume_resource(m)
    if not m.leaving:
        host.go_up(m)
    verb = "is taken over by" if was in (Mode.SECOND, Mode.ASKING) else "starts alone on"
    if was in (Mode.HOLD, Mode.PRIM):
        verb = "goes on alone on"
    m.say(f"{m.name} {verb} {m.me}: {why}.", level)


def give_up(m: Module, why: str) -> None:
    """Turn the resource off at once and WAIT: this node may not go on, and cannot know whether the peer does."""
    m.mode = Mode.WAIT
    m.lost = m.question = m.outdating = m.taking = None
    m.survivor = m.clock.slept = m.io_open = False
    m.clock.lease_until_s = 0.0
    m.alone_since_s = None
    m.clock.apart_from_s = m.now_s
    m.host.suspended = False
    running = m.host.state is not HostState.OFF
    host.go_down_at_once(m)
    m.emit(actions.CloseIO())
    off = ", its resource is turned off" if running else ""
    m.say(f"{m.name} waits on {m.me}{off}: {why}.", Level.WARNING)


def become_wait(m: Module, why: str, *, survivor: bool = False) -> None:
    """A SECOND that may not take over waits. `survivor`: it was ready to, and has run on."""
    m.mode = Mode.WAIT
    m.lost = m.question = m.outdating = m.taking = None
    m.survivor, m.clock.slept = survivor, False
    m.clock.apart_from_s = m.now_s
    m.say(f"{m.name} waits on {m.me}: {why}.", Level.WARNING)
