"""The agent of one node: wires supervisors, heartbeats, the control server and background jobs together."""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twinhull.config import ClusterConfig, NetworkRole, NodeConfig
from twinhull.core.settings import Boot, Return
from twinhull.errors import AgentDownError, PkiError
from twinhull.transport import tls
from twinhull.transport.control import ControlClient, ControlServer
from twinhull.transport.heartbeats import Heartbeats, Network
from twinhull.worker.loop import boot_clock_s
from twinhull.worker.parts import clean_up_module

from .desired import Wish, Wishes
from .jobs import Jobs
from .peer import PeerAgent
from .supervisor import Launch, Supervisor, worker_argv

CONTROL_TIMEOUT_S = 15.0
LOOK_AFTER_S = 5.0
LEAVE_TIMEOUT_S = 240.0
SHORTEST_BEAT_S = 0.1

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
        self._stale: set[str] = set()  # modules whose worker runs with an older configuration
        self._ended = threading.Event()
        server_context = tls.server_context(node.pki_dir)
        client_context = tls.client_context(node.pki_dir)
        self.peer = PeerAgent(
            self.peer_name,
            {
                network: ControlClient(
                    address,
                    cluster.ports.control,
                    client_context,
                    cluster=cluster.cluster,
                    expected_name=self.peer_name,
                    timeout_s=CONTROL_TIMEOUT_S,
                )
                for network, address in self._control_addresses(self.peer_name).items()
            },
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
        self._client_context = client_context
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

    def wait(self) -> None:
        """Until `end`."""
        self._ended.wait()

    def healthy(self, wait_s: float) -> bool:
        """Whether, after `wait_s`, the agent still does its work; False also once it ends."""
        if self._ended.wait(wait_s):
            return False
        if not self._lock.acquire(timeout=wait_s):
            return False
        self._lock.release()
        return True

    def stop(self) -> None:
        """Put everything away; the workers go on."""
        self._ended.set()
        if self._server is not None:
            self._server.close()
        self.heartbeats.stop()
        for supervisor in self.supervisors.values():
            supervisor.close()
        self.peer.close()

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
        supervisor = Supervisor(launch, self._worker_said, self._worker_spawned)
        with self._lock:
            self.supervisors[module] = supervisor
        supervisor.start()

    def unwatch_module(self, module: str) -> None:
        """End the worker of a module that is gone from the configuration."""
        with self._lock:
            supervisor = self.supervisors.pop(module)
            self._beats.pop(module, None)
        supervisor.close(end_worker=True)

    def renew_stopped_worker(self, module: str) -> None:
        """Have a changed configuration take effect: a worker that runs nothing is replaced now, another later."""
        supervisor = self.supervisors.get(module)
        if supervisor is None:
            self._stale.discard(module)
            return
        if supervisor.view is None or supervisor.view["state"] != "STOP":
            self._stale.add(module)
            return
        self._stale.discard(module)
        self.unwatch_module(module)
        self.watch_module(module)

    # ---- the workers -----------------------------------------------------------------------------

    def _worker_said(self, module: str, message: dict[str, Any]) -> None:
        op = message.get("op")
        if op == "beat":
            with self._lock:
                self._beats[module] = message
            self.heartbeats.beat_now()
        elif op == "tell_peer":
            self.peer.post("tell", {"module": module, "message": message["message"]})

    def _worker_spawned(self, module: str) -> None:
        """A fresh worker answers: start its module if that is what people want."""
        config = self.cluster.module(module)
        wish = self.wishes.get(module)
        if wish is Wish.STOPPED or (wish is Wish.BOOT and config.boot.mode is Boot.MANUAL):
            return
        delay_s = config.boot.delay_s if wish is Wish.BOOT else 0.0
        self.wishes.set(module, Wish.STARTED)
        threading.Timer(delay_s, self._boot_module, args=(module,)).start()

    def _boot_module(self, module: str) -> None:
        supervisor = self.supervisors.get(module)
        if supervisor is None or self.wishes.get(module) is not Wish.STARTED:
            return
        supervisor.send({"op": "command", "id": 0, "command": "start", "arguments": {}})

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
        modules = json.loads(payload)["modules"]
        for module, said in modules.items():
            supervisor = self.supervisors.get(module)
            if supervisor is None:
                continue
            supervisor.send({"op": "peer_agent", "worker": bool(said["worker"])})
            if said["beat"] is not None:
                supervisor.send({**said["beat"], "op": "beat"})
            if said["dead"] is not None:
                process, session = said["dead"]
                supervisor.send({"op": "peer_worker_dead", "process": process, "session": session})

    def tell(self, module: str, message: str) -> None:
        """The peer's machine speaks through its agent."""
        supervisor = self.supervisors.get(module)
        if supervisor is not None:
            supervisor.send({"op": "told", "message": message})

    # ---- the rest --------------------------------------------------------------------------------

    def _look_after(self) -> None:
        """Every few seconds: maintenance windows, and certificates that were renewed."""
        certificate = self.node.pki_dir / "node.crt"
        known = certificate.stat().st_mtime_ns
        while not self._ended.wait(LOOK_AFTER_S):
            self._tell_windows()
            for module in list(self._stale):
                self.renew_stopped_worker(module)
            try:
                seen = certificate.stat().st_mtime_ns
                if seen != known:
                    self._take_certificate()
                    known = seen
            except (OSError, PkiError) as error:
                log.error("the renewed certificate cannot be taken: %s", error)

    def _tell_windows(self) -> None:
        """Whether a module may go home now, by the local time of the node."""
        now = dt.datetime.now()
        for module, supervisor in list(self.supervisors.items()):
            give_back = self.cluster.module(module).give_back
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
            for name, supervisor in self.supervisors.items()
        ]
        for thread in answers:
            thread.start()
        for thread in answers:
            thread.join()

    @staticmethod
    def _leave_module(module: str, supervisor: Supervisor) -> None:
        try:
            answer = supervisor.ask({"op": "command", "command": "stop", "arguments": {}}, LEAVE_TIMEOUT_S)
            log.info("%s", answer["sentence"])
        except AgentDownError as error:
            log.warning("%s was not stopped in order: %s", module, error)

    def _beat_interval_s(self) -> float:
        shortest = min((module.timeout_s for module in self.cluster.modules.values()), default=10.0)
        return max(SHORTEST_BEAT_S, shortest / 10)

    def _address(self, node: str, network: str) -> str:
        return self.cluster.nodes[node].addresses[network]

    def _control_addresses(self, node: str) -> dict[str, str]:
        """The node's addresses by network, those of the networks for control first."""
        return {**self.cluster.addresses(node, NetworkRole.CONTROL), **self.cluster.nodes[node].addresses}
