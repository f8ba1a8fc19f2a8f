"""What `twinhull status --json` says, typed, and what may be decided from it. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Plain = Mapping[str, Any]

RUNS = ("PRIM", "ALONE")
STOP = "STOP"
SECOND = "SECOND"
GREEN = "green"
BLANK = ("", "-")
"""Generations of a replica in which nothing was protected yet."""


@dataclass(frozen=True)
class Side:
    """One module on one node.

    Args:
        node: the node's name in the cluster.
        state, colour, sentence, waiting_for: as the agent tells them; empty when the node cannot be asked.
        uptodate: the copy lacks nothing that was acknowledged.
        resource_state: what the resource does, one word.
        generation: `-` for a blank replica.
        suspended: the checkers rest.
        sync: progress of a copy between the nodes, or None.
        unfinished: the command of several steps that was interrupted on this node; empty when there is none.
        known: the node answered and has the module in its configuration.
        worker_alive: the module's process runs there and answers; else nothing is known of state and content.
    """

    node: str
    state: str = ""
    colour: str = ""
    sentence: str = ""
    waiting_for: str = ""
    uptodate: bool = False
    resource_state: str = ""
    generation: str = ""
    suspended: bool = False
    sync: Plain | None = field(default=None, hash=False)
    unfinished: str = ""
    known: bool = False
    worker_alive: bool = False

    @property
    def runs(self) -> bool:
        """The module runs on this node."""
        return self.state in RUNS

    @property
    def protected(self) -> bool:
        """There is a volume with content."""
        return self.known and self.generation not in BLANK

    @property
    def says(self) -> str:
        """State and reason in one sentence."""
        if not self.known:
            return f"{self.node} cannot be asked."
        data = "" if self.uptodate or self.runs else ", not uptodate"
        return f"{self.node} is {self.state} {self.colour}{data}: {self.sentence}".rstrip(": ")


@dataclass(frozen=True)
class Status:
    """Both nodes as the agent of `node` sees them.

    Args:
        cluster: its name.
        node: the node that was asked.
        nodes: names of both nodes.
        plain: the whole answer.
    """

    cluster: str
    node: str
    nodes: tuple[str, ...]
    plain: Plain = field(hash=False)

    @property
    def peer(self) -> str:
        """The other node's name."""
        return next((name for name in self.nodes if name != self.node), "")

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of all modules that either node knows, in the order of the configuration."""
        found = (name for node in self.nodes for name in self._modules(node))
        return tuple(dict.fromkeys(found))

    def _modules(self, node: str) -> Plain:
        modules = (self.plain.get("nodes", {}).get(node) or {}).get("modules") or {}
        return modules if isinstance(modules, Mapping) else {}

    def side(self, module: str, node: str | None = None) -> Side:
        """The module on a node (default: on the node that was asked)."""
        name = self.node if node is None else node
        plain = self._modules(name).get(module)
        return Side(name) if not isinstance(plain, Mapping) else _side(name, plain)

    def sides(self, module: str) -> tuple[Side, ...]:
        """The module on both nodes."""
        return tuple(self.side(module, node) for node in self.nodes)

    def runs_on(self, module: str) -> tuple[str, ...]:
        """The nodes on which the module runs: none, one, or both in a split brain."""
        return tuple(side.node for side in self.sides(module) if side.runs)

    def green(self, module: str) -> bool:
        """The loss of either node would cost nothing: one runs it, the other is its uptodate mirror."""
        sides = self.sides(module)
        states = sorted(side.state for side in sides)
        return states == ["PRIM", SECOND] and all(side.colour == GREEN and side.uptodate for side in sides)

    def says(self, module: str) -> str:
        """What both nodes say of the module."""
        return " ".join(_sentence(side.says) for side in self.sides(module))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _side(node: str, plain: Plain) -> Side:
    checkers = plain.get("checkers") or {}
    worker = plain.get("worker") or {}
    return Side(
        node=node,
        state=str(plain.get("state") or ""),
        colour=str(plain.get("colour") or ""),
        sentence=str(plain.get("sentence") or ""),
        waiting_for=str(plain.get("waiting_for") or ""),
        uptodate=bool(plain.get("uptodate")),
        resource_state=str(plain.get("resource_state") or ""),
        generation=str(plain.get("generation") or ""),
        suspended=bool(checkers.get("suspended")),
        sync=plain.get("sync") if isinstance(plain.get("sync"), Mapping) else None,
        unfinished=str(plain.get("unfinished") or ""),
        known=True,
        worker_alive=bool(worker.get("alive", True)) and plain.get("worker_version", "") is not None,
    )


def read_status(answer: Any) -> Status:
    """The typed status. Raises ValueError when the answer is none."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("nodes"), Mapping):
        raise ValueError("the answer to `twinhull status` names no nodes")
    return Status(
        cluster=str(answer.get("cluster") or ""),
        node=str(answer.get("node") or ""),
        nodes=tuple(str(name) for name in answer["nodes"]),
        plain=answer,
    )


Goal = Callable[[Status], bool]
"""Whether the cluster is where it shall be."""


def started(module: str) -> Goal:
    """The resource runs on the node that was asked, or the node is the mirror of the one that runs it."""

    def reached(status: Status) -> bool:
        side = status.side(module)
        running = side.runs and side.resource_state in ("", "running")
        return running or side.state == SECOND

    return reached


def stopped(module: str) -> Goal:
    """The module is off on the node that was asked."""
    return lambda status: status.side(module).state == STOP


def runs_on(module: str, node: str) -> Goal:
    """The resource runs on the node named."""

    def reached(status: Status) -> bool:
        side = status.side(module, node)
        return side.runs and side.resource_state in ("", "running")

    return reached


def green(module: str) -> Goal:
    """Both nodes are green and uptodate."""
    return lambda status: status.green(module)


def swap_refusal(status: Status, module: str, to: str) -> str:
    """Why the module cannot be brought to the node `to` by a swap now; empty if it can."""
    running = status.runs_on(module)
    if len(running) > 1:
        return f"{module} runs on both nodes (split brain): a person must decide. {status.says(module)}"
    if not running:
        return f"{module} runs on neither node, so there is nothing to swap. {status.says(module)}"
    if not status.green(module):
        return f"{module} is not green on both nodes, so {to} is not ready to take it. {status.says(module)}"
    return ""
