"""What `protect` left at a VM's old places: told, and removed once a person says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinhull.errors import TwinhullError, UsageError
from twinhull.worker.moves import Moves

from .jobs import Job
from .protect import moves_of

if TYPE_CHECKING:
    from .agent import Agent


class Originals:
    """The files of one module's VM that lie where it was before it was protected, on this node."""

    def __init__(self, agent: Agent, module: str) -> None:
        self._agent = agent
        self._module = module

    def told(self) -> dict[str, Any]:
        """`files`: paths; `keeps`: why they cannot be removed now, empty when they can."""
        try:
            files = list(self._moves().originals())
        except TwinhullError as error:
            return {"node": self._agent.node.node, "files": [], "keeps": str(error)}
        return {"node": self._agent.node.node, "files": files, "keeps": self._keeps() if files else ""}

    def remove(self, job: Job) -> str:
        """Remove them; the closing sentence. Raises UsageError while they are the only copy besides one replica."""
        keeps = self._keeps()
        if keeps:
            raise UsageError(keeps, "Nothing was removed.")
        job.progress("removing the original files")
        removed = list(self._moves().remove_originals())
        node = self._agent.node.node
        if not removed:
            return f"{self._module} has no original files on {node} any more."
        return f"Removed on {node}: {', '.join(removed)}."

    def _moves(self) -> Moves[Any]:
        moves = moves_of(self._agent, self._module)
        if moves is None:
            raise UsageError(f"{self._module} holds no VM, so that nothing was moved into it.")
        return moves

    def _keeps(self) -> str:
        """The originals are the way back for as long as the VM is not whole on both nodes, running here."""
        view = self._agent.supervisor(self._module).view
        if view is not None and (view["state"], view["colour"]) == ("PRIM", "green"):
            return ""
        return (
            f"{self._module} is not mirrored from {self._agent.node.node}: its originals are kept until it runs here and "
            "both replicas are uptodate."
        )
