"""One module's worker: performs what the machine and the mirror decide, and tells them what happened.

Order is everything here. Batches of the machine are performed one after the other, each as persist, send, apply;
a batch that waits for its record holds back the later ones. Effects of the mirror are performed in the order
given, except that frames go out before the disk calls of the same round, so that the peer works meanwhile.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from twinhull import __version__
from twinhull.clock import boot_clock_s
from twinhull.core import actions, effects, events
from twinhull.core.frames import DataFrame
from twinhull.core.identity import ID_BYTES, Id
from twinhull.core.machine import Machine
from twinhull.core.memory import Seen, WitnessRecord
from twinhull.core.messages import MessageError, decode, encode
from twinhull.core.mirror import Mirror, MirrorProtocolError
from twinhull.core.mirror_digests import key_of
from twinhull.core.requests import Request
from twinhull.core.settings import ModuleSettings
from twinhull.core.verify import PERSON_ENDED
from twinhull.errors import TwinhullError, WitnessError
from twinhull.storage.rescue import Store

from .commands import Commands
from .disk import Disk, Keeper, Volume
from .host import Host, HostParts
from .lanes import Outcome
from .link import AgentLink
from .loop import Loop
from .peer import PeerStream, StreamSettings
from .rescue import Rescues, Source
from .verify import Verification, VerifyParts

Log = logging.LoggerAdapter[logging.Logger]

LEVELS = {
    actions.Level.INFO: logging.INFO,
    actions.Level.WARNING: logging.WARNING,
    actions.Level.ERROR: logging.ERROR,
}
VIEW_INTERVAL_S = 0.5
READY_INTERVAL_S = 600.0
SPACE_INTERVAL_S = 10.0
ROOM_INTERVAL_S = 60.0
MAX_COUNTER = (1 << 64) - 1
MAX_STATE_CHARS = 20
VERIFY_VERSION = 2
"""From this version of the protocol on the other node knows all frames of a comparison."""
KEYED_DIGEST_VERSION = 3
"""From this version on its digests are keyed by the session."""


class Checkers(Protocol):
    """What the worker needs of the checkers' runner."""

    def arm(self, armed: bool) -> None: ...
    def suspend(self, suspended: bool) -> None: ...
    def snapshot(self) -> dict[str, Any]: ...
    def close(self) -> None: ...


class Witness(Protocol):
    """Asks the third party; may take its time (it runs on a lane)."""

    def ask(self) -> tuple[bool, str]: ...


class Memory(Protocol):
    """A witness with a memory: this module's key; both may take their time (they run on lanes)."""

    def read(self, timeout_s: float) -> Seen: ...
    def write(self, key_revision: int, record: WitnessRecord, timeout_s: float) -> tuple[bool, Seen]: ...


class _Order(NamedTuple):
    """A command of a person on its way to the machine."""

    number: int
    command: str
    arguments: Mapping[str, Any]
    event: events.Event


class _Answer(NamedTuple):
    """The machine's reply to one certain order, on its way to whoever gave it."""

    number: int
    reply: actions.Reply


@dataclass(frozen=True)
class Parts:
    """Everything a worker is made of that differs between platforms, configurations and tests."""

    settings: ModuleSettings
    machine: Machine
    mirror: Mirror
    volume: Volume
    space: Callable[[], Mapping[str, Any]]
    stream: StreamSettings
    host: HostParts
    make_checkers: Callable[[Callable[[str, str, str], None]], Checkers]
    witness: Witness
    link_path: Path
    renew: Callable[[], None]
    log: Log
    audit: Callable[[str], None]
    keeper: Keeper
    rescue: Store
    verify: VerifyParts
    memory: Memory | None = None


