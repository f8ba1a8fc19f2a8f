"""Two nodes on this machine: the lab that the demo, the tests and `make lab` share.

A node is a network namespace and a mount, process and host-name namespace with directories of its own; the
nodes are joined by switched networks. Everything a lab made is written down, so that another process can
remove it, also after a crash.
"""

from __future__ import annotations

from .commands import LabError
from .lab import Lab
from .node import Node

__all__ = ["Lab", "LabError", "Node"]
