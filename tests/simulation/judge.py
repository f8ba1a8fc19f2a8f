"""The judge: the promises of the design, held against what the VM, the disks and the records show. Knows nothing of why.

Checked after every turn of every process: at most one node can acknowledge; who can is durably entitled to. At every
answer: an acknowledged write is held by whom it must be, a flush is durable, a read is not stale, and the answer comes from
the node that runs the module. At every start of the VM: nothing acknowledged is missing, save what a power loss excuses.
At every change of a durable record: it does not contradict the other node's, and no crash takes it back.
Now and then: blocks that differ between two uptodate replicas are durably marked.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from twinhull.core.identity import Generation, Relation
from twinhull.core.marks import BLOCK_BYTES
from twinhull.core.mirror_client import Io
from twinhull.core.record import Record, Role, WitnessKind
from twinhull.core.requests import Op, Request
from twinhull.core.settings import Keep
from twinhull.core.state import Mode, Phase
from twinhull.storage.actlog import ActivityLog
from twinhull.storage.bitmap import BitmapFile
from twinhull.storage.metadata import Metadata
from twinhull.storage.volume import (
    BITMAP_FILE,
    DATA_FILE,
    DOUBTFUL_FILE,
    LOG_FILE,
    METADATA_FILE,
    UNCONFIRMED_FILE,
    Volume,
    _noted,
)

from . import witnessed
from .disk import SECTOR_BYTES, UNIT_BYTES, ZERO_UNIT, DurableDirectory, DurableFile, Inode
from .history import ClientWrite, History
from .rescued import remember

if TYPE_CHECKING:
    from .node import Node, Unit
    from .process import Process
    from .world import World

BLOCK_UNITS = 8
EXTENT_BLOCKS = 128
DOUBT = (Mode.HOLD, Mode.ASKING)
UNSETTLED = -1  # no value of a sector: what is durable there may change yet with the next loss of power


class ViolationError(Exception):
    """A promise of the design does not hold."""


class Case:
    """What is known of one module.

    Args:
        owner: the node on which the VM was started last; `history` is what its disk must hold.
        split: two nodes served at once, where that is possible; contents are not looked at until a person decides.
    """

    def __init__(self) -> None:
        self.owner: Unit | None = None
        self.history = History()
        self.split = False
        self.override: Unit | None = None
        self.writes: dict[tuple[str, int], ClientWrite] = {}
        self.flushes: dict[tuple[str, int], list[ClientWrite]] = {}
        self.reads: dict[tuple[str, int], tuple[set[int], set[int], int]] = {}
        self.saved: set[str] = set()  # nodes in whose folder lies a state of the VM that was not resumed yet
        self.generation: Generation | None = None  # under which the last answer was given
        self.taken_by: Unit | None = None  # a person started it by name, and the witness lists it alone
        self.taken_s = -1.0  # when
        self.dropping: Process | None = None  # whose failed disk holds what no later sync writes
        self.both_since_s: float | None = None  # since when both nodes can answer


class Judge:
    """Looks at everything."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cases: dict[str, Case] = {}
        self.violations: list[str] = []
        self.acked = 0
        self.flushed = 0

    def case(self, unit: Unit) -> Case:
        """Of its module."""
        case = self.cases.get(unit.module)
        if case is None:
            case = self.cases[unit.module] = Case()
        return case

    def broken(self, what: str) -> None:
        """A promise does not hold: the life ends here."""
        self._world.story.add("JUDGE", what)
        self.violations.append(what)
        raise ViolationError(what)

    # ---- the VM asks and is answered --------------------------------------------------------------------

    def submitted(self, unit: Unit, request: Request, value: int) -> None:
        """A write or discard."""
        case = self.case(unit)
        history = case.history
        first, sectors = request.offset_bytes // SECTOR_BYTES, request.length_bytes // SECTOR_BYTES
        case.writes[unit.node.name, request.tag] = history.ask(
            value, first, sectors, self._world.schedule.now_s
        )

    def flush_asked(self, unit: Unit, tag: int) -> None:
        """A flush: what was answered before is covered."""
        case = self.case(unit)
        case.flushes[unit.node.name, tag] = case.history.unflushed_now()

    def read_asked(self, unit: Unit, request: Request) -> None:
        """A read: what it may bring."""
        case = self.case(unit)
        first, last = _ends(request)
        history = case.history
        case.reads[unit.node.name, request.tag] = (
            history.allowed(first),
            history.allowed(last),
            history.moment,
        )

    def answered(self, unit: Unit, request: Request, error: int, data: Any) -> None:
        """The VM believes this answer."""
        case = self.case(unit)
        key = (unit.node.name, request.tag)
        write = case.writes.pop(key, None)
        covered = case.flushes.pop(key, None)
        read = case.reads.pop(key, None)
        if error:
            self._world.cover("io-error")
            return
        self._entitled(unit, case, request.op.name)
        if case.split:
            return
        if read is not None:
            self._read(unit, case, request, data, read)
        elif write is not None:
            self.acked += 1
            case.history.answer(write)
            self._held(unit, case, write)
            if request.fua:
                self._durable(unit, case, [write], "FUA write")
        elif covered is not None:
            self._durable(unit, case, covered, "flush")

    def _entitled(self, unit: Unit, case: Case, what: str) -> None:
        """Promises 1 and 4: whoever answers runs the module, by its durable record."""
        if case.owner is not unit and not self._world.may_split:
            self.broken(
                f"{unit.node.name} answered a {what}, though {unit.module} runs on {_name(case.owner)}"
            )
        if case.owner is not unit:
            self._split(case)
        record = self.durable_record(unit)
        if record is None or not record.uptodate:
            self.broken(
                f"{unit.node.name} answered a {what}, and its durable record says that it is not uptodate"
            )
        else:
            self._not_replaced(unit, record, what)
            if record.generation is not case.generation:
                self._continues(unit, case, record.generation)

    def _not_replaced(self, unit: Unit, record: Record, what: str) -> None:
        """Promise 4: no answer from whoever was replaced, also where two histories are possible."""
        theirs = unit.peer.record
        if theirs is None or theirs.generation is None or record.generation is None:
            return
        if theirs.generation.id == record.generation.id or self._world.person_split:
            return
        if theirs.uptodate and theirs.generation.descends_from(record.generation):
            self.broken(
                f"{unit.node.name} answered a {what}, though {unit.peer.node.name} has continued its history"
            )

    def _continues(self, unit: Unit, case: Case, mine: Generation | None) -> None:
        """Promise 4: one history. What was answered under another generation is older, or the cluster is split."""
        before = case.generation
        if before is not None and (mine is None or not (mine.id == before.id or mine.descends_from(before))):
            if not self._world.may_split:
                self.broken(f"{unit.node.name} serves the history {mine}, which does not continue {before}")
            self._split(case)
        case.generation = mine

    def _held(self, unit: Unit, case: Case, write: ClientWrite) -> None:
        """Promise 1: both nodes hold it, or this one is durably alone."""
        record = self.durable_record(unit)
        holders = [unit]
        if record is not None and record.peer_may_be_uptodate:
            holders.append(unit.peer)
        for holder in holders:
            if holder.touched_s > write.asked_s:
                write.weak = True  # its word was under way when it lost power
                continue
            data = data_of(holder)
            for sector in {write.first, write.first + write.sectors - 1}:
                value = value_at(data, data.current, sector)
                if value not in case.history.allowed(sector):
                    self.broken(
                        f"a write ({write.value}) was acknowledged by {unit.node.name}, and {holder.node.name} "
                        f"holds {value} in sector {sector}"
                    )

    def _durable(self, unit: Unit, case: Case, writes: list[ClientWrite], what: str) -> None:
        """Promise 2: a flush is complete only when both disks (alone: this one) have it."""
        record = self.durable_record(unit)
        holders = [unit]
        if record is not None and record.peer_may_be_uptodate:
            holders.append(unit.peer)
        self.flushed += 1
        history = case.history
        covered = [write for write in writes if not write.weak]
        history.flushed(covered)
        for holder in holders:
            data = data_of(holder)
            for write in covered:
                if holder.touched_s > write.asked_s:
                    continue
                for sector in {write.first, write.first + write.sectors - 1}:
                    value = value_at(data, data.durable, sector)
                    if value not in history.allowed(sector, durable_only=True):
                        self.broken(
                            f"a {what} was completed by {unit.node.name}, and the disk of {holder.node.name} has "
                            f"{value} in sector {sector}, not the write {write.value}"
                        )
        for write in covered:
            if len(history.sectors[write.first]) > 8:
                for sector in range(write.first, write.first + write.sectors):
                    history.prune(sector)

    def _read(
        self, unit: Unit, case: Case, request: Request, data: Any, before: tuple[set[int], set[int], int]
    ) -> None:
        """Promise 4: a read is not stale."""
        first, last = _ends(request)
        content = bytes(data)
        values = int.from_bytes(content[:8], "little"), int.from_bytes(content[-8:], "little")
        for sector, value, then in ((first, values[0], before[0]), (last, values[1], before[1])):
            if value not in then and value not in case.history.allowed(sector):
                self.broken(
                    f"{unit.node.name} answered a read of sector {sector} with {value}; "
                    f"it may hold {sorted(case.history.allowed(sector))}"
                )

    # ---- the VM starts ----------------------------------------------------------------------------------

    def started(self, unit: Unit, *, resume: bool, fresh: bool) -> None:
        """Promise 5: the VM starts on a replica that holds everything."""
        case = self.case(unit)
        record = self.durable_record(unit)
        world = self._world
        world.cover("vm-started")
        if record is None or not record.uptodate:
            self.broken(f"the VM is started on {unit.node.name}, whose record says that it is not uptodate")
        if unit.folder is None:
            self.broken(f"the VM is started on {unit.node.name} without its folder")
        served = can_answer(unit.peer)
        ended = case.override is not unit and self._is_behind(case, record)
        if not world.may_split and (served or ended):
            if can_answer(unit):
                how = f"while {unit.peer.node.name} serves it, too" if served else "from a history that ended"
                self.broken(f"the VM is started on {unit.node.name} {how}")
            world.cover(
                "vm-started-too-late"
            )  # its start was under way while the node slept; it gets no answer
            world.story.add(unit.node.name, "the VM boots, too late: it will get no answer")
            return
        data = data_of(unit)
        if case.override is unit:
            self._rebase(unit, case)
            case.generation = record.generation if record is not None else None
        elif record is not None:
            self._continues(unit, case, record.generation)
        if resume and unit.node.name not in case.saved and not case.split:
            self.broken(
                f"the VM is resumed on {unit.node.name} from a state that was resumed before, or is none"
            )
        case.saved -= {unit.node.name} if case.split else set("ab")
        if not case.split:
            self._complete(unit, case, data)
        case.override = None
        if fresh:
            case.history.collapse(
                lambda sector: value_at(data, data.current, sector),
                lambda sector: UNSETTLED if _pending(data, sector) else value_at(data, data.durable, sector),
                weak=unit.process is not None and unit.process is case.dropping,
            )
        case.owner = unit
        world.story.add(unit.node.name, "the VM boots" + (" from its saved state" if resume else ""))

    @staticmethod
    def _is_behind(case: Case, record: Record | None) -> bool:
        """Whether the last answer was given under a later generation than the one of this record."""
        before, mine = case.generation, record.generation if record is not None else None
        return before is not None and mine is not None and before.id != mine.id and before.descends_from(mine)

    def _complete(self, unit: Unit, case: Case, data: Inode) -> None:
        for sector in case.history.sectors:
            value = value_at(data, data.current, sector)
            allowed = case.history.allowed(sector)
            if value not in allowed:
                self.broken(
                    f"the VM starts on {unit.node.name}, where sector {sector} holds {value} and must hold one of "
                    f"{sorted(allowed)}"
                )

    def overridden(self, unit: Unit, record: Record | None) -> None:
        """A person started it by name; the loss is his, unless the replica was known to be the only whole one.

        Args:
            record: what was durable when he gave the order.
        """
        case = self.case(unit)
        if case.split or not witnessed.went_alone(record):
            case.override = unit
        if self._world.remembers:
            witnessed.overridden(unit, case)
            return
        peer = unit.peer
        if peer.guest.running or peer.process is not None or witnessed.went_alone(peer.record):
            self._world.person_split = True

    def _rebase(self, unit: Unit, case: Case) -> None:
        data = data_of(unit)

        def others(sector: int) -> set[int]:
            return {value_at(data, data.durable, sector), *_pending(data, sector)}

        case.history = case.history.rebase(lambda sector: value_at(data, data.current, sector), others)
        case.split = False
        case.writes.clear()
        case.flushes.clear()
        case.reads.clear()

    def stopped(self, unit: Unit, *, saved: bool) -> None:
        """The VM is off. One that was replaced long ago takes nothing out of the folder."""
        case = self.case(unit)
        if case.split:  # each node has a folder of its own
            case.saved -= {unit.node.name}
            case.saved |= {unit.node.name} if saved else set()
        elif case.owner is unit:
            case.saved = set("ab") if saved else set()
        self._world.story.add(unit.node.name, "the VM is off" + (", its state saved" if saved else ""))

    # ---- disasters --------------------------------------------------------------------------------------

    def power_lost(self, node: Node) -> None:
        """What was not flushed may be gone."""
        for unit in node.units.values():
            unit.touched_s = self._world.schedule.now_s
            self.case(unit).history.power_lost()

    def disk_failed(self, node: Node) -> None:
        """A sync of data failed. Only where no other replica is whole may what it should have written be gone.

        So it is where the other one was lost, and this one has decided to go on alone, or the other one is just leaving:
        the error goes up to the VM.
        """
        for unit in node.units.values():
            record, theirs = self.durable_record(unit), self.durable_record(unit.peer) or unit.peer.record
            if record is None or not record.uptodate:
                continue
            goes_alone = unit.process is not None and unit.process.machine._module.mode is Mode.ALONE
            peer = unit.peer.process
            leaves = peer is not None and not peer.machine.record.uptodate
            other_lacks = leaves or (theirs is not None and not theirs.uptodate)
            if not record.peer_may_be_uptodate or goes_alone or other_lacks:
                unit.touched_s = self._world.schedule.now_s
                self.case(unit).history.sync_failed()
                self.case(unit).dropping = unit.process

    def disk_replaced(self, unit: Unit) -> None:
        """What only this disk held is gone, and nobody is to blame.

        Where no witness remembers that the other node was replaced, it goes on; also when its VM only slept. A witness
        with a memory knows: there nobody goes on before a person says so.
        """
        case = self.case(unit)
        if witnessed.went_alone(unit.record) and not self._world.remembers:
            if case.owner is unit and unit.peer.guest.running:
                self._chosen(unit.peer)
            else:
                case.override = unit.peer
        unit.record, unit.record_sequence = None, 0
        unit.record_version = unit.judged_version = -1

    def compared(self, unit: Unit, differing_bytes: int) -> None:
        """A comparison on-line finds what differs, and nothing else; nothing may differ here."""
        self._world.cover("compared by a person")
        if differing_bytes:
            self.broken(
                f"a comparison of {unit.module} on {unit.node.name} found {differing_bytes} bytes that differ"
            )

    def opened(self, unit: Unit, volume: Volume) -> None:
        """Promise 6: what was durable is what is read after any crash (or what was being written then)."""
        sequence = volume._metadata.sequence
        if sequence < unit.record_sequence:
            self.broken(
                f"the record of {unit.module} on {unit.node.name} went back from {unit.record_sequence} to {sequence}"
            )
        self._read_record(unit)

    def _read_record(self, unit: Unit) -> None:
        """The record as a reader after a power loss would find it, whatever the process believes."""
        inode = unit.disk.files[unit.module, METADATA_FILE]
        unit.record_version = inode.version
        directory = DurableDirectory(unit.disk, unit.module)
        noted = (unit.module, UNCONFIRMED_FILE) in unit.disk.files
        void = _noted(directory) if noted else None  # type: ignore[arg-type]
        found = Metadata.load(DurableFile(inode), directory.name, void)  # type: ignore[arg-type]
        unit.record, unit.record_sequence = found.record, found.sequence
        if found.record.uptodate and (unit.module, DOUBTFUL_FILE) in unit.disk.files:
            unit.record = dataclasses.replace(found.record, uptodate=False)

    def _recorded(self, unit: Unit) -> None:
        """Promise 5: what is durable on one node never contradicts what is durable on the other."""
        self._read_record(unit)
        mine, theirs = unit.record, unit.peer.record
        if mine is None or theirs is None or mine.generation is None or theirs.generation is None:
            return
        if not (mine.uptodate and theirs.uptodate) or mine.generation.id != theirs.generation.id:
            return
        for one, other, node in ((mine, theirs, unit.peer.node), (theirs, mine, unit.node)):
            if not one.peer_may_be_uptodate and other.uptodate:
                self.broken(
                    f"{node.name} has recorded itself uptodate, and the other node has it that it is not"
                )
        if mine.role is Role.PRIMARY and theirs.role is Role.PRIMARY:
            self.broken(f"both nodes have recorded themselves primary of {unit.module} in one history")

    def process_died(self, unit: Unit) -> None:
        """Its process is gone; what it had made durable counts."""
        self._recorded(unit)

    def volume_not_opened(self, unit: Unit, error: Exception) -> None:
        """Promise 6: metadata is whole after any crash."""
        if "failed to" not in str(error):
            self.broken(f"the volume of {unit.module} on {unit.node.name} cannot be opened: {error}")

    # ---- after every turn -------------------------------------------------------------------------------

    def look(self, unit: Unit) -> None:
        """At most one node can acknowledge; a state that is new is noted."""
        process = unit.process
        if process is None:
            return
        module = process.machine._module
        session, before = module.session, process.seen
        phase = session.phase if session is not None else None
        version = unit.disk.files[unit.module, METADATA_FILE].version
        if version != unit.judged_version:
            unit.judged_version = version
            self._recorded(unit)
        if module.mode is not before[0] or phase is not before[1]:
            self._moved(unit, process, (module.mode, phase))
        if process.mirror._client.io is Io.OPEN:
            self._at_most_one(unit, self.case(unit))

    def _at_most_one(self, unit: Unit, case: Case) -> None:
        world = self._world
        if not (can_answer(unit.peer) and can_answer(unit)):
            case.both_since_s = None
            return
        if not world.may_split:
            self.broken(f"both nodes can acknowledge for {unit.module}")
        self._split(case)
        if world.remembers and not world.etcd.forgot:
            witnessed.both_serve(unit, case)

    def _moved(self, unit: Unit, process: Process, seen: tuple[Mode, Phase | None]) -> None:
        before, process.seen = process.seen, seen
        if Mode.ALONE in (seen[0], before[0]) and seen[0] is not before[0]:
            began = process.machine.record.generation is not process.volume.record.generation
            unit.ran_alone(seen[0] is Mode.ALONE, anew=began)
        self._world.moved(unit, _state(before), _state(seen))
        if seen[0] in DOUBT and before[0] not in DOUBT:
            unit.doubt_s = self._world.schedule.now_s
        elif seen[0] is Mode.ALONE and (before[0] in DOUBT or self._world.remembers):
            self._granted(unit, process)
        if seen == (Mode.PRIM, Phase.GREEN) and self._world.remembers:
            witnessed.green(unit, process)
        peer = unit.peer.process
        if seen == (Mode.SECOND, Phase.COPYING) and peer is not None:
            mine, theirs = process.volume.record.generation, peer.volume.record.generation
            if mine is not None and theirs is not None and mine.relation(theirs) is Relation.DIVERGED:
                self._gives_way(unit)

    def _gives_way(self, unit: Unit) -> None:
        """Section 3, "Split brain": one side is overwritten without a person only where the policy names it."""
        world, peer = self._world, unit.peer
        first, second = world.settings.keep
        what = f"{unit.node.name} is overwritten by {peer.node.name}, though both histories went on"
        if not world.may_split:
            self.broken(f"{what}, and nothing could make two")
        if first is not second or first is Keep.ASK:
            self.broken(f"{what}, and no person decided")
        if first is Keep.PREFERRED_NODE and world.settings.preferred != peer.node.name:
            self.broken(f"{what}, and {world.settings.preferred or 'no node'} is preferred")
        ahead_s = unit.ran_alone_s - peer.ran_alone_s
        sure = unit.ran_sure and peer.ran_sure
        if first is Keep.LONGEST_RUNNING and sure and ahead_s > 1.0 + 0.3 * world.settings.timeout_s:
            self.broken(f"{what}, and ran {ahead_s:.1f} s longer")
        world.cover(f"healed by {first.value}")
        remember(unit)
        self._chosen(peer)

    def _chosen(self, unit: Unit) -> None:
        """What this replica holds is the truth from here on; its VM goes on running, with requests under way."""
        case = self.case(unit)
        self._rebase(unit, case)
        case.owner, case.generation = unit, unit.record.generation if unit.record is not None else None
        for request in unit.guest.open.values():
            if request.op is Op.WRITE and request.data is not None:
                self.submitted(unit, request, int.from_bytes(bytes(request.data[:8]), "little"))
            elif request.op is Op.DISCARD:
                self.submitted(unit, request, 0)
        for write in case.writes.values():
            write.weak = True  # what this replica holds may have been asked for after it
        case.history.meanwhile()

    def _granted(self, unit: Unit, process: Process) -> None:
        """Section 3: with a witness, a new history begins only when it granted that in the present doubt."""
        record = process.machine.record
        if record.witness is WitnessKind.ETCD:
            witnessed.granted(unit, process)
            return
        begins = record.generation is not process.volume.record.generation
        if begins and record.witness is WitnessKind.PING and unit.witness.granted_s < unit.doubt_s:
            self.broken(
                f"{unit.node.name} goes on alone, and the witness granted nothing since the peer was lost"
            )

    def compare(self, unit: Unit) -> None:
        """Two uptodate replicas of one generation differ only where that is durably marked."""
        peer, case = unit.peer, self.case(unit)
        first, second = self.durable_record(unit), self.durable_record(peer)
        if first is None or second is None or case.split:
            return
        if not (first.uptodate and second.uptodate) or first.generation != second.generation:
            return
        if not first.peer_may_be_uptodate or not second.peer_may_be_uptodate:
            return
        mine, theirs = data_of(unit).current, data_of(peer).current
        differing = {
            number
            for number in mine.keys() | theirs.keys()
            if mine.get(number, ZERO_UNIT) != theirs.get(number, ZERO_UNIT)
        }
        if not differing:
            return
        self._world.cover("compared-while-differing")
        marked = self._marked(unit) | self._marked(peer)
        for number in sorted(differing):
            if number // BLOCK_UNITS not in marked:
                self.broken(
                    f"both replicas are uptodate, and block {number // BLOCK_UNITS} differs without a durable mark"
                )

    def _marked(self, unit: Unit) -> set[int]:
        """Blocks that are durably marked on this node."""
        process = unit.process
        if process is None:
            return set()
        volume = process.volume
        replica = volume.record.replica_id
        log = DurableFile(unit.disk.files[unit.module, LOG_FILE])
        extents = volume.size_bytes // EXTENT_BLOCKS // BLOCK_BYTES
        marked = {
            block
            for extent in ActivityLog.load(log, replica, extents, "judge").extents  # type: ignore[arg-type]
            for block in range(extent * EXTENT_BLOCKS, (extent + 1) * EXTENT_BLOCKS)
        }
        inode = unit.disk.files[unit.module, BITMAP_FILE]
        file = BitmapFile(DurableFile(inode), replica, volume.size_bytes)  # type: ignore[arg-type]
        for first, count in file.load("judge").bits.runs():
            marked.update(range(first, first + count))
        return marked

    # ---- the end ----------------------------------------------------------------------------------------

    def equal(self, unit: Unit) -> None:
        """At rest, both replicas hold the same, and all that was acknowledged."""
        case, peer = self.case(unit), unit.peer
        mine, theirs = data_of(unit), data_of(peer)
        for number in sorted(mine.current.keys() | theirs.current.keys()):
            if mine.current.get(number, ZERO) != theirs.current.get(number, ZERO):
                self.broken(
                    f"{unit.module} is green and at rest, and unit {number} differs between the nodes"
                )
        if not case.split:
            self._complete(unit, case, mine)

    # ---- inside -----------------------------------------------------------------------------------------

    def _split(self, case: Case) -> None:
        if not case.split:
            case.split = True
            self._world.cover("split")
            self._world.story.add(
                "JUDGE", "two nodes serve at once, as a cut network without a memory allows"
            )

    def durable_record(self, unit: Unit) -> Record | None:
        """The record that a reader would find now; None while no process of the unit lives."""
        if unit.process is None:
            return None
        if unit.disk.files[unit.module, METADATA_FILE].version != unit.record_version:
            self._read_record(unit)
        return unit.record


