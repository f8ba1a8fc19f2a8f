"""`verify` as the agent's job, and by the configuration's schedule; the worker of the PRIM does it."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twinhull.config import ModuleConfig
from twinhull.core import verify
from twinhull.errors import AgentDownError, TwinhullError, UsageError

from .jobs import Job

if TYPE_CHECKING:
    from .agent import Agent

POLL_S = 0.3
ANSWER_S = 60.0
WINDOW_CLOSED = "its window closed; the next one goes on from there"

log = logging.getLogger(__name__)


def run(agent: Agent, module: str, source: str | None, job: Job) -> str:
    """Have the module compared and wait for the end. Returns the closing sentence.

    Args:
        source: the node whose content is taken where they differ; None: nothing is repaired.

    Raises:
        UsageError: it cannot be done now; the message says why.
        TwinhullError: replicas differ, or it ended early; the job has the result all the same.
    """
    job.progress(f"comparing the replicas of {module}")
    before = _shown(agent, module)["runs"]
    answer = agent.supervisor(module).ask(
        {"op": "command", "command": "verify", "arguments": {"source": source}}, ANSWER_S
    )
    if not answer["ok"]:
        raise UsageError(str(answer["sentence"]))
    while (shown := _shown(agent, module))["runs"] == before:
        _say(job, module, shown["running"] or {})
        time.sleep(POLL_S)
    last = shown["last"] or {}
    job.result = last
    message = str(last.get("message", ""))
    if last.get("state") != "complete" or last.get("differing_bytes") != last.get("repaired_bytes"):
        raise TwinhullError(message, _remedy(module, last))
    return message


def _shown(agent: Agent, module: str) -> Mapping[str, Any]:
    """What the worker shows of its comparisons. Raises AgentDownError when it is gone, UsageError when it is older."""
    view = agent.supervisor(module).view
    if view is None:
        raise AgentDownError(
            f"The worker of {module} on {agent.node.node} was lost, and its comparison with it.",
            "Look at the status; verify again when the module is green.",
        )
    shown: Mapping[str, Any] | None = view["verify"]
    if shown is None:
        raise UsageError(
            f"The worker of {module} on {agent.node.node} is of an older version, which cannot verify.",
            f"Swap the module, then stop and start it on {agent.node.node}: that replaces its worker.",
        )
    return shown


def _say(job: Job, module: str, running: Mapping[str, Any]) -> None:
    differing = int(running.get("differing_bytes") or 0)
    text = f"comparing the replicas of {module}"
    if running.get("finishing"):
        text = f"looking for the files of {module} that differ"
    elif differing:
        text += f" ({verify.size_words(differing)} differ)"
    job.progress(text, int(running.get("done_bytes") or 0), int(running.get("total_bytes") or 0))


def _remedy(module: str, last: Mapping[str, Any]) -> str:
    if last.get("not_kept"):
        return "Make room, then verify again."
    if last.get("state") != "complete":
        return f"Verify again when {module} is green."
    return (
        f"Find out why (a failing disk?), then: twinhull verify {module} --repair "
        "(--source NODE when the other node has the right content)."
    )


class Schedule:
    """Begins and ends the comparisons that the configuration plans.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, agent: Agent, clock: Callable[[], float] = time.monotonic) -> None:
        self._agent = agent
        self._clock = clock
        self._tried_s: dict[str, float] = {}

    def look(self, local: dt.datetime) -> None:
        """Do what is due at this local time."""
        for module, config in list(self._agent.cluster.modules.items()):
            if config.verify.window is not None:
                self._look_at(module, config, local)

    def _look_at(self, module: str, config: ModuleConfig, local: dt.datetime) -> None:
        supervisor = self._agent.supervisors.get(module)
        view = supervisor.view if supervisor is not None else None
        if supervisor is None or view is None or not view["verify"] or config.verify.window is None:
            return
        running, opened = view["verify"]["running"], config.verify.window.opened(local)
        if opened is None:
            if running and running.get("scheduled") and not running.get("finishing"):
                self._tell(module, "verify-end", {"reason": WINDOW_CLOSED})
            return
        if running or view["state"] != "PRIM" or view["colour"] != "green":
            return
        tried_s = self._tried_s.get(module)
        order = verify.due(
            view["verify"]["last"],
            opened.isoformat(timespec="seconds"),
            since_tried_s=None if tried_s is None else self._clock() - tried_s,
        )
        if order is not None:
            self._tried_s[module] = self._clock()
            source = self._agent.node.node if config.verify.repair else None
            self._tell(module, "verify", {**order._asdict(), "source": source})

    def _tell(self, module: str, command: str, arguments: Mapping[str, Any]) -> None:
        message = {"op": "command", "id": 0, "command": command, "arguments": dict(arguments)}
        self._agent.supervisors[module].send(message, wait=False)
