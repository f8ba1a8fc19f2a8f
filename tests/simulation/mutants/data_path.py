"""Bugs in the path of a request: acknowledging, flushing, sending again."""

from __future__ import annotations

from typing import Any

from twinhull.core import frames, mirror_answers, mirror_client, mirror_flush, mirror_second
from twinhull.core.effects import LocalDiscard, LocalWrite
from twinhull.core.mirror_types import ALWAYS_S, NEED_LOCAL, NEED_PEER

from .kit import Mutant

Client, Flusher, Second = mirror_client.Client, mirror_flush.FlushRounds, mirror_second.Second
_issue, _start, _apply, _ordered = Client._issue, Flusher.start, Second._apply, Second.ordered
_allow = mirror_answers.Answers.allow


def _ack_without_local(self: Any, item: Any) -> None:
    _issue(self, item)
    if item.need & NEED_PEER:
        item.need &= ~NEED_LOCAL


def _flush_not_sent(self: Any, current: Any) -> None:
    if current.epoch is not None:
        self._desk.send(frames.CopyFlush(current.epoch))
        return
    current.peer, current.clears = True, False


def _flush_not_made(self: Any, answer: Any) -> None:
    if answer is None:
        _second_flush(self, answer)
        return
    self._desk.activity.flushed(self._desk.activity.stamp)
    self.acknowledge()
    if isinstance(answer, frames.Flushed):
        self._flushed_seq = answer.seq
    self._desk.send(answer)


_second_flush = Second._flush


def _acks_on_receipt(self: Any, frame: Any) -> None:
    _ordered(self, frame)
    if not isinstance(frame, frames.CopyFlush | frames.Flush):
        self._held_seq = max(self._held_seq, frame.seq)


def _discard_forgotten(self: Any, frame: Any) -> bool:
    if not _apply(self, frame):
        return False
    if isinstance(frame, frames.Discard):
        last = self._desk.effects[-1]
        if isinstance(last, LocalDiscard):
            self._desk.effects[-1] = last._replace(length_bytes=0)
    return True


def _no_lease(self: Any, until_s: float) -> None:
    _allow(self, ALWAYS_S if until_s > 0 else until_s)


def _not_sent_again(self: Any) -> None:
    unacked, self._unacked = self._unacked, type(self._unacked)()
    self._last_ack = 0
    for item in unacked:
        self._peer_done(item)
    current = self._flusher.unconfirmed()
    if current is not None:
        self._flusher.resend(current)


def _fua_ignored(self: Any, item: Any) -> None:
    item.fua = False
    _issue(self, item)


def _hold_forgotten(self: Any) -> None:
    """Requests go on being issued and answered."""


def _ends_at_once(self: Any) -> set[int]:
    self.begin()
    return set()


def _copy_confirmed_early(self: Any, frame: Any) -> None:
    """A copy is confirmed at once, and applied behind the next write."""
    self._desk.send(frames.CopyAck(frame.op))
    self.__dict__.setdefault("_late", []).append((frame.offset_bytes, bytes(frame.data)))


def _ordered_then_late(self: Any, frame: Any) -> None:
    _ordered(self, frame)
    late = self.__dict__.pop("_late", ())
    for offset_bytes, data in late:
        ticket = self._desk.ticket()
        self._writes[ticket] = mirror_second.Applied(0, (), self._desk.now_s)
        self._desk.effects.append(LocalWrite(ticket, offset_bytes, data))


MUTANTS = (
    Mutant(
        "ack before the peer has it",
        "A write is acknowledged as soon as this node's own disk holds it.",
        ((mirror_client, "_PEER_AND_LOCAL", NEED_LOCAL),),
    ),
    Mutant(
        "ack before the own disk has it",
        "A write is acknowledged as soon as the SECOND holds it.",
        ((Client, "_issue", _ack_without_local),),
    ),
    Mutant(
        "ack on receipt",
        "The SECOND confirms writes when they arrive, not when its disk took them.",
        ((Second, "ordered", _acks_on_receipt),),
    ),
    Mutant(
        "requests outlive their export",
        "What an export that is gone had asked for is written when a new one stands already.",
        ((Client, "forsake", lambda _self: None),),
    ),
    Mutant(
        "flush not sent",
        "A flush is made on the PRIM's disk alone.",
        ((Flusher, "_send", _flush_not_sent),),
    ),
    Mutant(
        "flush confirmed but not made",
        "The SECOND confirms a flush without making it.",
        ((Second, "_flush", _flush_not_made),),
    ),
    Mutant("FUA ignored", "A FUA write is answered like any other.", ((Client, "_issue", _fua_ignored),)),
    Mutant(
        "discard not replicated",
        "The SECOND confirms discards without making them.",
        ((Second, "_apply", _discard_forgotten),),
    ),
    Mutant(
        "lease ignored",
        "A PRIM answers without looking at its lease.",
        ((mirror_answers.Answers, "allow", _no_lease),),
    ),
    Mutant(
        "not sent again",
        "After a reconnect to the same process, unacknowledged writes count as held by it.",
        ((Client, "resend", _not_sent_again),),
    ),
    Mutant(
        "hold forgotten",
        "Requests go on being answered while it is open who goes on.",
        ((Client, "hold", _hold_forgotten),),
    ),
    Mutant(
        "session ended before its writes",
        "The end of a session is told while writes of it are still in the disk's hands.",
        ((Second, "end", _ends_at_once),),
    ),
    Mutant(
        "resync block lands over a newer write",
        "The SECOND confirms a copy before it applies it, and applies it after a write that came behind it.",
        ((Second, "copy", _copy_confirmed_early), (Second, "ordered", _ordered_then_late)),
    ),
)
