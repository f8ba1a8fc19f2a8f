"""Taking a module under protection and out of it again: checks on both nodes, the move, the first copy."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinhull.attach.folder import check_folder
from twinhull.config import HyperVConfig, ModuleConfig, ScriptsConfig
from twinhull.errors import FolderNotOursError, TwinhullError, UsageError
from twinhull.resources.base import Finding, Resource, Vm
from twinhull.worker.moves import Moves
from twinhull.worker.resource_parts import build_attacher, build_moves, build_resource

from .desired import Wish, unfinished_protection
from .jobs import Job

if TYPE_CHECKING:
    from .agent import Agent

Tell = Callable[[str, str, Mapping[str, Any]], str]

POLL_S = 0.3
WORKER_PATIENCE_S = 30.0

log = logging.getLogger(__name__)


def check_this_host(agent: Agent, module: str, definition: object = None) -> list[dict[str, Any]]:
    """What this node lacks to run the module's resource: {fatal, sentence} each.

    Args:
        definition: the VM as the other node describes it, to be checked instead of the one in the folder (before
            protection).
    """
    resource = _resource(agent, module)
    findings: list[Finding] = []
    if isinstance(definition, str) and isinstance(resource, Vm):
        findings = resource.check_definition(definition)
    elif not isinstance(resource, Vm):  # nothing is known of a VM whose folder is mounted elsewhere
        findings = resource.check_host()
    found = [{"fatal": finding.fatal, "sentence": finding.sentence} for finding in findings]
    return [*_folder_objections(agent, module), *found]


def _folder_objections(agent: Agent, module: str) -> list[dict[str, Any]]:
    """Why nothing can be mounted at the module's folder on this node."""
    config = agent.cluster.module(module)
    if build_attacher(agent.node, agent.cluster, config).attached():
        return []
    try:
        check_folder(module, Path(config.folder))
    except FolderNotOursError as error:
        return [{"fatal": True, "sentence": f"Node {agent.node.node}: {error}"}]
    return []


def _resource(agent: Agent, module: str) -> Resource:
    config = agent.cluster.module(module)
    return build_resource(
        agent.node,
        config,
        build_attacher(agent.node, agent.cluster, config),
        lambda line: log.info("%s", line),
    )


def moves_of(agent: Agent, module: str) -> Moves[Any] | None:
    """What moves the module's VM in and out of its folder, for the agent's own looks; None for what is no VM."""
    config = agent.cluster.module(module)
    return build_moves(agent.node, config, _resource(agent, module), 0.0, lambda line: log.info("%s", line))


def danger_lines(
    command: str,
    module: str,
    node: str,
    own: Mapping[str, Any],
    peer: Mapping[str, Any] | None,
    arguments: Mapping[str, Any],
) -> list[str]:
    """What a dangerous command would do or lose, one sentence each. Pure."""
    if command == "start" and arguments.get("as_primary"):
        lines = _override_lines(module, node, own, peer)
        return lines + _without_witness_lines(module) if arguments.get("without_witness") else lines
    if command == "witness-reset":
        return [
            f"The witness's record of {module} is written anew, as {node} has it now: what stands there is lost.",
            "Do this only where the module runs, and if you know why the witness is another one (it was set up anew, "
            "or restored from a backup).",
        ]
    if command == "stop":
        return _stop_lines(module, node, own, peer)
    if command == "protect" and not arguments.get("vm"):
        return [f"{module} is started in a new, empty volume at {own['folder']} on {node}."]
    if command == "protect":
        return [
            f"The resource of {module} is moved into its folder {own['folder']} on {node}; it is off meanwhile.",
            "The original files are kept where they are.",
        ]
    if command == "originals":
        return [
            f"What {module} was made of, at its old places on {node}, is deleted: it is no way back any more."
        ]
    if command == "unprotect":
        return [
            f"{module} is stopped, its content is copied out of the volume, and its protection ends.",
            "The volumes of both nodes are kept until a person deletes them.",
        ]
    return []


def _override_lines(
    module: str, node: str, own: Mapping[str, Any], peer: Mapping[str, Any] | None
) -> list[str]:
    if own.get("generation") == "-":
        lines = [f"A new, empty volume of {module} begins on {node}."]
    else:
        state = "uptodate" if own.get("uptodate") else "NOT uptodate: acknowledged writes are missing on it"
        lines = [f"The replica of {module} on {node} is {state}."]
    if peer is None:
        lines.append(
            "The other node does not answer: if it runs the module now, there will be two histories."
        )
    lines.append("Whatever only the other node's replica holds is overwritten when it is copied over later.")
    return lines


def _without_witness_lines(module: str) -> list[str]:
    return [
        f"If the witness cannot be asked, {module} starts without it: nothing then keeps the other node from running "
        f"{module}, too, now or later. Make sure that the other node is off and stays off.",
        "Once the witness answers again its record is taken; if it was set up anew, `twinhull witness reset` is needed.",
    ]


