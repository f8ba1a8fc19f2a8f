"""What people, playbooks and the peer may ask an agent: named methods, plain JSON in and out.

Operators may call everything. The peer's agent may call only what `PEER_METHODS` names: a node that was broken into must
not be able to stop the other one's modules.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import twinhull
from twinhull import config as configuration
from twinhull import log as logs
from twinhull.core.settings import StopMode
from twinhull.errors import ConfigError, TransportError, TwinhullError, UsageError
from twinhull.transport import pki
from twinhull.transport.control import Caller, RemoteError
from twinhull.transport.tls import Role
from twinhull.worker.parts import check_witness_files
from twinhull.worker.places import volume_directory

from . import follow, protect, snapshot, verifying, witnessing
from .agent import Agent
from .desired import Wish, unfinished_protection
from .jobs import Job
from .originals import Originals
from .rescuing import Rescues
from .status import cluster_warnings, module_status, only_newest_verify, unreachable_node

Method = Callable[[Caller, dict[str, Any]], dict[str, Any]]

COMMAND_TIMEOUT_S = 7 * 86_400.0
"""Copying a VM out takes as long as it takes; a worker that dies or hangs ends the wait at once."""
MAX_TOLD_CHARS = 64 << 10
MAX_LOG_LINES = 5000
FOLLOWED = {"start": follow.follow_start, "swap": follow.follow_swap}
STATUS_TIMEOUT_S = 2.0
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
    "witness-reset",
)
STOP_MODES = tuple(mode.value for mode in StopMode)
WISHES: Mapping[str, Wish] = {"start": Wish.STARTED, "stop": Wish.STOPPED}
PEER_METHODS = frozenset(
    {
        "status_local",
        "tell",
        "config_show",
        "config_store",
        "check_host",
        "logs",
        "rescue_now",
        "stand_by",
        "join",
        "part",
        "set_aside",
    }
)

log = logging.getLogger(__name__)


class Methods:
    """The methods of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._audit = logs.AuditLog(agent.node.log_dir, agent.node.node)
        self._configuring = threading.Lock()
        self._rescues = Rescues(agent)

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
            "originals",
            "verify",
            "rescue",
            "witness",
            "rescue_job",
            "rescue_now",
            "check_host",
            "snapshot",
            "snapshot_read",
            "tell",
            "stand_by",
            "join",
            "part",
            "set_aside",
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
        only_newest_verify(nodes)
        return {
            "cluster": agent.cluster.cluster,
            "node": own,
            "time": dt.datetime.now().astimezone().isoformat(timespec="seconds"),
            "warnings": cluster_warnings(nodes),
            "nodes": {name: nodes[name] for name in agent.cluster.nodes},
        }

    def _status_local(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        agent = self._agent
        warnings = list(configuration.warnings(agent.cluster))
        certificates = []
        try:
            certificates = pki.show(agent.node.pki_dir)
        except (TwinhullError, OSError) as error:
            warnings.append(f"the certificates of {agent.node.node} cannot be read: {error}")
        warnings += [
            f"the {seen.kind} certificate of {seen.name} on {agent.node.node} {expiry(seen.days_left)}: "
            "renew it with `twinhull pki renew`"
            for seen in certificates
            if seen.expiring
        ]
        warnings += agent.witness_files.warnings
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
        supervisor = agent.supervisors.get(name)
        worker = (
            {"alive": False, "pid": None, "trouble": "it is not watched yet"}
            if supervisor is None
            else {
                "alive": supervisor.alive,
                "pid": supervisor.pid,
                "trouble": supervisor.hushed or supervisor.trouble,
            }
        )
        return module_status(
            supervisor.view if supervisor is not None and not supervisor.hushed else None,
            {
                "folder": str(config.folder),
                "size_bytes": config.size_bytes,
                "preferred": config.preferred,
                "witness": agent.cluster.witness.kind.name.lower(),
                "unfinished": "protect" if unfinished_protection(agent.node.data_dir, name).exists() else "",
            },
            worker,
        )

    # ---- commands --------------------------------------------------------------------------------

    def _command(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        module, command = _text(arguments, "module"), _text(arguments, "command")
        if command not in COMMANDS:
            raise UsageError(f"There is no command {command!r}.", f"Commands are: {', '.join(COMMANDS)}.")
        config = self._agent.cluster.module(module)
        details = _command_details(arguments)
        self._audit.write(who=_who(caller, arguments), what=command, module=module, details=details)

        def work(job: Job) -> str:
            job.progress(f"{command} of {module}")
            if command == "start":
                self._agent.replacing.before_start(config.name)
            sentence = self._wished(config.name, command, details)
            if command in FOLLOWED:
                return FOLLOWED[command](self._agent, config.name, job)
            return sentence

        return {"job": self._agent.jobs.start(command, module, work).id}

    def _wished(self, module: str, command: str, details: Mapping[str, Any]) -> str:
        """Give the command, and remember what people want now, for a worker that begins anew meanwhile."""
        wishes = self._agent.wishes
        before = wishes.get(module)
        if command in WISHES:
            wishes.set(module, WISHES[command])
        try:
            return self._tell_worker(module, command, details)
        except UsageError:
            if command == "stop":
                wishes.set(module, before)  # it runs on
            raise

    def _tell_worker(self, module: str, command: str, details: Mapping[str, Any]) -> str:
        answer = self._agent.supervisor(module).ask(
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
        facts = {**arguments, "vm": not isinstance(config.resource, configuration.ScriptsConfig)}
        own = self._module(module)
        try:
            peer = self._agent.peer.call("status_local", {}, timeout_s=STATUS_TIMEOUT_S)["modules"].get(
                module
            )
        except TwinhullError:
            peer = None
        lines = protect.danger_lines(command, module, self._agent.node.node, own, peer, facts)
        if command == "start" and facts.get("as_primary"):
            lines += self._rescues.override_lines(module)
        return {"lines": lines}

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
                limit=min(max(_number(arguments, "limit") or 200, 1), MAX_LOG_LINES),
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
        if arguments.get("dry_run"):
            new, change = self._checked(text)
            return self._change_told(change, list(change.warnings), self._peer_differs(new))
        with self._alone_configuring():
            new, change = self._checked(text)
            warnings = list(change.warnings)
            details = {"digest": new.digest()}
            self._audit.write(who=_who(caller, arguments), what="config apply", module="", details=details)
            differs = self._peer_differs(new)
            part = self._prepared(text)
            try:
                agent.peer.call("config_store", {"text": text}, patient=True)
            except RemoteError as error:
                part.unlink()
                raise ConfigError(
                    f"{agent.peer_name} refuses the configuration: {error.what}",
                    f"{error.remedy} Nothing was applied.",
                ) from error
            except TransportError as error:
                warnings.append(
                    f"{agent.peer_name} did not take the configuration ({error}): apply it there when it is back"
                )
            self._take_over(part, new)
        return self._change_told(change, warnings, differs)

    def _peer_differs(self, new: configuration.ClusterConfig) -> str:
        """The digest of the other node's configuration if that is another one; empty also when nobody answers."""
        try:
            told = self._agent.peer.call("status_local", {}, timeout_s=STATUS_TIMEOUT_S)
        except TwinhullError:
            return ""
        theirs = str(told.get("config_digest") or "")
        return theirs if theirs != new.digest() else ""

    def _change_told(
        self, change: configuration.Change, warnings: list[str], peer_digest: str
    ) -> dict[str, Any]:
        """What an apply changes, or would: the differences here, and whether the other node has something else."""
        return {
            "changed": change.changed,
            "changes": [difference._asdict() for difference in change.differences],
            "peer": self._agent.peer_name,
            "peer_digest": peer_digest,
            "warnings": warnings,
        }

    def _config_store(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """The peer's agent hands over a configuration that a person applied there."""
        text = _text(arguments, "text")
        with self._alone_configuring():
            new, change = self._checked(text)
            self._audit.write(who=caller.name, what="config store", details={"digest": new.digest()})
            self._take_over(self._prepared(text), new)
        return {"changed": change.changed}

    @contextmanager
    def _alone_configuring(self) -> Iterator[None]:
        """One change at a time. It does not wait: two nodes that wait for each other would wait for ever."""
        if not self._configuring.acquire(blocking=False):
            raise UsageError(
                f"Another configuration is being applied on {self._agent.node.node}.",
                "Try again when it is done.",
            )
        try:
            yield
        finally:
            self._configuring.release()

    def _checked(self, text: str) -> tuple[configuration.ClusterConfig, configuration.Change]:
        agent = self._agent
        new = configuration.parse_cluster(text, "cluster.yml", agent.node)
        if new.witness != agent.cluster.witness:
            check_witness_files(new.witness)
        views = {name: supervisor.view for name, supervisor in list(agent.supervisors.items())}
        change = configuration.check_change(
            agent.cluster,
            new,
            running={name for name, view in views.items() if view and view["state"] != "STOP"},
            existing={name for name, view in views.items() if self._has_volume(name, view)},
        )
        return new, change

    def _has_volume(self, module: str, view: Mapping[str, Any] | None) -> bool:
        """Whether the module's volume was made; without a worker to ask, its directory says so."""
        if view is not None:
            return bool(view["volume"])
        directory = volume_directory(self._agent.node, module)
        return directory.is_dir() and any(directory.iterdir())

    def _prepared(self, text: str) -> Path:
        """The text durably beside the configuration, with its mode, ready to take its place in one step."""
        path = self._agent.node.cluster_config
        part = path.with_name(f".{path.name}.part")
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if sys.platform != "win32":
                os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return part

    def _take_over(self, part: Path, new: configuration.ClusterConfig) -> None:
        agent = self._agent
        part.replace(agent.node.cluster_config)
        _sync_directory(part.parent)
        old, agent.cluster = agent.cluster, new
        all_change = dataclasses.replace(old, modules={}) != dataclasses.replace(new, modules={})
        for module in old.modules.keys() - new.modules.keys():
            agent.unwatch_module(module)
        for module in old.modules.keys() & new.modules.keys():
            if all_change or old.module(module) != new.module(module):
                agent.replacing.due(module, "its configuration changed")
                agent.replacing.if_stopped(module)
        for module in new.modules.keys() - old.modules.keys():
            agent.watch_module(module)

    # ---- protection ------------------------------------------------------------------------------

    def _protect(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        module = _text(arguments, "module")
        self._agent.cluster.module(module)
        _flag(arguments, "stop_vm")
        self._audit.write(who=_who(caller, arguments), what="protect", module=module, details={})
        work = protect.Protection(self._agent, module, arguments, self._tell_worker)
        return {"job": self._agent.jobs.start("protect", module, work.run).id}

    def _unprotect(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        module = _text(arguments, "module")
        self._agent.cluster.module(module)
        details = {"target": arguments.get("target") or ""}
        self._audit.write(who=_who(caller, arguments), what="unprotect", module=module, details=details)
        work = protect.Unprotection(self._agent, module, arguments, self._tell_worker)
        return {"job": self._agent.jobs.start("unprotect", module, work.run).id}

    def _originals(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """What `protect` left behind on this node, or its removal."""
        module = _text(arguments, "module")
        work = Originals(self._agent, module)
        if not _flag(arguments, "remove"):
            return {"module": module, **work.told()}
        self._audit.write(who=_who(caller, arguments), what="remove originals", module=module, details={})
        return {"job": self._agent.jobs.start("originals", module, work.remove).id}

    def _verify(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """Compare both replicas, or end a comparison (`abandon`); `repair` from `source`, else from this node."""
        module = _text(arguments, "module")
        config = self._agent.cluster.module(module)
        repair, abandon = _flag(arguments, "repair"), _flag(arguments, "abandon")
        source = arguments.get("source")
        if source is not None and source not in list(self._agent.cluster.nodes):
            nodes = ", ".join(self._agent.cluster.nodes)
            raise UsageError(f"There is no node {source!r} to repair {module} from.", f"Nodes are: {nodes}.")
        if source is not None and not repair:
            raise UsageError("A source is for a repair.", "Add --repair, or leave --source out.")
        details = {"repair": repair, "source": source or ""} if repair else {}
        what = "verify abandon" if abandon else "verify"
        self._audit.write(who=_who(caller, arguments), what=what, module=module, details=details)
        chosen = (source or self._agent.node.node) if repair else None

        def work(job: Job) -> str:
            if abandon:
                return self._tell_worker(config.name, "verify-end", {})
            return verifying.run(self._agent, config.name, chosen, job)

        return {"job": self._agent.jobs.start("verify", module, work).id}

    # ---- rescue ----------------------------------------------------------------------------------

    def _rescue(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """What is done at once: `list`, `show`, `danger`, `unmount`, `drop`."""
        module, what = _text(arguments, "module"), _text(arguments, "what")
        self._agent.cluster.module(module)
        number = _number(arguments, "rescue")
        if what == "list":
            return {"rescues": self._rescues.all_of(module)}
        if what == "show":
            return self._rescues.show(module, number)
        if what == "danger":
            return {"lines": self._rescues.danger_lines(module, _text(arguments, "command"), number)}
        if what not in ("unmount", "drop"):
            raise UsageError(f"There is no rescue {what!r}.")
        self._audit.write(
            who=_who(caller, arguments), what=f"rescue {what}", module=module, details={"rescue": number}
        )
        if what == "drop":
            return {"sentence": self._rescues.drop(module, number)}
        was = self._rescues.unmount(module, number)
        return {
            "sentence": f"Rescue {number} of {module} {'is' if was else 'was'} not mounted{' any more' if was else ''}."
        }

    def _witness(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """What the witness with a memory holds for a module; nothing is changed."""
        module = _text(arguments, "module")
        self._agent.cluster.module(module)
        supervisor = self._agent.supervisors.get(module)
        view = (supervisor.view if supervisor is not None else None) or {}
        return witnessing.show(self._agent.cluster, self._agent.node.node, module, view)

    def _rescue_job(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """What takes its time: `mount`, `diff`, `export`, `rollback`."""
        module, what = _text(arguments, "module"), _text(arguments, "what")
        self._agent.cluster.module(module)
        number, partial = _number(arguments, "rescue"), _flag(arguments, "partial")
        target = str(arguments.get("target") or "")
        paths = [str(path) for path in arguments.get("paths") or []]
        image = _flag(arguments, "image")
        if what not in ("mount", "diff", "export", "rollback"):
            raise UsageError(f"There is no rescue {what!r}.")
        details = {"rescue": number, "target": target, "paths": paths}
        self._audit.write(who=_who(caller, arguments), what=f"rescue {what}", module=module, details=details)
        rescues = self._rescues

        def work(job: Job) -> str:
            if what == "diff":
                return rescues.diff(module, number, job, partial=partial)
            if what == "rollback":
                return rescues.roll_back(module, number, job)
            if what == "export" and image:
                return rescues.export_image(module, number, Path(target), job, partial=partial)
            if what == "export":
                return rescues.export_files(module, number, Path(target), paths, job, partial=partial)
            folder = rescues.mount(module, number, partial=partial, job=job)
            job.result = {"folder": str(folder)}
            return f"Rescue {number} of {module} is at {folder} on {self._agent.node.node}, read-only."

        return {"job": self._agent.jobs.start(f"rescue {what}", module, work).id}

    def _rescue_now(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """The peer compares a rescue with what runs here: names, sizes and times, no content."""
        return self._rescues.now(_text(arguments, "module"))

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
            archive = snapshot.make(self._agent, status, anonymise=anonymise, progress=job.progress)
            job.archive, size_bytes = archive, archive.stat().st_size
            job.result = {"size_bytes": size_bytes, "anonymised": anonymise}
            return f"The archive has {size_bytes} bytes."

        return {"job": self._agent.jobs.start("snapshot", "", work).id}

    def _snapshot_read(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        job = self._agent.jobs.get(_text(arguments, "job"))
        if job.archive is None:
            raise UsageError("That job has made no archive.")
        offset_bytes = _number(arguments, "offset")
        try:
            with job.archive.open("rb") as file:
                file.seek(offset_bytes)
                data = file.read(SNAPSHOT_PIECE_BYTES)
            return {"data_base64": base64.b64encode(data).decode(), "size": job.archive.stat().st_size}
        except FileNotFoundError:
            raise UsageError(
                "That archive is gone.", "A newer snapshot replaced it: make one again."
            ) from None

    # ---- the peer --------------------------------------------------------------------------------

    def _stand_by(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """The peer is about to protect a module: a blank replica here waits, stopped, until it is asked to join."""
        module = _text(arguments, "module")
        view = self._agent.supervisor(module).view or {}
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
        self._audit.write(who=caller.name, what="join", module=module)
        self._agent.wishes.set(module, Wish.STARTED)
        return {"sentence": self._tell_worker(module, "start", {})}

    def _part(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """The peer, which runs the module, ends its protection: leave, if this is the second replica."""
        module = _text(arguments, "module")
        view = self._agent.supervisor(module).view or {}
        if view.get("state") != "SECOND":
            raise UsageError(f"{module} is not the second replica on {self._agent.node.node}.")
        self._audit.write(who=caller.name, what="part", module=module)
        self._agent.wishes.set(module, Wish.STOPPED)
        return {"sentence": self._tell_worker(module, "stop", {})}

    def _set_aside(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        """The peer took a module out of protection: its volume here is kept under another name."""
        module = _text(arguments, "module")
        self._agent.supervisor(module)
        self._audit.write(who=caller.name, what="set aside", module=module)
        return {"path": str(self._agent.replacing.set_aside(module))}

    def _tell(self, caller: Caller, arguments: dict[str, Any]) -> dict[str, Any]:
        if caller.name != self._agent.peer_name:
            raise UsageError("Only the peer's agent may pass messages on.")
        message = _text(arguments, "message")
        if len(message) > MAX_TOLD_CHARS:
            raise UsageError(f"A message of {len(message)} characters is too long to be passed on.")
        self._agent.tell(_text(arguments, "module"), message)
        return {}


def _text(arguments: Mapping[str, Any], key: str) -> str:
    value = arguments.get(key)
    if not isinstance(value, str) or not value:
        raise UsageError(f"The argument {key!r} is missing or is not text.")
    return value


def _who(caller: Caller, arguments: Mapping[str, Any]) -> str:
    by = arguments.get("by")
    return f"{by} ({caller.name})" if isinstance(by, str) and by else caller.name


def _number(arguments: Mapping[str, Any], key: str) -> int:
    """A whole number from 0 on; 0 where there is none."""
    value = arguments.get(key, 0)
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise UsageError(f"The argument {key!r} is no whole number from 0 on.")
    return value


def _flag(arguments: Mapping[str, Any], key: str) -> bool:
    value = arguments.get(key)
    if value is not None and type(value) is not bool:
        raise UsageError(f"The argument {key!r} is neither true nor false.")
    return bool(value)


def _command_details(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a command was given beside the module. Raises UsageError, before anything is changed."""
    flags = ("as_primary", "forced", "without_witness")
    details: dict[str, Any] = {key: True for key in flags if _flag(arguments, key)}
    if "without_witness" in details and "as_primary" not in details:
        raise UsageError("Going on without the witness is for a start as primary.", "Add --as-primary.")
    mode = arguments.get("mode")
    if mode:
        if mode not in STOP_MODES:
            raise UsageError(f"There is no way {mode!r} to stop.", f"Ways are: {', '.join(STOP_MODES)}.")
        details["mode"] = mode
    return details


def _sync_directory(path: Path) -> None:
    if os.name == "nt":  # a directory cannot be synced there; the rename is journalled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def expiry(days_left: int) -> str:
    """When a certificate expires or did, in words."""
    return f"expires in {days_left} days" if days_left >= 0 else f"expired {-days_left} days ago"
