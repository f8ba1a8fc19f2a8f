"""Figures: what Twinhull costs, beside its limit and beside peers, on one machine in one run."""
