"""The interface of every witness: a third party asked before a node goes on alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from twinhull.core.identity import Generation, Id


@dataclass(frozen=True, slots=True)
class Question:
    """May this node go on alone?

    Args:
        number: the machine's number of the question; an answer to an older one is not acted on.
        cluster, module, node: who asks, by name.
        replica: the asking replica, and `generation` its history (used by a witness with a memory).
        timeout_s: seconds to answer in.
    """

    number: int
    cluster: str
    module: str
    node: str
    timeout_s: float
    replica: Id | None = None
    generation: Generation | None = None


class WitnessVerdict(NamedTuple):
    """The answer and its reason, for people."""

    granted: bool
    detail: str


class Witness(Protocol):
    """A third party."""

    @property
    def has_memory(self) -> bool:
        """Whether it never grants to both nodes of a cut cluster."""

    def ask(self, question: Question) -> WitnessVerdict:
        """Grant or refuse within `question.timeout_s`. Blocks (witness lane); whatever fails is a refusal."""
