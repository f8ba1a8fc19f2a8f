"""When the worker of a module is replaced by a new one: never while its module is in any other state than STOP.

A worker is replaced because its configuration changed, because it runs another version than its agent (an upgrade
leaves the workers running), or, right before a start, because its disk failed and it never trusts that again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import twinhull
from twinhull.errors import AgentDownError, TwinhullError, UsageError
from twinhull.worker.places import moves_directory, rescue_directory, volume_directory

from .desired import Wish
from .process import WorkerProcess

if TYPE_CHECKING:
    from .agent import Agent

END_PATIENCE_S = 30.0
POLL_S = 0.05

T = TypeVar("T")

log = logging.getLogger(__name__)


class Replacing:
    """Replaces the workers of one agent. Methods may be called from any thread.

    Args:
        version: of the agent.
    """

    def __init__(self, agent: Agent, version: str = twinhull.__version__) -> None:
        self._agent = agent
        self._version = version
        self._lock = threading.RLock()  # one replacement at a time
        self._due: dict[str, str] = {}  # module to the reason why its worker is to be replaced
        self._beginning: set[str] = set()  # modules whose worker was replaced, and was not waited for yet
        self._told: set[str] = set()  # modules whose worker of another version was spoken of

    def due(self, module: str, reason: str) -> None:
        """Have the module's worker replaced as soon as the module is stopped."""
        self._due[module] = reason
        self._agent.look_soon()

    def look(self, module: str, view: Mapping[str, Any]) -> None:
        """An adopted worker showed itself: one of another version is replaced when its module is stopped."""
        version = str(view.get("version") or "")
        if version == self._version:
            return
        told = version or "an older version"
        if module not in self._told:
            self._told.add(module)
            log.info(
                "%s: its worker on %s runs %s, the agent %s; it runs on and is replaced when %s is stopped here",
                module,
                self._agent.node.node,
                told,
                self._version,
                module,
            )
        if view.get("state") == "STOP":
            self.due(module, f"it ran {told}, the agent runs {self._version}")

    def forget(self, module: str) -> None:
        """The module is gone, or a new worker of ours serves it."""
        self._due.pop(module, None)
        self._told.discard(module)

    def do_what_is_due(self) -> None:
        """Replace the workers that are due and whose modules are stopped; the others wait."""
        for module in list(self._due):
            self.if_stopped(module)

    def if_stopped(self, module: str) -> bool:
        """Replace a worker that is due, if nothing of its module runs. Whether it was replaced.

        One that shows what broke stays until a person starts the module, so that it can be read.
        """
        with self._lock:
            supervisor = self._agent.supervisors.get(module)
            if supervisor is None:
                self.forget(module)
                return False
            view, reason = supervisor.view, self._due.get(module)
            if (
                reason is None
                or view is None
                or view["state"] != "STOP"
                or view["operation"]
                or view["fault"]
            ):
                return False
            if view["sentence"] and self._agent.wishes.get(module) is Wish.STARTED:
                self._agent.wishes.set(
                    module, Wish.STOPPED
                )  # it stopped by itself: no new worker starts it unasked
            self._replace(module, reason)
            return True

    def before_start(self, module: str) -> None:
        """Have a worker of this version, whose disk is trusted, before the module is started.

        Raises AgentDownError when the new one does not come up.
        """
        with self._lock:
            supervisor = self._agent.supervisor(module)
            view = supervisor.view
            # One that was replaced a moment ago, after the stop that a person follows by this start, shows nothing yet.
            if view is not None or module not in self._beginning:
                if view is None or view["state"] != "STOP" or view["operation"]:
                    return
                if view["fault"]:
                    self._replace(module, "its disk failed")
                elif not self.if_stopped(module):
                    return
        self._wait_for_new(module)
        self._beginning.discard(module)

    def set_aside(self, module: str) -> Path:
        """Keep the volume of a stopped module under another name; the module begins blank again.

        Returns where it is kept. Raises UsageError while the module is not stopped, TwinhullError when its worker
        does not end.
        """
        with self._lock:
            return self._set_aside(module)

    def _replace(self, module: str, reason: str) -> None:
        log.info("%s: a new worker begins on %s: %s", module, self._agent.node.node, reason)
        self.forget(module)
        self._beginning.add(module)
        self._agent.unwatch_module(module)
        self._agent.watch_module(module)

    def _wait_for_new(self, module: str) -> None:
        deadline_s = time.monotonic() + END_PATIENCE_S
        node = self._agent.node.node
        while (view := self._agent.supervisor(module).view) is None or view["fault"] or module in self._due:
            if time.monotonic() > deadline_s:
                trouble = self._agent.supervisor(module).trouble or "it does not answer"
                raise AgentDownError(f"The new worker of {module} on {node} did not begin: {trouble}.")
            time.sleep(POLL_S)

    def _set_aside(self, module: str) -> Path:
        agent = self._agent

        def rename() -> Path:
            volume = volume_directory(agent.node, module)
            if not volume.exists():
                raise UsageError(
                    f"{module} has no volume on {agent.node.node}.", "There is nothing to set aside."
                )
            kept = volume.with_name(f"{module}.released-{time.strftime('%Y%m%d-%H%M%S')}")
            volume.rename(kept)
            # The journals of moves that are over, and rescues of what is set aside.
            for other in (moves_directory(agent.node, module), rescue_directory(agent.node, module)):
                if other.exists():
                    other.rename(other.with_name(kept.name))
            return kept

        return self.while_ended(module, rename)

    def while_ended(self, module: str, work: Callable[[], T]) -> T:
        """Do something with the volume of a stopped module while no worker has it; a new worker begins then.

        Raises UsageError while the module is not stopped, TwinhullError when its worker does not end.
        """
        with self._lock:
            return self._while_ended(module, work)

    def _while_ended(self, module: str, work: Callable[[], T]) -> T:
        agent = self._agent
        supervisor = agent.supervisor(module)
        view, pid = supervisor.view, supervisor.pid
        if view is None or view["state"] != "STOP":
            raise UsageError(f"{module} is not stopped on {agent.node.node}.", "Stop it first.")
        process = None
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):  # gone already
                process = WorkerProcess(pid)
        agent.unwatch_module(module)
        try:
            if process is not None and not process.ended(END_PATIENCE_S):
                raise TwinhullError(
                    f"The worker of {module} on {agent.node.node} does not end.",
                    "Its volume stays where it is.",
                )
            return work()
        finally:
            if process is not None:
                process.close()
            agent.watch_module(module)