def _stop_lines(module: str, node: str, own: Mapping[str, Any], peer: Mapping[str, Any] | None) -> list[str]:
    if own.get("state") == "SECOND":
        return [f"{module} on the other node runs on without a second copy until {node} is back and in step."]
    if peer is not None and peer.get("state") == "SECOND" and peer.get("colour") == "green":
        return [f"{module} stops on {node} and starts on the other node at once, where it runs unprotected."]
    return [f"{module} stops on {node} and no other node takes it over."]


class Protection:
    """One run of `protect`: nothing of the resource is changed before every check has passed.

    Args:
        tell: gives a worker of this node a command and returns its sentence.
    """

    def __init__(self, agent: Agent, module: str, arguments: Mapping[str, Any], tell: Tell) -> None:
        self._agent = agent
        self._module = module
        self._arguments = arguments
        self._tell = tell

    def run(self, job: Job) -> str:
        """Check, move, start, copy. Returns the closing sentence; raises TwinhullError."""
        job.progress("checking both nodes")
        self._check_domain()
        self._check_nodes()
        self._check_hosts(job)
        self._agent.peer.call("stand_by", {"module": self._module}, patient=True)
        job.progress("moving the resource into its folder")
        self._agent.wishes.set(self._module, Wish.STARTED)
        details = {
            "as_primary": not self._unfinished.exists(),
            "adopt": not isinstance(self._config.resource, ScriptsConfig),
            "stop_vm": bool(self._arguments.get("stop_vm")),
        }
        self._unfinished.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._unfinished.touch(mode=0o600)
        try:
            self._tell(self._module, "start", details)
            self._follow(job, lambda view: view["resource_state"] == "running")
        except TwinhullError as error:
            self._agent.wishes.set(self._module, Wish.STOPPED)
            raise TwinhullError(f"{error} {self._way_back()}".rstrip()) from error
        self._unfinished.unlink()
        self._agent.peer.call("join", {"module": self._module}, patient=True)
        self._follow(job, lambda view: view["state"] == "PRIM" and view["colour"] == "green")
        return f"{self._module} runs on {self._agent.node.node} and is mirrored to {self._agent.peer_name}."

    def _way_back(self) -> str:
        """What a person may do after a protection that failed."""
        resource = self._config.resource
        if isinstance(resource, ScriptsConfig):
            return ""
        if self._is_moved():
            return (
                f"The VM {resource.domain} lies in its folder already: see to the reason, then run `twinhull protect "
                f"{self._module}` again. Its original disk files are where they were."
            )
        if isinstance(resource, HyperVConfig):
            quoted = resource.domain.replace("'", "''")
            how = f"Start-VM -Name '{quoted}'"
        else:
            how = f"virsh start {resource.domain}"
        return (
            f"The VM {resource.domain} is as it was: `{how}` starts it if it was shut down, "
            "and protect may be repeated."
        )

    def _is_moved(self) -> bool:
        """Whether the VM is in its folder, as far as can be seen."""
        moves = moves_of(self._agent, self._module)
        try:
            return moves is not None and moves.plan().inside
        except TwinhullError as error:
            log.warning("%s: where the VM lies cannot be seen: %s", self._module, error)
            return False

    @property
    def _unfinished(self) -> Path:
        return unfinished_protection(self._agent.node.data_dir, self._module)

    @property
    def _config(self) -> ModuleConfig:
        return self._agent.cluster.module(self._module)

    def _check_domain(self) -> None:
        """The VM that the person named is the one that the configuration names."""
        named, resource = self._arguments.get("domain"), self._config.resource
        if named is None:
            return
        if isinstance(resource, ScriptsConfig):
            raise UsageError(f"{self._module} holds no VM, so that {named} cannot be protected by it.")
        if named.casefold() != resource.domain.casefold():
            raise UsageError(
                f"{self._module} is configured for the VM {resource.domain}, not for {named}.",
                f"Name {resource.domain}, or set `domain: {named}` below `resource` of {self._module} in the "
                "configuration of both nodes.",
            )

    def _check_nodes(self) -> None:
        own = self._agent.supervisor(self._module).view
        if own is None:
            raise UsageError(
                f"The worker of {self._module} does not run on this node.", "See `twinhull status`."
            )
        if own["volume"] and not (self._unfinished.exists() and own["state"] == "STOP"):
            raise UsageError(
                f"{self._module} is protected already.", f"Start it with `twinhull start {self._module}`."
            )
        status = self._agent.peer.call("status_local", {}, patient=True)
        other = status["modules"].get(self._module)
        if other is None or status["config_digest"] != self._agent.cluster.digest():
            raise UsageError(
                f"{self._agent.peer_name} has another configuration than this node.",
                "Apply the same configuration on both: `twinhull config apply`.",
            )
        if not other["worker"]["alive"]:
            raise UsageError(f"The worker of {self._module} does not run on {self._agent.peer_name}.")
        if other["generation"] != "-":
            raise UsageError(
                f"{self._agent.peer_name} already holds a volume of {self._module} with content.",
                f"Start it there: `twinhull start {self._module}`.",
            )

    def _check_hosts(self, job: Job) -> None:
        """Both nodes must be able to run it, by the definition that it will have in the folder."""
        agent, module = self._agent, self._module
        moves = moves_of(agent, module)
        findings: list[tuple[bool, str]] = []
        definition = None
        if moves is not None:
            if moves.runs() and not self._arguments.get("stop_vm"):
                raise UsageError(
                    f"The VM of {module} runs.", "Shut it down first, or let protect do it: `--stop-vm`."
                )
            plan = moves.plan()
            definition = plan.definition
            findings += [(finding.fatal, finding.sentence) for finding in plan.findings]
        remote = agent.peer.call("check_host", {"module": module, "definition": definition}, patient=True)
        for found in [*check_this_host(agent, module, definition), *remote["findings"]]:
            findings.append((bool(found["fatal"]), str(found["sentence"])))
        fatal = [sentence for is_fatal, sentence in findings if is_fatal]
        if fatal:
            raise UsageError(" ".join(fatal), "Nothing was changed.")
        for _, sentence in findings:
            job.progress(f"note: {sentence}")
            log.warning("%s: %s", module, sentence)

    def _follow(self, job: Job, reached: Callable[[Mapping[str, Any]], bool]) -> None:
        """Wait until the view shows what is waited for, and say meanwhile how far things are."""
        missing_since_s: float | None = None
        while True:
            view = self._agent.supervisor(self._module).view
            if view is None:
                missing_since_s = missing_since_s or time.monotonic()
                if time.monotonic() - missing_since_s > WORKER_PATIENCE_S:
                    raise TwinhullError(f"The worker of {self._module} is gone.", "See `twinhull logs`.")
            else:
                missing_since_s = None
                if reached(view):
                    return
                if view["state"] == "STOP":
                    reason = view.get("move_failure") or view["sentence"]
                    raise TwinhullError(f"{self._module} was not started: {reason}")
                self._say(job, view)
            time.sleep(POLL_S)

    @staticmethod
    def _say(job: Job, view: Mapping[str, Any]) -> None:
        moving, sync = view.get("moving"), view["sync"]
        if moving:
            job.progress(f"copying {moving['what']}", moving["done_bytes"], moving["total_bytes"])
        elif sync["left_bytes"]:
            job.progress("copying to the other node", sync["copied_bytes"], sync["total_bytes"])
        else:
            job.progress(view["sentence"])


