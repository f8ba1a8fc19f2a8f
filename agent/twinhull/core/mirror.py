"""The data path of one module, as a decision: requests, answers and frames in, effects out.

A pure object: no I/O, no clock, no threads; one thread calls it, with `now_s` (seconds that count suspend). It keeps
promises 1 to 3 of the design: a write is answered only when both nodes hold it (or this one is alone), a flush when both
disks confirm it, and what may differ is durably marked before a write goes anywhere.

Parts: `mirror_client` (requests), `mirror_answers` (the lease), `mirror_flush` (flush rounds), `mirror_log` (the activity
log), `mirror_copy` (resync, sending side), `mirror_verify` (comparison while in step), `mirror_second` (the receiving
side), `mirror_rescue` (what it keeps before it overwrites it), `mirror_watch` (time-outs), `activity` (marks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import frames
from .activity import Activity
from .effects import Effect
from .events import PeerDisk, Quiesced, SessionEnded
from .frames import Buffer, DataFrame
from .marks import BLOCK_BYTES, PagedBitmap
from .mirror_answers import Answers
from .mirror_client import Client, Io
from .mirror_copy import Copier
from .mirror_flush import FlushRounds
from .mirror_log import LogLane, Range
from .mirror_second import Second
from .mirror_types import SECONDARY, Desk, Locks, MirrorProtocolError, Part, Pending, Progress, ResyncSettings
from .mirror_verify import APART, Repair, Verifier, VerifyReport, VerifySettings
from .mirror_watch import Watch
from .requests import Op

__all__ = [
    "Mirror",
    "MirrorProtocolError",
    "Progress",
    "Repair",
    "ResyncSettings",
    "VerifyReport",
    "VerifySettings",
]


class Mirror:
    """One node's data path of one module.

    Every method that may have effects leaves them for `take`. It begins with its I/O closed and no session.

    Args:
        size_bytes: size of the volume, a multiple of 32 KiB.
        bits: the durable bitmap as it was loaded; it is taken over.
        log_extents: extents that were in the activity log as it was loaded: all of their blocks count as marked.
        log_capacity: how many extents the activity log takes, at least 4.
        write_timeout_s: how long a write or flush may stay unanswered before somebody is told.
        resync: how a resync behaves.
    """

    def __init__(
        self,
        size_bytes: int,
        bits: PagedBitmap,
        log_extents: Iterable[int],
        log_capacity: int,
        write_timeout_s: float,
        resync: ResyncSettings,
    ) -> None:
        self._activity = Activity(size_bytes, bits, log_extents, log_capacity)
        self._desk = Desk(self._activity, write_timeout_s)
        locks = Locks()
        self._copier = Copier(self._desk, locks, resync, lambda: self._client)
        self._log = LogLane(self._desk, self._log_demand, self._log_ready, self._settle)
        self._flusher = FlushRounds(
            self._desk,
            self._may_flush,
            self._flush_confirmed,
            self._rested,
        )
        self._answers = Answers(self._desk)
        self._verifier = Verifier(self._desk, locks, lambda: self._client)
        self._client = Client(self._desk, self._log, self._flusher, locks, self._answers, self._write_settled)
        self._second = Second(self._desk, self._log)
        self._ending: set[int] | None = None
        self._quiescing = False
        self._quiesce_flushed = False
        self._watch = Watch(self._desk)
        self._by_part = self._frame_tables()

    # ---- requests and answers ------------------------------------------------------------------------

    def take(self) -> list[Effect]:
        """Effects since the last `take`, in the order in which they must be performed."""
        desk = self._desk
        if desk.part is SECONDARY:
            self._second.acknowledge()
        effects = desk.effects
        if effects:
            desk.effects = []
        return effects

    def submit(
        self,
        tag: int,
        op: Op,
        offset_bytes: int,
        length_bytes: int,
        data: Buffer | None,
        fua: bool,
        now_s: float,
    ) -> None:
        """Take a request of the export; `Complete(tag)` answers it, some time.

        Args:
            tag: names the request in its answer.
            op: what it wants; range and `data` as in `requests.Request`. A range that is not of whole sectors of 512
                bytes within the volume is answered EINVAL.
            data: of a write; it must not change before the answer.
            fua: answer only when it is durable.
            now_s: the time.
        """
        self._desk.now_s = now_s
        self._client.submit(tag, op, offset_bytes, length_bytes, data, fua)

    def local_done(self, ticket: int, error: str | None, full: bool, now_s: float) -> None:
        """A LocalWrite or LocalDiscard was done, or failed with `error` (`full`: for want of space).

        KeyError: no such ticket.
        """
        self._desk.now_s = now_s
        if not self._client.wrote(ticket, error, full) and not self._second.wrote(ticket, error, full):
            raise KeyError(ticket)
        if self._ending is not None:
            self._ending.discard(ticket)
            self._end_if_over()
        if self._quiescing:
            self._quiesce()

    def flush_done(self, ticket: int, error: str | None, full: bool, now_s: float) -> None:
        """A LocalFlush was done, or failed for good. KeyError: no such ticket."""
        self._desk.now_s = now_s
        if self._flusher.owns(ticket):
            self._flusher.local_done(ticket, error, full)
        else:
            self._second.flushed(ticket, error, full)

    def read_done(self, ticket: int, data: Buffer | None, error: str | None, now_s: float) -> None:
        """A ReadLocal was done (`data` None: a hole), or failed. KeyError: no such ticket."""
        self._desk.now_s = now_s
        if not (
            self._client.read(ticket, data, error)
            or self._copier.read(ticket, data, error)
            or self._verifier.read(ticket, data, error)
        ):
            self._second.read(ticket, data, error)

    def digest_done(self, ticket: int, digests: bytes | None, error: str | None, now_s: float) -> None:
        """A DigestLocal was done (`digests` None: a hole), or failed. KeyError: no such ticket."""
        self._desk.now_s = now_s
        if not self._verifier.digested(ticket, digests, error):
            self._second.digested(ticket, digests, error)

    def keep_done(self, ticket: int, error: str | None, now_s: float) -> None:
        """A KeepOld is durable, or could not be done. KeyError: no such ticket."""
        self._desk.now_s = now_s
        if not self._verifier.kept(ticket, error):
            self._second.kept(ticket, error)

    def rescue_done(self, ticket: int, error: str | None, now_s: float) -> None:
        """A RescueOld is durable, or could not be done. KeyError: no such ticket."""
        self._desk.now_s = now_s
        self._second.rescuer.done(ticket, error)

    def rescue_opened(self, kept: PagedBitmap | None, error: str | None, now_s: float) -> None:
        """The rescue of `begin_session(rescue=True)` is there, or could not be opened.

        Args:
            kept: the blocks that are in it; taken over. None: nothing is kept, because it was given up before.
            error: why there is none.
            now_s: the time.
        """
        self._desk.now_s = now_s
        if error is not None:
            self._second.rescuer.fail(error)
        else:
            self._second.rescuer.opened(kept)

    def rescue_over(self, now_s: float) -> None:
        """Nothing is kept any more before it is overwritten."""
        self._desk.now_s = now_s
        self._second.rescuer.off()

    def log_done(self, ticket: int, error: str | None, full: bool, now_s: float) -> None:
        """A SyncLog was done, or failed for good. KeyError: no such ticket."""
        self._desk.now_s = now_s
        self._log.done(ticket, error, full)
        if error is not None:
            self._second.stop()
        self._quiesce()

    def frame(self, frame: DataFrame, now_s: float) -> None:
        """A frame of the present session. Frames that come after its end are ignored.

        Raises MirrorProtocolError: the connection must be closed.
        """
        self._desk.now_s = now_s
        table = self._by_part.get(self._desk.part)
        if table is None:
            return
        handler = table.get(type(frame))
        if handler is None:
            raise MirrorProtocolError(
                f"the peer sent a frame that is not its to send: {type(frame).__name__}"
            )
        handler(frame)
        if self._quiescing:
            self._quiesce()

    def tick(self, now_s: float) -> None:
        """Time passed: time-outs, pacing, idle flushes, the log's tidying. Call it every T/20."""
        self._desk.now_s = now_s
        self._answers.release()
        self._flusher.idle_tick()
        self._log.tidy()
        self._copier.pump()
        self._verifier.pump()
        self._quiesce()
        self._look_for_stalls()

    # ---- what the machine decides ----------------------------------------------------------------------

    def open_alone(self, now_s: float | None = None) -> None:
        """Serve requests on this node alone; what the peer did not confirm is done when it is done here."""
        self._at(now_s)
        self._verifier.end(APART)
        self._leave()
        self._set_part(Part.NONE)
        self._desk.failure_told = False
        self._flusher.peer_lost()
        self._client.peer_lost()
        self._client.open()
        self._flusher.start()

    def hold(self, now_s: float | None = None) -> None:
        """Accept requests, issue and answer none, until `serve`, `open_alone` or a session opens them again."""
        self._at(now_s)
        self._verifier.pause()
        self._client.hold()

    def close_io(self, now_s: float | None = None) -> None:
        """Fail every request, also those to come, with EIO until I/O is opened again."""
        self._at(now_s)
        self._verifier.end("the module does not run here any more")
        self._client.close()

    def forsake(self) -> None:
        """The export that asked is gone, and nobody waits for an answer. What was not issued never will be."""
        self._client.forsake()

    def fail_up(self, now_s: float | None = None) -> None:
        """Errors of this node's disk go up to the VM from now on, those of requests that wait included."""
        self._at(now_s)
        self._client.fail_up()

    def begin_session(
        self,
        *,
        primary: bool,
        resend: bool = False,
        everything: bool = False,
        serve: bool = True,
        rescue: bool = False,
        digest_key: bytes = b"",
        now_s: float | None = None,
    ) -> None:
        """A session began.

        As PRIM: issue requests on both nodes, send again what the peer did not confirm, and wait for its marks. As
        SECOND: send the marks, apply what comes; requests of this node's export fail.

        Args:
            primary: this node's part.
            resend: the peer is the same process and kept what it had: what was to be copied stays as it was.
            everything: every block may differ.
            serve: requests may be answered (within the lease); otherwise from `serve` on.
            rescue: as SECOND: nothing is overwritten before `rescue_opened`.
            digest_key: of comparisons in this session (`mirror_digests.key_of`); empty if the peer does not know it.
            now_s: the time, or None for that of the last call.
        """
        self._at(now_s)
        desk, client = self._desk, self._client
        desk.failure_told = False
        desk.digest_key = digest_key
        continues = primary and resend and desk.plan_holds
        in_step = desk.in_step
        self._leave()
        if not (primary and resend):
            self._verifier.end(APART)
        self._ending = None
        desk.seq = 0
        if not primary:
            client.close()
            client.peer_lost()
            self._flusher.abandon()
            self._set_part(Part.SECONDARY)
            self._second.begin()
            if rescue:
                self._second.rescuer.open()
            self._second.send_marks()
            return
        self._set_part(Part.PRIMARY)
        desk.plan_holds = True
        desk.in_step = continues and in_step
        if not continues:
            self._copier.reset()
        self._copier.everything |= everything
        client.serving = serve
        client.fails_up = False
        client.resend()
        client.open()
        self._flusher.start()

    def serve(self, now_s: float | None = None) -> None:
        """As PRIM: requests may be answered from now on, within the lease. Without a session it does nothing."""
        self._at(now_s)
        if self._desk.part is Part.PRIMARY:
            self._client.serving = True
            self._client.open(release=now_s is not None)

    def set_lease(self, until_s: float, now_s: float | None = None) -> None:
        """As PRIM, requests may be answered until this time.

        Without `now_s` what waits for the lease is answered at the next call that brings the time.
        """
        self._client.lease_s = until_s
        if now_s is not None:
            self._at(now_s)
            self._client.set_gate()
        else:
            self._client.set_gate(release=False)

    def start_copy(self, now_s: float | None = None) -> None:
        """As PRIM: copy what is marked on either side; `CopyDone` is told when nothing is left."""
        self._at(now_s)
        self._copier.start()

    def end_copy_flush(self, epoch: int, now_s: float | None = None) -> None:
        """As PRIM: have both disks flushed; `CopyFlushedBoth(epoch)` is told then."""
        self._at(now_s)
        self._flusher.want_copy(epoch)

    def finish_copy(self, now_s: float | None = None) -> None:
        """The copy is confirmed: what was not written since its final flush began is not marked any more."""
        self._at(now_s)
        desk = self._desk
        if desk.part is not Part.PRIMARY:
            self._activity.drop_stale()
        elif desk.plan_holds and self._copier.complete:
            self._activity.drop_stale()
            desk.in_step = True

    def end_session(self, now_s: float | None = None) -> None:
        """The session is over; `SessionEnded` is told once every write of it was applied or dropped.

        As PRIM unanswered requests are held.
        """
        self._at(now_s)
        in_step, holds = self._desk.in_step, self._desk.plan_holds
        self._ending = self._client.write_tickets() | self._second.end()
        if self._desk.part is not Part.NONE:
            self._leave()
            self._desk.part = Part.NONE
            self._desk.in_step, self._desk.plan_holds = in_step, holds
        self._end_if_over()

    def quiesce(self, now_s: float | None = None) -> None:
        """Tell `Quiesced` once nothing is in flight and everything is flushed; in step, also no mark is left.

        A disk that failed for good and whose errors go up to the VM is not waited for.
        """
        self._at(now_s)
        self._verifier.end("the module is handed over or stopped")
        self._quiescing = True
        self._quiesce_flushed = False
        self._quiesce()

    # ---- comparison --------------------------------------------------------------------------------------

    def start_verify(
        self,
        from_bytes: int = 0,
        repair: Repair = Repair.NO,
        settings: VerifySettings | None = None,
        *,
        extended: bool,
        now_s: float,
    ) -> bool:
        """As PRIM in step: compare both replicas; `VerifyEnded` tells the outcome. False: it cannot be done now.

        Args: see `Verifier.start`.
        """
        self._desk.now_s = now_s
        return not self._quiescing and self._verifier.start(
            from_bytes, repair, settings or VerifySettings(), extended=extended
        )

    def end_verify(self, reason: str, now_s: float) -> None:
        """End the comparison, if there is one; `VerifyEnded` tells how far it was."""
        self._desk.now_s = now_s
        self._verifier.end(reason)

    def verify_report(self, now_s: float) -> VerifyReport | None:
        """How far the comparison is; None when there is none."""
        return self._verifier.report(now_s) if self._verifier.running else None

    def send_disk_failed(self, reason: str) -> None:
        """Tell the peer, in this session, that this node's disk failed."""
        if self._desk.part is not Part.NONE:
            self._desk.send(frames.PeerDiskFailed(reason))

    # ---- looking -----------------------------------------------------------------------------------------

    @property
    def has_marks(self) -> bool:
        """Whether anything is marked as "may differ" on this node."""
        return self._activity.has_marks

    @property
    def awake_since_s(self) -> float:
        """Since when the ticks have come without a gap, seconds: what was silent before proves nothing (promise 8)."""
        return self._watch.awake_since_s

    @property
    def owes(self) -> bool:
        """Whether a write of an export that is gone can still change a node: a new export would see it appear."""
        return self._client.owes

    @property
    def quiet(self) -> bool:
        """Whether no disk has anything to do for a request, for the peer or for a copy, but to flush."""
        return not (self._client.in_flight or self._client.waiting or self._second.busy or self._copier.busy)

    @property
    def in_step(self) -> bool:
        """As PRIM: nothing is left to copy, so that flushes of both nodes clear marks."""
        return self._desk.in_step

    def marked_bytes(self) -> int:
        """How much of the volume is marked, in whole blocks."""
        return self._activity.marked_blocks() * BLOCK_BYTES

    def progress(self, now_s: float) -> Progress:
        """How far the resync is."""
        return self._copier.progress(now_s)

    # ---- inside ------------------------------------------------------------------------------------------

    def _at(self, now_s: float | None) -> None:
        if now_s is not None:
            self._desk.now_s = now_s

    def _set_part(self, part: Part) -> None:
        self._desk.part = part
        self._desk.in_step = self._desk.plan_holds = False
        self._client.serving = False
        self._client.set_gate(release=False)

    def _write_settled(self, item: Pending) -> None:
        self._copier.write_settled(item)
        self._verifier.write_settled(item)

    def _differ(self, op: int, flags: bytes) -> None:
        if not self._verifier.differ(op, flags):
            self._copier.differ(op, flags)

    def _leave(self) -> None:
        """Whatever belongs to the session that was is over."""
        self._verifier.pause()
        if self._desk.part is Part.PRIMARY:
            self._client.hold()
        self._second.end()
        self._second.rescuer.off()
        self._copier.end()
        self._flusher.leave_session()
        self._activity.restore_stale()
        self._client.lease_s = float("-inf")
        self._client.set_gate(release=False)
        self._quiescing = False
        self._watch.new_session()

    def _end_if_over(self) -> None:
        if self._ending is not None and not self._ending:
            self._ending = None
            self._desk.tell(SessionEnded(self.has_marks))

    def _may_flush(self) -> bool:
        part = self._desk.part
        return part is Part.PRIMARY or (part is Part.NONE and self._client.io is not Io.HELD)

    def _flush_confirmed(self, item: Pending, error: int) -> None:
        self._client.flush_confirmed(item, error)

    def _rested(self) -> None:
        if self._log.starved:
            self._log.kick()
        self._quiesce()

    def _log_demand(self) -> Iterable[Range]:
        return (self._second if self._desk.part is SECONDARY else self._client).log_demand()

    def _log_ready(self) -> None:
        (self._second if self._desk.part is Part.SECONDARY else self._client).drain()

    def _settle(self) -> None:
        if self._desk.part is Part.SECONDARY:
            self._second.settle()
        else:
            self._flusher.want_internal()

    def _quiesce(self) -> None:
        if not self._quiescing or self._desk.part is Part.SECONDARY:
            return
        client, flusher = self._client, self._flusher
        if client.unfinished or (client.waiting and client.io is Io.OPEN):
            return
        if client.fails_up and flusher.failed:
            # This disk flushes nothing any more, and the VM was told so: there is nothing left to wait for.
            self._quiescing = False
            self._desk.tell(Quiesced())
            return
        if not flusher.idle:
            return
        if not self._quiesce_flushed or flusher.complete_stamp < self._activity.stamp:
            self._quiesce_flushed = True
            flusher.want_internal()
            return
        if self._desk.in_step and not self._log.empty():
            return
        self._quiescing = False
        self._desk.tell(Quiesced())

    def _look_for_stalls(self) -> None:
        client, flusher = self._client, self._flusher
        verifier = self._verifier
        peer = (client.peer_since_s, flusher.peer_since_s, self._copier.peer_since_s, verifier.peer_since_s)
        local = (
            client.local_since_s,
            flusher.local_since_s,
            self._second.local_since_s,
            self._log.issued_s,
            verifier.local_since_s,
        )
        self._watch.look(peer if self._desk.part is Part.PRIMARY else (), local)

    def _frame_tables(self) -> dict[Part, dict[type, Callable[[Any], None]]]:
        client, flusher, copier, second = self._client, self._flusher, self._copier, self._second
        verifier = self._verifier
        disk_failed: dict[type, Callable[[Any], None]] = {
            frames.PeerDiskFailed: lambda f: self._desk.tell(PeerDisk(f.reason))
        }
        return {
            Part.PRIMARY: disk_failed
            | {
                frames.Ack: lambda f: client.acked(f.seq),
                frames.Flushed: lambda f: flusher.flushed(f.seq),
                frames.Marks: lambda f: copier.peer_page(f.page, bytes(f.bits)),
                frames.MarksEnd: lambda _: copier.peer_marks_end(),
                frames.Differ: lambda f: self._differ(f.op, bytes(f.flags)),
                frames.Kept: verifier.peer_kept,
                frames.Fetched: verifier.fetched,
                frames.CopyAck: lambda f: copier.acked(f.op),
                frames.CopyFlushed: lambda f: flusher.copy_flushed(f.epoch),
            },
            Part.SECONDARY: disk_failed
            | {
                frames.Write: second.ordered,
                frames.Discard: second.ordered,
                frames.Flush: second.ordered,
                frames.CopyFlush: second.ordered,
                frames.Clear: second.clear,
                frames.Copy: second.copy,
                frames.CopyZero: second.copy_zero,
                frames.Digests: second.compare,
                frames.CompareZero: second.compare_zero,
                frames.Keep: second.keep,
                frames.Fetch: second.fetch,
            },
        }