ZERO = bytes(UNIT_BYTES)


def _state(seen: tuple[Any, Any]) -> str:
    """For coverage and triggers: `PRIM copying`."""
    mode, phase = seen
    return f"{mode.value} {phase.value}" if phase is not None else mode.value if mode is not None else "none"


def can_answer(unit: Unit) -> bool:
    """Whether a request of the VM could be answered with success now."""
    process = unit.process
    if process is None or process.dead or process.frozen:
        return False
    mirror = process.mirror
    return mirror._client.io is Io.OPEN and mirror._answers._gate_s > unit.node.clock()


def data_of(unit: Unit) -> Inode:
    """The data file of a replica."""
    return unit.disk.files[unit.module, DATA_FILE]


def value_at(inode: Inode, content: dict[int, bytes], sector: int) -> int:
    """What a sector holds."""
    unit = content.get(sector >> 3)
    if unit is None:
        return 0
    at = (sector & 7) * SECTOR_BYTES
    return int.from_bytes(unit[at : at + 8], "little")


def _pending(inode: Inode, sector: int) -> set[int]:
    offset = sector * SECTOR_BYTES
    found = set()
    for _, start, data, length in inode.pending:
        if start <= offset < start + length:
            at = offset - start
            found.add(int.from_bytes(data[at : at + 8], "little") if data is not None else 0)
    return found


def _ends(request: Request) -> tuple[int, int]:
    first = request.offset_bytes // SECTOR_BYTES
    return first, first + request.length_bytes // SECTOR_BYTES - 1


def _name(unit: Unit | None) -> str:
    return unit.node.name if unit is not None else "no node"
