"""Real faults on real processes: rounds of random trouble under load, each followed by a full check."""
