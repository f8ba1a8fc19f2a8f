"""Bugs in what may differ: the activity log, the bitmap, the resync."""

from __future__ import annotations

from typing import Any

from twinhull.core import (
    activity,
    events,
    machine,
    mirror_client,
    mirror_copy,
    mirror_flush,
    mirror_log,
    mirror_types,
    resync,
)
from twinhull.core.marks import BLOCK_BYTES, EXTENT_BLOCKS, PAGE_COVER_BYTES
from twinhull.core.state import Phase
from twinhull.storage import actlog, bitmap

from .kit import Mutant

Activity, Copier, LogLane = activity.Activity, mirror_copy.Copier, mirror_log.LogLane
_commit, _send, _start, _done = LogLane._commit, Copier._send, mirror_flush.FlushRounds.start, LogLane.done


def _log_not_synced(self: Any, add: Any = (), remove: Any = ()) -> None:
    extents = (self._extents - frozenset(remove)) | frozenset(add)
    if extents == self._extents:
        return
    sequence = self._sequence + 1
    slot = actlog._encode_slot(sequence, extents, self._replica_id)
    self._file.write(sequence % actlog.SLOTS * actlog.SLOT_BYTES, slot)
    self._sequence, self._extents = sequence, extents


def _bits_not_synced(self: Any, pages: Any) -> None:
    for page, bits in pages:
        self._file.write(page * bitmap.PAGE_ON_DISK_BYTES, bitmap.encode_page(page, bits, self._replica_id))


def _removed_without_bits(self: Any, extent: Any) -> None:
    """Its marks are forgotten."""


def _cleared_at_start(self: Any) -> None:
    before = self._round
    _start(self)
    if self._round is not None and self._round is not before and self._round.clears:
        self._desk.activity.drop_old()


def _written_before_marked(self: Any, add: tuple[int, ...], remove: Any) -> None:
    _commit(self, add, remove)
    if add:
        self._desk.activity.added(add)
        self._adding = ()
        self._ready()


def _cleared_when_sent(self: Any, op: Any, data: Any) -> None:
    _forget_marks(self._desk.activity, op.first, op.blocks)
    _send(self, op, data)


def _forget_marks(marks: Any, first: int, blocks: int) -> None:
    marks.bits.clear_range(first, blocks)
    for extent in marks.extents.values():
        for block in range(first, first + blocks):
            if block // EXTENT_BLOCKS == extent.number:
                extent.kept &= ~(1 << block % EXTENT_BLOCKS)
    marks.dirty_pages.add(first * BLOCK_BYTES // PAGE_COVER_BYTES)


def _peer_marks_ignored(self: Any, page: int, bits: bytes) -> None:
    """Only this node's own marks are copied."""


def _no_lock(self: Any, offset_bytes: int, end_bytes: int) -> bool:
    return False


def _stale_not_restored(self: Any) -> None:
    for extent in self.extents.values():
        extent.stale = 0
    self._drop_stale_bits()


def _final_flush_skipped(m: Any, _: Any) -> None:
    current = resync._as_primary(m, Phase.COPYING)
    if current is not None:
        m.epoch += 1
        current.phase = Phase.FLUSHING
        resync.on_copy_flushed(m, events.CopyFlushedBoth(m.epoch))


def _in_flight_ignored(self: Any, offset_bytes: int, end_bytes: int) -> set[Any]:
    return set()


MUTANTS = (
    Mutant(
        "activity log not synced",
        "An extent counts as marked once its slot is written, without a sync.",
        ((actlog.ActivityLog, "commit", _log_not_synced),),
    ),
    Mutant(
        "bitmap not synced",
        "Bits count as durable once they are written, without a sync.",
        ((bitmap.BitmapFile, "store", _bits_not_synced),),
    ),
    Mutant(
        "extent leaves the log without its bits",
        "What an extent still marks is forgotten when it leaves the log.",
        ((Activity, "_to_bits", _removed_without_bits),),
    ),
    Mutant(
        "marks cleared early",
        "Marks go when a flush of both nodes begins, not when it is complete.",
        ((mirror_flush.FlushRounds, "start", _cleared_at_start),),
    ),
    Mutant(
        "mark durable after the write went out",
        "A write goes to disk and wire while its extent is still on the way to the log.",
        ((LogLane, "_commit", _written_before_marked),),
    ),
    Mutant(
        "bit cleared before the copy's ack",
        "The PRIM forgets a block's marks when its copy is sent.",
        ((Copier, "_send", _cleared_when_sent),),
    ),
    Mutant(
        "only one side's bitmap copied",
        "The marks of the SECOND are ignored.",
        ((Copier, "peer_page", _peer_marks_ignored),),
    ),
    Mutant(
        "resync overwrites a newer write",
        "Writes of the VM are not held back while their range is being copied.",
        ((mirror_types.Locks, "hit", _no_lock),),
    ),
    Mutant(
        "copy does not wait for writes under way",
        "A range is read for the resync while writes to it are still under way.",
        ((mirror_client.Client, "unsettled", _in_flight_ignored),),
    ),
    Mutant(
        "marks of a resync in vain are lost",
        "A resync that is cut off at its end has cleared the marks all the same.",
        ((Activity, "restore_stale", _stale_not_restored),),
    ),
    Mutant(
        "no flush at the end of a resync",
        "The SECOND becomes uptodate before its disk flushed the copy.",
        ((machine, "EVENTS", {**machine.EVENTS, events.CopyDone: _final_flush_skipped}),),
    ),
)
