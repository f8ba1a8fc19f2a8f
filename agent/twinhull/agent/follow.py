"""Watching what became of a command: an answer is given when the resource runs, not when it was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twinhull.errors import TwinhullError

from .jobs import Job

if TYPE_CHECKING:
    from .agent import Agent

View = Mapping[str, Any]

POLL_S = 0.3
PEER_POLL_S = 1.0
START_PATIENCE_S = 300.0
WAIT_PATIENCE_TIMEOUTS = 3.0
PERSON = "a person"


def started(view: View | None, waited_s: float) -> str | None:
    """What became of a `start` on this node; None while that is not known. Pure.

    Args:
        view: what the worker shows now.
        waited_s: seconds since the machine took the command.

    Raises TwinhullError when it did not lead to what was asked for.
    """
    if view is None:
        return None
    module, node, state = view["module"], view["node"], view["state"]
    if state in ("PRIM", "ALONE") and view["resource_state"] == "running":
        return f"{module} runs on {node}."
    if state == "SECOND":
        return f"{module} is SECOND on {node}: {view['sentence']}"
    if state == "STOP":
        raise TwinhullError(str(view["sentence"]))
    if state == "WAIT" and view["colour"] == "red":
        patience_s = WAIT_PATIENCE_TIMEOUTS * float(view["timeout_s"])
        if str(view["waiting_for"]).startswith(PERSON) or waited_s > patience_s:
            raise TwinhullError(f"{module} waits on {node} for {view['waiting_for']}.")
    return None


def follow_start(agent: Agent, module: str, job: Job) -> str:
    """Wait until a module that was started here runs, or is SECOND. Returns the closing sentence."""
    return _follow(
        START_PATIENCE_S,
        lambda waited_s: started(_told(agent, module, job), waited_s),
        f"{module} is still starting on {agent.node.node}: see `twinhull status`.",
    )


def follow_swap(agent: Agent, module: str, job: Job) -> str:
    """Wait until the resource runs on either node after a swap. Returns the closing sentence."""
    asked_s = 0.0

    def look(_waited_s: float) -> str | None:
        nonlocal asked_s
        view = _told(agent, module, job)
        if view is not None and view["state"] in ("PRIM", "ALONE") and view["resource_state"] == "running":
            return f"{module} runs on {agent.node.node}."
        if time.monotonic() - asked_s < PEER_POLL_S:
            return None
        asked_s = time.monotonic()
        other = agent.peer.call("status_local", {}, timeout_s=PEER_POLL_S)["modules"].get(module)
        if other is not None and other["state"] in ("PRIM", "ALONE"):
            job.progress(str(other["sentence"]))
            if other["resource_state"] == "running":
                return f"{module} runs on {agent.peer_name}."
        return None

    return _follow(
        START_PATIENCE_S, look, f"{module} was handed over, but does not run yet: see `twinhull status`."
    )


def _told(agent: Agent, module: str, job: Job) -> View | None:
    view = agent.supervisor(module).view
    if view is not None:
        job.progress(str(view["sentence"]))
    return view


def _follow(patience_s: float, look: Callable[[float], str | None], too_long: str) -> str:
    began_s = time.monotonic()
    while (waited_s := time.monotonic() - began_s) < patience_s:
        sentence = look(waited_s)
        if sentence is not None:
            return sentence
        time.sleep(POLL_S)
    raise TwinhullError(too_long)
