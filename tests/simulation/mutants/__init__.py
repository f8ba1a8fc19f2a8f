"""Deliberate bugs, each switched on by a patch of the real code, to prove that the simulator finds such bugs."""
