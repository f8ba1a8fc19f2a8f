"""The modules of one site as its two nodes run them: what the agents of the stand-in decide and tell.

It keeps the rules that playbooks rely on (one side runs, a swap needs green, a returning mirror copies first), not the
protocol; the shape of the answers is the agent's own (`twinhull.agent.status`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twinhull.agent.protect import danger_lines
from twinhull.agent.status import cluster_warnings, module_status, unreachable_node
from twinhull.config import ClusterConfig, check_change
from twinhull.errors import UsageError

Plain = dict[str, Any]


@dataclass(slots=True)
class Replica:
    """One module on one node.

    Args:
        looks_left: how many looks at the status a copy to this mirror still takes.
        stuck: a copy never ends (a test holds a module orange with it).
        trouble: what the agent says is wrong; makes it red.
        pid: of its worker.
    """

    state: str = "STOP"
    uptodate: bool = False
    generation: str = "-"
    suspended: bool = False
    looks_left: int = 0
    stuck: bool = False
    version: str = ""
    trouble: str = ""
    pid: int = 4711


@dataclass(slots=True)
class Node:
    """One node's agent.

    Args:
        version: of the running agent; None while it is stopped.
        config: what it runs with.
    """

    name: str
    version: str | None = None
    config: ClusterConfig | None = None
    replicas: dict[str, Replica] = field(default_factory=dict)
    jobs: dict[str, Plain] = field(default_factory=dict)
    reachable: bool = True

    @property
    def up(self) -> bool:
        """The agent runs."""
        return self.version is not None


@dataclass(slots=True)
class Wire:
    """The networks between the two nodes.

    Args:
        broken: outcome of connections from one address to another: refused, timeout, no-route, reset.
        rtt_ms, bytes_per_s: by the address that is connected to; else the defaults.
        listening: addresses and ports of a trial.
    """

    broken: dict[tuple[str, str], str] = field(default_factory=dict)
    rtt_ms: dict[str, float] = field(default_factory=dict)
    bytes_per_s: dict[str, int] = field(default_factory=dict)
    listening: set[tuple[str, int]] = field(default_factory=set)

    def connect(self, source: str, address: str, port: int, *, served: bool) -> tuple[str, float, int]:
        """Outcome, round trip in ms, bytes per second."""
        outcome = self.broken.get((source, address))
        if outcome is None and not served and (address, port) not in self.listening:
            outcome = "refused"
        return (
            outcome or "connected",
            self.rtt_ms.get(address, 0.2),
            self.bytes_per_s.get(address, 1_000_000_000),
        )


@dataclass(slots=True)
class Cluster:
    """Both nodes of a site.

    Args:
        copy_looks: how many looks a copy takes.
        job_looks: how many looks a job takes.
        stores: how each node keeps its cluster.yml.
        swap_fails: the sentence of an agent that abandons every swap; empty: swaps succeed.
    """

    site: str
    nodes: dict[str, Node]
    copy_looks: int = 1
    job_looks: int = 1
    swap_fails: str = ""
    stops: int = 0
    wire: Wire = field(default_factory=Wire)
    stores: dict[str, Callable[[str], None]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def peer(self, node: str) -> Node:
        """The other node."""
        return next(other for name, other in self.nodes.items() if name != node)

    # ---- the agents' lives -----------------------------------------------------------------------

    def agent_started(self, name: str, version: str, config: ClusterConfig) -> None:
        """The service came up: stopped modules get a worker of this version, running ones keep theirs."""
        with self.lock:
            node = self.nodes[name]
            node.version, node.config = version, config
            for module in config.modules:
                replica = node.replicas.setdefault(module, Replica(version=version))
                if replica.state == "STOP":
                    replica.version = version

    def agent_stopped(self, name: str) -> None:
        """The service ended; workers run on."""
        with self.lock:
            self.nodes[name].version = None

    def power_lost(self, name: str) -> None:
        """The node is gone at once: the other one takes over what it mirrored."""
        with self.lock:
            node, peer = self.nodes[name], self.peer(name)
            node.version = None
            for module, replica in node.replicas.items():
                other = peer.replicas.get(module)
                if (
                    replica.state in ("PRIM", "ALONE")
                    and other
                    and other.state == "SECOND"
                    and other.uptodate
                ):
                    other.state = "ALONE"
                    self.stops += 1
                elif other and other.state == "PRIM":
                    other.state = "ALONE"
                replica.state, replica.uptodate = "WAIT", False

    def worker_killed(self, name: str, pid: int) -> bool:
        """The worker of this process is gone: its module moves, the worker comes back and copies. Whether there was one."""
        with self.lock:
            node, peer, found = self.nodes[name], self.peer(name), False
            for module, replica in node.replicas.items():
                if replica.pid != pid:
                    continue
                found, other = True, peer.replicas[module]
                replica.pid += 1
                if replica.state == "PRIM" and other.state == "SECOND" and other.uptodate:
                    self.stops += 1
                    self._join(replica, other)
                elif replica.state == "SECOND":
                    self._join(replica, other)
            return found

    def stream_cut(self, name: str, *, cut: bool) -> None:
        """No data stream from or to a node: mirrors are outdated until it is whole again, then they copy."""
        with self.lock:
            for module, replica in self.nodes[name].replicas.items():
                other = self.peer(name).replicas[module]
                for prim, second in ((replica, other), (other, replica)):
                    if cut and (prim.state, second.state) == ("PRIM", "SECOND"):
                        prim.state, second.state, second.uptodate = "ALONE", "WAIT", False
                    elif not cut and (prim.state, second.state) == ("ALONE", "WAIT"):
                        self._join(second, prim)

    def booted(self, name: str) -> None:
        """The node's agent is back after a boot: its modules become mirrors, which copy first."""
        with self.lock:
            node, peer = self.nodes[name], self.peer(name)
            for module, replica in node.replicas.items():
                other = peer.replicas.get(module)
                replica.version = node.version or replica.version
                if replica.state == "WAIT" and other and other.state in ("ALONE", "PRIM"):
                    self._join(replica, other)

    def _join(self, replica: Replica, other: Replica) -> None:
        replica.state, other.state = "SECOND", "PRIM"
        replica.generation = other.generation
        replica.uptodate = self.copy_looks == 0
        replica.looks_left = self.copy_looks

    def protect_all(self, preferred: Mapping[str, str] | None = None) -> None:
        """Every module mirrored and green, running on its preferred node (else on the first)."""
        with self.lock:
            first = next(iter(self.nodes))
            for name, node in self.nodes.items():
                for module, config in (node.config.modules if node.config else {}).items():
                    home = (preferred or {}).get(module) or config.preferred or first
                    replica = node.replicas[module]
                    replica.state = "PRIM" if name == home else "SECOND"
                    replica.generation, replica.uptodate, replica.looks_left = "00112233", True, 0

    def runs_on(self, module: str) -> list[str]:
        """Names of the nodes that run a module."""
        with self.lock:
            return [
                name for name, node in self.nodes.items()
                if module in node.replicas and node.replicas[module].state in ("PRIM", "ALONE")
            ]  # fmt: skip

    # ---- what an agent answers -------------------------------------------------------------------

    def call(self, name: str, method: str, arguments: Mapping[str, Any]) -> Plain:
        """A method of the agent of a node. Raises what the agent would tell."""
        with self.lock:
            made: Plain = _METHODS[method](self, self.nodes[name], dict(arguments))
            return made

    def status(self, node: Node, _arguments: Plain) -> Plain:
        """Both nodes as this one sees them; looking lets copies go on."""
        for each in self.nodes.values():
            for replica in each.replicas.values():
                self._copied(replica)
        nodes = {name: self._side(each, node) for name, each in self.nodes.items()}
        return {
            "cluster": node.config.cluster if node.config else self.site,
            "node": node.name,
            "time": "2030-01-01T00:00:00+00:00",
            "warnings": cluster_warnings(nodes),
            "nodes": nodes,
        }

    def _copied(self, replica: Replica) -> None:
        if replica.state != "SECOND" or replica.uptodate or replica.stuck:
            return
        replica.looks_left -= 1
        if replica.looks_left < 0:
            replica.uptodate = True

    def _side(self, node: Node, seer: Node) -> Plain:
        if not node.up or (node is not seer and not (node.reachable and seer.reachable)):
            return unreachable_node(f"No agent answers on node {node.name}.")
        config = node.config
        assert config is not None
        return {
            "reachable": True,
            "version": node.version,
            "networks": {name: {"up": True, "last_heard_s": 0.2} for name in config.networks},
            "certificate": {"expires": "2099-01-01T00:00:00+00:00", "days_left": 25000},
            "warnings": [],
            "config_digest": config.digest(),
            "modules": {module: self._module(node, config, module) for module in config.modules},
        }

    def _module(self, node: Node, config: ClusterConfig, module: str) -> Plain:
        replica, module_config = node.replicas[module], config.modules[module]
        facts = {
            "folder": str(module_config.folder),
            "size_bytes": module_config.size_bytes,
            "preferred": module_config.preferred,
            "witness": config.witness.kind.name.lower(),
        }
        view = _view(replica, self._colour(node, module, replica))
        return module_status(view, facts, {"alive": True, "pid": replica.pid, "trouble": ""})

    def _colour(self, node: Node, module: str, replica: Replica) -> str:
        other = self.peer(node.name).replicas.get(module)
        if replica.trouble or replica.state in ("STOP", "WAIT"):
            return "red"
        whole = (
            replica.uptodate and other is not None and other.uptodate and other.state in ("PRIM", "SECOND")
        )
        return "green" if whole else "orange"

    def command(self, node: Node, arguments: Plain) -> Plain:
        """Commands on one module, as jobs."""
        module, command = arguments["module"], arguments["command"]
        own = node.replicas.get(module)
        if own is None:
            raise UsageError(f"There is no module {module}.", "See: twinhull status")
        other = self.peer(node.name).replicas.get(module, Replica())
        work = getattr(self, f"_do_{command.replace('-', '_')}")
        return self._job(node, command, module, lambda: work(node, module, own, other, arguments))

    def _job(self, node: Node, command: str, module: str, work: Any) -> Plain:
        job = f"{len(node.jobs) + 1}"
        try:
            sentence, ok = work(), True
        except UsageError as error:
            sentence, ok = str(error), False
        node.jobs[job] = {
            "command": command,
            "module": module,
            "sentence": sentence,
            "ok": ok,
            "looks": self.job_looks,
        }
        return {"job": job}

    def job(self, node: Node, arguments: Plain) -> Plain:
        """How far a job is."""
        kept = node.jobs.get(arguments["id"])
        if kept is None:
            raise UsageError(f"There is no job {arguments['id']}.", "See: twinhull status")
        kept["looks"] -= 1
        done = kept["looks"] < 0
        return {
            "id": arguments["id"],
            "command": kept["command"],
            "module": kept["module"],
            "done": done,
            "ok": done and kept["ok"],
            "sentence": kept["sentence"] if done else "",
            "remedy": "",
            "exit_code": 0 if kept["ok"] else 1,
            "progress": {"text": f"{kept['command']} of {kept['module']}"},
            "result": kept.get("result"),
        }

    def _do_start(self, node: Node, module: str, own: Replica, other: Replica, arguments: Plain) -> str:
        if own.state != "STOP":
            return f"{module} is started already."
        if own.generation == "-" and not arguments.get("as_primary"):
            own.state = "WAIT"
            return f"{module} has no content yet: protect it."
        if other.state in ("PRIM", "ALONE"):
            self._join(own, other)
            return f"{module} is the mirror on {node.name}."
        own.state, own.uptodate = "ALONE", True
        return f"{module} runs alone on {node.name}."

    def _do_stop(self, node: Node, module: str, own: Replica, other: Replica, _arguments: Plain) -> str:
        if own.state in ("PRIM", "ALONE"):
            self.stops += 1
            if other.state == "SECOND" and other.uptodate:
                other.state = "ALONE"
        elif own.state == "SECOND":
            other.state = "ALONE"
        own.uptodate = own.state in ("PRIM", "ALONE") and other.state == "STOP"
        own.state, own.version = "STOP", node.version or own.version
        return f"{module} is stopped on {node.name}."

    def _do_swap(self, node: Node, module: str, own: Replica, other: Replica, _arguments: Plain) -> str:
        if self.swap_fails:
            raise UsageError(self.swap_fails)
        if {own.state, other.state} != {"PRIM", "SECOND"} or not (own.uptodate and other.uptodate):
            raise UsageError(f"{module} is not green on both nodes: nothing was swapped.")
        own.state, other.state = other.state, own.state
        self.stops += 1
        return f"{module} was swapped; it runs on {self.runs_on(module)[0]}."

    def _do_restart(self, node: Node, module: str, own: Replica, _other: Replica, _arguments: Plain) -> str:
        self.stops += 1
        return f"{module} was restarted on {node.name}."

    def _do_stopstart(self, node: Node, module: str, own: Replica, other: Replica, arguments: Plain) -> str:
        self._do_stop(node, module, own, other, arguments)
        return self._do_start(node, module, own, other, arguments)

    def _do_checker_suspend(
        self, node: Node, module: str, own: Replica, _other: Replica, _arguments: Plain
    ) -> str:
        own.suspended = True
        return f"The checkers of {module} rest on {node.name}."

    def _do_checker_resume(
        self, node: Node, module: str, own: Replica, _other: Replica, _arguments: Plain
    ) -> str:
        own.suspended = False
        return f"The checkers of {module} work on {node.name}."

    def protect(self, node: Node, arguments: Plain) -> Plain:
        """The VM moves into the folder; the first copy follows."""
        module, peer = arguments["module"], self.peer(node.name)

        def work() -> str:
            own, other = node.replicas[module], peer.replicas.get(module)
            if own.generation != "-":
                raise UsageError(f"{module} is protected already.")
            if other is None or not peer.up:
                raise UsageError(f"Node {peer.name} cannot be reached.")
            own.state, own.generation, own.uptodate = "ALONE", "00112233", True
            self._join(other, own)
            return f"{module} is protected."

        return self._job(node, "protect", module, work)

    def unprotect(self, node: Node, arguments: Plain) -> Plain:
        """The VM moves back out; both volumes are set aside."""
        module, peer = arguments["module"], self.peer(node.name)

        def work() -> str:
            for each in (node, peer):
                each.replicas[module] = Replica(version=each.version or "")
            self.stops += 1
            return f"{module} is not protected any more."

        return self._job(node, "unprotect", module, work)

    def danger(self, node: Node, arguments: Plain) -> Plain:
        """The agent's own words about what would be lost."""
        module = arguments["module"]
        assert node.config is not None
        peer = self.peer(node.name)
        other = self._module(peer, peer.config, module) if peer.up and peer.config else None
        lines = danger_lines(
            arguments["command"], module, node.name, self._module(node, node.config, module), other, arguments
        )
        return {"lines": lines}

    def verify(self, node: Node, arguments: Plain) -> Plain:
        """Both replicas are compared; they are equal in the model."""
        return self._job(node, "verify", str(arguments.get("module")), lambda: "Both copies are equal.")

    def config_apply(self, node: Node, arguments: Plain) -> Plain:
        """Compare, and take over on both nodes."""
        new: ClusterConfig = arguments["config"]
        assert node.config is not None
        running = {name for name, replica in node.replicas.items() if replica.state != "STOP"}
        made = {name for name, replica in node.replicas.items() if replica.generation != "-"}
        change = check_change(node.config, new, running=running, existing=made)
        peer = self.peer(node.name)
        theirs = peer.config.digest() if peer.up and peer.config else ""
        if not arguments.get("dry_run"):
            for each in (node, peer):
                if each.up:
                    self.agent_started(each.name, each.version or "", new)
        return {
            "changed": change.changed,
            "changes": [difference._asdict() for difference in change.differences],
            "peer": peer.name,
            "peer_digest": theirs if theirs != new.digest() else "",
            "warnings": list(change.warnings),
        }


