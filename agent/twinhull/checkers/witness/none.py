"""No witness: a cut network can split the cluster."""

from __future__ import annotations

from .base import Question, WitnessVerdict


class NoWitness:
    """Grants always, and says what that means."""

    has_memory = False

    def ask(self, question: Question) -> WitnessVerdict:  # noqa: ARG002  (there is nobody to ask)
        """Granted at once."""
        return WitnessVerdict(True, "no witness is configured: a cut network can split this cluster")
