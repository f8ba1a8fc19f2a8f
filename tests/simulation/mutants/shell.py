"""Bugs in what performs the decisions: order, durability, storage, the wire."""

from __future__ import annotations

import dataclasses
from typing import Any

from twinhull.core import actions, events, messages, mirror
from twinhull.core.events import Quiesced
from twinhull.errors import DiskError
from twinhull.storage import metadata, volume
from twinhull.transport import frames, protocol
from twinhull.worker import disk, peer, worker

from .kit import Mutant

Worker, Protocol = worker.Worker, protocol.StreamProtocol
_perform_batch, _drop_batches, _write = Worker._perform_batch, Worker._drop_batches, metadata.Metadata.write


def _alone_before_durable(self: Any, batch: Any) -> None:
    early = tuple(each for each in batch.apply if isinstance(each, actions.OpenAlone))
    if batch.persist is not None and early:
        for action in early:
            self._perform_action[type(action)](action)
        batch = dataclasses.replace(batch, apply=tuple(each for each in batch.apply if each not in early))
    _perform_batch(self, batch)


def _send_before_durable(self: Any, batch: Any) -> None:
    if batch.persist is not None and batch.send:
        for connection, message in batch.send:
            self._stream.send_message(connection, messages.encode(message))
        batch = dataclasses.replace(batch, send=())
    _perform_batch(self, batch)


def _own_timeout_s(self: Any) -> float:
    return float(self._settings.timeout_s)


def _never_slept(_self: Any) -> float:
    """Time that the process slept through counts as any other."""
    return 0.0


def _alone_untold(self: Any, _action: Any) -> None:
    self._rescues.leave()
    self._mirror.open_alone(self._clock())


def _persisted_sometime(self: Any, record: Any, _before: Any, done: Any) -> Any:
    self._log_lane.submit(
        lambda: self._volume.write_record(record), lambda outcome: done(*disk.judged(outcome))
    )
    return lambda: True


def _leave_believed(self: Any, failed: Any, error: str, full: bool) -> None:
    for connection, message in failed.send:
        self._stream.send_message(connection, messages.encode(message))
    _drop_batches(self, failed, error, full)


def _flush_retried(self: Any) -> None:
    try:
        self._data.sync()
    except DiskError:
        self._data._inode.failed = False
        self._data.sync()


def _flush_error_swallowed(self: Any) -> None:
    try:
        self._data.sync()
    except DiskError:
        return


def _slot_in_place(self: Any, record: Any) -> None:
    newest = self._newest
    following = metadata._Slot(newest.sequence + 2, newest.geometry, record)
    offset = metadata.SLOT_OFFSETS_BYTES[following.sequence % 2]
    self._file.write(offset, bytes(metadata.SLOT_BYTES))
    self._file.write(offset, metadata.encode_slot(*following))
    self._file.sync()
    self._newest = following


def _not_noted(_self: Any) -> None:
    """Nobody will know that the record was never confirmed."""


def _record_not_synced(self: Any, record: Any) -> None:
    newest = self._newest
    following = metadata._Slot(newest.sequence + 1, newest.geometry, record)
    offset = metadata.SLOT_OFFSETS_BYTES[following.sequence % 2]
    self._file.write(offset, metadata.encode_slot(*following))
    self._newest = following


def _not_ended(self: Any, connection: Any, reason: str) -> None:
    """A connection that is given up is read on, and what comes over it counts for whatever session there is."""
    ended = self.__dict__.setdefault("_ended", set())
    if connection is not self._live or connection in ended or "reset" in reason or "closed" in reason:
        _drop(self, connection, reason)
        return
    ended.add(connection)
    self._live = None
    self._receiver.event(events.StreamDown(connection.number, reason))


def _taken_late(self: Any, connection: Any, event: Any) -> None:
    if connection not in self.__dict__.get("_ended", ()) or isinstance(event, protocol.FrameReceived):
        _take(self, connection, event)


