"""The state machine of one module on one node (DESIGN.md sections 2 and 3).

No I/O, no clock, no thread, no randomness: events in, batches of actions out. This file only dispatches;
what an event changes, and what follows from the facts, lives in one file for each concern:

    decide     the decision table of two nodes that hear each other
    session    connections, hello, begin; the loss of a session
    resync     from begin to green
    loss       who goes on when the peer is lost; the witness; outdating the peer
    waiting    WAIT: who may go on unasked, or asks the witness
    witness    talking with a witness that has a memory; `memory`: what it holds, and what that means
    alone      going on alone, giving up
    pulse      heartbeats, lease, silence, sleep
    host       folder and resource
    handover   hand-over, leaving
    heal       split brain: who gives way, and how
    work       the operator's commands
    policy     failures of resource, checkers and disks
    view       the picture for people

After each event the machine looks at the facts until nothing more follows from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import (
    events,
    handover,
    heal,
    host,
    loss,
    messages,
    policy,
    pulse,
    resync,
    session,
    view,
    waiting,
    witness,
    work,
)
from .actions import Batch
from .events import Event
from .identity import Id
from .pulse import HeartbeatOut
from .record import Record
from .settings import ModuleSettings
from .state import Clock, Module
from .status import ModuleView

MAX_ROUNDS = 50

EventHandler = Callable[[Module, Any], None]
MessageHandler = Callable[[Module, int, Any], None]

MESSAGES: Mapping[type, MessageHandler] = {
    messages.Hello: session.on_hello,
    messages.Begin: session.on_begin,
    messages.Accept: session.on_accept,
    messages.Ready: resync.on_ready,
    messages.Done: resync.on_done,
    messages.Listed: resync.on_listed,
    messages.DoneConfirmed: resync.on_done_confirmed,
    messages.HandOver: handover.on_hand_over,
    messages.HandOverAccepted: handover.on_accepted,
    messages.HandOverRefused: handover.on_refused,
    messages.SwapRequest: work.on_swap_request,
    messages.SwapAnswer: work.on_swap_answer,
    messages.Leave: loss.on_leave,
    messages.Gone: loss.on_gone,
    messages.Heal: session.on_heal,
    messages.HealAnswer: heal.on_heal_answer,
    messages.OutdateRequest: lambda m, _, message: loss.on_outdate_request(m, message),
    messages.OutdateAnswer: lambda m, _, message: loss.on_outdate_answer(m, message),
}


def _on_received(m: Module, event: events.Received) -> None:
    if session.concerns(m, event.connection, event.message):
        MESSAGES[type(event.message)](m, event.connection, event.message)


def _on_told(m: Module, event: events.Told) -> None:
    if isinstance(event.message, messages.OutdateRequest):
        loss.on_outdate_request(m, event.message)
    elif isinstance(event.message, messages.OutdateAnswer):
        loss.on_outdate_answer(m, event.message)


def _on_nothing(_m: Module, _event: events.Tick) -> None:
    """Time passed: the steps look at it."""


EVENTS: Mapping[type, EventHandler] = {
    events.Start: work.on_start,
    events.Stop: work.on_stop,
    events.Restart: work.on_restart,
    events.StopStart: work.on_stopstart,
    events.Swap: work.on_swap,
    events.Abandon: work.on_abandon,
    events.WindowOpen: work.on_window,
    events.CheckersSuspended: work.on_checkers_suspended,
    events.AgentLink: pulse.on_agent_link,
    events.StreamUp: session.on_stream_up,
    events.StreamDown: session.on_stream_down,
    events.Received: _on_received,
    events.Heartbeat: pulse.on_heartbeat,
    events.Heard: pulse.on_heard,
    events.Told: _on_told,
    events.PeerWorkerDead: loss.on_peer_worker_dead,
    events.PeerAgentHeard: pulse.on_peer_agent,
    events.Tick: _on_nothing,
    events.InputDrained: pulse.on_drained,
    events.WitnessAnswer: loss.on_witness_answer,
    events.WitnessRead: witness.on_read,
    events.WitnessWritten: witness.on_written,
    events.WitnessReset: witness.on_reset,
    events.Attached: host.on_attached,
    events.AttachFailed: policy.on_attach_failed,
    events.Detached: host.on_detached,
    events.DetachFailed: host.on_detach_failed,
    events.ResourceStarted: host.on_started,
    events.ResourceStartFailed: policy.on_start_failed,
    events.ResourceStopped: host.on_stopped,
    events.ResourceStopFailed: host.on_stop_failed,
    events.ResourceDied: policy.on_died,
    events.CheckerFailed: policy.on_checker_failed,
    events.PeerMarksComplete: resync.on_marks_complete,
    events.CopyDone: resync.on_copy_done,
    events.CopyFlushedBoth: resync.on_copy_flushed,
    events.Quiesced: handover.on_quiesced,
    events.SessionEnded: handover.on_session_ended,
    events.PeerWriteTimeout: loss.on_peer_write_timeout,
    events.LocalWriteTimeout: policy.on_local_write_timeout,
    events.DiskFailed: policy.on_disk_failed,
    events.PeerDisk: policy.on_peer_disk,
    events.RescueFailed: policy.on_rescue_failed,
    events.RescueOpened: policy.on_rescue_opened,
    events.RescueRoom: policy.on_rescue_room,
}

STEPS: tuple[Callable[[Module], None], ...] = (
    handover.first_echo,
    loss.step,
    waiting.step,
    witness.step,
    handover.step,
    heal.account,  # before a hello tells of it
    session.step,
    host.step,
    host.arm_checkers,
)


class Machine:
    """One module on one node.

    Args:
        settings: the module's configuration.
        record: the durable record as it was read.
        size_bytes: size of the volume.
        process: random id of this worker process.
        new_id: where random ids come from.
        now_s: monotonic time that counts suspend, seconds; the same clock as `handle`'s.
        marks: whether anything is marked as "may differ" in the log or bitmap as read (True when in doubt).

    """

    def __init__(
        self,
        settings: ModuleSettings,
        record: Record,
        *,
        size_bytes: int,
        process: Id,
        new_id: Callable[[], Id],
        now_s: float,
        marks: bool = True,
    ) -> None:
        clock = Clock(now_s=now_s, last_s=now_s, silence_from_s=now_s, apart_from_s=now_s)
        self._module = Module(settings, record, size_bytes, process, new_id, clock, marks)

    @property
    def record(self) -> Record:
        """The record as it is, or as it will be once the batches handed out are performed."""
        return self._module.record

    @property
    def timeout_s(self) -> float:
        """T as it rules between both nodes, as far as they know of each other."""
        return self._module.timeout_s

    @property
    def pace_s(self) -> float:
        """The shorter T of both nodes."""
        return self._module.pace_s

    def handle(self, event: Event, now_s: float) -> list[Batch]:
        """Take one event; return what is to be done, in order.

        Args:
            event: what happened.
            now_s: the time, seconds.
        """
        m = self._module
        pulse.on_time(m, now_s)
        EVENTS[type(event)](m, event)
        self._settle()
        out, m.out = m.out, []
        return out

    def _settle(self) -> None:
        """Let follow what follows, until an entire round adds nothing."""
        m = self._module
        for _ in range(MAX_ROUNDS):
            said, mode, host_state, work = len(m.out), m.mode, m.host.state, m.work
            for step in STEPS:
                step(m)
            if len(m.out) == said and m.mode is mode and m.host.state is host_state and m.work is work:
                return
        raise RuntimeError(f"{m.name} on {m.me} does not settle in {m.mode}: this is a defect of core")

    def heartbeat(self, now_s: float) -> HeartbeatOut:
        """The sign of life to send now, over the stream and through the agent alike; every T/10."""
        return pulse.beat(self._module, now_s)

    def view(self, now_s: float) -> ModuleView:
        """What people are shown."""
        return view.view(self._module, now_s)
