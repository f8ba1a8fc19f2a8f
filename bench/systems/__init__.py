"""The systems that are measured: how each is brought up, driven and taken away."""
