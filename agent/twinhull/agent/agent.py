"""The agent of one node: wires supervisors, heartbeats, the control server and background jobs together."""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twinhull.clock import boot_clock_s
from twinhull.config import ClusterConfig, NetworkRole, NodeConfig
from twinhull.core.settings import Boot, Return
from twinhull.errors import AgentDownError, PkiError
from twinhull.transport import tls
from twinhull.transport.control import ControlClient, ControlServer
from twinhull.transport.heartbeats import Heartbeats, Network
from twinhull.transport.listener import Refusals
from twinhull.worker.parts import clean_up_module
from twinhull.worker.worker import FROM_AGENT, heartbeat_from_json

from .desired import Wish, Wishes, unfinished_protection
from .jobs import Jobs
from .peer import PeerAgent
from .replacing import Replacing
from .supervisor import Launch, Supervisor, worker_argv
from .verifying import Schedule
from .witness_files import WitnessFiles

CONTROL_TIMEOUT_S = 15.0
LOOK_AFTER_S = 5.0
LEAVE_TIMEOUT_S = 240.0
SHORTEST_BEAT_S, LONGEST_BEAT_S = 0.1, 2.0  # a node may run with a shorter T than is configured

log = logging.getLogger(__name__)


class Agent:
    """One node's control plane.

    Args:
        node_file: the node's own configuration file, handed on to the workers.
    """

    def __init__(self, node_file: Path, node: NodeConfig, cluster: ClusterConfig) -> None:
        self.node_file = node_file
        self.node = node
        self.cluster = cluster
        self.peer_name = cluster.peer_of(node.node)
        self.jobs = Jobs()
        self.wishes = Wishes(node.run_dir / "wishes")
        self._lock = threading.RLock()
        self.supervisors: dict[str, Supervisor] = {}
        self._beats: dict[str, dict[str, Any]] = {}
        self._states: dict[str, str] = {}  # state of each module as its worker told last
        self._adopted: set[str] = set()  # modules whose adopted worker has not told of itself yet
        self._others: set[str] = set()  # modules whose worker another agent started
        self._boots: dict[str, threading.Timer] = {}
        self._misheard = Refusals(log, boot_clock_s)
        self.replacing = Replacing(self)
        self._verifying = Schedule(self)
        self.witness_files = WitnessFiles(node.node)
        self._look_now = threading.Event()
        self._ended = threading.Event()
        server_context = tls.server_context(node.pki_dir)
        client_context = tls.client_context(node.pki_dir)
        self._client_context = client_context
        self.peer = PeerAgent(
            self.peer_name,
            self._clients_of_peer(),
            self._clients_of_peer(),
            up=lambda: {name for name, seen in self.heartbeats.status().items() if seen.up},
        )
        self.heartbeats = Heartbeats(
            node=node.node,
            peer=self.peer_name,
            cluster=cluster.cluster,
            networks=[
                Network(name, address, self._address(self.peer_name, name), cluster.ports.heartbeat)
                for name, address in cluster.addresses(node.node, NetworkRole.HEARTBEAT).items()
            ],
            server_context=server_context,
            client_context=client_context,
            interval_s=self._beat_interval_s(),
            payload=self._beat_payload,
            on_beat=self._peer_beat,
            clock=boot_clock_s,
        )
        self._server_context = server_context
        self._server: ControlServer | None = None

    # ---- life ------------------------------------------------------------------------------------

    def start(self, methods: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
        """Adopt or start the workers, beat, listen. Returns once everything stands."""
        for module in self.cluster.modules:
            self.watch_module(module)
        self.heartbeats.start()
        listen = [("127.0.0.1", self.cluster.ports.control)]
        listen += [
            (address, self.cluster.ports.control)
            for address in self._control_addresses(self.node.node).values()
        ]
        self._server = ControlServer(
            listen, self._server_context, methods, cluster=self.cluster.cluster, log=log
        )
        self._server.start()
        threading.Thread(target=self._look_after, name="look-after", daemon=True).start()

    def end(self) -> None:
        """Have `wait` return. Safe in a signal handler."""
        self._ended.set()
        self._look_now.set()

    def wait(self) -> None:
        """Until `end`."""
        self._ended.wait()

    @property
    def ended(self) -> bool:
        """Whether it was told to end."""
        return self._ended.is_set()

    def healthy(self, wait_s: float) -> bool:
        """Whether, after `wait_s`, the agent still does its work; False also once it ends."""
        if self._ended.wait(wait_s):
            return False
        if not self._lock.acquire(timeout=wait_s):
            return False
        try:
            return self.heartbeats.alive and all(seen.watching for seen in self.supervisors.values())
        finally:
            self._lock.release()

    def stop(self) -> None:
        """Put everything away; the workers go on."""
        self.end()
        if self._server is not None:
            self._server.close()
        self.heartbeats.stop()
        for timer in list(self._boots.values()):
            timer.cancel()
        for supervisor in list(self.supervisors.values()):
            supervisor.close()
        self.peer.close()

    def supervisor(self, module: str) -> Supervisor:
        """The module's supervisor. Raises UsageError for a module that is not configured, AgentDownError."""
        self.cluster.module(module)
        supervisor = self.supervisors.get(module)
        if supervisor is None:
            raise AgentDownError(
                f"No worker of {module} is watched on {self.node.node} yet.", "Try again soon."
            )
        return supervisor

    def watch_module(self, module: str) -> None:
        """Have a supervisor watch the module's worker."""
        config = self.cluster.module(module)
        launch = Launch(
            module=module,
            argv=worker_argv(self.node_file, module),
            socket=self.node.run_dir / "workers" / f"{module}.sock",
            output=self.node.log_dir / f"{module}.out",
            silence_s=config.timeout_s,
            clean_up=lambda: clean_up_module(self.node, self.cluster, module),
        )
        supervisor = Supervisor(launch, self._worker_said, self._worker_connected, self.heartbeats.beat_now)
        with self._lock:
            self.supervisors[module] = supervisor
        supervisor.start()

    def unwatch_module(self, module: str) -> None:
        """End the worker of a module that is gone from the configuration."""
        with self._lock:
            supervisor = self.supervisors.pop(module, None)
            self._beats.pop(module, None)
            self._states.pop(module, None)
            self._others.discard(module)
        if supervisor is not None:
            supervisor.close(end_worker=True)

    # ---- the workers -----------------------------------------------------------------------------

    def _worker_said(self, module: str, message: dict[str, Any]) -> None:
        op = message.get("op")
        if op == "beat":
            with self._lock:
                self._beats[module] = message
            self.heartbeats.beat_now()
        elif op == "view":
            self._look_at(module, message["view"])
        elif op == "tell_peer":
            self.peer.post("tell", {"module": module, "message": message["message"]})

    def _look_at(self, module: str, view: Mapping[str, Any]) -> None:
        """A module that was stopped after too many restarts stays stopped, also when its worker begins anew."""
        before, now = self._states.get(module, ""), str(view.get("state"))
        self._states[module] = now
        if module in self._others:
            self.replacing.look(module, view)
        if before == "" and module in self._adopted:
            self._start_untold(module, view)
        if before in ("", "STOP") or now != "STOP" or view.get("restarts", 0) < view.get("restart_limit", 1):
            return
        if self.wishes.get(module) is not Wish.STOPPED:
            log.warning("%s stays stopped on %s until a person starts it", module, self.node.node)
            self.wishes.set(module, Wish.STOPPED)

    def _start_untold(self, module: str, view: Mapping[str, Any]) -> None:
        """An adopted worker in which nothing has happened yet: the agent that made it died before it told it."""
        self._adopted.discard(module)
        untold = view.get("state") == "STOP" and not view.get("sentence") and not view.get("fault")
        if untold and not unfinished_protection(self.node.data_dir, module).exists():
            self._boot_module(module, Wish.STARTED)

    def _worker_connected(self, module: str, adopted: bool) -> None:
        """A worker answers: have its module started if people want that and nobody has told it yet.

        The wish BOOT says that the start after the boot is still to come, for an adopted worker, too.
        """
        self._states.pop(module, None)
        for those in (self._adopted, self._others):
            (those.add if adopted else those.discard)(module)
        config = self.cluster.modules.get(module)
        wish = self.wishes.get(module)
        if config is None or wish is Wish.STOPPED or (adopted and wish is Wish.STARTED):
            return
        if wish is Wish.BOOT and config.boot.mode is Boot.MANUAL:
            return
        if not adopted and unfinished_protection(self.node.data_dir, module).exists():
            log.warning(
                "%s was not protected to the end: it is not started; repeat `twinhull protect`", module
            )
            self.wishes.set(module, Wish.STOPPED)
            return
        timer = threading.Timer(
            config.boot.delay_s if wish is Wish.BOOT else 0.0, self._boot_module, args=(module, wish)
        )
        timer.daemon = True
        former, self._boots[module] = self._boots.get(module), timer
        if former is not None:
            former.cancel()
        timer.start()

    def _boot_module(self, module: str, wish: Wish) -> None:
        supervisor = self.supervisors.get(module)
        if supervisor is None or self.wishes.get(module) is not wish:
            return
        if supervisor.send({"op": "command", "id": 0, "command": "start", "arguments": {}}):
            self.wishes.set(module, Wish.STARTED)

    # ---- heartbeats ------------------------------------------------------------------------------

    def _beat_payload(self) -> bytes:
        modules: dict[str, Any] = {}
        with self._lock:
            for module, supervisor in self.supervisors.items():
                death = supervisor.death
                modules[module] = {
                    "worker": supervisor.alive,
                    "beat": self._beats.get(module) if supervisor.alive else None,
                    "dead": [death.process, death.session] if death else None,
                }
        return json.dumps({"modules": modules}, separators=(",", ":")).encode()

    def _peer_beat(self, _network: str, payload: bytes) -> None:
        """What the peer's agent says goes to the workers; only what moved since counts there."""
        try:
            said = read_beat(payload)
        except ValueError as error:
            self._misheard.note(
                self.peer_name, f"a heartbeat of the agent of {self.peer_name} cannot be read: {error}"
            )
            return
        for module, messages in said.items():
            supervisor = self.supervisors.get(module)
            if supervisor is not None:
                for message in messages:
                    supervisor.send(message, wait=False)

    def tell(self, module: str, message: str) -> None:
        """The peer's machine speaks through its agent."""
        supervisor = self.supervisors.get(module)
        if supervisor is not None:
            supervisor.send({"op": "told", "message": message})

    # ---- the rest --------------------------------------------------------------------------------

    def look_soon(self) -> None:
        """Have the modules looked after now, not only in a few seconds."""
        self._look_now.set()

    def _look_after(self) -> None:
        """Every few seconds: maintenance windows, and certificates that were renewed, or should be."""
        known = self._certificate_ns()
        while not self._ended.is_set():
            self._look_now.wait(LOOK_AFTER_S)
            if self._ended.is_set():
                return
            self._look_now.clear()
            try:
                self._tell_windows()
                self._verifying.look(dt.datetime.now())
                self.replacing.do_what_is_due()
                self.witness_files.look(self.cluster.witness)
                seen = self._certificate_ns()
                if seen not in (None, known):
                    self._take_certificate()
                    known = seen
            except PkiError as error:
                log.error("the renewed certificate cannot be taken: %s", error)
            except Exception:  # the next look must come all the same
                log.exception("looking after the modules failed")

    def _certificate_ns(self) -> int | None:
        """When the newest of authority, certificate and key was written; None while one is not to be seen."""
        try:
            return max(
                (self.node.pki_dir / name).stat().st_mtime_ns for name in ("ca.crt", "node.crt", "node.key")
            )
        except OSError:
            return None

    def _tell_windows(self) -> None:
        """Whether a module may go home now, by the local time of the node."""
        now = dt.datetime.now()
        for module, supervisor in list(self.supervisors.items()):
            config = self.cluster.modules.get(module)
            if config is None:
                continue
            give_back = config.give_back
            if give_back.mode is Return.WINDOW and give_back.window is not None:
                supervisor.send({"op": "window", "open": give_back.window.is_open(now)})

    def _take_certificate(self) -> None:
        """Further connections use the renewed certificate, here and in the workers; nothing is interrupted."""
        for context in (self._server_context, self._client_context):
            tls.reload(context, self.node.pki_dir)
        for supervisor in list(self.supervisors.values()):
            supervisor.send({"op": "reload_certificate"})
        log.info("took the renewed certificate of %s", self.node.node)

    def leave(self) -> None:
        """The host goes down: hand every module over, or stop it, before the workers are killed."""
        answers = [
            threading.Thread(target=self._leave_module, args=(name, supervisor))
            for name, supervisor in list(self.supervisors.items())
        ]
        for thread in answers:
            thread.start()
        for thread in answers:
            thread.join()

    @staticmethod
    def _leave_module(module: str, supervisor: Supervisor) -> None:
        try:
            arguments = {"reason": "the host goes down"}
            answer = supervisor.ask(
                {"op": "command", "command": "stop", "arguments": arguments}, LEAVE_TIMEOUT_S
            )
            log.info("%s", answer["sentence"])
        except AgentDownError as error:
            log.warning("%s was not stopped in order: %s", module, error)

    def _clients_of_peer(self) -> dict[str, ControlClient]:
        return {
            network: ControlClient(
                address,
                self.cluster.ports.control,
                self._client_context,
                cluster=self.cluster.cluster,
                expected_name=self.peer_name,
                timeout_s=CONTROL_TIMEOUT_S,
            )
            for network, address in self._control_addresses(self.peer_name).items()
        }

    def _beat_interval_s(self) -> float:
        shortest = min((module.timeout_s for module in self.cluster.modules.values()), default=10.0)
        return min(max(SHORTEST_BEAT_S, shortest / 10), LONGEST_BEAT_S)

    def _address(self, node: str, network: str) -> str:
        return self.cluster.nodes[node].addresses[network]

    def _control_addresses(self, node: str) -> dict[str, str]:
        """The node's addresses by network, those of the networks for control first."""
        return {**self.cluster.addresses(node, NetworkRole.CONTROL), **self.cluster.nodes[node].addresses}


def read_beat(payload: bytes) -> dict[str, list[dict[str, Any]]]:
    """What a beat of the peer's agent says to the worker of each module. Pure; nothing in it is trusted.

    Raises ValueError for what no agent of ours sends.
    """
    try:
        modules = json.loads(payload)["modules"]
        return {str(module): _for_worker(said) for module, said in modules.items()}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it has another form than agreed ({error!r})") from error


def _for_worker(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    if type(said["worker"]) is not bool:
        raise TypeError("worker is neither true nor false")
    messages: list[dict[str, Any]] = [{"op": "peer_agent", "worker": said["worker"]}]
    if said["beat"] is not None:
        beat = {**said["beat"], "op": "beat"}
        heartbeat_from_json(beat)
        messages.append(beat)
    if said["dead"] is not None:
        process, session = said["dead"]
        dead = {"op": "peer_worker_dead", "process": process, "session": session}
        FROM_AGENT["peer_worker_dead"](dead)
        messages.append(dead)
    return messages
