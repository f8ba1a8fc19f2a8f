"""Taking a module under protection and out of it again: checks on both nodes, the move, the first copy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinhull.config import LibvirtConfig
from twinhull.errors import TwinhullError, UsageError
from twinhull.worker.parts import build_attacher, build_resource

from .desired import Wish
from .jobs import Job

if TYPE_CHECKING:
    from .agent import Agent

Tell = Callable[[str, str, Mapping[str, Any]], str]

POLL_S = 0.3
WORKER_PATIENCE_S = 30.0


def check_this_host(agent: Agent, module: str, definition: object = None) -> list[dict[str, Any]]:
    """What this node lacks to run the module's resource: {fatal, sentence} each.

    Args:
        definition: the domain XML to check instead of the one in the folder (before protection).
    """
    config = agent.cluster.module(module)
    attacher = build_attacher(agent.node, agent.cluster, config)
    resource = build_resource(agent.node, config, attacher, lambda _: None)
    check = getattr(resource, "check_definition", None)
    if isinstance(definition, str) and check is not None:
        findings = check(definition)
    else:
        findings = resource.check_host()
    return [{"fatal": finding.fatal, "sentence": finding.sentence} for finding in findings]


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
        return _override_lines(module, node, own, peer)
    if command == "stop":
        return _stop_lines(module, node, own, peer)
    if command == "protect":
        return [
            f"The resource of {module} is moved into its folder {own['folder']} on {node}; it is off meanwhile.",
            "The original files are kept where they are.",
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
        lines.append("The other node does not answer: if it runs the module now, there will be two histories.")
    lines.append("Whatever only the other node's replica holds is overwritten when it is copied over later.")
    return lines


def _stop_lines(
    module: str, node: str, own: Mapping[str, Any], peer: Mapping[str, Any] | None
) -> list[str]:
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
        self._check_nodes()
        self._check_hosts()
        job.progress("moving the resource into its folder")
        self._agent.wishes.set(self._module, Wish.STARTED)
        details = {
            "as_primary": True,
            "adopt": isinstance(self._config.resource, LibvirtConfig),
            "stop_vm": bool(self._arguments.get("stop_vm")),
        }
        try:
            self._tell(self._module, "start", details)
            self._follow(job, lambda view: view["resource_state"] == "running")
        except TwinhullError:
            self._agent.wishes.set(self._module, Wish.STOPPED)
            raise
        self._agent.peer.call("join", {"module": self._module}, patient=True)
        self._follow(job, lambda view: view["state"] == "PRIM" and view["colour"] == "green")
        return f"{self._module} runs on {self._agent.node.node} and is mirrored to {self._agent.peer_name}."

    @property
    def _config(self) -> Any:
        return self._agent.cluster.module(self._module)

    def _check_nodes(self) -> None:
        own = self._agent.supervisors[self._module].view
        if own is None:
            raise UsageError(f"The worker of {self._module} does not run on this node.", "See `twinhull status`.")
        if own["volume"]:
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

    def _check_hosts(self) -> None:
        definition = self._definition()
        fatal = []
        for finding in check_this_host(self._agent, self._module, definition):
            if finding["fatal"]:
                fatal.append(finding["sentence"])
        remote = self._agent.peer.call(
            "check_host", {"module": self._module, "definition": definition}, patient=True
        )
        fatal += [finding["sentence"] for finding in remote["findings"] if finding["fatal"]]
        if fatal:
            raise UsageError(" ".join(fatal), "Nothing was changed.")

    def _definition(self) -> str | None:
        """The definition of the VM that is to be protected, from this node's hypervisor."""
        resource = self._config.resource
        if not isinstance(resource, LibvirtConfig):
            return None
        attacher = build_attacher(self._agent.node, self._agent.cluster, self._config)
        made = build_resource(self._agent.node, self._config, attacher, lambda _: None)
        return str(made.registered_definition())  # type: ignore[attr-defined]

    def _follow(self, job: Job, reached: Callable[[Mapping[str, Any]], bool]) -> None:
        """Wait until the view shows what is waited for, and say meanwhile how far things are."""
        missing_since_s: float | None = None
        while True:
            view = self._agent.supervisors[self._module].view
            if view is None:
                missing_since_s = missing_since_s or time.monotonic()
                if time.monotonic() - missing_since_s > WORKER_PATIENCE_S:
                    raise TwinhullError(f"The worker of {self._module} is gone.", "See `twinhull logs`.")
            else:
                missing_since_s = None
                if reached(view):
                    return
                if view["state"] == "STOP":
                    raise TwinhullError(f"{self._module} was not started: {view['sentence']}")
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
        view = self._agent.supervisors[self._module].view
        if view is None or view["state"] not in ("PRIM", "ALONE"):
            raise UsageError(
                f"{self._module} does not run on this node.", "Run unprotect on the node that runs it."
            )
        config = self._agent.cluster.module(self._module)
        target = self._arguments.get("target")
        if isinstance(config.resource, LibvirtConfig) and not (
            isinstance(target, str) and Path(target).is_absolute()
        ):
            raise UsageError("A VM needs a directory to go to.", "Name an absolute path: `--target DIRECTORY`.")
        if view["state"] == "PRIM":
            job.progress("stopping the second replica")
            self._agent.peer.call("part", {"module": self._module}, patient=True)
            self._wait_alone()
        job.progress("stopping the resource and copying it out of the volume")
        self._agent.wishes.set(self._module, Wish.STOPPED)
        self._tell(self._module, "stop", {"release": target or ""})
        return (
            f"{self._module} is not protected any more"
            + (f"; its files lie in {target}." if target else ".")
            + " Its volumes were kept on both nodes."
        )

    def _wait_alone(self) -> None:
        deadline_s = time.monotonic() + WORKER_PATIENCE_S
        while (view := self._agent.supervisors[self._module].view) is None or view["state"] != "ALONE":
            if time.monotonic() > deadline_s:
                raise TwinhullError(f"{self._module} did not become ALONE.", "See `twinhull status`.")
            time.sleep(POLL_S)