class Worker:
    """The shell of one module. Build it, `run()` it; it returns when the agent ended it.

    Args:
        parts: see `Parts`.
        clock: seconds, monotonic, counting suspend.
    """

    def __init__(self, parts: Parts, clock: Callable[[], float] = boot_clock_s) -> None:
        self._settings = parts.settings
        self._machine = parts.machine
        self._mirror = parts.mirror
        self._durable = parts.volume.record
        """The newest record that is known to be durable."""
        self._log = parts.log
        self._audit = parts.audit
        self._clock = clock
        self._renew = parts.renew
        self._space = parts.space
        self._space_seen: Mapping[str, Any] = {}
        self._events: deque[events.Event | _Order] = deque()
        self._batches: deque[actions.Batch] = deque()
        self._effects: deque[effects.Effect] = deque()
        self._records = 0
        self._persisting = 0  # number of the record that is being made durable
        self._heard = False
        self._last_view: dict[str, Any] = {}
        self.loop = Loop(self._pump, stall_s=self._stall_s(), clock=clock)
        self._disk = Disk(self.loop, parts.volume, parts.mirror, clock, parts.keeper)
        self._rescues = Rescues(
            self.loop,
            self._disk.keep_lane,
            parts.rescue,
            cast(Source, parts.volume),
            parts.mirror,
            self.event,
            parts.log,
            clock,
        )
        self._turned_s = self._ticked_s = clock()
        self._host = Host(
            self.loop,
            parts.host,
            parts.mirror,
            tell=self.event,
            on_requests=self._requested,
            log=parts.log,
            awake=self._awake,
        )
        self._stream = PeerStream(self.loop, parts.stream, receiver=self, log=parts.log, clock=clock)
        self._link = AgentLink(self.loop, parts.link_path, self._agent_said, self._agent_changed)
        self._commands = Commands(self._answer)
        self._checkers = parts.make_checkers(
            lambda name, action, reason: self.loop.post(
                lambda: self.event(events.CheckerFailed(name, action, reason))
            )
        )
        self._witness = parts.witness
        self._memory = parts.memory
        self._witness_lane = self._disk.side_lane("witness")
        # What is not urgent may hang on a witness that does not answer; a question must not wait behind it.
        self._record_lane = self._disk.side_lane("witness-record")
        self._space_lane = self._disk.side_lane("space")
        self._audit_lane = self._disk.side_lane("audit")
        self._verification = Verification(
            parts.verify,
            parts.mirror,
            view=lambda: self._machine.view(self._clock()),
            extended=lambda: (self._stream.version or 0) >= VERIFY_VERSION,
            lane=self._disk.side_lane("verify"),
            log=parts.log,
            clock=clock,
        )
        self._perform_action = self._action_table()
        self._perform_effect = self._effect_table()

    # ---- running ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve the module until `end`. Raises what must not be survived: the agent then cleans up after us."""
        self._keep_pace()
        # After the events of the turn: who wakes from a sleep must not show what it was before.
        self._every(lambda: VIEW_INTERVAL_S, lambda: self.loop.post(self._show))
        self._every(lambda: SPACE_INTERVAL_S, self._look_at_space)
        self._every(lambda: READY_INTERVAL_S, self._host.keep_ready)
        self._rescues.look_at_room()
        self._every(lambda: ROOM_INTERVAL_S, self._rescues.look)
        self._stream.start()
        try:
            self.loop.run()
        finally:
            self._checkers.close()
            self._stream.close()
            self._link.close()

    def end(self) -> None:
        """End the process after the present turn."""
        self.loop.stop()

    @property
    def timeout_s(self) -> float:
        """T as it rules between both nodes (peer.Receiver)."""
        return self._machine.timeout_s

    @property
    def pace_s(self) -> float:
        """The shorter T of both nodes (peer.Receiver)."""
        return self._machine.pace_s

    def _stall_s(self) -> float:
        return max(0.05, self.pace_s / 20)

    def _keep_pace(self) -> None:
        self._every(lambda: self.pace_s / 20, self._tick)
        self._every(lambda: self.pace_s / 10, self._beat)

    def _every(self, interval_s: Callable[[], float], call: Callable[[], None]) -> None:
        def again() -> None:
            call()
            self.loop.call_later(interval_s(), again)

        self.loop.call_later(0.0, again)

    def _tick(self) -> None:
        now_s = self._clock()
        self.loop.stall_s = self._stall_s()
        self.event(events.Heard() if self._heard else events.Tick())
        self._heard = False
        self._mirror.tick(now_s)
        # One tick late: by then the machine knows of the one before, and of a sleep that ended with it.
        self._turned_s, self._ticked_s = self._ticked_s, now_s

    def _awake(self) -> bool:
        """Whether the machine looked at the clock lately. Called from any thread."""
        return self._clock() - self._turned_s < self.pace_s / 2

    # ---- what arrives (peer.Receiver) ------------------------------------------------------------

    def event(self, event: events.Event) -> None:
        """Something for the machine; it is told in the order of arrival."""
        self._events.append(event)

    def frame(self, frame: DataFrame) -> None:
        """A data frame of the present session."""
        self._heard = True
        self._mirror.frame(frame, self._clock())

    def _requested(self, requests: Sequence[Request], tag_base: int) -> None:
        now_s = self._clock()
        submit = self._mirror.submit
        for tag, op, offset_bytes, length_bytes, data, fua in requests:
            submit(tag_base + tag, op, offset_bytes, length_bytes, data, fua, now_s)

    # ---- the pump --------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Perform everything that can be performed now. The only caller of inline disk calls."""
        waiting, perform, take = self._effects, self._perform_effect, self._mirror.take
        while True:
            if waiting:
                effect = waiting.popleft()
                perform[type(effect)](effect)
            elif taken := take():
                self._take(taken)
            elif self._events:
                self._handle(self._events.popleft())
            elif self._batches and not self._persisting:
                self._perform_batch(self._batches.popleft())
            elif self._disk.waiting:
                self._disk.resume()
            else:
                break
        self._stream.flush()

    def _handle(self, event: events.Event | _Order) -> None:
        if not isinstance(event, _Order):
            self._batches.extend(self._machine.handle(event, self._clock()))
            return
        refused = False
        for batch in self._machine.handle(event.event, self._clock()):
            own = [a for a in batch.apply if isinstance(a, actions.Reply) and a.command == event.command]
            refused = refused or not all(reply.ok for reply in own)
            answers = [_Answer(event.number, a) if a in own else a for a in batch.apply]
            self._batches.append(
                dataclasses.replace(batch, apply=cast("tuple[actions.Action, ...]", tuple(answers)))
            )
        if not refused:
            self._plan_move(event.command, event.arguments)

    def _take(self, taken: Iterable[effects.Effect]) -> None:
        """Send what is to be sent; the rest waits to be performed."""
        sent = works = False
        for effect in taken:
            if type(effect) is effects.SendFrame:
                self._stream.send_frame(effect.frame)
                sent = True
            else:
                self._effects.append(effect)
                works = works or type(effect) is not effects.Complete
        if sent and works:
            self._stream.flush()  # the peer works while we do; who waits for an answer comes before other frames

    def _effect_table(self) -> Mapping[type, Callable[[Any], None]]:
        disk, reply = self._disk, self._host.reply
        on_disk = (
            effects.LocalDiscard,
            effects.LocalFlush,
            effects.ReadLocal,
            effects.DigestLocal,
            effects.KeepOld,
            effects.SyncLog,
        )
        return {
            **dict.fromkeys(on_disk, disk.perform),
            effects.LocalWrite: disk.write,
            effects.Complete: lambda complete: reply(*complete),
            effects.Tell: lambda tell: self.event(tell.event),
            effects.RescueOld: self._rescues.keep,
            effects.VerifyEnded: self._verification.ended,
        }

    def _perform_batch(self, batch: actions.Batch) -> None:
        if batch.persist is None:
            self._finish_batch(batch)
            return
        self._records += 1
        number = self._persisting = self._records
        limit_s, began_s = self._settings.write_timeout_s, self._clock()
        record = batch.persist

        def persisted(error: str | None, full: bool) -> None:
            if self._persisting != number:
                return  # too late: the machine was told that the disk failed
            timer.cancel()
            self._persisting = 0
            if error is None:
                self._durable = record
                self._finish_batch(batch)
            else:
                self._drop_batches(batch, error, full)

        def late() -> None:
            # A disk that did not answer while this process slept may answer yet.
            left_s = max(began_s, self._mirror.awake_since_s) + limit_s - self._clock()
            if self._persisting != number:
                return
            if left_s > 0:
                self.loop.call_later(left_s, late)
            elif give_up():
                persisted(f"a record was not durable within {limit_s:.0f} s", False)

        timer = self.loop.call_later(limit_s, late)
        give_up = self._disk.persist(record, self._durable, persisted)

    def _drop_batches(self, failed: actions.Batch, error: str, full: bool) -> None:
        """A record did not become durable: nothing that was decided on top of it may be done."""
        self._log.error("the record could not be made durable: %s", error)
        self._batches = deque(self._harmless(batch, error) for batch in (failed, *self._batches))
        self._events.appendleft(events.DiskFailed(error, full, record=True, durable=self._durable))

    def _harmless(self, batch: actions.Batch, error: str) -> actions.Batch:
        """What may still be performed of a batch that a record did not become durable for."""
        keep = (actions.Say, actions.CloseStream, actions.CloseIO, actions.HoldIO, actions.EndSession)
        kept: list[object] = []
        for action in cast("tuple[object, ...]", batch.apply):
            if isinstance(action, keep):
                kept.append(action)
            elif isinstance(action, actions.Reply):
                kept.append(self._undone(action, error))
            elif isinstance(action, _Answer):
                kept.append(action._replace(reply=self._undone(action.reply, error)))
        return actions.Batch(apply=cast("tuple[actions.Action, ...]", tuple(kept)))

    def _undone(self, reply: actions.Reply, error: str) -> actions.Reply:
        """The answer to a command whose effect was dropped: it must not say that it was carried out."""
        if not reply.ok:
            return reply
        where = f"{self._settings.module} on {self._settings.node}"
        return reply._replace(
            ok=False,
            sentence=f"{reply.command} of {where} was not carried out: no record of it could be made ({error}).",
        )

    def _finish_batch(self, batch: actions.Batch) -> None:
        for connection, message in batch.send:
            self._stream.send_message(connection, encode(message))
        for action in batch.apply:
            self._perform_action[type(action)](action)

    # ---- the machine's actions -------------------------------------------------------------------

    def _action_table(self) -> Mapping[type, Callable[[Any], None]]:
        mirror, host, stream = self._mirror, self._host, self._stream
        return {
            actions.OpenAlone: self._open_alone,
            actions.HoldIO: lambda _: mirror.hold(),
            actions.CloseIO: lambda _: mirror.close_io(),
            actions.FailUp: lambda _: mirror.fail_up(),
            actions.BeginSession: self._begin_session,
            actions.ServeIO: lambda _: mirror.serve(self._clock()),
            actions.StartCopy: lambda _: mirror.start_copy(self._clock()),
            actions.EndCopyFlush: lambda a: mirror.end_copy_flush(a.epoch),
            actions.FinishCopy: lambda _: mirror.finish_copy(),
            actions.EndRescue: lambda _: self._rescues.finish(),
            actions.GiveUpRescue: lambda a: self._rescues.give_up(a.reason),
            actions.EndSession: self._end_session,
            actions.Quiesce: lambda _: mirror.quiesce(),
            actions.SetLease: lambda a: mirror.set_lease(a.until_s, self._clock()),
            actions.CloseStream: lambda a: stream.close_connection(a.connection, a.reason),
            actions.DrainInput: self._drain,
            actions.Attach: lambda a: host.attach(make=a.make),
            actions.Detach: lambda a: host.detach(forced=a.forced),
            actions.StartResource: lambda a: host.start(resume=a.resume),
            actions.StopResource: lambda a: host.stop(a.mode, a.timeout_s),
            actions.SuspendResource: lambda _: host.suspend(),
            actions.ResumeResource: lambda _: host.resume(),
            actions.ArmCheckers: lambda a: self._checkers.arm(a.armed),
            actions.AskWitness: self._ask_witness,
            actions.ReadWitness: self._read_witness,
            actions.WriteWitness: self._write_witness,
            actions.TellPeer: lambda a: self._link.send(
                {"op": "tell_peer", "message": encode(a.message).decode()}
            ),
            actions.Say: self._say,
            actions.Reply: self._reply,
            _Answer: self._reply_to_order,
        }

    def _begin_session(self, action: actions.BeginSession) -> None:
        early = self._stream.set_session(action.connection, action.session, action.generation)
        keeps = False
        if action.primary:
            self._rescues.leave()
        else:
            keeps = self._rescues.begin(action.rescue)
        self._mirror.begin_session(
            primary=action.primary,
            resend=action.resend,
            everything=action.everything,
            serve=action.serve,
            rescue=keeps,
            digest_key=key_of(action.session) if (self._stream.version or 0) >= KEYED_DIGEST_VERSION else b"",
            now_s=self._clock(),
        )
        try:
            for frame in early:
                self.frame(frame)
        except MirrorProtocolError as error:
            self._stream.close_connection(action.connection, str(error))

    def _open_alone(self, _: actions.OpenAlone) -> None:
        self._beat()  # the agent knows before anything is answered alone: should this process die, no session ends
        self._rescues.leave()
        self._mirror.open_alone(self._clock())

    def _end_session(self, _: actions.EndSession) -> None:
        self._stream.clear_session()
        self._mirror.end_session()

    def _drain(self, action: actions.DrainInput) -> None:
        self._stream.read_all()
        self._link.read_all()
        self.event(events.InputDrained(action.token))

    def _ask_witness(self, action: actions.AskWitness) -> None:
        self._witness_lane.submit(
            self._witness.ask,
            lambda outcome: self.event(
                events.WitnessAnswer(action.question, *outcome.value())
                if outcome.error is None
                else events.WitnessAnswer(action.question, False, str(outcome.error))
            ),
        )

    def _read_witness(self, action: actions.ReadWitness) -> None:
        def answered(outcome: Outcome[Seen]) -> None:
            seen = outcome.value() if outcome.error is None else None
            self.event(events.WitnessRead(action.request, seen, str(outcome.error or "")))

        lane = self._witness_lane if action.urgent else self._record_lane
        lane.submit(lambda: self._known_memory().read(action.timeout_s), answered)

    def _write_witness(self, action: actions.WriteWitness) -> None:
        def answered(outcome: Outcome[tuple[bool, Seen]]) -> None:
            done, seen = outcome.value() if outcome.error is None else (False, None)
            self.event(events.WitnessWritten(action.request, done, seen, str(outcome.error or "")))

        lane = self._witness_lane if action.urgent else self._record_lane
        lane.submit(
            lambda: self._known_memory().write(action.key_revision, action.record, action.timeout_s), answered
        )

    def _known_memory(self) -> Memory:
        """Raises WitnessError where the history runs under a witness that the configuration does not name."""
        if self._memory is None:
            raise WitnessError("its addresses and certificates are not configured here any more")
        return self._memory

    def _reply(self, action: actions.Reply) -> None:
        self._before_answer(action)
        self._commands.replied(action.command, action.ok, action.sentence)

    def _reply_to_order(self, answer: _Answer) -> None:
        self._before_answer(answer.reply)
        self._commands.answered_at_once(answer.number, *answer.reply)

    def _before_answer(self, reply: actions.Reply) -> None:
        if reply.command == "abandon" and reply.ok:
            self._host.interrupt()

    def _say(self, action: actions.Say) -> None:
        self._log.log(LEVELS[action.level], "%s", action.sentence)
        if action.audit:
            self._audit_lane.submit(lambda: self._audit(action.sentence), self._audited)

    def _audited(self, outcome: Outcome[None]) -> None:
        if outcome.error is not None:
            self._log.error("the audit log could not be written: %s", outcome.error)

    # ---- the agent -------------------------------------------------------------------------------

    def _agent_changed(self, up: bool) -> None:
        if up:
            self._last_view = {}
            self._commands.forget_askers()
            self._beat()
        self.event(events.AgentLink(up))

    def _agent_said(self, message: dict[str, Any]) -> None:
        op = message.get("op")
        if op == "command":
            self._command(message)
        elif op == "told":
            self._told(message)
        elif op == "reload_certificate":
            self._reload_certificate()
        elif op == "end":
            self._end_if_stopped()
        elif isinstance(op, str) and op in FROM_AGENT:
            try:
                event = FROM_AGENT[op](message)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._log.warning("the agent sent a %s that cannot be read: %r", op, error)
                return
            self.event(event)

    def _end_if_stopped(self) -> None:
        """A module that runs is not ended by the way: its resource would lose its disk."""
        state = self._machine.view(self._clock()).state
        if state == "STOP":
            self.end()
        else:
            self._log.warning("the worker does not end because the module is %s; stop it first", state)

    def _reload_certificate(self) -> None:
        try:
            self._renew()
        except TwinhullError as error:
            self._log.error("the renewed certificate cannot be taken: %s", error)

    def _told(self, message: Mapping[str, Any]) -> None:
        try:
            self.event(events.Told(decode(str(message.get("message")).encode())))
        except MessageError as error:
            self._log.warning("the peer's agent passed on what cannot be read: %s", error)

    def _command(self, message: Mapping[str, Any]) -> None:
        number, command, arguments = message.get("id"), message.get("command"), message.get("arguments") or {}
        if type(number) is not int or not isinstance(command, str) or not isinstance(arguments, dict):
            self._log.warning("the agent sent a command that cannot be read")
            return
        if command in ("checker-suspend", "checker-resume"):
            suspended = command == "checker-suspend"
            self._checkers.suspend(suspended)
            self.event(events.CheckersSuspended(suspended))
            self._answer(number, True, f"The checkers are {'suspended' if suspended else 'at work again'}.")
            return
        if command == "rescue-forget":
            self._rescues.forget()
            self._answer(number, True, "The rescue is not followed any more.")
            return
        if command in ("verify", "verify-end"):
            begins = command == "verify"
            reason = str(arguments.get("reason") or PERSON_ENDED)
            answer = self._verification.begin(arguments) if begins else self._verification.end(reason)
            self._answer(number, *answer)
            return
        event = self._commands.take(number, command, arguments)
        if event is not None:
            self._events.append(_Order(number, command, arguments, event))

    def _plan_move(self, command: str, arguments: Mapping[str, Any]) -> None:
        """The machine took the command: what belongs to it is done on the way, and nothing of an earlier one."""
        moves = self._host.moves
        if moves is None:
            return
        if command == "start":
            stop_vm = bool(arguments.get("stop_vm"))
            self._host.before_start = (
                (lambda: moves.adopt(stop_vm=stop_vm)) if arguments.get("adopt") else None
            )
        if command == "stop":
            target = str(arguments.get("release") or "")
            self._host.before_detach = (lambda: moves.release(target)) if target else None

    def _answer(self, number: int, ok: bool, sentence: str) -> None:
        self._show()  # whoever gets the answer may look at the view next
        self._link.send({"op": "answer", "id": number, "ok": ok, "sentence": sentence})

    def _beat(self) -> None:
        beat = self._machine.heartbeat(self._clock())
        self._stream.send_keepalive(beat)
        self._link.send(heartbeat_to_json(beat))

    def _show(self) -> None:
        view = self._view()
        if view != self._last_view:
            self._last_view = view
            self._link.send({"op": "view", "view": view})

    def _view(self) -> dict[str, Any]:
        now_s = self._clock()
        view = dataclasses.asdict(self._machine.view(now_s))
        progress = self._mirror.progress(now_s)
        view["sync"] = (
            dataclasses.asdict(progress) if dataclasses.is_dataclass(progress) else progress._asdict()
        )
        view["marked_bytes"] = self._mirror.marked_bytes()
        view["checker_items"] = self._checkers.snapshot()
        view["network"] = self._stream.network
        view["version"] = __version__
        view["verify"] = self._verification.shown()
        moves = self._host.moves
        view["moving"] = moves.progress() if moves is not None else None
        view["move_failure"] = moves.failure if moves is not None else ""
        view.update(self._space_seen)
        return view

    def _look_at_space(self) -> None:
        def seen(outcome: Any) -> None:
            if outcome.error is None:
                self._space_seen = outcome.value()
                self._host.tell_space(self._space_seen)

        self._space_lane.submit(self._space, seen)


