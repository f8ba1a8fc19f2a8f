"""Whole clusters, made of the real core, storage, protocol and worker, living in a simulated world."""
