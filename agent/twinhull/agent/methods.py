"""What people, playbooks and the peer may ask an agent: named methods, plain JSON in and out.

Operators may call everything. The peer's agent may call only what `PEER_METHODS` names: a node that was broken into must
not be able to stop the other one's modules.
"""

from __future__ import annotations

import base64
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import twinhull
from twinhull import config as configuration
from twinhull import log as logs
from twinhull.errors import TransportError, TwinhullError, UsageError
from twinhull.transport import pki
from twinhull.transport.control import Caller
from twinhull.transport.tls import Role

from . import protect, snapshot
from .agent import Agent
from .desired import Wish
from .jobs import Job
from .status import cluster_warnings, module_status, unreachable_node

Method = Callable[[Caller, dict[str, Any]], dict[str, Any]]

COMMAND_TIMEOUT_S = 3600.0
STATUS_TIMEOUT_S = 3.0
SNAPSHOT_PIECE_BYTES = 512 << 10
COMMANDS = (
    "start",
    "stop",
    "restart",
    "stopstart",
    "swap",
    "abandon",
    "checker-suspend",
    "checker-resume",
)
PEER_METHODS = frozenset(
    {"status_local", "tell", "config_show", "config_store", "check_host", "logs", "stand_by", "join", "part"}
)

log = logging.getLogger(__name__)