class Unprotection:
    """One run of `unprotect`: the resource goes back to a directory outside the folder, the volumes stay."""

    def __init__(self, agent: Agent, module: str, arguments: Mapping[str, Any], tell: Tell) -> None:
        self._agent = agent
        self._module = module
        self._arguments = arguments
        self._tell = tell

    def run(self, job: Job) -> str:
        """Stop the other node's replica, stop here, copy out. Returns the closing sentence."""
        view = self._agent.supervisor(self._module).view
        if view is None or view["state"] not in ("PRIM", "ALONE"):
            raise UsageError(
                f"{self._module} does not run on this node.", "Run unprotect on the node that runs it."
            )
        config = self._agent.cluster.module(self._module)
        target = self._arguments.get("target")
        if not isinstance(config.resource, ScriptsConfig) and not (
            isinstance(target, str) and Path(target).is_absolute()
        ):
            raise UsageError(
                "A VM needs a directory to go to.", "Name an absolute path: `--target DIRECTORY`."
            )
        if view["state"] == "PRIM":
            job.progress("stopping the second replica")
            self._agent.peer.call("part", {"module": self._module}, patient=True)
            self._wait_alone()
        job.progress("stopping the resource and copying it out of the volume")
        self._agent.wishes.set(self._module, Wish.STOPPED)
        try:
            self._tell(self._module, "stop", {"release": target or ""})
        except UsageError:
            self._agent.wishes.set(self._module, Wish.STARTED)  # it runs on
            raise
        job.progress("setting the volumes aside")
        kept = self._agent.replacing.set_aside(self._module)
        sentence = (
            f"{self._module} is not protected any more"
            + (f"; its files lie in {target}." if target else ".")
            + f" Its volume was kept in {kept} on {self._agent.node.node}"
        )
        try:
            there = self._agent.peer.call("set_aside", {"module": self._module}, patient=True)["path"]
        except TwinhullError as error:
            raise TwinhullError(
                f"{sentence}, but that of {self._agent.peer_name} could not be set aside: {error}",
                "Stop the module there and rename its volume's directory before it is protected again.",
            ) from error
        return f"{sentence} and in {there} on {self._agent.peer_name}; delete them when they are not needed."

    def _wait_alone(self) -> None:
        deadline_s = time.monotonic() + WORKER_PATIENCE_S
        while (view := self._agent.supervisor(self._module).view) is None or view["state"] != "ALONE":
            if time.monotonic() > deadline_s:
                raise TwinhullError(f"{self._module} did not become ALONE.", "See `twinhull status`.")
            time.sleep(POLL_S)
