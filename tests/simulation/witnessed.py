"""Judges a witness that has a memory: nobody it does not list goes on alone, and nobody takes back what a person took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinhull.core.memory import WitnessRecord
from twinhull.core.record import Record
from twinhull.core.state import Mode

if TYPE_CHECKING:
    from .judge import Case
    from .node import Unit
    from .process import Process

ORDERED_T = 3
"""For so long after a person's command a write to the witness may be its consequence, in T."""


def went_alone(record: Record | None) -> bool:
    """Whether it says that this replica alone holds everything."""
    return record is not None and record.uptodate and not record.peer_may_be_uptodate


def overridden(unit: Unit, case: Case) -> None:
    """A person started it by name. The witness holds the other one back, unless that may go on without asking it."""
    world, mine, theirs = unit.world, unit.record, unit.peer.record
    key = world.etcd.keys.get(unit.module)
    taken = key is not None and mine is not None and key.record.may_start == (mine.replica_id,)
    if taken:
        case.taken_by, case.taken_s = unit, world.schedule.now_s
    process = unit.peer.process
    goes_alone = process is not None and process.machine._module.mode is Mode.ALONE
    if not taken or went_alone(theirs) or goes_alone:
        world.person_split = True


def written(unit: Unit, before: WitnessRecord | None, now: WitnessRecord) -> None:
    """A node wrote the record: what a person took for the other one is not taken back on its own."""
    world, peer = unit.world, unit.peer
    case = world.judge.case(unit)
    alone = now.may_start if len(now.may_start) == 1 else None
    theirs = peer.record.replica_id if peer.record is not None else None
    ordered = unit.ordered_s > case.taken_s - ORDERED_T * unit.settings.timeout_s
    if alone is None or ordered:
        case.taken_by = None
    elif case.taken_by is peer and world.etcd.touched_s < case.taken_s:
        world.judge.broken(
            f"{unit.node.name} takes the witness's record back, which a person took for {peer.node.name}"
        )
    if alone is not None and before is not None and before.may_start == (theirs,) and unit.overrides:
        world.person_split = True


def granted(unit: Unit, process: Process) -> None:
    """A node goes on alone: a new history begins only when the witness listed it alone under that."""
    record, known = process.machine.record, process.volume.record.generation
    if record.generation is None or (known is not None and known.id == record.generation.id):
        return
    grant = (unit.module, record.generation.id, record.replica_id)
    if grant not in unit.world.etcd.granted and not unit.without_witness:
        unit.world.judge.broken(f"{unit.node.name} begins a history alone that the witness never granted")


def green(unit: Unit, process: Process) -> None:
    """Green means that the witness lets either node go on, and that it was told so in this session."""
    world, record, peer = unit.world, process.volume.record, unit.peer.record
    key = world.etcd.keys.get(unit.module)
    session = process.machine._module.session
    began_s = unit.node.true_past(session.began_s) if session is not None else 0.0
    if world.etcd.touched_s >= began_s or record.generation is None or peer is None:
        return
    if process.thawed_s == world.schedule.now_s:
        return  # it reads what it was told before it slept, and serves nobody before it has heard the other one
    where = f"{unit.module} is green on {unit.node.name}"
    both = {record.replica_id, peer.replica_id}
    if key is None or set(key.record.may_start) != both or key.record.generation != record.generation.id:
        world.judge.broken(f"{where}, and the witness does not list both nodes")
    elif key.written_s < began_s:
        world.judge.broken(f"{where}, which told the witness nothing of this session")


def both_serve(unit: Unit, case: Case) -> None:
    """Two nodes can answer, as a person's word allows: not on and on, when both reach the witness that they know."""
    world, settings = unit.world, unit.settings
    now_s = world.schedule.now_s
    knows = all(
        each.record is not None and each.record.witness_memory.cluster in (None, world.etcd.cluster)
        for each in (unit, unit.peer)
    )
    if case.both_since_s is None or not (knows and all(map(world.etcd.reached, world.nodes.values()))):
        case.both_since_s = now_s
    if now_s - case.both_since_s > settings.witness_watch_s + 3 * world.settings.timeout_s:
        world.judge.broken(
            f"both nodes serve {unit.module} on and on, though both reach a witness with a memory"
        )