_drop, _take = peer.PeerStream._drop, peer.PeerStream._take


def _quiet_at_once(self: Any) -> None:
    if self._quiescing:
        self._quiescing = False
        self._desk.tell(Quiesced())


def _any_opening(self: Any, opening: Any) -> Any:
    self.version = min(self._versions[1], opening.max_version)
    self._outside = self._bare._replace(version=self.version)
    return protocol.Opened(self.version, opening.node)


def _same_tag(_module: str) -> bytes:
    return b"same"


def _first_port(self: Any) -> None:
    own = self._settings
    self._settings = dataclasses.replace(own, port=7000)
    _dial(self)
    self._settings = own


_dial = peer.PeerStream._dial

MUTANTS = (
    Mutant(
        'ack before "alone" is durable',
        "A node serves alone while its record is still on the way to the disk.",
        ((Worker, "_perform_batch", _alone_before_durable),),
    ),
    Mutant(
        "told before it is durable",
        "Messages go out before the record that they stand for is durable.",
        ((Worker, "_perform_batch", _send_before_durable),),
    ),
    Mutant(
        "a leave believed though its record failed",
        "Messages go out though the record that they stand for failed.",
        ((Worker, "_drop_batches", _leave_believed),),
    ),
    Mutant(
        "fsync error retried", "A failed flush is made again.", ((volume.Volume, "flush", _flush_retried),)
    ),
    Mutant(
        "fsync error swallowed",
        "A failed flush counts as made.",
        ((volume.Volume, "flush", _flush_error_swallowed),),
    ),
    Mutant(
        "metadata slots written in place",
        "The newest record is overwritten instead of the older one.",
        ((metadata.Metadata, "write", _slot_in_place),),
    ),
    Mutant(
        "a record that failed counts all the same",
        "What a failed sync wrote of a record is believed when it is found.",
        ((volume.Volume, "_note_unconfirmed", _not_noted),),
    ),
    Mutant(
        "record not synced",
        "A record counts as durable once it is written.",
        ((metadata.Metadata, "write", _record_not_synced),),
    ),
    Mutant(
        "old session's frame accepted",
        "What comes over a connection that was given up counts for the session of another one.",
        ((peer.PeerStream, "_drop", _not_ended), (peer.PeerStream, "_take", _taken_late)),
    ),
    Mutant(
        "two modules' frames confused",
        "Any module's worker is connected to the first one's on the other node, and nobody looks at the names.",
        (
            (Protocol, "_opened", _any_opening),
            (frames, "tag_of_module", _same_tag),
            (peer.PeerStream, "_dial", _first_port),
        ),
    ),
    Mutant(
        "swap acknowledged before the flush",
        "A hand-over does not wait for writes under way and flushes.",
        ((mirror.Mirror, "_quiesce", _quiet_at_once),),
    ),
    Mutant(
        "the connection keeps its own T",
        "A node gives its connection up, and sends, in the measure of its own T, whatever its peer's is.",
        ((Worker, "timeout_s", property(_own_timeout_s)), (Worker, "pace_s", property(_own_timeout_s))),
    ),
    Mutant(
        "a record's time runs while its worker sleeps",
        "A worker that wakes counts its disk as failed, because a record was not durable in the time that it slept.",
        ((mirror.Mirror, "awake_since_s", property(_never_slept)),),
    ),
    Mutant(
        "a node goes on alone before its agent knows",
        "When it dies then, its peer is told that the session before died, and takes over at once.",
        ((Worker, "_open_alone", _alone_untold),),
    ),
    Mutant(
        "a record that comes late counts",
        "What was answered as not carried out, because its record was late, is found at the next start.",
        ((disk.Disk, "persist", _persisted_sometime),),
    ),
    Mutant(
        "a disk's failure is forgotten with its record",
        "A replica whose disk failed is believed again, when the record of that could not be made either.",
        ((volume.Volume, "_note_doubt", volume.Volume._note_unconfirmed),),
    ),
)