class Methods:
    """The methods of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._audit = logs.AuditLog(agent.node.log_dir, agent.node.node)

    def table(self) -> Mapping[str, Method]:
        """Name to method, each guarded by who may call it."""
        names = (
            "status",
            "status_local",
            "command",
            "job",
            "danger",
            "logs",
            "config_show",
            "config_apply",
            "config_store",
            "protect",
            "unprotect",
            "check_host",
            "snapshot",
            "snapshot_read",
            "tell",
            "stand_by",
            "join",
            "part",
        )
        return {name: self._guarded(name) for name in names}

    def _guarded(self, name: str) -> Method:
        method: Method = getattr(self, f"_{name}")

        def call(caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
            if caller.role is not Role.OPERATOR and name not in PEER_METHODS and not self._is_own(caller):
                raise UsageError(
                    f"{caller.name} may not call {name} on {self._agent.node.node}.",
                    "Use an operator's certificate (`twinhull pki issue --role operator`).",
                )
            return method(caller, arguments)

        return call

    def _is_own(self, caller: Caller) -> bool:
        """The node's own certificate, on the node itself: root of this node, who may do everything anyway."""
        return caller.name == self._agent.node.node and caller.address.startswith("127.")

    # ---- status ----------------------------------------------------------------------------------

    def _status(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        agent = self._agent
        own, peer = agent.node.node, agent.peer_name
        try:
            other = agent.peer.call("status_local", {}, timeout_s=STATUS_TIMEOUT_S)
        except TwinhullError as error:
            other = unreachable_node(str(error))
        nodes = {own: self._status_local(caller, arguments), peer: other}
        return {
            "cluster": agent.cluster.cluster,
            "node": own,
            "time": dt.datetime.now().astimezone().isoformat(timespec="seconds"),
            "warnings": cluster_warnings(nodes),
            "nodes": {name: nodes[name] for name in agent.cluster.nodes},
        }

    def _status_local(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        agent = self._agent
        certificates = pki.show(agent.node.pki_dir)
        warnings = list(configuration.warnings(agent.cluster))
        warnings += [
            f"the {seen.kind} certificate of {seen.name} on {agent.node.node} expires in {seen.days_left} days: "
            "renew it with `twinhull pki renew`"
            for seen in certificates
            if seen.expiring
        ]
        own = next((seen for seen in certificates if seen.kind == "node"), None)
        networks = {
            name: {"up": seen.up, "last_heard_s": seen.last_heard_s}
            for name, seen in agent.heartbeats.status().items()
        }
        warnings += [f"the network {name} is down" for name, seen in networks.items() if not seen["up"]]
        return {
            "reachable": True,
            "version": twinhull.__version__,
            "networks": networks,
            "certificate": own
            and {"expires": own.not_after.isoformat(timespec="seconds"), "days_left": own.days_left},
            "warnings": warnings,
            "config_digest": agent.cluster.digest(),
            "modules": {name: self._module(name) for name in agent.cluster.modules},
        }

    def _module(self, name: str) -> dict[str, Any]:
        agent = self._agent
        config = agent.cluster.module(name)
        supervisor = agent.supervisors[name]
        return module_status(
            supervisor.view,
            {
                "folder": str(config.folder),
                "size_bytes": config.size_bytes,
                "preferred": config.preferred,
                "witness": agent.cluster.witness.kind.name.lower(),
            },
            {"alive": supervisor.alive, "pid": supervisor.pid, "trouble": supervisor.trouble},
        )

    # ---- commands --------------------------------------------------------------------------------

    def _command(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        module, command = _text(arguments, "module"), _text(arguments, "command")
        if command not in COMMANDS:
            raise UsageError(f"There is no command {command!r}.", f"Commands are: {', '.join(COMMANDS)}.")
        config = self._agent.cluster.module(module)
        details = {key: arguments[key] for key in ("as_primary", "forced", "mode") if arguments.get(key)}
        self._audit.write(who=_who(caller, arguments), what=command, module=module, details=details)

        def work(job: Job) -> str:
            job.progress(f"{command} of {module}")
            if command == "start":
                self._agent.wishes.set(module, Wish.STARTED)
            elif command == "stop":
                self._agent.wishes.set(module, Wish.STOPPED)
            return self._tell_worker(config.name, command, details)

        return {"job": self._agent.jobs.start(f"{command} {module}", work).id}

    def _tell_worker(self, module: str, command: str, details: Mapping[str, Any]) -> str:
        answer = self._agent.supervisors[module].ask(
            {"op": "command", "command": command, "arguments": dict(details)}, COMMAND_TIMEOUT_S
        )
        if not answer["ok"]:
            raise UsageError(str(answer["sentence"]))
        return str(answer["sentence"])

    def _job(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        return self._agent.jobs.get(_text(arguments, "id")).as_json()

    def _danger(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        module, command = _text(arguments, "module"), _text(arguments, "command")
        config = self._agent.cluster.module(module)
        facts = {**arguments, "vm": isinstance(config.resource, configuration.LibvirtConfig)}
        own = self._module(module)
        try:
            peer = self._agent.peer.call("status_local", {}, timeout_s=STATUS_TIMEOUT_S)["modules"].get(
                module
            )
        except TwinhullError:
            peer = None
        return {"lines": protect.danger_lines(command, module, self._agent.node.node, own, peer, facts)}

    # ---- logs ------------------------------------------------------------------------------------

    def _logs(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        module = arguments.get("module")
        if module is not None:
            self._agent.cluster.module(str(module))
        try:
            page = logs.read_logs(
                self._agent.node.log_dir,
                module=None if module is None else str(module),
                after=str(arguments.get("after") or ""),
                limit=int(arguments.get("limit") or 200),
            )
        except ValueError as error:
            raise UsageError(f"The logs cannot be read from there: {error}.") from error
        return {"lines": [line._asdict() for line in page.lines], "next": page.next}

    # ---- configuration ---------------------------------------------------------------------------

    def _config_show(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        return {
            "text": configuration.to_yaml(self._agent.cluster),
            "digest": self._agent.cluster.digest(),
        }

    def _config_apply(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """Check on this node, store on both, take over what can be taken over now."""
        agent = self._agent
        text = _text(arguments, "text")
        new, change = self._checked(text)
        if arguments.get("dry_run"):
            return {"changed": list(change.changed), "warnings": list(change.warnings)}
        warnings = list(change.warnings)
        self._audit.write(who=_who(caller, arguments), what="config apply", module="", details={})
        try:
            agent.peer.call("config_store", {"text": text}, patient=True)
        except TransportError as error:
            warnings.append(
                f"{agent.peer_name} did not take the configuration ({error}): apply it there when it is back"
            )
        self._take_over(text, new)
        return {"changed": list(change.changed), "warnings": warnings}

    def _config_store(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """The peer's agent hands over a configuration that a person applied there."""
        text = _text(arguments, "text")
        new, change = self._checked(text)
        self._audit.write(who=caller.name, what="config store", module="", details={})
        self._take_over(text, new)
        return {"changed": list(change.changed)}

    def _checked(self, text: str) -> tuple[configuration.ClusterConfig, configuration.Change]:
        agent = self._agent
        new = configuration.parse_cluster(text, "cluster.yml", agent.node)
        views = {name: supervisor.view or {} for name, supervisor in agent.supervisors.items()}
        change = configuration.check_change(
            agent.cluster,
            new,
            running={name for name, view in views.items() if view.get("state", "STOP") != "STOP"},
            existing={name for name, view in views.items() if view.get("volume")},
        )
        return new, change

    def _take_over(self, text: str, new: configuration.ClusterConfig) -> None:
        agent = self._agent
        path = agent.node.cluster_config
        part = path.with_suffix(".part")
        part.write_text(text)
        part.replace(path)
        old, agent.cluster = agent.cluster, new
        for module in old.modules.keys() - new.modules.keys():
            agent.unwatch_module(module)
        for module in old.modules.keys() & new.modules.keys():
            if old.module(module) != new.module(module):
                agent.renew_stopped_worker(module)
        for module in new.modules.keys() - old.modules.keys():
            agent.watch_module(module)

    # ---- protection ------------------------------------------------------------------------------

    def _protect(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        module = _text(arguments, "module")
        self._agent.cluster.module(module)
        self._audit.write(who=_who(caller, arguments), what="protect", module=module, details={})
        work = protect.Protection(self._agent, module, arguments, self._tell_worker)
        return {"job": self._agent.jobs.start(f"protect {module}", work.run).id}

    def _unprotect(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        module = _text(arguments, "module")
        self._agent.cluster.module(module)
        self._audit.write(who=_who(caller, arguments), what="unprotect", module=module, details={})
        work = protect.Unprotection(self._agent, module, arguments, self._tell_worker)
        return {"job": self._agent.jobs.start(f"unprotect {module}", work.run).id}

    def _check_host(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        return {
            "findings": protect.check_this_host(
                self._agent, _text(arguments, "module"), arguments.get("definition")
            )
        }

    # ---- support ---------------------------------------------------------------------------------

    def _snapshot(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        status = self._status(caller, {})
        anonymise = bool(arguments.get("anonymise"))

        def work(job: Job) -> str:
            job.result = snapshot.make(self._agent, status, anonymise=anonymise, progress=job.progress)
            return f"The archive has {Path(job.result).stat().st_size} bytes."

        return {"job": self._agent.jobs.start("snapshot", work).id}

    def _snapshot_read(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        job = self._agent.jobs.get(_text(arguments, "job"))
        if not isinstance(job.result, Path):
            raise UsageError("That job has made no archive.")
        with job.result.open("rb") as file:
            file.seek(int(arguments.get("offset") or 0))
            data = file.read(SNAPSHOT_PIECE_BYTES)
        return {"data_base64": base64.b64encode(data).decode(), "size": job.result.stat().st_size}

    # ---- the peer --------------------------------------------------------------------------------

    def _stand_by(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """The peer is about to protect a module: a blank replica here waits, stopped, until it is asked to join."""
        module = _text(arguments, "module")
        view = self._agent.supervisors[module].view or {}
        if view.get("generation") != "-":
            raise UsageError(f"{self._agent.node.node} holds a volume of {module} with content.")
        self._agent.wishes.set(module, Wish.STOPPED)
        if view.get("state") == "STOP":
            return {"sentence": f"{module} is stopped on {self._agent.node.node}."}
        return {"sentence": self._tell_worker(module, "stop", {})}

    def _join(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """The peer protects a module: start it here, too (never as primary)."""
        module = _text(arguments, "module")
        self._agent.cluster.module(module)
        self._agent.wishes.set(module, Wish.STARTED)
        return {"sentence": self._tell_worker(module, "start", {})}

    def _part(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """The peer, which runs the module, ends its protection: leave, if this is the second replica."""
        module = _text(arguments, "module")
        view = self._agent.supervisors[module].view or {}
        if view.get("state") != "SECOND":
            raise UsageError(f"{module} is not the second replica on {self._agent.node.node}.")
        self._agent.wishes.set(module, Wish.STOPPED)
        return {"sentence": self._tell_worker(module, "stop", {})}

    def _tell(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        if caller.name != self._agent.peer_name:
            raise UsageError("Only the peer's agent may pass messages on.")
        self._agent.tell(_text(arguments, "module"), _text(arguments, "message"))
        return {}


def _text(arguments: Mapping[str, Any], key: str) -> str:
    value = arguments.get(key)
    if not isinstance(value, str) or not value:
        raise UsageError(f"The argument {key!r} is missing or is not text.")
    return value


def _who(caller: Caller, arguments: Mapping[str, Any]) -> str:
    by = arguments.get("by")
    return f"{by} ({caller.name})" if isinstance(by, str) and by else caller.name