def _view(replica: Replica, colour: str) -> Plain:
    runs = replica.state in ("PRIM", "ALONE")
    return {
        "state": replica.state,
        "colour": colour,
        "uptodate": replica.uptodate,
        "holding": False,
        "sentence": replica.trouble or _SENTENCES[replica.state],
        "waiting_for": "",
        "resource": "running" if runs else "off",
        "resource_state": "running" if runs else "off",
        "generation": replica.generation,
        "peer_may_be_uptodate": True,
        "restarts": 0,
        "network": "direct",
        "allocated_bytes": 1 << 30,
        "disk_free_bytes": 1 << 40,
        "disk_total_bytes": 2 << 40,
        "sync": None,
        "phase": "",
        "alone_since_s": 1.0 if replica.state == "ALONE" else None,
        "marked_bytes": 0,
        "checkers_suspended": replica.suspended,
        "checker_items": {},
        "warnings": [],
        "version": replica.version,
        "verify": None,
    }


_SENTENCES = {
    "STOP": "The module is stopped.",
    "WAIT": "The module waits for its other node.",
    "ALONE": "The module runs alone.",
    "PRIM": "Every write is on both nodes.",
    "SECOND": "The mirror is ready to take over.",
}
_METHODS: dict[str, Any] = {
    "status": Cluster.status,
    "command": Cluster.command,
    "job": Cluster.job,
    "danger": Cluster.danger,
    "protect": Cluster.protect,
    "unprotect": Cluster.unprotect,
    "verify": Cluster.verify,
    "config_apply": Cluster.config_apply,
}