def heartbeat_to_json(beat: Any) -> dict[str, Any]:
    """A sign of life as it travels through the agents."""
    return {
        "op": "beat",
        "process": beat.process.hex(),
        "counter": beat.counter,
        "echo_process": beat.echo_process.hex() if beat.echo_process else None,
        "echo": beat.echo,
        "session": beat.session.hex() if beat.session else None,
        "state": beat.state,
    }


def heartbeat_from_json(message: Mapping[str, Any]) -> events.Heartbeat:
    """The sign of life that `heartbeat_to_json` wrote.

    It crossed two agents: what does not fit is refused here, because our own signs of life repeat parts of it.
    Raises AttributeError, KeyError, TypeError, ValueError.
    """
    return events.Heartbeat(
        process=_identity(message["process"]),
        counter=_counter(message["counter"]),
        echo_process=_identity_or_none(message["echo_process"]),
        echo=_counter(message["echo"]),
        session=_identity_or_none(message["session"]),
        state=str(message["state"])[:MAX_STATE_CHARS],
    )


def _identity(text: Any) -> Id:
    identity = bytes.fromhex(text)
    if len(identity) != ID_BYTES:
        raise ValueError(f"an identity of {len(identity)} bytes")
    return Id(identity)


def _identity_or_none(text: Any) -> Id | None:
    return None if text is None else _identity(text)


def _counter(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_COUNTER:
        raise ValueError("a counter that is no 64-bit number")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError("neither true nor false")
    return value


FROM_AGENT: Mapping[str, Callable[[Mapping[str, Any]], events.Event]] = {
    "beat": heartbeat_from_json,
    "peer_agent": lambda message: events.PeerAgentHeard(worker=_flag(message["worker"])),
    "peer_worker_dead": lambda message: events.PeerWorkerDead(
        _identity(message["process"]), _identity_or_none(message["session"])
    ),
    "window": lambda message: events.WindowOpen(_flag(message["open"])),
}
"""What the agent says that becomes an event as it is."""
