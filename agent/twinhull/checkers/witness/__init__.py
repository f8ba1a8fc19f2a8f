"""The third party that is asked before a node goes on alone."""

from .base import Question, Witness, WitnessVerdict
from .factory import make_witness

__all__ = ["Question", "Witness", "WitnessVerdict", "make_witness"]
